"""CODE-test: people, the supervised network and a zero-shot model against the gold standard (paper Table 5).

The folder ``annotations/`` of CODE-test holds one table of yes/no decisions per reader: 827 tracings of 827 patients, six
classes (Ribeiro et al. 2020). Of yes/no decisions the area under the ROC curve is the mean of sensitivity and specificity,
and macro AUC is its mean over the classes; this is how the paper's Table 5 was made. A model that scores has two rows: its
scores, which no reader's row can be compared with, and its decisions at thresholds from validation data, which all can.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import sys
from collections.abc import Sequence
from pathlib import Path

from cmelt_plugin import option_types
from cmelt_plugin.data.code_test_annotations import CLASSES, LABEL_SET
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.human_readers.rows import FROM_SCORES, READERS, RESAMPLES, Row, evaluate, model_rows, reader_rows
from cmelt_plugin.evaluation.human_readers.table import table_of
from cmelt_plugin.evaluation.options import typed_command
from cmelt_plugin.evaluation.result_files import Scores, StoredResult, read_results, write_result

EXAMPLE = """example:
  python -m cmelt_plugin.evaluation.human_readers --annotations data/code-test/annotations \\
      --result results/zero-shot/code-test --results results/readers
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = option_types.command_parser("cmelt_plugin.evaluation.human_readers", __doc__, EXAMPLE)
    parser.add_argument("--annotations", type=Path, required=True, help="folder annotations/ of CODE-test")
    parser.add_argument("--result", type=Path, nargs="+", default=[], help="result folders of models evaluated on CODE-test")
    parser.add_argument("--results", type=Path, help="folder to write one result per row to")
    parser.add_argument(
        "--resamples", type=option_types.count, default=RESAMPLES, help=f"of the intervals (default {RESAMPLES})"
    )
    parser.add_argument("--seed", type=option_types.seed, default=0, help="of the intervals (default 0)")
    args = parser.parse_args(argv)
    rows = reader_rows(args.annotations)
    for stored in _on_code_test(args.result):
        rows += model_rows(stored, rows[0].labels)
    results = [None if row.missing else evaluate(row, args.seed, args.resamples) for row in rows]
    print(table_of(rows, results))
    if args.results is not None:
        command = typed_command("cmelt_plugin.evaluation.human_readers", argv)
        for folder, row, result in zip(_folders(args.results, rows), rows, results):
            if result is not None:
                result.command = command
                write_result(folder, result, Scores(row.record_id, row.record_id, CLASSES, row.labels, row.scores))
        print(f"results written to {args.results}")
    return 0


def _on_code_test(folders: Sequence[Path]) -> list[StoredResult]:
    """Results of models on CODE-test below the folders; the others are named on stderr.

    Raises:
        DataError: folders are given and there is none.
    """
    chosen = []
    for stored in read_results(folders) if folders else []:
        if stored.result.label_set == LABEL_SET and stored.result.kind == "zero_shot":
            chosen.append(stored)
        else:
            what = f"{stored.result.kind}, {stored.result.label_set or 'no label set'}"
            print(f"left out: {stored.folder} ({what})", file=sys.stderr)
    if folders and not chosen:
        raise DataError(f"{', '.join(map(str, folders))}: no zero-shot result with label set {LABEL_SET!r}")
    return chosen


def _folders(root: Path, rows: Sequence[Row]) -> list[Path]:
    """One folder per row: the reader's file name, or number and kind of the model's row."""
    folders = [root / reader.file for reader in READERS]
    for number, row in enumerate(rows[len(READERS) :]):
        folders.append(root / f"model-{number // 2 + 1}-{'scores' if row.kind == FROM_SCORES else 'decisions'}")
    return folders


if __name__ == "__main__":
    sys.exit(run(main))
