"""Reports that a model writes for the recordings of a split, compared with those of their readers.

By wording (BLEU, ROUGE-L, METEOR) and by clinical facts: the findings that a report affirms, recognised by class texts; what is
denied ("no ST elevation") counts as denied. Side by side with what needs no writing: the most frequent report of the training
split, the report of its nearest recording by ECG embedding, and that of a random one. Intervals: subjects resampled.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from cmelt_plugin import option_types
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.files import write_texts
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.finding_texts import FINDINGS_OPTION
from cmelt_plugin.evaluation.generate.baselines import TRAIN
from cmelt_plugin.evaluation.generate.evaluate import evaluate
from cmelt_plugin.evaluation.generate.tables import findings_table, generation_table
from cmelt_plugin.evaluation.labelled_split import folder_names
from cmelt_plugin.evaluation.metrics.text_overlap import TextOverlap
from cmelt_plugin.evaluation.options import TEXT_MODEL, add_options, load_text_model, require, typed_command
from cmelt_plugin.evaluation.result_files import GENERATED_FILE, write_result
from cmelt_plugin.models.base import MAX_WRITTEN_TOKENS, ReportWriter
from cmelt_plugin.option_types import command_parser

EXAMPLE = """example:
  python -m cmelt_plugin.evaluation.generate --checkpoint checkpoints/mine/checkpoint_best.pt \\
      --manifest manifests/mimic-iv-ecg --split test --findings cinc2021 --beams 4 --results results/generation
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = command_parser("cmelt_plugin.evaluation.generate", __doc__, EXAMPLE)
    add_options(result, TEXT_MODEL, {"seed": {"help": "seed of bootstrap and random reports (0)"}})
    result.add_argument(
        "--beams", type=option_types.count, default=1, metavar="N", help="beam search over N texts; 1: greedy (1)"
    )
    result.add_argument(
        "--max-tokens",
        type=option_types.count,
        default=MAX_WRITTEN_TOKENS,
        metavar="N",
        help=f"tokens of a report ({MAX_WRITTEN_TOKENS})",
    )
    result.add_argument("--findings", **FINDINGS_OPTION)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code.

    Raises:
        DataError: the model writes no reports, or something it needs is missing.
    """
    args = parser().parse_args(argv)
    command = typed_command("cmelt_plugin.evaluation.generate", argv)
    if args.split == TRAIN:
        raise DataError(f"--split {TRAIN}: the baselines are reports of this split; evaluate another one")
    overlap = TextOverlap()
    manifests = [Manifest.open(directory, args.split) for directory in args.manifest]
    pretrained = load_text_model(args)
    require(pretrained, ReportWriter, "write reports")
    named = []
    for name, manifest in zip(folder_names(args.manifest), manifests):
        result, rows = evaluate(args, pretrained, manifest, overlap, command)
        folder: Path = args.results / f"generation-{name}"
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        write_texts(folder, {GENERATED_FILE: "".join(lines)})
        write_result(folder, result)
        named.append((name, result))
    tables = [generation_table(named), *(findings_table(name, result) for name, result in named)]
    notes = [f"- {name}: {note}" for name, result in named for note in result.notes]
    page = [
        "# Generated reports\n",
        f"Checkpoint: `{args.checkpoint}`\n",
        *(table.markdown() for table in tables),
        "\n".join(notes) + "\n",
        f"Command: `{command}`\n",
    ]
    write_texts(args.results, {"generation.md": "\n".join(page), "generation.csv": tables[0].csv()})
    print(*(table.markdown() for table in tables), *notes, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
