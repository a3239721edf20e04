"""EchoingECG's criterion: its formula for each pair of modalities, and two processes that compute the loss of one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_echo import DIM
from torch.nn import functional as F

from cmelt_plugin.criterions.base import LoggingCriterion
from cmelt_plugin.errors import DataError
from cmelt_plugin.losses.clip import clip_loss
from cmelt_plugin.losses.pcmepp import match_loss, pseudo_positive_targets, sampled_distance, vib
from cmelt_plugin.models.echoing.criterion import PCMEPPCriterion, PCMEPPCriterionConfig
from tests.losses.ranks import two_ranks
from tests.models.cmelt.batches import joined
from tests.systems.cases import CASES, hosted_model, train_step


def criterion(**options: Any) -> PCMEPPCriterion:
    return PCMEPPCriterion(PCMEPPCriterionConfig(**options), None).train()


def sample(source: str, keys: list[int], first: int = 0) -> dict[str, Any]:
    """A batch of one source; equal keys are equal reports, or ECGs of one echocardiogram."""
    rows, generator = len(keys), torch.Generator().manual_seed(first)
    batch: dict[str, Any] = {
        "id": torch.arange(first, first + rows),
        "ntokens": rows,
        "net_input": {"ecg": torch.randn(rows, 12, 1000, generator=generator) * 0.3, "n_samples": None},
    }
    echoes = torch.randn(50, 2, DIM, generator=torch.Generator().manual_seed(9))
    if source == "echo":
        batch["teacher_row"] = torch.tensor(keys)
        mean, log_variance = echoes[keys].unbind(1)
        batch["net_input"].update(teacher_mean=F.normalize(mean, dim=1), teacher_log_variance=log_variance - 3)
    else:
        batch["report_id"] = torch.tensor(keys)
        text = torch.tensor(keys)[:, None] + torch.tensor([3, 9, 14])
        batch["net_input"].update(text=text, text_padding_mask=torch.zeros_like(text, dtype=torch.bool))
    return batch


@pytest.fixture(scope="module")
def model() -> Any:
    return hosted_model(CASES["echoing"]).train()


@pytest.mark.parametrize("source", ["text", "echo"])
@pytest.mark.parametrize("duplicates", ["positive", "negative"])
def test_it_is_the_formula_over_all_pairs(model, source: str, duplicates: str) -> None:
    """2 · BCE + α · (pseudo-positives both ways) + β · (KL both sides), means over all pairs; 0 and 3 are duplicates."""
    data = sample(source, [7, 1, 2, 7, 4])
    out = model(**data["net_input"])
    ecg, other = ((out[f"{side}_mean"], out[f"{side}_log_variance"]) for side in ("ecg", source))
    pair = f"ecg_{source}"
    logits = out[f"shift_{pair}"] - out[f"scale_{pair}"] * sampled_distance(*ecg, *other)
    keys = torch.tensor([7, 1, 2, 7, 4])
    matched = (keys[:, None] == keys).float() if duplicates == "positive" else torch.eye(5)
    pseudo = [match_loss(view, pseudo_positive_targets(view.detach(), matched)) / 25 for view in (logits, logits.T)]
    divergence = vib(*ecg).mean() + vib(*other).mean()
    expected = 2 * match_loss(logits, matched) / 25 + 0.1 * sum(pseudo) + 1e-4 * divergence
    loss, rows, log = criterion(duplicates=duplicates)(model, data)
    assert rows == 5
    torch.testing.assert_close(loss / rows, expected)
    torch.testing.assert_close(log[f"loss_{pair}"], loss.detach())
    torch.testing.assert_close(criterion(duplicates=duplicates, chunk=2)(model, data)[0], loss)
    torch.testing.assert_close(criterion(duplicates=duplicates, **{f"{pair}_weight": 0.5})(model, data)[0], loss / 2)
    plain = criterion(duplicates=duplicates, pseudo_positive_weight=0.0, vib_weight=0.0)(model, data)[0]
    torch.testing.assert_close(plain / rows, 2 * match_loss(logits, matched) / 25)


def test_points_are_compared_by_a_softmax() -> None:
    model = hosted_model(CASES["echoing"], matching="info_nce").train()
    data = sample("echo", [7, 1, 2, 4])
    out = model(**data["net_input"])
    sides = out["ecg_mean"], out["echo_mean"]
    loss, rows, log = criterion()(model, data)
    expected = clip_loss(*sides, *sides, 2 * torch.eye(4) - 1, 1.0, "mean")
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert model.scale["ecg_echo"].grad is not None
    assert log["ecg_echo_shift/count"] == 0 == log["ecg_echo_ecg_uncertainty/count"]


def test_a_term_is_averaged_over_the_rows_of_its_own_batches(model) -> None:
    """Batches of the other source dilute neither its loss nor what is logged of it; all batches log the same names."""
    texts, echoes = sample("text", [0, 1, 2]), sample("echo", [5, 6, 7, 8, 9], 3)
    logs = [criterion()(model, data)[2] for data in (texts, echoes)]
    assert logs[0].keys() == logs[1].keys()
    found = reduced(logs)
    for log, rows, pair in ((logs[0], 3, "ecg_text"), (logs[1], 5, "ecg_echo")):
        assert found[f"loss_{pair}"] == pytest.approx(float(log[f"loss_{pair}"]) / rows, rel=1e-3)
        assert found[f"{pair}_scale"] == 5.0
    assert found["loss"] == pytest.approx(sum(float(log["loss"]) for log in logs) / 8, rel=1e-3)
    assert not [name for name in reduced(logs[:1]) if "echo" in name]


def reduced(logs: list[dict[str, Any]]) -> dict[str, float]:
    from cmelt_plugin import host

    with host.metrics.aggregate(new_root=True) as aggregate:
        LoggingCriterion.reduce_metrics(logs)
    return {name: float(value) for name, value in aggregate.get_smoothed_values().items()}


def test_a_regulariser_that_is_too_large_is_left_out_of_the_step_and_counted() -> None:
    model = hosted_model(CASES["echoing"], scale_init=0.0).train()  # or the distance would be as large
    data = sample("echo", [0, 1, 2])
    data["net_input"]["teacher_log_variance"] = torch.full((3, DIM), 11.0)  # e^11 / 2 = 29,937
    without, _, _ = criterion(vib_weight=0.0)(model, data)
    loss, _, log = criterion(vib_weight=1.0)(model, data)
    out = model(**data["net_input"])
    torch.testing.assert_close((loss - without) / 3, vib(out["ecg_mean"], out["ecg_log_variance"]).mean())
    assert log["ecg_echo_vib_left_out/sum"] == 1


def test_scale_and_shift_learn_and_lie_in_the_models_weights(model) -> None:
    model = hosted_model(CASES["echoing"]).train()
    loss, rows, _ = criterion()(model, sample("echo", [0, 1, 2, 3]))
    (loss / rows).backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    state = model.state_dict()
    assert state["scale.ecg_text"] == 5 == state["shift.ecg_text"]
    assert state["scale.ecg_echo"] != 5 != state["shift.ecg_echo"]
    other = hosted_model(CASES["echoing"])
    other.load_state_dict(state)
    assert other.scale["ecg_echo"] == state["scale.ecg_echo"]


@pytest.mark.parametrize("batch_size", [None, 4])
def test_two_ranks_match_as_one_process(batch_size) -> None:
    """Value and gradients, with ECGs of one echocardiogram on both ranks and on one, and batches of unlike size."""
    samples = [sample("echo", [0, 1, 0, 3]), sample("echo", [1, 5, 6], 4)]
    steps = two_ranks()(train_step, [("echoing", one, batch_size) for one in samples])
    alone = train_step("echoing", joined(*samples))
    torch.testing.assert_close(sum(step["loss"] for step in steps), alone["loss"], rtol=1e-4, atol=1e-5)
    assert alone["gradients"]["scale.ecg_echo"] is not None and alone["gradients"]["scale.ecg_text"] is None
    for name, expected in alone["gradients"].items():
        found = [step["gradients"][name] for step in steps if step["gradients"][name] is not None]
        assert bool(found) == (expected is not None), name
        if found:
            torch.testing.assert_close(sum(found), expected, rtol=2e-3, atol=1e-4, msg=lambda m, name=name: f"{name}: {m}")
    for name in ("ecg_echo_pseudo_positives/sum", "ecg_echo_ecg_uncertainty/sum", "rows_ecg_echo"):
        torch.testing.assert_close(sum(step["log"][name] for step in steps), alone["log"][name], rtol=1e-4, atol=1e-5)


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(DataError, match="criterion.duplicates must be one of"):
        criterion(duplicates="drop")
