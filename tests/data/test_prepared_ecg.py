"""A user's recording reaches the model as packing would have stored it, or is refused with the reason."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from limb_leads import limb_leads
from pretrained_files import random_ecg, write_record

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.prepared_ecg import prepare_ecg
from cmelt_plugin.data.readers.contract import Recording, Rejected
from cmelt_plugin.errors import DataError
from preprocess.packing.recording import SignalOptions, to_row


@pytest.mark.parametrize("crop", ["start", "centre"])
@pytest.mark.parametrize(("rate", "seconds"), [(500, 10), (500, 12.5), (100, 10), (400, 10.24), (257, 11), (1000, 6), (360, 5)])
def test_same_samples_as_packing(rate, seconds, crop) -> None:
    names = list(reversed(LEADS))
    signal = random_ecg(seconds, rate)
    row = to_row(Recording(signal, names, ["mV"] * 12, rate), SignalOptions(crop=crop))
    prepared = prepare_ecg(signal, rate, names, crop)
    assert prepared.ecg.shape == (1, 12, 5000) and prepared.ecg.dtype == torch.float32 and prepared.shape == ()
    assert prepared.n_samples.tolist() == [row.n_samples]
    # Packing rounds to units of 0.001 mV.
    np.testing.assert_allclose(prepared.ecg[0].numpy(), row.digital * 0.001, atol=0.000501)
    assert not prepared.ecg[0, :, row.n_samples :].any()
    assert (prepared.padding is None) == (row.n_samples == 5000)


def test_resampling_keeps_time_and_amplitude() -> None:
    """The same smooth signal recorded at 250 Hz and at 500 Hz is the same recording."""
    slow, fast = (prepare_ecg(random_ecg(10, rate), rate).ecg for rate in (250, 500))
    torch.testing.assert_close(slow[..., 50:-50], fast[..., 50:-50], atol=0.01, rtol=0)


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(12)), upper=st.booleans())
def test_order_and_letter_case_of_leads_do_not_matter(order, upper) -> None:
    signal = random_ecg(2, 100)
    names = [LEADS[index].upper() if upper else LEADS[index] for index in order]
    assert torch.equal(prepare_ecg(signal[order], 100, names).ecg, prepare_ecg(signal, 100).ecg)


def test_batches_of_any_shape_and_type() -> None:
    signal = np.stack([random_ecg(8, seed=seed) for seed in range(6)]).reshape(2, 3, 12, -1)
    original = signal.copy()
    prepared = prepare_ecg(signal)
    assert prepared.shape == (2, 3) and prepared.ecg.shape == (6, 12, 5000)
    assert prepared.n_samples.tolist() == [4000] * 6
    torch.testing.assert_close(prepared.ecg[4, :, :4000], torch.from_numpy(signal[1, 1]).float())
    assert torch.equal(prepare_ecg(torch.from_numpy(signal)).ecg, prepared.ecg)
    whole = np.rint(signal * 5).astype(np.int16)
    np.testing.assert_array_equal(prepare_ecg(whole).ecg[0, :, :4000].numpy(), whole[0, 0])
    np.testing.assert_array_equal(signal, original)


def test_values_beyond_the_store_are_clipped_as_packing_clips_them() -> None:
    signal = random_ecg()
    signal[3, 10] = -40.0
    assert prepare_ecg(signal).ecg[0, 3, 10] == pytest.approx(-32.767)


def test_missing_leads_are_refused_or_zero() -> None:
    signal = random_ecg(leads=3)
    with pytest.raises(DataError, match="missing II, III.*; missing_leads='zero' .--missing-leads zero. leaves them zero"):
        prepare_ecg(signal, leads=["I", "aVF", "V2"])
    ecg = prepare_ecg(signal, leads=["V2", "I", "aVF"], missing_leads="zero").ecg[0]
    for row, lead in enumerate(("V2", "I", "aVF")):
        torch.testing.assert_close(ecg[LEADS.index(lead)], torch.from_numpy(signal[row]).float())
    assert not ecg[[LEADS.index(lead) for lead in LEADS if lead not in ("I", "aVF", "V2")]].any()


def test_arrays_of_other_leads_are_brought_to_the_standard_ones() -> None:
    signal = random_ecg()
    signal[2:6] = limb_leads(signal[0], signal[1])[2:]
    whole = prepare_ecg(signal).ecg
    eight = [0, 1, *range(6, 12)]
    names = [LEADS[row] for row in eight]
    torch.testing.assert_close(prepare_ecg(signal[eight], leads=names).ecg, whole)
    torch.testing.assert_close(prepare_ecg(signal[eight[::-1]], leads=[f"Lead {name}" for name in names[::-1]]).ecg, whole)
    frank = np.concatenate([signal[6:9], signal])
    prepared = prepare_ecg(np.stack([frank, frank]), leads=["vx", "vy", "vz", *LEADS])
    assert torch.equal(prepared.ecg, whole.expand(2, -1, -1)) and prepared.doubts == ((), ())
    two = prepare_ecg(signal[:3], leads=["I", "II", "V7"], missing_leads="zero")
    torch.testing.assert_close(two.ecg[0, :6], whole[0, :6])
    assert not two.ecg[0, 6:].any()


@pytest.mark.parametrize("option", [{}, {"missing_leads": "zero"}])
def test_names_that_no_lead_has_are_refused_among_others(option) -> None:
    signal = random_ecg(leads=15)
    with pytest.raises(DataError, match=r"unknown (lead )?vxx\b") as refused:
        prepare_ecg(signal, leads=[*LEADS, "vxx", "vy", "vz"], **option)
    assert "vy" not in str(refused.value)
    with pytest.raises(DataError, match="^doubled vy; give each"):
        prepare_ecg(signal, leads=[*LEADS, "vx", "vy", "vy"], **option)
    with pytest.raises(DataError, match="unknown lead MLII|unknown MLII"):
        prepare_ecg(signal[:1], leads=["MLII"], **option)


def test_leads_the_model_does_not_read_may_be_missing() -> None:
    signal = random_ecg(leads=3)
    assert prepare_ecg(signal, leads=["I", "II", "V2"], required=["II", "I"]).ecg[0, 7].any()
    with pytest.raises(DataError, match="missing V1, which the model reads"):
        prepare_ecg(signal, leads=["I", "II", "V2"], required=["I", "V1"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {"signal": s.T}, r"\[5000, 12\] where \[.., 12 leads, samples\] is expected; transpose it"),
        (lambda s: {"signal": s[:11]}, r"\[11, 5000\]"),
        (lambda s: {"signal": s[0]}, r"\[5000\]"),
        (lambda s: {"signal": s[None][:0]}, "no recording"),
        (lambda s: {"signal": "abc".split()}, "no such WFDB record"),
        (lambda s: {"signal": [["a"]]}, "must be an array"),
        (lambda s: {"signal": s, "sample_rate": 5}, "sample rate 5 Hz"),
        (lambda s: {"signal": s, "sample_rate": float("nan")}, "sample rate nan Hz"),
        (lambda s: {"signal": s[:, :400]}, "short: 0.80 s, at least 1 s"),
        (lambda s: {"signal": np.zeros_like(s)}, "every sample is zero"),
        (lambda s: {"signal": np.stack([s, 0 * s])}, "recording 1: zero: every sample is zero"),
        (lambda s: {"signal": s * 1000}, "cannot be millivolts"),
        (lambda s: {"signal": s, "leads": ["I"] * 12}, "doubled I"),
        (lambda s: {"signal": s, "leads": [*LEADS[:11], "V0"]}, "unknown V0"),
        (lambda s: {"signal": s, "leads": [*LEADS[:11], "V9"]}, "missing V6"),
        (lambda s: {"signal": s[:2], "leads": ["I", "V0"], "missing_leads": "zero"}, "unknown lead V0"),
        (lambda s: {"signal": s, "crop": "end"}, "crop must be one of start, centre"),
        (lambda s: {"signal": s, "missing_leads": "guess"}, "missing_leads must be one of"),
    ],
)
def test_what_cannot_be_used_is_refused(change, message) -> None:
    with pytest.raises(DataError, match=message):
        prepare_ecg(**change(random_ecg()))


def test_missing_values_are_refused_with_their_leads() -> None:
    signal = random_ecg()
    signal[[1, 7], 100] = np.nan
    with pytest.raises(DataError, match=r"nan: 2 samples without a value in II, V2"):
        prepare_ecg(signal)
    # Those beyond the 10 s that are used do no harm.
    longer = random_ecg(12)
    longer[:, 5500:] = np.nan
    assert prepare_ecg(longer).ecg.isfinite().all()


def test_a_wfdb_record_says_its_own_rate_leads_and_units(tmp_path) -> None:
    names = list(reversed(LEADS))
    signal = random_ecg(12, 250)
    path = write_record(tmp_path, "r1", signal * 1000, 250, names, unit="uV")
    expected = prepare_ecg(signal, 250, names).ecg
    for given_path in (path, str(path), f"{path}.hea", f"{path}.dat"):
        prepared = prepare_ecg(given_path)
        assert prepared.shape == ()
        torch.testing.assert_close(prepared.ecg, expected, atol=0.001, rtol=0)
    assert prepare_ecg([path, f"{path}.hea"]).shape == (2,)


def test_micro_signs_of_either_encoding_are_microvolts(tmp_path) -> None:
    """wfdb drops the sign, which makes volts of microvolts."""
    signal = random_ecg(10)
    path = write_record(tmp_path, "r1", signal * 1000, unit="uV")
    expected = prepare_ecg(path).ecg
    header = path.with_suffix(".hea").read_bytes()
    for sign in ("µ".encode(), "μ".encode(), b"\xb5"):
        path.with_suffix(".hea").write_bytes(header.replace(b"/uV", b"/" + sign + b"V"))
        torch.testing.assert_close(prepare_ecg(path).ecg, expected)


def test_records_that_cannot_be_read_say_why(tmp_path) -> None:
    with pytest.raises(DataError, match="none: no such WFDB record"):
        prepare_ecg(tmp_path / "none")
    path = write_record(tmp_path, "r1", random_ecg())
    path.with_suffix(".dat").unlink()
    with pytest.raises(DataError, match="r1.dat: No such file"):
        prepare_ecg(path)
    (tmp_path / "r2.hea").write_text("nonsense\n", encoding="utf-8")
    with pytest.raises(DataError, match="r2: header: r2.hea does not begin with a record line"):
        prepare_ecg(tmp_path / "r2")
    path = write_record(tmp_path, "r3", random_ecg(), unit="mmHg")
    with pytest.raises(DataError, match="r3: units: lead I is in 'mmHg'"):
        prepare_ecg(path)
    path = write_record(tmp_path, "r4", random_ecg(0.5))
    with pytest.raises(DataError, match="r4: short: 0.50 s"):
        prepare_ecg(path)


def test_real_records_in_both_rates(real_data) -> None:
    folder = real_data / "ptb-xl"
    if not folder.is_dir():
        pytest.skip(f"no PTB-XL at {folder}")
    fast = prepare_ecg(folder / "records500" / "00000" / "00001_hr").ecg[0]
    slow = prepare_ecg(folder / "records100" / "00000" / "00001_lr").ecg[0]
    torch.testing.assert_close(fast[2], fast[1] - fast[0], atol=0.01, rtol=0)  # III = II − I
    together = np.corrcoef(fast[1].numpy(), slow[1].numpy())[0, 1]
    assert together > 0.95  # the same beats at the same times


@pytest.mark.parametrize(
    "signal, message",
    [
        (random_ecg() + 1000, "100 % of the samples are beyond ±32.767 mV.*take off the offset"),
        (random_ecg() * 1e-5, "every sample is zero after rounding"),
        (np.full((12, 5000), 7.0), "every lead is constant"),
        (np.sign(random_ecg(rate=250)) * 1.7e308, "too large to be resampled|cannot be millivolts"),
    ],
)
def test_recordings_of_which_nothing_is_left_are_refused_as_packing_does(signal, message) -> None:
    rate = signal.shape[1] / 10
    with pytest.raises(DataError, match=message):
        prepare_ecg(signal, rate)
    with pytest.raises(DataError, match=f"recording 1: (clipped|zero|flat|units): .*({message})"):
        prepare_ecg(np.stack([random_ecg(rate=rate), signal]), rate)
    with pytest.raises(Rejected, match="^(clipped|zero|flat): "):
        to_row(Recording(signal, LEADS, ["mV"] * 12, rate), SignalOptions(allow_flat_leads=12))


def test_doubts_are_those_of_packing_and_stay_in_order(tmp_path) -> None:
    faults = [random_ecg(seed=1), 6 * random_ecg(seed=2), random_ecg(seed=3) / 1000]
    doubts = prepare_ecg(np.stack(faults)).doubts
    assert doubts == tuple(to_row(Recording(each, LEADS, ["mV"] * 12, 500)).plausibility.reasons for each in faults)
    assert [[reason.code for reason in reasons][:1] for reasons in doubts] == [[], ["amplitude-high"], ["amplitude-low"]]
    paths = [write_record(tmp_path, f"r{number}", each, unit="mV") for number, each in enumerate(faults[:2])]
    assert [len(reasons) for reasons in prepare_ecg(paths).doubts] == [0, 1]
    # Leads that are not there are not asked.
    assert prepare_ecg(faults[0][[1]], leads=["II"], missing_leads="zero", required=()).doubts == ((),)
