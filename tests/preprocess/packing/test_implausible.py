"""Counts of doubtful records, and medians that are off, by source."""

import functools
import json
import math
import re

import numpy as np
import pytest
import scipy.io

from cmelt_plugin.data.plausibility import Measures, Plausibility, examine
from cmelt_plugin.data.store.record_store import to_digital
from preprocess.packing.implausible import (
    Measured,
    lines,
    measured_row,
    print_plausibility,
    summarise,
    unit_warnings,
    write_list,
)
from preprocess.synthetic_ecg.layouts.challenge_records import draw, samples

COUNT = 12


@functools.cache
def _ecgs():
    return [samples(draw(25, index)).astype(np.float64) for index in range(COUNT)]


def measured(change=lambda ecg: ecg, count=COUNT, start=0):
    rows = []
    for number, ecg in enumerate(_ecgs()[:count], start=start):
        changed = change(ecg.copy())
        digital, clipped = to_digital(changed)
        rows.append(measured_row(number, examine(changed, digital, clipped)))
    return Measured.of(json.loads(json.dumps(rows)))


def both(one, other):
    return Measured(*(np.concatenate(columns) for columns in zip(one, other)))


def test_numbers_survive_json_and_nan_stays_unknown():
    measures = Measures(1.23456, 1.23451, 9.87654, 0, 5, 0, 0.1, math.nan, math.nan, 0.5)
    row = json.loads(json.dumps(measured_row(7, Plausibility(measures, ()))))
    assert row == [7, 1.235, 1.235, 9.877, None, 0.5]
    found = Measured.of([row, [8, None, None, None, 0.25, None]])
    assert found.number.tolist() == [7, 8] and math.isnan(found.residual[0]) and found.residual[1] == 0.25
    assert Measured.of([]).number.shape == (0,)


def test_ordinary_sets_are_not_warned_about():
    assert unit_warnings(measured(), "x") == []
    assert unit_warnings(measured(count=1), "x") == unit_warnings(measured(count=0), "x") == []
    assert unit_warnings(measured(lambda ecg: 2 * ecg), "x") == []  # CODE-15's recordings are as large as that


@pytest.mark.parametrize(
    "factor, times, cause",
    [
        (1e-3, "times too small", "likely 1,000: millivolts confused"),
        (1e-6, "times too small", "likely 1,000,000: volts and microvolts"),
        (5, "times too large", "likely 5: gains of 200 and 1000 per mV"),
        (1 / 4.88, "times too small", "likely 5: .* 4.88"),
        (200, "times too large", "likely 200: raw values"),
        (1000, "times too large", "likely 1,000"),
    ],
)
def test_a_set_of_the_wrong_unit_is_named_with_the_likely_factor(factor, times, cause):
    (text,) = unit_warnings(measured(lambda ecg: factor * ecg), "ptb")
    assert text.startswith("ptb: the median of 12 recordings spans ") and times in text and "check unit and gain" in text
    assert re.search(cause, text)
    assert ("as stored" in text) == (factor in (1e-3, 1e-6, 200, 1000))


def test_few_records_are_judged_as_single_ones_are():
    assert unit_warnings(measured(lambda ecg: ecg / 4.88, count=9), "x") == []
    assert "its one recording spans" in unit_warnings(measured(lambda ecg: ecg / 100, count=1), "x")[0]


def test_leads_normalised_one_by_one_are_recognised():
    scored = measured(lambda ecg: (ecg - ecg.mean(axis=1, keepdims=True)) / ecg.std(axis=1, keepdims=True))
    ranged = measured(lambda ecg: (ecg - ecg.min(axis=1, keepdims=True)) / np.ptp(ecg, axis=1, keepdims=True))
    for found in (scored, ranged):
        (text,) = unit_warnings(found, "x")
        assert "each lead seems to be normalised by itself" in text


