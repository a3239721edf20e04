"""Recordings prepared for a model, some at a time: as they are, or long ones in windows; and those that cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.prepared_ecg import CROPS, PreparedECG, joined
from cmelt_plugin.errors import DataError
from cmelt_plugin.intake.recording import Recording
from cmelt_plugin.intake.windows import chosen_windows

ERROR_LENGTH = 300


class Batch(NamedTuple):
    """Recordings that are predicted together.

    Attributes:
        records: path of each.
        begins: where windows of a longer recording begin, seconds; None for others.
        prepared: the recordings.
        unreadable: what cannot be used, with the reason.
        finished: how many records end in this batch.
    """

    records: list[str]
    begins: list[float | None]
    prepared: PreparedECG
    unreadable: list[tuple[str, str]]
    finished: int


def prepared_batches(
    records: Sequence[str], prepare: Callable[..., PreparedECG], crop: str, batch_size: int
) -> Iterator[Batch]:
    """``batch_size`` recordings at a time; unreadable ones count.

    Args:
        records: paths.
        prepare: :meth:`.Pretrained.prepare`.
        crop: ``start`` or ``centre``; ``best`` or ``all``: windows of longer recordings (:func:`.chosen_windows`).
        batch_size: recordings, or windows, at a time.
    """
    whole = crop in CROPS
    found: list[tuple[str, float | None]] = []
    parts: list[PreparedECG] = []
    unreadable: list[tuple[str, str]] = []
    finished = 0
    for record in records:
        try:
            for given in [record] if whole else chosen_windows(record, crop):
                if len(found) + len(unreadable) >= batch_size:
                    yield _joined(found, parts, unreadable, finished)
                    found, parts, unreadable, finished = [], [], [], 0
                begins = given.begins if isinstance(given, Recording) else None
                try:
                    parts.append(prepare(given, crop=crop) if whole else prepare(given))
                    found.append((record, begins))
                except DataError as error:
                    unreadable.append((part_name(record, begins), _reason(record, error)))
        except DataError as error:
            unreadable.append((record, _reason(record, error)))
        finished += 1
    if finished:
        yield _joined(found, parts, unreadable, finished)


def part_name(record: str, begins: float | None) -> str:
    """A record, or a window of it, in words."""
    return record if begins is None else f"{record} from {begins:g} s on"


def _joined(
    found: list[tuple[str, float | None]], parts: list[PreparedECG], unreadable: list[tuple[str, str]], finished: int
) -> Batch:
    none = PreparedECG(torch.zeros(0, len(LEADS), 1), torch.zeros(0, dtype=torch.long), (0,))
    prepared = joined(parts) if parts else none
    return Batch([path for path, _ in found], [begins for _, begins in found], prepared, unreadable, finished)


def _reason(record: str, error: DataError) -> str:
    """Why a record cannot be used, without its path."""
    reason = str(error)
    prefix = next((name for name in (record, "recording") if reason.startswith(f"{name}: ")), None)
    return reason[0 if prefix is None else len(prefix) + 2 :][:ERROR_LENGTH]
