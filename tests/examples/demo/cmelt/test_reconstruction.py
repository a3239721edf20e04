"""The reconstruction, back in millivolts, where tokens were hidden."""

import numpy as np
import torch
from tiny import tiny_model

from cmelt_plugin.modules.ecg.patches import patchify, standardise_leads
from examples.demo.cmelt.reconstruction import reconstruct


class PerfectModel:
    """Predicts the standardised original and hides every other token of 16 samples."""

    n_ecg_tokens = 312

    class ecg_encoder:
        samples_per_token = 16

        @staticmethod
        def n_tokens(n_samples):
            return n_samples // 16

    def __init__(self, ecg, n_samples=None):
        self.n_samples = None if n_samples is None else torch.tensor([n_samples])
        self.target = patchify(standardise_leads(ecg[None, :, : 312 * 16], self.n_samples), 312, 16)

    def __call__(self, ecg, text, text_padding_mask, n_samples, lead_mask, mem_noise, objectives):
        assert n_samples == self.n_samples  # or padding would be reconstructed
        hidden = torch.arange(312) % 2 == 1
        if n_samples is not None:
            hidden &= torch.arange(312) < n_samples // 16
        return {"mem_prediction": self.target, "mem_mask": hidden[None]}


def record():
    time = torch.arange(5000) / 500
    return torch.stack([(lead + 1) * 0.1 * torch.sin(2 * torch.pi * time * (1 + lead)) + 0.05 * lead for lead in range(12)])


def test_a_perfect_prediction_gives_the_recording_back():
    ecg = record()
    result = reconstruct(PerfectModel(ecg), ecg, torch.zeros(1, 1), torch.zeros(1, 1))
    np.testing.assert_allclose(result.signal[:, :4992], ecg[:, :4992].numpy(), atol=1e-4)
    assert np.isnan(result.signal[:, 4992:]).all()
    assert result.hidden.tolist()[:48] == [False] * 16 + [True] * 16 + [False] * 16
    assert not result.hidden[4992:].any()


def test_a_short_recording_comes_back_in_its_own_millivolts():
    """Its target is standardised over real samples; over the padding too, a lead came back shifted and shrunk."""
    ecg = record()
    ecg[:, 2900:] = 0.0
    result = reconstruct(PerfectModel(ecg, 2900), ecg, torch.zeros(1, 1), torch.zeros(1, 1), n_samples=2900)
    np.testing.assert_allclose(result.signal[:, :2896], ecg[:, :2896].numpy(), atol=1e-4)
    assert np.isnan(result.signal[:, 2896:]).all() and not result.hidden[2896:].any()
    assert result.hidden[:2896].any()


def test_a_real_model_sees_where_a_recording_ends():
    model, text, padding = tiny_model(mem_ratio=0.75).eval(), torch.tensor([[5, 6, 1]]), torch.zeros(1, 3, dtype=torch.bool)
    ecg = record()
    other = ecg.clone()
    other[:, 2900:] = 4.0
    first, second = (reconstruct(model, signal, text, padding, n_samples=2900) for signal in (ecg, other))
    np.testing.assert_array_equal(first.signal, second.signal)
    assert abs(first.hidden[:2896].mean() - 0.75) < 0.01


def test_a_real_model_hides_its_share_and_repeats_itself():
    model = tiny_model(mem_ratio=0.75).eval()
    text, padding = torch.tensor([[5, 6, 1]]), torch.zeros(1, 3, dtype=torch.bool)
    lead_mask = torch.arange(12) == 3
    first, again, other = (reconstruct(model, record(), text, padding, lead_mask, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.signal, again.signal)
    assert (first.hidden != other.hidden).any()
    assert abs(first.hidden.mean() - 0.75) < 0.01
