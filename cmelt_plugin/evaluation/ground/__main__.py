"""Where a model looks in a recording for each sentence of its report, against where the finding truly lies.

For every sentence that affirms a finding of which the events file knows places in the recording: whether the largest attention
lies in one of them (pointing game), and how far the steps of largest attention, as many as the events have, are theirs (IoU).
Beside it what needs no sentence: uniform attention, and a random one of the queries that the model mixes. Both are expected
values, not draws. Intervals: subjects resampled. Findings are recognised by class texts.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cmelt_plugin import option_types
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.files import write_texts
from cmelt_plugin.evaluation.finding_texts import FINDINGS_OPTION
from cmelt_plugin.evaluation.ground.evaluate import evaluate
from cmelt_plugin.evaluation.ground.examples import write_examples
from cmelt_plugin.evaluation.ground.tables import grounding_table
from cmelt_plugin.evaluation.labelled_split import folder_names
from cmelt_plugin.evaluation.options import TEXT_MODEL, add_options, load_text_model, require, typed_command
from cmelt_plugin.evaluation.plots.style import new_figure, to_svg
from cmelt_plugin.evaluation.result_files import write_result
from cmelt_plugin.models.base import Grounding
from cmelt_plugin.option_types import command_parser

EXAMPLE = """example:
  python -m cmelt_plugin.evaluation.ground --checkpoint checkpoints/mine/checkpoint_best.pt \\
      --manifest manifests/synthetic --events data/synthetic/events.parquet --split test --results results/grounding
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = command_parser("cmelt_plugin.evaluation.ground", __doc__, EXAMPLE)
    add_options(result, [name for name in TEXT_MODEL if name != "cache"])
    result.add_argument("--events", type=Path, required=True, help="where findings lie: events.parquet of a synthetic cohort")
    result.add_argument("--findings", **FINDINGS_OPTION)
    result.add_argument(
        "--figures", type=option_types.natural, default=3, metavar="N", help="recordings to draw: those with most sentences (3)"
    )
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code.

    Raises:
        DataError: the model does not point, or something it needs is missing.
    """
    args = parser().parse_args(argv)
    command = typed_command("cmelt_plugin.evaluation.ground", argv)
    if args.figures:
        new_figure(1, 1)  # without matplotlib there is nothing to wait for
    manifests = [Manifest.open(directory, args.split) for directory in args.manifest]
    pretrained = load_text_model(args)
    require(pretrained, Grounding, "point to parts of a recording")
    named, lines = [], []
    for name, manifest in zip(folder_names(args.manifest), manifests):
        result, examples, words = evaluate(args, pretrained, manifest, command)
        folder: Path = args.results / f"grounding-{name}"
        if examples:
            write_examples(folder, examples)
            figures = {f"example-{number}.svg": to_svg(e.figure()) for number, e in enumerate(examples, start=1)}
            write_texts(folder, figures)
        write_result(folder, result)
        named.append((name, result))
        lines += [f"- {name}: {note}" for note in result.notes[:2]] + [f"- {name}, {sentence}" for sentence in words]
    table = grounding_table(named)
    page = [
        f"# {table.title}\n",
        f"Checkpoint: `{args.checkpoint}`\n",
        table.markdown(),
        "\n".join(lines) + "\n",
        f"Command: `{command}`\n",
    ]
    write_texts(args.results, {"grounding.md": "\n".join(page), "grounding.csv": table.csv()})
    print(table.markdown(), *lines, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
