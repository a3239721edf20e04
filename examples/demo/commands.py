"""The commands of the demo: the very ones that one types for one's own data."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from examples.demo.systems import SYSTEMS

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGURATIONS = REPOSITORY / "examples" / "pretrain"
TEST = "test"
QUICK = ["optimization.max_update=8", "dataset.batch_size=16", "common.log_interval=2"]
QUICK_RECORDS = 300
REAL_CLASSES = "ptb-xl-all"
MOST_REAL = 2000
"""Records of PTB-XL that are read: enough for narrow intervals, and a minute's work."""


class Step(NamedTuple):
    """One command.

    Attributes:
        name: of its log file and stamp.
        title: what it does.
        command: what is run.
        resume: what is added to the command after an interrupted run left its output behind.
        output: what it writes.
    """

    name: str
    title: str
    command: list[str]
    output: Path
    resume: Sequence[str] = ()


def steps(arguments: argparse.Namespace, dest: Path) -> list[Step]:
    """The commands, in order."""
    system = SYSTEMS[arguments.system]
    cohort, manifest, checkpoints = dest / "cohort", dest / "manifest", dest / "checkpoints"
    n_records = QUICK_RECORDS if arguments.quick else arguments.records
    python = [sys.executable]

    def preprocess(name: str, *options: object) -> list[str]:
        return [*python, str(REPOSITORY / "preprocess" / f"{name}.py"), *map(str, options)]

    host = ["--config-dir", str(CONFIGURATIONS), "--config-name", system.configuration]
    settings = [f"task.data={manifest}", f"common.seed={arguments.seed}"]
    if _needs_cpu_switch():
        settings.append("common.cpu=true")
    training = [f"model.text_encoder={manifest / 'tokenizer'}", f"checkpoint.save_dir={checkpoints}", *system.settings]
    if arguments.quick:
        training += QUICK
    if arguments.updates is not None:
        training.append(f"optimization.max_update={arguments.updates}")
    validation = [
        "model.text_encoder=unused",  # the checkpoint holds it
        f"dataset.valid_subset={TEST}",
        f"common_eval.path={checkpoints / 'checkpoint_best.pt'}",
    ]
    result = [
        Step(
            "synthetic",
            "a synthetic cohort in the layout of MIMIC-IV-ECG",
            preprocess(
                *("synthetic", "--records", n_records, "--seed", arguments.seed),
                *("--noise", arguments.noise, "--prevalence", "balanced", "--dest", cohort),
            ),
            cohort,
            resume=["--overwrite"],
        ),
        Step(
            "records",
            "recordings and reports → packed records and a manifest, split by subject",
            preprocess("mimic_iv_ecg", "--root", cohort, "--dest", manifest, "--split", 0.8, 0.05, 0.15),
            manifest / "manifest.json",
        ),
        Step(
            "labels",
            "labels and class texts",
            preprocess(
                *("labels", "--manifest", manifest, "--labels", cohort / "labels.csv"),
                *("--prompts", cohort / "prompts.json"),
            ),
            manifest / "labels.json",
        ),
        Step(
            "tokenizer",
            "a tokenizer trained on the reports, and a small text encoder with random weights",
            preprocess("tokenizer", "--manifest", manifest, "--train-vocab", 2000, "--encoder", "tiny"),
            manifest / "tokenizer",
            resume=["--overwrite"],
        ),
    ]
    if system.negatives:
        result.append(
            Step(
                "n3s",
                "negative reports for ECG–text matching",
                preprocess("n3s", "--manifest", manifest, "--embedder", "tfidf", "--strategy", "balanced"),
                manifest / "train.n3s.json",
            )
        )
    result += [
        Step(
            "train",
            "training",
            [*_host_command("fairseq-hydra-train"), *host, *settings, *training],
            checkpoints / "checkpoint_best.pt",
        ),
        Step(
            "validate",
            "validation on held-out subjects: losses, retrieval, zero-shot classification",
            [*_host_command("fairseq-hydra-validate"), *host, *settings, *validation],
            dest / "logs" / "validate.log",
        ),
    ]
    if arguments.real is not None:
        root, read = arguments.real.resolve(), dest / "real"
        if is_ptb_xl(root):
            rate = () if (root / "records500").is_dir() else ("--rate", 100)
            words = ("--task", "all", "--root", root, "--dest", read, "--limit", MOST_REAL, *rate)
            title = "real recordings: PTB-XL's, with labels of its 71 statements"
            result.append(Step("real", title, preprocess("ptb_xl", *words), read / "manifest.json", resume=["--overwrite"]))
        else:
            words = ("--checkpoint", checkpoints / "checkpoint_best.pt", "--prompts", REAL_CLASSES)
            words = (*words, "--missing-leads", "zero", "--format", "jsonl", root)
            command = [*python, "-m", "cmelt_plugin.predict", *map(str, words)]
            result.append(Step("real", "real recordings: what the model says", command, dest / "logs" / "real.log"))
    return result


def is_ptb_xl(folder: Path) -> bool:
    """Whether a folder is laid out as PTB-XL is, with labels; else its WFDB records are read."""
    return (folder / "ptbxl_database.csv").is_file()


def _host_command(name: str) -> list[str]:
    """A command of the host from this Python's own environment."""
    beside = Path(sys.executable).parent / name
    if beside.is_file():
        return [str(beside)]
    return [sys.executable, "-m", f"fairseq_cli.{name.split('-', 1)[1].replace('-', '_')}"]


def _needs_cpu_switch() -> bool:
    """fairseq looks for a GPU unless told not to; fairseq-signals takes the CPU by itself and has no such setting."""
    host = os.environ.get("CMELT_HOST") or ("fairseq" if importlib.util.find_spec("fairseq") else "fairseq_signals")
    if host != "fairseq":
        return False
    import torch

    return not torch.cuda.is_available()
