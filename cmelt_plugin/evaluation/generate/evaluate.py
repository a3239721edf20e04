"""Generated reports of one split against the references, beside the baselines."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.text.reports import read_reports
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding.encoder import SplitEncoder
from cmelt_plugin.evaluation.embedding.pairs import with_reports
from cmelt_plugin.evaluation.embedding.precision import precision_name
from cmelt_plugin.evaluation.finding_texts import FindingTexts, open_finding_texts
from cmelt_plugin.evaluation.generate.baselines import TRAIN, baseline_reports
from cmelt_plugin.evaluation.generate.writing import write_reports
from cmelt_plugin.evaluation.labelled_split import count_subjects, data_set_name
from cmelt_plugin.evaluation.metrics.bootstrap import metrics_of_sums, subject_groups
from cmelt_plugin.evaluation.metrics.clinical_facts import FactMetrics, read_facts
from cmelt_plugin.evaluation.metrics.text_overlap import TextOverlap
from cmelt_plugin.evaluation.result_files import Result
from cmelt_plugin.evaluation.side_by_side import by_finding, key
from cmelt_plugin.models.inference.pretrained import Pretrained


def evaluate(
    args: argparse.Namespace, pretrained: Pretrained, manifest: Manifest, overlap: TextOverlap, command: str
) -> tuple[Result, list[dict[str, str]]]:
    """The result on one split.

    Args:
        args: options of the command.
        pretrained: whose model is a :class:`~cmelt_plugin.models.base.ReportWriter`.
        manifest: the split.
        overlap: metrics of wording.
        command: what was typed.

    Returns:
        The result, and for each record its id, reference, generated report and those of the baselines.

    Raises:
        DataError: no report to compare with, no class texts, or unreadable records.
    """
    directory = manifest.directory
    chosen = open_finding_texts(directory, args.findings)
    pairs = with_reports(manifest)
    if not len(pairs.rows):
        raise DataError(f"{directory}/{manifest.split}.meta.parquet: no record has a report to compare with")
    encoder = SplitEncoder(pretrained.model, args.cache, args.batch_size, device=args.device, bf16=args.bf16)
    baselines = baseline_reports(encoder, manifest, pairs.rows, args.seed)
    written = write_reports(
        pretrained, manifest, args.batch_size, args.device, args.bf16, beams=args.beams, max_tokens=args.max_tokens
    )
    texts = read_reports(directory).texts
    reports = {"": [written[row] for row in pairs.rows]}
    reports.update({name: [texts[int(row)].as_py() for row in rows] for name, rows in baselines.items()})
    references = [texts[int(row)].as_py() for row in pairs.report_id[pairs.report]]
    meta = manifest.meta(["record_id", "subject_id", "source"])
    record_id, subject_id = (meta[name].take(pairs.rows).to_pylist() for name in ("record_id", "subject_id"))
    every, intervals = compare(reports, references, subject_id, chosen, overlap, args.bootstrap, args.seed)
    metrics, single = by_finding(every)
    facts = read_facts(chosen.vocabulary, references)
    counts = dict(zip(chosen.vocabulary.findings, facts.affirmed.sum(axis=0).tolist()))
    left_out = f"; {pairs.without} records without a report are left out" if pairs.without else ""
    result = Result(
        kind="generation",
        model=args.model_name,
        checkpoint=str(args.checkpoint),
        data_set=data_set_name(directory, meta["source"].to_pylist()),
        label_set="",
        split=manifest.split,
        n_records=len(references),
        n_subjects=count_subjects(subject_id),
        settings={
            "manifest": str(directory),
            "precision": precision_name(args.bf16),
            "beams": args.beams,
            "max_tokens": args.max_tokens,
            "findings": chosen.source,
            "bootstrap": args.bootstrap,
            "seed": args.seed,
        },
        metrics=metrics,
        intervals=intervals,
        per_class={
            name: {"positives": count, "negatives": len(references) - count, **single.get(name, {})}
            for name, count in counts.items()
        },
        excluded=[name for name, count in counts.items() if not count],
        notes=[
            f"{len(references)} records with {len(pairs.report_id)} distinct reports{left_out}.",
            f"Findings: the phrases of {chosen.source}; a hedged one counts as stated. "
            f"{int(facts.denied.any(axis=1).sum())} references deny a finding.",
            *overlap.notes,
            f"Baselines: reports of the split {TRAIN}; the nearest recording is that of the model's own ECG embedding.",
        ],
        command=command,
    )
    columns = {"record_id": record_id, "reference": references, "generated": reports.pop(""), **reports}
    return result, [dict(zip(columns, row)) for row in zip(*columns.values())]


def compare(
    reports: dict[str, list[str]],
    references: Sequence[str],
    subject_id: Sequence[str],
    chosen: FindingTexts,
    overlap: TextOverlap,
    bootstrap: int,
    seed: int,
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Metrics and intervals of several systems on the same N records, by :func:`~cmelt_plugin.evaluation.side_by_side.key`.

    Args:
        reports: system → N reports; "" is the model.
        references: N reports.
        subject_id: N strings.
        chosen: class texts of the findings.
        overlap: metrics of wording.
        bootstrap, seed: resamples, the same for every system, and their seed.
    """
    facts, fact_metrics = read_facts(chosen.vocabulary, references), FactMetrics(chosen.vocabulary.findings)
    group = subject_groups(len(references), subject_id)
    metrics: dict[str, float] = {}
    intervals: dict[str, tuple[float, float]] = {}
    for system, generated in reports.items():
        of_facts = fact_metrics.columns(read_facts(chosen.vocabulary, generated), facts)
        for compute, columns in ((overlap.metrics, overlap.columns(generated, references)), (fact_metrics.metrics, of_facts)):
            values, bounds = metrics_of_sums(columns, group, compute, bootstrap, seed)
            metrics.update({key(name, system): value for name, value in values.items()})
            # Of single findings the intervals of the model are enough.
            intervals.update({key(name, system): pair for name, pair in bounds.items() if not system or "/" not in name})
        metrics[key("distinct", system)] = float(len(set(generated)))
    return metrics, intervals
