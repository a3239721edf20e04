import torch

from benchmarks.cases.activation_memory import kept_bytes
from benchmarks.harness import training
from benchmarks.systems.cmelt.system import SYSTEM


def test_each_tensor_that_the_backward_pass_needs_is_counted_once_and_weights_are_not() -> None:
    layer = torch.nn.Linear(8, 16, bias=False)
    inputs = torch.randn(4, 8)

    def losses(sample: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = layer(sample)  # keeps sample (and the weight)
        return {"loss": (hidden.exp() + sample.abs().sum()).sum()}  # exp keeps its output

    assert kept_bytes(losses, inputs, layer.parameters(), "cpu", False) == 4 * (4 * 8 + 4 * 16)
    everything = kept_bytes(losses, inputs, iter([]), "cpu", False)
    # The weight is kept only where the gradient of its input is wanted.
    inputs.requires_grad_()
    assert everything == 4 * (4 * 8 + 4 * 16) and kept_bytes(losses, inputs, iter([]), "cpu", False) == everything + 4 * 8 * 16


def test_what_is_saved_for_an_output_that_nobody_reads_is_not_counted() -> None:
    inputs = torch.randn(4, 8, requires_grad=True)

    def losses(sample: torch.Tensor) -> dict[str, torch.Tensor]:
        sample.exp().exp()
        return {"loss": sample.exp().sum()}

    assert kept_bytes(losses, inputs, iter([]), "cpu", False) == 4 * 4 * 8


def test_checkpointed_layers_keep_what_they_are_given() -> None:
    model = SYSTEM.build_model(tiny=True)
    saving = training.twin(model, checkpoint_activations=True)
    states = torch.randn(2, 5, 32, requires_grad=True)
    one_state = 4 * 2 * 5 * 32

    def kept(module: torch.nn.Module) -> int:
        return kept_bytes(lambda sample: {"loss": module(sample).sum()}, states, module.parameters(), "cpu", False)

    encoder, plain = saving.ecg_encoder.encoder, model.ecg_encoder.encoder
    n_layers = len(encoder.layers)
    # Besides the input of each layer: normalisation in front with its input and statistics, and its dropout's mask.
    assert n_layers * one_state <= kept(encoder) < (n_layers + 3) * one_state
    assert kept(plain) > 3 * kept(encoder)
