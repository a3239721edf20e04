"""Both hosts write and copy checkpoints whole, find the newest whole one again, and run nothing of what they read."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hosts import HOSTS
from hosts import facts as host_facts

from cmelt_plugin.errors import DataError
from cmelt_plugin.host import checkpoints, saving
from cmelt_plugin.host.checkpoints import choose_checkpoint
from cmelt_plugin.host.saving import copy_whole, save_whole
from cmelt_plugin.serialization.checkpoint_files import load_checkpoint

# One process for each host, since importing it takes seconds. Children die by their own hand after a number of bytes of a
# copy or save, from none to all of them; others are killed at random moments.
SCRIPT = """
import json, os, random, shutil, signal, time
import torch
from cmelt_plugin import host
from cmelt_plugin.serialization.checkpoint_files import CheckpointFile, load_state
from cmelt_plugin.errors import DataError

os.chdir("FOLDER")
checkpoints = host.host_module("utils.checkpoint_utils" if host.IS_SIGNALS else "checkpoint_utils")
manager = checkpoints.PathManager
states = [{"model": {"w": torch.full((100_000,), float(n))}, "number": n} for n in (1, 2)]
for state in states:
    checkpoints.torch_persistent_save(state, f"checkpoint_1_{state['number']}.pt")
manager.copy("checkpoint_1_1.pt", "checkpoint_last.pt", overwrite=True)
size = os.path.getsize("checkpoint_1_2.pt")

def dying(n):  # a disk, and a process that does not live to its end
    def write(source, target, *arguments, **options):
        data = open(source, "rb").read() if isinstance(source, str) else b"x" * size
        with (open(target, "wb") if isinstance(target, str) else target) as file:
            file.write(data[:n])
        os.kill(os.getpid(), signal.SIGKILL)
    return write

def check(kind):
    file = CheckpointFile("checkpoint_last.pt")
    state = file.load(file.tree)
    facts[kind].append(bool((state["model"]["w"] == state["number"]).all()))

def in_a_child(work, seconds=None):
    child = os.fork()
    if not child:
        work()
        os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    facts["killed"] += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL

def copy_and_die(n):
    shutil.copyfile = dying(n)
    manager.copy("checkpoint_1_2.pt", "checkpoint_last.pt", overwrite=True)

def save_and_die(n):
    torch.save = dying(n)
    checkpoints.torch_persistent_save(states[1], "checkpoint_last.pt")

def copy_on_and_on():
    for n in range(10**9):
        manager.copy(f"checkpoint_1_{n % 2 + 1}.pt", "checkpoint_last.pt", overwrite=True)

