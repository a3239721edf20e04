"""SIGKILL at random moments of a whole preparation: the same commands again leave byte for byte what one run leaves."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from tests.reliability.killing import contents, differences, forked, kill_until_done, wait
from tests.reliability.preparation import commands, warm_up, write_source

KILLS = 8  # per preparation


@pytest.mark.parametrize("layout", ["mimic", "table"])
def test_a_killed_preparation_ends_as_if_it_had_not_been(layout: str, battery, tmp_path: Path, monkeypatch) -> None:
    source, log, dest = write_source(tmp_path / "source"), tmp_path / "log", tmp_path / "m"
    warm_up(source, tmp_path / "warm", layout, monkeypatch)
    work = commands(source, dest, layout)
    start = time.monotonic()
    assert wait(forked(work, log)) == 0, log.read_text()
    seconds = time.monotonic() - start
    whole = contents(dest)
    assert {"manifest.json", "train.tsv", "train.labels.npy", "train.n3s.npy", "reports.tokenizer.npz"} <= set(whole)
    assert wait(forked(work, log)) == 0 and contents(dest) == whole  # again, when there is nothing left to do
    for attack in battery(f"kills of a preparation ({layout})", inputs=2, long=64):
        with attack:
            shutil.rmtree(dest)
            kills, code, said = kill_until_done(work, log, attack.random, seconds, KILLS)
            attack.weight = max(kills, 1)
            assert code == 0, f"exit code {code} after {kills} kills: {said[-2000:]}"
            found = contents(dest)
            attack.expect(found == whole, f"after {kills} kills other bytes: {differences(whole, found)}")
