"""Patient identification with a checkpoint of the task cmelt_identification: top-1 accuracy with a confidence interval.

A subject's first record of the split, in the order of the manifest, is the gallery, the second the probe; a probe is
recognised when its own gallery record is more similar to it than all others. Subjects with one record take no part.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import sys
from collections.abc import Sequence

import numpy as np

from cmelt_plugin.data.batches.labelled import subject_ids
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding.precision import precision_name
from cmelt_plugin.evaluation.finetuned.checkpoint import load_finetuned
from cmelt_plugin.evaluation.labelled_split import data_set_name
from cmelt_plugin.evaluation.metrics.classifier import ratio_interval
from cmelt_plugin.evaluation.metrics.identification import gallery_and_probe, identify
from cmelt_plugin.evaluation.options import classifier_parser, typed_command
from cmelt_plugin.evaluation.result_files import Result, write_result

EXAMPLE = """example:
  python -m cmelt_plugin.evaluation.identify --checkpoint checkpoints/id_12/checkpoint_best.pt \\
      --manifest manifests/cinc2021-id --split test --results results/id_12
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return classifier_parser("cmelt_plugin.evaluation.identify", __doc__, EXAMPLE)


def main(argv: Sequence[str] | None = None) -> int:
    """Embed, compare, print, write; returns the exit code.

    Raises:
        DataError: the checkpoint or the manifest cannot be used, or no subject has two records.
    """
    arguments = parser().parse_args(argv)
    command = typed_command("cmelt_plugin.evaluation.identify", argv)
    finetuned = load_finetuned(arguments.checkpoint, "cmelt_identification")
    manifest = Manifest.open(arguments.manifest, arguments.split)
    subjects = subject_ids(manifest)
    if not len(gallery_and_probe(subjects)[0]):
        raise DataError(f"{arguments.manifest}/{arguments.split}.meta.parquet: no subject has two records to compare")
    features = finetuned.features(manifest, arguments.batch_size, arguments.device, arguments.workers, arguments.bf16)
    identification = identify(features, subjects.tolist())
    n_subjects = len(identification.subjects)
    intervals = {}
    if arguments.bootstrap:
        right, total = identification.ranks == 1, np.ones(n_subjects)
        interval = ratio_interval(right, total, np.arange(n_subjects), arguments.bootstrap, arguments.seed)
        intervals = {"top1_accuracy": interval} if interval else {}
    spread = "".join(f" [{low:.4f}, {high:.4f}]" for low, high in intervals.values())
    print(f"{arguments.manifest}/{arguments.split}: {n_subjects} subjects, {len(manifest)} records")
    print(f"  top-1 accuracy: {identification.top1:.4f}{spread} (chance {1 / n_subjects:.4f})")
    print(f"  mean rank of the own record: {identification.mean_rank:.1f} of {n_subjects}")
    if arguments.results is not None:
        result = Result(
            kind="identification",
            model=arguments.model_name,
            checkpoint=str(arguments.checkpoint),
            data_set=data_set_name(arguments.manifest, manifest.meta(["source"])["source"].to_pylist()),
            label_set="",
            split=arguments.split,
            n_records=2 * n_subjects,
            n_subjects=n_subjects,
            settings={
                **finetuned.settings,
                "manifest": str(arguments.manifest),
                "precision": precision_name(arguments.bf16),
                "bootstrap": arguments.bootstrap,
            },
            metrics={"top1_accuracy": identification.top1, "mean_rank": identification.mean_rank},
            intervals=intervals,
            notes=["gallery: first record of a person, probe: second; further records of the split are not used"],
            command=command,
        )
        print(f"written: {write_result(arguments.results, result)}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
