"""Recordings of fewer than 12 leads, accepted on request."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmelt_plugin.data.files import read_json
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.readers.contract import Recording, Rejected
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.errors import DataError
from preprocess.packing.pack import PackingOptions, pack
from preprocess.packing.recording import ZERO, SignalOptions, to_row
from preprocess.packing.records import records_table
from tests.preprocess.mimic_layout import make_ecg

ZEROS = SignalOptions(missing_leads=ZERO)


def recording(leads, unit="mV", **keywords):
    return Recording(make_ecg(0, leads=len(leads), **keywords), leads, [unit] * len(leads), 500.0)


@given(st.lists(st.sampled_from(LEADS), unique=True, min_size=1))
@settings(max_examples=25, deadline=None)
def test_missing_leads_are_zero_and_the_others_themselves(leads):
    given_leads = recording(leads)
    row = to_row(given_leads, ZEROS)
    for number, lead in enumerate(LEADS):
        expected = given_leads.signal[leads.index(lead)] if lead in leads else np.zeros(5000)
        assert np.abs(row.digital[number] * 0.001 - expected).max() <= 0.0005 + 1e-9
    if len(leads) < 12:
        with pytest.raises(Rejected, match="^leads: "):
            to_row(given_leads)


def test_units_and_padding_concern_the_leads_that_are_there():
    row = to_row(recording(("II", "V5"), unit="uV", seconds=7), ZEROS)
    assert row.n_samples == 3500 and row.digital[1].any() and not row.digital[:, 3500:].any()
    with pytest.raises(Rejected, match="^units: lead II is in 'x'"):
        to_row(recording(("II", "V5"), unit="x"), ZEROS)


@pytest.mark.parametrize(
    "leads, reason", [(("II", "II"), "named twice"), (("II", "MLII"), "unknown lead MLII"), ((), "no leads")]
)
def test_leads_that_are_no_leads(leads, reason):
    with pytest.raises(Rejected, match=f"^leads: .*{reason}"):
        to_row(Recording(np.ones((len(leads), 5000)), leads, ["mV"] * len(leads), 500.0), ZEROS)


def test_missing_leads_do_not_count_as_flat():
    assert to_row(recording(("I", "II")), SignalOptions(missing_leads=ZERO, allow_flat_leads=0)).n_samples == 5000
    flat = recording(("I", "II"))
    flat.signal[1] = 0.25
    with pytest.raises(Rejected, match="^flat: constant in II$"):
        to_row(flat, ZEROS)
    assert to_row(flat, SignalOptions(missing_leads=ZERO, allow_flat_leads=1)).digital[1, 0] == 250
    flat.signal[0] = 0.5
    with pytest.raises(Rejected, match="^flat: constant in I, II$"):  # nothing is left to look at
        to_row(flat, SignalOptions(missing_leads=ZERO, allow_flat_leads=11))
    flat.signal[:] = 0
    with pytest.raises(Rejected, match="^zero"):
        to_row(flat, SignalOptions(missing_leads=ZERO, allow_flat_leads=11))


def read_some(path, leads=("I",)):
    """A reader without files: a name ending in 2 has lead II as well, one in 0 nothing."""
    if path.endswith("0"):
        raise Rejected("unreadable", "made up")
    leads = [*leads, "II"] if path.endswith("2") else leads
    return Recording(make_ecg(len(path), leads=len(leads)), leads, ["mV"] * len(leads), 500.0)


def pack_some(folder, names, reader=read_some, **options):
    records = records_table(record_id=names, path=names, subject_id=names)
    options = PackingOptions(rows_per_shard=2, require_report=False, **options)
    pack(records, folder, folder / "m", options, data_set="x", command="test", reader=reader)


def test_the_manifest_says_which_leads_there_are(tmp_path):
    pack_some(tmp_path, ["a0", "b0", "c1", "d2", "e1", "f1"], signal=ZEROS)
    notes = read_json(tmp_path / "m" / "manifest.json")["notes"]
    assert notes == ["leads a recording lacks are zero", "leads I: 3 records", "leads I, II: 1 records"]
    assert RecordStore(tmp_path / "m").rows.sum() == 4


def test_settings_are_part_of_the_plan_only_where_they_differ_from_before(tmp_path):
    whole = functools.partial(read_some, leads=LEADS)
    pack_some(tmp_path, ["a1"], whole)
    arguments = read_json(tmp_path / "m" / "manifest.json")["arguments"]
    assert arguments["signal"] == {"min_seconds": 5.0, "allow_flat_leads": 0, "crop": "start"}
    assert arguments["reader"] == f"read_some(leads={LEADS!r})"  # the same in every process
    pack_some(tmp_path, ["a1"], whole)
    with pytest.raises(DataError, match="different: signal"):
        pack_some(tmp_path, ["a1"], whole, signal=ZEROS)
    with pytest.raises(DataError, match="different: reader"):
        pack_some(tmp_path, ["a1"], read_some)
