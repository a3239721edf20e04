"""Every benchmark runs through at tiny size; its numbers are not looked at, its checks and its structure are."""

from __future__ import annotations

from cmelt_plugin.cli import run

import math
import re

import pytest
from benchmark_results import report

from benchmarks import __main__ as command
from benchmarks import registry, systems
from benchmarks.harness.bars import BARS
from benchmarks.harness.options import Options
from benchmarks.harness.outcome import NotMeasured, Outcome, read_report
from cmelt_plugin import registry as package
from cmelt_plugin.errors import DataError

CONTESTANTS = {
    "record_reading": {"packed / mat", "packed / gather to mV", "packed int16 / gather", "packed / gather"},
    "collation": {"ours / released way"},
    "text_padding": {"synthetic, operations a pair: random / grouped"},
    "startup": {"loading / list of lines", "resident / list of lines"},
    "step": {"ours / naive at 4", "naive, masked vocabulary / naive at 4"},
    "activation_memory": {"a pair: naive fp32 / ours bf16"},
    "n3s": {"balanced / farthest, time at 400", "farthest / torch, speed at 400"},
    "ivf_recall": {"whole search at 2,000, nprobe 64: exact / ivf", "looking through at 2,000, nprobe 64: exact / ivf"},
    "preprocessing": {"ours / bare", "ours, reading / bare"},
    "linear_probe": {"ours / one by one"},
    "evaluation": {"ours / bare encoder", "ours / texts every batch"},
    "end_to_end": set(),
    "cached_reports": {f"{length} tokens: cached / encoded" for length in (32, 64, 256)},
    "generation": {"cached / without cache"},
    "match_loss": {"chunks / whole, speed"},
    "student": {"student / bare network at 2"},
    "local_loss": {"ours / loop at 6", "ours, beat / loop at 6", "products alone / loop at 6"},
}
OTHER_SYSTEMS = {
    "step --model melp": {"ours / naive at 4", "ours, beat / naive at 4", "naive, no language head / naive at 4"},
    "activation_memory --model melp": {"a pair: naive fp32 / ours fp32"},
    "cached_reports --model melp": {"256 tokens: cached / encoded"},
    "step --model merl": {"ours / naive at 4", "naive, texts as long as they are / naive at 4"},
}
PARTS = {"step": "ecg_encoder", "step --model melp": "text_encoder", "step --model merl": "text_encoder"}


def without_sizes(name: str) -> str:
    """Numbers replaced by a sign: those of a quick run are smaller."""
    return re.sub(r"\d[\d,]*", "#", name)


@pytest.mark.parametrize("name", [*registry.NAMES, *OTHER_SYSTEMS])
def test_benchmark_runs_quickly_and_checks_its_contestants(name: str, tmp_path) -> None:
    path = tmp_path / "out.json"
    profile = tmp_path / "profile.txt"
    assert command.main([*name.split(), "--quick", "--rounds", "1", "--json", str(path), "--profile", str(profile)]) == 0
    result = read_report(path)
    assert result.failures == {} and list(result.outcomes) == [name]
    outcome = result.outcomes[name]
    assert {**CONTESTANTS, **OTHER_SYSTEMS}[name] <= {ratio.name for ratio in outcome.ratios}
    assert all(ratio.unit == "x" for ratio in outcome.ratios)
    assert outcome.figures and outcome.checks and outcome.settings
    for figure in (*outcome.ratios, *outcome.figures):
        assert math.isfinite(figure.value) and figure.low <= figure.value <= figure.high, figure
    names = {without_sizes(figure.name) for figure in (*outcome.ratios, *outcome.figures)}
    for bar in BARS:  # of which the sizes are those of real runs; --jobs needs several cores
        if bar.benchmark == name and not bar.on_gpu and "--jobs" not in bar.figures[0]:
            assert without_sizes(bar.figures[0]) in names
    assert profile.is_file() == (name in PARTS)
    if name == "evaluation":
        assert [outcome.find(f"encoder passes a {what}").value for what in ("record", "class text")] == [1.0, 1.0]
    if name in PARTS:
        assert f"forward, {PARTS[name]}" in profile.read_text() and "aten::" in profile.read_text()


