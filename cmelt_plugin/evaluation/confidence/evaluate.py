"""What a model's confidence is worth on a split when it was calibrated on another."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cmelt_plugin.data.batches.labelled import labels_by_name
from cmelt_plugin.data.directory.manifest import available_splits
from cmelt_plugin.evaluation.calibrate.fitting import Options, fit_calibration
from cmelt_plugin.evaluation.confidence.uncertainties import DROPOUT, MAX_PROBABILITY, Doubter, passes_over
from cmelt_plugin.evaluation.labelled_split import LabelledSplit, open_labelled
from cmelt_plugin.evaluation.linear_probe.train import ProbeSettings, seeded_run, train_probes
from cmelt_plugin.evaluation.metrics.bootstrap import metrics_of_sums, percentile_interval, subject_groups
from cmelt_plugin.evaluation.metrics.calibration import calibration_metrics, reliability
from cmelt_plugin.evaluation.metrics.decision_curve import benefit_cells, benefit_of_sums
from cmelt_plugin.evaluation.metrics.detection import detection
from cmelt_plugin.evaluation.metrics.regression import spearman
from cmelt_plugin.evaluation.metrics.selective import best_areas, mistakes_avoided, random_areas, risk_coverage
from cmelt_plugin.evaluation.metrics.thresholds import choose_thresholds
from cmelt_plugin.evaluation.metrics.uncertainty import binned_trend, median_halves
from cmelt_plugin.evaluation.uncertainty.recalibration import fit_curves
from cmelt_plugin.evaluation.uncertainty.scorers import Scorer
from cmelt_plugin.models.inference.calibration import METHODS, TEMPERATURE, Calibration, curve_probabilities
from cmelt_plugin.models.inference.linear_probe import Probe

RAW, RANDOM, BEST = "raw", "random", "best possible"
N_PROBES = 3
REFERRED = (0.05, 0.1, 0.2)
"""Shares of recordings that are handed over."""
AGES = (("under 50", 0.0, 50.0), ("50 to 69", 50.0, 70.0), ("70 and older", 70.0, np.inf))
"""Groups of people, in years."""


class Evaluated(NamedTuple):
    """Metrics, their intervals, metrics of classes, sentences, and arrays for figures."""

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    per_class: dict[str, dict[str, float]]
    notes: list[str]
    arrays: dict[str, np.ndarray]


def evaluate_confidence(
    scorer: Scorer, test: LabelledSplit, valid: LabelledSplit, options: Options, kinds: Sequence[str], args: argparse.Namespace
) -> Evaluated:
    """All metrics of a model on ``test``, with everything that is fitted taken from ``valid``.

    Args:
        scorer: the model with its classes.
        test, valid: of the same classes.
        options: of calibration.
        kinds: of foreign recordings.
        args: ``bootstrap``, ``seed``, ``passes``, ``foreign_records``, ``probes``, ``cost``.
    """
    labels, valid_labels = (labels_by_name(split.manifest, scorer.names) for split in (test, valid))
    states, valid_states = scorer.states(test.manifest), scorer.states(valid.manifest)
    scores, valid_scores = scorer.scores(states), scorer.scores(valid_states)
    calibration, _ = fit_calibration(scorer, valid, options)
    parts = [
        _probabilities(scorer, labels, scores, valid_labels, valid_scores, test.subject_id, args),
        _promises(calibration, labels, scores, test.subject_id, args),
        _promises_of_groups(calibration, labels, scores, test, args),
        _decisions(calibration, labels, scores, test.subject_id, args),
    ]
    thresholds = choose_thresholds(valid_labels, valid_scores)
    probes, note = _probe_ensemble(scorer, Path(test.manifest.directory), args) if args.probes else ([], "")
    curves = [one.curve for one in calibration.classes]
    doubter = Doubter(scorer, curves, thresholds, scorer.points(valid_states), probes, args.passes)
    features = scorer.encoder.features(test.manifest) if probes else None
    uncertainties = doubter.of_states(states, features)
    dropout, foreign = passes_over(doubter, test.manifest, kinds, args.foreign_records, args.seed)
    if MAX_PROBABILITY not in uncertainties:
        parts.append(Evaluated({}, {}, {}, ["No max-probability: no class has both probabilities and a threshold."], {}))
    if dropout is not None:
        uncertainties[DROPOUT] = dropout
    elif args.passes and not doubter.dropout_passes:
        parts.append(Evaluated({}, {}, {}, ["No MC dropout: no class has probabilities."], {}))
    elif args.passes:
        parts.append(Evaluated({}, {}, {}, ["No MC dropout: this encoder drops nothing."], {}))
    parts.append(_abstention(uncertainties, labels, scores, thresholds, test.subject_id, args))
    parts.append(_foreign(uncertainties, foreign))
    joined = Evaluated({}, {}, {name: {} for name in scorer.names}, [], {})
    for part in parts:
        joined.metrics.update(part.metrics)
        joined.intervals.update(part.intervals)
        joined.notes.extend(part.notes)
        joined.arrays.update(part.arrays)
        for name, values in part.per_class.items():
            joined.per_class[name].update(values)
    joined.notes.extend([note] if note else [])
    return joined


def _probabilities(
    scorer: Scorer,
    labels: np.ndarray,
    scores: np.ndarray,
    valid_labels: np.ndarray,
    valid_scores: np.ndarray,
    subjects: Sequence[str],
    args: argparse.Namespace,
) -> Evaluated:
    """``METHOD/macro_ece`` … of the model's own probabilities and of every recalibration."""
    found = {RAW: scorer.raw_probabilities(scores)}
    for method in METHODS:
        if method != TEMPERATURE or scorer.base is not None:
            found[method] = curve_probabilities(fit_curves(valid_labels, valid_scores, method, scorer.base), scores)
    result = Evaluated({}, {}, {}, [], {})
    for method, probabilities in found.items():
        if probabilities is None:
            result.notes.append("The model gives similarities, no probabilities of its own.")
            continue
        every = calibration_metrics(labels, probabilities, scorer.names, subjects, args.bootstrap, args.seed)
        macro = {name: value for name, value in every.metrics.items() if name.startswith("macro_")}
        result.metrics.update({f"{method}/{name}": value for name, value in macro.items()})
        result.intervals.update({f"{method}/{name}": pair for name, pair in every.intervals.items() if name in macro})
        for name in scorer.names:
            if f"ece/{name}" in every.metrics:
                own = {f"{method}_{kind}": every.metrics[f"{kind}/{name}"] for kind in ("ece", "brier")}
                result.per_class.setdefault(name, {}).update(own)
        cells = reliability(labels.ravel(), probabilities.ravel())
        result.arrays[f"reliability_{method}"] = np.stack(cells)
    return result


