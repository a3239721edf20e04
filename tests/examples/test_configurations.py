"""The YAML files under examples/ say only what both hosts and the plugin's own classes understand."""

import dataclasses
import re
from pathlib import Path

import pytest
import torch
import yaml
from hosts import HOSTS, REPOSITORY, host_python, run

from cmelt_plugin import registry
from cmelt_plugin.models.cmelt.config import CMELTConfig
from cmelt_plugin.models.cmelt.criterion import CMELTCriterionConfig
from cmelt_plugin.models.cmelt.released import our_settings
from cmelt_plugin.models.melp.config import MELPConfig
from cmelt_plugin.models.melp.criterion import MELPCriterionConfig
from cmelt_plugin.models.merl.config import MERLConfig
from cmelt_plugin.models.merl.criterion import MERLCriterionConfig
from cmelt_plugin.models.merl.released import our_settings as merl_settings
from cmelt_plugin.tasks.pretraining import PretrainingConfig
from cmelt_plugin.tasks.sources import SourcesConfig
from tests.systems.cases import CASES

FOLDER = REPOSITORY / "examples" / "pretrain"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
ONE_HOST_ONLY = {"bf16", "cpu", "tensorboard_logdir", "user_dir", "ddp_backend", "amp"}


def load(name):
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))


def test_every_system_has_its_configurations():
    names = [(load(name)["model"]["_name"], name.rpartition("_")[2]) for name in NAMES]
    assert {system for system, _ in names} == set(registry.systems())
    for system in registry.systems():  # one for paper and release, where what both say is not told apart
        kinds = {kind for own, kind in names if own == system}
        source = "reference" if "reference" in kinds else "paper"  # the former where parts of both are unknown
        assert {"base", source, "tiny"} <= kinds <= {"base", source, "release", "tiny", "synthetic"}


@pytest.mark.parametrize("name", NAMES)
def test_every_key_is_known(name):
    values = load(name)
    case = next(case for case in CASES.values() if case.system == values["model"]["_name"])
    system = registry.systems()[case.system]
    assert values["criterion"]["_name"] in system.criterions
    task = {"cmelt_pretraining": PretrainingConfig, "ecg_echo_pretraining": SourcesConfig}[values["task"]["_name"]]
    sections = {"model": system.config_class(), "criterion": registry.imported(case.criterion), "task": task}
    for section, dataclass in sections.items():
        known = {field.name for field in dataclasses.fields(dataclass)}
        assert set(values[section]) - {"_name"} <= known, section


def test_what_the_documentation_sets_without_a_plus_is_in_the_files():
    """Hydra takes ``model.score=product`` for a key that the file lists, ``+model.score=product`` for another one. A page
    that has a system's name speaks of that system's files."""
    files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in (REPOSITORY / "examples").glob("*/*.yaml")]
    base = [values for values in files if not str(values.get("task", {}).get("_name")).endswith("_pretraining")]
    listed = {
        (section, key) for values in base for section in ("model", "criterion", "task") for key in values.get(section, ())
    }
    for page in [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]:
        text = page.read_text(encoding="utf-8")
        own = [name for name in NAMES if name == f"{page.stem}_base"]
        bases = [load(name) for name in own or NAMES if name.endswith("_base")]
        for section, key in re.findall(r"(?<![\w+.])(model|criterion|task)\.(\w+)=", text):
            assert (section, key) in listed or any(key in values[section] for values in bases), f"{page.name}: {section}.{key}"


@pytest.mark.parametrize("name", NAMES)
def test_no_key_that_only_one_host_has(name):
    values = load(name)
    assert not ONE_HOST_ONLY & {key for section in values.values() for key in section}
    assert values["hydra"]["run"]["dir"] == "."


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    "name", ["cmelt_base", "cmelt_paper", "cmelt_release", "echoing_reference", "melp_base", "merl_release"]
)
def test_the_host_composes_it(host, name, tmp_path: Path):
    python = host_python(host)
    arguments = ["-m", "fairseq_cli.hydra_train", "--config-dir", str(FOLDER), "--config-name", name, "--cfg", "job"]
    printed = run([python, *arguments, "task.data=here"], host, tmp_path)
    composed = yaml.safe_load(printed[printed.index("_name: null") :])
    assert composed["task"]["data"] == "here"
    assert composed["optimization"]["max_update"] == load(name)["optimization"]["max_update"]
    assert composed["lr_scheduler"]["phase_ratio"] == load(name)["lr_scheduler"]["phase_ratio"]


def whole(name):
    """A configuration as read, and its sections of model and criterion with the classes' own defaults."""
    values = load(name)
    defaults = ({f.name: f.default for f in dataclasses.fields(cls)} for cls in (CMELTConfig, CMELTCriterionConfig))
    model, criterion = ({**d, **values[section]} for d, section in zip(defaults, ("model", "criterion")))
    return values, model, criterion


