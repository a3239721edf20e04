"""The comparison of a cohort with other recordings."""

from __future__ import annotations

import numpy as np
import pytest

from cmelt_plugin.errors import DataError
from preprocess import synthetic
from preprocess.synthetic_ecg import realism


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory):
    root = tmp_path_factory.mktemp("realism")
    for name, more in (("usual", ()), ("loud", ("--noise", "12"))):
        arguments = ["--records", "30", "--subjects", "30", "--seed", "4", "--dest", str(root / name), *more]
        assert synthetic.main(arguments) == 0
    return root


def test_equal_recordings_are_not_told_apart_and_noisy_ones_are(cohorts, capsys):
    arguments = ["--real", str(cohorts / "usual"), "--cohort", str(cohorts / "usual"), "--cohort", str(cohorts / "loud")]
    assert realism.main([*arguments, "--records", "30"]) == 0
    same, loud = capsys.readouterr().out.splitlines()[-2:]

    def auc(line, group):
        return float(line.split(f"{group} ")[1].split(",")[0].split(";")[0])

    assert same.endswith("mean distance 0.000") and auc(same, "all") <= 0.6
    assert auc(loud, "beats") > 0.9 and auc(loud, "all") > 0.9


def test_what_is_measured(cohorts):
    table, names = realism.table_of(cohorts / "usual", 30, 1)
    values = dict(zip(names, np.median(table, axis=0)))
    assert 50 < values["rhythm/rate"] < 110 and 60 < values["intervals/qrs"] < 120 and 300 < values["intervals/qt"] < 460
    assert values["waves/s V1"] < -0.3 < 0.3 < values["waves/r V5"]
    assert {name.split("/")[0] for name in names} == set(realism.GROUPS)


def test_a_folder_without_recordings_is_named(tmp_path):
    with pytest.raises(DataError, match="no WFDB records"):
        realism.paths_of(tmp_path)
