"""Everything that is fitted on a calibration split: probabilities, promised recalls, limits of abstention."""

from __future__ import annotations

import datetime
from typing import Any, NamedTuple

import numpy as np

from cmelt_plugin.data.batches.labelled import labels_by_name
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.directory.training_data import training_fingerprint
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.labelled_split import LabelledSplit
from cmelt_plugin.evaluation.metrics.bootstrap import subject_groups
from cmelt_plugin.evaluation.metrics.calibration import calibration_metrics
from cmelt_plugin.evaluation.uncertainty.conformal import class_promise, set_promise
from cmelt_plugin.evaluation.uncertainty.recalibration import curve_probabilities, fit_curves, held_out_probabilities
from cmelt_plugin.evaluation.uncertainty.scorers import Scorer
from cmelt_plugin.evaluation.uncertainty.shift_weights import LARGEST, shift_weights
from cmelt_plugin.models.inference.calibration import METHODS, TEMPERATURE, Calibration, ClassCalibration, expected_mistakes
from cmelt_plugin.models.inference.neighbours import NEIGHBOURS, neighbour_distance

SUBJECT, RECORD = "subject", "record"
UNITS = (SUBJECT, RECORD)
VARIANCE, MISTAKES = "variance", "mistakes"
UNCERTAINTIES = (MISTAKES, VARIANCE)
MOST_POINTS = 1000
"""Recordings that distances are measured from."""


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
    classes, needed = [], 0
    for column, name in enumerate(scorer.names):
        has = labels[:, column] > 0.5
        own = None if weights is None else weights[has]
        promise = class_promise(scores[has, column], group[has], options.recall, own, largest)
        needed = promise.needed
        threshold = None if np.isnan(promise.threshold) else promise.threshold
        called = None if threshold is None else float((scores[:, column] >= threshold).mean())
        n_negative = int((labels[:, column] <= 0.5).sum())
        classes.append(ClassCalibration(name, int(has.sum()), n_negative, promise.n_units, curves[column], threshold, called))
    whole = set_promise(labels, probabilities, group, options.recall, weights, largest)
    few = [one.name for one in classes if one.threshold is None]
    if few:
        wanted = f"a recall of {options.recall:g} needs {needed} {options.unit}s with it"
        notes.append(f"Nothing is promised of {', '.join(few)}: {wanted}.")
    abstention, points = _abstention(scorer, states, probabilities, group, options)
    if options.refused and not abstention:
        notes.append("No limits of abstention: too few records for them.")
    texts, absent = scorer.texts
    calibration = Calibration(
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
        shift=shift,
        abstention=abstention,
        data={"data_set": split.data_set, **_numbers(split.manifest), "subjects": split.n_subjects},
        measured=held_out_metrics(scorer, labels, scores, split.subject_id, options.seed),
        notes=notes,
        date=datetime.datetime.now().replace(microsecond=0).isoformat(),
        command=command,
    )
    return calibration, points


def held_out_metrics(
    scorer: Scorer, labels: np.ndarray, scores: np.ndarray, subjects: list[str], seed: int = 0
) -> dict[str, float]:
    """Calibration error and Brier score of every method on folds of subjects it was not fitted on, and of no method (``raw``).

    Names are ``METHOD/macro_ece`` and so on; what a model has no probabilities for is left out.
    """
    group = subject_groups(len(labels), subjects)
    found: dict[str, np.ndarray | None] = {"raw": scorer.raw_probabilities(scores)}
    for method in METHODS:
        if method != TEMPERATURE or scorer.base is not None:
            found[method] = held_out_probabilities(labels, scores, group, method, scorer.base, seed=seed)
    metrics: dict[str, float] = {}
    for method, probabilities in found.items():
        if probabilities is not None:
            every = calibration_metrics(labels, probabilities, scorer.names, seed=seed).metrics
            metrics.update({f"{method}/{name}": value for name, value in every.items() if name.startswith("macro_")})
    return {name: value for name, value in metrics.items() if np.isfinite(value)}


def _abstention(
    scorer: Scorer, states: dict[str, np.ndarray], probabilities: np.ndarray, group: np.ndarray, options: Options
) -> tuple[dict[str, Any], np.ndarray | None]:
    """Limits that all but a share of recordings like those of calibration pass, each by itself.

    Distances are measured from recordings of one half of the subjects, and the limit is that of the other half.
    """
    if not options.refused:
        return {}, None
    doubt = expected_mistakes(probabilities) if options.uncertainty == MISTAKES else scorer.variance(states)
    if doubt is None:
        raise DataError(f"--uncertainty {VARIANCE}: the embeddings of {scorer.pretrained.source} are points; take {MISTAKES}")
    rng = np.random.default_rng(options.seed)
    near = rng.permutation(int(group.max()) + 1)[group] % 2 == 0
    all_points = scorer.points(states)
    bank = np.flatnonzero(near)
    bank = np.sort(rng.permutation(bank)[:MOST_POINTS])
    passed = 1 - options.refused
    if np.isnan(doubt).any() or not len(bank) or near.all():
        return {}, None
    distance = neighbour_distance(all_points[~near], all_points[bank])
    # The largest limit that keeps a promise on the share that passes is the smallest one on the negative.
    doubt_limit = -class_promise(-doubt, group, passed).threshold
    distance_limit = -class_promise(-distance, group[~near], passed).threshold
    if np.isnan(doubt_limit) or np.isnan(distance_limit):
        return {}, None
    limits = {"uncertainty_name": options.uncertainty, "uncertainty": doubt_limit, "distance": distance_limit}
    return {**limits, "neighbours": NEIGHBOURS, "refused": options.refused}, all_points[bank]


def _numbers(manifest: Manifest) -> dict[str, Any]:
    """Split, number and fingerprints of a split's records, for the file."""
    return training_fingerprint(str(manifest.directory), manifest.split)
