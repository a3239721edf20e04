"""Fine-tuning, resuming and validating classifiers through the hosts' own commands."""

import shutil

import pytest
import torch
from finetune_runs import command, save_pretrained, write_labelled
from hosts import HOSTS, host_python, logged, losses, refused, run

from cmelt_plugin.evaluation.classify import main as classify
from cmelt_plugin.evaluation.identify import main as identify
from cmelt_plugin.evaluation.result_files import read_result
from cmelt_plugin.models.files.checkpoint import load_model

EPOCHS = 4
# 48 records in batches of 8: the frozen phase ends in the middle of the second epoch.
SETTINGS = ["dataset.batch_size=8", "optimization.lr=[0.003]", "model.freeze_updates=8", "optimizer.layer_decay=0.75"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_labelled(tmp_path_factory.mktemp("finetuning") / "m", {"train": 48, "valid": 24, "test": 21})


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    return save_pretrained(tmp_path_factory.mktemp("pretrained") / "checkpoint.pt")


def train_command(name, data, pretrained, dest, *overrides, config="tiny"):
    fixed = [f"task.data={data}", f"model.pretrained={pretrained}", f"checkpoint.save_dir={dest}"]
    return command(name, "hydra_train", config, [*fixed, *SETTINGS, *overrides])


def validated(name, data, checkpoint, folder, *overrides, config="tiny", processes=1, subset="test"):
    fixed = [f"task.data={data}", f"common_eval.path={checkpoint}", f"dataset.valid_subset={subset}"]
    arguments = command(name, "hydra_validate", config, [*fixed, "dataset.batch_size=4", *overrides])
    output = run(arguments, name, folder, processes)
    values = {key[len(subset) + 1 :]: value for key, value in logged(output, subset)[-1].items()}
    return values, output


@pytest.fixture(scope="module", params=HOSTS)
def trained(request, data, pretrained, tmp_path_factory):
    """Host, folder with its checkpoints, and what the uninterrupted training printed."""
    name = request.param
    host_python(name)
    folder = tmp_path_factory.mktemp(name)
    arguments = train_command(name, data, pretrained, folder / "ck", f"optimization.max_epoch={EPOCHS}")
    return name, folder, run(arguments, name, folder)


def test_training_learns_and_keeps_the_best_checkpoint(trained):
    name, folder, output = trained
    assert "ECG encoder: 48 weights from" in output
    assert sorted(losses(output)) == list(range(1, 6 * EPOCHS + 1))
    valid = logged(output, "valid")
    assert len(valid) == EPOCHS
    named = {"macro_auc", "macro_auprc", "macro_auc_10", "macro_f1_at_chosen", "auc_LOUD", "auc_SINE", "auc_DRIFT", "records"}
    assert {f"valid_{key}" for key in named} <= set(valid[-1])
    assert max(float(line["valid_auc_SINE"]) for line in valid) > 0.8
    best = max(float(line["valid_macro_auc"]) for line in valid)
    state = torch.load(folder / "ck" / "checkpoint_best.pt", map_location="cpu", weights_only=True)
    assert state["extra_state"]["val_loss"] == pytest.approx(best, abs=1e-3)
    assert len(state["task_state"]["thresholds"]) == 3
    assert state["cfg"]["model"]["class_names"] == ["LOUD", "SINE", "DRIFT"]


def test_the_frozen_phase_is_exact(trained, pretrained, data, tmp_path):
    name, _, _ = trained
    arguments = train_command(name, data, pretrained, tmp_path / "ck", "optimizer.weight_decay=0.1", "optimization.max_epoch=1")
    run(arguments, name, tmp_path)  # 6 updates of the 8
    before = {key: value for key, value in load_model(pretrained).model.state_dict().items() if key.startswith("ecg_encoder.")}
    state = torch.load(tmp_path / "ck" / "checkpoint_last.pt", map_location="cpu", weights_only=True)
    for key, value in before.items():
        assert torch.equal(state["model"][key], value), key
    assert state["model"]["head.weight"].abs().max() > 0
    assert len(state["last_optimizer_state"]["state"]) == 2  # Adam remembers nothing of the encoder


def test_a_resumed_training_ends_with_the_same_weights(trained, data, pretrained, tmp_path):
    """Stopped after the first epoch, within the frozen phase; with layer-wise learning rates."""
    name, folder, output = trained
    first = run(train_command(name, data, pretrained, tmp_path / "ck", "optimization.max_epoch=1"), name, tmp_path)
    second = run(train_command(name, data, pretrained, tmp_path / "ck", f"optimization.max_epoch={EPOCHS}"), name, tmp_path)
    assert {**losses(first), **losses(second)} == losses(output)
    assert min(losses(second)) == 7
    expected, got = (
        torch.load(path / "ck" / "checkpoint_last.pt", map_location="cpu", weights_only=True) for path in (folder, tmp_path)
    )
    for key, value in expected["model"].items():
        assert torch.equal(got["model"][key], value), key


def test_resuming_on_other_columns_is_refused(trained, pretrained, tmp_path):
    """D-E1: the checkpoint's outputs would be trained on foreign classes."""
    name, folder, _ = trained
    turned = write_labelled(tmp_path / "m", {"train": 48, "valid": 24}, classes=["DRIFT", "LOUD", "SINE"])
    shutil.copytree(folder / "ck", tmp_path / "ck")
    arguments = train_command(name, turned, pretrained, tmp_path / "ck", "optimization.max_epoch=9")
    assert "other classes, or on the same ones in another order" in refused(arguments, name, tmp_path)


def test_validation_and_the_command_print_the_same_figures(trained, data, tmp_path, capsys):
    """With the pre-trained checkpoint gone: the classifier's stands alone."""
    name, folder, _ = trained
    checkpoint = folder / "ck" / "checkpoint_best.pt"
    values, output = validated(name, data, checkpoint, tmp_path)
    assert values["records"] == "21"
    arguments = ["--checkpoint", checkpoint, "--manifest", data, "--results", tmp_path / "result", "--batch-size", "5"]
    assert classify([str(argument) for argument in arguments]) == 0
    result = read_result(tmp_path / "result").result
    assert {"macro_auc", "macro_f1", "accuracy", "exact_match"} <= set(result.metrics)
    for key, value in result.metrics.items():
        assert float(values[key]) == pytest.approx(value, abs=2e-4), key
    for key, one in result.per_class.items():
        assert float(values[f"auc_{key}"]) == pytest.approx(one["auc"], abs=2e-4), key
    low, high = result.intervals["macro_auc"]
    assert (float(values["macro_auc_low"]), float(values["macro_auc_high"])) == pytest.approx((low, high), abs=2e-4)
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  LOUD")]
    assert table and table[0] in output
    assert result.kind == "finetune" and result.settings["freeze_updates"] == 8


def test_a_frozen_encoder_on_few_labels_and_three_leads(trained, data, pretrained, tmp_path):
    name, _, _ = trained
    options = ["model.freeze=encoder", "task.leads=[I,II,V2]", "task.fraction=0.5", "task.subset=melp", "model.pool=mean"]
    output = run(
        train_command(name, data, pretrained, tmp_path / "ck", *options, "optimization.max_epoch=1", "optimizer.layer_decay=1"),
        name,
        tmp_path,
    )
    assert "24 of 48 records" in output and "(num. trained: 99)" in output
    loaded = load_model(tmp_path / "ck" / "checkpoint_best.pt")
    before = load_model(pretrained).model.ecg_encoder.state_dict()
    assert all(torch.equal(value, before[key]) for key, value in loaded.model.ecg_encoder.state_dict().items())
    values, _ = validated(name, data, tmp_path / "ck" / "checkpoint_best.pt", tmp_path)
    arguments = ["--checkpoint", tmp_path / "ck" / "checkpoint_best.pt", "--manifest", data, "--results", tmp_path / "r"]
    classify([str(argument) for argument in arguments])
    result = read_result(tmp_path / "r").result
    assert float(values["macro_auc"]) == pytest.approx(result.metrics["macro_auc"], abs=2e-4)
    assert result.kind == "linear_probe" and result.settings["leads"] == ["I", "II", "V2"]
    assert (result.settings["fraction"], result.settings["subset"], result.settings["pool"]) == (0.5, "melp", "mean")


def test_identification(trained, data, pretrained, tmp_path):
    name, _, _ = trained
    options = ["optimization.max_epoch=2", "optimizer.layer_decay=1"]
    output = run(train_command(name, data, pretrained, tmp_path / "ck", *options, config="id_2"), name, tmp_path)
    assert "accuracy" in logged(output, "train_inner")[-1]
    assert float(logged(output, "valid")[-1]["valid_people"]) == 12
    checkpoint = tmp_path / "ck" / "checkpoint_best.pt"
    values, _ = validated(name, data, checkpoint, tmp_path, config="id_2")
    identify([str(a) for a in ("--checkpoint", checkpoint, "--manifest", data, "--results", tmp_path / "r", "--batch-size", 5)])
    result = read_result(tmp_path / "r").result
    assert result.kind == "identification" and result.settings["leads"] == ["I", "II"]
    assert float(values["top1_accuracy"]) == pytest.approx(result.metrics["top1_accuracy"], abs=2e-4)
    assert float(values["mean_rank"]) == pytest.approx(result.metrics["mean_rank"], abs=2e-4)
    assert (result.n_subjects, values["people"], values["records"]) == (10, "10", "21")  # the last person has one record


def test_two_processes_train_and_validate_as_one(data, pretrained, tmp_path):
    """As torchrun starts them on a CPU, through the end of the frozen phase; 21 test records in batches of 4."""
    name = "fairseq"
    host_python(name)
    options = ["optimization.max_update=4", "model.freeze_updates=2"]
    output = run(train_command(name, data, pretrained, tmp_path / "two", *options), name, tmp_path, processes=2)
    by_update = {}
    for line in logged(output, "train_inner"):
        by_update.setdefault(int(line["num_updates"]), set()).add(line["loss"])
    assert sorted(by_update) == [1, 2, 3, 4] and all(len(values) == 1 for values in by_update.values())
    checkpoint = tmp_path / "two" / "checkpoint_last.pt"
    (one, _), (two, printed) = (validated(name, data, checkpoint, tmp_path, processes=n) for n in (1, 2))
    assert one == two and one["records"] == "21"
    assert printed.count("macro AUROC:") == 1  # one rank prints the table
