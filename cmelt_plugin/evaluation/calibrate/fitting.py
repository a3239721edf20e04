"""Everything that is fitted on a calibration split: probabilities, promised recalls, limits of abstention."""

from __future__ import annotations

import datetime
from typing import Any, NamedTuple

import numpy as np

from cmelt_plugin.data.batches.labelled import labels_by_name
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.directory.training_data import training_fingerprint
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.labelled_split import LabelledSplit
from cmelt_plugin.evaluation.metrics.bootstrap import subject_groups
from cmelt_plugin.evaluation.metrics.calibration import calibration_metrics
from cmelt_plugin.evaluation.uncertainty.conformal import Promise, class_promise, set_promise
from cmelt_plugin.evaluation.uncertainty.recalibration import fit_curves, held_out_probabilities
from cmelt_plugin.evaluation.uncertainty.scorers import Scorer
from cmelt_plugin.evaluation.uncertainty.shift_weights import LARGEST, shift_weights
from cmelt_plugin.models.inference.calibration import (
    METHODS,
    TEMPERATURE,
    Calibration,
    ClassCalibration,
    Curve,
    curve_probabilities,
    expected_mistakes,
)
from cmelt_plugin.models.inference.neighbours import NEIGHBOURS, neighbour_distance

SUBJECT, RECORD = "subject", "record"
UNITS = (SUBJECT, RECORD)
VARIANCE, MISTAKES = "variance", "mistakes"
UNCERTAINTIES = (MISTAKES, VARIANCE)
MOST_POINTS = 1000
"""Recordings that distances are measured from."""
READ_AT_ONCE = 256


class Options(NamedTuple):
    """What the user chooses.

    Attributes:
        recall: to be promised.
        method: of recalibration.
        unit: ``subject``, or ``record`` where recordings of one subject count as independent.
        refused: share of recordings like those of calibration that each limit of abstention turns away; 0: no limits.
        uncertainty: what the first limit is on: ``mistakes`` that the probabilities expect, or ``variance`` of the embedding.
        seed: of folds and of the recordings that distances are measured from.
    """

    recall: float
    method: str
    unit: str = SUBJECT
    refused: float = 0.05
    uncertainty: str = MISTAKES
    seed: int = 0


def fit_calibration(
    scorer: Scorer, split: LabelledSplit, options: Options, target: Manifest | None = None, command: str = "", note: str = ""
) -> tuple[Calibration, np.ndarray | None]:
    """Calibrate a model on a split.

    Args:
        scorer: the model with its classes.
        split: records and labels that training did not see.
        options: the user's choices.
        target: unlabelled recordings of the data that the promise is for, where these are distributed otherwise.
        command: what was typed.
        note: sentence on what could not be checked.

    Returns:
        The calibration, and the points ``[M, D]`` that distances are measured from (None without abstention).

    Raises:
        DataError: a class is missing from the labels, or the options do not fit the model.
    """
    labels = labels_by_name(split.manifest, scorer.names)
    states = scorer.states(split.manifest)
    scores = scorer.scores(states)
    subjects = split.subject_id if options.unit == SUBJECT else None
    group = subject_groups(len(labels), subjects)
    curves = fit_curves(labels, scores, options.method, scorer.base)
    probabilities = curve_probabilities(curves, scores)
    notes = [note] if note else []

    weights, largest, shift = None, 1.0, {}
    if target is not None:
        weights = shift_weights(scorer.points(states), group, scorer.points(scorer.states(target)), seed=options.seed)
        largest = LARGEST
        shift = {
            **_numbers(target),
            "largest": largest,
            "cut": float((weights >= largest).mean()),
            "effective": float(weights.sum() ** 2 / np.square(weights).sum()),
        }
        notes.append("Weights for other data are estimated, and so is the promise: measure it where there are labels.")
    set_curves, whole = fit_whole_sets(labels, scores, group, options, scorer.base, weights, largest)
    classes, needed = [], 0
    for column, name in enumerate(scorer.names):
        has = labels[:, column] > 0.5
        own = None if weights is None else weights[has]
        promise = class_promise(scores[has, column], group[has], options.recall, own, largest)
        needed = promise.needed
        threshold = None if np.isnan(promise.threshold) else promise.threshold
        called = None if threshold is None else float((scores[:, column] >= threshold).mean())
        classes.append(
            ClassCalibration(
                name,
                int(has.sum()),
                int((labels[:, column] <= 0.5).sum()),
                promise.n_units,
                curves[column],
                threshold,
                called,
                None if weights is None else promise.weight,
                set_curves[column],
            )
        )
    abstention, points = _abstention(scorer, states, probabilities, group, options)
    if options.refused:
        without = [name for name in ("uncertainty", "distance") if abstention.get(name) is None]
        if without:
            notes.append(f"No limit of {' nor of '.join(without)}: too few records for one.")
    texts, absent = scorer.texts
    made = Calibration(
        kind=scorer.kind,
        model=scorer.encoder.cache.weights,
        key=scorer.key,
        label_set=split.label_set,
        score=scorer.score,
        leads=scorer.leads,
        method=options.method,
        recall=options.recall,
        unit=options.unit,
        needed=needed,
        classes=classes,
        texts=texts,
        absent=absent,
        set_threshold=None if np.isnan(whole.threshold) else whole.threshold,
        set_units=whole.n_units,
        signal_leads=_signal_leads(split.manifest, scorer.leads, options.refused),
        shift=shift,
        abstention=abstention,
        data={"data_set": split.data_set, **_numbers(split.manifest), "subjects": split.n_subjects},
        measured=held_out_metrics(scorer, labels, scores, split.subject_id, options.seed),
        notes=notes,
        date=datetime.datetime.now().replace(microsecond=0).isoformat(),
        command=command,
    )
    few = [one.name for one in classes if one.threshold is None]
    if few:
        notes.append(f"Nothing is promised of {', '.join(few)}: a recall of {options.recall:g} needs {made.enough()}.")
    return made, points


