"""``model.checkpoint_activations``: loss and gradients stay what they are, fewer activations are kept."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.models.cmelt.batches import dataset, without_dropout
from tests.models.cmelt.rank_work import filled, train_step


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> dict[str, Any]:
    return dataset(tmp_path_factory.mktemp("manifest"), short_row=2).collater([0, 1, 2, 3])


@pytest.mark.parametrize("conv_pos", [0, 3])
@pytest.mark.parametrize("dropout", [False, True])
def test_loss_and_gradients_are_the_same(sample, dropout: bool, conv_pos: int) -> None:
    """With dropout too: both models are built from one seed and draw on from there."""
    changes = {**({} if dropout else without_dropout()), "mem_decoder_conv_pos": conv_pos}
    expected, got = (train_step(sample, {**changes, "checkpoint_activations": on}, {}) for on in (False, True))
    assert torch.equal(got["loss"], expected["loss"])
    for name, gradient in expected["gradients"].items():
        torch.testing.assert_close(got["gradients"][name], gradient, msg=lambda text, name=name: f"{name}: {text}")
    if dropout:  # the comparison sees dropout at all
        without = {**without_dropout(), "mem_decoder_conv_pos": conv_pos}
        assert not torch.equal(train_step(sample, without, {})["loss"], expected["loss"])


def kept_bytes(sample: dict[str, Any], **changes: Any) -> int:
    """Distinct storage that autograd holds after the forward pass."""
    kept: dict[int, int] = {}

    def remember(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    model = filled(**changes).train()
    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        out = model(**sample["net_input"])
        assert out["etm_logits"].requires_grad
    return sum(kept.values())


def test_less_is_kept(sample) -> None:
    # The tiny model's layers are few; its convolutions, which are not run again, keep most.
    whole, less = kept_bytes(sample), kept_bytes(sample, checkpoint_activations=True)
    no_layers = {"encoder_layers": 0, "fusion_layers": 1, "mem_layer": 0, "mem_decoder_layers": 0}
    assert whole - less > 0.6 * (whole - kept_bytes(sample, **no_layers))


def test_nothing_is_run_twice_without_gradients(sample) -> None:
    model = filled(checkpoint_activations=True).eval()
    calls = []
    model.fusion.text_layers[0].register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        model(**sample["net_input"])
    assert calls == [1]
    assert set(model.state_dict()) == set(filled().state_dict())
