"""The language stage through the hosts' own commands: training, validation, resuming."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from corpora import write_bert, write_corpus
from hosts import HOSTS, REPOSITORY, host_python, logged, losses, run

from cmelt_plugin.serialization.checkpoint_files import load_state

UPDATES = 8


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """``bert`` and ``corpus``."""
    root = tmp_path_factory.mktemp("language")
    write_corpus(root / "corpus", write_bert(root / "bert"))
    return root


def train(host: str, place: Path, dest: Path, *overrides: str) -> str:
    """Batches of 2 sequences, two batches an update; what was printed."""
    config = ["--config-dir", str(REPOSITORY / "examples" / "language"), "--config-name", "heart_lm_tiny"]
    fixed = {
        "task.data": place / "corpus",
        "model.text_encoder": place / "bert",
        "checkpoint.save_dir": dest / "ck",
        "checkpoint.save_interval_updates": 3,
        "dataset.validate_after_updates": 3,
        "dataset.batch_size": 2,
        "optimization.update_freq": "[2]",
        "optimization.max_update": UPDATES,
        "common.log_interval": 1,
        "task.max_text_tokens": 48,
    }
    settings = [f"{name}={value}" for name, value in fixed.items()] + (["common.cpu=true"] if host == "fairseq" else [])
    return run([host_python(host), "-m", "fairseq_cli.hydra_train", *config, *settings, *overrides], host, dest)


@pytest.fixture(scope="module", params=HOSTS)
def trained(request, place: Path, tmp_path_factory) -> tuple[str, Path, str]:
    """Host, folder with its checkpoints, and what the run printed."""
    host_python(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, folder, train(request.param, place, folder)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_state(str(path))["model"]


def test_perplexity_and_accuracy_are_logged_in_training_and_validation(trained) -> None:
    _, folder, output = trained
    lines = logged(output, "train_inner")
    assert [int(line["num_updates"]) for line in lines] == list(range(1, UPDATES + 1))
    valid = logged(output, "valid")
    for line, prefix in [(line, "") for line in lines] + [(line, "valid_") for line in valid]:
        loss, perplexity = float(line[f"{prefix}loss"]), float(line[f"{prefix}perplexity"])
        assert perplexity == pytest.approx(torch.tensor(loss).exp().item(), rel=1e-3)
        assert 0 <= float(line[f"{prefix}accuracy"]) <= 1
    assert float(valid[-1]["valid_loss"]) < float(valid[0]["valid_loss"])
    state = load_state(str(folder / "ck" / "checkpoint_last.pt"))
    assert state["cfg"]["model"]["text_encoder_config"] and state["task_state"]["training_data"]["records"] == 52


def test_a_training_resumes_in_the_middle_of_an_epoch_bit_identically(trained, place: Path, tmp_path: Path) -> None:
    """The second run uses a data-loader worker, the first none."""
    host, folder, output = trained
    middle = folder / "ck" / "checkpoint_1_3.pt"
    assert load_state(str(middle))["extra_state"]["train_iterator"]["iterations_in_epoch"] == 6  # batches of two
    resumed = train(host, place, tmp_path, f"checkpoint.restore_file={middle}", "dataset.num_workers=1")
    assert losses(resumed) == {update: loss for update, loss in losses(output).items() if update > 3}
    assert len(losses(resumed)) == UPDATES - 3
    for name, tensor in weights(folder / "ck" / "checkpoint_last.pt").items():
        assert torch.equal(tensor, weights(tmp_path / "ck" / "checkpoint_last.pt")[name]), name
