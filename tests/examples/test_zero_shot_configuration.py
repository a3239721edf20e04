"""examples/zero_shot: its keys are known to both hosts, and validation gives what the plugin's own command gives."""

import dataclasses
import json

import pytest
import torch
import yaml
from hosts import HOSTS, REPOSITORY, host_python, logged, run, train_command
from tiny import tiny_t5_config, write_manifest

from cmelt_plugin.criterions.config import CriterionConfig
from cmelt_plugin.evaluation.result_files import read_result
from cmelt_plugin.evaluation.zero_shot.__main__ import main
from cmelt_plugin.huggingface import import_transformers
from cmelt_plugin.models.cmelt.config import CMELTConfig
from cmelt_plugin.tasks.pretraining import PretrainingConfig

FOLDER = REPOSITORY / "examples" / "zero_shot"
ONE_HOST_ONLY = {"bf16", "cpu", "tensorboard_logdir", "user_dir", "ddp_backend", "amp"}


def values():
    return yaml.safe_load((FOLDER / "zero_shot.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("section", "dataclass"), [("task", PretrainingConfig), ("model", CMELTConfig), ("criterion", CriterionConfig)]
)
def test_every_key_is_known(section, dataclass):
    assert set(values()[section]) - {"_name"} <= {field.name for field in dataclasses.fields(dataclass)}


def test_what_the_user_must_give_and_no_key_of_one_host():
    found = values()
    assert found["common_eval"]["path"] == found["task"]["data"] == "???"
    assert found["dataset"]["valid_subset"] == "test" and found["model"]["text_encoder"] == "unused"
    assert not ONE_HOST_ONLY & {key for section in found.values() for key in section}
    assert found["hydra"]["run"]["dir"] == "."


@pytest.mark.parametrize("host", HOSTS)
def test_validation_agrees_with_the_command(host, tmp_path):
    """A checkpoint saved by the host; a manifest with class texts and without reports, one record of it padded."""
    python = host_python(host)
    transformers = import_transformers()
    sizes = {key: value for key, value in json.loads(tiny_t5_config()).items() if key != "model_type"}
    torch.manual_seed(0)
    transformers.T5EncoderModel(transformers.T5Config(**sizes)).save_pretrained(tmp_path / "t5")
    paired = write_manifest(tmp_path / "paired", n_records=16)
    run(train_command(host, paired, tmp_path / "t5", tmp_path / "ck", "optimization.max_update=6"), host, tmp_path)
    checkpoint = tmp_path / "ck" / "checkpoint_last.pt"

    write_manifest(tmp_path / "bare", 30, splits=("valid", "test"), labels=True, reports=False, short_row=7)
    on_cpu = ["common.cpu=true"] if host == "fairseq" else []
    overrides = ["task.data=bare", "common_eval.path=ck/checkpoint_last.pt", "dataset.num_workers=0", *on_cpu]
    command = [
        python,
        "-m",
        "fairseq_cli.hydra_validate",
        "--config-dir",
        str(FOLDER),
        "--config-name",
        "zero_shot",
        *overrides,
    ]
    printed = logged(run(command, host, tmp_path), "test")[-1]

    options = ["--manifest", str(tmp_path / "bare"), "--results", str(tmp_path / "out"), "--bootstrap", "0"]
    assert main(["--checkpoint", str(checkpoint), *options]) == 0
    result = read_result(tmp_path / "out" / "bare").result
    assert float(printed["test_records"]) == result.n_records == 30
    assert float(printed["test_macro_auc"]) == pytest.approx(result.metrics["macro_auc"], abs=1e-4)
    for name in ("AFIB", "SR"):
        assert float(printed[f"test_auc_{name}"]) == pytest.approx(result.per_class[name]["auc"], abs=1e-4)
    assert "test_loss" not in printed and "test_ecg_to_text_r1" not in printed
