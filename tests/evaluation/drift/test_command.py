"""The command on recordings that stayed the same, and on others that did not."""

import shutil

import numpy as np
import pytest
from calibrated import save_classifier, write_calibration_data
from finetune_runs import write_labelled

from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.data.store.shard_writer import write_records
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.calibrate.__main__ import main as calibrate
from cmelt_plugin.evaluation.drift.__main__ import main
from cmelt_plugin.evaluation.result_files import read_result


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return write_calibration_data(tmp_path_factory.mktemp("data") / "m", 48)


@pytest.fixture(scope="module")
def checkpoint(directory, tmp_path_factory):
    path = save_classifier(tmp_path_factory.mktemp("model") / "c.pt")
    options = ["--checkpoint", path, "--manifest", directory, "--recall", 0.8, "--refuse", 0.1]
    assert calibrate([str(option) for option in options]) == 0
    return path


def run(checkpoint, reference, current, results, *options):
    fixed = ["--checkpoint", checkpoint, "--reference", reference, "--current", current, "--results", results]
    assert main([str(option) for option in (*fixed, "--windows", 3, *options)]) == 0
    return read_result(results).result


def test_the_same_recordings_have_not_drifted_and_noisier_ones_have(directory, checkpoint, tmp_path, capsys) -> None:
    same = run(checkpoint, directory, directory, tmp_path / "same", "--current-split", "train")
    assert min(same.per_class[name]["p_value"] for name in ("LOUD", "SINE", "DRIFT")) > 0.01
    out = capsys.readouterr().out
    assert out.count("| – | – | 16 |") == 3 and "promised 80.0" in out and "24 then, 24 now" in out
    windows = same.settings["windows"]
    assert len(windows) == 3 and all(0 <= one["recall"] <= 1 and one["begin"] == "" for one in windows)

    noisy = tmp_path / "noisy"
    shutil.copytree(directory, noisy)
    store = RecordStore(directory)
    ecg = store.read([0] * 120, list(range(120)))
    ecg += np.random.default_rng(0).normal(size=ecg.shape).astype(ecg.dtype)
    write_records(noisy, ecg)
    changed = run(checkpoint, directory, noisy, tmp_path / "noisy-out", "--current-split", "train")
    assert changed.metrics["points/auc"] > max(0.6, same.metrics["points/auc"])
    assert "| drift |" in capsys.readouterr().out


def test_without_labels_or_calibration_it_says_so(directory, checkpoint, tmp_path, capsys) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(directory, bare)
    for name in ("labels.json", "train.labels.npy", "valid.labels.npy", "test.labels.npy"):
        (bare / name).unlink()
    found = run(checkpoint, directory, bare, tmp_path / "r")
    out = capsys.readouterr().out
    assert "No labels: whether the promise is kept cannot be said." in out and "The promise over time" in out
    assert {one["recall"] for one in found.settings["windows"]} == {None}
    run(checkpoint, directory, directory, tmp_path / "s", "--calibration", tmp_path / "nothing")
    out = capsys.readouterr().out
    assert "No calibration of these classes" in out and "windows" not in read_result(tmp_path / "s").result.settings
    assert "The promise over time" not in out


def test_too_few_subjects_are_refused(checkpoint, directory, tmp_path) -> None:
    for then, now, option in ((9, 20, "--reference"), (20, 1, "--current")):
        few = write_labelled(tmp_path / f"few{now}", {"valid": then, "test": now}, records_per_subject=1)
        with pytest.raises(DataError, match=f"few{now}/.*: {min(then, now)} subjects, .* needs 10; .*{option}-split"):
            run(checkpoint, few, few, tmp_path / "r")
