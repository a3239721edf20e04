"""What each criterion computes, logs and leaves out, in one process."""

from __future__ import annotations

import importlib
import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cmelt_plugin import host
from cmelt_plugin.errors import DataError
from cmelt_plugin.losses import pair_labels
from cmelt_plugin.models.cmelt.criterion import (
    CHOICES,
    CMELTCriterionConfig,
    CompositeCriterion,
    ETMCriterion,
    MEMCriterion,
    MLMCriterion,
    SiglepCriterion,
)
from cmelt_plugin.modules.ecg.patches import patchify, standardise_leads
from tests.models.cmelt.batches import dataset
from tests.models.cmelt.rank_work import filled

SINGLE: dict[str, type[CompositeCriterion]] = {
    "mlm": MLMCriterion,
    "mem": MEMCriterion,
    "etm": ETMCriterion,
    "siglep": SiglepCriterion,
}
LOGGED = {
    "loss",
    "loss_mlm",
    "loss_mem",
    "loss_etm",
    "loss_siglep",
    "mlm_accuracy",
    "etm_accuracy",
    "logit_scale",
}


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> dict[str, Any]:
    sample = dataset(tmp_path_factory.mktemp("manifest"), short_row=2).collater([0, 1, 2, 3, 6])
    assert sample["net_input"]["lead_mask"].any() and not sample["aligned"].all()
    return sample


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return filled().eval()


def composite(**options: Any) -> CompositeCriterion:
    return CompositeCriterion(CMELTCriterionConfig(**options), None)


def test_every_term_equals_its_definition(model, sample) -> None:
    """Means over masked words, masked tokens, pairs and rows, each times the number of rows."""
    out, rows = model(**sample["net_input"]), 5
    inputs = sample["net_input"]
    _, sample_size, log = composite()(model, sample)
    assert sample_size == rows
    mlm = F.cross_entropy(out["mlm_logits"], sample["mlm_target"])
    torch.testing.assert_close(log["loss_mlm"] / rows, mlm)
    target = patchify(standardise_leads(inputs["ecg"][..., :4992], inputs["n_samples"].clamp(max=4992)), 312, 16)
    squares = (out["mem_prediction"] - target).square().mean(-1)
    torch.testing.assert_close(log["loss_mem"] / rows, squares[out["mem_mask"]].mean())
    etm = F.binary_cross_entropy_with_logits(out["etm_logits"], sample["aligned"].float())
    torch.testing.assert_close(log["loss_etm"] / rows, etm)
    labels = pair_labels(sample["report_id"], sample["text_report_id"], torch.arange(rows), sample["aligned"], "ignore")
    logits = out["logit_scale"] * out["ecg_embedding"] @ out["text_embedding"].T + out["logit_bias"]
    siglep = -(F.logsigmoid(labels * logits) * labels.abs()).sum() / rows
    torch.testing.assert_close(log["loss_siglep"] / rows, siglep)
    accuracy = (out["mlm_logits"].argmax(-1) == sample["mlm_target"]).float().mean()
    torch.testing.assert_close(log["mlm_accuracy/sum"] / log["mlm_accuracy/count"], accuracy)
    accuracy = ((out["etm_logits"] > 0) == sample["aligned"]).float().mean()
    torch.testing.assert_close(log["etm_accuracy/sum"] / log["etm_accuracy/count"], accuracy)


def test_the_composite_is_the_weighted_sum(model, sample) -> None:
    loss, _, log = composite(mlm_weight=2.0, mem_weight=0.5, etm_weight=3.0, siglep_weight=0.25)(model, sample)
    expected = 2 * log["loss_mlm"] + 0.5 * log["loss_mem"] + 3 * log["loss_etm"] + 0.25 * log["loss_siglep"]
    torch.testing.assert_close(loss.detach(), expected)
    torch.testing.assert_close(log["loss"], expected)


@pytest.mark.parametrize("name", sorted(SINGLE))
def test_a_criterion_alone_equals_its_term(model, sample, name: str) -> None:
    loss, sample_size, log = SINGLE[name](CMELTCriterionConfig(), None)(model, sample)
    _, _, all_terms = composite()(model, sample)
    assert sample_size == 5
    torch.testing.assert_close(loss.detach(), all_terms[f"loss_{name}"])
    assert {key for key in log if key.startswith("loss_")} == {f"loss_{name}"}


@pytest.mark.parametrize("name", sorted(SINGLE))
def test_weight_zero_leaves_a_term_out(model, sample, name: str) -> None:
    loss, _, log = composite(**{f"{name}_weight": 0.0})(model, sample)
    _, _, all_terms = composite()(model, sample)
    assert f"loss_{name}" not in log
    torch.testing.assert_close(loss.detach(), all_terms["loss"] - all_terms[f"loss_{name}"])


def test_weight_zero_asks_the_model_for_less(model, sample) -> None:
    asked = []

    def recording(**arguments: Any) -> Any:
        asked.append(set(arguments["objectives"]))
        return model(**arguments)

    composite(mlm_weight=0.0, mem_weight=0.0, etm_weight=0.0)(recording, sample)
    assert asked == [{"siglep"}]


@pytest.mark.parametrize("duplicates", ["negative", "ignore", "positive"])
def test_duplicates_reach_the_contrastive_loss(sample, duplicates: str) -> None:
    assert sample["report_id"][0] == sample["report_id"][4]  # rows 0 and 6 of six reports
    model = filled(learn_logit_scale=False).eval()  # with a bias of -10 a negative costs next to nothing
    losses = {
        name: composite(duplicates=name)(model, sample)[2]["loss_siglep"].item() for name in ("negative", "ignore", "positive")
    }
    single = SiglepCriterion(CMELTCriterionConfig(duplicates=duplicates), None)(model, sample)[0].item()
    assert single == pytest.approx(losses[duplicates])
    assert len({round(value, 3) for value in losses.values()}) == 3


