"""One self-contained HTML page and the tables of the paper, from result folders.

``report.html`` shows every result with its sample size and interval, the paper's Tables 1 to 8 with one's own rows below
the published ones, curves per class, confusion, t-SNE of kept embeddings, frequent words of reports and training curves.
``tables/`` holds the same tables as Markdown, CSV and LaTeX.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from cmelt_plugin import option_types
from cmelt_plugin.data.files import atomic_path
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.plots.tsne import MIN_RECORDS
from cmelt_plugin.evaluation.report import page, sections
from cmelt_plugin.evaluation.report import table_formats as formats
from cmelt_plugin.evaluation.report.published import published_tables, source
from cmelt_plugin.evaluation.report.published_rows import Comparison, compare
from cmelt_plugin.evaluation.report.training_log import read_log
from cmelt_plugin.evaluation.result_files import StoredResult, read_results

EXAMPLE = """example:
  python -m cmelt_plugin.evaluation.report --runs results --dest report --manifest manifests/mimic-iv-ecg \\
      --log checkpoints/mine/train.log
"""


def write_tables(comparisons: Sequence[Comparison], dest: Path) -> list[Path]:
    """Write each comparison as ``table-ID.md``, ``.csv`` and ``.tex``; return the paths."""
    paths = []
    for comparison in comparisons:
        table = comparison.table
        head, rows = comparison.heads(), comparison.texts()
        own = [index for index, row in enumerate(comparison.rows) if row.own]
        caption = f"{table.title} ({table.unit}). Other rows: {source()}."
        sized = [*rows, ["records evaluated here", *comparison.sizes()]] if own else rows
        texts = {
            "md": f"Table {table.number}: {table.title} ({table.unit})\n\n" + formats.markdown(head, sized),
            "csv": formats.comma_separated([*head, "measured here"], [[*r, str(i in own)] for i, r in enumerate(rows)]),
            "tex": formats.latex(head, rows, caption, bold=own),
        }
        for suffix, text in texts.items():
            paths.append(dest / f"table-{table.id}.{suffix}")
            with atomic_path(paths[-1]) as temporary:
                temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    return paths


def build_page(
    results: Sequence[StoredResult],
    comparisons: Sequence[Comparison],
    manifests: Sequence[Path],
    logs: Sequence[Path],
    min_records: int,
) -> str:
    """The HTML page.

    Raises:
        DataError: a kept array, a manifest or a log is unreadable.
    """
    parts = [sections.overview_section(results)]
    parts += [sections.table_section(comparison, source()) for comparison in comparisons]
    detailed = sections.with_curves(results)
    for stored in tqdm(results, unit="result", desc="figures"):
        if stored in detailed:
            parts += [part for part in (sections.classes_section(stored),) if part]
        parts += [part for part in (sections.tsne_section(stored, min_records),) if part]
    parts += [part for part in map(sections.words_section, manifests) if part]
    for path in logs:
        part = sections.training_section(str(path), read_log(path))
        if part is None:
            raise DataError(f"{path}: no figures of a training; was it written with common.log_format=json?")
        parts.append(part)
    typed = [result.command for _, result in results if result.command]
    if typed:
        parts.append(page.Section("Commands", [page.commands(list(dict.fromkeys(typed)))]))
    models = list(dict.fromkeys(result.model for _, result in results))
    return page.render_page("Evaluation", f"{len(results)} results of {', '.join(models)}", parts)


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
    for name in ("matplotlib.font_manager", "fontTools"):
        logging.getLogger(name).setLevel(logging.WARNING)
    results = read_results(args.runs)
    every = [compare(table, results) for table in published_tables()]
    comparisons = [comparison for comparison in every if comparison.has_own or args.all_tables]
    text = build_page(results, comparisons, args.manifest, args.log, args.min_records)
    paths = write_tables(comparisons, args.dest / "tables")
    with atomic_path(args.dest / "report.html") as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    print(f"{len(results)} results, {len(comparisons)} tables ({len(paths)} files in {args.dest / 'tables'})")
    for comparison in comparisons:
        print(f"\nTable {comparison.table.number}: {comparison.table.title} ({comparison.table.unit})")
        own = [texts for texts, row in zip(comparison.texts(), comparison.rows) if row.own]
        for texts in own:
            cells = zip(comparison.table.columns, texts[1:])
            print("  " + texts[0] + ": " + "; ".join(f"{column.label} {text}" for column, text in cells))
    print(f"\nReport: {args.dest / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
