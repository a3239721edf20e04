"""Bring the texts of a manifest directory that an earlier version made to format 2, which keeps the statements of reports.

Recordings, splits, texts, token ids and negatives stay as they are and valid. What format 1 did not keep cannot be brought
back from it: where statements of joined report lines ended, and full stops, which were removed from the texts. Run the command
that packed the directory again, with the same arguments, and it adds the statements from the data set itself.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cmelt_plugin.data.batches.negatives import NegativeTable, negatives_paths
from cmelt_plugin.data.directory.checksums import MANIFEST_FILE
from cmelt_plugin.data.directory.manifest import available_splits
from cmelt_plugin.data.directory.replacing import LOCK_SECONDS, directory_lock, list_again
from cmelt_plugin.data.files import read_object
from cmelt_plugin.data.text.reports import REPORTS_FILE, Reports, read_reports, write_reports
from cmelt_plugin.data.text.sentences import split_statements
from cmelt_plugin.data.text.statement_spans import StatementTable
from cmelt_plugin.data.text.tokens import FORMAT, TokenTable
from cmelt_plugin.errors import DataError

EXAMPLE = """example:
  python preprocess/upgrade.py --manifest manifests/mimic-iv-ecg
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--manifest", type=Path, required=True, help="manifest directory")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code.

    Each file is replaced as a whole, so a killed run leaves a directory that can be used, and the next run goes on.

    Raises:
        DataError: a file is damaged or stale; then nothing was changed.
    """
    directory = parser().parse_args(argv).manifest
    if not directory.is_dir():
        raise DataError(f"{directory}: no such folder")
    with directory_lock(directory, LOCK_SECONDS):
        tables = _check(directory)
        reports = read_reports(directory)
        if reports.format == FORMAT:
            list_again(directory, [REPORTS_FILE])
            print(f"{reports.path}: is of format {FORMAT}, {_count(reports)}")
        else:
            write_reports(directory, reports.texts, reports.counts, _divide(reports), statements_kept=False)
            reports = read_reports(directory)
            print(f"{reports.path}: brought to format {FORMAT}, {_count(reports)}")
        for path, table in tables.items():
            _upgrade_tokens(path, table, reports)
    if len(reports) and not reports.statements_kept:
        print(_what_is_lost(directory))
    return 0


def _check(directory: Path) -> dict[Path, TokenTable]:
    """The tables of token ids, after all that depends on the reports was read.

    Raises:
        DataError: a file is damaged, or was made from other reports.
    """
    for split in available_splits(directory):
        if negatives_paths(directory, split)[1].is_file():
            NegativeTable.load(directory, split)
    return {path: TokenTable.load(path, directory / REPORTS_FILE) for path in sorted(directory.glob("reports.*.npz"))}


def _divide(reports: Reports) -> list[list[str]]:
    """Statements of each text, as far as it still has marks between them: normalised ones have not."""
    found = []
    for text in reports.texts.to_pylist():
        statements = split_statements(text)
        found.append(statements if " ".join(statements) == text else [text])
    return found


def _upgrade_tokens(path: Path, table: TokenTable, reports: Reports) -> None:
    """Write a table of format 1 with one statement a report; where reports have several, only its tokenizer can tell."""
    if table.statements is not None and table.has_statements_of(reports):
        list_again(path.parent, [path.name])
        print(f"{path}: is of format {FORMAT}")
    elif table.statements is not None or not table.has_statements_of(reports):
        print(
            f"{path}: does not hold the statements of {REPORTS_FILE}; run `python preprocess/tokenizer.py --manifest "
            f"{path.parent} --tokenizer …` again with {table.info['tokenizer']}, whose ids stay"
        )
    else:
        fingerprints = {"source_fingerprint": reports.fingerprint, "statements_fingerprint": reports.statements_fingerprint}
        info = {**table.info, "format": FORMAT, **fingerprints}
        spans = StatementTable.of_rows([table.spans(index) for index in range(len(table))])
        TokenTable(np.array(table.ids), table.offsets, info, statements=spans).save(path)
        print(f"{path}: brought to format {FORMAT}")


def _count(reports: Reports) -> str:
    return f"{len(reports.statements.flatten())} statements of {len(reports)} reports"


def _what_is_lost(directory: Path) -> str:
    manifest = read_object(directory / MANIFEST_FILE) if (directory / MANIFEST_FILE).is_file() else {}
    command = manifest.get("command")
    again = f"python {command}" if isinstance(command, str) else "the command that packed the directory"
    return (
        "what cannot be known: where statements ended, since the texts were kept without full stops and line breaks; a report "
        f"counts as one statement. `{again}` with the arguments of then adds them, and packs no recording again"
    )


if __name__ == "__main__":
    sys.exit(run(main))
