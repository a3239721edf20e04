import torch

from benchmarks.harness import training
from benchmarks.harness.options import Options
from benchmarks.harness.profiling import BETWEEN, KINDS, OTHER, kind_of, profile, split_forward, write_profile
from benchmarks.systems.cmelt.naive import NaiveCMELT
from benchmarks.systems.cmelt.system import SYSTEM


def test_operations_are_of_the_kind_their_name_says() -> None:
    expected = {
        "aten::addmm": "matrix products",
        "aten::mkldnn_convolution": "convolutions",
        "aten::_scaled_dot_product_flash_attention_for_cpu": "fused attention",
        "aten::_softmax": "softmax and cross-entropy",
        "aten::native_layer_norm_backward": "normalisation",
        "aten::bernoulli_": "dropout",
        "aten::gelu_backward": "activation functions",
        "aten::index_select": "copies, choosing, clearing",
        "aten::mul": OTHER,
        "sm90_xmma_gemm_bf16bf16_bf16f32": "matrix products",
    }
    assert {name: kind_of(name) for name in expected} == expected


def test_what_the_forward_pass_does_outside_the_modules_is_its_rest() -> None:
    parts = {"optimiser": 3.0, "forward": 10.0, "fusion": 2.0, "ecg_encoder": 5.0, "backward": 20.0}
    assert split_forward(parts, ["ecg_encoder", "fusion"]) == {
        "forward, ecg_encoder": 5.0,
        "forward, fusion": 2.0,
        "forward, the rest": 3.0,
        "backward": 20.0,
        "optimiser": 3.0,
    }


def test_kinds_add_up_and_parts_lie_within_the_step() -> None:
    weights = torch.nn.Linear(64, 64)
    inputs = torch.randn(32, 64)
    optimiser = torch.optim.SGD(weights.parameters(), lr=0.1)
    step = training.training_step(lambda: weights(inputs).square().sum(), optimiser, "cpu", False)
    found = profile(step, Options(quick=True))
    assert set(found.kinds) == {*KINDS, OTHER, BETWEEN}
    assert found.kinds["matrix products"] > 0 and abs(sum(found.kinds.values()) - found.total) < 1e-9
    assert set(found.parts) == {"forward, the rest", "backward", "optimiser"}
    assert all(0 < time <= found.total * 1.01 for time in found.parts.values())


def test_both_ways_are_shown_side_by_side_with_the_same_modules(tmp_path) -> None:
    model = SYSTEM.build_model(tiny=True)
    sample = SYSTEM.synthetic_batch(model, 2, 6)
    criterion = SYSTEM.build_criterion()
    optimiser = training.build_optimiser(model.parameters(), training.optimiser_settings(SYSTEM.configuration))
    ways = {"naive": NaiveCMELT(model).losses, "ours": lambda batch: training.our_losses(model, criterion, batch)}
    steps = {
        name: training.training_step(lambda way=way: way(sample)["loss"], optimiser, "cpu", False) for name, way in ways.items()
    }
    write_profile(tmp_path / "profile.md", steps, model, SYSTEM.parts, Options(quick=True))
    text = (tmp_path / "profile.md").read_text().splitlines()
    assert text[0] == "| part of the step | naive, ms | share | ours, ms | share |"
    rows = [line.split(" | ")[0].strip("| *") for line in text[2:11]]
    modules = ["ecg_encoder", "text_encoder", "fusion", "mlm_head", "mem_head", "the rest"]
    assert rows == [*(f"forward, {name}" for name in modules), "backward", "optimiser", "whole step"]
    assert not model.ecg_encoder._forward_hooks
