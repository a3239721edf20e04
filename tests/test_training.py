"""Training, resuming and validating through the hosts' own commands."""

import json
import os
import shutil
import signal
import subprocess
import time

import pytest
import torch
from hosts import HOSTS, REPOSITORY, command, environment, host_python, logged, losses, refused, run, torchrun, train_command
from tiny import tiny_t5_config, write_manifest

UPDATES = 12


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_manifest(tmp_path_factory.mktemp("training") / "m", n_records=60, labels=True, short_row=7)


@pytest.fixture(scope="module")
def text_encoder(tmp_path_factory):
    from cmelt_plugin.huggingface import import_transformers

    transformers = import_transformers()
    values = json.loads(tiny_t5_config())
    values.pop("model_type")
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("t5")
    transformers.T5EncoderModel(transformers.T5Config(**values)).save_pretrained(folder)
    return folder


def uninterrupted(name, data, text_encoder, folder):
    return run(train_command(name, data, text_encoder, folder / "ck", f"optimization.max_update={UPDATES}"), name, folder)


@pytest.fixture(scope="module", params=HOSTS)
def trained(request, data, text_encoder, tmp_path_factory):
    """Host, folder with its checkpoint, and what the uninterrupted run printed."""
    host_python(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, folder, uninterrupted(request.param, data, text_encoder, folder)


def weights(path):
    from cmelt_plugin.serialization.checkpoint_files import load_state

    return load_state(str(path))["model"]


def test_logs_every_named_value(trained):
    _, _, output = trained
    named = {"loss", "loss_mlm", "loss_mem", "loss_etm", "loss_siglep", "mlm_accuracy", "etm_accuracy", "logit_scale"}
    lines = logged(output, "train_inner")
    assert [int(line["num_updates"]) for line in lines] == list(range(1, UPDATES + 1))
    assert all(named <= set(line) for line in lines)
    recalls = {f"{a}_to_{b}_r{k}" for a, b in (("ecg", "text"), ("text", "ecg")) for k in (1, 5, 10)}
    valid = logged(output, "valid")[-1]
    assert {f"valid_{name}" for name in named | recalls | {"macro_auc", "auc_AFIB", "auc_SR"}} <= set(valid)
    assert float(valid["valid_records"]) == 60


def test_killed_training_resumes_bit_identically(trained, data, text_encoder, tmp_path):
    """SIGKILL in the middle of an epoch; the second run uses a data-loader worker, the first none."""
    name, folder, output = trained
    interrupted = train_command(
        name, data, text_encoder, tmp_path / "ck", "optimization.max_update=12", "checkpoint.save_interval_updates=3",
        "dataset.validate_after_updates=3",
    )  # fmt: skip
    with open(tmp_path / "log", "w+") as log:
        process = subprocess.Popen(interrupted, cwd=tmp_path, env=environment(name), stdout=log, stderr=log)
        deadline = time.monotonic() + 200
        saved = tmp_path / "ck" / "checkpoint_1_3.pt"  # costs less to look for than what is said when it has been copied
        while not saved.exists() or f"{saved.name} (epoch 1 @ 3 updates" not in (tmp_path / "log").read_text():
            assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()[-4000:]
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    resumed = run([*interrupted, "dataset.num_workers=1"], name, tmp_path)
    expected, got = losses(output), losses(resumed)
    first = min(got)
    assert 1 < first <= 12 and sorted(got) == list(range(first, UPDATES + 1))
    assert got == {update: loss for update, loss in expected.items() if update >= first}
    for key, tensor in weights(folder / "ck" / "checkpoint_last.pt").items():
        assert torch.equal(tensor, weights(tmp_path / "ck" / "checkpoint_last.pt")[key]), key


def test_a_damaged_last_checkpoint_is_replaced_and_a_hostile_one_or_other_data_refused(trained, data, text_encoder, tmp_path):
    """The kill of an older version left half a file; then a stranger's file; then the records of other people."""
    name, folder, _ = trained
    (tmp_path / "ck").mkdir()
    shutil.copy(folder / "ck" / "checkpoint_last.pt", tmp_path / "ck" / f"checkpoint_2_{UPDATES}.pt")
    last = tmp_path / "ck" / "checkpoint_last.pt"
    last.write_bytes((folder / "ck" / "checkpoint_last.pt").read_bytes()[:-5000])
    more = f"optimization.max_update={UPDATES + 2}"
    arguments = train_command(name, data, text_encoder, tmp_path / "ck", more, "dataset.disable_validation=true")
    resumed = run(arguments, name, tmp_path)
    assert "checkpoint_last.pt is damaged: the training goes on from" in resumed
    assert f"checkpoint_2_{UPDATES}.pt, the newest whole checkpoint" in resumed
    assert sorted(losses(resumed)) == [UPDATES + 1, UPDATES + 2]
    assert weights(last).keys() == weights(folder / "ck" / "checkpoint_last.pt").keys()

    other = write_manifest(tmp_path / "m", n_records=60, labels=True, short_row=7, n_reports=5)
    turned = train_command(name, other, text_encoder, tmp_path / "ck", more)
    assert "its training had other records or another order (60 records)" in refused(turned, name, tmp_path)

    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "touched"),)

    torch.save({**torch.load(last, weights_only=False), "extra": Payload()}, last)
    assert "holds more than data" in refused(arguments, name, tmp_path)
    assert not (tmp_path / "touched").exists()


