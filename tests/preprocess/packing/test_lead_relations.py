"""Finding the order of the limb leads from their arithmetic."""

import numpy as np
import pytest
import scipy.io
import wfdb
from hypothesis import given, settings
from hypothesis import strategies as st
from limb_leads import limb_leads

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.limb_leads import LIMB_LEADS
from cmelt_plugin.errors import DataError
from preprocess.packing.lead_relations import describe_fit, fit_limb_leads


def random_leads(seed, n=5, samples=200):
    return limb_leads(*np.random.default_rng(seed).normal(size=(2, n, samples)))


@given(st.permutations(range(6)), st.integers(0, 10_000), st.floats(0.001, 1000))
@settings(max_examples=150, deadline=None)
def test_every_order_is_recovered(order, seed, scale):
    rng = np.random.default_rng(seed + 1)
    signals = scale * random_leads(seed)
    signals += scale * (rng.normal(size=(5, 6, 1)) + 0.01 * rng.normal(size=signals.shape))  # offsets and noise
    assert fit_limb_leads(signals[:, order]).names == tuple(LIMB_LEADS[lead] for lead in order)


def test_residual_of_exact_leads_is_nothing_and_of_noisy_ones_the_noise():
    exact = fit_limb_leads(random_leads(0))
    assert exact.names == LIMB_LEADS and exact.residual < 1e-6 and exact.next_best > 0.2 and exact.records == 5
    rng = np.random.default_rng(1)
    clean = random_leads(0, n=20, samples=5000)
    noisy = fit_limb_leads(clean + 0.02 * rng.normal(size=clean.shape))
    # Variances of independent noise add up: 1 + 1 + 1, 1/4 + 1/4 + 1, 1 + 1/4 + 1 and 1/4 + 1 + 1.
    size = np.sqrt((clean**2).mean())
    expected = 0.02 * np.array([np.sqrt(3), np.sqrt(1.5), np.sqrt(2.25), np.sqrt(2.25)]) / size
    assert np.allclose(noisy.per_relation, expected, rtol=0.05)


def test_unrelated_signals_are_refused_with_their_residuals():
    noise = np.random.default_rng(0).normal(size=(8, 6, 500))
    with pytest.raises(DataError, match=r"in no order; best order .* % left over \(III = II − I: .*median of 8 recordings"):
        fit_limb_leads(noise)


def test_an_inverted_lead_is_refused():
    signals = random_leads(3)
    signals[:, 3] *= -1  # Cabrera's −aVR
    with pytest.raises(DataError, match="in no order"):
        fit_limb_leads(signals)


def test_faulty_records_are_not_asked_or_outvoted():
    signals = random_leads(4, n=9)
    signals[0] = 0
    signals[1, 2] = 0.5  # a flat lead
    signals[2, 0, 7] = np.nan
    signals[3] = np.random.default_rng(0).normal(size=signals[3].shape)
    fit = fit_limb_leads(signals[:, [1, 0, 2, 5, 4, 3]])
    assert fit.names == ("II", "I", "III", "aVF", "aVL", "aVR") and fit.records == 6


def test_padding_beside_an_offset_does_no_harm():
    signals = random_leads(5) + np.arange(1, 7)[:, None]
    padded = np.zeros((5, 6, 1000))
    padded[:, :, 400:600] = signals
    assert fit_limb_leads(padded).residual < 1e-6


def test_leads_that_cannot_be_told_apart_are_refused():
    with pytest.raises(DataError, match="each of the 3 recordings has a constant limb lead"):
        fit_limb_leads(np.zeros((3, 6, 100)))
    wave, *little = np.random.default_rng(0).normal(size=(3, 1, 100))
    with pytest.raises(DataError, match="ambiguous"):  # III is nearly I, aVL nearly nothing
        fit_limb_leads(limb_leads(wave + 1e-4 * little[0], 2 * wave + 1e-4 * little[1]))


def test_wrong_shape():
    with pytest.raises(ValueError, match="expected"):
        fit_limb_leads(np.zeros((6, 100)))


def test_describe_fit_gives_per_cent():
    text = describe_fit(fit_limb_leads(random_leads(0)))
    assert "I, II, III, aVR, aVL, aVF" in text and "aVL = I − II/2" in text and "median of 5 recordings" in text


@pytest.mark.parametrize("seed", range(3))
def test_real_code15_recordings(real_data, seed):
    files = sorted((real_data / "code15" / "org").glob("*.mat"))
    if not files:
        pytest.skip(f"no CODE-15 at {real_data}")
    order = np.random.default_rng(seed).permutation(6)
    length = min(scipy.io.loadmat(file)["feats"].shape[1] for file in files)
    signals = np.stack([scipy.io.loadmat(file)["feats"][:6, :length] for file in files])
    fit = fit_limb_leads(signals[:, order])
    assert fit.names == tuple(LEADS[lead] for lead in order)
    assert fit.residual < 0.05 < 0.2 < fit.next_best


def test_real_cinc_recordings_of_three_devices(real_data):
    files = sorted((real_data / "cinc2021").glob("*.hea"))
    if not files:
        pytest.skip(f"no CinC 2021 at {real_data}")
    for letters in ("E", "HR", "JS"):
        signals = np.stack([wfdb.rdrecord(str(f)[:-4]).p_signal.T[:6] for f in files if f.name.startswith(letters)])
        assert fit_limb_leads(signals[:, ::-1]).names == LEADS[5::-1], letters
