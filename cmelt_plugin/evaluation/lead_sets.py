"""Evaluation with some of the leads: the options of the commands, and what each set of leads loses, in one table."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from cmelt_plugin.data.leads import LEAD_SETS, LEADS, parse_leads
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.result_files import Result
from cmelt_plugin.tables import DASH, TextTable, percent


def add_lead_options(parser: argparse.ArgumentParser) -> None:
    """``--leads`` for one set of leads, ``--compare-leads`` for several; see :func:`chosen_lead_sets`."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--leads",
        nargs="+",
        default=["12"],
        metavar="LEAD",
        help="leads that the model sees, the others are zero: 12, 6, 3, 2 or 1 (paper Table 1), or names: I II V2 (12)",
    )
    group.add_argument(
        "--compare-leads",
        nargs="+",
        metavar="SET",
        help="one set of leads after the other, and what each loses against the first, e.g. 12 6 3 2 1 V1+V6",
    )


def chosen_lead_sets(args: argparse.Namespace) -> list[tuple[str, ...]]:
    """The sets of leads that the options name, one where ``--compare-leads`` is not given.

    Raises:
        DataError: an unknown lead, or a set that is named twice.
    """
    if args.compare_leads is None:
        return [parse_leads(" ".join(args.leads))]
    sets = [parse_leads(text) for text in args.compare_leads]
    if len(set(sets)) < len(sets):
        raise DataError(f"--compare-leads: a set is named twice: {' '.join(args.compare_leads)}")
    return sets


def lead_set_name(leads: Sequence[str]) -> str:
    """``6-leads`` or, of a set that has no such name, ``V1+V6``: part of the names of rows and folders."""
    known = [f"{name}-leads" for name, names in LEAD_SETS.items() if list(names) == list(leads)]
    return known[0] if known else "+".join(leads)


def lead_table(measured: Sequence[tuple[str, Result]]) -> TextTable:
    """A row for each set of leads of what was measured with several, and what it loses against the first of them.

    Args:
        measured: names of what was measured, the same for all sets of leads, and results.
    """
    first: dict[str, float | None] = {}
    rows = []
    order = {name: place for place, (name, _) in reversed([*enumerate(measured)])}
    for name, result in sorted(measured, key=lambda one: order[one[0]]):
        value = result.metrics.get("macro_auc")
        best = first.setdefault(name, value)
        low, high = result.intervals.get("macro_auc", (None, None))
        lost = DASH if value is None or best is None else percent(best - value)
        leads = " ".join(result.settings.get("leads", LEADS))
        rows.append([name, leads, str(result.n_records), percent(value), percent(low), percent(high), lost])
    return TextTable("Sets of leads (macro AUC, %)", ["set", "leads", "records", "macro AUC", "low", "high", "lost"], rows)
