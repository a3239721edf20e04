"""Which reports a model finds similar to which ECGs."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from cmelt_plugin.evaluation.plots.similarity import similarity_figure
from cmelt_plugin.evaluation.report.blocks import Picture, Section
from cmelt_plugin.models.inference.scoring import similarities
from examples.demo.embedded_split import EmbeddedSplit


def similarity_section(embedded: EmbeddedSplit, groups: Sequence[str], n_pairs: int = 40) -> Section:
    """Similarities of some test pairs, sorted by group, each distinct report at most once.

    Args:
        embedded: the split.
        groups: group of each of the N records; records of group "" are left out.
        n_pairs: how many pairs are shown, taken from the groups in turn.
    """
    order: dict[str, list[int]] = {}
    seen = set()
    for row, group in enumerate(groups):
        report = int(embedded.report[row])
        if group and report not in seen:
            seen.add(report)
            order.setdefault(group, []).append(row)
    chosen: list[int] = []
    depth = 0
    while len(chosen) < n_pairs and any(len(rows) > depth for rows in order.values()):
        chosen += [rows[depth] for rows in order.values() if len(rows) > depth]
        depth += 1
    chosen = sorted(chosen[:n_pairs], key=lambda row: (list(order).index(groups[row]), row))
    rows = torch.tensor(chosen)
    scores = similarities(embedded.model, embedded.ecg.select(rows), embedded.text.select(embedded.report[rows]))
    figure = similarity_figure(scores.numpy(), [groups[row] for row in chosen])
    caption = f"{len(chosen)} records of held-out subjects and their reports, sorted by rhythm; each report text once."
    return Section("ECGs and reports", [Picture(figure, "similarity of ECGs and reports", caption)])