def _promises(
    calibration: Calibration, labels: np.ndarray, scores: np.ndarray, subjects: Sequence[str], args: argparse.Namespace
) -> Evaluated:
    """Recalls of the sets, per class and of their mean, and how large the sets are.

    A recall is a mean over subjects (or records, as was promised) of the share of their recordings with the class that has it
    in its set.
    """
    group = subject_groups(len(labels), subjects if calibration.unit == "subject" else None)
    sets, positive = calibration.sets(scores), labels > 0.5
    promised = [column for column, one in enumerate(calibration.classes) if one.threshold is not None]
    result = Evaluated({}, {}, {}, [], {})
    result.metrics.update(promised=calibration.recall, promised_classes=float(len(promised)), classes=float(len(sets.T)))
    if not promised:
        few = f"a recall of {calibration.recall:g} needs {calibration.enough()}"
        result.notes.append(f"Nothing is promised: for each class {few}, and none has them.")
        return result
    cells = np.zeros((len(labels), 2 * len(promised)))
    for place, column in enumerate(promised):
        own = positive[:, column]
        share = own / np.maximum(np.bincount(group, weights=own)[group], 1)
        cells[:, 2 * place], cells[:, 2 * place + 1] = share * sets[:, column], share

    def recalls(sums: np.ndarray) -> dict[str, float]:
        kept, all_of = sums[0::2], sums[1::2]
        each = np.divide(kept, all_of, out=np.full(len(kept), np.nan), where=all_of > 0)
        known = each[~np.isnan(each)]
        names = [calibration.classes[column].name for column in promised]
        macro = float(known.mean()) if len(known) else float("nan")
        return {"recall": macro, **{f"recall/{name}": value for name, value in zip(names, each)}}

    metrics, intervals = metrics_of_sums(cells, group, recalls, args.bootstrap, args.seed)
    result.metrics["recall"] = metrics["recall"]
    for place, column in enumerate(promised):
        name, one = calibration.classes[column].name, calibration.classes[column]
        values = {"calibration_units": float(one.units), "units": cells[:, 2 * place + 1].sum()}
        values["called"] = float(sets[:, column].mean())
        if f"recall/{name}" in metrics:
            values["recall"] = metrics[f"recall/{name}"]
            low, high = intervals.get(f"recall/{name}", (np.nan, np.nan))
            values.update(recall_low=low, recall_high=high)
        result.per_class[name] = values
    for name, pair in intervals.items():
        result.intervals[name] = pair
    size = sets[:, promised].sum(axis=1)
    result.metrics.update(set_size=float(size.mean()), present=float(positive[:, promised].sum(axis=1).mean()))
    result.metrics["set_size_blind"] = calibration.recall * len(promised)
    whole = calibration.whole_sets(scores)
    if whole is not None:
        counted = positive & np.array([one.set_curve is not None for one in calibration.classes])
        some = counted.any(axis=1)
        found = (whole & counted).sum(axis=1)[some] / counted.sum(axis=1)[some]
        weight = 1.0 / np.bincount(group[some])[group[some]]
        result.metrics["whole_recall"] = float((found * weight).sum() / weight.sum())
        result.metrics["whole_size"] = float(whole.sum(axis=1).mean())
    return result