def test_recordings_normalised_one_by_one_are_recognised():
    (text,) = unit_warnings(measured(lambda ecg: ecg / np.abs(ecg).max()), "x")
    assert "each recording seems to be normalised by itself" in text and "1 mV" in text
    assert unit_warnings(measured(lambda ecg: ecg / np.abs(ecg).max(), count=5), "x") == []  # too few to tell


def test_counts_and_medians_by_source(tmp_path, capsys):
    good, bad = measured(), measured(lambda ecg: 5 * ecg, start=COUNT)
    doubts = [(0, ["mains: a"]), (COUNT, ["amplitude-high: b", "mains: c"]), (COUNT + 1, ["amplitude-high: d"])]
    found = summarise(both(good, bad), doubts, ["georgia"] * COUNT + ["ptb"] * COUNT, "cinc")
    assert found["records"] == 24 and found["reasons"] == {"amplitude-high": 2, "mains": 2}
    assert found["sources"]["georgia"]["reasons"] == {"mains": 1}
    assert found["sources"]["ptb"] == {
        "records": COUNT,
        "amplitude_mv": pytest.approx(5 * found["sources"]["georgia"]["amplitude_mv"], rel=1e-3),
        "peak_mv": pytest.approx(5 * np.median(good.peak), rel=1e-3),
        "doubtful": 2,
        "reasons": {"amplitude-high": 2, "mains": 1},
    }
    (warning,) = found["warnings"]
    assert warning.startswith("source ptb: the median of 12") and "likely 5" in warning
    text = "\n".join(lines(found))
    assert "doubtful, mains: 2" in text and "ptb: 12 recordings, amplitude" in text
    print_plausibility(tmp_path, found)
    block = capsys.readouterr().err.splitlines()
    assert len(block) == 3 and block[1] == f"warning: {warning}"


def test_one_source_is_the_whole_set_and_nothing_measured_says_nothing():
    found = summarise(measured(lambda ecg: ecg / 1000), [], ["a"] * COUNT, "cinc")
    assert "sources" not in found and found["warnings"][0].startswith("a: the median")
    assert summarise(measured(lambda ecg: ecg / 1000), [], None, "cinc")["warnings"][0].startswith("cinc: the median")
    nothing = summarise(Measured.of([]), [], ["a", "b"], "cinc")
    assert nothing == {"records": 0, "amplitude_mv": None, "peak_mv": None, "doubtful": 0, "reasons": {}, "warnings": []}
    assert lines(nothing) == []


def test_a_whole_of_small_sources_is_judged_together():
    found = summarise(measured(lambda ecg: 3.5 * ecg), [], ["a", "b"] * (COUNT // 2), "cinc")
    assert [text.split(":")[0] for text in found["warnings"]] == ["cinc"]


def test_the_list_has_one_line_per_record(tmp_path):
    write_list(tmp_path / "implausible.tsv", [("a", "p/a", "train", "s", "mains: x; offset:\ty\n")])
    assert (tmp_path / "implausible.tsv").read_text(encoding="utf-8").splitlines() == [
        "record_id\tpath\tsplit\tsource\treasons",
        "a\tp/a\ttrain\ts\tmains: x; offset: y",
    ]


def test_real_normalised_recordings_are_recognised_and_the_originals_are_not_warned_about(real_data):
    for kind, expected in (("org", None), ("preprocessed", "normalised by itself"), ("segmented", "normalised by itself")):
        files = sorted((real_data / "code15" / kind).glob("*.mat"))
        if not files:
            pytest.skip(f"no CODE-15 at {real_data}")
        rows = []
        for number, file in enumerate(files):
            ecg = scipy.io.loadmat(file)["feats"].astype(np.float64)
            digital, clipped = to_digital(ecg)
            rows.append(measured_row(number, examine(ecg, digital, clipped)))
        found = unit_warnings(Measured.of(rows), kind)
        assert (found == []) if expected is None else expected in found[0]
