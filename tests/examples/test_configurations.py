"""The YAML files under examples/ say only what both hosts and the plugin's own classes understand."""

import dataclasses
from pathlib import Path

import pytest
import yaml
from hosts import HOSTS, REPOSITORY, host_python, run

from cmelt_plugin.criterions.config import CriterionConfig
from cmelt_plugin.models.cmelt.config import CMELTConfig
from cmelt_plugin.models.cmelt.released import our_settings
from cmelt_plugin.tasks.pretraining import PretrainingConfig

FOLDER = REPOSITORY / "examples" / "pretrain"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
ONE_HOST_ONLY = {"bf16", "cpu", "tensorboard_logdir", "user_dir", "ddp_backend", "amp"}


def load(name):
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))


def test_the_four_configurations_are_there():
    assert NAMES == ["cmelt_base", "cmelt_paper", "cmelt_release", "cmelt_tiny"]


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
@pytest.mark.parametrize("name", ["cmelt_base", "cmelt_paper", "cmelt_release"])
def test_the_host_composes_it(host, name, tmp_path: Path):
    python = host_python(host)
    arguments = ["-m", "fairseq_cli.hydra_train", "--config-dir", str(FOLDER), "--config-name", name, "--cfg", "job"]
    printed = run([python, *arguments, "task.data=here"], host, tmp_path)
    composed = yaml.safe_load(printed[printed.index("_name: null") :])
    assert composed["task"]["data"] == "here"
    assert composed["optimization"]["max_update"] == 300000
    assert composed["lr_scheduler"]["phase_ratio"] == [0.1, 0.4, 0.5]


def whole(name):
    """A configuration as read, and its sections of model and criterion with the classes' own defaults."""
    values = load(name)
    defaults = ({f.name: f.default for f in dataclasses.fields(cls)} for cls in (CMELTConfig, CriterionConfig))
    model, criterion = ({**d, **values[section]} for d, section in zip(defaults, ("model", "criterion")))
    return values, model, criterion


def test_the_release_to_the_letter():
    """What the authors' code does and the paper does not say; all else is the paper's."""
    values, model, criterion = whole("cmelt_release")
    paper, paper_model, paper_criterion = whole("cmelt_paper")
    assert {name: value for name, value in model.items() if value != paper_model[name]} == {
        "text_pool": "first",
        "masked_tokens_in_positions": True,
        "mem_decoder_activation": "quick_gelu",
    }
    assert {name: value for name, value in criterion.items() if value != paper_criterion[name]} == {
        "mem_target": "masked_input",
        "siglep_reduction": "mean",
    }
    # Published weights are opened with the same settings of the model.
    opened = our_settings(None)
    assert {name: model[name] for name in opened if not name.startswith("text_encoder")} == {
        name: value for name, value in opened.items() if not name.startswith("text_encoder")
    }
    for section in ("task", "optimization", "optimizer", "lr_scheduler", "dataset"):
        assert values[section] == paper[section]


def test_masked_ecg_modelling_can_start_where_the_configuration_is_ours():
    for name in ("cmelt_base", "cmelt_tiny"):
        _, model, criterion = whole(name)
        assert (model["mem_decoder_conv_pos"], model["mem_decoder_conv_pos_groups"]) == (9, 4)
        assert not model["masked_tokens_in_positions"] and criterion["mem_weight"] == 1.0
        assert model["mem_decoder_dim"] % model["mem_decoder_conv_pos_groups"] == 0


def test_what_a_configuration_does_not_say_is_the_releases():
    """A checkpoint from before these settings existed says nothing of them and must stay the model it was."""
    defaults = CMELTConfig()
    assert (defaults.mem_decoder_conv_pos, defaults.masked_tokens_in_positions) == (0, True)


def test_the_paper_to_the_letter():
    """Section 4.1.1 and specs of the release: what cmelt_paper must say, with the classes' own defaults."""
    values, model, criterion = whole("cmelt_paper")
    assert (model["text_pool"], model["mem_decoder_conv_pos"], model["masked_tokens_in_positions"]) == ("mean", 0, False)
    assert (criterion["siglep_reduction"], criterion["mem_target"]) == ("equation", "original")
    assert (model["text_encoder"], model["encoder_layers"], model["encoder_embed_dim"]) == ("google/flan-t5-base", 8, 768)
    assert (model["conv_feature_layers"], model["mem_ratio"], model["mem_layer"]) == ("[(256, 2, 2)] * 4", 0.75, 3)
    assert (model["normalise_embeddings"], model["learn_logit_scale"]) == (False, False)
    assert values["criterion"]["duplicates"] == "negative"
    assert (values["dataset"]["batch_size"], values["optimization"]["max_update"]) == (128, 300000)
    assert (values["optimization"]["lr"], values["lr_scheduler"]["_name"]) == ([0.00005], "tri_stage")
    assert values["optimizer"] == {
        "_name": "adam", "adam_betas": "(0.9, 0.98)", "adam_eps": 1e-6, "weight_decay": 0.01
    }  # fmt: skip
