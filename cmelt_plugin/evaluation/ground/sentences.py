"""Sentences of reports that name a finding whose place in the recording is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.events import read_events
from cmelt_plugin.data.store.record_store import SAMPLE_RATE
from cmelt_plugin.data.text.mentions import Vocabulary
from cmelt_plugin.data.text.reports import read_reports
from cmelt_plugin.data.text.tokenizer import encode_statements
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding.pairs import PairedSplit
from cmelt_plugin.models.inference.text_side import TextSide

Events = Sequence[tuple[float, float]]


class ReportTokens(NamedTuple):
    """A report as a model reads it.

    Attributes:
        ids: its tokens.
        spans: int ``[S, 2]``, first token and end of each sentence that has one.
        sentences: the S sentences.
    """

    ids: Sequence[int]
    spans: np.ndarray
    sentences: list[str]


class NamedFinding(NamedTuple):
    """A sentence that affirms a finding of its recording.

    Attributes:
        row: of the split.
        sentence: number among the report's sentences that have a token.
        finding: the class.
        events: (onset, offset) in samples of the store, where the recording shows it.
    """

    row: int
    sentence: int
    finding: str
    events: Events


def tokenise_reports(text_side: TextSide, directory: Path, report_id: np.ndarray) -> dict[int, ReportTokens]:
    """Reports with the places of their sentences among the model's tokens, by row of reports.parquet.

    Raises:
        DataError: the tokenizer is missing, or does not say which characters a token stands for.
    """
    tokenizer = text_side.tokenizer
    if not tokenizer.is_fast:
        raise DataError(
            f"{text_side.source}: its tokenizer does not say which characters a token stands for; sentences have no place"
        )
    listed = read_reports(directory).statements
    statements = [listed[int(row)].as_py() for row in report_id]
    ids, spans, _ = encode_statements(tokenizer, statements, text_side.max_text_tokens)
    found = {}
    for row, tokens, places, sentences in zip(report_id.tolist(), ids, spans, statements):
        chosen = np.flatnonzero(places[:, 0] < places[:, 1])  # the others were cut off
        found[row] = ReportTokens(tokens, places[chosen], [sentences[number] for number in chosen])
    return found


def named_findings(
    manifest: Manifest, pairs: PairedSplit, reports: Mapping[int, ReportTokens], vocabulary: Vocabulary, events_file: Path
) -> list[NamedFinding]:
    """Every sentence of a split and finding that it affirms and that the recording shows somewhere.

    Args:
        manifest: the split.
        pairs: its records with a report.
        reports: :func:`tokenise_reports` of these.
        vocabulary: the findings; their classes are the kinds of events.
        events_file: see :mod:`cmelt_plugin.data.events`.

    Raises:
        DataError: no such file, or none of its events is of these records and findings.
    """
    record_id = manifest.meta(["record_id"])["record_id"].take(pairs.rows).to_pylist()
    events = read_events(events_file, record_id, SAMPLE_RATE)
    kinds = {kind for of_record in events.values() for kind in of_record}
    if not kinds & set(vocabulary.findings):
        raise DataError(
            f"{events_file}: no event of the records of {manifest.directory}/{manifest.split}.tsv is one of the findings "
            f"{', '.join(vocabulary.findings)} (kinds there: {', '.join(sorted(kinds)) or 'none'}); name other class texts "
            "with --findings, or another file with --events"
        )
    affirmed: dict[str, set[str]] = {}
    found = []
    for row, record, report in zip(pairs.rows.tolist(), record_id, pairs.report_id[pairs.report].tolist()):
        of_record = events.get(record, {})
        for number, sentence in enumerate(reports[report].sentences):
            if sentence not in affirmed:
                affirmed[sentence] = vocabulary.findings_of(sentence)[0]
            for finding in vocabulary.findings:
                if finding in affirmed[sentence] and finding in of_record:
                    found.append(NamedFinding(row, number, finding, of_record[finding]))
    return found
