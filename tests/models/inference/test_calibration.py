"""The file of a calibration: what is written is read, what was changed is refused, and stale ones are named."""

import json

import numpy as np
import pytest

from cmelt_plugin.errors import DataError
from cmelt_plugin.models.inference.calibration import (
    CALIBRATION_FILE,
    POINTS_FILE,
    Calibration,
    ClassCalibration,
    Curve,
    calibration_folders,
    calibration_root,
    classes_key,
    copy_calibrations,
    expected_mistakes,
    find_calibration,
    read_calibration,
    read_points,
    sigmoid,
    write_calibration,
)

LEADS = ["I", "II"]


def calibration(**changes):
    classes = [
        ClassCalibration("AFIB", 30, 70, 25, Curve(2.0, -1.0), 0.25, 0.4),
        ClassCalibration("SR", 60, 40, 50, Curve(knots=((0.0, 1.0), (0.1, 0.9))), -0.1, 0.7),
        ClassCalibration("rare", 1, 99, 1, None, None, None),
    ]
    values = {
        "kind": "zero_shot",
        "model": "sha256:m",
        "key": classes_key("zero_shot", ["AFIB", "SR", "rare"], LEADS),
        "label_set": "my set/2",
        "score": "cosine",
        "leads": LEADS,
        "method": "platt",
        "recall": 0.95,
        "unit": "subject",
        "needed": 19,
        "classes": classes,
        "date": "2026-01-02",
    }
    return Calibration(**{**values, **changes})


def test_what_is_written_is_read(tmp_path) -> None:
    root = calibration_root(tmp_path / "checkpoint_best.pt")
    assert root == tmp_path / "checkpoint_best.calibration"
    points = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    before = calibration(texts={"AFIB": ["ä"]}, abstention={"distance": 0.5}, set_threshold=0.1)
    folder = write_calibration(root, before, points)
    assert folder.name.startswith("my-set-2-zero-shot-")
    assert read_calibration(folder) == before and (read_points(folder) == points).all()
    later = calibration(date="2026-02-03")
    assert write_calibration(root, later) == folder and calibration_folders(root) == [folder]  # in its place
    assert read_calibration(folder).date == "2026-02-03"
    with pytest.raises(DataError, match=POINTS_FILE):
        read_points(folder)


def test_scores_become_probabilities_and_sets() -> None:
    scores = np.array([[0.25, 0.5, 9.0], [0.2, -5.0, -9.0]])
    found = calibration().probabilities(scores)
    assert found[:, :2] == pytest.approx(np.array([[sigmoid(-0.5), 0.5], [sigmoid(-0.6), 0.1]]))
    assert np.isnan(found[:, 2]).all()
    # A class that nothing is promised of is never ruled out.
    assert calibration().sets(scores).tolist() == [[True, True, True], [False, False, True]]


def test_sigmoid_of_any_number() -> None:
    assert sigmoid(np.array([-1e4, -1.0, 0, 1.0, 1e4])) == pytest.approx([0, 1 / (1 + np.e), 0.5, 1 / (1 + 1 / np.e), 1])


def test_it_is_found_by_classes_and_refused_for_other_weights(tmp_path) -> None:
    root = calibration_root(tmp_path / "c.pt")
    folder = write_calibration(root, calibration())
    key = classes_key("zero_shot", ["AFIB", "SR", "rare"], LEADS)
    assert find_calibration(root, "sha256:m", key) == (calibration(), folder)
    with pytest.raises(DataError, match="other weights than these .on 2026-01-02.*calibrate` again"):
        find_calibration(root, "sha256:other", key)
    others = [
        classes_key("classifier", ["AFIB", "SR", "rare"], LEADS),
        classes_key("zero_shot", ["SR", "AFIB", "rare"], LEADS),
        classes_key("zero_shot", ["AFIB", "SR", "rare"], ["I"]),
        classes_key("zero_shot", ["AFIB", "SR", "rare"], LEADS, score="product"),
        classes_key("zero_shot", ["AFIB", "SR", "rare"], LEADS, texts={"SR": ["sinus rhythm"]}),
        classes_key("zero_shot", ["AFIB", "SR", "rare"], LEADS, absent={"SR": ["no sinus rhythm"]}),
        classes_key("zero_shot", ["AFIB", "SR", "rare"], LEADS, head="sha256:probe"),
    ]
    assert len({key, *others}) == 8
    assert all(find_calibration(root, "sha256:m", other) is None for other in others)
    assert find_calibration(tmp_path / "nothing", "sha256:m", key) is None


def test_copies_go_with_the_same_weights_alone(tmp_path) -> None:
    points = np.eye(3)
    write_calibration(tmp_path / "a", calibration(abstention={"distance": 1.0}), points)
    write_calibration(tmp_path / "a", calibration(model="sha256:old", key="sha256:" + 64 * "0"))
    write_calibration(tmp_path / "b", calibration(label_set="of before"))
    copied, left = copy_calibrations(tmp_path / "a", tmp_path / "b", "sha256:m")
    assert len(copied) == len(left) == 1 and left[0].endswith("00000000")
    (folder,) = calibration_folders(tmp_path / "b")
    assert folder.name == copied[0] and read_calibration(folder).label_set == "my set/2"
    assert (read_points(folder) == points).all()
    assert copy_calibrations(tmp_path / "b", tmp_path / "b", "sha256:m") == (copied, [])
    assert copy_calibrations(tmp_path / "none", tmp_path / "c", "sha256:m") == ([], [])


def edited(folder, **changes):
    path = folder / CALIBRATION_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_changed_files_are_refused(tmp_path) -> None:
    folder = write_calibration(tmp_path, calibration(), np.zeros((2, 2)))
    edited(folder, recall=0.99)
    with pytest.raises(DataError, match="checksum is wrong"):
        read_calibration(folder)
    folder = write_calibration(tmp_path, calibration(), np.zeros((2, 2)))
    edited(folder, format=7)
    with pytest.raises(DataError, match="format 1"):
        read_calibration(folder)
    folder = write_calibration(tmp_path, calibration(), np.zeros((2, 2)))
    with open(folder / POINTS_FILE, "ab") as handle:
        handle.write(b"x")
    with pytest.raises(DataError, match="changed since"):
        read_points(folder)
    with pytest.raises(DataError, match="no such file"):
        read_calibration(tmp_path / "none")


def test_folders_of_exported_models_and_probes(tmp_path) -> None:
    exported = tmp_path / "exported"
    exported.mkdir()
    (exported / "config.json").write_text("{}")
    assert calibration_root(exported) == exported / "calibration" == calibration_root(exported / "model.safetensors")
    assert calibration_root(tmp_path / "probe.npz") == tmp_path / "probe.calibration"


def test_the_mistakes_that_probabilities_expect() -> None:
    probabilities = np.array([[0.5, 0.1], [0.9, np.nan], [np.nan, np.nan], [1.0, 0.0]])
    assert expected_mistakes(probabilities) == pytest.approx([0.3, 0.1, np.nan, 0], nan_ok=True)
    called = np.array([[True, True], [True, True], [False, True], [True, False]])
    assert expected_mistakes(probabilities, called) == pytest.approx([0.7, 0.1, np.nan, 0], nan_ok=True)
    rng = np.random.default_rng(0)
    honest = rng.random((4000, 3))
    wrong = ((rng.random(honest.shape) < honest) != (honest >= 0.5)).mean(axis=1)
    assert expected_mistakes(honest).mean() == pytest.approx(wrong.mean(), abs=0.01)
