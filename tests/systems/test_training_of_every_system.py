"""Training and fine-tuning of every system by the hosts' own commands.

What ``tests/test_training.py`` asks of C-MELT with more beside it is asked here of the others alone.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from finetune_runs import command as finetune_command
from hosts import HOSTS, REPOSITORY, host_python, logged, losses, run
from tiny import write_manifest, write_text_encoder
from tiny_echo import write_echo_manifest

from cmelt_plugin.evaluation import classify
from cmelt_plugin.evaluation.result_files import read_result
from cmelt_plugin.models.files.checkpoint import load_model
from cmelt_plugin.serialization.checkpoint_files import load_state
from tests.systems.cases import CASES, Case

UPDATES = 6
SYSTEMS = sorted({case.system for case in CASES.values()})
NAMES = [system for system in SYSTEMS if system != "cmelt"]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """``m``, records with reports, and ``echo``, of which two thirds have echocardiograms."""
    folder = tmp_path_factory.mktemp("data")
    for name, write in (("m", write_manifest), ("echo", write_echo_manifest)):
        write(folder / name, 40, splits=("train", "valid", "test"), labels=True, short_row=7)
    return folder


@pytest.fixture(scope="module")
def text_encoder(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    return write_text_encoder(tmp_path_factory.mktemp("t5"))


def case_of(system: str) -> Case:
    """The first case of a system."""
    return next(case for case in CASES.values() if case.system == system)


def data_of(system: str, data: Path) -> Path:
    """The manifest directory it is trained on."""
    return data / ("echo" if case_of(system).with_echo else "m")


def updates_of(system: str) -> int:
    """20, or as many as have about 20 batches of records with reports where others have echocardiograms."""
    return 60 if case_of(system).with_echo else 20


def command(host: str, system: str, data: Path, text_encoder: Path, dest: Path, *overrides: str) -> list[str]:
    """``fairseq-hydra-train`` of the system's first case by its tiny configuration, 8 records a batch, every update logged."""
    case = case_of(system)
    values = {key: value for key, value in case.model.items() if not isinstance(value, bool)}
    settings = [f"model.{key}='{value}'" if isinstance(value, str) else f"model.{key}={value}" for key, value in values.items()]
    folder = data_of(system, data)
    fixed = [f"task.data={folder}", f"checkpoint.save_dir={dest}", "dataset.batch_size=8", "dataset.num_workers=0"]
    fixed += ["common.log_interval=1", f"optimization.max_update={UPDATES}", *settings]
    fixed += [f"model.text_encoder={text_encoder}"] if case.text_encoder is not None else []
    fixed += [f"task.teacher={folder / 'teacher'}"] if case.with_echo else []
    fixed += ["common.cpu=true"] if host == "fairseq" else []
    place = ["--config-dir", str(REPOSITORY / "examples" / "pretrain"), "--config-name", case.configuration or f"{system}_tiny"]
    return [host_python(host), "-m", "fairseq_cli.hydra_train", *place, *fixed, *overrides]


@pytest.fixture(scope="module", params=[(host, system) for system in SYSTEMS for host in HOSTS], ids="-".join)
def trained(request, data, text_encoder, tmp_path_factory) -> tuple[str, str, Path, str]:
    """Host, system, checkpoint of a training at a high learning rate, and what it printed."""
    host, system = request.param
    folder = tmp_path_factory.mktemp(system)
    options = [f"optimization.max_update={updates_of(system)}", "optimization.lr=[0.005]", "dataset.disable_validation=true"]
    printed = run(command(host, system, data, text_encoder, folder / "ck", *options), host, folder)
    return host, system, folder / "ck" / "checkpoint_last.pt", printed


def test_losses_fall(trained) -> None:
    """The whole in any case, and no term at another's cost; noise matches no report, so that not every term can fall."""
    _, system, _, printed = trained
    lines = logged(printed, "train_inner")
    assert [int(line["num_updates"]) for line in lines] == list(range(1, updates_of(system) + 1))
    for name, limit in {"loss": 0.85, **{f"loss_{term}": 1.05 for term in case_of(system).losses}}.items():
        values = [float(line[name]) for line in lines if line.get(name) is not None]  # a batch may not have every term
        assert len(values) > 5 and sum(values[-5:]) < limit * sum(values[:5]), (name, values)


