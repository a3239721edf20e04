"""From what the commands of the proof wrote to its metrics, all of them results of one form."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cmelt_plugin.data.files import read_json, write_json
from cmelt_plugin.data.leads import parse_leads
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.labelled_split import LabelledSplit, open_labelled
from cmelt_plugin.evaluation.lead_sets import lead_set_name
from cmelt_plugin.evaluation.options import CommandFacts
from cmelt_plugin.evaluation.result_files import Result, Scores, read_result
from examples.synthetic_model.measures import LEAST, chosen_columns, measured
from examples.synthetic_model.probes import CHOICE_FILE, FRACTIONS, in_folds
from examples.synthetic_model.proof_steps import (
    CONTINUED,
    LEAD_SETS,
    MODEL,
    SPLITS,
    TASKS,
    TEST,
    TRAINING,
    UNTRAINED,
    candidates,
    classifiers,
    manifest,
    untrained,
)
from preprocess.ptb_xl import read_database

LEAST_SMALL = 3
"""As :data:`LEAST`, in the sample of the challenge."""
FACTS = CommandFacts("", "", "python examples/synthetic_model/proof.py")


class Answer(NamedTuple):
    """What the model said about one record of a sample that is too small for an AUC.

    Attributes:
        record: its id.
        truth: its classes.
        first: the classes most similar to it, best first.
        place: of the best of its classes among all, from 1.
        classes: that there are.
    """

    record: str
    truth: list[str]
    first: list[str]
    place: int
    classes: int


class Proof(NamedTuple):
    """All metrics.

    Attributes:
        zero_shot: (model, set, folds) → result; ``untrained`` is all encoders of random weights together.
        leads: (set, lead set) → result.
        probes: (model, set, ``validated`` or share of the labels) → result.
        features: model → features of its probes.
        finetuned: (set, where the encoder starts, share of the labels, learning rate) → result.
        answers: set → an answer a record.
    """

    zero_shot: dict[tuple[str, str, str], Result]
    leads: dict[tuple[str, str], Result]
    probes: dict[tuple[str, str, str], Result]
    features: dict[str, list[str]]
    finetuned: dict[tuple[str, str, float, float], Result]
    answers: dict[str, list[Answer]]


def collect(real: Path, dest: Path, seeds: int) -> Proof:
    """The metrics of everything that was run below ``dest``."""
    table = read_database(real / "ptb-xl")
    fold = dict(zip(table["ecg_id"], table["strat_fold"]))
    return Proof(
        dict(_zero_shot(dest, fold, seeds)),
        dict(_leads(dest)),
        dict(_probes(dest, seeds)),
        _features(dest, seeds),
        dict(_finetuned(dest, seeds)),
        _answers(dest),
    )


def _place(dest: Path, model: str, name: str) -> Path:
    return dest / "zero_shot" / model / name


def _scores(folder: Path, split: LabelledSplit) -> np.ndarray:
    """Scores ``[N, C]`` of a result, checked against the records that they belong to.

    Raises:
        DataError: they are of other records.
    """
    stored = read_result(folder).scores()
    if stored is None or (list(stored.record_id), list(stored.names)) != (split.record_id, split.names):
        raise DataError(f"{folder}: not the scores of {split.manifest.directory}; delete it and run the command again")
    return stored.scores


def _zero_shot(dest: Path, fold: dict[str, str], seeds: int) -> Iterator[tuple[tuple[str, str, str], Result]]:
    models = {MODEL: [MODEL], CONTINUED: [CONTINUED], UNTRAINED: untrained(seeds)}
    for name in [*TASKS, *(f"{task}-standardised" for task in TASKS), "cinc2021", "cinc2021-standardised"]:
        if not manifest(dest, name).is_dir():
            continue
        split = open_labelled(manifest(dest, name), "test")
        parts = {"all": np.arange(len(split.record_id))}
        if not name.startswith("cinc2021"):
            parts.update({folds: in_folds(split, fold, folds) for folds in (TRAINING, TEST)})
        for model, members in models.items():
            folders = [_place(dest, member, name) for member in members]
            if not all(folder.is_dir() for folder in folders):
                continue
            scores = [_scores(folder, split) for folder in folders]
            for folds, rows in parts.items():
                columns = chosen_columns(split.labels[rows], LEAST_SMALL if name.startswith("cinc2021") else LEAST)
                result, _ = measured("zero_shot", split, rows, columns, scores, FACTS)
                yield (model, name, folds), result


def _leads(dest: Path) -> Iterator[tuple[tuple[str, str], Result]]:
    for task in TASKS:
        for leads in LEAD_SETS:
            folder = dest / "zero_shot" / "leads" / f"{task}-{lead_set_name(parse_leads(leads))}"
            if folder.is_dir():
                split = open_labelled(manifest(dest, task), "test")
                rows = np.arange(len(split.record_id))
                result, _ = measured("zero_shot", split, rows, chosen_columns(split.labels), [_scores(folder, split)], FACTS)
                yield (task, leads), result


def _probes(dest: Path, seeds: int) -> Iterator[tuple[tuple[str, str, str], Result]]:
    for model in (MODEL, CONTINUED, *untrained(seeds)):
        for task in TASKS:
            for size in ("validated", *(f"{100 * fraction:g}pct" for fraction in FRACTIONS)):
                folder = dest / "results" / "probes" / model / f"{task}-{size}"
                if folder.is_dir():
                    yield (model, task, size), read_result(folder).result


def _features(dest: Path, seeds: int) -> dict[str, list[str]]:
    places = {model: dest / "results" / "probes" / model / CHOICE_FILE for model in (MODEL, CONTINUED, *untrained(seeds))}
    return {model: read_json(path) for model, path in places.items() if path.is_file()}


def _finetuned(dest: Path, seeds: int) -> Iterator[tuple[tuple[str, str, float, float], Result]]:
    found: dict[tuple[str, str, float, float], list[Path]] = {}
    for one in [*classifiers(seeds), *candidates()]:
        folder = dest / "results" / "finetuned" / one.name
        found.setdefault((one.data, one.start, one.fraction, one.rate), []).append(folder)
    for key, folders in found.items():
        if all(folder.is_dir() for folder in folders):
            trained, split = (open_labelled(manifest(dest, key[0]), name) for name in ("train", "test"))
            scores = [_by_name(read_result(folder).scores(), split) for folder in folders]
            rows, columns = np.arange(len(split.record_id)), chosen_columns(split.labels, trained=trained.labels)
            yield key, measured("finetune", split, rows, columns, scores, FACTS)[0]


def _by_name(stored: Scores | None, split: LabelledSplit) -> np.ndarray:
    assert stored is not None
    names = list(stored.names)
    return stored.scores[:, [names.index(name) for name in split.names]]


def _answers(dest: Path) -> dict[str, list[Answer]]:
    """Of the samples of ten records; the published splits of CPSC2018 divide them."""
    places = [("cpsc2018", f"cpsc2018-{split}", split) for split in SPLITS] + [("code15", MODEL, "test")]
    found: dict[str, list[Answer]] = {}
    for name, folder, split_name in places:
        if not _place(dest, folder, name).is_dir():
            continue
        split = open_labelled(manifest(dest, name), split_name)
        for record, labels, scores in zip(split.record_id, split.labels, _scores(_place(dest, folder, name), split)):
            order = [split.names[column] for column in np.argsort(-scores, kind="stable")]
            truth = [split.names[column] for column in np.flatnonzero(labels == 1)]
            if not truth:
                continue
            place = 1 + min(order.index(one) for one in truth)
            found.setdefault(name, []).append(Answer(record, truth, order[:3], place, len(order)))
    return found


def summary(proof: Proof) -> dict[str, Any]:
    """The metrics as JSON values."""

    def plain(result: Result) -> dict[str, Any]:
        return {
            "records": result.n_records,
            "subjects": result.n_subjects,
            "macro_auc": result.metrics["macro_auc"],
            "interval": result.intervals.get("macro_auc"),
            "spread": result.spread.get("macro_auc"),
            "classes": {
                name: {"positives": entry["positives"], "auc": entry["auc"], "interval": result.intervals.get(f"auc/{name}")}
                for name, entry in result.per_class.items()
            },
        }

    named = {"zero_shot": proof.zero_shot, "leads": proof.leads, "probes": proof.probes, "finetuned": proof.finetuned}
    values: dict[str, Any] = {
        kind: {" ".join(map(str, key)): plain(result) for key, result in results.items()} for kind, results in named.items()
    }
    return {
        **values,
        "features": proof.features,
        "answers": {name: [a._asdict() for a in all_] for name, all_ in proof.answers.items()},
    }


def write_summary(path: Path, proof: Proof) -> None:
    """Write ``proof.json``."""
    write_json(path, summary(proof))
