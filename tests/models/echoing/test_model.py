"""The model: its sizes, its Gaussians, what they are compared by, and where their uncertainty comes from."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_echo import DIM, tiny_echoing
from tiny_merl import batch
from torch import Tensor
from torch.nn import functional as F

from cmelt_plugin.errors import DataError
from cmelt_plugin.losses.pcmepp import sampled_distance, wasserstein_distance
from cmelt_plugin.models.base import Embedding
from cmelt_plugin.models.echoing.config import EchoingConfig
from cmelt_plugin.models.echoing.model import EchoingECG
from cmelt_plugin.models.echoing.towers import ECGTower
from cmelt_plugin.modules.pooling.gaussian import LogVarianceHead


@pytest.fixture(scope="module")
def model() -> EchoingECG:
    return tiny_echoing().eval()


def test_reference_sizes() -> None:
    """126,642,944 parameters of the ECG encoder with both heads, 812,864 of the text's heads; 63 tokens of 160 ms in 10 s."""
    cfg = EchoingConfig()
    with torch.device("meta"):
        tower, variance = ECGTower(cfg, None, 12), LogVarianceHead(1536, cfg.embed_dim, cfg.variance_init)
        text = [LogVarianceHead(768, cfg.embed_dim, None) for _ in range(2)]
    sizes = [sum(parameter.numel() for parameter in module.parameters()) for module in (tower, variance, *text)]
    assert sizes[0] + sizes[1] == 126_642_944 and sizes[2] + sizes[3] == 812_864
    assert sum(parameter.numel() for parameter in tower.encoder.parameters()) == 125_043_648
    assert (tower.dim, tower.samples_per_token, tower.encoder.n_tokens(1000)) == (1536, 80, 63)


def test_it_gives_gaussians_of_unit_means(model) -> None:
    inputs = batch(3, 5000)
    with torch.no_grad():
        out = model(**inputs, teacher_mean=torch.ones(3, DIM), teacher_log_variance=torch.zeros(3, DIM))
        text = model.embed_text(inputs["text"], inputs["text_padding_mask"])
        embeddings = {"ecg": model.embed_ecg(inputs["ecg"]), "text": text}
    for side, embedding in embeddings.items():
        torch.testing.assert_close(embedding.mean.norm(dim=1), torch.ones(3))
        assert torch.equal(out[f"{side}_mean"], embedding.mean)
        assert torch.equal(out[f"{side}_log_variance"], embedding.log_variance)
        torch.testing.assert_close(embedding.uncertainty(), embedding.log_variance.exp().sum(1))
    assert torch.equal(out["echo_mean"], torch.ones(3, DIM)) and torch.equal(out["echo_log_variance"], torch.zeros(3, DIM))
    assert {name for name in out if name.startswith(("scale", "shift"))} == {
        f"{name}_{pair}" for name in ("scale", "shift") for pair in ("ecg_text", "ecg_echo")
    }
    alone = model(inputs["ecg"])
    assert set(alone) == {"matching", "ecg_mean", "ecg_log_variance"}  # what is not there is not asked for a gradient


@pytest.mark.parametrize("total, low, high", [(0.25, 0.24, 0.26), (None, 10.0, 22.0)])
def test_uncertainty_begins_where_it_is_told_to(total, low: float, high: float) -> None:
    """At the framework's initialisation log-variances are about 0, and their sum about the width (16)."""
    with torch.no_grad():
        found = tiny_echoing(variance_init=total).eval().embed_ecg(batch(4, 5000)["ecg"]).uncertainty()
    assert low < found.min() and found.max() < high


def gaussians(rows: int, seed: int) -> Embedding:
    noise = torch.randn(2, rows, 5, generator=torch.Generator().manual_seed(seed))
    return Embedding(F.normalize(noise[0], dim=1), noise[1] - 2)


@pytest.mark.parametrize("matching, distance", [("sampled", sampled_distance), ("wasserstein", wasserstein_distance)])
def test_scores(matching: str, distance) -> None:
    model, a, b = tiny_echoing(matching=matching, scale_init=2.0, shift_init=1.5), gaussians(3, 0), gaussians(4, 1)
    assert model.score == "cosine"
    torch.testing.assert_close(model.similarity(a, b), a.mean @ b.mean.T)
    assert model.match_probability(model.similarity(a, b)) is None
    model.choose_score("distance")
    scores = model.similarity(a, b)
    torch.testing.assert_close(scores, -distance(*a, *b))
    torch.testing.assert_close(model.match_probability(scores), torch.sigmoid(1.5 - 2 * distance(*a, *b)))
    model.scale["ecg_echo"].data.fill_(3.0)
    torch.testing.assert_close(model.match_probability(scores, "ecg_echo"), torch.sigmoid(1.5 + 3 * scores))
    with pytest.raises(DataError, match="model.score must be one of cosine, distance, not 'euclid'"):
        model.choose_score("euclid")


def test_an_ensemble_is_the_mixture_of_its_texts(model) -> None:
    """Law of total variance: what samples of the mixture have, around their mean before it gets unit length."""
    texts, group = gaussians(5, 2), torch.tensor([1, 0, 1, 1, 0])
    found = model.ensemble(texts, group, 2)
    for number in (0, 1):
        mean, log_variance = texts.select(group == number)
        raw = mean.mean(0)
        torch.testing.assert_close(found.mean[number], raw / raw.norm())
        second = (log_variance.exp() + mean.square()).mean(0)
        torch.testing.assert_close(found.log_variance[number].exp(), second - raw.square(), rtol=1e-5, atol=1e-6)