def test_a_classifier_is_fine_tuned_from_its_checkpoint(trained, data, tmp_path) -> None:
    """A few updates, all weights; the classifier's checkpoint then stands alone."""
    host, system, pretrained, _ = trained
    data = data_of(system, data)
    options = [f"task.data={data}", f"model.pretrained={pretrained}", f"checkpoint.save_dir={tmp_path / 'ck'}"]
    options += ["dataset.batch_size=8", "optimization.max_update=6", "task.bootstrap=0"]
    output = run(finetune_command(host, "hydra_train", "tiny", options), host, tmp_path)
    assert f"weights from {pretrained}" in output and sorted(losses(output)) == list(range(1, 7))
    valid = logged(output, "valid")[-1]
    checkpoint = str(tmp_path / "ck" / "checkpoint_last.pt")
    arguments = ["--checkpoint", checkpoint, "--manifest", str(data), "--batch-size", "16", "--bootstrap", "0"]
    assert classify.main([*arguments, "--results", str(tmp_path / "result")]) == 0
    result = read_result(tmp_path / "result").result
    assert (result.kind, result.n_records) == ("finetune", 40)
    assert result.metrics["macro_auc"] == pytest.approx(float(valid["valid_macro_auc"]), abs=2e-4)  # of the same ECGs
    before, after = (load_model(path).model for path in (pretrained, checkpoint))
    before, after = (model.encoder_weights(model.state_dict()) for model in (before, after))
    assert before.keys() == after.keys() and not all(torch.equal(after[key], before[key]) for key in before)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("system", NAMES)
def test_a_resumed_training_is_bit_identical(host: str, system: str, data, text_encoder, tmp_path) -> None:
    """In the middle of an epoch, with its optimiser, schedule and order (D-R4, D-R9: the release steps its schedule twice,
    forgets it when it resumes, and shows records in one order for ever)."""
    options = ["checkpoint.save_interval_updates=3", "dataset.validate_after_updates=3"]
    options += ["task.lead_sets=random limb:0.5 any"] if "lead_mask_probability" in case_of(system).inputs else []
    output = run(command(host, system, data, text_encoder, tmp_path / "ck", *options), host, tmp_path)
    lines = logged(output, "train_inner")
    assert [int(line["num_updates"]) for line in lines] == list(range(1, UPDATES + 1))
    every = set.union if case_of(system).with_echo else set.intersection  # a batch is of one source
    assert {f"loss_{term}" for term in case_of(system).losses} <= every(*map(set, lines))
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
    arguments = command("fairseq", system, data, text_encoder, tmp_path / "ck", "optimization.max_update=4")
    by_update: dict[str, set[str]] = {}
    for line in logged(run(arguments, "fairseq", tmp_path, processes=2), "train_inner"):
        by_update.setdefault(line["num_updates"], set()).add(line["loss"])
    assert sorted(by_update) == ["1", "2", "3", "4"] and all(len(values) == 1 for values in by_update.values())


@pytest.mark.parametrize("system", NAMES)
def test_half_precision_of_the_host_trains_as_float32_does(system: str, data, text_encoder, tmp_path) -> None:
    fixed = ["optimization.max_update=4", "dataset.disable_validation=true"]

    def trained(name: str, *options: str) -> dict[int, float]:
        arguments = command("fairseq", system, data, text_encoder, tmp_path / name, *fixed, *options)
        return {update: float(loss) for update, loss in losses(run(arguments, "fairseq", tmp_path)).items()}

    expected = trained("float32")
    assert list(expected) == [1, 2, 3, 4]
    for option in ("bf16", "fp16"):
        found = trained(option, f"common.{option}=true", "common.fp16_no_flatten_grads=true")
        assert found == pytest.approx(expected, rel=0.05), option
