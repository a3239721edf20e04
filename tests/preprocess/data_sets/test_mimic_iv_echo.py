"""MIMIC-IV-ECHO's lists and measurements: which ejection fraction counts, and which test belongs to which study."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cmelt_plugin.errors import DataError
from preprocess.data_sets.mimic_iv_echo import RULES, ejection_fractions, read_echoes

VIDEO_HEAD = "subject_id,study_id,acquisition_datetime,dicom_filepath"
HEAD = "subject_id,measurement_id,measurement_datetime,test_type,measurement,measurement_description,result,unit"


def measured(*lines: tuple[str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(lines, columns=["measurement_id", "measurement", "result"])


def test_the_best_measurement_counts() -> None:
    lines = measured(
        ("a", "lvef", "30"),
        ("a", "lvef_upper", "35"),
        ("a", "lvef_3d", "41"),
        ("a", "biplane_lvef", "44.5"),
        ("b", "lvef_upper", "35"),
        ("b", "lvef", "30"),
        ("b", "lvef_3d", "41"),
        ("c", "lvef", "30"),
        ("c", "lvef_upper", "35"),
        ("d", "lvef", "60"),
        ("d", "biplane_lvef", "160"),
        ("e", "lvef", ">55"),
        ("f", "lvef_upper", "35"),
        ("g", "biplane_lvef", "20"),
        ("g", "biplane_lvef", "70"),
    )
    lvef, rule = ejection_fractions(lines, list("gfedcbaz"))
    assert np.array_equal(lvef, [20, np.nan, np.nan, 60, 32.5, 41, 44.5, np.nan], equal_nan=True)
    assert rule.tolist() == [RULES[0], "", "", RULES[3], RULES[2], RULES[1], RULES[0], ""]


def write(
    root: Path, measurements: list[str] | None, videos: list[str] = (), studies: list[str] = (), linked: bool = True
) -> Path:
    root.mkdir(exist_ok=True)
    if measurements is not None:
        with gzip.open(root / "structured-measurement.csv.gz", "wt") as handle:
            handle.write("\n".join([HEAD, *measurements]) + "\n")
    if videos:
        (root / "echo-record-list.csv").write_text("\n".join([VIDEO_HEAD, *videos]) + "\n")
        head = "subject_id,study_id,study_datetime" + (",measurement_id" if linked else "")
        (root / "echo-study-list.csv").write_text("\n".join([head, *studies]) + "\n")
    return root


TESTS = [
    "1,77,2150-01-01 12:00:00,tte,lvef,x,40,%",
    "1,77,2150-01-01 12:00:00,tte,lvef_upper,x,45,%",
    "1,78,2150-01-02 12:00:00,TTE,biplane_lvef,x,60,%",
    "1,79,2150-01-01 10:00:00,tee,lvef,x,10,%",
    "2,80,2150-05-01 10:00:00,tte,septal_thickness,x,1.1,cm",
]
VIDEOS = [
    "1,900,2150-01-01 10:05:00,files/p10/p1/s900/900_0002.dcm",
    "1,900,2150-01-01 10:01:00,files/p10/p1/s900/900_0001.dcm",
    "3,901,2150-03-01 10:00:00,files/p10/p3/s901/901_0001.dcm",
]


@pytest.mark.parametrize(
    "linked, study, lvef", [(True, "1,900,2150-01-01 10:00:00,78", 60), (False, "1,900,2150-01-01 10:00:00", 42.5)]
)
def test_a_study_has_the_measurements_it_names_or_the_nearest(tmp_path: Path, linked: bool, study: str, lvef: float) -> None:
    echoes = read_echoes(write(tmp_path / "echo", TESTS, VIDEOS, [study], linked))
    table = echoes.table.set_index("echo_id")
    assert table.loc["900", "lvef"] == lvef and table.loc["900", "videos"] == ["900_0001", "900_0002"]
    assert table.loc["900", "time"] == pd.Timestamp("2150-01-01 10:00:00")
    # Without a line in the list of studies, its first video tells the time; nothing was measured.
    assert table.loc["901", "time"] == pd.Timestamp("2150-03-01 10:00:00") and np.isnan(table.loc["901", "lvef"])
    alone = "77" if linked else "78"
    assert table.loc[alone, "videos"] == [] and set(table.index) == {"900", "901", alone, "80"}
    assert "ejection fraction of the tests: biplane_lvef 1, lvef_3d 0, middle of lvef and lvef_upper 1" in echoes.counts[1]


def test_lists_or_measurements_alone(tmp_path: Path) -> None:
    lists = read_echoes(write(tmp_path / "a", None, VIDEOS, ["1,900,2150-01-01 10:00:00"], False)).table
    assert lists["echo_id"].tolist() == ["900", "901"] and lists["lvef"].isna().all()
    tests = read_echoes(write(tmp_path / "b", TESTS)).table
    assert tests["echo_id"].tolist() == ["77", "78", "80"] and not any(tests["videos"])
    (tmp_path / "b" / "structured-measurement.csv.gz").rename(tmp_path / "b" / "structured_measurement.csv.gz")
    assert len(read_echoes(tmp_path / "b").table) == 3


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no echo-record-list.csv and no structured-measurement.csv.gz"):
        read_echoes(tmp_path)
    path = write(tmp_path, TESTS) / "structured-measurement.csv.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="structured-measurement.csv.gz: unreadable"):
        read_echoes(tmp_path)
    with gzip.open(path, "wt") as handle:
        handle.write("subject_id,result\n1,2\n")
    with pytest.raises(DataError, match="structured-measurement.csv.gz: unreadable .*measurement_id"):
        read_echoes(tmp_path)
