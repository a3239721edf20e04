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
from cmelt_plugin.criterions.composite import CompositeCriterion
from cmelt_plugin.criterions.config import CriterionConfig
from cmelt_plugin.criterions.etm import ETMCriterion
from cmelt_plugin.criterions.mem import MEMCriterion
from cmelt_plugin.criterions.mlm import MLMCriterion
from cmelt_plugin.criterions.siglep import SiglepCriterion
from cmelt_plugin.errors import DataError
from cmelt_plugin.losses import pair_labels
from cmelt_plugin.modules.patches import patchify, standardise_leads
from tests.criterions.batches import dataset
from tests.criterions.rank_work import filled

SINGLE: dict[str, tuple[type, Any]] = {
    "mlm": (MLMCriterion, CriterionConfig),
    "mem": (MEMCriterion, CriterionConfig),
    "etm": (ETMCriterion, CriterionConfig),
    "siglep": (SiglepCriterion, CriterionConfig),
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
    return CompositeCriterion(CriterionConfig(**options), None)


def test_every_part_equals_its_definition(model, sample) -> None:
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
def test_a_criterion_alone_equals_its_part(model, sample, name: str) -> None:
    criterion_class, config_class = SINGLE[name]
    loss, sample_size, log = criterion_class(config_class(), None)(model, sample)
    _, _, all_parts = composite()(model, sample)
    assert sample_size == 5
    torch.testing.assert_close(loss.detach(), all_parts[f"loss_{name}"])
    assert {key for key in log if key.startswith("loss_")} == {f"loss_{name}"}


@pytest.mark.parametrize("name", sorted(SINGLE))
def test_weight_zero_leaves_a_part_out(model, sample, name: str) -> None:
    loss, _, log = composite(**{f"{name}_weight": 0.0})(model, sample)
    _, _, all_parts = composite()(model, sample)
    assert f"loss_{name}" not in log
    torch.testing.assert_close(loss.detach(), all_parts["loss"] - all_parts[f"loss_{name}"])


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
    single = SiglepCriterion(CriterionConfig(duplicates=duplicates), None)(model, sample)[0].item()
    assert single == pytest.approx(losses[duplicates])
    assert len({round(value, 3) for value in losses.values()}) == 3


def test_the_mean_over_pairs_is_equation_4_divided_by_the_batch(model, sample) -> None:
    """The authors' release takes the mean over B² pairs: 0.693 where equation 4 gives 88.7, at B = 128 and no similarity."""
    values = {name: composite(siglep_reduction=name)(model, sample)[2]["loss_siglep"] for name in ("equation", "mean")}
    torch.testing.assert_close(values["mean"], values["equation"] / 5)
    assert composite()(model, sample)[2]["loss_siglep"] == values["equation"]
    alone = SiglepCriterion(CriterionConfig(siglep_reduction="mean"), None)(model, sample)[0].detach()
    torch.testing.assert_close(alone, values["mean"])
    flat = filled(learn_logit_scale=False).eval()
    flat.ecg_projection.dense.weight.data.zero_(), flat.ecg_projection.dense.bias.data.zero_()
    loss = composite(siglep_reduction="mean", duplicates="negative")(flat, sample)[2]["loss_siglep"] / 5
    assert loss.item() == pytest.approx(math.log(2))
    with pytest.raises(DataError, match="siglep_reduction must be one of equation, mean, not 'sum'"):
        composite(siglep_reduction="sum")(model, sample)


@pytest.mark.parametrize("training", [True, False])
def test_a_repeated_batch_counts_nowhere_in_the_log(model, sample, training: bool) -> None:
    """It stands in for a rank that ran out of batches; its accuracies and losses were in the averages."""
    criterion = composite().train(training)
    _, counted, log = criterion(model, sample)
    _, rows, repeated = criterion(model, {**sample, "ignore_grad": True})
    assert (counted, rows) == (5, 0)
    assert set(repeated) == set(log) and not any(repeated.values())
    assert reduced([log, repeated]) == reduced([log])


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


def test_metrics_are_averaged_over_rows_and_counted_words() -> None:
    logs = [
        {"loss": 8.0, "loss_mlm": 6.0, "sample_size": 4, "mlm_accuracy/sum": 1, "mlm_accuracy/count": 10},
        {"loss": 3.0, "loss_mlm": 1.0, "sample_size": 1, "mlm_accuracy/sum": 2, "mlm_accuracy/count": 2},
    ]
    assert reduced(logs) == {"loss": 2.2, "loss_mlm": 1.4, "mlm_accuracy": 0.25}


def test_averages_over_several_log_intervals_keep_their_weights() -> None:
    with host.metrics.aggregate() as values:
        for loss, rows, correct, words in ((8.0, 4, 1, 10), (7.0, 1, 2, 2)):
            log = {"loss": loss, "sample_size": rows, "mlm_accuracy/sum": correct, "mlm_accuracy/count": words}
            CompositeCriterion.reduce_metrics([log])
    averages = values.get_smoothed_values()
    assert float(averages["loss"]) == pytest.approx(15 / 5)
    assert float(averages["mlm_accuracy"]) == pytest.approx(3 / 12)


def test_figures_of_a_subset_pass_through_beside_batches_without_them() -> None:
    batch = {"loss": 8.0, "sample_size": 4}
    figures = {"loss": 2.0, "sample_size": 1, "figure/macro_auc": 0.75, "figures": 1}
    expected = {"loss": 2.0, "macro_auc": 0.75}
    assert reduced([batch, figures]) == expected
    assert reduced([batch, figures, {"sample_size": 0, "figure/macro_auc": 0.75, "figures": 1}]) == expected  # two ranks


def test_empty_batches_log_nothing() -> None:
    assert reduced([{"sample_size": 0, "nsentences": 0, "ntokens": 0}]) == {}
    assert reduced([{"loss": 1.0, "sample_size": 2, "mlm_accuracy/sum": 0, "mlm_accuracy/count": 0.0}]) == {"loss": 0.5}


def test_logging_outputs_can_be_summed() -> None:
    assert CompositeCriterion.logging_outputs_can_be_summed() is True


@pytest.mark.parametrize("name", ["cmelt", "cmelt_mlm", "cmelt_mem", "cmelt_etm", "cmelt_siglep"])
def test_registered_under_its_name(name: str) -> None:
    registry = importlib.import_module(f"{host.NAME}.criterions").CRITERION_DATACLASS_REGISTRY
    classes = {"cmelt": CriterionConfig, **{f"cmelt_{key}": config for key, (_, config) in SINGLE.items()}}
    assert registry[name] is classes[name]
