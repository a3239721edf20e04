"""A training step never makes the CPU wait for a GPU: no number is read back, no size depends on values."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.harness.waits import WaitCounter
from cmelt_plugin import host
from cmelt_plugin.models.cmelt.criterion import CMELTCriterionConfig, CompositeCriterion
from cmelt_plugin.optim.adam import LayerwiseAdam, LayerwiseAdamConfig
from tests.models.cmelt.batches import dataset
from tests.models.cmelt.rank_work import filled


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> list[dict[str, Any]]:
    """One batch with a padded record, one without."""
    data = dataset(tmp_path_factory.mktemp("manifest"), short_row=2)
    return [data.collater([0, 1, 2, 3]), data.collater([4, 5, 6])]


def to(device: str, batch: Any) -> Any:
    if torch.is_tensor(batch):
        return batch.to(device)
    return {name: to(device, value) for name, value in batch.items()} if isinstance(batch, dict) else batch


def training_step(sample: dict[str, Any], options: dict[str, Any], device: str = "cpu"):
    """Forward, backward and update as a function, and what it logs."""
    model = filled(**options.pop("model", {})).to(device).train()
    criterion = CompositeCriterion(CMELTCriterionConfig(**options), None).train()
    settings = {"tpu": False} if not host.IS_SIGNALS else {}
    optimiser = LayerwiseAdam(LayerwiseAdamConfig(adam_betas="(0.9, 0.98)", lr=[1e-3], **settings), list(model.parameters()))
    logs = []

    def step() -> None:
        loss, _, log = criterion(model, sample)
        optimiser.backward(loss)
        optimiser.step()
        optimiser.zero_grad()
        logs.append(log)

    return step, logs


OPTIONS: list[dict[str, Any]] = [
    {},
    {"duplicates": "negative", "mem_target": "masked_input", "model": {"learn_logit_scale": False}},
    {"siglep_weight": 0.0, "mem_weight": 0.0},
    {"mlm_on": "aligned", "mem_on": "aligned"},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_nothing_is_read_back(samples, options: dict[str, Any]) -> None:
    for sample in samples:
        step, logs = training_step(sample, dict(options))
        counter = WaitCounter()
        with counter:
            step()
        assert dict(counter.names) == {}
        values = {name: value for name, value in logs[0].items() if name.startswith("loss") or "/" in name}
        assert values and all(torch.is_tensor(value) for value in values.values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("options", OPTIONS)
def test_the_gpu_is_never_waited_for(samples, options: dict[str, Any]) -> None:
    for sample in samples:
        step, _ = training_step(to("cuda", sample), dict(options), "cuda")
        step()  # libraries set themselves up
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_the_count_of_masked_words_changes_no_loss_and_no_gradient(samples) -> None:
    """Words picked by the number of targets are the words the mask marks."""
    inputs, target = samples[0]["net_input"], samples[0]["mlm_target"]
    results = []
    for options in ({}, {"n_masked_words": len(target)}):
        model = filled().eval()
        logits = model(**inputs, objectives=("mlm",), **options)["mlm_logits"]
        torch.nn.functional.cross_entropy(logits, target).backward()
        results.append((logits.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}))
    (expected, expected_gradients), (logits, gradients) = results
    assert torch.equal(logits, expected) and set(gradients) == set(expected_gradients)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[name], msg=name)