def fit_whole_sets(
    labels: np.ndarray,
    scores: np.ndarray,
    group: np.ndarray,
    options: Options,
    base: tuple[float, float] | None = None,
    weights: np.ndarray | None = None,
    largest: float = 1.0,
) -> tuple[list[Curve | None], Promise]:
    """Curves of one half of the subjects, and the threshold on their probabilities that holds for the other half.

    Curves know the labels that they were fitted on: on the same records they look better than on those to come, and a
    threshold from there would promise too much.

    Args:
        labels: ``[N, C]`` 1/0, NaN = unknown.
        scores: ``[N, C]``.
        group: ``[N]``, number of each record's subject.
        options: the user's choices.
        base: factor and offset that make logits of the scores; None: they are no logits.
        weights, largest: as :func:`~cmelt_plugin.evaluation.uncertainty.conformal.set_promise`.
    """
    first = _half(group, options.seed)
    curves = fit_curves(labels[first], scores[first], options.method, base)
    rest = None if weights is None else weights[~first]
    probabilities = curve_probabilities(curves, scores[~first])
    return curves, set_promise(labels[~first], probabilities, group[~first], options.recall, rest, largest)


def held_out_metrics(
    scorer: Scorer, labels: np.ndarray, scores: np.ndarray, subjects: list[str], seed: int = 0
) -> dict[str, float]:
    """Calibration error and Brier score of every method on folds of subjects it was not fitted on, and of no method (``raw``).

    All are of the same classes, ``classes`` of them: those for which every method has probabilities on all folds. Names are
    ``METHOD/macro_ece`` and so on; what a model has no probabilities for is left out.
    """
    group = subject_groups(len(labels), subjects)
    found: dict[str, np.ndarray | None] = {"raw": scorer.raw_probabilities(scores)}
    for method in METHODS:
        if method != TEMPERATURE or scorer.base is not None:
            found[method] = held_out_probabilities(labels, scores, group, method, scorer.base, seed=seed)
    measured = ~np.any([np.isnan(values).any(axis=0) for values in found.values() if values is not None], axis=0)
    names = [name for name, inside in zip(scorer.names, measured) if inside]
    metrics = {"classes": float(len(names))}
    for method, probabilities in found.items():
        if probabilities is not None and names:
            every = calibration_metrics(labels[:, measured], probabilities[:, measured], names, seed=seed).metrics
            metrics.update({f"{method}/{name}": value for name, value in every.items() if name.startswith("macro_")})
    return {name: value for name, value in metrics.items() if np.isfinite(value)}


def _abstention(
    scorer: Scorer, states: dict[str, np.ndarray], probabilities: np.ndarray, group: np.ndarray, options: Options
) -> tuple[dict[str, Any], np.ndarray | None]:
    """Limits that all but a share of recordings like those of calibration pass, each by itself; None: too few for one.

    Distances are measured from recordings of one half of the subjects, and the limit is that of the other half.
    """
    if not options.refused:
        return {}, None
    doubt = expected_mistakes(probabilities) if options.uncertainty == MISTAKES else scorer.variance(states)
    if doubt is None:
        raise DataError(f"--uncertainty {VARIANCE}: the embeddings of {scorer.pretrained.source} are points; take {MISTAKES}")
    near = _half(group, options.seed)
    all_points = scorer.points(states)
    bank = np.sort(np.random.default_rng(options.seed).permutation(np.flatnonzero(near))[:MOST_POINTS])
    limits: dict[str, float | None] = {"uncertainty": None, "distance": None}
    if not np.isnan(doubt).any():
        limits["uncertainty"] = _limit(doubt, group, options.refused)
    if not near.all():
        distance = neighbour_distance(all_points[~near], all_points[bank])
        limits["distance"] = _limit(distance, group[~near], options.refused)
    if limits["uncertainty"] is None and limits["distance"] is None:
        return {}, None
    settings = {"uncertainty_name": options.uncertainty, "neighbours": NEIGHBOURS, "refused": options.refused}
    return {**limits, **settings}, None if limits["distance"] is None else all_points[bank]


def _limit(values: np.ndarray, group: np.ndarray, refused: float) -> float | None:
    """What recordings like these exceed in a share ``refused`` at most; None: too few subjects."""
    # The largest limit that keeps a promise on the share that passes is the smallest one on the negative.
    limit = -class_promise(-values, group, 1 - refused).threshold
    return None if np.isnan(limit) else limit


def _half(group: np.ndarray, seed: int) -> np.ndarray:
    """Which records are of one half of the subjects, drawn at random: bool ``[N]``."""
    return np.random.default_rng(seed).permutation(int(group.max()) + 1)[group] % 2 == 0


def _signal_leads(manifest: Manifest, leads: list[str], refused: float) -> list[str]:
    """Those of ``leads`` that have a signal in all recordings but a share ``refused`` of them."""
    store, index = RecordStore(manifest.store_root), [LEADS.index(lead) for lead in leads]
    flat = np.zeros(len(index), dtype=np.int64)
    for start in range(0, len(manifest), READ_AT_ONCE):
        rows = slice(start, start + READ_AT_ONCE)
        ecg = store.read(manifest.shard[rows], manifest.row[rows])[:, index]
        flat += (ecg == ecg[..., :1]).all(axis=-1).sum(axis=0)
    return [lead for lead, number in zip(leads, flat) if number <= refused * len(manifest)]


def _numbers(manifest: Manifest) -> dict[str, Any]:
    """Split, number and fingerprints of a split's records, for the file."""
    return training_fingerprint(str(manifest.directory), manifest.split)