def _promises_of_groups(
    calibration: Calibration, labels: np.ndarray, scores: np.ndarray, test: LabelledSplit, args: argparse.Namespace
) -> Evaluated:
    """``recall/GROUP`` and ``set_size/GROUP`` of women, men and ages: a promise to all is none to a group of them."""
    meta = test.manifest.meta(["sex", "age"])
    sex, age = np.array(meta["sex"].to_pylist(), dtype=object), meta["age"].to_numpy().astype(np.float64)
    groups = {"women": sex == "F", "men": sex == "M", **{name: (age >= low) & (age < high) for name, low, high in AGES}}
    result = Evaluated({}, {}, {}, [], {})
    for name, inside in groups.items():
        rows = np.flatnonzero(inside)
        if not len(rows):
            continue
        found = _promises(calibration, labels[rows], scores[rows], [test.subject_id[row] for row in rows], args)
        if "recall" in found.metrics:
            result.metrics.update({f"{key}_of/{name}": found.metrics[key] for key in ("recall", "set_size")})
            result.metrics[f"records_of/{name}"] = float(len(rows))
            if "recall" in found.intervals:
                result.intervals[f"recall_of/{name}"] = found.intervals["recall"]
    return result


def _decisions(
    calibration: Calibration, labels: np.ndarray, scores: np.ndarray, subjects: Sequence[str], args: argparse.Namespace
) -> Evaluated:
    """``benefit/COST`` of the calibrated probabilities, and of calling everybody positive: means over classes."""
    probabilities, group = calibration.probabilities(scores), subject_groups(len(labels), subjects)
    result = Evaluated({}, {}, {}, [], {})
    for cost in args.cost:
        cells = [benefit_cells(labels[:, column], probabilities[:, column], cost) for column in range(labels.shape[1])]

        def benefits(sums: np.ndarray, cost: float = cost) -> dict[str, float]:
            every = [benefit_of_sums(one, cost) for one in sums.reshape(-1, 4)]
            known = np.array([one for one in every if not np.isnan(one.model)]).reshape(-1, 2)
            model, everybody = known.mean(axis=0) if len(known) else (np.nan, np.nan)
            best = np.maximum(known[:, 1], 0).mean() if len(known) else np.nan
            names = ("benefit", "benefit_everybody", "benefit_best_of_none_and_all")
            return {f"{name}/{cost:g}": float(value) for name, value in zip(names, (model, everybody, best))}

        metrics, intervals = metrics_of_sums(np.concatenate(cells, axis=1), group, benefits, args.bootstrap, args.seed)
        result.metrics.update(metrics)
        result.intervals.update({name: pair for name, pair in intervals.items() if name.startswith("benefit/")})
    return result


