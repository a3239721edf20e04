"""From real PTB-XL recordings to a validated checkpoint, by the commands of the README."""

import subprocess
import sys

import numpy as np
from hosts import REPOSITORY, command, environment, logged, run

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.store.record_store import RecordStore


def preprocess(name, *arguments):
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "preprocess" / f"{name}.py"), *map(str, arguments)],
        env=environment("fairseq"), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def test_ptb_xl_from_recordings_to_checkpoint(real_data, tmp_path):
    data = tmp_path / "ptb-xl"
    printed = preprocess("ptb_xl", "--root", real_data / "ptb-xl", "--dest", data, "--pretrain")
    assert "500 records in = 499 out + 1 rejected" in printed
    preprocess("tokenizer", "--manifest", data, "--train-vocab", 400, "--encoder", "tiny")
    assert "text by the text alone" in preprocess(
        "n3s", "--manifest", data, "--embedder", "tfidf", "--strategy", "balanced", "--k", 16
    ).replace("true reports by the text alone", "text by the text alone")

    manifest = Manifest.open(data, "train")
    ecg = RecordStore(manifest.store_root).read(manifest.shard, manifest.row)
    np.testing.assert_allclose(ecg[:, 2], ecg[:, 1] - ecg[:, 0], atol=0.02)  # III = II − I, in mV

    overrides = [f"task.data={data}", f"model.text_encoder={data / 'tokenizer'}", "dataset.batch_size=16"]
    training = ["optimization.max_update=20", "common.log_interval=1", f"checkpoint.save_dir={tmp_path / 'ck'}"]
    output = run(command("fairseq", "hydra_train", [*overrides, *training]), "fairseq", tmp_path)
    values = [float(line["loss_mlm"]) for line in logged(output, "train_inner")]
    assert len(values) == 20 and np.mean(values[-5:]) < np.mean(values[:5])
    validation = ["dataset.valid_subset=test", f"common_eval.path={tmp_path / 'ck' / 'checkpoint_last.pt'}"]
    output = run(command("fairseq", "hydra_validate", [*overrides, *validation]), "fairseq", tmp_path)
    assert float(logged(output, "test")[-1]["test_records"]) == len(Manifest.open(data, "test")) == 66
