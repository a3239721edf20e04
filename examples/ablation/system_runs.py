"""What one system with one seed needs, as commands: pre-training, every evaluation, and the encoders to compare with."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml
from steps import REPOSITORY, Command, host_command, needs_cpu_switch

from cmelt_plugin import registry
from cmelt_plugin.data.directory.own_files import LABELS_FILE

CONFIGURATIONS = REPOSITORY / "examples" / "pretrain"
FRACTIONS = (0.01, 0.1, 1.0)
UNTRAINED_UPDATES = 10  # at learning rate 0, in which statistics of batches settle


def tiny_configuration(system: str) -> Path | None:
    """The smallest configuration of a system, by the model it is of; None: there is none."""
    for path in sorted(CONFIGURATIONS.glob("*_tiny.yaml")):
        if yaml.safe_load(path.read_text(encoding="utf-8"))["model"]["_name"] == system:
            return path
    return None


class Variant(NamedTuple):
    """A row of the table: its name, the system, and settings of its own, ``key=value``."""

    name: str
    system: str
    settings: Sequence[str] = ()


def cohort(arguments: argparse.Namespace, *tokenizer: str) -> list[Command]:
    """A synthetic manifest directory, as the demo makes it; ``tokenizer``: further options of preprocess/tokenizer.py."""
    records, manifest = arguments.dest / "cohort", arguments.manifest

    def preprocess(name: str, output: Path, *options: object) -> Command:
        return Command(name, [sys.executable, str(REPOSITORY / "preprocess" / f"{name}.py"), *map(str, options)], output)

    return [
        preprocess("synthetic", records, "--records", arguments.records, "--noise", arguments.noise, "--dest", records),
        preprocess(
            *("mimic_iv_ecg", manifest / "manifest.json", "--root", records, "--dest", manifest, "--split", 0.8, 0.1, 0.1)
        ),
        preprocess(
            *("labels", manifest / LABELS_FILE, "--manifest", manifest),
            *("--labels", records / "labels.csv", "--prompts", records / "prompts.json"),
        ),
        preprocess(
            *("tokenizer", manifest / "tokenizer", "--manifest", manifest, "--train-vocab", 500, "--encoder", "tiny"),
            *("--overwrite", *tokenizer),
        ),
        preprocess(
            *("n3s", manifest / "train.n3s.json", "--manifest", manifest, "--embedder", "tfidf", "--strategy", "balanced")
        ),
    ]


def writes_reports(system: str) -> bool:
    """Whether models of this system can be asked for a report."""
    return hasattr(registry.systems()[system].model_class(), "generate")


def commands(variant: Variant, seed: int, arguments: argparse.Namespace) -> list[Command]:
    """Everything one variant with one seed needs, in order."""
    system, manifest, folder = variant.system, arguments.manifest, arguments.dest / variant.name / f"seed{seed}"
    common = [f"common.seed={seed}", *(["common.cpu=true"] if needs_cpu_switch() else [])]
    reads_text, configuration = registry.systems()[system].reads_text, tiny_configuration(system)
    assert configuration is not None

    def train(save: Path, *settings: str) -> list[str]:
        place = ["--config-dir", str(CONFIGURATIONS), "--config-name", configuration.stem, f"task.data={manifest}"]
        text = [f"model.text_encoder={manifest / 'tokenizer'}"] if reads_text else []
        fixed = [f"checkpoint.save_dir={save}", "dataset.disable_validation=true", *arguments.settings, *variant.settings]
        return [*host_command("fairseq-hydra-train"), *place, *common, *text, *fixed, *settings]

    def evaluate(module: str, name: str, checkpoint: Path, *options: object, data: Path = arguments.downstream) -> Command:
        out = folder / "results" / name
        words = ["--checkpoint", checkpoint, "--manifest", data, "--results", out, "--model-name", variant.name]
        words += ["--bootstrap", 0, *options]
        return Command(name, [sys.executable, "-m", f"cmelt_plugin.evaluation.{module}", *map(str, words)], out)

    def classifier(name: str, encoder: Path, evaluation: str, *settings: object) -> list[Command]:
        best = folder / name / "checkpoint_best.pt"
        place = ["--config-dir", str(REPOSITORY / "examples" / "finetune"), "--config-name", "tiny"]
        fixed = [f"model.pretrained={encoder}", f"checkpoint.save_dir={best.parent}", *map(str, settings)]
        fixed += ["task.bootstrap=0", f"task.data={arguments.downstream}"]
        training = Command(name, [*host_command("fairseq-hydra-train"), *place, *common, *fixed], best)
        return [training, evaluate("classify", evaluation, best)]

    probes = ["--fraction", *FRACTIONS, "--seeds", 1]
    trained, untrained = folder / "pretrain" / "checkpoint_last.pt", folder / "untrained" / "checkpoint_last.pt"
    updates = [] if arguments.updates is None else [f"optimization.max_update={arguments.updates}"]
    few = []
    if arguments.finetune is not None:
        few = [f"task.fraction={arguments.finetune}", f"task.subset_seed={seed}", "optimization.max_epoch=0"]
        few += [f"optimization.max_update={arguments.finetune_updates}"]
        few += ["dataset.validate_interval=5", "checkpoint.save_interval=5"]
    steps = [Command("pretrain", train(trained.parent, *updates), trained)]
    if reads_text:
        steps.append(evaluate("zero_shot", "zero_shot", trained, "--thresholds-from", "none"))
        steps.append(evaluate("retrieve", "retrieval", trained, data=manifest))
    if writes_reports(system) and (manifest / LABELS_FILE).is_file():
        steps.append(evaluate("generate", "generation", trained, data=manifest))
    steps.append(evaluate("linear_probe", "linear_probe", trained, *probes))
    if few:
        steps += classifier("finetuned", trained, "classify_finetuned", *few)
    if variant.settings:  # the same encoder as the system's own
        return steps
    nothing = ["optimization.lr=[0.0]", f"optimization.max_update={UNTRAINED_UPDATES}"]
    steps.append(Command("untrained", train(untrained.parent, *nothing), untrained))
    steps.append(evaluate("linear_probe", "untrained_probe", untrained, *probes))
    if system in arguments.supervised:
        whole = ["optimization.lr=[0.001]", f"optimization.max_epoch={arguments.epochs}"]
        steps += classifier("supervised", untrained, "classify", *whole)
        if few:
            steps += classifier("supervised_few", untrained, "classify_few", "optimization.lr=[0.001]", *few)
    return steps
