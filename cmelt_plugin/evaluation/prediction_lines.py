"""What a model says about records, as lines on the terminal: a table, or one JSON object a record."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from cmelt_plugin.errors import printable
from cmelt_plugin.models.inference.predictor import PAIR, SIMILARITY, VALUE, Prediction

Print = Callable[[str], None]


def json_line(prediction: Prediction, kind: str, unit: str = "") -> str:
    """One object.

    Args:
        prediction: of a record.
        kind: what its scores are.
        unit: of a value.
    """
    values: dict[str, Any] = {"record": prediction.record, "seconds": prediction.seconds, "kind": kind}
    if prediction.begins is not None:
        values["begins"] = prediction.begins
    if kind == VALUE:
        (name, value), *_ = prediction.scores.items()
        values.update(measurement=name, unit=unit, value=round(value, 6))
        if prediction.interval is not None:
            values["interval"] = [round(end, 6) for end in prediction.interval]
    else:
        values["scores"] = _rounded(prediction.scores)
        if prediction.similarity is not None and kind != SIMILARITY:
            values["similarity"] = _rounded(prediction.similarity)
        if prediction.answer is not None:
            answer = prediction.answer
            values.update(may_have=answer.may_have, recall=answer.recall, abstention=[str(one) for one in answer.abstention])
            if answer.whole_set is not None:
                values["whole_set"] = answer.whole_set
            if answer.unpromised:
                values["unpromised"] = answer.unpromised
        elif prediction.positive is not None:
            values["positive"] = prediction.positive
    if prediction.uncertainty is not None:
        values["uncertainty"] = float(f"{prediction.uncertainty:.6g}")
    if prediction.flat_leads:
        values["flat_leads"] = prediction.flat_leads
    if prediction.doubts:
        values["warnings"] = [str(reason) for reason in prediction.doubts]
    return json.dumps(values, ensure_ascii=False, allow_nan=False)


def class_table(
    names: Sequence[str],
    kind: str,
    records: Sequence[str],
    top: int,
    show: Print,
    titles: Mapping[str, str] = MappingProxyType({}),
) -> Callable[[Prediction], None]:
    """Print the head of a table of classes; what is returned prints the lines of a record.

    Args:
        names: the classes.
        kind: what scores are.
        records: all that may come, for the width of the first column.
        top: classes a record shows; 0: all.
        show: prints a line.
        titles: class → its name in words, at the end of its line.
    """
    first = max(len("record"), *(len(printable(record)) for record in records))
    second = max(len("class"), *(len(printable(name)) for name in names))
    both = kind == PAIR
    show("  ".join([f"{'record':<{first}}", f"{'class':<{second}}", *(["similarity"] if both else []), kind]))

    def write(prediction: Prediction) -> None:
        ranked = sorted(prediction.scores, key=lambda name: -prediction.scores[name])
        shown = ranked[: top or None]
        # Whatever counts as present is never hidden.
        shown += [name for name in ranked[len(shown) :] if name in (prediction.positive or ())]
        for index, name in enumerate(shown):
            cells = [f"{printable(prediction.record) if index == 0 else '':<{first}}", f"{printable(name):<{second}}"]
            cells += [f"{prediction.similarity[name]:>10.4f}"] if both and prediction.similarity else []
            present = "  present" if prediction.answer is None else "  may be present"
            mark = present if name in (prediction.positive or ()) else ""
            title = f"  {printable(titles[name])}" if name in titles else ""
            show("  ".join([*cells, f"{prediction.scores[name]:>{len(kind)}.4f}"]) + mark + title)
        if prediction.uncertainty is not None:
            show(f"{'':<{first}}  (uncertainty {prediction.uncertainty:.4g})")
        _remarks(prediction, first, show)

    return write


def value_table(name: str, unit: str, records: Sequence[str], show: Print) -> Callable[[Prediction], None]:
    """The same for estimates of a measurement: value, ends of the interval, and uncertainty."""
    first = max(len("record"), *(len(printable(record)) for record in records))
    head = printable(name) + (f" ({unit})" if unit else "")
    width = max(10, len(head))
    show("  ".join([f"{'record':<{first}}", f"{head:>{width}}", f"{'low':>8}", f"{'high':>8}", "uncertainty"]))

    def write(prediction: Prediction) -> None:
        (value,) = prediction.scores.values()
        ends = ["–", "–"] if prediction.interval is None else [f"{end:.2f}" for end in prediction.interval]
        own = "–" if prediction.uncertainty is None else f"{prediction.uncertainty:.4g}"
        numbers = [f"{value:>{width}.2f}", *(f"{end:>8}" for end in ends), f"{own:>11}"]
        show("  ".join([f"{printable(prediction.record):<{first}}", *numbers]))
        _remarks(prediction, first, show)

    return write


def _remarks(prediction: Prediction, indent: int, show: Print) -> None:
    if prediction.begins is not None:
        show(f"{'':<{indent}}  ({prediction.seconds:g} s from {prediction.begins:g} s on)")
    if prediction.answer is not None:
        for reason in prediction.answer.abstention:
            show(f"{'':<{indent}}  (not to be relied on, {printable(str(reason))})")
        if prediction.answer.unpromised:
            show(f"{'':<{indent}}  (nothing is promised of {printable(', '.join(prediction.answer.unpromised))})")
    if prediction.flat_leads:
        show(f"{'':<{indent}}  (no signal in {', '.join(prediction.flat_leads)})")
    if prediction.doubts:
        show(f"{'':<{indent}}  (doubtful: {', '.join(reason.code for reason in prediction.doubts)})")


def _rounded(scores: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in scores.items()}
