"""What only runs with ``--device cuda``, as far as a machine without a GPU can check it: names, arguments, arithmetic, bf16."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.cases import step
from benchmarks.cases.end_to_end import summarise, training_arguments
from benchmarks.harness import training
from benchmarks.harness.bars import BARS
from benchmarks.harness.options import Options
from benchmarks.harness.outcome import HIGHER, Figure, Outcome
from benchmarks.harness.timing import Race
from benchmarks.systems.cmelt.naive import NaiveCMELT
from benchmarks.systems.cmelt.system import SYSTEM
from cmelt_plugin import host

GPU = Options(device="cuda", compile=True, full=True)


@pytest.fixture(scope="module")
def tiny():
    model = SYSTEM.build_model(tiny=True)
    return model, SYSTEM.build_criterion(), SYSTEM.synthetic_batch(model, 4, 10)


def gpu_bars(benchmark: str) -> list[str]:
    return [name for bar in BARS if bar.on_gpu and bar.benchmark == benchmark for name in bar.figures]


def test_results_of_a_step_have_the_names_of_the_bars(tiny) -> None:
    model, criterion, sample = tiny
    names = list(step.contestants(SYSTEM, model, criterion, sample, {"ours": None, "naive": None}, GPU))
    ours = ["ours bf16", "ours fp32", "ours bf16, checkpointing", "ours bf16, compiled"]
    assert names[:6] == ["naive bf16", "naive fp32", *ours]
    assert set(names[6:]) == {f"naive bf16, {variant}" for variant in SYSTEM.variants}
    seconds = {name: np.array([0.5, 0.5]) for name in names}
    seconds["naive fp32"], seconds["ours bf16"] = np.array([4.0, 4.0]), np.array([1.0, 1.0])
    peaks = {name: 10**9 for name in names}
    peaks["ours bf16"] = 4 * 10**8
    outcome, limit = Outcome(), Figure("matmul", 1e-3, "TFLOP/s", 1e-3, 1e-3, HIGHER)
    flops = SYSTEM.flops_of(model, sample)
    step.add_results(outcome, Race(seconds, peaks, {"gone": "out of memory"}), 4, flops, limit, GPU)
    found = {figure.name for figure in (*outcome.ratios, *outcome.figures)}
    assert {name.replace("128", "4") for name in gpu_bars("step") if "512" not in name} <= found
    assert outcome.find("ours bf16 / naive fp32 at 4").value == 4.0
    assert outcome.find("peak, ours bf16 / naive fp32 at 4").value == 40.0
    assert outcome.find("ours bf16 at 4").value == 4.0  # 4 pairs in a second
    assert outcome.notes == ["gone at 4: out of memory"]
    assert flops == SYSTEM.training_flops(model.cfg, 4, 10, len(sample["mlm_target"]))
    assert outcome.find("FLOPs utilisation, ours bf16 at 4").value == pytest.approx(100 * flops / 1e9)


def test_a_training_on_a_gpu_is_summed_up_with_the_names_of_the_bars() -> None:
    answer = {"updates": 300, "seconds": 10.0, "waiting": 1.0, "gpu_idle": 0.5, "busy": 0.92, "peak_bytes": 3 * 10**9}
    outcome = summarise([answer], 128, on_gpu=True, title="Some model")
    assert set(gpu_bars("end_to_end")) <= {figure.name for figure in outcome.figures}
    values = {figure.name: figure.value for figure in outcome.figures}
    assert values["pairs"] == 3840
    assert values["300,000 updates"] == pytest.approx(300_000 / 30 / 3600)
    assert (values["waiting for data"], values["GPU idle for want of data"]) == (10, 5)
    assert (values["GPU busy"], values["peak"]) == (92, 3)


def test_a_training_on_a_gpu_is_the_base_configuration_in_bf16(tmp_path) -> None:
    arguments = training_arguments(GPU, tmp_path / "data", tmp_path / "text", tmp_path, 128, 372)
    assert "cmelt_base" in arguments and "dataset.batch_size=128" in arguments
    assert ("common.bf16=true" in arguments) == (not host.IS_SIGNALS)
    assert not any(argument.startswith(("common.cpu", "model.encoder_layers")) for argument in arguments)
    workers = next(argument for argument in arguments if argument.startswith("dataset.num_workers="))
    assert int(workers.partition("=")[2]) >= 1


def test_a_step_in_bf16_autocast_runs_and_its_loss_is_near_that_in_float32(tiny) -> None:
    model, criterion, sample = tiny
    model.eval()
    values = []
    for losses in (lambda: training.our_losses(model, criterion, sample), lambda: NaiveCMELT(model).losses(sample)):
        for bf16 in (False, True):
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                values.append(losses()["loss"].item())
    model.train()
    assert values[1] == pytest.approx(values[0], rel=0.02)
    before = model.etm_head.dense.weight.detach().clone()
    optimiser = training.build_optimiser(model.parameters(), training.optimiser_settings(SYSTEM.configuration))
    for loss in (
        lambda: training.our_losses(model, criterion, sample)["loss"],
        lambda: NaiveCMELT(model).losses(sample)["loss"],
    ):
        training.training_step(loss, optimiser, "cpu", bf16=True)()
        assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    assert not torch.equal(before, model.etm_head.dense.weight)
    assert all(parameter.grad is None for parameter in model.parameters())
