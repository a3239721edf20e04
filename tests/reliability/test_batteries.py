"""The fixture ``battery``: counts, verdicts, and that a planted silent loss fails the test that holds it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent / "support"

EXAMPLE = """
from cmelt_plugin.errors import DataError

def test_sound(battery):
    for attack in battery("sound", inputs=4, long=9):
        with attack:
            if attack.index % 2:
                raise DataError("row 3: not a number; mend it")
            attack.expect(attack.random.random() < 1.0, "never")

def test_loss(battery):
    for attack in battery("planted loss", inputs=3, long=3):
        with attack:
            attack.expect(attack.index != 1, "another label was read")

def test_traceback(battery):
    for attack in battery("planted traceback", inputs=2, long=2):
        with attack:
            {}["missing"]

def test_mute_refusal(battery):
    for attack in battery("mute refusal", inputs=1, long=1):
        with attack:
            raise DataError("")

def test_no_verdict(battery):
    for attack in battery("no verdict", inputs=1, long=1):
        with attack:
            pass

def test_cut_short(battery):
    for attack in battery("cut short", inputs=2, long=2):
        with attack:
            attack.refused("no")
        break
"""


def pytest_run(folder: Path, *options: str) -> tuple[int, str]:
    (folder / "conftest.py").write_text("from batteries import *\nfrom batteries import battery\n")
    (folder / "test_example.py").write_text(EXAMPLE)
    (folder / "pytest.ini").write_text(f"[pytest]\npythonpath = {TESTS} {TESTS.parents[1]}\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout


def row(output: str, name: str) -> list[str]:
    """Inputs, refused, identical, lost and tracebacks as the table prints them."""
    lines = [line for line in output.split("reliability batteries")[1].splitlines() if line.startswith(name)]
    assert len(lines) == 1, output
    return lines[0][len(name) :].split()[:5]


def test_planted_losses_fail_and_are_counted_across_processes(tmp_path: Path) -> None:
    code, output = pytest_run(tmp_path, "-n", "1")
    assert code == 1
    assert row(output, "sound") == ["4", "2", "2", "0", "0"]
    assert row(output, "planted loss") == ["3", "0", "2", "1", "0"]
    assert "input 1, lost: another label was read" in output
    assert row(output, "planted traceback") == ["2", "0", "0", "0", "2"]
    assert "KeyError: 'missing'" in output
    assert row(output, "mute refusal") == ["1", "0", "0", "1", "0"]
    assert row(output, "no verdict") == ["1", "0", "0", "1", "0"]
    assert "4 failed, 2 passed, 1 error" in output  # cut short: passed, and an error when it ends
    assert "cut short: the test did not try all inputs" in output


def test_long_mode_and_single_input(tmp_path: Path) -> None:
    code, output = pytest_run(tmp_path, "-n", "0", "--long", "-k", "sound")
    assert code == 0
    assert row(output, "sound") == ["9", "4", "5", "0", "0"]
    code, output = pytest_run(tmp_path, "-n", "0", "--input", "1", "-k", "loss")
    assert code == 1
    assert row(output, "planted loss") == ["1", "0", "0", "1", "0"]
