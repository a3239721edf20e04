"""The commands behind docs/synthetic-model.md: manifests of the real recordings, encoders to compare with, and evaluations."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cmelt_plugin.data.files import write_texts
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.models.files import exported
from examples.ablation.steps import REPOSITORY, Command, host_command, needs_cpu_switch

TASKS = ("super", "sub", "form", "rhythm")
TRAINING, TEST = "1-8", "9-10"
"""Folds of PTB-XL: all decisions were made on the former."""
SPLITS = ("train", "valid", "test")
FINETUNED = {("super", 0.1): 5, ("super", 1.0): 5, ("sub", 1.0): 3, ("form", 1.0): 3, ("rhythm", 1.0): 3}
"""(label set, share of its labels) of fine-tuning → seeds at most."""
LEAD_SETS = ("12", "6", "3", "2", "1", "II")
MODEL, CONTINUED, UNTRAINED = "model", "continued", "untrained"
UNTRAINED_UPDATES = 10  # at learning rate 0, in which statistics of batches settle
CONTINUED_SETTINGS = ("optimization.max_update=200", "optimization.lr=[0.0003]", "criterion.label_weight=0")
FINETUNING_SETTINGS = ("dataset.batch_size=32", "optimization.max_epoch=0", "optimization.max_update=200")
SAVED_ONCE = "checkpoint.save_interval=100000"  # at the end
RATES = (0.00001, 0.00003, 0.0001, 0.0003, 0.001)
LEARNING_RATES = {MODEL: 0.0001, UNTRAINED: 0.00003}
"""Of fine-tuning, by where the encoder starts: the best of :data:`RATES` on folds 7 and 8 after training on 1 to 6."""
CHOICE = "super-choice"
"""The manifest directory of that choice."""


class Missing(NamedTuple):
    """What is left out, and why."""

    name: str
    reason: str


class Plan(NamedTuple):
    """What there is to do, in order, and what is left out."""

    steps: list[Command]
    missing: list[Missing]


def manifest(dest: Path, name: str) -> Path:
    """Where a manifest directory lies."""
    return dest / "manifests" / name


def divided(task: str) -> str:
    """Name of the manifest directory of a label set that has a training and a test split."""
    return f"{task}-divided"


def encoder(dest: Path, name: str) -> Path:
    """Where the checkpoint of a model that is made here lies."""
    return dest / "checkpoints" / name / "checkpoint_last.pt"


def untrained(seeds: int) -> list[str]:
    """Names of the encoders with random weights."""
    return [f"{UNTRAINED}-{seed}" for seed in range(1, seeds + 1)]


def data_steps(real: Path, dest: Path) -> Plan:
    """Manifest directories of the data sets that there are below ``real``; what is missing is named."""
    plan = Plan([], [])

    def make(name: str, command: str, root: Path, *options: object) -> None:
        path = manifest(dest, name)
        words = [REPOSITORY / "preprocess" / f"{command}.py", "--root", root, "--dest", path, "--jobs", 1, *options]
        plan.steps.append(Command(name, [sys.executable, *map(str, words)], path / "manifest.json"))

    def there(name: str, needed: Sequence[Path]) -> bool:
        lacking = [path for path in needed if not path.exists()]
        plan.missing.extend(Missing(name, f"no {path}") for path in lacking[:1])
        return not lacking

    ptb_xl = real / "ptb-xl"
    if there("ptb-xl", [ptb_xl / "ptbxl_database.csv", ptb_xl / "records500"]):
        for kind, more in (("", ()), ("-standardised", ("--standardise-leads",))):
            store = f"ptb-xl{kind}"
            make(store, "ptb_xl", ptb_xl, "--task", "all", "--folds", "none", "none", "1-10", *more)
            for task in TASKS:
                options = ("--task", task, "--folds", "none", "none", "1-10", *more, "--store", manifest(dest, store))
                make(f"{task}{kind}", "ptb_xl", ptb_xl, *options)
        make("reports", "ptb_xl", ptb_xl, "--pretrain", "--folds", TRAINING, "none", TEST)
        options = ("--folds", TRAINING, "none", TEST, "--store", manifest(dest, "ptb-xl"))
        for task in TASKS:
            make(divided(task), "ptb_xl", ptb_xl, "--task", task, *options)
        options = ("--folds", "1-6", "none", "7-8", "--store", manifest(dest, "ptb-xl"))
        make(CHOICE, "ptb_xl", ptb_xl, "--task", "super", *options)
    splits = real / "splits" / "icbeb"
    if there("cpsc2018", [real / "cpsc2018", splits]):
        make("cpsc2018", "cpsc2018", real / "cpsc2018", "--splits", splits)
    challenge = real / "cinc2021"
    if there("cinc2021", [challenge]):
        # Its recordings of PTB-XL are left out.
        options = ("--task", "dx", "--sources", "georgia", "chapman_shaoxing", "ningbo")
        options += ("--segment-seconds", 10, "--split", 0, 0, 1)
        make("cinc2021", "physionet2021", challenge, *options)
        make("cinc2021-standardised", "physionet2021", challenge, *options, "--standardise-leads")
    code = real / "code15"
    if there("code15", [code / "org", code / "meta.csv"]):
        columns = ("--path-column", "save_file", "--id-column", "exam_id", "--subject-column", "patient_id")
        file = ("--variable", "feats", "--leads", ",".join(LEADS), "--units", "mV", "--sample-rate", 400)
        labels = ("--label-columns", "1dAVb,RBBB,LBBB,SB,ST,AF", "--label-set", "code", "--data-set", "code15")
        make("code15", "table", code / "org", "--table", code / "meta.csv", *columns, *file, *labels, "--split", 0, 0, 1)
    return plan


def text_encoder_folder(model: Path, dest: Path) -> Path:
    """What trainings take as ``model.text_encoder``, from an exported model: its tokenizer, and the sizes of its text encoder.

    An exported folder keeps those sizes in its own configuration. Weights are not written: what is
    compared with has random ones.
    """
    folder = dest / "tokenizer"
    sizes = exported.read_config(model / exported.CONFIG_FILE)["cfg"]["model"][exported.TEXT_ENCODER]
    shutil.copytree(model / exported.TOKENIZER_FOLDER, folder, dirs_exist_ok=True)
    write_texts(folder, {"config.json": json.dumps(sizes, indent=2) + "\n"})
    return folder


def encoder_steps(dest: Path, tokenizer: Path, checkpoint: Path, seeds: int) -> Plan:
    """Encoders of random weights, and the model after more pre-training on real reports."""
    reports, plan = manifest(dest, "reports"), Plan([], [])
    has_weights = (tokenizer / "model.safetensors").is_file()
    tokens = ["--manifest", str(reports), "--tokenizer", str(tokenizer)]
    words = [sys.executable, str(REPOSITORY / "preprocess" / "tokenizer.py"), *tokens]
    plan.steps.append(Command("tokens", words, reports / "manifest.json"))

    def train(name: str, *settings: str) -> None:
        path = encoder(dest, name)
        place = ["--config-dir", str(REPOSITORY / "examples" / "pretrain"), "--config-name", "cmelt_synthetic"]
        words = [*place, *_on_cpu(), f"task.data={reports}", f"model.text_encoder={tokenizer}"]
        words += [f"checkpoint.save_dir={path.parent}", "dataset.disable_validation=true", SAVED_ONCE, *settings]
        plan.steps.append(Command(name, [*host_command("fairseq-hydra-train"), *words], path))

    for seed, name in enumerate(untrained(seeds), start=1):
        nothing = ["optimization.lr=[0.0]", f"optimization.max_update={UNTRAINED_UPDATES}", "criterion.label_weight=0"]
        train(name, f"common.seed={seed}", *nothing, *([] if has_weights else ["+model.text_encoder_pretrained=false"]))
    if checkpoint.suffix == ".pt":
        train(CONTINUED, f"checkpoint.finetune_from_model={checkpoint}", *CONTINUED_SETTINGS)
    else:
        plan.missing.append(
            Missing(CONTINUED, f"{checkpoint} is no checkpoint of a training run, which further training needs")
        )
    return plan


def zero_shot_steps(dest: Path, checkpoint: str, seeds: int) -> list[Command]:
    """Zero-shot classification of everything that there is, by the model and by encoders of random weights."""
    plain = [*TASKS, "cinc2021"]
    checkpoints = {MODEL: checkpoint, CONTINUED: str(encoder(dest, CONTINUED))}
    checkpoints.update({name: str(encoder(dest, name)) for name in untrained(seeds)})
    steps = []

    def score(name: str, model: str, sets: Sequence[str], *options: str) -> None:
        there = [manifest(dest, one) for one in sets if (manifest(dest, one) / "manifest.json").is_file()]
        if not there or (model == CONTINUED and not encoder(dest, CONTINUED).is_file()):
            return
        words = ["--checkpoint", checkpoints[model], "--manifest", *map(str, there), "--thresholds-from", "none"]
        words += ["--bootstrap", "0", "--results", str(dest / "zero_shot" / name), *options]
        output = dest / "zero_shot" / name / "zero_shot.md"
        steps.append(Command(f"zero_shot-{name}", [sys.executable, "-m", "cmelt_plugin.evaluation.zero_shot", *words], output))

    score(MODEL, MODEL, [*plain, *(f"{name}-standardised" for name in plain), "code15"])
    for split in SPLITS:
        score(f"cpsc2018-{split}", MODEL, ["cpsc2018"], "--split", split)
    for name in untrained(seeds):
        score(name, name, plain)
    score(CONTINUED, CONTINUED, TASKS)
    score("leads", MODEL, TASKS, "--compare-leads", *LEAD_SETS)
    return steps


class Classifier(NamedTuple):
    """What is fine-tuned: an encoder on a share of a label set, at a learning rate."""

    data: str
    start: str
    fraction: float
    seed: int
    rate: float

    @property
    def name(self) -> str:
        """Of its folders."""
        return f"{self.data}-{self.start}-{100 * self.fraction:g}pct-{self.rate:g}-{self.seed}"


def classifiers(seeds: int) -> list[Classifier]:
    """All that are tested on folds 9 and 10."""
    return [
        Classifier(divided(task), start, fraction, seed, rate)
        for (task, fraction), most in FINETUNED.items()
        for seed in range(1, min(seeds, most) + 1)
        for start, rate in LEARNING_RATES.items()
    ]


def candidates() -> list[Classifier]:
    """Those among which the learning rates were chosen."""
    return [Classifier(CHOICE, start, 1.0, 1, rate) for start in LEARNING_RATES for rate in RATES]


def finetuning_steps(dest: Path, checkpoint: str, seeds: int) -> list[Command]:
    """Train and test classifiers from the model's encoder and, what labels alone give, from random weights."""
    steps = []
    for one in [*classifiers(seeds), *candidates()]:
        weights = checkpoint if one.start == MODEL else str(encoder(dest, f"{UNTRAINED}-{one.seed}"))
        steps += _classifier_steps(dest, one, weights)
    return steps


