"""One self-contained HTML page and the tables of papers, from result folders.

``report.html`` shows every result with its sample size and interval, published tables with one's own rows below the others,
curves per class, confusion, t-SNE of kept embeddings, frequent words of clinical reports and training curves.
``tables/`` holds the same tables as Markdown, CSV and LaTeX.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from cmelt_plugin import option_types
from cmelt_plugin.data.files import write_texts
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.plots.tsne import MIN_RECORDS
from cmelt_plugin.evaluation.report.blocks import Commands, Section
from cmelt_plugin.evaluation.report.own_rows import ExtendedTable, extend
from cmelt_plugin.evaluation.report.page import render_page
from cmelt_plugin.evaluation.report.published import published_tables
from cmelt_plugin.evaluation.report.sections.classes import classes_section, with_curves
from cmelt_plugin.evaluation.report.sections.clinical_reports import words_section
from cmelt_plugin.evaluation.report.sections.confidence import confidence_section
from cmelt_plugin.evaluation.report.sections.drift import drift_section
from cmelt_plugin.evaluation.report.sections.embeddings import tsne_section
from cmelt_plugin.evaluation.report.sections.generation import generation_section
from cmelt_plugin.evaluation.report.sections.grounding import grounding_section
from cmelt_plugin.evaluation.report.sections.overview import overview_section
from cmelt_plugin.evaluation.report.sections.published_tables import table_section
from cmelt_plugin.evaluation.report.sections.regression import regression_section
from cmelt_plugin.evaluation.report.sections.training import training_section
from cmelt_plugin.evaluation.report.sections.uncertainty import uncertainty_section
from cmelt_plugin.evaluation.report.training_log import read_log
from cmelt_plugin.evaluation.result_files import StoredResult, read_results
from cmelt_plugin.tables import comma_separated, latex, markdown

EXAMPLE = """example:
  python -m cmelt_plugin.evaluation.report --runs results --dest report --manifest manifests/mimic-iv-ecg \\
      --log checkpoints/mine/train.log
"""


def write_tables(tables: Sequence[ExtendedTable], dest: Path) -> list[Path]:
    """Write each table as ``table-ID.md``, ``.csv`` and ``.tex``; return the paths."""
    paths: list[Path] = []
    for extended in tables:
        table = extended.table
        head, rows = extended.heads(), extended.texts()
        own = [index for index, row in enumerate(extended.rows) if row.own]
        caption = f"{table.title} ({table.unit}). Other rows: {table.source}."
        sized = [*rows, ["records evaluated here", *extended.sizes()]] if own else rows
        texts = {
            "md": f"Table {table.number}: {table.title} ({table.unit})\n\n" + markdown(head, sized),
            "csv": comma_separated([*head, "measured here"], [[*r, str(i in own)] for i, r in enumerate(rows)]),
            "tex": latex(head, rows, caption, bold=own),
        }
        paths += write_texts(dest, {f"table-{table.id}.{suffix}": text for suffix, text in texts.items()})
    return paths


def build_page(
    results: Sequence[StoredResult],
    tables: Sequence[ExtendedTable],
    manifests: Sequence[Path],
    logs: Sequence[Path],
    min_records: int,
) -> str:
    """The HTML page.

    Raises:
        DataError: a kept array, a manifest or a log is unreadable.
    """
    parts = [overview_section(results), *map(table_section, tables)]
    detailed = with_curves(results)
    for stored in tqdm(results, unit="result", desc="pictures"):
        if stored in detailed:
            parts += [part for part in (classes_section(stored),) if part]
        own = (
            generation_section(stored),
            grounding_section(stored),
            regression_section(stored),
            uncertainty_section(stored),
            confidence_section(stored),
            drift_section(stored),
            tsne_section(stored, min_records),
        )
        parts += [part for part in own if part]
    parts += [part for part in map(words_section, manifests) if part]
    for path in logs:
        part = training_section(str(path), read_log(path))
        if part is None:
            raise DataError(f"{path}: no metrics of a training; was it written with common.log_format=json?")
        parts.append(part)
    typed = [result.command for _, result in results if result.command]
    if typed:
        parts.append(Section("Commands", [Commands(list(dict.fromkeys(typed)))]))
    models = list(dict.fromkeys(result.model for _, result in results))
    return render_page("Evaluation", f"{len(results)} results of {', '.join(models)}", parts)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="result folders, or folders above them")
    parser.add_argument("--dest", type=Path, required=True, help="folder to write report.html and tables/ into")
    parser.add_argument("--manifest", type=Path, nargs="*", default=[], help="manifest directories, for their reports")
    parser.add_argument("--log", type=Path, nargs="*", default=[], help="training logs (common.log_format=json)")
    parser.add_argument("--all-tables", action="store_true", help="also the published tables you have no result for")
    parser.add_argument(
        "--min-records",
        type=option_types.count,
        default=MIN_RECORDS,
        help=f"t-SNE leaves out classes with fewer records (default {MIN_RECORDS}, as the paper)",
    )
    args = parser.parse_args(argv)
    results = read_results(args.runs)
    every = [extend(table, results) for table in published_tables()]
    tables = [extended for extended in every if extended.has_own or args.all_tables]
    text = build_page(results, tables, args.manifest, args.log, args.min_records)
    paths = write_tables(tables, args.dest / "tables")
    write_texts(args.dest, {"report.html": text})
    print(f"{len(results)} results, {len(tables)} tables ({len(paths)} files in {args.dest / 'tables'})")
    for extended in tables:
        print(f"\nTable {extended.table.number}: {extended.table.title} ({extended.table.unit})")
        for texts, row in zip(extended.texts(), extended.rows):
            if row.own:
                cells = zip(extended.table.columns, texts[1:])
                print("  " + texts[0] + ": " + "; ".join(f"{column.label} {text}" for column, text in cells))
    print(f"\nPage: {args.dest / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