def test_validation_of_a_checkpoint_needs_no_text_encoder_folder(trained, data, tmp_path):
    name, folder, output = trained
    overrides = [
        f"task.data={data}",
        "model.text_encoder=nowhere",
        f"common_eval.path={folder / 'ck' / 'checkpoint_last.pt'}",
        "dataset.batch_size=8",
        "dataset.num_workers=0",
    ]
    got = logged(run(command(name, "hydra_validate", overrides), name, tmp_path), "valid")[-1]
    expected = logged(output, "valid")[-1]
    for key in ("valid_loss", "valid_macro_auc", "valid_ecg_to_text_r5", "valid_etm_accuracy"):
        assert float(got[key]) == pytest.approx(float(expected[key]), abs=2e-3), key

    # A manifest with labels and class texts but no reports validates as zero-shot classification alone.
    bare = write_manifest(tmp_path / "bare", n_records=60, labels=True, reports=False, short_row=7)
    overrides[0] = f"task.data={bare}"
    zero_shot = logged(run(command(name, "hydra_validate", overrides), name, tmp_path), "valid")[-1]
    assert float(zero_shot["valid_macro_auc"]) == pytest.approx(float(expected["valid_macro_auc"]), abs=2e-3)
    assert "valid_loss" not in zero_shot and "valid_ecg_to_text_r1" not in zero_shot


@pytest.mark.parametrize("option, rounding", [("bf16", 2.0**-8), ("fp16", 2.0**-11)])
def test_half_precision_of_the_host_trains_as_float32_does(trained, option, rounding, data, text_encoder, tmp_path):
    """Weights in half precision and the optimiser's float32 copy; measured differences were a third of these or less."""
    name, _, output = trained
    if option == "bf16" and name == "fairseq_signals":
        pytest.skip("fairseq-signals has no common.bf16")
    fixed = [f"optimization.max_update={UPDATES}", "dataset.disable_validation=true", f"common.{option}=true"]
    if option == "fp16":
        fixed.append("common.fp16_no_flatten_grads=true")  # the hosts make a flat copy on a GPU alone
    arguments = train_command(name, data, text_encoder, tmp_path / "ck", *fixed)
    got = {line["num_updates"]: line for line in logged(run(arguments, name, tmp_path), "train_inner")}
    expected = {line["num_updates"]: line for line in logged(output, "train_inner")}
    assert list(got) == list(expected)
    for update, line in got.items():
        for part, factor in {"loss_mlm": 0.5, "loss_mem": 0.5, "loss_etm": 0.5, "loss_siglep": 10.0, "loss": 4.0}.items():
            printed = float(expected[update][part])
            assert float(line[part]) == pytest.approx(printed, rel=factor * rounding, abs=1e-4), (update, part)


