"""What the confidence of models is worth: probabilities, promised recalls, abstention, foreign recordings.

Everything is fitted on --calibrate-on and measured on --split: (1) calibration error and Brier score of the model's own
probabilities and of three recalibrations; (2) recall and size of sets that promise a recall; (3) risk against coverage where
the least certain recordings are left out, by the variance of embeddings where there is one, by max-probability, by three
linear probes that differ in their seed, by Monte-Carlo dropout and by the distance to known recordings; (4) how well each of
these tells noise, lost or exchanged leads, wrong gains and rates, and signals of no heart from ordinary recordings. Several
--checkpoint make one table; those of one --model-name are trainings of one model, of which it has the mean and the standard
deviation. Result folders go to the report page.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import copy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cmelt_plugin import option_types
from cmelt_plugin.data.directory.subjects import in_both
from cmelt_plugin.data.files import atomic_path, write_texts
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.calibrate.__main__ import recall_share
from cmelt_plugin.evaluation.calibrate.fitting import SUBJECT, UNITS, Options
from cmelt_plugin.evaluation.confidence.evaluate import evaluate_confidence, settings_of
from cmelt_plugin.evaluation.confidence.seeds import over_trainings
from cmelt_plugin.evaluation.confidence.tables import confidence_tables
from cmelt_plugin.evaluation.labelled_split import open_labelled, result_on
from cmelt_plugin.evaluation.options import OPTIONS, add_options, command_facts, typed_command
from cmelt_plugin.evaluation.result_files import CONFIDENCE_FILE, Result, write_result
from cmelt_plugin.evaluation.uncertainty.dropout import PASSES
from cmelt_plugin.evaluation.uncertainty.foreign import FOREIGN
from cmelt_plugin.evaluation.uncertainty.scorers import open_scorer
from cmelt_plugin.evaluation.uncertainty.unseen import check_unseen
from cmelt_plugin.models.inference.calibration import METHODS, PLATT
from cmelt_plugin.option_types import command_parser
from cmelt_plugin.prompts import KINDS

EXAMPLE = """example:
  python -m cmelt_plugin.evaluation.confidence --manifest manifests/ptb-xl-super --results results/confidence \\
      --checkpoint checkpoints/cmelt/checkpoint_best.pt checkpoints/merl/checkpoint_best.pt --model-name C-MELT MERL