def test_quick_settings_differ_from_real_ones_so_that_they_are_never_compared(tmp_path, capsys) -> None:
    old = report()
    old.write(tmp_path / "old.json")
    arguments = ["record_reading", "--quick", "--rounds", "1", "--compare", str(tmp_path / "old.json")]
    assert command.main(arguments) == 0
    assert "measured with other settings" in capsys.readouterr().out


def test_a_regression_ends_in_code_1(tmp_path, monkeypatch, capsys) -> None:
    report(10).write(tmp_path / "old.json")
    slower = report(5).outcomes["record_reading"]
    monkeypatch.setattr(registry, "load", lambda name: lambda options: slower)
    assert command.main(["record_reading", "--compare", str(tmp_path / "old.json")]) == 1
    assert "regressions: record_reading: packed / mat" in capsys.readouterr().out


def test_a_failing_benchmark_does_not_stop_the_others(tmp_path, monkeypatch) -> None:
    def load(name: str):
        def broken(options: Options) -> Outcome:
            if name == "step":
                raise ValueError("broken")
            if name == "n3s":
                raise NotMeasured("no FAISS")
            return Outcome()

        return broken

    monkeypatch.setattr(registry, "load", load)
    path = tmp_path / "out.json"
    assert command.main(["all", "--quick", "--json", str(path)]) == 1
    result = read_report(path)
    assert result.failures == {"step": "ValueError: broken", "n3s": "no FAISS"}
    assert set(result.outcomes) == set(registry.NAMES) - {"step", "n3s"}


@pytest.mark.parametrize(
    "arguments",
    [[], ["nonsense"], ["step", "--rounds", "0"], ["step", "--device", "nonsense"], ["step", "--model", "nonsense"]],
)
def test_bad_arguments_are_refused_in_one_line(arguments: list[str], capsys) -> None:
    assert run(lambda: command.main(arguments)) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_an_unknown_system_is_refused_with_those_there_are() -> None:
    with pytest.raises(DataError, match=f"--model nonsense: .*: {', '.join(systems.known())}"):
        command.main(["step", "--model", "nonsense"])
    assert {systems.find(name).name for name in systems.known()} == set(systems.known()) <= set(package.systems())
    assert systems.find().name == "cmelt"


def test_results_of_another_system_stand_apart_where_the_system_matters(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(systems, "known", lambda: ["cmelt", "other"])
    monkeypatch.setattr(systems, "find", lambda name=None: None)
    monkeypatch.setattr(registry, "load", lambda name: lambda options: Outcome(settings={"model": options.model}))
    labels = {"cmelt": ["step", "record_reading"], "other": ["step --model other", "record_reading"]}
    for name, expected in labels.items():
        path = tmp_path / f"{name}.json"
        assert command.main(["step", "record_reading", "--model", name, "--json", str(path)]) == 0
        result = read_report(path)
        assert list(result.outcomes) == expected and result.options["model"] == name


def test_a_missing_result_to_compare_with_is_noticed_before_anything_is_measured(tmp_path) -> None:
    with pytest.raises(DataError, match="nothing.json"):
        command.main(["all", "--compare", str(tmp_path / "nothing.json")])


def test_table_command_writes_into_the_given_file(tmp_path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("<!-- measured: begin -->\n<!-- measured: end -->\n")
    report(9.5).write(tmp_path / "out.json")
    assert command.main(["--table", str(tmp_path / "out.json"), "--readme", str(readme)]) == 0
    assert "9.50 ×" in readme.read_text()


def test_titles_say_what_is_measured(capsys) -> None:
    assert command.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(registry.NAMES)
    assert all(len(line) > 40 for line in lines)