facts = {"copy": [], "save": [], "random": [], "killed": 0}
for step in range(40):
    in_a_child(lambda: copy_and_die(size * step // 39))
    check("copy")
for step in range(10):
    in_a_child(lambda: save_and_die(size * step // 9))
    check("save")
rng = random.Random(0)
for _ in range(10):
    in_a_child(copy_on_and_on, rng.uniform(0, 0.02))
    check("random")
facts["files"] = sorted(os.listdir("."))

# Files that would run code where the host reads them with torch.load.
class Payload:
    def __reduce__(self):
        return os.system, ("touch touched",)

torch.save({"model": {"w": torch.zeros(1)}, "args": None, "cfg": None, "extra": Payload()}, "new.pt")
torch.save({"model": {"w": torch.zeros(1)}, "extra": Payload()}, "old.pt", _use_new_zipfile_serialization=False)
facts["messages"] = []
for name in ("new.pt", "old.pt"):
    for load in (checkpoints.load_checkpoint_to_cpu, load_state):
        try:
            load(name)
        except DataError as error:
            facts["messages"].append(str(error))
facts["touched"] = os.path.exists("touched")
history = [{"num_updates": 3, "optimizer_name": "x", "lr_scheduler_state": {"best": None}}]
extra = {"train_iterator": {"epoch": 2}}
good = {"args": None, "cfg": {"model": {"dim": 3}}, "optimizer_history": history, "extra_state": extra}
torch.save({"model": {"w": torch.ones(3)}, **good}, "good.pt")
state = checkpoints.load_checkpoint_to_cpu("good.pt")
facts["good"] = [state["cfg"].model.dim, *state["model"]["w"].tolist()]
print("FACTS" + json.dumps(facts))
"""


@pytest.mark.parametrize("name", HOSTS)
def test_kills_leave_whole_files_and_nothing_of_a_checkpoint_is_run(name, tmp_path) -> None:
    facts = host_facts(name, SCRIPT.replace("FOLDER", str(tmp_path)))
    assert facts["copy"] == [True] * 40 and facts["save"] == [True] * 10 and facts["random"] == [True] * 10
    assert facts["killed"] == 60
    names = ["checkpoint_1_1.pt", "checkpoint_1_2.pt", "checkpoint_last.pt", "checkpoint_last.pt.tmp"]
    assert facts["files"] in (names, names[:3])
    assert not facts["touched"]
    assert len(facts["messages"]) == 4 and all("holds more than data" in message for message in facts["messages"])
    assert facts["good"] == [3, 1.0, 1.0, 1.0]


# -- Which file is resumed from ------------------------------------------------------------------------------------------


def write(path: Path, updates: int) -> None:
    torch.save({"model": {"w": torch.full((100,), float(updates))}, "optimizer_history": [{"num_updates": updates}]}, path)


@pytest.fixture
def folder(tmp_path):
    for name, updates in (("checkpoint_1_3.pt", 3), ("checkpoint_2_12.pt", 12), ("checkpoint_best.pt", 7)):
        write(tmp_path / name, updates)
    write(tmp_path / "checkpoint_last.pt", 12)
    os.utime(tmp_path / "checkpoint_1_3.pt")  # the youngest file is not the newest training
    return tmp_path


def choose(folder: Path, **changes):
    settings = {"save_dir": str(folder), "restore_file": "checkpoint_last.pt", "reset_dataloader": False, **changes}
    seen = []
    task = SimpleNamespace(check_resumption=lambda state, path, split: seen.append((Path(path).name, split)))
    trainer = SimpleNamespace(
        checkpoint_suffix="", task=task, cfg=SimpleNamespace(dataset=SimpleNamespace(train_subset="train"))
    )
    checkpoints._read_ahead.clear()
    chosen = choose_checkpoint(SimpleNamespace(**settings), trainer)
    return None if chosen is None else Path(chosen).name, seen


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(b"\x00\x00\x40\x41")] ^= 1  # a weight, 12.0
    path.write_bytes(data)


def test_a_whole_last_checkpoint_is_the_hosts_own_choice_and_is_read_once(folder) -> None:
    assert choose(folder) == (None, [("checkpoint_last.pt", "train")])
    assert list(checkpoints._read_ahead) == [os.path.realpath(folder / "checkpoint_last.pt")]


@pytest.mark.parametrize(
    "damage", [cut, flip, Path.unlink, lambda path: path.write_bytes(b""), lambda path: path.write_bytes(b"P")]
)
def test_the_newest_whole_checkpoint_takes_the_place_of_a_last_one_that_is_not(damage, folder, caplog) -> None:
    damage(folder / "checkpoint_last.pt")
    with caplog.at_level("WARNING"):
        assert choose(folder)[0] == "checkpoint_2_12.pt"
    (record,) = caplog.records
    state = "damaged" if (folder / "checkpoint_last.pt").exists() else "missing"
    assert f"checkpoint_last.pt is {state}" in record.getMessage() and "checkpoint_2_12.pt" in record.getMessage()
    flip(folder / "checkpoint_2_12.pt")
    assert choose(folder)[0] == "checkpoint_best.pt"  # 7 updates; checkpoint_1_3.pt is the younger file


def test_weights_alone_are_not_resumed_from(folder) -> None:
    torch.save({"model": {"w": torch.zeros(1)}}, folder / "checkpoint_9_99.pt")
    cut(folder / "checkpoint_last.pt")
    assert choose(folder)[0] == "checkpoint_2_12.pt"


def test_where_none_is_whole_all_are_named(folder) -> None:
    for path in folder.glob("*.pt"):
        cut(path)
    with pytest.raises(DataError, match="none of its checkpoints is whole") as caught:
        choose(folder)
    assert all(path.name in str(caught.value) for path in folder.glob("*.pt")) and "\n" not in str(caught.value)


def test_a_first_start_and_leftovers_of_a_kill(tmp_path) -> None:
    assert choose(tmp_path / "new") == (None, [])
    (tmp_path / "checkpoint_last.pt.tmp").write_bytes(b"half")
    (tmp_path / "mine.tmp").write_bytes(b"mine")
    assert choose(tmp_path) == (None, [])
    assert [path.name for path in tmp_path.iterdir()] == ["mine.tmp"]


def test_a_named_file_is_taken_or_refused_and_never_replaced(folder) -> None:
    assert choose(folder, restore_file=str(folder / "checkpoint_1_3.pt")) == (None, [("checkpoint_1_3.pt", "train")])
    with pytest.raises(DataError, match="checkpoint.restore_file=.*none.pt: no such file"):
        choose(folder, restore_file=str(folder / "none.pt"))
    cut(folder / "checkpoint_1_3.pt")
    with pytest.raises(DataError, match="checkpoint_1_3.pt: not a readable checkpoint"):
        choose(folder, restore_file=str(folder / "checkpoint_1_3.pt"))


def test_other_records_are_no_matter_where_the_epoch_begins_anew(folder) -> None:
    assert choose(folder, reset_dataloader=True) == (None, [])


def test_code_and_diverged_weights_are_refused_and_not_passed_over(folder) -> None:
    class Payload:
        def __reduce__(self):
            return print, ("code",)

    torch.save({"model": {"w": torch.zeros(1)}, "extra": Payload()}, folder / "checkpoint_last.pt")
    with pytest.raises(DataError, match=r"checkpoint_last.pt: .*more than data \(.*print\)"):
        choose(folder)
    torch.save({"model": {"w": torch.tensor([float("nan")])}}, folder / "checkpoint_last.pt")
    with pytest.raises(DataError, match="checkpoint_last.pt: the weight w is not finite"):
        choose(folder)


# -- Writing ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), RuntimeError("PytorchStreamWriter failed writing file")]
)
def test_a_full_disk_leaves_the_old_checkpoint_and_one_line(error, folder, monkeypatch) -> None:
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(saving, "PAUSE", 0.0)
    monkeypatch.setattr(torch, "save", fail)
    monkeypatch.setattr("shutil.copyfile", fail)
    before = (folder / "checkpoint_last.pt").read_bytes()
    for attempt in (
        lambda: save_whole({}, str(folder / "checkpoint_last.pt")),
        lambda: copy_whole(str(folder / "checkpoint_1_3.pt"), str(folder / "checkpoint_last.pt")),
    ):
        with pytest.raises(DataError, match="checkpoint_last.pt: the checkpoint cannot be written"):
            attempt()
    assert (folder / "checkpoint_last.pt").read_bytes() == before and not list(folder.glob("*.tmp"))


def test_a_disk_that_fails_once_is_tried_again(folder, monkeypatch) -> None:
    save, failures = torch.save, [OSError("once")]
    monkeypatch.setattr(saving, "PAUSE", 0.0)
    monkeypatch.setattr(
        torch, "save", lambda *arguments: (_ for _ in ()).throw(failures.pop()) if failures else save(*arguments)
    )
    save_whole({"model": {"w": torch.ones(2)}}, str(folder / "checkpoint_last.pt"))
    assert load_checkpoint(folder / "checkpoint_last.pt")["model"]["w"].tolist() == [1, 1]


def test_old_files_of_a_pickle_alone_are_no_checkpoints(tmp_path) -> None:
    with open(tmp_path / "checkpoint_last.pt", "wb") as file:
        pickle.dump({"model": {}}, file)
    with pytest.raises(DataError, match="none of its checkpoints is whole"):
        choose(tmp_path)
