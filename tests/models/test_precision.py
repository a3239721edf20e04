"""Half precision against float32: same weights, same batch, no dropout.

A rounding to bfloat16 (8 bits) is off by at most ε = 2⁻⁸ of the value, to float16 (11 bits) by 2⁻¹¹. Tolerances are multiples
of ε; measured over three seeds and two sizes of weights, losses differed by 0.5 ε, norms of gradients by 2 ε, and directions
(1 − cosine) by 9 ε². Losses in half precision would miss them, which a test shows.
"""

from __future__ import annotations

import copy
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny import tiny_model, tiny_t5_config
from torch import Tensor
from torch.nn import functional as F

from cmelt_plugin.losses import etm_loss, mem_loss, mlm_loss, siglep_loss
from cmelt_plugin.models.cmelt.criterion import CMELTCriterionConfig, CompositeCriterion
from cmelt_plugin.modules.ecg.patches import standardise_leads
from cmelt_plugin.modules.pooling.tokens import masked_mean
from cmelt_plugin.modules.text.text_encoder import TextEncoder
from cmelt_plugin.modules.transformer import BERT_NORM_EPSILON
from tests.models.cmelt.batches import dataset, without_dropout

EPSILON = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}
LOSSES = ("mlm", "mem", "etm", "siglep")
# Name → number format, and whether the weights are in it (common.bf16, common.fp16) or products alone (autocast).
WAYS = {
    "bf16 autocast": (torch.bfloat16, False),
    "bf16 weights": (torch.bfloat16, True),
    "fp16 weights": (torch.float16, True),
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> tuple[Any, dict[str, Any]]:
    """A model whose weights are large enough for its activations to matter, and a batch with a short recording."""
    data = dataset(tmp_path_factory.mktemp("precision") / "m", short_row=1)
    torch.manual_seed(0)
    model = tiny_model(**without_dropout()).train()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.1)
    return model, data.collater([data[index] for index in range(8)])


def step(pair: tuple[Any, dict[str, Any]], dtype: torch.dtype = torch.float32, weights: bool = True) -> tuple[dict, Tensor]:
    """The four losses and, as one vector, the gradient of their sum; float16 with a loss scale, as hosts do."""
    model, sample = copy.deepcopy(pair)
    autocast = dtype != torch.float32 and not weights
    if not autocast:
        model = model.to(dtype)
        sample["net_input"]["ecg"] = sample["net_input"]["ecg"].to(dtype)  # as the hosts hand floating-point numbers over
    scale = 128.0 if dtype == torch.float16 else 1.0
    criterion = CompositeCriterion(CMELTCriterionConfig(), SimpleNamespace()).train()
    try:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss, _, log = criterion(model, sample)
        (loss * scale).backward()
    except RuntimeError as error:
        if "not implemented for" in str(error):  # an operation this torch's CPU does not have in this format
            pytest.skip(f"torch {torch.__version__} on a CPU: {error}")
        raise
    assert loss.dtype == torch.float32 and all(log[f"loss_{name}"].dtype == torch.float32 for name in LOSSES)
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
    flat = torch.cat([gradient.flatten().double() for gradient in gradients]) / scale
    return {name: float(log[f"loss_{name}"]) for name in LOSSES}, flat


@pytest.mark.parametrize("way", WAYS)
def test_losses_and_gradients_agree_with_float32(pair, way: str) -> None:
    dtype, weights = WAYS[way]
    epsilon = EPSILON[dtype]
    (expected, direction), (losses, gradient) = step(pair), step(pair, dtype, weights)
    for name in LOSSES:
        assert losses[name] == pytest.approx(expected[name], rel=epsilon), name
    assert 1 - float(F.cosine_similarity(gradient, direction, dim=0)) < 32 * epsilon**2
    assert float(gradient.norm() / direction.norm()) == pytest.approx(1, abs=4 * epsilon)


@pytest.mark.parametrize("way", WAYS)
def test_what_enters_a_loss_is_float32_where_it_must_be(pair, way: str, monkeypatch) -> None:
    """Similarities, logit scale and bias; the target of MEM, whatever the format of the recording."""
    dtype, weights = WAYS[way]
    seen, logsigmoid = [], F.logsigmoid
    monkeypatch.setattr(F, "logsigmoid", lambda x: seen.append(x.dtype) or logsigmoid(x))
    step(pair, dtype, weights)
    assert seen == [torch.float32]
    model, sample = pair
    half = copy.deepcopy(model).to(dtype)
    inputs = {**sample["net_input"], "ecg": sample["net_input"]["ecg"].to(dtype)}
    out = half(**inputs, objectives=("siglep",))
    assert {name: tensor.dtype for name, tensor in out.items()} == dict.fromkeys(out, torch.float32)
    assert standardise_leads(inputs["ecg"], inputs["n_samples"]).dtype == torch.float32
    assert standardise_leads(inputs["ecg"]).dtype == torch.float32


