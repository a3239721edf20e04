"""What was calibrated of a model on data of its user: probabilities from its scores, sets of a promised recall, abstention.

``python -m cmelt_plugin.evaluation.calibrate`` writes it beside the model: a folder for each set of classes in
``CHECKPOINT.calibration/``, or in ``calibration/`` of an exported folder, with ``calibration.json`` and, for abstention,
``points.npz``. It names the weights, the classes with their texts, and the records it rests on. Here it is read and applied.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cmelt_plugin.data.files import atomic_path, read_object, write_json
from cmelt_plugin.errors import DataError
from cmelt_plugin.weights import shipped_folder

FORMAT = 1
FOLDER = "calibration"
CALIBRATION_FILE, POINTS_FILE = "calibration.json", "points.npz"
ZERO_SHOT, CLASSIFIER, LINEAR_PROBE = "zero_shot", "classifier", "linear_probe"
KINDS = (ZERO_SHOT, CLASSIFIER, LINEAR_PROBE)
TEMPERATURE, PLATT, ISOTONIC = "temperature", "platt", "isotonic"
METHODS = (PLATT, TEMPERATURE, ISOTONIC)
AGAIN = "run `python -m cmelt_plugin.evaluation.calibrate` again"


class Curve(NamedTuple):
    """From the scores of a class to probabilities.

    Attributes:
        slope, intercept: sigmoid(slope · score + intercept), where there are no knots.
        knots: scores and probabilities, both rising, between which it is linear and beyond which constant.
    """

    slope: float = 1.0
    intercept: float = 0.0
    knots: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Float64 of the shape of ``scores``."""
        scores = np.asarray(scores, dtype=np.float64)
        if self.knots is not None:
            return np.interp(scores, *self.knots)
        return sigmoid(self.slope * scores + self.intercept)


def curve_probabilities(curves: Sequence[Curve | None], scores: np.ndarray) -> np.ndarray:
    """``scores [N, C]`` → float64 ``[N, C]``, NaN where a class has no curve."""
    columns = [
        np.full(len(scores), np.nan) if curve is None else curve.probabilities(scores[:, column])
        for column, curve in enumerate(curves)
    ]
    return np.stack(columns, axis=1) if columns else np.zeros((len(scores), 0))


class ClassCalibration(NamedTuple):
    """One class.

    Attributes:
        name: of the class.
        positives, negatives: calibration records with it and without it.
        units: subjects (or records) with it.
        curve: None: too few records for probabilities.
        threshold: score from which on it is in the set; None: too few to promise anything.
        called: share of the calibration records whose set holds it; None without a threshold.
        weight: with weights for other data, what its subjects (or records) weigh together; else None.
        set_curve: of the probabilities that whole sets are made of, from other subjects than their threshold; None: too few.
    """

    name: str
    positives: int
    negatives: int
    units: int
    curve: Curve | None
    threshold: float | None
    called: float | None
    weight: float | None = None
    set_curve: Curve | None = None


@dataclass(frozen=True)
class Calibration:
    """The classes of one use of a model; see the module.

    Attributes:
        kind: one of :data:`KINDS`.
        model: fingerprint of the weights whose scores they are.
        key: fingerprint of what else decides the scores (:func:`classes_key`).
        label_set: name of the classes' label set, "" for none.
        score: how ECG and text are compared; "" for classifiers and probes.
        leads: leads that the model saw.
        texts, absent: zero-shot: class → its texts, and those on its absence.
        method: how scores become probabilities, one of :data:`METHODS`.
        recall: promised.
        unit: ``subject`` or ``record``: what calibration and future share the distribution of.
        needed: subjects (or records) with a class that the promise needs; with weights for other data, what they must weigh.
        classes: in the order of the scores.
        set_threshold: probability, by the ``set_curve`` of classes, from which on they are in a set that promises the recall
            over all of them; None: too few.
        set_units: subjects (or records) with some class that it rests on.
        signal_leads: leads with a signal in the calibration recordings, but for a share of these as abstention may refuse;
            None: not noted, by an earlier version.
        shift: what is known of weights for other data; empty: none.
        abstention: limits beyond which a recording gets no answer: ``uncertainty`` (of ``uncertainty_name``) and ``distance``
            (to the ``neighbours``-th nearest of the points), each exceeded by the share ``refused`` of recordings like those of
            calibration; None where there were too few records for one of them.
        data: data set, split, numbers and fingerprints of the calibration records.
        measured: metrics on held-out folds of the calibration records.
        notes: sentences that a reader must know.
        date: of the calibration, ISO 8601.
        command: what was typed.
    """

    kind: str
    model: str
    key: str
    label_set: str
    score: str
    leads: list[str]
    method: str
    recall: float
    unit: str
    needed: int
    classes: list[ClassCalibration]
    texts: dict[str, list[str]] = field(default_factory=dict)
    absent: dict[str, list[str]] = field(default_factory=dict)
    set_threshold: float | None = None
    set_units: int = 0
    signal_leads: list[str] | None = None
    shift: dict[str, Any] = field(default_factory=dict)
    abstention: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    measured: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    date: str = ""
    command: str = ""

    @property
    def names(self) -> list[str]:
        return [one.name for one in self.classes]

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """``scores [N, C]`` → float64 ``[N, C]``, NaN for classes of too few records."""
        return curve_probabilities([one.curve for one in self.classes], scores)

    def sets(self, scores: np.ndarray) -> np.ndarray:
        """``scores [N, C]`` → bool ``[N, C]``: the classes that may be present, each with the promised recall.

        A class of too few calibration records is in every set: nothing rules it out.
        """
        thresholds = np.array([-np.inf if one.threshold is None else one.threshold for one in self.classes])
        return np.asarray(scores, dtype=np.float64) >= thresholds

    def whole_sets(self, scores: np.ndarray) -> np.ndarray | None:
        """``scores [N, C]`` → bool ``[N, C]``: sets that hold the promised share of all classes of a recording; None: too few.

        Classes without a ``set_curve`` are in none of them and not part of the promise.
        """
        if self.set_threshold is None:
            return None
        probabilities = curve_probabilities([one.set_curve for one in self.classes], scores)
        with np.errstate(invalid="ignore"):
            return probabilities >= self.set_threshold

    def enough(self) -> str:
        """What the promise of a class needs, in words."""
        if self.shift:
            return f"{self.unit}s with it whose weights for the other data add up to {self.needed}"
        return f"{self.needed} {self.unit}s with it"


