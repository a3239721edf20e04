"""What a synthetic record is labelled with follows from beats that show it, by the usual definitions."""

from __future__ import annotations

import numpy as np
from hearts import plans_of

from preprocess.synthetic_ecg.delineation import amplitudes
from preprocess.synthetic_ecg.physiology.rhythm import VENTRICULAR

CONDUCTED = {"IMI", "CRBBB", "LVH", "LAFB", "ISC_", "QWAVE", "STD_", "INVT", "VCLVH", "LAD", "STEMI", "STRAIN"}


def kinds(plan):
    inside = (plan.rhythm.onset > 0) & (plan.rhythm.onset < 10)
    return set(plan.rhythm.kind[inside].tolist())


def test_qt_follows_the_ventricles_where_the_node_blocks():
    for causes, more in ((["3AVB"], {}), (["2AVB"], {"mode": "2:1"})):
        found = [plan.measured for plan in plans_of(*causes, count=30, **more)]
        assert max(m.rate for m in found) < 56
        assert 370 < np.median([m.qtc for m in found]) < 430 and min(m.qtc for m in found) > 320


def test_beats_from_the_ventricles_bear_no_labels_of_conducted_ones():
    causes = ("3AVB", "IMI", "LVH", "LAFB", "ISC_")
    found = plans_of(*causes, count=40, stages={"IMI": "acute"}, strain=True)
    escaped = [plan for plan in found if kinds(plan) <= VENTRICULAR]
    conducted = [plan for plan in found if not kinds(plan) & VENTRICULAR]
    assert len(escaped) > 10 and len(conducted) > 5
    for plan in escaped:
        assert not plan.findings.labels & CONDUCTED and {"3AVB", "SR"} <= plan.findings.labels and plan.measured.qrs > 120
    assert all({"IMI", "LVH", "LAFB"} <= plan.findings.labels and plan.measured.qrs < 120 for plan in conducted)


def test_conducted_beats_are_measured_though_premature_ones_are_as_many():
    for plan in plans_of("BIGU", count=12, mode="V"):
        assert plan.measured.qrs < 115 and not plan.findings.labels & {"CLBBB", "IVCD"}


def test_healthy_hearts_and_deviating_axes_have_neither_st_elevation_nor_q_waves():
    for causes in ([], ["LAD"], ["RAD"], ["LAFB"]):
        labels = [plan.findings.labels for plan in plans_of(*causes, count=40)]
        assert sum("STE_" in found for found in labels) <= 1 and sum("QWAVE" in found for found in labels) <= 1, causes


def test_rates_that_ectopic_beats_change_are_not_called_slow():
    found = plans_of("BIGU", rhythm="SBRAD", rate=56.0, count=12, mode="V")
    assert any(plan.measured.rate > 62 for plan in found)
    for plan in found:
        assert ("SBRAD" in plan.findings.labels) == (plan.measured.rate <= 62)


def test_a_q_wave_comes_before_every_r_wave():
    """Leads of 200 samples at 500 Hz: a Q wave of 40 ms; r, S and a larger R'."""
    beat = np.zeros((2, 200))
    beat[0, 10:30], beat[0, 30:40] = -0.3, 1.0
    beat[1, 10:15], beat[1, 15:30], beat[1, 30:40] = 0.2, -0.5, 0.4
    found = amplitudes(beat, 8, 50, 150)
    np.testing.assert_allclose(found["q"], [-0.3, 0])
    np.testing.assert_allclose(found["s"], [0, -0.5])
    np.testing.assert_allclose(found["q_width"], [0.040, 0])
