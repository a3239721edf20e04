"""Has anything changed since a model was calibrated? Embeddings and scores of two sets of recordings, and the promise over
time.

Compares the recordings of --current with those of --reference (such as the calibration data) as the model sees them: the
scores of each class by Kolmogorov and Smirnov's test, corrected for their number; embeddings by how well a classifier tells
both apart, and by their distances. With a calibration, the recordings of --current in windows by time: how many are refused,
and, where there are labels, which recall the sets had. Drift says that the promise may no longer hold, not that it does not:
only labels can tell.
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
from cmelt_plugin.data.batches.labelled import labels_by_name
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.files import write_texts
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.drift.comparison import (
    FEWEST,
    Window,
    first_records,
    point_drift,
    promised_classes,
    score_drift,
    windows,
)
from cmelt_plugin.evaluation.drift.tables import drift_tables
from cmelt_plugin.evaluation.labelled_split import count_subjects, data_set_name, open_labelled
from cmelt_plugin.evaluation.options import OPTIONS, add_options, typed_command
from cmelt_plugin.evaluation.result_files import Result, write_result
from cmelt_plugin.evaluation.uncertainty.scorers import Scorer, open_scorer
from cmelt_plugin.models.inference.calibration import (
    Calibration,
    calibration_root,
    expected_mistakes,
    find_calibration,
    read_points,
)
from cmelt_plugin.models.inference.neighbours import neighbour_distance
from cmelt_plugin.option_types import command_parser
from cmelt_plugin.prompts import KINDS

EXAMPLE = """example:
  python -m cmelt_plugin.evaluation.drift --checkpoint checkpoints/mine/checkpoint_best.pt \\
      --reference manifests/mine --current manifests/mine-2026 --results results/drift
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = command_parser("cmelt_plugin.evaluation.drift", __doc__, EXAMPLE)
    left_out = ("manifest", "split", "bootstrap")
    add_options(result, [name for name in OPTIONS if name not in left_out], {"seed": {"help": "of what is drawn (0)"}})
    result.add_argument("--reference", type=Path, required=True, metavar="DIR", help="labelled directory of then")
    result.add_argument("--reference-split", default="valid", metavar="SPLIT", help="(valid)")
    result.add_argument("--current", type=Path, required=True, metavar="DIR", help="directory of now; labels may be missing")
    result.add_argument("--current-split", default="test", metavar="SPLIT", help="(test)")
    result.add_argument("--calibration", type=Path, metavar="DIR", help="folder of calibrations (beside the model)")
    result.add_argument("--windows", type=option_types.count, default=10, metavar="N", help="parts in time (10)")
    result.add_argument("--prompts", help="zero-shot: class texts, a JSON file or one of our label sets")
    result.add_argument("--prompt-kind", choices=KINDS, help="zero-shot: our texts of this kind (as the directory has them)")
    result.add_argument("--probe", type=Path, metavar="FILE.npz", help="a linear probe on the checkpoint (--save-probe)")
    result.add_argument("--pool", help="with --probe: the pool of its features (as the probe says)")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code.

    Raises:
        DataError: model and recordings do not belong together, these are too few, or the calibration is of other weights.
    """
    args = parser().parse_args(argv)
    command = typed_command("cmelt_plugin.evaluation.drift", argv)
    reference = open_labelled(args.reference, args.reference_split)
    current = Manifest.open(args.current, args.current_split)
    meta = current.meta(["subject_id", "source", "time"])
    subjects, times = meta["subject_id"].to_pylist(), [str(time or "") for time in meta["time"].to_pylist()]
    first, first_now = first_records(reference.subject_id), first_records(subjects)
    for place, rows, option in ((reference.manifest, first, "--reference"), (current, first_now, "--current")):
        if len(rows) < FEWEST:
            few = f"{place.directory}/{place.split}: {len(rows)} subjects, and whether anything has changed needs {FEWEST}"
            raise DataError(f"{few}; take a split of more ({option}, {option}-split)")
    scorer = open_scorer(copy.copy(args), args.reference, reference.names)
    before, now = scorer.states(reference.manifest), scorer.states(current)
    drifts = score_drift(scorer.scores(before)[first], scorer.scores(now)[first_now], scorer.names)
    people, people_now = [reference.subject_id[row] for row in first], [subjects[row] for row in first_now]
    points = point_drift(scorer.points(before)[first], scorer.points(now)[first_now], people, people_now, args.seed)
    found = find_calibration(
        args.calibration or calibration_root(args.checkpoint, args.probe, args.variances),
        scorer.encoder.cache.weights,
        scorer.key,
    )
    notes = [f"Tests on the first record of each subject: {len(first)} then, {len(first_now)} now."]
    promise: dict[str, Any] = {}
    if found is None:
        notes.append("No calibration of these classes: nothing to say on its promise (evaluation.calibrate makes one).")
    else:
        calibration, folder = found
        labels = None if current.labels() is None else labels_by_name(current, scorer.names)
        sets = calibration.sets(scorer.scores(now))
        refused = _refused(scorer, calibration, folder, now)
        promised = promised_classes(calibration)
        over_time = windows(times, subjects, labels, sets, promised, refused, args.windows, args.seed)
        promise = {"promised": calibration.recall, "windows": [_plain(one) for one in over_time]}
        if labels is None:
            notes.append("No labels: whether the promise is kept cannot be said.")
        else:
            tests = "beta-binomial, for one calibration has not the promised recall but one near it; Holm's correction over"
            notes.append(f"p-values of recalls: {tests} classes and windows; in each a subject counts once for a class.")
    result = Result(
        kind="drift",
        model=args.model_name,
        checkpoint=str(args.checkpoint),
        data_set=data_set_name(args.current, meta["source"].to_pylist()),
        label_set=reference.label_set,
        split=args.current_split,
        n_records=len(current),
        n_subjects=count_subjects(subjects),
        settings={
            **scorer.settings,
            "reference": f"{args.reference}/{args.reference_split}",
            "manifest": str(args.current),
            **promise,
        },
        metrics={f"points/{name}": value for name, value in points._asdict().items()},
        per_class={one.name: {"statistic": one.statistic, "p_value": one.p_value, "shift": one.shift} for one in drifts},
        notes=notes,
        command=command,
    )
    tables = drift_tables(result)
    head = f"{args.current}/{args.current_split} ({len(current)} records) against {args.reference}/{args.reference_split}"
    head += f" ({len(reference.labels)})"
    page = ["# Drift\n", f"{head}\n", *(table.markdown() for table in tables), *notes, f"\nCommand: `{command}`\n"]
    write_texts(args.results, {"drift.md": "\n".join(page)})
    write_result(args.results, result)
    print(head, *(f"\n{table.markdown()}" for table in tables), *notes, sep="\n")
    return 0


def _plain(window: Window) -> dict[str, Any]:
    """Null for what is not known."""
    return {name: None if value != value else value for name, value in window._asdict().items()}


def _refused(scorer: Scorer, calibration: Calibration, folder: Path, states: dict[str, np.ndarray]) -> np.ndarray | None:
    """Which records lie beyond a limit of abstention, bool ``[N]``; None without limits."""
    limits = calibration.abstention
    if not limits:
        return None
    points = scorer.points(states)
    passed = np.ones(len(points), dtype=bool)
    if limits["distance"] is not None:
        passed &= neighbour_distance(points, read_points(folder), int(limits["neighbours"])) <= limits["distance"]
    if limits["uncertainty"] is not None:
        doubt = expected_mistakes(calibration.probabilities(scorer.scores(states)))
        if limits["uncertainty_name"] == "variance":
            doubt = np.asarray(scorer.variance(states))
        passed &= doubt <= limits["uncertainty"]
    return ~passed


if __name__ == "__main__":
    sys.exit(run(main))
