"""Options that the commands which evaluate a pre-trained model share, and the model they name."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from cmelt_plugin import option_types
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding.precision import add_precision_argument
from cmelt_plugin.models.pretrained import Pretrained, load_pretrained


def add_pretrained_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options about model, split, sizes and results."""
    parser.add_argument("--checkpoint", required=True, help="pre-trained checkpoint, exported folder, or published weights")
    parser.add_argument("--manifest", type=Path, nargs="+", required=True, help="manifest directories")
    parser.add_argument("--split", default="test", help="split to evaluate (test)")
    parser.add_argument("--results", type=Path, required=True, help="folder for the results")
    parser.add_argument("--tokenizer", help="folder or name of the text encoder's tokenizer, where it is not found by itself")
    parser.add_argument("--lead-order", help="published weights only: standard or mimic-iv-ecg")
    parser.add_argument("--cache", type=Path, help="folder for ECG embeddings, used again by later runs")
    parser.add_argument(
        "--bootstrap", type=option_types.natural, default=1000, metavar="N", help="resamples for intervals; 0: none (1000)"
    )
    parser.add_argument("--seed", type=option_types.seed, default=0, help="of the resamples (0)")
    parser.add_argument("--model-name", default="ours", help="how tables call the model (ours)")
    parser.add_argument("--batch-size", type=option_types.count, default=64, help="recordings at a time (64)")
    parser.add_argument("--device", default="cpu", help="e.g. cuda (cpu)")
    add_precision_argument(parser)


def typed_command(module: str, argv: Sequence[str] | None) -> str:
    """What was typed, to repeat it."""
    return shlex.join(["python", "-m", module, *map(str, sys.argv[1:] if argv is None else argv)])


def load_contrastive(args: argparse.Namespace) -> Pretrained:
    """The pre-trained model, both encoders, that the options name.

    Raises:
        DataError: it cannot be loaded, is a fine-tuned classifier, or there is no such device.
    """
    try:
        pretrained = load_pretrained(args.checkpoint, args.tokenizer, args.device, args.lead_order)
    except (RuntimeError, AssertionError) as error:  # torch's ways to say that there is no such device
        raise DataError(f"--device {args.device}: {str(error).splitlines()[0]}") from None
    if pretrained.is_classifier:
        raise DataError(
            f"{args.checkpoint}: a fine-tuned classifier, which has no text encoder; give the pre-trained checkpoint"
        )
    return pretrained
