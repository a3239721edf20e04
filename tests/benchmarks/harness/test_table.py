"""The tables of benchmarks/README.md."""

from __future__ import annotations

import re

import pytest
from benchmark_results import figure, report

from benchmarks import registry, systems
from benchmarks.harness.bars import AT_LEAST, AT_MOST, BARS, Bar
from benchmarks.harness.outcome import Outcome
from benchmarks.harness.table import BEGIN, END, NOT_YET, README, render, write_into
from cmelt_plugin.errors import DataError


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def test_without_results_every_bar_is_listed_as_not_measured() -> None:
    cells = [row for row in rows(render([])) if len(row) == 5 and row[0] not in ("what", "---")]
    assert len(cells) == len(BARS)
    assert {row[3] for row in cells} == {NOT_YET}


def test_a_result_is_judged_and_dated() -> None:
    text = render([report(7.0)])
    row = next(row for row in rows(text) if row[1] == "packed over one .mat per record")
    assert row[2:] == ["≥ 8 ×", "7.00 × [6.93, 7.07]", "**missed**"]
    assert "2030-01-02: Processor, 2 cores" in text
    assert ["record_reading", "packed / mat", "7.00 × [6.93, 7.07]"] in rows(text)
    assert "- record_reading: a note" in text
    assert "| reached |" in render([report(8.0)])


def test_results_of_a_gpu_stand_apart_and_the_last_of_several_counts() -> None:
    step = Outcome([figure("ours bf16 / naive fp32 at 128", 4.0)])
    gpu = report(options={"device": "cuda", "quick": False}, outcomes={"step": step})
    text = render([report(1.0), report(9.0), gpu])
    cpu_part, gpu_part = text.split("### GPU")
    assert "9.00 ×" in cpu_part and "1.00 ×" not in cpu_part
    assert cpu_part.count("a note") == 1 and cpu_part.count("2030-01-02") == 1
    assert "| 4.00 × [3.96, 4.04] | reached |" in gpu_part and "packed" not in gpu_part


def test_quick_results_are_refused() -> None:
    with pytest.raises(DataError, match="--quick"):
        render([report(options={"device": "cpu", "quick": True})])


@pytest.mark.parametrize(("sign", "best"), [(AT_LEAST, 3.0), (AT_MOST, 2.0)])
def test_the_best_of_alternative_figures_counts(sign: str, best: float) -> None:
    bar = Bar("", "", "step", ("a", "b", "missing"), sign, 2.5, "x")
    found = bar.figure(Outcome([figure("a", 2.0), figure("b", 3.0)]))
    assert found is not None and found.value == best
    assert bar.reached(found)
    assert bar.figure(Outcome()) is None


def test_tables_go_between_the_marks_and_nothing_else_changes(tmp_path) -> None:
    path = tmp_path / "README.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_into(path, "new\n")
    assert path.read_text() == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    path.write_text("no marks")
    with pytest.raises(DataError, match="measured: begin"):
        write_into(path, "new\n")
    assert path.read_text() == "no marks"


def test_the_readme_explains_every_benchmark_and_lists_every_bar() -> None:
    text = README.read_text(encoding="utf-8")
    explained, measured = text.split(BEGIN)
    assert set(re.findall(r"^\| `(\w+)` \|", explained, re.MULTILINE)) == set(registry.NAMES)
    wanted = {(bar.what, bar.measured_as, bar.text()) for bar in BARS}
    assert wanted <= {tuple(row[:3]) for row in rows(measured)}


def test_bars_belong_to_benchmarks() -> None:
    without_demand = {"ivf_recall", "text_padding"}  # options
    named = [bar.benchmark.partition(" --model ") for bar in BARS]
    assert {benchmark for benchmark, _, _ in named} == set(registry.NAMES) - without_demand
    assert {system for _, _, system in named if system} <= set(systems.known()) - {systems.default()}
