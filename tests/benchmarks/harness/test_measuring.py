"""Parts of the measurements that a machine without a GPU can check: memory, time lines, waits, the training's clock."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hosts import REPOSITORY, host_python, run
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import DeviceType

from benchmarks.cases.training_run import Clock
from benchmarks.harness import training
from benchmarks.harness.limits import covered, kernel_seconds, matmul_rate
from benchmarks.harness.machine import describe_machine, one_line
from benchmarks.harness.memory import read_memory, run_fresh
from benchmarks.harness.waits import WaitCounter
from benchmarks.registry import NAMES
from benchmarks.systems.cmelt.system import SYSTEM
from cmelt_plugin import host

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc, which Linux has")


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), max_size=12))
def test_overlapping_intervals_count_once(spans: list[tuple[int, int]]) -> None:
    marked = {second for start, length in spans for second in range(start, start + length)}
    assert covered((start, start + length) for start, length in spans) == len(marked)


def test_kernel_time_is_the_union_of_kernels_and_leaves_out_annotated_ranges() -> None:
    def event(kind: DeviceType, start: float, end: float, annotation: bool = False) -> SimpleNamespace:
        return SimpleNamespace(
            device_type=kind, time_range=SimpleNamespace(start=start, end=end), is_user_annotation=annotation
        )

    events = [
        event(DeviceType.CUDA, 0, 1e6),
        event(DeviceType.CUDA, 0.5e6, 2e6),
        event(DeviceType.CUDA, 5e6, 6e6),
        event(DeviceType.CPU, 2e6, 4e6),
        event(DeviceType.CUDA, 0, 9e6, annotation=True),
    ]
    assert kernel_seconds(SimpleNamespace(events=lambda: events)) == 3.0


def test_a_profile_without_a_gpu_has_no_kernel_time() -> None:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        torch.ones(8, 8) @ torch.ones(8, 8)
    assert kernel_seconds(profiler) == 0.0


def test_matmul_rate_is_the_best_round(monkeypatch) -> None:
    monkeypatch.setattr(
        "benchmarks.harness.limits.race", lambda *arguments: SimpleNamespace(seconds={"matmul": np.array([4.0, 2.0, 3.0])})
    )
    figure = matmul_rate("cpu", torch.float32, 100)
    assert figure.value == pytest.approx(2 * 2 * 100**3 / 2.0 / 1e12)
    assert figure.name == "matmul float32"


def test_the_machine_is_described() -> None:
    machine = describe_machine()
    assert {"cpu", "cores", "threads", "ram_gb", "torch", "numpy", "python"} <= set(machine)
    assert f"torch {torch.__version__}" in one_line(machine) and "gpu" not in machine


@linux
def test_memory_sees_an_array() -> None:
    before = read_memory()
    held = np.ones(6_000_000)
    after = read_memory()
    assert after.resident - before.resident > 40 and after.anonymous - before.anonymous > 40
    assert after.peak >= after.resident - 1
    assert held.nbytes == 48_000_000


def test_a_fresh_process_answers_and_a_failing_one_says_why(tmp_path, monkeypatch) -> None:
    module = "def fresh(number):\n    print('talk')\n    return {'twice': 2 * number, 'half': 1 / number}\n"
    (tmp_path / "fresh_module.py").write_text(module)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert run_fresh("fresh_module", {"number": 4}) == {"twice": 8, "half": 0.25}
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        run_fresh("fresh_module", {"number": 0})


def test_waits_for_the_device_are_counted() -> None:
    x, mask = torch.randn(6), torch.tensor([True, False] * 3)
    cases = [
        (lambda: x + 1, 0),
        (lambda: x[torch.tensor([0, 2])], 0),
        (lambda: x.sum().item(), 1),
        (lambda: x[mask], 1),
        (lambda: (mask.nonzero(), torch.masked_select(x, mask)), 2),
        (lambda: bool(mask.any()), 1),
        (lambda: torch.where(mask, x, 0.0).masked_fill(mask, 1.0), 0),
    ]
    assert [WaitCounter.count(function) for function, _ in cases] == [count for _, count in cases]


def test_waits_of_the_backward_pass_are_counted() -> None:
    x, mask = torch.randn(4, requires_grad=True), torch.tensor([True, False, True, True])
    assert WaitCounter.count(lambda: x[mask].sum().backward()) == 2  # the selection and its gradient


def test_the_clock_counts_waiting_after_the_warm_up(monkeypatch) -> None:
    now = iter(float(value) for value in (0, 9, 10, 11, 20, 23, 30, 30, 40, 99))  # asked, got, asked, got, …
    monkeypatch.setattr("benchmarks.cases.training_run.time.perf_counter", lambda: next(now))
    clock = Clock(warmup=1, timed=3)
    assert [clock.request(lambda value=value: value) for value in range(5)] == [0, 1, 2, 3, 4]
    answer = clock.summary()
    # From the second request at 10 s to the fifth at 40 s; waits of 1, 3 and 0 seconds.
    assert {key: answer[key] for key in ("updates", "seconds", "waiting")} == {"updates": 3, "seconds": 30, "waiting": 4}


def test_a_training_too_short_to_measure_is_an_error() -> None:
    clock = Clock(warmup=2, timed=3)
    for _ in range(3):
        clock.request(lambda: None)
    with pytest.raises(RuntimeError, match="nothing to measure"):
        clock.summary()


def test_optimiser_is_the_one_of_the_training_configuration() -> None:
    parameter = torch.nn.Parameter(torch.ones(3))
    optimiser = training.build_optimiser([parameter], training.optimiser_settings(SYSTEM.configuration))
    parameter.grad = torch.ones(3)
    optimiser.step()
    # Adam's first step is the learning rate, 5e-5, whatever the gradient; decay takes 5e-5 · 0.01 more.
    torch.testing.assert_close(parameter.detach(), torch.full((3,), 1 - 5e-5 * 1.01), rtol=0, atol=2e-7)


def test_importing_the_command_line_is_enough_to_list_the_benchmarks() -> None:
    listed = run([host_python(host.NAME), "-m", "benchmarks", "--list"], host.NAME, REPOSITORY)
    assert [line.split()[0] for line in listed.splitlines()] == list(NAMES)
