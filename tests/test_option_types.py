"""Numbers on every command line: out of range is one line that names the option."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
from pathlib import Path
from typing import Any

import pytest
from hosts import REPOSITORY

from cmelt_plugin import option_types

NASTY = (
    "nan",
    "inf",
    "-inf",
    "1e400",
    "-1",
    "-3",
    "x",
    "",
    " ",
    "0x10",
    "1_0_",
    "9" * 400,
    "9" * 5000,
    "½",
    "0.5e",
    "\x1b[31m",
)
# Options that take any whole number: the seed of a split is hashed, not handed to a generator.
ANY_WHOLE_NUMBER = {"--seed"}


def commands() -> list[Path]:
    folders = ("cmelt_plugin", "preprocess", "examples")
    paths = [path for folder in folders for path in sorted((REPOSITORY / folder).rglob("*.py"))]
    return [path for path in paths if '\nif __name__ == "__main__":' in path.read_text(encoding="utf-8")]


class _Built(Exception):
    """Carries the parser out of a command before it does anything."""


def parser_of(path: Path, monkeypatch: pytest.MonkeyPatch) -> argparse.ArgumentParser:
    name = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
    if name == "cmelt_plugin.evaluation.zero_shot":
        name = "cmelt_plugin.evaluation.zero_shot.__main__"
    spec = importlib.util.find_spec(name) if not name.startswith("examples") else None
    if spec is None:
        monkeypatch.syspath_prepend(str(path.parent))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    else:
        module = importlib.import_module(name)

    def parse(self: argparse.ArgumentParser, *arguments: Any, **options: Any) -> None:
        error = _Built()
        error.parser = self  # type: ignore[attr-defined]
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(argparse.ArgumentParser, "parse_args", parse)
        with pytest.raises(_Built) as built:
            module.main([])
    return built.value.parser  # type: ignore[attr-defined]


def takes_numbers(action: argparse.Action) -> bool:
    try:
        return isinstance(action.type("5"), (int, float))  # type: ignore[operator, misc]
    except (TypeError, ValueError, argparse.ArgumentTypeError):
        return False


@pytest.mark.parametrize("path", commands(), ids=lambda path: path.stem)
def test_numbers_out_of_range_are_refused_by_every_command(path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    parser = parser_of(path, monkeypatch)
    for action in parser._actions:
        if not takes_numbers(action) or action.choices is not None:
            continue
        option = action.option_strings[0]
        if action.type is int:
            assert option in ANY_WHOLE_NUMBER, f"{path.name} {option}: give it one of cmelt_plugin.option_types"
            continue
        for value in NASTY:
            with pytest.raises(SystemExit) as left:
                parser.parse_args([f"{option}={value}"] if action.nargs is None else [option, value])
            said = capsys.readouterr().err.splitlines()[-1]
            assert left.value.code == 2 and (f"argument {option}" in said or "required" in said or "expected" in said), said


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (option_types.natural, {"0": 0, "7": 7, " 7 ": 7}, ["-1", "1.5", "2147483648"]),
        (option_types.count, {"1": 1, "2147483647": 2**31 - 1}, ["0", "-1", "2147483648"]),
        (option_types.seed, {"0": 0, "1": 1}, ["-1", "1e3"]),
        (option_types.share, {"1": 1.0, "0.01": 0.01, "1e-9": 1e-9}, ["0", "-0.0", "1.0001", "nan", "inf"]),
        (option_types.positive_number, {"0.5": 0.5, "1e9": 1e9}, ["0", "-1", "nan", "inf", "1e999"]),
        (option_types.non_negative_number, {"0": 0.0, "3.5": 3.5}, ["-0.1", "nan", "-inf"]),
    ],
)
def test_ranges(kind: Any, good: dict[str, float], bad: list[str]) -> None:
    assert {text: kind(text) for text in good} == good
    for text in [*bad, *(value for value in NASTY if value not in ("", "x"))]:
        with pytest.raises(argparse.ArgumentTypeError) as refused:
            kind(text)
        message = str(refused.value)
        assert len(message) < 120 and message.isprintable()
