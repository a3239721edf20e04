"""The whole criterion on two processes computes what one process computes with both batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.losses.ranks import two_ranks
from tests.models.cmelt.batches import dataset, joined, without_dropout
from tests.models.cmelt.rank_work import total, train_step

# Name → changes to the model and to the criterion.
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "base": ({}, {}),
    "paper": (
        {"normalise_embeddings": False, "learn_logit_scale": False},
        {"duplicates": "negative", "mem_target": "masked_input"},
    ),
    "mean": ({"mem_decoder_conv_pos": 3, "masked_tokens_in_positions": False}, {"siglep_reduction": "mean"}),
    "chunks": ({}, {"siglep_chunk": 2}),
    "aligned": ({}, {"mlm_on": "aligned", "mem_on": "aligned"}),
    "weighted": ({}, {"duplicates": "positive", "mlm_weight": 0.5, "mem_weight": 3.0, "etm_weight": 0.0}),
}


@pytest.fixture(scope="module")
def batches(tmp_path_factory) -> list[dict[str, Any]]:
    """Five rows and three, with a padded record and another number of masked words in each batch."""
    data = dataset(tmp_path_factory.mktemp("manifest"), short_row=6)
    samples = [data.collater([0, 1, 2, 3, 4]), data.collater([5, 6, 7])]
    words = [len(sample["mlm_target"]) for sample in samples]
    assert words[0] * 3 != words[1] * 5  # else a mean of means would do
    assert samples[0]["net_input"]["n_samples"] is None and samples[1]["net_input"]["n_samples"] is not None
    assert len(set(samples[0]["report_id"].tolist()) | set(samples[1]["report_id"].tolist())) < 8  # duplicates across
    return samples


def assert_same_step(steps: list[dict[str, Any]], alone: dict[str, Any]) -> None:
    """Equal loss per row, and equal gradients before the trainer divides them by the same number of rows."""
    assert sum(step["sample_size"] for step in steps) == alone["sample_size"]
    torch.testing.assert_close(sum(step["loss"] for step in steps), alone["loss"])
    for name, expected in alone["gradients"].items():
        gradient = total(steps, name)
        if expected is None:
            assert gradient is None, name
        else:
            torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_two_ranks_equal_one_process_with_both_batches(batches, variant: str) -> None:
    model_changes, options = VARIANTS[variant]
    model_changes = {**without_dropout(), **model_changes}
    steps = two_ranks()(train_step, [(sample, model_changes, options) for sample in batches])
    alone = train_step(joined(*batches), model_changes, options)
    assert_same_step(steps, alone)
    for name in ("mlm", "mem", "etm", "siglep"):
        if f"loss_{name}" in alone["log"]:
            together = sum(step["log"][f"loss_{name}"] for step in steps)
            torch.testing.assert_close(together, alone["log"][f"loss_{name}"])
    largest = max(gradient.abs().max() for gradient in alone["gradients"].values() if gradient is not None)
    assert largest > 0.1  # the tolerance above is small beside it


@pytest.mark.parametrize("batch_size", [5, 9])
def test_batches_filled_up_to_a_known_size_change_nothing(batches, batch_size: int) -> None:
    """What spares the question how many rows the other ranks have."""
    steps = two_ranks()(train_step, [(sample, without_dropout(), {}, batch_size) for sample in batches])
    assert_same_step(steps, train_step(joined(*batches), without_dropout(), {}))


@pytest.mark.parametrize("repeating", [0, 1])
def test_a_rank_that_ran_out_of_batches_contributes_nothing(batches, repeating: int) -> None:
    samples = list(batches)
    samples[repeating] = {**samples[repeating], "ignore_grad": True}
    steps = two_ranks()(train_step, [(sample, without_dropout(), {}) for sample in samples])
    assert_same_step(steps, train_step(batches[1 - repeating], without_dropout(), {}))
    assert steps[repeating]["loss"].isfinite()
    counted, repeated = steps[1 - repeating]["log"], steps[repeating]["log"]
    assert set(repeated) == set(counted) and not any(repeated.values())  # nor in what is logged


def test_a_rank_without_a_masked_word(batches, tmp_path: Path) -> None:
    """The average over words is that of the other rank; nothing divides by zero."""
    silent = {**batches[1], "mlm_target": batches[1]["mlm_target"][:0], "net_input": dict(batches[1]["net_input"])}
    silent["net_input"]["mlm_mask"] = torch.zeros_like(silent["net_input"]["mlm_mask"])
    samples = [batches[0], silent]
    steps = two_ranks()(train_step, [(sample, without_dropout(), {}) for sample in samples])
    assert_same_step(steps, train_step(joined(*samples), without_dropout(), {}))