def test_another_tokenizer_is_refused(trained, data, tmp_path):
    import numpy as np

    from cmelt_plugin.data.text.tokens import TokenTable

    name, folder, _ = trained
    other = write_manifest(tmp_path / "m", n_records=60)
    for path in other.glob("*.tiny.npz"):
        table = TokenTable.load(path)
        TokenTable(np.asarray(table.ids), table.offsets, {**table.info, "fingerprint": "sha256:other"}).save(path)
    overrides = [f"task.data={other}", "model.text_encoder=x", "dataset.batch_size=8", "dataset.num_workers=0"]
    arguments = command(name, "hydra_validate", [*overrides, f"common_eval.path={folder / 'ck' / 'checkpoint_last.pt'}"])
    assert "which is not the one the model was trained with" in refused(arguments, name, tmp_path)


def test_two_processes_train_and_validate_as_one(data, text_encoder, tmp_path):
    """torchrun on two CPU processes: one model, and validation figures that do not depend on the number of ranks."""
    name = "fairseq"
    options = ("optimization.max_update=4", "task.group_by_length=true")
    arguments = torchrun(train_command(name, data, text_encoder, tmp_path / "ck", *options), 2)
    done = subprocess.run(arguments, cwd=tmp_path, env=environment(name), capture_output=True, text=True, timeout=300)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-6000:]
    assert "distributed init (rank 1)" in output
    by_update = {}
    for line in logged(output, "train_inner"):
        by_update.setdefault(line["num_updates"], set()).add(line["loss"])
    assert sorted(map(int, by_update)) == [1, 2, 3, 4]
    assert all(len(values) == 1 for values in by_update.values())  # both ranks log the same, global loss
    overrides = [
        f"task.data={data}",
        "model.text_encoder=nowhere",
        f"common_eval.path={tmp_path / 'ck' / 'checkpoint_last.pt'}",
        "dataset.batch_size=16",  # 4 batches, the last of them shorter
        "dataset.num_workers=0",
    ]
    one = logged(run(command(name, "hydra_validate", overrides), name, tmp_path), "valid")[-1]
    two = logged(run(command(name, "hydra_validate", overrides), name, tmp_path, processes=2), "valid")[-1]
    assert one == two


def test_workers_end_with_their_epoch(data):
    """Every epoch has a new iterator; its worker processes must not stay behind and pile up."""
    import multiprocessing

    from pairs import pretraining_task

    task = pretraining_task(data)
    task.load_dataset("train", combine=True)
    before = len(multiprocessing.active_children())
    for epoch in (1, 2, 3):
        options = {"max_sentences": 30, "num_workers": 1, "epoch": epoch, "data_buffer_size": 10}
        iterator = task.get_batch_iterator(task.dataset("train"), **options)
        assert len(list(iterator.next_epoch_itr())) == 2
        deadline = time.monotonic() + 60  # the worker of the epoch before may be on its way out
        while len(multiprocessing.active_children()) > before + 1 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(multiprocessing.active_children()) <= before + 1


def test_user_dir_registers_the_plugin(data, text_encoder, tmp_path):
    """``common.user_dir`` of fairseq, on top of hydra's own discovery."""
    arguments = train_command("fairseq", data, text_encoder, tmp_path / "ck", "optimization.max_update=4")
    output = run([*arguments, f"common.user_dir={REPOSITORY / 'cmelt_plugin'}"], "fairseq", tmp_path)
    assert "has already been imported" in output
    assert list(losses(output)) == [1, 2, 3, 4]
