"""The YAML files under examples/ say only what both hosts and the plugin's own classes understand."""

import dataclasses
from pathlib import Path

import pytest
import yaml
from hosts import HOSTS, REPOSITORY, host_python, run

from cmelt_plugin.criterions.config import CriterionConfig
from cmelt_plugin.models.cmelt_config import CMELTConfig
from cmelt_plugin.tasks.pretraining import PretrainingConfig

FOLDER = REPOSITORY / "examples" / "pretrain"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
ONE_HOST_ONLY = {"bf16", "cpu", "tensorboard_logdir", "user_dir", "ddp_backend", "amp"}


def load(name):
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))


def test_the_three_configurations_are_there():
    assert NAMES == ["cmelt_base", "cmelt_paper", "cmelt_tiny"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("section", "dataclass"), [("task", PretrainingConfig), ("model", CMELTConfig), ("criterion", CriterionConfig)]
)
def test_every_key_is_known(name, section, dataclass):
    known = {field.name for field in dataclasses.fields(dataclass)}
    assert set(load(name)[section]) <= known


@pytest.mark.parametrize("name", NAMES)
def test_no_key_that_only_one_host_has(name):
    values = load(name)
    assert not ONE_HOST_ONLY & {key for section in values.values() for key in section}
    assert values["hydra"]["run"]["dir"] == "."


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("name", ["cmelt_base", "cmelt_paper"])
def test_the_host_composes_it(host, name, tmp_path: Path):
    python = host_python(host)
    arguments = ["-m", "fairseq_cli.hydra_train", "--config-dir", str(FOLDER), "--config-name", name, "--cfg", "job"]
    printed = run([python, *arguments, "task.data=here"], host, tmp_path)
    composed = yaml.safe_load(printed[printed.index("_name: null") :])
    assert composed["task"]["data"] == "here"
    assert composed["optimization"]["max_update"] == 300000
    assert composed["lr_scheduler"]["phase_ratio"] == [0.1, 0.4, 0.5]


def test_the_paper_to_the_letter():
    """Section 4.1.1 and specs of the release: what cmelt_paper must say, with the classes' own defaults."""
    values = load("cmelt_paper")
    model = {**{f.name: f.default for f in dataclasses.fields(CMELTConfig)}, **values["model"]}
    assert (model["text_encoder"], model["encoder_layers"], model["encoder_embed_dim"]) == ("google/flan-t5-base", 8, 768)
    assert (model["conv_feature_layers"], model["mem_ratio"], model["mem_layer"]) == ("[(256, 2, 2)] * 4", 0.75, 3)
    assert (model["normalise_embeddings"], model["learn_logit_scale"]) == (False, False)
    assert values["criterion"]["duplicates"] == "negative"
    assert (values["dataset"]["batch_size"], values["optimization"]["max_update"]) == (128, 300000)
    assert (values["optimization"]["lr"], values["lr_scheduler"]["_name"]) == ([0.00005], "tri_stage")
    assert values["optimizer"] == {
        "_name": "adam", "adam_betas": "(0.9, 0.98)", "adam_eps": 1e-6, "weight_decay": 0.01
    }  # fmt: skip
