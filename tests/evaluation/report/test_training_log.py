"""Reading the hosts' JSON log lines."""

import numpy as np
import pytest

from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.report.training_log import INNER, curve, last_values, parse_line, read_log

HYDRA = '[2025-01-31 10:00:00,000][train_inner][INFO] - {"epoch": 1, "update": 0.5, "loss": "9.3", "num_updates": "50"}\n'
HOST = '2025-01-31 10:00:00 | INFO | valid | {"epoch": 1, "valid_loss": "7.7", "valid_num_updates": "97"}\n'


def test_both_prefixes_and_the_tag_of_the_keys():
    assert parse_line(HYDRA) == (INNER, {"epoch": 1.0, "update": 0.5, "loss": 9.3, "num_updates": 50.0})
    assert parse_line(HOST) == ("valid", {"epoch": 1.0, "loss": 7.7, "num_updates": 97.0})


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Traceback (most recent call last):",
        "[2025-01-31 10:00:00,000][fairseq_cli.train][INFO] - begin training epoch 2",
        HYDRA[:90],  # killed while writing
        "[2025-01-31 10:00:00,000][fairseq_cli.train][INFO] - {'_name': None}",
        '[2025-01-31 10:00:00,000][train][INFO] - {"name": "text"}',
    ],
)
def test_other_lines_hold_no_figures(line):
    assert parse_line(line) is None


def test_words_are_left_out_and_nan_is_kept():
    line = '[t][test][INFO] - {"test_macro_auc": "nan", "test_best": null, "test_loss": 1}'
    values = parse_line(line).values
    assert np.isnan(values.pop("macro_auc"))
    assert values == {"loss": 1.0}


def test_the_later_value_counts_after_a_resumed_run(tmp_path):
    path = tmp_path / "train.log"
    points = [(50, 9.0), (100, 8.0), (150, 7.0), (100, 8.5), (150, 7.5), (200, 6.0)]
    path.write_text(
        "noise\n"
        + "".join(f'[t][train_inner][INFO] - {{"loss": "{loss}", "num_updates": "{update}"}}\n' for update, loss in points)
        + HOST
    )
    lines = read_log(path)
    updates, losses = curve(lines, INNER, "loss")
    assert updates.tolist() == [50, 100, 150, 200]
    assert losses.tolist() == [9.0, 8.5, 7.5, 6.0]
    assert curve(lines, INNER, "nothing")[0].size == 0
    assert last_values(lines, "valid")["loss"] == 7.7


def test_missing_file_and_missing_tag(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_log(tmp_path / "none.log")
    with pytest.raises(DataError, match="'test'"):
        last_values([], "test")
