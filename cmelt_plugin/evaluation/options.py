"""Options that several evaluation commands have, each said once, and the model they name."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cmelt_plugin import option_types
from cmelt_plugin.errors import DataError
from cmelt_plugin.registry import systems

if TYPE_CHECKING:
    from cmelt_plugin.models.inference.pretrained import Pretrained

OPTIONS: dict[str, dict[str, Any]] = {
    "checkpoint": {"required": True, "help": "checkpoint, exported folder, or published weights"},
    "manifest": {"type": Path, "nargs": "+", "required": True, "help": "manifest directories"},
    "split": {"default": "test", "help": "split to evaluate (test)"},
    "results": {"type": Path, "required": True, "help": "folder for the results"},
    "tokenizer": {"help": "folder or name of the text encoder's tokenizer, where it is not found by itself"},
    "lead-order": {"help": "published weights only: standard or mimic-iv-ecg"},
    "score": {
        "metavar": "cosine|product|distance",
        "help": "how ECG and text are compared, where the model knows several ways (as the checkpoint says)",
    },
    "variances": {
        "type": Path,
        "metavar": "DIR",
        "help": "variances of a model of points, from evaluation.variance_head; means stay as they are",
    },
    "cache": {"type": Path, "help": "folder for embeddings and features, used again by later runs"},
    "bootstrap": {
        "type": option_types.natural,
        "default": 1000,
        "metavar": "N",
        "help": "resamples for 95 %% intervals; 0: none (1000)",
    },
    "seed": {"type": option_types.seed, "default": 0, "help": "bootstrap seed (0)"},
    "model-name": {"default": "ours", "help": "name of the model in tables (ours)"},
    "batch-size": {"type": option_types.count, "default": 64, "help": "recordings at a time (64)"},
    "workers": {"type": option_types.natural, "default": 0, "help": "processes that read recordings ahead (0)"},
    "device": {"default": "cpu", "help": "where the model runs, e.g. cuda (cpu)"},
    "bf16": {
        "action": "store_true",
        "help": "the ECG encoder in bfloat16 autocast; all else, and its outputs, in float32",
    },
}
TEXT_MODEL = [name for name in OPTIONS if name != "workers"]
"""Options of the commands that compare recordings with texts."""
CLASSIFIER = [name for name in OPTIONS if name not in ("tokenizer", "lead-order", "score", "variances", "cache")]
"""Options of the commands that evaluate a fine-tuned model on one split."""


def add_options(
    parser: argparse.ArgumentParser, names: Sequence[str], changes: Mapping[str, Mapping[str, Any]] | None = None
) -> None:
    """Add options of :data:`OPTIONS`.

    Args:
        parser: the command's.
        names: keys of :data:`OPTIONS`.
        changes: name → what this command has otherwise, e.g. another default.
    """
    for name in names:
        parser.add_argument(f"--{name}", **{**OPTIONS[name], **(changes or {}).get(name, {})})


def classifier_parser(module: str, description: str | None, epilog: str) -> argparse.ArgumentParser:
    """A command with the options :data:`CLASSIFIER`: one manifest directory, and results that may be printed alone."""
    parser = option_types.command_parser(module, description, epilog)
    checkpoint = {"help": "checkpoint of fairseq-hydra-train, or exported folder"}
    manifest = {"nargs": None, "help": "manifest directory"}
    results = {"required": False, "help": "folder for result.json and scores.npz (default: only print)"}
    add_options(parser, CLASSIFIER, {"checkpoint": checkpoint, "manifest": manifest, "results": results})
    return parser


class CommandFacts(NamedTuple):
    """What all results of one command share.

    Attributes:
        model: name in tables.
        checkpoint: path, as typed.
        command: what was typed.
        bootstrap: resamples; 0: no intervals.
        seed: of the resamples.
        settings: see ``Result.settings``.
    """

    model: str
    checkpoint: str
    command: str
    bootstrap: int = 1000
    seed: int = 0
    settings: Mapping[str, Any] = {}


def command_facts(args: argparse.Namespace, command: str, settings: Mapping[str, Any]) -> CommandFacts:
    """The facts that parsed options give."""
    return CommandFacts(args.model_name, str(args.checkpoint), command, args.bootstrap, args.seed, settings)


def typed_command(module: str, argv: Sequence[str] | None) -> str:
    """The command line as it was typed, to repeat it."""
    return shlex.join(["python", "-m", module, *map(str, sys.argv[1:] if argv is None else argv)])


def load_ecg_model(args: argparse.Namespace) -> Pretrained:
    """The model that the options name, with or without a text encoder.

    Raises:
        DataError: it cannot be loaded, or there is no such device.
    """
    from cmelt_plugin.models.inference.pretrained import load_pretrained  # late: it loads the host

    tokenizer, lead_order, score = (getattr(args, name, None) for name in ("tokenizer", "lead_order", "score"))
    try:
        return load_pretrained(args.checkpoint, tokenizer, args.device, lead_order, score, getattr(args, "variances", None))
    except (RuntimeError, AssertionError) as error:  # torch's ways to say that there is no such device
        raise DataError(f"--device {args.device}: {str(error).splitlines()[0]}") from None


def load_text_model(args: argparse.Namespace) -> Pretrained:
    """The model that the options name, with both encoders.

    Raises:
        DataError: as :func:`load_ecg_model`, or it is an encoder of ECGs alone.
    """
    pretrained = load_ecg_model(args)
    if not hasattr(pretrained.model, "embed_text"):
        raise DataError(
            f"{args.checkpoint}: an ECG model that has no text encoder, as fine-tuned classifiers are; comparing recordings "
            "with texts needs the checkpoint of ECG–text pre-training"
        )
    return pretrained


def require(pretrained: Pretrained, ability: type, what: str) -> None:
    """Stop where a model lacks a protocol of :mod:`cmelt_plugin.models.base` that not every system has.

    Args:
        pretrained: the model.
        ability: the protocol.
        what: it can do, after "systems that can".

    Raises:
        DataError: the model cannot; the systems that can are named.
    """
    if not isinstance(pretrained.model, ability):
        able = [name for name, system in sorted(systems().items()) if issubclass(system.model_class(), ability)]
        raise DataError(f"{pretrained.source}: this model cannot {what}; systems that can: {', '.join(able) or 'none'}")
