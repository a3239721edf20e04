import json

import numpy as np
import pytest

from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.result_files import RESULT_FILE, SCORES_FILE, Result, read_result, read_results, write_result
from tests.evaluation.example_results import example_scores, write_example


def test_a_result_comes_back_as_it_was(tmp_path):
    written = write_example(tmp_path / "a", settings={"fraction": 0.01, "leads": ["I", "II"]}, excluded=["X"])
    stored = read_result(tmp_path / "a")
    assert stored.result == written
    scores = example_scores()
    found = stored.scores()
    np.testing.assert_array_equal(found.labels, scores.labels)
    np.testing.assert_array_equal(found.scores, scores.scores)
    assert (found.record_id, found.names) == (list(scores.record_id), list(scores.names))


def test_nan_survives_as_null(tmp_path):
    write_result(
        tmp_path,
        Result("zero_shot", "m", "c", "d", "l", "test", 3, 3, metrics={"macro_auc": np.float32("nan"), "f": np.float32(0.5)}),
    )
    assert json.loads((tmp_path / RESULT_FILE).read_text())["metrics"] == {"macro_auc": None, "f": 0.5}
    metrics = read_result(tmp_path).result.metrics
    assert np.isnan(metrics["macro_auc"]) and metrics["f"] == 0.5


def test_scores_of_an_older_result_do_not_stay_behind(tmp_path):
    write_example(tmp_path)
    assert (tmp_path / SCORES_FILE).is_file()
    write_result(tmp_path, read_result(tmp_path).result)
    assert not (tmp_path / SCORES_FILE).exists()
    assert read_result(tmp_path).scores() is None


def test_folders_are_searched_and_every_result_is_read_once(tmp_path):
    write_example(tmp_path / "a" / "b")
    write_example(tmp_path / "c", model="other")
    found = read_results([tmp_path, tmp_path / "c"])
    assert [(r.folder.name, r.result.model) for r in found] == [("b", "ours"), ("c", "other")]


def test_unusable_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        read_results([tmp_path / "nothing"])
    with pytest.raises(DataError, match="run an evaluation with --results"):
        read_results([tmp_path])
    (tmp_path / RESULT_FILE).write_text('{"format": 99}')
    with pytest.raises(DataError, match="not a result of format 1"):
        read_results([tmp_path])
    (tmp_path / RESULT_FILE).write_text('{"format": 1, "kind": "dance"}')
    with pytest.raises(DataError, match=RESULT_FILE):
        read_results([tmp_path])


def test_damaged_scores_are_refused(tmp_path):
    write_example(tmp_path)
    (tmp_path / SCORES_FILE).write_bytes(b"PK nothing")
    with pytest.raises(DataError, match="run the evaluation again"):
        read_result(tmp_path).scores()


def test_unknown_kinds_do_not_exist():
    with pytest.raises(ValueError, match="dance"):
        Result("dance", "m", "c", "d", "l", "test", 1, 1)
