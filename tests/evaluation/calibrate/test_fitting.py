"""What is promised of whole sets, and which leads calibration had."""

import numpy as np
import pytest
from calibrated import save_classifier, write_calibration_data

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.evaluation.calibrate.__main__ import main
from cmelt_plugin.evaluation.calibrate.fitting import Options, fit_whole_sets
from cmelt_plugin.models.inference.calibration import calibration_folders, curve_probabilities, read_calibration
from cmelt_plugin.models.inference.pretrained import load_pretrained


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_whole_sets_keep_their_promise_on_average(method) -> None:
    """Ten rare classes and 100 subjects, where curves that saw the labels of the threshold would promise far too much."""
    rng, found = np.random.default_rng(0), []

    def draw(n):
        labels = (rng.random((n, 10)) < 0.07).astype(float)
        return labels, rng.normal(size=(n, 10)) + 1.2 * labels

    for number in range(150):
        labels, scores = draw(100)
        curves, promise = fit_whole_sets(labels, scores, np.arange(100), Options(0.9, method, seed=number))
        if np.isnan(promise.threshold):
            found.append(1.0)  # nothing is left out
            continue
        labels, scores = draw(500)
        counted = (labels == 1) & np.array([curve is not None for curve in curves])
        inside = curve_probabilities(curves, scores) >= promise.threshold
        some = counted.any(axis=1)
        found.append(((inside & counted).sum(axis=1)[some] / counted.sum(axis=1)[some]).mean())
    assert np.mean(found) >= 0.9 - 2 * np.std(found) / np.sqrt(len(found))
    assert np.mean(found) < 0.99


def test_leads_that_calibration_never_had_are_not_missed(tmp_path) -> None:
    """Recorders of two leads: like recordings are answered, and those that lack one of the two are not."""
    directory = write_calibration_data(tmp_path / "m", leads=("I", "II"))
    checkpoint = save_classifier(tmp_path / "c.pt")
    arguments = ["--checkpoint", checkpoint, "--manifest", directory, "--recall", 0.8, "--dest", tmp_path / "out"]
    assert main([str(value) for value in arguments]) == 0
    assert read_calibration(calibration_folders(tmp_path / "out")[0]).signal_leads == ["I", "II"]
    ecg = np.zeros((12, 5000), dtype=np.float32)
    ecg[:2] = 0.1 * np.random.default_rng(1).normal(size=(2, 5000))
    pretrained = load_pretrained(checkpoint)

    def reasons():
        return {one.code: one.text for one in pretrained.answer(ecg, leads=LEADS, calibration=tmp_path / "out").abstention}

    assert "lead-missing" not in reasons()
    ecg[1] = 0
    assert reasons()["lead-missing"] == "no signal in II; calibrated with it"