def _abstention(
    uncertainties: dict[str, np.ndarray],
    labels: np.ndarray,
    scores: np.ndarray,
    thresholds: np.ndarray,
    subjects: Sequence[str],
    args: argparse.Namespace,
) -> Evaluated:
    """Risk–coverage of every uncertainty; the loss of a record is its share of wrong decisions."""
    decided = ~np.isnan(thresholds)
    known = ~np.isnan(labels[:, decided])
    wrong = known & ((labels[:, decided] > 0.5) != (scores[:, decided] >= thresholds[decided]))
    rows = np.flatnonzero(known.any(axis=1))
    result = Evaluated({}, {}, {}, [], {})
    if not len(rows):
        result.notes.append("No decisions: no class has a threshold from validation data.")
        return result
    loss = (wrong.sum(axis=1)[rows] / known.sum(axis=1)[rows]).astype(np.float64)
    result.metrics["loss"] = float(loss.mean())
    for name, areas in ((RANDOM, random_areas(loss)), (BEST, best_areas(loss))):
        result.metrics.update({f"aurc/{name}": areas[0], f"augrc/{name}": areas[1]})
    result.arrays["risk_best"] = risk_coverage(loss, loss).risk
    group = subject_groups(len(labels), subjects)[rows]
    for name, every in uncertainties.items():
        doubt = every[rows]
        curves = risk_coverage(loss, doubt)
        halves = median_halves(doubt)
        trend = binned_trend(doubt, lambda part: float(loss[part].mean()))
        values = {
            "aurc": curves.aurc,
            "augrc": curves.augrc,
            "spearman": spearman(doubt, loss),
            "loss_low": float(loss[halves.low].mean()),
            "loss_high": float(loss[halves.high].mean()) if len(halves.high) else float("nan"),
            "pearson_bins": trend.pearson,
        }
        values.update({f"avoided_{100 * share:g}": mistakes_avoided(curves, share) for share in REFERRED})
        result.metrics.update({f"{kind}/{name}": value for kind, value in values.items()})
        result.arrays[f"risk_{name}"] = curves.risk
        for kind, pair in _area_intervals(loss, doubt, group, args.bootstrap, args.seed).items():
            result.intervals[f"{kind}/{name}"] = pair
    return result


def _area_intervals(
    loss: np.ndarray, doubt: np.ndarray, group: np.ndarray, n: int, seed: int
) -> dict[str, tuple[float, float]]:
    _, number = np.unique(group, return_inverse=True)
    records: list[list[int]] = [[] for _ in range(int(number.max()) + 1)]
    for row, subject in enumerate(number.tolist()):
        records[subject].append(row)
    rng = np.random.default_rng(seed)
    areas: list[list[float]] = []
    for _ in range(n):
        rows = [row for subject in rng.integers(len(records), size=len(records)).tolist() for row in records[subject]]
        curves = risk_coverage(loss[rows], doubt[rows])
        areas.append([curves.aurc, curves.augrc, *(mistakes_avoided(curves, share) for share in REFERRED)])
    names = ["aurc", "augrc", *(f"avoided_{100 * share:g}" for share in REFERRED)]
    pairs = {kind: percentile_interval(values) for kind, values in zip(names, np.array(areas).reshape(-1, len(names)).T)}
    return {kind: pair for kind, pair in pairs.items() if pair is not None}


def _foreign(uncertainties: dict[str, np.ndarray], foreign: dict[str, dict[str, np.ndarray]]) -> Evaluated:
    """``auroc/KIND/NAME`` and ``fpr95/KIND/NAME``, and how many recordings of each kind are more uncertain than themselves."""
    metrics = {}
    for kind, found in foreign.items():
        for name, values in found.items():
            own = uncertainties[name]
            detected = detection(own, values)
            metrics[f"auroc/{kind}/{name}"], metrics[f"fpr95/{kind}/{name}"] = detected.auroc, detected.fpr95
            metrics[f"rises/{kind}/{name}"] = float((values > own[: len(values)]).mean())
    return Evaluated(metrics, {}, {}, [], {})


def _probe_ensemble(scorer: Scorer, directory: Path, args: argparse.Namespace) -> tuple[list[Probe], str]:
    """Probes on the directory's training split that differ in their seed; none, and why, where there is no such split."""
    if "train" not in available_splits(directory):
        return [], f"No probes: {directory} has no training split."
    train = open_labelled(directory, "train")
    features = scorer.encoder.features(train.manifest)
    labels = labels_by_name(train.manifest, scorer.names)
    settings = ProbeSettings(select="last", epochs=args.probe_epochs)
    rows = np.flatnonzero(~np.isnan(labels).all(axis=1))
    runs = [seeded_run(rows, labels.shape[1], features.shape[1], args.seed + number) for number in range(N_PROBES)]
    return train_probes(features, labels, runs, settings), ""


def settings_of(scorer: Scorer, args: argparse.Namespace, valid: LabelledSplit) -> dict[str, Any]:
    """What decides the metrics."""
    return {
        **scorer.settings,
        "manifest": str(args.manifest),
        "calibrated_on": f"{valid.manifest.directory}/{valid.manifest.split}",
        "calibration_records": len(valid.labels),
        "calibration_subjects": valid.n_subjects,
        "recall": args.recall,
        "unit": args.unit,
        "method": args.method,
        "passes": args.passes,
        "probe_epochs": args.probe_epochs if args.probes else 0,
        "foreign_records": args.foreign_records,
        "bootstrap": args.bootstrap,
        "seed": args.seed,
    }
