"""MELP's three losses: their formulas, weights, ranks, and what is logged of them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from cmelt_plugin import host
from cmelt_plugin.criterions.pretraining import Batch
from cmelt_plugin.errors import DataError
from cmelt_plugin.losses import beat_similarity, gloria_similarity
from cmelt_plugin.losses.mlm import IGNORED
from cmelt_plugin.models.melp.criterion import MELPCriterionConfig
from tests.losses.ranks import two_ranks
from tests.models.melp.stub import CRITERIONS, Stub, criterion, rank_step, sample, step

REPORTS, SENTENCES = [7, 1, 2, 7, 4], [2, 1, 3, 2, 5]


def outputs(batch: dict[str, Any]) -> dict[str, Any]:
    return Stub()(**batch["net_input"], objectives=("clip", "caption", "local"))


@pytest.mark.parametrize("form", ["beat", "gloria"])
def test_it_is_the_weighted_sum_of_three_losses(form: str) -> None:
    """Every report another one, so that all cross-entropies are plain ones."""
    batch = sample([0, 1, 2, 3, 4], SENTENCES)
    out, own = outputs(batch), torch.arange(5)
    logits = out["logit_scale"] * out["ecg_embedding"] @ out["text_embedding"].T
    sides = out["beats"], out["sentences"], out["sentence_padding_mask"]
    local = beat_similarity(*sides, out["beat_scale"]) if form == "beat" else gloria_similarity(*sides)
    clip, beats = ((F.cross_entropy(one, own) + F.cross_entropy(one.T, own)) / 2 for one in (logits, local))
    caption = F.cross_entropy(out["caption_logits"].flatten(0, 1), out["caption_labels"].flatten(), ignore_index=IGNORED)
    loss, rows, log = criterion(local=form)(Stub(), batch)
    assert rows == 5
    for name, expected in (("clip", clip), ("caption", caption), ("local", beats)):
        torch.testing.assert_close(log[f"loss_{name}"] / rows, expected.detach())
    torch.testing.assert_close(loss / rows, clip + 2 * caption + 0.2 * beats)


@pytest.mark.parametrize("only", ["clip", "caption", "local"])
def test_each_loss_alone(only: str) -> None:
    """By a criterion of its own, or by weights; the model is asked for nothing else."""
    batch = sample(REPORTS, SENTENCES)
    asked: list[Any] = []

    class Asked(Stub):
        def forward(self, **inputs: Any) -> dict[str, Any]:
            asked.append(tuple(inputs["objectives"]))
            return super().forward(**inputs)

    weights = {f"{name}_weight": 0.0 for name in ("clip", "caption", "local") if name != only}
    whole = criterion()(Stub(), batch)[2][f"loss_{only}"]
    for one in (criterion(f"melp_{only}", **{f"{only}_weight": 7.0}), criterion(**{**weights, f"{only}_weight": 1.0})):
        loss, _, log = one(Asked(), batch)
        assert [key for key in log if key.startswith("loss_")] == [f"loss_{only}"] and asked.pop() == (only,)
        torch.testing.assert_close(loss.detach(), whole)


def test_duplicates_are_negatives_only_where_asked_for() -> None:
    """D-M7g, D-M8: records 0 and 3 have one report."""
    batch = sample(REPORTS, SENTENCES)
    out, own = outputs(batch), torch.arange(5)
    same = torch.zeros(5, 5, dtype=torch.bool)
    same[0, 3] = same[3, 0] = True
    matrices = {
        "clip": out["logit_scale"] * out["ecg_embedding"] @ out["text_embedding"].T,
        "local": beat_similarity(out["beats"], out["sentences"], out["sentence_padding_mask"], out["beat_scale"]),
    }
    share = (torch.eye(5) + same) / (torch.eye(5) + same).sum(1, keepdim=True)
    logs = {name: criterion(duplicates=name)(Stub(), batch)[2] for name in ("negative", "ignore", "positive")}
    for term, logits in matrices.items():
        targets = {"negative": (logits, own), "ignore": (logits.masked_fill(same, -1e9), own), "positive": (logits, share)}
        for name, (values, target) in targets.items():
            expected = F.cross_entropy(values, target, reduction="sum") + F.cross_entropy(values.T, target, reduction="sum")
            torch.testing.assert_close(logs[name][f"loss_{term}"], expected.detach() / 2, msg=f"{term}, {name}")
    assert logs["negative"]["loss_caption"] == logs["positive"]["loss_caption"]


VARIANTS = {
    "beat": {},
    "gloria": {"local": "gloria", "duplicates": "negative"},
    "positive": {"duplicates": "positive", "caption_weight": 0.5},
}


@pytest.mark.parametrize("batch_size", [None, 4])
@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_two_ranks_are_one_process(variant: str, batch_size: int | None) -> None:
    """Loss, gradients and what is logged; ranks differ in rows, words and most sentences, and share a report."""
    options, whole = VARIANTS[variant], sample(REPORTS, SENTENCES)
    alone = step(whole, **options)
    steps = two_ranks()(rank_step, [(part, batch_size, options) for part in _parts(whole, 3)])
    assert sum(one["rows"] for one in steps) == alone["rows"] == 5
    torch.testing.assert_close(sum(one["loss"] for one in steps), alone["loss"])
    for name, expected in alone["gradients"].items():
        torch.testing.assert_close(sum(one["gradients"][name] for one in steps), expected, rtol=1e-4, atol=1e-5)
    for key in ("loss_clip", "loss_caption", "loss_local", "clip_of_guessing/count", "caption_accuracy/sum"):
        torch.testing.assert_close(sum(one["log"][key] for one in steps), alone["log"][key])


def _parts(whole: dict[str, Any], first: int) -> list[dict[str, Any]]:
    """A batch in two, each no longer and with no more sentences than it needs."""
    parts = []
    for rows in (slice(0, first), slice(first, None)):
        inputs = {name: value[rows] for name, value in whole["net_input"].items()}
        length, most = ((~inputs[name]).sum(1).max() for name in ("text_padding_mask", "sentence_padding_mask"))
        for name in ("text", "text_padding_mask"):
            inputs[name] = inputs[name][:, :length]
        for name in ("sentence_spans", "sentence_padding_mask"):
            inputs[name] = inputs[name][:, :most]
        own = {name: whole[name][rows] for name in ("id", "report_id")}
        parts.append({**whole, **own, "net_input": inputs})
    assert parts[0]["net_input"]["sentence_spans"].shape[1] != parts[1]["net_input"]["sentence_spans"].shape[1]
    return parts


def test_a_rank_that_ran_out_of_batches_contributes_nothing() -> None:
    parts = _parts(sample(REPORTS, SENTENCES), 3)
    repeated = {**parts[1], "ignore_grad": True}
    counted, thrown = two_ranks()(rank_step, [(parts[0], None, {}), (repeated, None, {})])
    alone = step(parts[0])
    torch.testing.assert_close(counted["loss"], alone["loss"])
    for name, expected in alone["gradients"].items():
        torch.testing.assert_close(counted["gradients"][name] + thrown["gradients"][name], expected, rtol=1e-4, atol=1e-5)
    assert set(thrown["log"]) == set(counted["log"]) and not any(thrown["log"].values())


def test_a_report_with_more_sentences_than_any_is_refused() -> None:
    batch = Batch({}, {"max_sentences": 4}, 2, torch.tensor(4.0), group="both ranks")
    with pytest.raises(ValueError, match="a report of 5 sentences, but none may have more than 4"):
        criterion()._of_one_length(batch, torch.zeros(2, 5, 3), torch.zeros(2, 5, dtype=torch.long))


def test_what_is_logged() -> None:
    """Averages over records or words, as the host shows them; perplexity is e to the loss of a word."""
    batch = sample(REPORTS, SENTENCES)
    one = criterion().eval()
    loss, rows, log = one(Stub(), batch)
    with host.metrics.aggregate(new_root=True) as shown:
        type(one).reduce_metrics([log])
        values = shown.get_smoothed_values()
    assert values["loss_caption"] == pytest.approx(log["loss_caption"] / rows, abs=1e-4)
    assert values["caption_perplexity"] == pytest.approx(math.exp(log["loss_caption"] / rows), abs=0.01)
    assert 0 <= values["caption_accuracy"] <= 1
    assert values["logit_scale"] == pytest.approx(math.exp(1.5), abs=1e-4)
    assert values["beat_scale"] == pytest.approx(math.exp(2.0), abs=1e-4)
    guessing = 3 * math.log(5) + 2 * math.log(4)  # records 0 and 3 leave each other out
    assert values["clip_of_guessing"] == pytest.approx(log["loss_clip"] / guessing, abs=1e-4)
    out = outputs(batch)
    for name in ("ecg", "text"):
        variance = out[f"{name}_embedding"].var(dim=0, unbiased=False).sum()
        assert values[f"{name}_spread"] == pytest.approx(float(variance.sqrt()), abs=1e-4)


@pytest.mark.parametrize("name", sorted(CRITERIONS))
def test_alone_no_metric_of_the_others_is_logged(name: str) -> None:
    one = criterion(name).eval()
    with host.metrics.aggregate(new_root=True) as shown:
        type(one).reduce_metrics([one(Stub(), sample(REPORTS, SENTENCES))[2]])
        logged = set(shown.get_smoothed_values())
    assert ("caption_perplexity" in logged) == (name in ("melp", "melp_caption"))
    assert ("clip_of_guessing" in logged) == (name in ("melp", "melp_clip"))


class Collapsed(Stub):
    """Whatever it reads, it gives one embedding."""

    def forward(self, **inputs: Any) -> dict[str, Any]:
        out = super().forward(**inputs)
        out["ecg_embedding"] = F.normalize(out["ecg_embedding"] * 0 + 1, dim=-1)
        return out


def test_a_collapsed_training_ends() -> None:
    """D-M3: the release's goes on with a loss of ln B."""
    batch = sample([0, 1, 2, 3], [1, 1, 1, 1])
    watched = criterion("melp_clip", collapse_window=3)
    log = watched(Collapsed(), batch)[2]
    assert float(log["clip_of_guessing/sum"] / log["clip_of_guessing/count"]) > 0.9 and float(log["ecg_spread/sum"]) < 1e-3
    one_point = F.normalize(torch.ones(4, 6), dim=-1)
    both = {"ecg_embedding": one_point, "text_embedding": one_point, "logit_scale": torch.tensor(10.0)}

    def dead(**inputs: Any) -> dict[str, Any]:
        return both

    for model in (dead, Stub()):  # some batches that tell nothing apart are no collapse
        watched(model, batch)
    for _ in range(2):
        watched(dead, batch)
    with pytest.raises(DataError, match=r"collapsed: over the last 3 batches .* 1\.000 of that of guessing"):
        watched(dead, batch)
    patient = criterion("melp_clip", collapse_window=0)
    for _ in range(5):
        patient(dead, batch)
    watched.eval()
    for _ in range(5):
        watched(dead, batch)


def test_unknown_settings_are_refused() -> None:
    for options in ({"duplicates": "drop"}, {"local": "both"}):
        with pytest.raises(DataError, match=f"criterion.{next(iter(options))} must be one of"):
            criterion(**options)


def test_weights_are_those_of_the_release() -> None:
    """L = CLIP + 2 caption + 0.2 local."""
    cfg = MELPCriterionConfig()
    assert (cfg.clip_weight, cfg.caption_weight, cfg.local_weight) == (1.0, 2.0, 0.2)
