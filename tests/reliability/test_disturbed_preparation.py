"""Two writers at once, and a disk that is full: refused in one line or waited for, and never another result."""

from __future__ import annotations

from cmelt_plugin.cli import run

import functools
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from tests.reliability.killing import contents, differences, forked, wait
from tests.reliability.preparation import commands, warm_up, write_source


def ended_well(code: int, log: Path) -> str:
    """What is wrong with how a command ended; nothing where it succeeded or said in one line why not."""
    said = log.read_text(errors="replace")
    if "Traceback" in said or code not in (0, 1):
        return f"exit code {code}: {said[-1500:]}"
    if code == 1 and said.count("\nerror: ") + said.startswith("error: ") != 1:
        return f"not one line: {said[-1500:]}"
    return ""


def limited(work: Callable[[], int], size: int) -> int:
    """Run with a bound on the size of files: writing more fails as it does on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    return run(work)


def prepared(tmp_path: Path, monkeypatch) -> tuple[Callable[[], int], Path, dict[str, str], float]:
    """The work, its destination, what it writes there, and seconds it takes."""
    source, dest = write_source(tmp_path / "source"), tmp_path / "m"
    warm_up(source, tmp_path / "warm", "table", monkeypatch)
    work = commands(source, dest, "table")
    start = time.monotonic()
    assert wait(forked(work, tmp_path / "log")) == 0, (tmp_path / "log").read_text()
    return work, dest, contents(dest), time.monotonic() - start


def test_two_writers_on_one_directory(battery, tmp_path: Path, monkeypatch) -> None:
    work, dest, whole, seconds = prepared(tmp_path, monkeypatch)
    logs = [tmp_path / "log1", tmp_path / "log2"]
    for attack in battery("two writers on one directory", inputs=4, long=200):
        with attack:
            shutil.rmtree(dest)
            first = forked(functools.partial(run, work), logs[0])
            time.sleep(float(attack.random.uniform(0, seconds)) * int(attack.random.integers(2)))
            second = forked(functools.partial(run, work), logs[1])
            wrong = [ended_well(wait(child), log) for child, log in zip((first, second), logs)]
            assert not any(wrong), "\n".join(wrong)
            assert wait(forked(work, tmp_path / "log")) == 0, (tmp_path / "log").read_text()[-1500:]
            found = contents(dest)
            attack.expect(found == whole, f"other bytes: {differences(whole, found)}")


def test_a_full_disk(battery, tmp_path: Path, monkeypatch) -> None:
    work, dest, whole, _ = prepared(tmp_path, monkeypatch)
    log = tmp_path / "log"
    largest = max(path.stat().st_size for path in dest.rglob("*"))
    for attack in battery("a full disk while preparing", inputs=6, long=200):
        with attack:
            shutil.rmtree(dest)
            size = int(2 ** attack.random.uniform(12, largest.bit_length()))  # the log must fit
            wrong = ended_well(wait(forked(functools.partial(limited, work, size), log)), log)
            assert not wrong, f"files of at most {size} bytes: {wrong}"
            assert wait(forked(work, log)) == 0, log.read_text()[-1500:]
            found = contents(dest)
            attack.expect(found == whole, f"files of at most {size} bytes: {differences(whole, found)}")
