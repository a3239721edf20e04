"""Grounding on one split."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence

import numpy as np

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding.pairs import with_reports
from cmelt_plugin.evaluation.embedding.precision import precision_name
from cmelt_plugin.evaluation.finding_texts import open_finding_texts
from cmelt_plugin.evaluation.ground.attention import RecordAttention, record_attention
from cmelt_plugin.evaluation.ground.examples import Example
from cmelt_plugin.evaluation.ground.scores import grounding_metrics, score, verdict
from cmelt_plugin.evaluation.ground.sentences import NamedFinding, ReportTokens, named_findings, tokenise_reports
from cmelt_plugin.evaluation.labelled_split import count_subjects, data_set_name
from cmelt_plugin.evaluation.metrics.bootstrap import subject_groups
from cmelt_plugin.evaluation.plots.grounding import SentenceAttention
from cmelt_plugin.evaluation.result_files import Result
from cmelt_plugin.evaluation.side_by_side import by_finding
from cmelt_plugin.models.inference.pretrained import Pretrained


def evaluate(
    args: argparse.Namespace, pretrained: Pretrained, manifest: Manifest, command: str
) -> tuple[Result, list[Example], list[str]]:
    """The result on one split.

    Args:
        args: options of the command.
        pretrained: whose model is a :class:`~cmelt_plugin.models.base.Grounding`.
        manifest: the split.
        command: what was typed.

    Returns:
        The result, ``args.figures`` recordings to draw, and what the metrics amount to, in sentences.

    Raises:
        DataError: no sentence can be evaluated, or what it takes is missing.
    """
    directory = manifest.directory
    chosen = open_finding_texts(directory, args.findings)
    pairs = with_reports(manifest)
    reports = tokenise_reports(pretrained, directory, pairs.report_id)
    named = named_findings(manifest, pairs, reports, chosen.vocabulary, args.events)
    by_row: dict[int, list[NamedFinding]] = {}
    for entry in named:
        by_row.setdefault(entry.row, []).append(entry)
    # Those with most to see, whatever the model makes of them.
    drawn = [row for row, _ in sorted(Counter(entry.row for entry in named).items(), key=lambda item: (-item[1], item[0]))]
    meta = manifest.meta(["record_id", "subject_id", "report_id", "source"])
    record_id, subject_id, report_id = (meta[name].to_pylist() for name in ("record_id", "subject_id", "report_id"))

    scored: list[tuple[NamedFinding, np.ndarray]] = []
    examples: dict[int, Example] = {}
    for attention in record_attention(pretrained, manifest, reports, args.batch_size, args.device, args.bf16):
        found = by_row.get(attention.row, [])
        scores = [(entry, score(attention, entry)) for entry in found]
        scored += [(entry, values) for entry, values in scores if values is not None]
        if attention.row in drawn[: args.figures]:
            report = reports[report_id[attention.row]]
            examples[attention.row] = _example(record_id[attention.row], attention, report, found)
    if not scored:
        raise DataError(
            f"{args.events}: no sentence of {directory}/{manifest.split}.tsv names what lies somewhere in its record"
        )
    findings = [entry.finding for entry, _ in scored]
    subjects = [subject_id[entry.row] for entry, _ in scored]
    group = subject_groups(len(scored), subjects)
    every, intervals = grounding_metrics(np.stack([v for _, v in scored]), findings, group, args.bootstrap, args.seed)
    metrics, single = by_finding(every)
    names = [name for name in chosen.vocabulary.findings if name in findings]
    words = [f"all findings: {verdict(intervals)}"]
    words += [f"{name} ({findings.count(name)} sentences): {verdict(intervals, name)}" for name in names]
    records = {entry.row for entry, _ in scored}
    alone = sum(len(reports[report_id[entry.row]].sentences) == 1 for entry, _ in scored)
    unplaced = len(named) - len(scored)
    left_out = f"; {unplaced} are left out, whose events hold no step in time" if unplaced else ""
    result = Result(
        kind="grounding",
        model=args.model_name,
        checkpoint=str(args.checkpoint),
        data_set=data_set_name(directory, meta["source"].to_pylist()),
        label_set="",
        split=manifest.split,
        n_records=len(records),
        n_subjects=count_subjects([subject_id[row] for row in records]),
        settings={
            "manifest": str(directory),
            "events": str(args.events),
            "findings": chosen.source,
            "precision": precision_name(args.bf16),
            "bootstrap": args.bootstrap,
            "seed": args.seed,
        },
        metrics=metrics,
        intervals=intervals,
        per_class={name: {"positives": float(findings.count(name)), **single[name]} for name in names},
        notes=[
            f"{len(scored)} pairs of a sentence and a finding that it names, in {len(records)} records; {alone} of them from "
            f"reports of a single sentence{left_out}.",
            "Chance is computed, not drawn: uniform attention, and the mean over the queries that the model mixes.",
            *(words if args.bootstrap else ()),
        ],
        command=command,
    )
    return result, [examples[row] for row in drawn[: args.figures] if row in examples], words if args.bootstrap else []


def _example(record_id: str, attention: RecordAttention, report: ReportTokens, named: Sequence[NamedFinding]) -> Example:
    sentences = [
        SentenceAttention(text, weights, [event for entry in named if entry.sentence == number for event in entry.events])
        for number, (text, weights) in enumerate(zip(report.sentences, attention.sentences))
    ]
    return Example(record_id, attention.ecg, sentences, attention.samples_per_step)