def sigmoid(values: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(−x)) without overflow, float64."""
    values = np.asarray(values, dtype=np.float64)
    small = np.exp(-np.abs(values))
    return np.where(values >= 0, 1.0, small) / (1.0 + small)


def expected_mistakes(probabilities: np.ndarray, decisions: np.ndarray | None = None) -> np.ndarray:
    """The share of wrong decisions that the probabilities themselves expect, as a mean over the classes of each record.

    With decisions at one half it is 1 − max(p, 1 − p), the max-probability baseline of several labels.

    Args:
        probabilities: ``[N, C]``, NaN = none.
        decisions: bool ``[N, C]``; None: at one half.

    Returns:
        float64 ``[N]``; NaN where no class has a probability.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    known = ~np.isnan(probabilities)
    called = probabilities >= 0.5 if decisions is None else decisions
    doubt = np.where(known, np.where(called, 1 - probabilities, probabilities), 0)
    with np.errstate(invalid="ignore"):
        return doubt.sum(axis=1) / known.sum(axis=1)


def against_the_others(logits: np.ndarray) -> np.ndarray:
    """ln p / (1 − p) of softmax probabilities, from the logits ``[N, C]``."""
    others = np.empty_like(logits)
    for column in range(logits.shape[1]):
        others[:, column] = np.logaddexp.reduce(np.delete(logits, column, axis=1), axis=1)
    return logits - others


def classes_key(
    kind: str,
    names: Sequence[str],
    leads: Sequence[str],
    score: str = "",
    texts: Mapping[str, Sequence[str]] | None = None,
    absent: Mapping[str, Sequence[str]] | None = None,
    head: str = "",
) -> str:
    """``sha256:`` of what decides scores beside the model's weights.

    Args:
        kind: one of :data:`KINDS`.
        names: the classes.
        leads: that the model sees.
        score: how ECG and text are compared.
        texts, absent: of the classes, zero-shot.
        head: fingerprint of a linear probe.
    """
    values = [kind, list(names), list(leads), score, _lists(texts), _lists(absent), head]
    return "sha256:" + hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def calibration_root(
    model: str | os.PathLike, probe: str | os.PathLike | None = None, variances: str | os.PathLike | None = None
) -> Path:
    """Folder of the calibrations: beside the model, or beside what was put on it.

    Args:
        model: a checkpoint, an exported folder, or the name of a model that comes with the package.
        probe: file of a linear probe on it.
        variances: folder of variances for it.
    """
    path = Path(probe or variances or shipped_folder(model) or model)
    if path.is_dir():
        return path / FOLDER
    if (path.parent / "config.json").is_file() and path.suffix == ".safetensors":
        return path.parent / FOLDER
    return path.with_name(f"{path.stem}.{FOLDER}")


def calibration_folder(root: Path, calibration: Calibration) -> Path:
    """Folder of one calibration below :func:`calibration_root`; another one of the same classes has the same."""
    label_set = "".join(c if c.isalnum() or c in "-_." else "-" for c in calibration.label_set).strip(".") or "classes"
    return root / f"{label_set[:60]}-{calibration.kind.replace('_', '-')}-{calibration.key[7:15]}"


def write_calibration(root: Path, calibration: Calibration, points: np.ndarray | None = None) -> Path:
    """Write one calibration, in place of an earlier one of the same classes; ``points [M, D]`` of abstention.

    Returns:
        Its folder; with ``calibration.json``, which is written last, it is whole.
    """
    folder = calibration_folder(root, calibration)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CALIBRATION_FILE).unlink(missing_ok=True)
    (folder / POINTS_FILE).unlink(missing_ok=True)
    values = {"format": FORMAT, **asdict(calibration)}
    values["classes"] = [_plain_class(one) for one in calibration.classes]
    if points is not None:
        with atomic_path(folder / POINTS_FILE) as temporary:
            np.savez(temporary, points=np.asarray(points, dtype=np.float32))
        values["points"] = _file_checksum(folder / POINTS_FILE)
    values = json.loads(json.dumps(values))  # tuples become lists before the checksum is taken
    write_json(folder / CALIBRATION_FILE, {**values, "checksum": _checksum(values)})
    return folder


