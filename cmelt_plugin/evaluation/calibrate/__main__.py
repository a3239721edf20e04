"""Calibrate a model on records of yours: probabilities that mean what they say, and sets with a promised recall.

Fits, on one labelled split that training did not see, (1) a curve from scores to probabilities for each class, (2) for each
class the threshold from which on it belongs to a recording's set, so that of future recordings with the class the share
--recall has it in its set (split conformal prediction; exact for any number of records from the one that is printed), and (3)
limits beyond which a recording gets no answer. Everything is written beside the model, with counts, date and the fingerprint
of the data, and used by whoever opens the model. The promise is for subjects like those of the split; --target reweights for
others.

Zero-shot by the class texts of the directory (or --prompts), a fine-tuned classifier, or a linear probe (--probe).
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cmelt_plugin import option_types
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.calibrate.fitting import (
    MISTAKES,
    SUBJECT,
    UNCERTAINTIES,
    UNITS,
    Options,
    fit_calibration,
)
from cmelt_plugin.evaluation.calibrate.tables import class_table, method_table
from cmelt_plugin.evaluation.labelled_split import open_labelled
from cmelt_plugin.evaluation.options import OPTIONS, add_options, typed_command
from cmelt_plugin.evaluation.uncertainty.scorers import open_scorer
from cmelt_plugin.evaluation.uncertainty.unseen import check_unseen
from cmelt_plugin.models.inference.calibration import METHODS, PLATT, calibration_root, write_calibration
from cmelt_plugin.option_types import command_parser
from cmelt_plugin.prompts import KINDS

EXAMPLE = """examples:
  python -m cmelt_plugin.evaluation.calibrate --checkpoint checkpoints/mine/checkpoint_best.pt \\
      --manifest manifests/ptb-xl-super --split valid --recall 0.95
  python -m cmelt_plugin.evaluation.calibrate --checkpoint synthetic --manifest manifests/mine --dest calibrations/mine
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = command_parser("cmelt_plugin.evaluation.calibrate", __doc__, EXAMPLE)
    changes: dict[str, dict[str, Any]] = {
        "manifest": {"nargs": None, "help": "labelled manifest directory"},
        "split": {"default": "valid", "help": "split to calibrate on; training must not have seen it (valid)"},
        "seed": {"help": "of the folds (0)"},
    }
    add_options(result, [name for name in OPTIONS if name not in ("results", "bootstrap", "model-name")], changes)
    result.add_argument("--recall", type=recall_share, default=0.95, help="to be promised, above 0 and below 1 (0.95)")
    result.add_argument("--method", choices=METHODS, default=PLATT, help="from scores to probabilities (platt)")
    result.add_argument(
        "--unit", choices=UNITS, default=SUBJECT, help="what is promised for: the next subject, or the next record (subject)"
    )
    result.add_argument("--prompts", help="zero-shot: class texts, a JSON file or one of our label sets")
    result.add_argument("--prompt-kind", choices=KINDS, help="zero-shot: our texts of this kind (as the directory has them)")
    result.add_argument("--probe", type=Path, metavar="FILE.npz", help="a linear probe on the checkpoint (--save-probe)")
    result.add_argument("--pool", help="with --probe: the pool of its features (as the probe says)")
    result.add_argument("--target", type=Path, metavar="DIR", help="recordings that the promise is for, without labels")
    result.add_argument("--target-split", default="test", help="split of --target (test)")
    result.add_argument(
        "--refuse", type=_refused, default=0.05, metavar="SHARE", help="of ordinary recordings, by each limit; 0: none (0.05)"
    )
    result.add_argument(
        "--uncertainty", choices=UNCERTAINTIES, default=MISTAKES, help="what the limit of uncertainty is on (mistakes)"
    )
    result.add_argument("--dest", type=Path, help="folder to write to (beside the model, where it is looked for)")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code.

    Raises:
        DataError: training saw the records, or they and the model do not belong together.
    """
    args = parser().parse_args(argv)
    command = typed_command("cmelt_plugin.evaluation.calibrate", argv)
    split = open_labelled(args.manifest, args.split)
    target = None if args.target is None else Manifest.open(args.target, args.target_split)
    scorer = open_scorer(args, args.manifest, split.names)
    notes = [check_unseen(args.manifest, args.split, training) for training in scorer.trained_on()]
    options = Options(args.recall, args.method, args.unit, args.refuse, args.uncertainty, args.seed)
    calibration, points = fit_calibration(scorer, split, options, target, command, " ".join(filter(None, notes)))
    root = args.dest or calibration_root(args.checkpoint, args.probe, args.variances)
    try:
        folder = write_calibration(root, calibration, points)
    except OSError as error:
        raise DataError(f"{root}: cannot be written ({error.strerror}); name another folder with --dest") from None
    print(f"{args.manifest}/{args.split}: {len(split.labels)} records of {split.n_subjects} subjects\n")
    for table in (class_table(calibration), method_table(calibration)):
        print(table.markdown())
    for line in calibration.notes:
        print(line)
    print(f"written: {folder}")
    return 0


def recall_share(text: str) -> float:
    """A recall that can be promised: above 0 and below 1."""
    value = option_types.share(text)
    if value >= 1:
        raise argparse.ArgumentTypeError(f"{text}: must be below 1; no finite data can promise all")
    return value


def _refused(text: str) -> float:
    value = option_types.non_negative_number(text)
    if value >= 1:
        raise argparse.ArgumentTypeError(f"{text}: must be below 1")
    return value


if __name__ == "__main__":
    sys.exit(run(main))
