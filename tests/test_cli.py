"""How commands begin and end."""

from __future__ import annotations

from cmelt_plugin.cli import run

import ast
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hosts import REPOSITORY, environment

from cmelt_plugin.errors import DataError

# Stands in for a module that takes long to import and makes of an interrupt what C extensions make of it.
SLOW = """
import time
print("importing", flush=True)
try:
    time.sleep(60)
except KeyboardInterrupt:
    raise ImportError("numpy.core.multiarray failed to import") from None
"""


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (DataError("a.csv: row 2: mend it"), 1, "error: a.csv: row 2: mend it\n"),
        (MemoryError(), 1, "error: not enough memory; fewer processes (--jobs, workers) or a smaller batch need less\n"),
        (OSError(errno.ENOSPC, "No space left on device", "m/x"), 1, "error: m/x: No space left on device\n"),
        (KeyboardInterrupt(), 130, "\ninterrupted\n"),
    ],
)
def test_ends_in_one_line(raised: BaseException, code: int, said: str, capsys: pytest.CaptureFixture) -> None:
    def main() -> int:
        raise raised

    assert run(main) == code
    assert capsys.readouterr().err == said


def test_faults_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 // 0)


@pytest.mark.parametrize("command", [["preprocess/n3s.py"], ["-m", "cmelt_plugin.evaluation.retrieve"]], ids=["file", "module"])
def test_ctrl_c_among_the_imports_is_one_line(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text(SLOW)
    values = environment("fairseq")
    values["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{REPOSITORY}"
    process = subprocess.Popen(
        [sys.executable, *command], cwd=REPOSITORY, env=values, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "importing\n"
        time.sleep(0.1)  # into the sleep
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, said) == (130, "\ninterrupted\n")


def test_a_package_that_is_missing_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "pyarrow.py").write_text("raise ModuleNotFoundError(\"No module named 'pyarrow'\", name='pyarrow')\n")
    values = {**environment("fairseq"), "PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}"}
    command = [sys.executable, "-m", "cmelt_plugin.verify", "--help"]
    done = subprocess.run(command, cwd=REPOSITORY, env=values, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: pyarrow is not installed; ") and done.stderr.count("\n") == 1


def test_a_library_keeps_the_handler_of_its_program() -> None:
    script = "import signal, cmelt_plugin.cli; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment("fairseq"), capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "True\n"


def test_every_command_begins_with_it() -> None:
    """What is imported before it can be interrupted with a traceback."""
    found = []
    for folder in ("cmelt_plugin", "preprocess", "examples"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            if '\nif __name__ == "__main__":' not in text:
                continue
            found.append(path)
            imports = [node for node in ast.parse(text).body if isinstance(node, (ast.Import, ast.ImportFrom))]
            first = [ast.unparse(node) for node in imports if getattr(node, "module", "") != "__future__"][0]
            assert first in ("from cmelt_plugin.cli import run", "from cmelt_plugin.cli import run"), path
            assert "sys.exit(run(main))" in text, path
    assert len(found) >= 28


def test_names_that_are_no_text_can_be_printed(tmp_path: Path) -> None:
    script = "from cmelt_plugin.cli import run; run(lambda: print('half \\udcff'))"
    done = subprocess.run([sys.executable, "-c", script], env=environment("fairseq"), capture_output=True, timeout=60)
    assert done.stdout == b"half \\udcff\n" and not done.stderr
