"""What the reports of a manifest say most often (C-MELT paper, Figure 5, as bars, which can be read off)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from cmelt_plugin.evaluation.plots.style import BLUE, new_figure, plain

# Words that carry no finding.
_STOP = frozenset("a an and are as at be by consider for from has in is it no not of on or the to was with".split())


def word_counts(texts: Sequence[str], counts: Sequence[int]) -> Counter[str]:
    """How many records' reports hold each word; a word counts once per report.

    Args:
        texts: unique normalised reports.
        counts: records that have each.
    """
    found: Counter[str] = Counter()
    for text, count in zip(texts, counts):
        for word in set(text.split()) - _STOP:
            if not word.isdigit():
                found[word] += int(count)
    return found


def frequency_figure(entries: Sequence[tuple[str, int]], n_records: int, title: str, unit: str = "share of records") -> Any:
    """Bars for the entries, most frequent on top; ``n_records`` is 100 %."""
    entries = list(entries)[::-1]
    figure = new_figure(4.6, 0.9 + 0.21 * len(entries))
    axes = figure.add_subplot()
    rows = np.arange(len(entries))
    shares = [count / max(n_records, 1) for _, count in entries]
    axes.barh(rows, shares, color=BLUE, height=0.72)
    names = [plain(text, 46) for text, _ in entries]
    axes.set_yticks(rows, names, fontsize=8)
    for row, (_, count) in zip(rows, entries):
        axes.text(shares[row], row, f" {count:,}", va="center", fontsize=8)
    axes.set_xlim(0, max(shares, default=1) * 1.18)
    axes.set_ylim(-0.6, len(entries) - 0.4)
    axes.set_xlabel(unit)
    axes.grid(False)
    axes.set_title(plain(title), loc="left")
    return figure
