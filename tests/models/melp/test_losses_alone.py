"""A model trained for some of the losses: nothing waits for a gradient, and it knows the form of its local loss."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest
import torch
from tiny_melp import batch, tiny_melp
from torch.nn.parallel import DistributedDataParallel

from cmelt_plugin import host
from cmelt_plugin.errors import DataError
from cmelt_plugin.losses.beats import sentence_attention
from cmelt_plugin.models.base import TrainedForLosses
from tests.losses.ranks import two_ranks
from tests.models.melp.stub import CRITERIONS, criterion

WRAPPERS = ("torch", "legacy") if not host.IS_SIGNALS else ("torch",)
VARIANTS: dict[str, dict[str, Any]] = {
    **{name: {} for name in CRITERIONS},
    "gloria": {"local": "gloria"},
    "no clip": {"clip_weight": 0.0},
}


def trained_for(variant: str, text: str = "bert") -> tuple[Any, Any]:
    """A model without dropout that was told which losses there will be, and the criterion."""
    losses = criterion(variant if variant in CRITERIONS else "melp", **VARIANTS[variant])
    model = tiny_melp(text, dropout=0.0, attention_dropout=0.0).train()
    model.train_for(losses.computed_terms(), losses.cfg)
    return model, losses


def sample(rows: Collection[int] = range(4), text: str = "bert") -> dict[str, Any]:
    inputs = {name: value if value is None else value[list(rows)] for name, value in batch(text).items()}
    return {
        "id": torch.tensor(list(rows)),
        "report_id": torch.tensor(list(rows)),
        "ntokens": 5,
        "max_sentences": inputs["sentence_spans"].shape[1],
        "net_input": inputs,
    }


@pytest.mark.parametrize("text", ["bert", "t5"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_exactly_what_a_loss_reads_trains(variant: str, text: str) -> None:
    model, losses = trained_for(variant, text)
    every = {name for name, parameter in tiny_melp(text).named_parameters() if parameter.requires_grad}
    losses(model, sample(text=text))[0].backward()
    wanted = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert wanted == {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    parts = {name.partition(".")[0] for name in every - wanted}
    clip, local = {"text_projection", "log_logit_scale"}, {"sentence_projection", "log_beat_scale"}
    caption, beats = {"caption_pool", "decoder"}, {"ecg_tower", "ecg_projection"}
    idle = {
        "melp": set(),
        "melp_clip": caption | local,
        "melp_caption": clip | local | beats,
        "melp_local": caption | clip,
        "gloria": {"log_beat_scale"},
        "no clip": clip,
    }
    assert parts == idle[variant]
    assert all("contrast_pool" in name for name in every - wanted if name.startswith("ecg_tower"))


def two_updates(variant: str, rows: list[int], wrapper: str) -> dict[str, torch.Tensor]:
    """The weights after two updates in what a host puts a model into, in each of two processes."""
    model, losses = trained_for(variant)
    if wrapper == "torch":
        wrapped: Any = DistributedDataParallel(model)
    else:
        legacy = host.host_module("distributed").LegacyDistributedDataParallel
        wrapped = legacy(module=model, process_group=host.data_parallel_group())
    optimiser = torch.optim.SGD([parameter for parameter in model.parameters() if parameter.requires_grad], lr=0.01)
    for _ in range(2):
        loss, _, _ = losses(wrapped, sample(rows))
        loss.backward()
        if wrapper == "legacy":
            wrapped.all_reduce_grads()
        optimiser.step()
        optimiser.zero_grad()
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("variant", ["melp_clip", "melp_caption", "melp_local", "gloria"])
def test_two_processes_train_it(variant: str, wrapper: str) -> None:
    """Without ``find_unused_parameters``: in the second update torch would refuse a model that waits for gradients."""
    first, second = two_ranks()(two_updates, [(variant, rows, wrapper) for rows in ([0, 1], [2, 3])])
    before = dict(trained_for(variant)[0].named_parameters())
    changed = {name for name, parameter in before.items() if not torch.equal(first[name], parameter)}
    assert all(torch.equal(first[name], second[name]) for name in first)
    trained = {name for name, parameter in before.items() if parameter.requires_grad}
    assert changed <= trained and len(changed) > 0.8 * len(trained)  # keys have biases without gradient


@pytest.mark.parametrize("form", ["beat", "gloria"])
@pytest.mark.parametrize("learned", [True, False])
def test_it_points_as_its_local_loss_looked(form: str, learned: bool) -> None:
    """Also where the temperature of ``beat`` does not train."""
    model, losses = tiny_melp(learn_beat_scale=learned).eval(), criterion(local=form)
    assert isinstance(model, TrainedForLosses)
    assert model.train_for(losses.computed_terms(), losses.cfg) == {"local_form": form}
    inputs = batch()
    found = model.grounding(**inputs)
    with torch.no_grad():
        states = model.ecg_tower(inputs["ecg"], None)
        out = model(**inputs)
        shares = sentence_attention(form, out["beats"], out["sentences"], out["sentence_padding_mask"], out["beat_scale"])
    torch.testing.assert_close(found.sentences, shares @ model.ecg_tower.contrast_pool.weights(*states))


def test_a_model_that_does_not_know_its_form_is_taken_for_what_its_temperature_says() -> None:
    """Checkpoints from before it was noted."""
    inputs = batch()
    for learned, form in ((True, "beat"), (False, "gloria")):
        unknown, known = (tiny_melp(learn_beat_scale=learned, local_form=name).eval() for name in (None, form))
        torch.testing.assert_close(unknown.grounding(**inputs), known.grounding(**inputs))


def test_clip_alone_says_nothing_of_the_form() -> None:
    model, losses = trained_for("melp_clip")
    assert model.train_for(losses.computed_terms(), losses.cfg) == {"local_form": None}
    with pytest.raises(DataError, match="model.local_form must be one of beat, gloria, not 'glorious'"):
        tiny_melp(local_form="glorious")
