"""The model card of an exported folder: README.md with the front matter that model hubs read, filled from the run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cmelt_plugin.tables import markdown


class SystemCard(NamedTuple):
    """What a system says of itself in the cards of its models and of classifiers on its encoder.

    Attributes:
        name: of the system.
        what: what it is, after the name.
        tags: for model hubs.
        settings: those of its configuration that the card lists.
        paper: reference.
        release: reference of published weights.
        release_note: what to know of published weights.
    """

    name: str
    what: str
    tags: Sequence[str]
    settings: Sequence[str]
    paper: str
    release: str = ""
    release_note: str = ""


UNDESCRIBED = SystemCard("", "a pre-trained model of ECGs", (), (), "No reference is recorded with this system")


@dataclass
class CardFacts:
    """What is known of an exported model; what is not known is left out of the card.

    Attributes:
        name: title of the card.
        licence: licence of the weights, as model hubs abbreviate it.
        system: the system it is, or whose encoder a classifier has.
        whole: the system's own model; False: a classifier on its encoder.
        parameters: number of parameters by part.
        sizes: setting → value of the model's configuration, for the table.
        classes: classes of a classifier.
        thresholds: class → threshold of a classifier.
        measurement: what a regression estimates; "" for other models.
        leads: leads the model reads.
        text_encoder: name of the text encoder; "" where there is none.
        tokenizer: whether the folder holds the tokenizer.
        training: fact → value of the run (updates, epochs, …).
        metrics: metric → mean over the last epoch of training.
        data: manifest.json of the manifest directory, or None.
        subjects: split → number of subjects.
        results: rows (what, data set, split, records, metrics) of evaluations.
        released: converted from the authors' weights.
        about: Markdown of the model's owner, which stands first.
    """

    name: str
    licence: str
    system: SystemCard
    whole: bool
    parameters: Mapping[str, int]
    sizes: Mapping[str, Any]
    leads: Sequence[str]
    classes: Sequence[str] = ()
    thresholds: Mapping[str, float] = field(default_factory=dict)
    measurement: str = ""
    text_encoder: str = ""
    tokenizer: bool = False
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    data: Mapping[str, Any] | None = None
    subjects: Mapping[str, int] = field(default_factory=dict)
    results: Sequence[Sequence[str]] = ()
    released: bool = False
    about: str = ""


def render_card(facts: CardFacts) -> str:
    """The whole README.md."""
    classifier = bool(facts.classes)
    parts = [
        _front_matter(facts),
        f"# {facts.name}\n",
        _what(facts),
        *([f"{facts.about.strip()}\n"] if facts.about else []),
        "## Use\n",
        _usage(classifier, facts),
        "## Intended use\n",
        "Research on 12-lead ECGs: features for classifiers, retrieval and zero-shot comparison with texts"
        + (", and the classes listed below" if classifier else "")
        + ".\nNot a medical device. Nothing here has been evaluated for diagnosis or treatment.\n",
        "## Limits\n",
        _limits(facts),
        *([_classes(facts)] if classifier else []),
        "## Training\n",
        _training(facts),
        "## Training data\n",
        _data(facts),
        *([_results(facts)] if facts.results else []),
        "## Sizes\n",
        _table(("part", "parameters"), [(name, f"{count:,}") for name, count in facts.parameters.items()]),
        _table(("setting", "value"), list(facts.sizes.items())),
        "## Licence and reference\n",
        f"Weights: {facts.licence}. Software: MIT.\n\n{facts.system.release if facts.released else facts.system.paper}.\n",
    ]
    return "\n".join(parts)


def _front_matter(facts: CardFacts) -> str:
    name, *rest = facts.system.tags
    tuned = bool(facts.classes or facts.measurement)
    tags = ["ecg", "electrocardiogram", name, *(["fine-tuned"] if tuned else rest)]
    values: dict[str, Any] = {"library_name": "cmelt-plugin", "license": facts.licence, "tags": tags}
    if not tuned:
        values["pipeline_tag"] = "feature-extraction"
    # JSON is YAML, and quotes whatever needs quoting.
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in values.items()]
    return "\n".join(["---", *lines, "---", ""])


def _what(facts: CardFacts) -> str:
    total = sum(facts.parameters.values())
    encoder = f"the ECG encoder of {facts.system.name} and one linear layer"
    if facts.classes:
        text = f"A 12-lead ECG classifier of {len(facts.classes)} classes: {encoder}"
    elif facts.measurement:
        text = f"Estimates {facts.measurement} from a 12-lead ECG: {encoder}"
    elif facts.whole:
        text = f"{facts.system.name}: {facts.system.what}"
    else:
        text = f"The ECG encoder of {facts.system.name}, fine-tuned"
    origin = " Converted from the weights its authors published." if facts.released else ""
    return f"{text} ({total / 1e6:,.1f} million parameters).{origin}\n"


def _usage(classifier: bool, facts: CardFacts) -> str:
    lines = [
        "import cmelt_plugin  # pip install cmelt-plugin",
        "",
        'model = cmelt_plugin.load_pretrained("path/of/this/folder")',
    ]
    if classifier:
        lines.append('names, probabilities = model.classify("path/of/a/wfdb/record")')
    elif facts.measurement:
        lines.append('name, value = model.estimate("path/of/a/wfdb/record")')
    else:
        lines.append('embedding = model.encode_ecg(signal, sample_rate=400, leads=["I", "II", ...])  # [leads, samples], mV')
        if facts.text_encoder:
            lines.append(
                'names, similarity = model.zero_shot(signal, {"AFIB": ["atrial fibrillation"], "SR": ["sinus rhythm"]})'
            )
    note = ""
    if facts.text_encoder and not facts.tokenizer:
        note = (
            f"\nThe tokenizer is not in this folder: texts need `load_pretrained(..., tokenizer=...)` with that of "
            f"`{facts.text_encoder}`.\n"
        )
    return "```python\n" + "\n".join(lines) + "\n```\n" + note


def _limits(facts: CardFacts) -> str:
    reads = ", ".join(facts.leads)
    items = [
        f"Input: 10 s at 500 Hz in millivolts, leads {reads}. Other rates are resampled, shorter recordings padded.",
        "Performance on recorders, countries or patients unlike those of the training data is unknown until measured.",
    ]
    if facts.classes:
        items.append("Probabilities are those of the training data's class frequencies.")
    elif facts.measurement:
        items.append("Values are drawn towards the mean of the training data, the more the less a recording shows.")
    else:
        items.append("Zero-shot scores rank recordings and classes; they are not probabilities of a diagnosis.")
    if facts.released:
        items.append(facts.system.release_note)
    return "\n".join(f"- {item}" for item in items) + "\n"


def _classes(facts: CardFacts) -> str:
    rows = [(name, f"{facts.thresholds[name]:.4f}" if name in facts.thresholds else "–") for name in facts.classes]
    note = "Thresholds maximise F1 on validation data.\n\n" if facts.thresholds else ""
    return "## Classes\n\n" + note + _table(("class", "threshold"), rows)


def _training(facts: CardFacts) -> str:
    if not facts.training and not facts.metrics:
        return "Not recorded with the weights.\n"
    text = _table(("", "value"), list(facts.training.items())) if facts.training else ""
    if facts.metrics:
        text += "\nMeans over the last epoch of training, as far as it went:\n\n"
        text += _table(("metric", "value"), [(name, f"{value:.4g}") for name, value in facts.metrics.items()])
    return text


def _results(facts: CardFacts) -> str:
    head = ("evaluation", "data set", "split", "records", "metrics")
    return "## Results\n\n" + _table(head, facts.results)


def _data(facts: CardFacts) -> str:
    if facts.data is None:
        return "Not recorded with the weights.\n"
    counts = facts.data.get("counts") or {}
    rows: list[tuple[str, Any]] = [("data set", facts.data.get("data_set", ""))]
    rows += [(f"records {name}", f"{value:,}") for name, value in counts.items() if isinstance(value, int)]
    rejected = sum(value for value in (counts.get("rejected") or {}).values() if isinstance(value, int))
    rows.append(("records left out", f"{rejected:,}"))
    for split, records in (facts.data.get("splits") or {}).items():
        subjects = f" of {facts.subjects[split]:,} subjects" if facts.subjects.get(split) else ""
        rows.append((f"records in {split}", f"{records:,}{subjects}"))
    if isinstance(facts.data.get("reports"), int):
        rows.append(("different reports", f"{facts.data['reports']:,}"))
    notes = "".join(f"\n- {note}" for note in facts.data.get("notes") or [])
    return _table(("", "value"), rows) + (f"\nNotes of the preparation:\n{notes}\n" if notes else "")


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    return markdown(head, rows, numeric=False)
