"""Answers of a calibrated model: probabilities, classes that may be present with a promised recall, or why there is no answer.

Needs a calibration (:mod:`.calibration`) of the model's own classes, or of the texts it was calibrated with.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from cmelt_plugin.data.leads import LEADS, lead_keep_mask
from cmelt_plugin.data.plausibility import Reason
from cmelt_plugin.data.prepared_ecg import PreparedECG
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.files.weights_fingerprint import weights_fingerprint
from cmelt_plugin.models.inference.calibration import (
    CALIBRATION_FILE,
    CLASSIFIER,
    LINEAR_PROBE,
    ZERO_SHOT,
    against_the_others,
    calibration_folders,
    calibration_root,
    classes_key,
    expected_mistakes,
    read_calibration,
    read_points,
)
from cmelt_plugin.models.inference.linear_probe import load_probe
from cmelt_plugin.models.inference.neighbours import neighbour_distance, unit_rows
from cmelt_plugin.models.inference.scoring import score_settings, similarities

UNCERTAIN, FOREIGN, LEAD_MISSING, TOO_SMALL = "too-uncertain", "out-of-distribution", "lead-missing", "calibration-too-small"
COMMAND = "python -m cmelt_plugin.evaluation.calibrate"


class Answer(NamedTuple):
    """What a calibrated model says about one recording.

    Attributes:
        probability: class → probability, for the classes that have one.
        may_have: the classes of the set: of recordings with a class, the promised share has it in theirs. Classes of which
            nothing is promised are not in it, nor ruled out by it.
        recall: what is promised.
        whole_set: classes that hold the promised share of *all* classes of a recording, on average over recordings with any;
            None: calibration had too few records for that. A class with too few of them is not part of it.
        unpromised: the classes of which nothing is promised, because calibration had too few records with them.
        abstention: why the rest should not be relied on; empty: it may. Codes: ``too-uncertain``, ``out-of-distribution``,
            ``lead-missing``, ``calibration-too-small``.
    """

    probability: dict[str, float]
    may_have: list[str]
    whole_set: list[str] | None
    recall: float
    unpromised: list[str]
    abstention: tuple[Reason, ...]


class Answerer:
    """A model with one calibration.

    Args:
        pretrained: from ``load_pretrained``.
        classes: which calibration, where there are several: its label set, or the name of its folder.
        root: folder of the calibrations; None: beside the model, or what was put on it.
        probe: file of a linear probe on the model, whose classes are asked for.

    Raises:
        DataError: there is no calibration, there are several, or it is of other weights or damaged.
    """

    def __init__(
        self,
        pretrained: Any,
        classes: str | None = None,
        root: str | os.PathLike | None = None,
        probe: str | os.PathLike | None = None,
    ) -> None:
        self.pretrained = pretrained
        self.probe, self.pool = None, None
        if probe is not None:
            self.probe, self.probe_names, info = load_probe(probe)
            self.pool = info.get("pool")
        beside = calibration_root(pretrained.source, probe, pretrained.variances)
        wanted = LINEAR_PROBE if probe is not None else CLASSIFIER if pretrained.is_classifier else ZERO_SHOT
        self.folder = _chosen(pretrained.source, wanted, classes, beside if root is None else Path(root))
        self.calibration = read_calibration(self.folder)
        self._check()
        self.points = None if self.calibration.abstention.get("distance") is None else read_points(self.folder)
        self.present = self.absent = None
        if self.calibration.kind == ZERO_SHOT:
            _, self.present = pretrained.class_embeddings(self.calibration.texts)
            if self.calibration.absent:
                _, self.absent = pretrained.class_embeddings(self.calibration.absent)

    def answer_prepared(self, prepared: PreparedECG, batch_size: int = 64) -> list[Answer]:
        """An answer for each of the B recordings that ``prepare`` has prepared."""
        scores, points, variance = self._scores(prepared, batch_size)
        calibration = self.calibration
        probabilities, sets = calibration.probabilities(scores), calibration.sets(scores)
        unpromised = [one.name for one in calibration.classes if one.threshold is None]
        whole = calibration.whole_sets(scores)
        limits, distance, doubt = calibration.abstention, None, None
        if self.points is not None:
            distance = neighbour_distance(points, self.points, int(limits["neighbours"]))
        if limits.get("uncertainty") is not None:
            doubt = variance if limits["uncertainty_name"] == "variance" else expected_mistakes(probabilities)
        answers = []
        for row in range(len(scores)):
            probability = {
                name: float(value) for name, value in zip(calibration.names, probabilities[row]) if not math.isnan(value)
            }
            may_have = [name for name, inside in zip(calibration.names, sets[row]) if inside and name not in unpromised]
            together = None if whole is None else [name for name, inside in zip(calibration.names, whole[row]) if inside]
            reasons = self._missing(prepared, row)
            reasons += self._beyond(None if doubt is None else doubt[row], None if distance is None else distance[row])
            if len(unpromised) == len(calibration.classes):
                needed = f"for each class {calibration.enough()}, and none has them"
                reasons.append(Reason(TOO_SMALL, f"a recall of {calibration.recall:g} needs {needed}"))
            answers.append(Answer(probability, may_have, together, calibration.recall, unpromised, tuple(reasons)))
        return answers

    def _scores(self, prepared: PreparedECG, batch_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Scores float64 ``[B, C]``, points of unit length ``[B, D]``, sums of variances ``[B]`` (None: points)."""
        pretrained = self.pretrained
        if self.probe is not None:
            keep = torch.from_numpy(lead_keep_mask(self.calibration.leads))
            seen = prepared._replace(ecg=prepared.ecg * keep[:, None])
            features = pretrained.features_prepared(seen, batch_size, self.pool).reshape(len(prepared.ecg), -1).numpy()
            return self.probe.scores(features).astype(np.float64), unit_rows(features), None
        if self.present is None:
            logits, features = (part.numpy() for part in pretrained.outputs_prepared(prepared, batch_size))
            logits = logits.astype(np.float64)
            return against_the_others(logits) if pretrained.exclusive else logits, unit_rows(features), None
        ecg = pretrained.embed_prepared(prepared, batch_size)
        scores = similarities(pretrained.text_model, ecg, self.present, pretrained.device).numpy()
        if self.absent is not None:
            columns = [self.calibration.names.index(name) for name in self.calibration.absent]
            scores[:, columns] -= similarities(pretrained.text_model, ecg, self.absent, pretrained.device).numpy()
        variance = None if ecg.log_variance is None else ecg.uncertainty().double().numpy()
        return scores.astype(np.float64), unit_rows(ecg.mean.numpy()), variance

    def _missing(self, prepared: PreparedECG, row: int) -> list[Reason]:
        ecg = prepared.ecg[row, :, : int(prepared.n_samples[row])]
        had = self.calibration.leads if self.calibration.signal_leads is None else self.calibration.signal_leads
        flat = [lead for lead, signal in zip(LEADS, ecg) if lead in had and bool((signal == signal[0]).all())]
        return [Reason(LEAD_MISSING, f"no signal in {', '.join(flat)}; calibrated with it")] if flat else []

    def _beyond(self, doubt: float | None, distance: float | None) -> list[Reason]:
        """Reasons by the limits that there are; None: there is none of this."""
        limits, reasons = self.calibration.abstention, []
        share = f"{100 * limits.get('refused', 0):g} % of ordinary recordings"
        if doubt is not None and not doubt <= limits["uncertainty"]:
            found = f"{limits['uncertainty_name']} {doubt:.3g}, limit {limits['uncertainty']:.3g}, passed by all but {share}"
            reasons.append(Reason(UNCERTAIN, found))
        if distance is not None and not distance <= limits["distance"]:
            found = f"distance {distance:.3g} from known recordings, limit {limits['distance']:.3g}, passed by all but {share}"
            reasons.append(Reason(FOREIGN, found))
        return reasons

    def _check(self) -> None:
        """That the calibration is of this model as it is used now."""
        calibration, source = self.calibration, self.folder / CALIBRATION_FILE
        again = f"run `{COMMAND}` again"
        if calibration.model != weights_fingerprint(self.pretrained.model):
            raise DataError(f"{source}: calibrated for other weights than these (on {calibration.date}); {again}")
        if calibration.kind == ZERO_SHOT:
            score = score_settings(self.pretrained.model).get("score", "")
            if score != calibration.score:
                raise DataError(f"{source}: calibrated for the score {calibration.score!r}, this is {score!r}; {again}")
        elif self.probe is not None:
            key = classes_key(LINEAR_PROBE, self.probe_names, calibration.leads, head=self.probe.fingerprint)
            if calibration.key != key:
                raise DataError(f"{source}: calibrated for another probe than this; {again}")
        elif calibration.names != self.pretrained.class_names:
            raise DataError(f"{source}: calibrated for other classes than this classifier has; {again}")


def _chosen(model: str, wanted: str, classes: str | None, root: Path) -> Path:
    folders = calibration_folders(root)
    if not folders:
        raise DataError(f"{root}: no calibration of {model}; `{COMMAND}` makes one from labelled records of yours")
    found = {folder: read_calibration(folder) for folder in folders}
    usable = [folder for folder, one in found.items() if one.kind == wanted]
    if classes is not None:
        usable = [folder for folder in usable if classes in (folder.name, found[folder].label_set)]
    if len(usable) == 1:
        return usable[0]
    names = ", ".join(folder.name for folder in (usable or folders))
    if not usable:
        what = f"none of {classes}" if classes is not None else f"none of a {wanted.replace('_', '-')} use"
        raise DataError(f"{root}: {what} among its calibrations: {names}")
    raise DataError(f"{root}: several calibrations; name the classes (--calibration, classes=…) by one of {names}")
