"""A Dask scheduler or worker that is killed in the middle of a packing: one line, and the same command goes on."""

from __future__ import annotations

from cmelt_plugin.cli import run

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hosts import environment

from preprocess import mimic_iv_ecg
from preprocess.packing import dask_cluster, engines
from tests.preprocess.mimic_layout import write_mimic_layout
from tests.reliability.killing import contents, differences


class Cluster:
    """A scheduler and one worker, processes of their own without a nanny that would start them again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: dict[str, subprocess.Popen] = {}
        self._start("scheduler", "--port", "0", "--dashboard-address", ":0", "--host", "127.0.0.1")
        self.address = self._logged("scheduler", r"Scheduler at:\s+(tcp://\S+)")
        self._start("worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard")
        self._logged("worker", r"Registered to:\s+(tcp://\S+)")

    def _start(self, kind: str, *options: str) -> None:
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *options]
        with open(self.folder / kind, "w") as log:
            self.processes[kind] = subprocess.Popen(
                command, cwd=self.folder, env=environment("fairseq"), stdout=log, stderr=subprocess.STDOUT
            )

    def _logged(self, kind: str, pattern: str) -> str:
        end = time.monotonic() + 120
        while time.monotonic() < end and self.processes[kind].poll() is None:
            found = re.search(pattern, (self.folder / kind).read_text())
            if found:
                return found[1]
            time.sleep(0.05)
        raise RuntimeError((self.folder / kind).read_text())

    def kill(self, kind: str) -> None:
        self.processes[kind].kill()
        self.processes[kind].wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    pytest.importorskip("distributed", reason="needs Dask: pip install 'dask[distributed]'")
    folder = tmp_path / "cluster"
    folder.mkdir()
    cluster = Cluster(folder)
    yield cluster
    for kind in cluster.processes:
        cluster.kill(kind)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("scheduler", "error: the connection to the Dask scheduler was lost; run the same command again to go on"),
        ("worker", "error: the Dask cluster lost its last worker; start workers and run the same command again to go on"),
    ],
)
def test_one_line_and_the_packing_goes_on(kind: str, said: str, cluster: Cluster, tmp_path: Path, capfd, monkeypatch) -> None:
    write_mimic_layout(tmp_path / "source", [{"seconds": 6.0} for _ in range(20)])

    def pack(dest: str, *options: str) -> int:
        arguments = ["--root", tmp_path / "source", "--dest", tmp_path / dest, "--jobs", "1", "--rows-per-shard", "2", *options]
        return run(lambda: mimic_iv_ecg.main([str(argument) for argument in arguments]))

    assert pack("whole") == 0
    loop = engines.run_all

    def killing_loop(executor: Any, function: Any, items: Any, done: Callable, *rest: Any) -> None:
        results = []

        def done_and_kill(result: Any) -> None:
            done(result)
            results.append(result)
            if len(results) == 3:
                cluster.kill(kind)

        loop(executor, function, items, done_and_kill, *rest)

    monkeypatch.setattr(engines, "run_all", killing_loop)
    monkeypatch.setattr(dask_cluster, "CONNECT_SECONDS", 8)  # after which the client gives up
    monkeypatch.setattr(engines, "LOOK_SECONDS", 1)
    capfd.readouterr()
    assert pack("m", "--backend", "dask", "--scheduler", cluster.address) == 1
    lines = capfd.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == [said]
    assert not any("Traceback" in line for line in lines)
    assert not (tmp_path / "m" / "manifest.json").exists()
    assert pack("m", "--backend", "processes") == 0
    assert not differences(contents(tmp_path / "whole"), contents(tmp_path / "m"))