@pytest.mark.parametrize("name", NAMES)
def test_variances_are_learned_where_asked_for_alone(name):
    """The papers' systems embed points; EchoingECG has variances of its own."""
    model = load(name)["model"]
    assert ("uncertainty" in model) == (model["_name"] != "echoing_ecg") and model.get("uncertainty", "none") == "none"


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
    opened = our_settings({}, None)
    assert {name: model[name] for name in opened if not name.startswith("text_encoder")} == {
        name: value for name, value in opened.items() if not name.startswith("text_encoder")
    }
    for section in ("task", "optimization", "optimizer", "lr_scheduler", "dataset"):
        assert values[section] == paper[section]


def test_merls_release_is_what_its_published_weights_are_opened_with():
    """Figures of its code; the paper's differ in batch, learning rate, weight decay and length."""
    values, paper = load("merl_release"), load("merl_paper")
    model = {**dataclasses.asdict(MERLConfig()), **values["model"]}
    for name, value in {"normalisation": "min_max", "text_pool": "pooler", "learn_logit_scale": False}.items():
        assert model[name] == value == merl_settings(_merl_shapes())[name]
    assert (model["text_free_layers"], model["view_dropout"], model["sync_batch_norm"]) == (0, 0.1, False)
    criterion = {**dataclasses.asdict(MERLCriterionConfig()), **values["criterion"]}
    assert (criterion["duplicates"], criterion["directions"]) == ("negative", "sum")
    assert (values["task"]["lead_mask_probability"], values["task"]["max_text_tokens"]) == (0.0, 256)
    assert (values["dataset"]["batch_size"], values["optimization"]["lr"]) == (128, [0.001])
    assert float(values["optimizer"]["weight_decay"]) == 1e-8 and values["optimizer"]["adam_betas"] == "(0.9, 0.999)"
    assert {section for section in values if values[section] != paper[section]} == {
        "checkpoint",  # its folder
        "dataset",
        "optimization",
        "optimizer",
    }
    assert paper["model"] == values["model"] and paper["criterion"] == values["criterion"]


def test_melps_release_to_the_letter():
    """Figures of its code: losses, optimiser, batch, text layout."""
    values = load("melp_paper")
    model = {**dataclasses.asdict(MELPConfig()), **values["model"]}
    assert (model["encoder_layers"], model["encoder_embed_dim"], model["embed_dim"], model["n_queries"]) == (8, 768, 256, 14)
    assert (model["n_caption_queries"], model["decoder_layers"], model["feature_grad_mult"]) == (128, 6, 0.1)
    assert (model["normalisation"], model["text_layout"], model["text_free_layers"]) == ("min_max", "released", 6)
    assert model["text_free_embeddings"] and not model["learn_beat_scale"]  # gloria does not read that
    criterion = {**dataclasses.asdict(MELPCriterionConfig()), **values["criterion"]}
    assert [criterion[f"{name}_weight"] for name in ("clip", "caption", "local")] == [1.0, 2.0, 0.2]
    assert (criterion["local"], criterion["duplicates"], criterion["collapse_window"]) == ("gloria", "negative", 0)
    assert (values["task"]["lead_mask_probability"], values["task"]["max_text_tokens"]) == (0.5, 127)
    assert (values["dataset"]["batch_size"], values["distributed_training"]["distributed_world_size"]) == (64, 4)
    assert (values["optimization"]["lr"], values["optimization"]["clip_norm"]) == ([0.0002], 0.0)
    optimizer = values["optimizer"]
    assert (optimizer["adam_betas"], optimizer["weight_decay"], optimizer["decay_vectors"]) == ("(0.9, 0.95)", 0.2, True)
    assert values["lr_scheduler"]["phase_ratio"] == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("name", ["melp_base", "melp_tiny"])
def test_melp_as_we_train_it_warms_up_once_and_decays_matrices_alone(name):
    """D-M3, D-M15: the release begins at the full learning rate, begins anew half-way, and lets norms decay by 0.2."""
    values = load(name)
    warm_up, hold, decay = values["lr_scheduler"]["phase_ratio"]
    assert warm_up + hold + decay == pytest.approx(1.0)
    assert warm_up * values["optimization"]["max_update"] >= (2000 if name == "melp_base" else 200)
    assert values["optimization"]["clip_norm"] == 1.0 and values["criterion"]["collapse_window"] > 0
    assert values["optimizer"]["decay_vectors"] is False and values["common"]["fp16_no_flatten_grads"] is True


def _merl_shapes():
    shapes = {"proj_t.0.weight": (256, 768), "proj_t.2.weight": (256, 256), "ecg_encoder.conv1.weight": (64, 12, 7)}
    shapes["ecg_encoder.layer1.0.conv1.weight"] = (64, 64, 3)
    text = {"word_embeddings": (30522, 768), "position_embeddings": (512, 768), "token_type_embeddings": (2, 768)}
    shapes.update({f"lm_model.embeddings.{name}.weight": shape for name, shape in text.items()})
    shapes["lm_model.encoder.layer.0.intermediate.dense.weight"] = (3072, 768)
    shapes["lm_model.encoder.layer.0.attention.self.query.weight"] = (768, 768)
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


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
    assert not defaults.mem_decoder_zero_output


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