def _classifier_steps(dest: Path, one: Classifier, weights: str) -> list[Command]:
    data, last = manifest(dest, one.data), dest / "finetuned" / one.name / "checkpoint_last.pt"
    words = ["--config-dir", str(REPOSITORY / "examples" / "finetune"), "--config-name", "ptb_xl_super", *_on_cpu()]
    words += [f"task.data={data}", f"model.pretrained={weights}", f"common.seed={one.seed}"]
    words += [f"checkpoint.save_dir={last.parent}", "checkpoint.no_save_optimizer_state=true", SAVED_ONCE]
    words += [f"task.fraction={one.fraction}", "task.subset=stratified", f"task.subset_seed={41 + one.seed}"]
    words += ["dataset.disable_validation=true", f"optimization.lr=[{one.rate}]", *FINETUNING_SETTINGS]
    train = Command(f"train-{one.name}", [*host_command("fairseq-hydra-train"), *words], last)
    out = dest / "results" / "finetuned" / one.name
    words = ["--checkpoint", str(last), "--manifest", str(data), "--valid", "none", "--bootstrap", "0", "--results", str(out)]
    return [train, Command(f"classify-{one.name}", [sys.executable, "-m", "cmelt_plugin.evaluation.classify", *words], out)]


def _on_cpu() -> list[str]:
    return ["common.cpu=true"] if needs_cpu_switch() else []