def read_calibration(folder: str | os.PathLike) -> Calibration:
    """Read what :func:`write_calibration` wrote.

    Raises:
        DataError: it is missing, of another version, damaged or was edited.
    """
    path = Path(folder) / CALIBRATION_FILE
    values = read_object(path, checked=False)
    if values.pop("format", None) != FORMAT:
        raise DataError(f"{path}: not a calibration of format {FORMAT}; {AGAIN}")
    checksum = values.pop("checksum", None)
    if checksum != _checksum({"format": FORMAT, **values}):
        raise DataError(f"{path}: was changed since it was written (its checksum is wrong); {AGAIN}")
    values.pop("points", None)
    try:
        classes = [_class_of(one) for one in values.pop("classes")]
        return Calibration(**values, classes=classes)
    except (TypeError, KeyError, ValueError) as error:
        raise DataError(f"{path}: {error}; {AGAIN}") from None


def read_points(folder: str | os.PathLike) -> np.ndarray:
    """The points of abstention, float32 ``[M, D]``.

    Raises:
        DataError: they are missing or not those of the calibration.
    """
    path = Path(folder) / POINTS_FILE
    expected = read_object(Path(folder) / CALIBRATION_FILE, checked=False).get("points")
    if not path.is_file() or _file_checksum(path) != expected:
        raise DataError(f"{path}: missing or changed since it was written; {AGAIN}")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return np.asarray(arrays["points"], dtype=np.float32)
    except (zipfile.BadZipFile, KeyError, ValueError, OSError, EOFError) as error:
        raise DataError(f"{path}: unreadable ({error}); {AGAIN}") from None


def calibration_folders(root: Path) -> list[Path]:
    """The folders of all calibrations of a model, by name."""
    return sorted(path.parent for path in root.glob(f"*/{CALIBRATION_FILE}")) if root.is_dir() else []


def copy_calibrations(source: Path, dest: Path, model: str) -> tuple[list[str], list[str]]:
    """Copy the calibrations of a model to another place of the same weights; what lay there before goes.

    Args:
        source, dest: of :func:`calibration_root`.
        model: fingerprint of the weights.

    Returns:
        Names of the folders that were copied, and of those that were not, being of other weights.

    Raises:
        DataError: one is damaged.
    """
    every = {folder: read_calibration(folder) for folder in calibration_folders(source)}
    if source.resolve() == dest.resolve():
        return [folder.name for folder in every], []
    shutil.rmtree(dest, ignore_errors=True)
    copied, left = [], []
    for folder, calibration in every.items():
        if calibration.model != model:
            left.append(folder.name)
            continue
        points = read_points(folder) if calibration.abstention else None
        copied.append(write_calibration(dest, calibration, points).name)
    return copied, left


def find_calibration(root: Path, model: str, key: str) -> tuple[Calibration, Path] | None:
    """The calibration of these classes and its folder; None: there is none.

    Args:
        root: of :func:`calibration_root`.
        model: fingerprint of the weights as they are now.
        key: :func:`classes_key`.

    Raises:
        DataError: it is of other weights, or damaged.
    """
    for folder in calibration_folders(root):
        calibration = read_calibration(folder)
        if calibration.key == key:
            if calibration.model != model:
                raise DataError(
                    f"{folder / CALIBRATION_FILE}: calibrated for other weights than these (on {calibration.date}); {AGAIN}, "
                    "or remove that folder"
                )
            return calibration, folder
    return None


def _lists(texts: Mapping[str, Sequence[str]] | None) -> dict[str, list[str]]:
    return {name: [str(text) for text in own] for name, own in (texts or {}).items()}


def _plain_class(one: ClassCalibration) -> dict[str, Any]:
    curves = {name: getattr(one, name) for name in ("curve", "set_curve")}
    return {**one._asdict(), **{name: None if curve is None else curve._asdict() for name, curve in curves.items()}}


def _class_of(values: Mapping[str, Any]) -> ClassCalibration:
    curves = {name: _curve_of(values.get(name), values["name"]) for name in ("curve", "set_curve")}
    return ClassCalibration(**{**values, **curves})


def _curve_of(values: Mapping[str, Any] | None, class_name: str) -> Curve | None:
    if values is None:
        return None
    knots = values["knots"]
    curve = Curve(values["slope"], values["intercept"], None if knots is None else (tuple(knots[0]), tuple(knots[1])))
    numbers = [curve.slope, curve.intercept, *(curve.knots or ((), ()))[0], *(curve.knots or ((), ()))[1]]
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"a curve of {class_name} has numbers that are not finite")
    return curve


def _checksum(values: Mapping[str, Any]) -> str:
    return "sha256:" + hashlib.sha256(json.dumps(values, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()


def _file_checksum(path: Path) -> str:
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
