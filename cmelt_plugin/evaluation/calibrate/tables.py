"""What was calibrated, for people."""

from __future__ import annotations

from cmelt_plugin.evaluation.uncertainty.conformal import recall_of_most
from cmelt_plugin.models.inference.calibration import METHODS, Calibration, ClassCalibration
from cmelt_plugin.tables import DASH, TextTable, percent


def class_table(calibration: Calibration) -> TextTable:
    """A row per class: what its probabilities and its promise rest on."""
    unit = f"{calibration.unit}s"
    head = ["class", "records with it", f"{unit} with it", "probabilities", "threshold", "in the set (% of records)"]
    head.append("recall in 9 of 10 such calibrations (%)")
    rows = []
    for one in calibration.classes:
        most = recall_of_most(one.units, calibration.recall) if one.threshold is not None and not calibration.shift else None
        rows.append(
            [
                one.name,
                str(one.positives),
                _rests_on(calibration, one),
                DASH if one.curve is None else calibration.method,
                DASH if one.threshold is None else f"{one.threshold:.4g}",
                percent(one.called, 1),
                DASH if most is None else f"≥ {percent(most, 1)}",
            ]
        )
    return TextTable(f"Classes: a recall of {percent(calibration.recall, 1)} % is promised", head, rows)


def _rests_on(calibration: Calibration, one: ClassCalibration) -> str:
    """``33``, or why there is no threshold: ``3 of 19 needed``."""
    if one.threshold is not None:
        return str(one.units)
    if one.weight is None:
        return f"{one.units} of {calibration.needed} needed"
    return f"{one.units}, of weight {one.weight:.0f} of {calibration.needed} needed"


def method_table(calibration: Calibration) -> TextTable:
    """A row per way to probabilities, on held-out folds of subjects."""
    head = ["probabilities", "ECE (%)", "perfect (%)", "Brier", "of frequencies"]
    rows = []
    for method in ("raw", *METHODS):
        values = [
            calibration.measured.get(f"{method}/macro_{name}") for name in ("ece", "ece_perfect", "brier", "brier_prevalence")
        ]
        if values[0] is not None:
            name = f"{method} (used)" if method == calibration.method else method
            cells = [DASH if value is None else f"{value:.4f}" for value in values[2:]]
            rows.append([name, percent(values[0]), percent(values[1]), *cells])
    of = f"{calibration.measured.get('classes', 0):.0f} of {len(calibration.classes)} classes"
    return TextTable(f"On folds of subjects held out, means over {of}", head, rows)
