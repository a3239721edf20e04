"""Training of every system by the hosts' own commands; C-MELT's is in ``tests/test_training.py``, with more to ask."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from hosts import HOSTS, REPOSITORY, host_python, logged, losses, run
from tiny import write_manifest, write_text_encoder

from cmelt_plugin.serialization.checkpoint_files import load_state
from tests.systems.cases import CASES

UPDATES = 6
NAMES = sorted({case.system for case in CASES.values()} - {"cmelt"})


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_manifest(tmp_path_factory.mktemp("data") / "m", n_records=40, labels=True, short_row=7)


@pytest.fixture(scope="module")
def text_encoder(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    return write_text_encoder(tmp_path_factory.mktemp("t5"))


def command(
    host: str, system: str, data: Path, text_encoder: Path, dest: Path, *overrides: str, processes: int = 1
) -> list[str]:
    """``fairseq-hydra-train`` of the system's first case by its tiny configuration, 8 records a batch, every update logged."""
    case = next(case for case in CASES.values() if case.system == system)
    values = {key: value for key, value in case.model.items() if not isinstance(value, bool)}
    settings = [f"model.{key}='{value}'" if isinstance(value, str) else f"model.{key}={value}" for key, value in values.items()]
    fixed = [f"task.data={data}", f"checkpoint.save_dir={dest}", "dataset.batch_size=8", "dataset.num_workers=0"]
    fixed += ["common.log_interval=1", f"optimization.max_update={UPDATES}", *settings]
    fixed += [f"model.text_encoder={text_encoder}"] if case.text_encoder is not None else []
    fixed += ["common.cpu=true"] if host == "fairseq" else []
    python = host_python(host)
    launcher = [python] if processes == 1 else [python, "-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
    place = ["--config-dir", str(REPOSITORY / "examples" / "pretrain"), "--config-name", f"{system}_tiny"]
    return [*launcher, "-m", "fairseq_cli.hydra_train", *place, *fixed, *overrides]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("system", NAMES)
def test_a_resumed_training_is_bit_identical(host: str, system: str, data, text_encoder, tmp_path) -> None:
    """In the middle of an epoch, with its optimiser, schedule and order (D-R4, D-R9: the release steps its schedule twice,
    forgets it when it resumes, and shows records in one order for ever)."""
    options = ["checkpoint.save_interval_updates=3", "dataset.validate_after_updates=3"]
    output = run(command(host, system, data, text_encoder, tmp_path / "ck", *options), host, tmp_path)
    lines = logged(output, "train_inner")
    assert [int(line["num_updates"]) for line in lines] == list(range(1, UPDATES + 1))
    terms = next(case for case in CASES.values() if case.system == system).losses
    assert all({f"loss_{term}" for term in terms} <= set(line) for line in lines)
    valid = logged(output, "valid")[-1]
    assert {"valid_macro_auc", "valid_ecg_to_text_r1", "valid_loss"} <= set(valid) and float(valid["valid_records"]) == 40

    (tmp_path / "again").mkdir()
    shutil.copy(next((tmp_path / "ck").glob("checkpoint_*_3.pt")), tmp_path / "again" / "checkpoint_last.pt")
    resumed = run(command(host, system, data, text_encoder, tmp_path / "again", *options), host, tmp_path)
    expected = losses(output)
    assert losses(resumed) == {update: expected[update] for update in range(4, UPDATES + 1)}
    rates = {line["num_updates"]: line["lr"] for line in lines}
    assert {line["num_updates"]: line["lr"] for line in logged(resumed, "train_inner")}.items() <= rates.items()
    one, other = (load_state(str(tmp_path / name / "checkpoint_last.pt"))["model"] for name in ("ck", "again"))
    assert all(torch.equal(one[key], other[key]) for key in one) and one.keys() == other.keys()


@pytest.mark.parametrize("system", NAMES)
def test_two_processes_train_one_model(system: str, data, text_encoder, tmp_path) -> None:
    arguments = command("fairseq", system, data, text_encoder, tmp_path / "ck", "optimization.max_update=4", processes=2)
    by_update: dict[str, set[str]] = {}
    for line in logged(run(arguments, "fairseq", tmp_path), "train_inner"):
        by_update.setdefault(line["num_updates"], set()).add(line["loss"])
    assert sorted(by_update) == ["1", "2", "3", "4"] and all(len(values) == 1 for values in by_update.values())


@pytest.mark.parametrize("option", ["bf16", "fp16"])
@pytest.mark.parametrize("system", NAMES)
def test_half_precision_of_the_host_trains_as_float32_does(system: str, option: str, data, text_encoder, tmp_path) -> None:
    fixed = ["optimization.max_update=4", "dataset.disable_validation=true"]
    half = [*fixed, f"common.{option}=true", "common.fp16_no_flatten_grads=true"]
    found, expected = (
        losses(run(command("fairseq", system, data, text_encoder, tmp_path / name, *options), "fairseq", tmp_path))
        for name, options in (("half", half), ("whole", fixed))
    )
    assert found.keys() == expected.keys()
    for update, loss in expected.items():
        assert float(found[update]) == pytest.approx(float(loss), rel=0.05), update