def test_the_mean_over_pairs_is_equation_4_divided_by_the_batch(model, sample) -> None:
    """The authors' release takes the mean over B² pairs: 0.693 where equation 4 gives 88.7, at B = 128 and no similarity."""
    values = {name: composite(siglep_reduction=name)(model, sample)[2]["loss_siglep"] for name in ("equation", "mean")}
    torch.testing.assert_close(values["mean"], values["equation"] / 5)
    assert composite()(model, sample)[2]["loss_siglep"] == values["equation"]
    alone = SiglepCriterion(CMELTCriterionConfig(siglep_reduction="mean"), None)(model, sample)[0].detach()
    torch.testing.assert_close(alone, values["mean"])
    flat = filled(learn_logit_scale=False).eval()
    flat.ecg_projection.dense.weight.data.zero_(), flat.ecg_projection.dense.bias.data.zero_()
    loss = composite(siglep_reduction="mean", duplicates="negative")(flat, sample)[2]["loss_siglep"] / 5
    assert loss.item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("training", [True, False])
def test_a_repeated_batch_counts_nowhere_in_the_log(model, sample, training: bool) -> None:
    """It stands in for a rank that ran out of batches; its accuracies and losses were in the averages."""
    criterion = composite().train(training)
    _, counted, log = criterion(model, sample)
    _, rows, repeated = criterion(model, {**sample, "ignore_grad": True})
    assert (counted, rows) == (5, 0)
    assert set(repeated) == set(log) and not any(repeated.values())
    assert reduced([log, repeated]) == reduced([log])


@pytest.mark.parametrize("name", sorted(CHOICES))
def test_a_choice_that_is_none_is_refused_before_training(name: str) -> None:
    with pytest.raises(DataError, match=rf"criterion\.{name} must be one of {', '.join(CHOICES[name])}, not 'sum'"):
        composite(**{name: "sum"})


def test_losses_over_aligned_pairs_leave_out_what_belongs_to_others(model, sample) -> None:
    """As if the swapped rows had nothing masked: means over the words and tokens of the other rows."""
    rows, aligned, mask = 5, sample["aligned"], sample["net_input"]["mlm_mask"]
    output = model(**sample["net_input"])
    _, _, log = composite(mlm_on="aligned", mem_on="aligned")(model, sample)
    words = mask.nonzero()[:, 0]
    logits, target = output["mlm_logits"][aligned[words]], sample["mlm_target"][aligned[words]]
    assert 0 < len(target) < len(words)
    torch.testing.assert_close(log["loss_mlm"] / rows, F.cross_entropy(logits, target))
    assert log["mlm_accuracy/count"] == len(target)
    assert log["mlm_accuracy/sum"] == (logits.argmax(-1) == target).sum()
    inputs = sample["net_input"]
    target = patchify(standardise_leads(inputs["ecg"][..., :4992], inputs["n_samples"].clamp(max=4992)), 312, 16)
    squares = (output["mem_prediction"] - target).square().mean(-1)
    torch.testing.assert_close(log["loss_mem"] / rows, squares[output["mem_mask"] & aligned[:, None]].mean())
    _, _, whole = composite()(model, sample)
    for name in ("loss_etm", "loss_siglep", "etm_accuracy/count"):
        assert log[name] == whole[name]
    assert all(log[name] != whole[name] for name in ("loss_mlm", "loss_mem"))


def test_a_batch_without_aligned_pairs_has_no_masked_losses(model, sample) -> None:
    swapped = {**sample, "aligned": torch.zeros_like(sample["aligned"])}
    _, _, log = composite(mlm_on="aligned", mem_on="aligned")(model, swapped)
    assert (log["loss_mlm"], log["loss_mem"], log["mlm_accuracy/count"]) == (0, 0, 0)
    assert log["loss"].isfinite()


def test_every_parameter_gets_a_gradient(sample) -> None:
    """What data-parallel training needs without find_unused_parameters."""
    trained = filled()
    composite()(trained, sample)[0].backward()
    wanting = [n for n, parameter in trained.named_parameters() if parameter.requires_grad and parameter.grad is None]
    assert not wanting


@pytest.mark.parametrize("training", [True, False])
def test_logged_values_are_detached_and_plain_in_validation(model, sample, training: bool) -> None:
    _, _, log = composite().train(training)(model, sample)
    tensors = {key for key, value in log.items() if torch.is_tensor(value)}
    assert not any(log[key].requires_grad for key in tensors)
    assert bool(tensors) == training
    assert (log["sample_size"], log["nsentences"], log["nsignals"]) == (5, 5, 5)
    assert log["ntokens"] == (~sample["net_input"]["text_padding_mask"]).sum()


def reduced(logs: list[dict[str, Any]]) -> dict[str, float]:
    with host.metrics.aggregate() as values:
        CompositeCriterion.reduce_metrics(logs)
    return {name: float(value) for name, value in values.get_smoothed_values().items()}


def test_logged_names(model, sample) -> None:
    values = reduced([composite().eval()(model, sample)[2]])
    assert set(values) == LOGGED
    assert values["logit_scale"] == pytest.approx(10.0, abs=1e-3)


@pytest.mark.parametrize("name", ["cmelt", "cmelt_mlm", "cmelt_mem", "cmelt_etm", "cmelt_siglep"])
def test_registered_under_its_name(name: str) -> None:
    registry = importlib.import_module(f"{host.NAME}.criterions").CRITERION_DATACLASS_REGISTRY
    assert registry[name] is CMELTCriterionConfig
