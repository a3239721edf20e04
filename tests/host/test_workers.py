"""What users see of errors under the hosts' own commands: one line and exit code 1, in every process."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hosts import HOSTS, environment, host_python, run, train_command
from tiny import write_manifest, write_text_encoder

from tests.host.ranks import fail_with_a_data_error

# One process runs the commands one after the other: starting a host takes seconds.
COMMANDS = """
import logging, os, shlex, sys, warnings
os.dup2(os.open("errors", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
warnings.simplefilter("ignore")
os.environ["PYTHONWARNINGS"] = "ignore"
from {host}.dataclass import initialize
import fairseq_cli.hydra_train, fairseq_cli.hydra_validate
from cmelt_plugin.data.batches.ecg import ECGDataset
from cmelt_plugin.errors import DataError

def run(name, module, *more, full_error="0"):
    os.environ["HYDRA_FULL_ERROR"] = full_error
    sys.argv = ["x", *shlex.split({arguments!r}), *more]
    sys.stderr.write(f"BEGIN {{name}}\\n")
    sys.stderr.flush()
    try:
        module.cli_main()
        code = 0
    except SystemExit as left:
        code = left.code
    except BaseException as error:
        code = type(error).__name__
    sys.stderr.flush()
    sys.stderr.write(f"END {{code}}\\n")
    sys.stderr.flush()

train, validate = fairseq_cli.hydra_train, fairseq_cli.hydra_validate
run("missing", train, "task.data=nowhere")
run("full", train, "task.data=nowhere", full_error="1")
run("validate", validate, "common_eval.path=nowhere.pt")

def refuse(self, indices):
    raise DataError("records-00000.npy: row 3: damaged")
def fault(self, indices):
    raise RuntimeError("a fault of the program")
ECGDataset.__getitems__ = refuse
run("dataloader", train, "dataset.num_workers=1")
ECGDataset.__getitems__ = fault
run("fault", train, full_error="1")  # hydra's own account of it takes seconds
"""


@pytest.mark.parametrize("name", HOSTS)
def test_errors_are_one_line(name: str, tmp_path: Path) -> None:
    """Missing data, with and without hydra's full errors; validation; a DataLoader's worker. Faults keep their traceback."""
    python = host_python(name)
    data, encoder = write_manifest(tmp_path / "m", n_records=24), write_text_encoder(tmp_path / "t5")
    arguments = train_command(name, data, encoder, tmp_path / "ck", "optimization.max_update=12")
    script = COMMANDS.format(host=name, arguments=shlex.join(arguments[arguments.index("--config-dir") :]))
    run([python, "-c", script], name, tmp_path)
    said = {}  # command → exit code, lines that begin with "error: ", whether there was more
    for part in (tmp_path / "errors").read_text().split("BEGIN ")[1:]:
        title, text = part.split("\n", 1)
        text, code = text.split("END ")
        lines = text.splitlines()
        errors = [line for line in lines if line.startswith("error: ")]
        said[title] = (code.strip(), errors, "Traceback" in text or "HYDRA_FULL_ERROR" in text)
    for title, beginning in (("missing", "error: nowhere: "), ("full", "error: nowhere: "), ("validate", "error: ")):
        code, errors, traceback = said[title]
        assert code == "1" and not traceback
        assert len(errors) == 1 and errors[0].startswith(beginning)
    assert said["dataloader"] == ("1", ["error: records-00000.npy: row 3: damaged"], False)
    assert said["fault"][:2] == ("RuntimeError", [])
    assert not list(tmp_path.glob("*.log")) and not list(tmp_path.glob("outputs")) and not list(tmp_path.glob(".hydra"))


def test_a_spawned_worker_says_it_once(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> None:
    """Machines with several GPUs: the host spawns a process for each. The command ends as its worker did."""
    pytest.importorskip("fairseq", reason="fairseq is not installed; run 'make install'")
    from cmelt_plugin import host

    utils = host.host_module("distributed.utils")
    monkeypatch.setattr(utils, "distributed_main", fail_with_a_data_error)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    distributed = SimpleNamespace(
        distributed_init_method="tcp://localhost:1", distributed_no_spawn=False, distributed_rank=0, distributed_world_size=2
    )
    cfg: Any = SimpleNamespace(distributed_training=distributed, common=SimpleNamespace(tpu=False))
    with pytest.raises(SystemExit) as left:
        utils.call_main(cfg, None)
    assert left.value.code == 1
    said = capfd.readouterr().err
    assert said.count("error: train.tsv: row 3: damaged\n") == 1 and "Traceback" not in said


@pytest.mark.parametrize("name", HOSTS)
def test_ctrl_c_ends_a_training_in_one_line(name: str, tmp_path: Path) -> None:
    data, encoder = write_manifest(tmp_path / "m", n_records=24), write_text_encoder(tmp_path / "t5")
    arguments = train_command(name, data, encoder, tmp_path / "ck", "optimization.max_update=100000", "dataset.num_workers=1")
    with open(tmp_path / "out", "w") as out, open(tmp_path / "err", "w") as err:
        process = subprocess.Popen(
            arguments, cwd=tmp_path, env=environment(name), stdout=out, stderr=err, start_new_session=True
        )
        try:
            end = time.monotonic() + 150
            while process.poll() is None and "train_inner" not in (tmp_path / "out").read_text() and time.monotonic() < end:
                time.sleep(0.1)
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the command and its DataLoader workers
            assert process.wait(60) == 130
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    said = (tmp_path / "err").read_text()
    assert said.endswith("\ninterrupted\n") and "Traceback" not in said