def test_points_have_no_variance_anywhere() -> None:
    model = tiny_echoing(matching="info_nce").eval()
    inputs = batch(2, 2000)
    out = model(**inputs, teacher_mean=torch.ones(2, DIM), teacher_log_variance=torch.zeros(2, DIM))
    assert not [name for name in out if "variance" in name or name.startswith("shift")]
    assert out["scale_ecg_text"].item() == 1.0 and not [name for name in model.state_dict() if "log_variance" in name]
    embedding = model.embed_ecg(inputs["ecg"])
    assert embedding.log_variance is None
    with pytest.raises(ValueError, match="points, which have no variance"):
        embedding.uncertainty()
    with pytest.raises(ValueError, match="points, which have no variance"):
        model.uncertainty_tokens(inputs["ecg"])
    with pytest.raises(DataError, match="model.score=distance: with model.matching=info_nce embeddings are points"):
        model.choose_score("distance")
    texts = Embedding(F.normalize(torch.randn(3, DIM), dim=1))
    assert model.ensemble(texts, torch.tensor([0, 0, 1]), 2).log_variance is None


@pytest.mark.parametrize("n_samples", [None, [5000, 2400]])
def test_uncertainty_is_traced_back_to_tokens(model, n_samples) -> None:
    """Against the formula, channel by channel and token by token; and what the tokens' parts are worth."""
    ecg = batch(2, 5000)["ecg"]
    real = None if n_samples is None else torch.tensor(n_samples)
    with torch.no_grad():
        parts = model.uncertainty_tokens(ecg, real)
        states, padding = model.ecg_tower(ecg, real)
        tokens = model.ecg_log_variance.projected(states)
        pooled = model.embed_ecg(ecg, real).log_variance
        assert parts.shape == (2, 63) and model.samples_per_token == 80
        for row in range(2):
            length = 63 if padding is None else int((~padding[row]).sum())
            x, weights = tokens[row, :length], model.ecg_log_variance.pool.weights(length, length)[0]
            rank = x.argsort(0, descending=True).argsort(0)  # of each token in each channel
            torch.testing.assert_close((weights[rank] * x).sum(0), pooled[row])  # the identity it rests on
            expected = (pooled[row].exp() * weights[rank] * (x - x.mean(0))).sum(1)
            found = parts[row, :length]
            # Where two tokens all but tie in a channel, rounding decides which is larger, and exchanges their parts of it.
            assert torch.isclose(found, expected, rtol=1e-4, atol=1e-7).float().mean() > 0.9
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=0.03 * float(expected.abs().max()))
            assert not parts[row, length:].any()
    assert n_samples is None or length == 30


def test_the_uncertainty_of_an_ecg_reorders_no_prompts() -> None:
    """For one ECG its own variance is a constant, that of a text is not."""
    model = tiny_echoing(score="distance")
    ecg, texts = gaussians(1, 3), gaussians(6, 4)
    order = model.similarity(ecg, texts).argsort()
    louder = Embedding(ecg.mean, ecg.log_variance + 3)
    assert torch.equal(model.similarity(louder, texts).argsort(), order)
    quiet = Embedding(texts.mean, texts.log_variance.clone())
    quiet.log_variance[order[0, 0]] -= 5  # the last of them
    quiet.log_variance[order[0, 1:]] += 5
    assert model.similarity(ecg, quiet).argmax() == order[0, 0]


@pytest.mark.parametrize("pool, width", [("mean", 32), ("embedding", DIM)])
def test_features(model, pool: str, width: int) -> None:
    ecg = batch(2, 5000)["ecg"]
    with torch.no_grad():
        features = model.ecg_features(ecg, None, pool)
        assert features.shape == (2, width)
        expected = model.ecg_tower(ecg).states.mean(1) if pool == "mean" else model.embed_ecg(ecg).mean
    torch.testing.assert_close(features, expected)
    with pytest.raises(ValueError, match="pool must be one of mean, embedding, not 'cls'"):
        model.ecg_features(ecg, None, "cls")


def test_the_front_end_is_measured_once_on_training_recordings() -> None:
    calls: list[int] = []

    def recordings() -> list[tuple[Tensor, None]]:
        calls.append(1)
        return [(batch(2, 2000)["ecg"], None)]

    cfg = EchoingConfig()
    EchoingECG.measure(cfg, recordings)
    measured = cfg.lead_statistics
    assert measured is not None and len(calls) == 1
    EchoingECG.measure(cfg, recordings)
    other = EchoingConfig(normalisation="none")
    EchoingECG.measure(other, recordings)
    assert len(calls) == 1 and cfg.lead_statistics == measured and other.lead_statistics is None


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"matching": "cosine"}, "model.matching must be one of sampled, wasserstein, info_nce"),
        ({"ecg_encoder": "vit"}, "model.ecg_encoder must be one of resnet, resnet18, wav2vec"),
        ({"ecg_blocks": "3; 4"}, "model.ecg_blocks must be up to 4 numbers like '3, 4, 23, 3'"),
        ({"ecg_blocks": "1, 1, 1, 1, 1"}, "model.ecg_blocks must be up to 4 numbers"),
        ({"score": "product"}, "model.score must be one of cosine, distance"),
    ],
)
def test_settings_of_no_model_are_refused(setting, message: str) -> None:
    with pytest.raises(DataError, match=message):
        tiny_echoing(**setting)


def test_a_teachers_gaussian_gets_no_gradient(model) -> None:
    """It is data: nothing of it is a parameter, and what it is compared with moves towards it."""
    model = tiny_echoing().train()
    mean = F.normalize(torch.randn(3, DIM), dim=1)
    out = model(batch(3, 2000)["ecg"], teacher_mean=mean, teacher_log_variance=torch.full((3, DIM), -math.log(DIM)))
    assert not out["echo_mean"].requires_grad and not out["echo_log_variance"].requires_grad and out["ecg_mean"].requires_grad
