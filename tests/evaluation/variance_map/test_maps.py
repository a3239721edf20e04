"""Variance maps of models: by hiding windows, and exactly from pooled tokens."""

import numpy as np
import pytest
import torch
from planted_values import DIM, planted

from cmelt_plugin import registry
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.variance_map.maps import MapSettings, check_maps, variance_map
from cmelt_plugin.models.base import TokenUncertainty
from cmelt_plugin.models.files.checkpoint import LoadedModel
from cmelt_plugin.models.inference.pretrained import Pretrained
from tests.systems.cases import CASES, plain_model

TOKENS = [name for name, case in CASES.items() if issubclass(registry.systems()[case.system].model_class(), TokenUncertainty)]


def opened(name):
    return Pretrained(LoadedModel(plain_model(CASES[name]).eval(), {"task": {}, "model": {}}, {}), f"{name}.pt", None)


def test_hiding_the_lead_that_makes_the_variance_takes_it_away() -> None:
    ecg = np.zeros((12, 4000), dtype=np.float32)
    ecg[1, 1000:1500] = 0.3  # the planted variance is the power of lead II
    u = DIM * (0.09 * 500 / 5000)
    found = variance_map(planted(), ecg, MapSettings())
    assert not found[[0, *range(2, 12)]].any()
    # Over the middle of the step lie windows that hold 1/2, 3/4, all and 3/4 of it.
    assert found[1, 1249] == pytest.approx(u * (0.5 + 0.75 + 1 + 0.75) / 4, rel=1e-3) == found[1].max()
    assert not found[1, 2000:].any()
    together = variance_map(planted(), ecg, MapSettings("window", batch_size=5))
    assert together[7] == pytest.approx(found[1])
    coarse = variance_map(planted(), ecg, MapSettings(window=0.5, hop=0.5))
    assert (coarse[1, 1000:1250] == coarse[1, 1000]).all() and coarse[1, 1000] == pytest.approx(u / 2, rel=1e-3)
    line = variance_map(planted(), ecg, MapSettings(fill="line"))
    assert line[1, 1250] < found[1, 1250]  # a window within the step is its own interpolation


def test_what_a_model_cannot_do_is_refused() -> None:
    with pytest.raises(DataError, match="planted.pt: this model cannot say what its parts add .*systems that can: echoing_ecg"):
        check_maps(planted(), MapSettings("tokens"))
    with pytest.raises(DataError, match="must be a sample long"):
        check_maps(planted(), MapSettings(hop=1e-4))


@pytest.mark.parametrize("name", TOKENS)
@pytest.mark.parametrize("length", [5000, 3500])
def test_tokens_make_up_the_pooled_log_variance(name, length) -> None:
    """Σ over tokens of weight · log-variance is the log-variance of the embedding, exactly; padding has no part."""
    model = plain_model(CASES[name]).eval()
    ecg = torch.randn(2, 12, 5000, generator=torch.Generator().manual_seed(0)) * 0.3
    ecg[:, :, length:] = 0
    n_samples = None if length == 5000 else torch.full((2,), length)
    head = model.ecg_log_variance
    with torch.no_grad():
        states, padding = model.ecg_tower(ecg, n_samples)
        tokens = head.projected(states).double()
        weights = head.pool.token_weights(tokens, padding).double()
        if padding is not None:
            weights, tokens = (part.masked_fill(padding.unsqueeze(2), 0.0) for part in (weights, tokens))
        embedding = model.embed_ecg(ecg, n_samples)
        contributions = model.uncertainty_tokens(ecg, n_samples)
    pooled = (weights * tokens).sum(dim=1)
    assert torch.allclose(pooled.float(), embedding.log_variance, atol=1e-4)
    real = torch.ones(states.shape[:2], dtype=torch.bool) if padding is None else ~padding
    mean = (tokens * real.unsqueeze(2)).sum(1, keepdim=True) / real.sum(1)[:, None, None]
    expected = (pooled.exp()[:, None] * weights * (tokens - mean)).sum(2) * real
    assert torch.allclose(contributions, expected.float(), atol=1e-4 * float(expected.abs().max()) + 1e-7)

    pretrained = opened(name)
    found = variance_map(pretrained, ecg[0, :, :length].numpy(), MapSettings("tokens"))
    step = pretrained.model.samples_per_token
    assert found.shape == (12, length) and (found == found[:1]).all()
    middles = np.arange(step // 2, length, step)
    assert found[0, middles] == pytest.approx(contributions[0, : len(middles)].numpy(), rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("name", TOKENS[:1])
def test_hidden_windows_of_a_short_record_are_padded_as_the_model_wants(name) -> None:
    pretrained = opened(name)
    ecg = torch.randn(12, 3000, generator=torch.Generator().manual_seed(1)).numpy() * 0.3
    found = variance_map(pretrained, ecg, MapSettings("window", window=3.0, hop=3.0))
    whole = torch.zeros(2, 12, 5000)
    whole[:, :, :3000] = torch.from_numpy(ecg)
    whole[1, :, :1500] = 0
    with torch.no_grad():
        u = pretrained.model.embed_ecg(whole, torch.tensor([3000, 3000])).uncertainty()
    assert found[0, 0] == pytest.approx((u[0] - u[1]).item(), rel=1e-3)
