"""Attach labels to a manifest directory: from a CSV file with one row per record and one column per class.

Cells are 1 (present), 0 (absent) or empty (unknown). Each split gets SPLIT.labels.npy, float32 [records, classes] with
NaN = unknown, and the directory labels.json. Records without a row in the CSV are unknown throughout. With --prompts,
a JSON file of class texts for zero-shot classification, {"class name": ["text", ...]}, becomes prompts.json.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cmelt_plugin.data.directory.manifest import Manifest, available_splits
from cmelt_plugin.data.directory.own_files import PROMPTS_FILE
from cmelt_plugin.data.text.prompt_copies import copied_kind
from cmelt_plugin.errors import DataError
from cmelt_plugin.prompts import kind_of
from preprocess.data_sets.label_tables import attach_labels, check_prompts, print_class_counts, read_labels

EXAMPLE = """example:
  python preprocess/labels.py --manifest manifests/ptb-xl --labels super_classes.csv --label-set ptb-xl-super \\
      --prompts super_class_texts.json
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, required=True, help="manifest directory")
    parser.add_argument("--labels", type=Path, required=True, help="CSV file of labels")
    parser.add_argument("--prompts", help="class texts: a JSON file, or one of our label sets (docs/prompts.md)")
    parser.add_argument("--label-set", help="name of the label set (default: the CSV's name)")
    parser.add_argument("--id-column", default="record_id", help="column with the record id (default record_id)")
    args = parser.parse_args(argv)

    splits = available_splits(args.manifest)
    if not splits:
        raise DataError(f"{args.manifest}: holds no split (train.tsv with train.meta.parquet)")
    ids, values, names = read_labels(args.labels, args.id_column)
    kept_prompts = args.manifest / PROMPTS_FILE
    prompts, kind = None, None
    if args.prompts:
        prompts, kind = check_prompts(args.prompts, names), kind_of(args.prompts)
    for split in splits:
        Manifest.open(args.manifest, split)
    if prompts is None and kept_prompts.is_file():
        # Texts of another label set must not stay beside the new labels, nor token ids made for another order of classes.
        prompts, kind = check_prompts(kept_prompts, names), copied_kind(args.manifest)

    label_set = args.label_set or args.labels.stem
    found = attach_labels(args.manifest, ids, values, names, label_set, prompts, str(args.labels), kind)
    print_class_counts(found, names, args.labels.name)
    used = np.unique(np.concatenate([position[position >= 0] for position, _ in found.values()])).size
    print(f"{len(ids) - used} rows of {args.labels.name} belong to no record of {args.manifest}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
