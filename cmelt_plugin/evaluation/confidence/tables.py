"""What confidence is worth, as tables of one or several models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cmelt_plugin.evaluation.confidence.evaluate import BEST, RANDOM, RAW, REFERRED
from cmelt_plugin.evaluation.result_files import Result
from cmelt_plugin.models.inference.calibration import METHODS
from cmelt_plugin.tables import DASH, TextTable, percent


def confidence_tables(results: Sequence[Result]) -> list[TextTable]:
    """All tables that have rows."""
    tables = [
        probability_table(results),
        decision_table(results),
        promise_table(results),
        group_table(results),
        abstention_table(results),
        referral_table(results),
        foreign_table(results),
        rise_table(results),
    ]
    return [table for table in tables if table.rows]


def probability_table(results: Sequence[Result]) -> TextTable:
    """A row per model and way to probabilities."""
    head = ["model", "probabilities", "ECE (%)", "perfect (%)", "Brier", "frequencies alone"]
    rows = []
    for result in results:
        for method in (RAW, *METHODS):
            if f"{method}/macro_ece" in result.metrics:
                cells = [
                    _percent(result, f"{method}/macro_ece"),
                    _percent(result, f"{method}/macro_ece_perfect"),
                    _number(result, f"{method}/macro_brier"),
                    _number(result, f"{method}/macro_brier_prevalence"),
                ]
                rows.append([result.model, method, *cells])
    return TextTable("Probabilities, means over classes", head, rows)


def decision_table(results: Sequence[Result]) -> TextTable:
    """A row per model and price of a found case in false alarms."""
    head = ["model", "a found case is worth", "called from (%)", "net benefit (%)", "calling all or none of a class (%)"]
    rows = []
    for result in results:
        for name in result.metrics:
            if name.startswith("benefit/"):
                cost = name[len("benefit/") :]
                cells = [_percent(result, f"{kind}/{cost}", 2) for kind in ("benefit", "benefit_best_of_none_and_all")]
                rows.append([result.model, f"{cost} false alarms", percent(1 / (1 + float(cost)), 1), *cells])
    return TextTable("Decisions by calibrated probabilities, means over classes", head, rows)


def promise_table(results: Sequence[Result]) -> TextTable:
    """A row per model: what was promised and what was kept."""
    head = ["model", "promised recall (%)", "classes", "recall (%)", "least of a class (%)", "classes per set"]
    head += ["present", "blind", "whole sets: recall (%)", "classes"]
    rows = []
    for result in results:
        if "recall" not in result.metrics:
            continue
        least = min((values["recall"] for values in result.per_class.values() if "recall" in values), default=np.nan)
        rows.append(
            [
                result.model,
                percent(result.metrics["promised"], 1),
                f"{result.metrics['promised_classes']:.0f} of {result.metrics['classes']:.0f}",
                _percent(result, "recall"),
                percent(least, 1),
                *(_number(result, name, 1) for name in ("set_size", "present", "set_size_blind")),
                _percent(result, "whole_recall"),
                _number(result, "whole_size", 1),
            ]
        )
    return TextTable("Sets with a promised recall", head, rows)


def group_table(results: Sequence[Result]) -> TextTable:
    """A row per model and group of people."""
    head = ["model", "people", "records", "recall (%)", "classes per set"]
    rows = []
    for result in results:
        for name in result.metrics:
            if name.startswith("recall_of/"):
                group = name[len("recall_of/") :]
                count = f"{result.metrics[f'records_of/{group}']:.0f}"
                rows.append([result.model, group, count, _percent(result, name), _number(result, f"set_size_of/{group}", 1)])
    return TextTable("The promise by sex and age", head, rows)


def referral_table(results: Sequence[Result]) -> TextTable:
    """A row per model and uncertainty: what is avoided where the least certain recordings are handed over."""
    shares = [f"{100 * share:g}" for share in REFERRED]
    head = ["model", "uncertainty", *(f"{share} % handed over" for share in shares)]
    rows = []
    for result in results:
        names = [name.split("/", 1)[1] for name in result.metrics if name.startswith(f"avoided_{shares[0]}/")]
        for name in names:
            rows.append([result.model, name, *(_percent(result, f"avoided_{share}/{name}") for share in shares)])
    return TextTable("Wrong decisions avoided (%; chance: what is handed over)", head, rows)


def abstention_table(results: Sequence[Result]) -> TextTable:
    """A row per model and uncertainty; losses are shares of wrong decisions."""
    head = ["model", "uncertainty", "AURC (%)", "AUGRC (%)", "Spearman", "wrong, certain half (%)", "uncertain half (%)"]
    rows = []
    for result in results:
        names = [name[len("augrc/") :] for name in result.metrics if name.startswith("augrc/")]
        ordered = [RANDOM, *(name for name in names if name not in (RANDOM, BEST)), BEST]
        for name in ordered if names else ():
            cells = [_percent(result, f"{kind}/{name}", 2) for kind in ("aurc", "augrc")]
            cells += [_number(result, f"spearman/{name}", 2)]
            cells += [_percent(result, f"{kind}/{name}", 1) for kind in ("loss_low", "loss_high")]
            rows.append([result.model, name, *cells])
    return TextTable("Abstention: what goes wrong unnoticed", head, rows)


def foreign_table(results: Sequence[Result]) -> TextTable:
    """A row per model and uncertainty, AUROC and FPR95 of each kind of foreign recording."""
    return _by_kind(results, ("auroc", "fpr95"), "Foreign recordings, AUROC / FPR95 (%; chance 50 / 95)")


def rise_table(results: Sequence[Result]) -> TextTable:
    """A row per model and uncertainty: how many foreign recordings are more uncertain than what they were made of."""
    return _by_kind(results, ("rises",), "Foreign recordings that are more uncertain than before (%; chance 50)")


def _by_kind(results: Sequence[Result], scores: Sequence[str], title: str) -> TextTable:
    found = [name.split("/", 2) for result in results for name in result.metrics if name.startswith(f"{scores[0]}/")]
    kinds = list(dict.fromkeys(kind for _, kind, _ in found))
    head = ["model", "uncertainty", *(kind.replace("_", " ") for kind in kinds)]
    rows = []
    for result in results:
        for uncertainty in dict.fromkeys(name for _, _, name in found):
            cells = []
            for kind in kinds:
                names = [f"{score}/{kind}/{uncertainty}" for score in scores]
                cells.append(" / ".join(_percent(result, name, 0) for name in names) if names[0] in result.metrics else DASH)
            if set(cells) != {DASH}:
                rows.append([result.model, uncertainty, *cells])
    return TextTable(title, head, rows)


def _percent(result: Result, name: str, digits: int = 1) -> str:
    value, spread, pair = result.metrics.get(name), result.spread.get(name), result.intervals.get(name)
    behind = "" if pair is None else f" [{percent(pair[0], digits)}, {percent(pair[1], digits)}]"
    behind += "" if spread is None else f" ± {percent(spread, digits)}"
    return DASH if value is None else percent(value, digits) + behind


def _number(result: Result, name: str, digits: int = 4) -> str:
    value, spread = result.metrics.get(name), result.spread.get(name)
    behind = "" if spread is None else f" ± {spread:.{digits}f}"
    return DASH if value is None or not np.isfinite(value) else f"{value:.{digits}f}{behind}"
