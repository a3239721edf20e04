"""The YAML files of examples/finetune say only what both hosts and the plugin's own classes understand."""

import dataclasses

import pytest
import yaml
from finetune_runs import command
from hosts import HOSTS, REPOSITORY, run

from cmelt_plugin.criterions.classification import ClassificationCriterionConfig
from cmelt_plugin.criterions.identification import IdentificationCriterionConfig
from cmelt_plugin.criterions.regression import RegressionCriterionConfig
from cmelt_plugin.data.leads import LEAD_SETS
from cmelt_plugin.models.classifier.config import ClassifierConfig
from cmelt_plugin.optim.adam import LayerwiseAdamConfig
from cmelt_plugin.tasks.classification import ClassificationConfig
from cmelt_plugin.tasks.identification import IdentificationConfig
from cmelt_plugin.tasks.regression import RegressionConfig

FOLDER = REPOSITORY / "examples" / "finetune"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
ONE_HOST_ONLY = {"bf16", "cpu", "tensorboard_logdir", "user_dir", "ddp_backend", "amp"}
CLASSES = {
    "cmelt_classification": (ClassificationConfig, ClassificationCriterionConfig),
    "cmelt_identification": (IdentificationConfig, IdentificationCriterionConfig),
    "cmelt_regression": (RegressionConfig, RegressionCriterionConfig),
}


def load(name):
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))


def fields(dataclass):
    return {field.name for field in dataclasses.fields(dataclass)}


def test_every_row_of_table_1_has_a_configuration():
    rows = [f"{kind}_{leads}" for kind in ("dx", "id") for leads in LEAD_SETS]
    assert NAMES == sorted([*rows, "lvef", "ptb_xl_super", "tiny"])


@pytest.mark.parametrize("name", NAMES)
def test_every_key_is_known(name):
    values = load(name)
    task, criterion = CLASSES[values["task"]["_name"]]
    # Hydra lets a command line change only what the file names.
    assert set(values["task"]) == fields(task) - {"seed"}
    assert set(values["criterion"]) == fields(criterion)
    assert set(values["model"]) - {"_name"} <= fields(ClassifierConfig)
    assert set(values["optimizer"]) <= fields(LayerwiseAdamConfig)
    assert not ONE_HOST_ONLY & {key for section in values.values() for key in section}
    assert values["hydra"]["run"]["dir"] == "."
    assert values["model"]["pretrained"] == "???" and values["task"]["data"] == "???"  # nothing starts from nowhere


@pytest.mark.parametrize("leads", sorted(LEAD_SETS))
@pytest.mark.parametrize(("kind", "rate", "metric"), [("dx", 0.00005, "macro_auc"), ("id", 0.0001, "top1_accuracy")])
def test_tables_1_and_10_of_the_paper(kind, rate, metric, leads):
    values = load(f"{kind}_{leads}")
    assert values["task"]["leads"] == list(LEAD_SETS[leads])
    assert values["optimization"]["max_epoch"] == 100 and values["optimization"]["lr"] == [rate]
    assert values["dataset"]["batch_size"] == 256
    assert values["model"]["freeze"] == "none"
    assert values["optimizer"]["layer_decay"] == 1.0 and values["optimizer"]["weight_decay"] == 0.0  # plain Adam
    assert values["checkpoint"]["best_checkpoint_metric"] == metric
    assert values["checkpoint"]["maximize_best_checkpoint_metric"] is True
    others = {key: value for key, value in values.items() if key not in ("task", "checkpoint")}
    assert others == {key: value for key, value in load(f"{kind}_12").items() if key not in ("task", "checkpoint")}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("name", ["dx_3", "id_6"])
def test_the_host_composes_it(host, name, tmp_path):
    printed = run([*command(host, "hydra_train", name, ["task.data=here"]), "--cfg", "job"], host, tmp_path)
    composed = yaml.safe_load(printed[printed.index("_name: null") :])
    assert composed["task"]["data"] == "here" and composed["optimizer"]["_name"] == "cmelt_adam"
    assert composed["task"]["leads"] == list(LEAD_SETS[name.split("_")[1]])
    assert composed["optimization"]["max_epoch"] == 100