@pytest.mark.parametrize("dtype", EPSILON)
def test_losses_of_half_precision_numbers_are_those_of_the_same_numbers_in_float32(dtype: torch.dtype) -> None:
    """At logits as large as a trained model's; computed in half precision all four are off by more than the tolerance above."""
    generator = torch.Generator().manual_seed(0)

    def numbers(*shape: int, size: float = 1.0) -> Tensor:
        return (size * torch.randn(shape, generator=generator)).to(dtype)

    labels = 2 * torch.eye(64) - 1
    mask, aligned = torch.rand(8, 50, generator=generator) > 0.5, torch.rand(64, generator=generator) > 0.5
    words = torch.randint(0, 3000, (64,), generator=generator)
    ecg, text = (F.normalize(numbers(64, 32).float(), dim=-1).to(dtype) for _ in range(2))
    vocabulary, logits = numbers(64, 3000, size=8.0), numbers(64, size=8.0)
    predicted, target = numbers(8, 50, 192), numbers(8, 50, 192)

    def half_siglep(ecg: Tensor, text: Tensor) -> Tensor:
        return -F.logsigmoid(labels.to(ecg.dtype) * (50 * (ecg @ text.T) - 10)).sum()

    def half_mem(predicted: Tensor, target: Tensor) -> Tensor:
        return ((predicted - target).square().mean(dim=-1) * mask).sum()

    cases = {
        "siglep": (lambda a, b: siglep_loss(a, b, labels, 50.0, -10.0), half_siglep, (ecg, text)),
        "mlm": (lambda x: mlm_loss(x, words), lambda x: -x.log_softmax(-1)[range(64), words].sum(), (vocabulary,)),
        "mem": (lambda a, b: mem_loss(a, b, mask), half_mem, (predicted, target)),
        "etm": (
            lambda x: etm_loss(x, aligned),
            lambda x: F.binary_cross_entropy_with_logits(x, aligned.to(x.dtype), reduction="none").sum(),
            (logits,),
        ),
    }
    missed = []
    for name, (ours, in_half, given) in cases.items():
        exact = float(in_half(*(tensor.double() for tensor in given)))
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = ours(*given)
        assert loss.dtype == torch.float32, name
        assert float(loss) == pytest.approx(exact, rel=1e-5), name
        if abs(float(in_half(*given)) / exact - 1) > 1e-5:
            missed.append(name)
    assert missed == list(cases)  # the check above can fail


@pytest.mark.parametrize("dtype", EPSILON)
def test_statistics_of_norms_are_not_rounded(dtype: torch.dtype) -> None:
    """Layer norm, the convolutions' group norm and weight norm: off by roundings of input and output, not by sums of them."""
    torch.manual_seed(0)
    model = tiny_model().eval().to(dtype)
    exact = copy.deepcopy(model).double()
    states = (torch.randn(4, 9, 768) + 8).to(dtype)  # a mean far from zero: squares less the squared mean would cancel
    norm = torch.nn.LayerNorm(768, BERT_NORM_EPSILON).to(dtype)
    group_norm = model.ecg_encoder.feature_extractor.conv_layers[0][2]
    signal = (torch.randn(2, group_norm.num_channels, 2500) + 8).to(dtype)
    pairs = {
        "layer norm": (norm(states), copy.deepcopy(norm).double()(states.double())),
        "group norm": (group_norm(signal), F.group_norm(signal.double(), group_norm.num_groups)),
        "weight norm": tuple(m.ecg_encoder.conv_pos.pos_conv[0].weight for m in (model, exact)),
    }
    for name, (half, expected) in pairs.items():
        assert half.dtype == dtype
        error = (half.double() - expected).norm() / expected.norm()
        assert float(error.detach()) < EPSILON[dtype], name


@pytest.mark.parametrize("dtype", EPSILON)
def test_means_over_tokens_neither_count_nor_sum_in_half_precision(dtype: torch.dtype) -> None:
    """311 tokens are 312 in bfloat16, and 311 states of 1,000 exceed float16."""
    states = torch.full((1, 312, 2), 1000.0, dtype=dtype)
    padding = torch.zeros(1, 312, dtype=torch.bool)
    padding[0, -1] = True
    assert masked_mean(states, padding).dtype == dtype
    assert masked_mean(states, padding).tolist() == [[1000.0, 1000.0]]


def test_t5_in_float16_reaches_beyond_its_largest_number() -> None:
    """Outputs of feed-forward blocks of 200,000, as T5 has them; cut off at 65,504 the direction would be another one."""
    torch.manual_seed(0)
    encoder = TextEncoder(tiny_t5_config()).eval()
    for name, parameter in encoder.named_parameters():
        if name.endswith("DenseReluDense.wo.weight"):
            torch.nn.init.normal_(parameter, std=9000.0)
    text, padding = torch.randint(3, 58, (4, 9)), torch.zeros(4, 9, dtype=torch.bool)
    largest = []
    for name, module in encoder.named_modules():
        if name.endswith("DenseReluDense"):
            module.register_forward_hook(lambda m, i, out: largest.append(float(out.detach().float().abs().max())))
    expected = encoder(text, padding)
    assert max(largest) > 2 * torch.finfo(torch.float16).max
    got = copy.deepcopy(encoder).half()(text, padding)
    assert got.dtype == torch.float16 and bool(got.isfinite().all())
    cosine = F.cosine_similarity(got.float(), expected, dim=-1).detach()
    assert 1 - float(cosine.min()) < 32 * EPSILON[torch.float16] ** 2


@pytest.mark.parametrize("scale, percent", [(1.0, 0.0), (10.0, 0.8), (50.0, 0.8), (100.0, 1.6)])
def test_the_logit_scale_of_bfloat16_weights_is_rounded_once(scale: float, percent: float) -> None:
    """Its logarithm is, as docs/performance.md says; the exponential of that is float32."""
    model = tiny_model(logit_scale_init=scale).bfloat16()
    assert model.logit_scale.dtype == torch.float32
    assert float(model.logit_scale) == pytest.approx(scale, rel=percent / 100 + 1e-6)
    assert float(model.logit_scale) == pytest.approx(math.exp(float(model.log_logit_scale)), rel=1e-6)
    assert float(model.logit_bias) == -10.0