"""
COSTS = (4.0, 9.0, 19.0)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = command_parser("cmelt_plugin.evaluation.confidence", __doc__, EXAMPLE)
    changes: dict[str, dict[str, Any]] = {
        "checkpoint": {"nargs": "+", "help": "checkpoints, exported folders, or published weights"},
        "manifest": {"nargs": None, "help": "labelled manifest directory"},
        "model-name": {
            "nargs": "+",
            "default": None,
            "help": "of each checkpoint in tables (as its folder); one name several times: trainings of one model",
        },
        "seed": {"help": "of bootstrap, folds, probes, dropout and foreign recordings (0)"},
    }
    add_options(result, list(OPTIONS), changes)
    result.add_argument("--calibrate-on", default="valid", metavar="SPLIT", help="split that everything is fitted on (valid)")
    result.add_argument("--recall", type=recall_share, default=0.95, help="to be promised (0.95)")
    result.add_argument("--method", choices=METHODS, default=PLATT, help="probabilities behind max-probability (platt)")
    result.add_argument("--unit", choices=UNITS, default=SUBJECT, help="what recalls are promised for (subject)")
    result.add_argument("--prompts", help="zero-shot: class texts, a JSON file or one of our label sets")
    result.add_argument("--prompt-kind", choices=KINDS, help="zero-shot: our texts of this kind (as the directory has them)")
    result.add_argument("--probe", type=Path, metavar="FILE.npz", help="a linear probe on the one checkpoint (--save-probe)")
    result.add_argument("--pool", help="with --probe: the pool of its features (as the probe says)")
    result.add_argument(
        "--passes", type=option_types.natural, default=PASSES, metavar="N", help=f"with dropout; 0: none ({PASSES})"
    )
    result.add_argument("--no-probes", dest="probes", action="store_false", help="leave the three probes out")
    result.add_argument(
        "--probe-epochs", type=option_types.count, default=50, metavar="N", help="epochs of the three probes (50)"
    )
    result.add_argument(
        "--cost",
        type=option_types.positive_number,
        nargs="*",
        default=list(COSTS),
        metavar="ALARMS",
        help="false alarms that a found case is worth, for net benefits (4 9 19)",
    )
    result.add_argument("--foreign", nargs="*", choices=FOREIGN, default=list(FOREIGN), help="kinds (all); none: no kind")
    result.add_argument(
        "--foreign-records", type=option_types.count, default=500, metavar="N", help="that foreign ones are made of (500)"
    )
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code.

    Raises:
        DataError: training saw the records, the splits share some or their subjects, or a model and the records do not belong
            together.
    """
    args = parser().parse_args(argv)
    command = typed_command("cmelt_plugin.evaluation.confidence", argv)
    if args.calibrate_on == args.split:
        raise DataError(f"--calibrate-on {args.split}: what is fitted on the records it is measured on flatters; take others")
    names = _names(args)
    folders = _folders(args.results, names)
    if args.probe is not None and len(names) > 1:
        raise DataError("--probe: belongs to one checkpoint; give exactly one")
    test, valid = open_labelled(args.manifest, args.split), open_labelled(args.manifest, args.calibrate_on)
    shared = in_both(args.manifest, args.split, args.manifest, args.calibrate_on)
    if shared:
        where = f"{shared.many} are in {args.calibrate_on}, too, which everything is fitted on (one of them: {shared.one})"
        remedy = "split by subject, or take another split with --calibrate-on"
        raise DataError(f"{args.manifest}/{args.split}: {where}; {remedy}")
    results: list[Result] = []
    for checkpoint, name, folder in zip(args.checkpoint, names, folders):
        own = copy.copy(args)
        own.checkpoint, own.model_name = checkpoint, name
        scorer = open_scorer(own, args.manifest, test.names)
        notes = [
            check_unseen(args.manifest, split, training)
            for training in scorer.trained_on()
            for split in (args.calibrate_on, args.split)
        ]
        options = Options(args.recall, args.method, args.unit, 0, seed=args.seed)
        found = evaluate_confidence(scorer, test, valid, options, args.foreign, own)
        facts = command_facts(own, command, settings_of(scorer, own, valid))
        result = result_on(
            test,
            "confidence",
            facts,
            settings=dict(facts.settings),
            metrics={key: value for key, value in found.metrics.items() if np.isfinite(value)},
            intervals=found.intervals,
            per_class=found.per_class,
            notes=[*dict.fromkeys(filter(None, notes)), *found.notes, *test.label_notes],
        )
        with atomic_path(folder / CONFIDENCE_FILE) as temporary:
            arrays: dict[str, Any] = {**found.arrays}
            np.savez(temporary, **arrays)
        write_result(folder, result)
        results.append(result)
    tables = confidence_tables(over_trainings(results))
    head = f"{args.manifest}/{args.split}: {len(test.labels)} records of {test.n_subjects} subjects"
    head += f"; calibrated on {args.calibrate_on}: {len(valid.labels)} of {valid.n_subjects}"
    notes = list(dict.fromkeys(f"- {result.model}: {note}" for result in results for note in result.notes))
    page = [
        "# Confidence\n",
        f"{head}\n",
        *(table.markdown() for table in tables),
        "\n".join(notes) + "\n",
        f"Command: `{command}`\n",
    ]
    write_texts(args.results, {"confidence.md": "\n".join(page)})
    print(head, *(f"\n{table.markdown()}" for table in tables), *notes, sep="\n")
    return 0


def _names(args: argparse.Namespace) -> list[str]:
    names = args.model_name or [_default_name(checkpoint) for checkpoint in args.checkpoint]
    if len(names) != len(args.checkpoint):
        raise DataError(f"--model-name: give each of the {len(args.checkpoint)} checkpoints a name")
    if args.model_name is None and len(set(names)) < len(names):
        raise DataError("--model-name: the folders of two checkpoints have one name; name the models, or say that they are one")
    if any(name in ("", ".", "..") or "/" in name or "\0" in name for name in names):
        raise DataError("--model-name: names of folders, without /")
    return names


def _folders(results: Path, names: Sequence[str]) -> list[Path]:
    """Of each checkpoint: the folder itself of a single one, else one below it by name, trainings of one model numbered."""
    if len(names) == 1:
        return [results]
    own = [name if names.count(name) == 1 else f"{name}-{1 + names[:place].count(name)}" for place, name in enumerate(names)]
    if len(set(own)) < len(own):
        raise DataError(f"--model-name: {', '.join(names)} make the folders {', '.join(own)}, of which two are one")
    return [results / name for name in own]


def _default_name(checkpoint: str) -> str:
    path = Path(checkpoint)
    return (path.parent.name if path.suffix else path.name) or "model"


if __name__ == "__main__":
    sys.exit(run(main))
