"""What is doubtful about the records of a data set: counts by reason and source, their list, and medians that are off.

A single record may be odd; a whole source whose median record is too large or too small has a wrong unit or gain.
"""

from __future__ import annotations

import csv
import math
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cmelt_plugin.data.directory.checksums import check_listed
from cmelt_plugin.data.directory.own_files import IMPLAUSIBLE_FILE
from cmelt_plugin.data.files import atomic_path
from cmelt_plugin.data.limb_leads import RESIDUAL
from cmelt_plugin.data.plausibility import HIGH, LOW, Plausibility

COLUMNS = ("record_id", "path", "split", "source", "reasons")

TYPICAL = 1.2
"""mV, amplitude of the median record: 1.0 to 1.4 in PTB-XL, CPSC2018, Georgia and Chapman/Ningbo, 2.3 in CODE-15."""
PLAUSIBLE = (0.35, 3.5)
"""mV, of the median of ten records or more: 3.4 times less and 2.9 times more than :data:`TYPICAL`; mistakes start at 4.88."""
FEW = 10
"""Records below which a median is compared with the limits of a single record."""
EQUAL_LEADS, SIMILAR_LEADS = 0.02, 0.15
"""Median variation of the leads' sizes where each lead was normalised for itself; the second where the relations fail, too (a
part of a normalised recording). Real: 0.28 to 0.59."""
NORMALISED = 30.0
"""mV; normalised leads are of this size at most (in units of their standard deviation: 5 to 12), others of a wrong unit."""

_CAUSES = (
    (1e6, ": volts and microvolts confused"),
    (1000.0, ": millivolts confused with volts or microvolts, or a gain wrong by as much"),
    (200.0, ": raw values at 200 per mV taken for millivolts, or divided by the gain twice"),
    (100.0, ""),
    (10.0, ""),
    (5.0, ": gains of 200 and 1000 per mV confused, or steps of 4.88 and 1 microvolt"),
)


class Measured(NamedTuple):
    """What is kept of each measured record for the medians, in the order of the input; NaN where nothing was measured."""

    number: np.ndarray
    """int [m], number of the input record."""
    amplitude: np.ndarray
    """mV before rounding."""
    stored: np.ndarray
    """mV after rounding and clipping."""
    peak: np.ndarray
    """mV before rounding."""
    residual: np.ndarray
    spread: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Sequence[float | None]]) -> Measured:
        """From rows of :func:`measured_row`."""
        columns = np.array(rows, dtype=np.float64).reshape(-1, len(cls._fields)).T
        return cls(columns[0].astype(np.int64), *columns[1:])

    @classmethod
    def joined(cls, parts: Sequence[Measured]) -> Measured:
        """All records of several, in their order."""
        return cls(*(np.concatenate(columns) for columns in zip(*parts))) if parts else cls.of([])

    def take(self, chosen: np.ndarray) -> Measured:
        """Some of the records."""
        return Measured(*(column[chosen] for column in self))


def measured_row(number: int, plausibility: Plausibility) -> list[float | int | None]:
    """Input number and four digits of each number, as JSON can hold them."""
    values = [getattr(plausibility.measures, name) for name in Measured._fields[1:]]
    return [number, *(float(f"{value:.4g}") if math.isfinite(value) else None for value in values)]


def summarise(
    measured: Measured, doubts: Sequence[tuple[int, Sequence[str]]], sources: Sequence[str] | None, data_set: str
) -> dict[str, Any]:
    """What ``manifest.json`` says under ``plausibility``.

    Args:
        measured: all records that were measured.
        doubts: number and reasons (``code: text``) of each doubtful one, whether it is kept or not.
        sources: source of every input record; None: all come from ``data_set``.
        data_set: name of the whole.

    Returns:
        ``records``, ``amplitude_mv`` and ``peak_mv`` (medians), ``doubtful`` (records), ``reasons`` (code → records);
        ``sources``: the same for each, where there are several; ``warnings``: sentences about medians that are off.
    """
    whole = _part(measured, doubts)
    names = np.array(sources)[measured.number] if sources is not None and len(measured.number) else np.array([], dtype=str)
    source_names = sorted(set(names.tolist()))
    if len(source_names) < 2:
        return {**whole, "warnings": unit_warnings(measured, source_names[0] if source_names else data_set)}
    parts, warnings = {}, []
    for name in source_names:
        part = measured.take(names == name)
        theirs = set(part.number.tolist())
        parts[name] = _part(part, [doubt for doubt in doubts if doubt[0] in theirs])
        warnings += unit_warnings(part, f"source {name}")
    return {**whole, "sources": parts, "warnings": warnings or unit_warnings(measured, data_set)}


def count_reasons(doubts: Iterable[tuple[int, Sequence[str]]]) -> dict[str, int]:
    """Code → how many records have it."""
    return dict(sorted(Counter(reason.split(":", 1)[0] for _, reasons in doubts for reason in reasons).items()))


def unit_warnings(measured: Measured, name: str) -> list[str]:
    """A sentence if the median record is no ECG in millivolts."""
    count = len(measured.amplitude)
    if not count:
        return []
    records = f"{name}: the median of {count} recordings" if count > 1 else f"{name}: its one recording"
    amplitude, spread, residual = _median(measured.amplitude), _median(measured.spread), _median(measured.residual)
    equal = spread < EQUAL_LEADS or (spread < SIMILAR_LEADS and residual > RESIDUAL)
    if equal and LOW <= amplitude <= NORMALISED:
        return [
            f"{records} has leads of one size (they vary by {100 * spread:.2g} %, ordinary is 40 %): each lead seems to be "
            "normalised by itself, so that amplitudes and what is between leads are lost; use the original recordings"
        ]
    low, high = np.percentile(measured.peak, [10, 90])
    if count >= FEW and high > 0 and high - low <= 1e-3 * high:
        return [
            f"{records} has the largest deflection that nearly all have, {high:.4g} mV: each recording seems to be normalised "
            "by itself, so that amplitudes are lost; use the original recordings"
        ]
    least, most = PLAUSIBLE if count >= FEW else (LOW, HIGH)
    if least <= amplitude <= most:
        return []
    stored = _median(measured.stored)
    rounded = "" if math.isclose(stored, amplitude, rel_tol=0.05) else f" ({stored:.3g} mV as stored)"
    return [f"{records} spans {amplitude:.3g} mV{rounded}, ordinary is {TYPICAL:g} mV: {_mistake(amplitude)}"]


def _mistake(amplitude: float) -> str:
    advice = "check unit and gain against a recording you know, mend them and pack again"
    if amplitude <= 0:
        return f"nothing is left; {advice}"
    ratio = amplitude / TYPICAL
    times = max(ratio, 1 / ratio)
    factor, cause = min(_CAUSES, key=lambda entry: abs(math.log(entry[0] / times)))
    likely = f" (likely {factor:,.0f}{cause})" if 1 / 1.8 < factor / times < 1.8 else ""
    about = f"{float(f'{times:.2g}'):,g}" if times < 1e5 else f"{times:.0g}"
    return f"about {about} times too {'large' if ratio > 1 else 'small'}{likely}; {advice}"


def print_plausibility(directory: Path, plausibility: dict[str, Any]) -> None:
    """Print what ``manifest.json`` says under ``plausibility``; warnings framed and on stderr, so that nobody misses them."""
    for line in lines(plausibility):
        print(line)
    if plausibility.get("doubtful") and (directory / IMPLAUSIBLE_FILE).is_file():
        print(f"  the doubtful recordings are kept, see {directory / IMPLAUSIBLE_FILE}")
    warnings = plausibility.get("warnings") or []
    if warnings:
        print("\n".join(["*" * 72, *(f"warning: {text}" for text in warnings), "*" * 72]), file=sys.stderr)


def lines(plausibility: dict[str, Any]) -> list[str]:
    """Medians, and how many records are doubtful for which reason."""
    result = []
    if plausibility.get("amplitude_mv") is not None:
        amplitude, peak = plausibility["amplitude_mv"], plausibility["peak_mv"]
        result.append(f"  median recording: amplitude {amplitude:.3g} mV, largest deflection {peak:.3g} mV")
    result += [f"  doubtful, {code}: {count}" for code, count in plausibility.get("reasons", {}).items()]
    for name, part in plausibility.get("sources", {}).items():
        counts = ", ".join(f"{code} {count}" for code, count in part["reasons"].items()) or "nothing doubtful"
        result.append(f"    {name}: {part['records']} recordings, amplitude {part['amplitude_mv']:.3g} mV, {counts}")
    return result


def write_list(path: Path, rows: Iterable[Sequence[str]]) -> None:
    """Write implausible.tsv: rows of :data:`COLUMNS`."""
    with atomic_path(path) as temporary:
        with open(temporary, "w", encoding="utf-8", newline="\n") as handle:
            handle.write("\t".join(COLUMNS) + "\n")
            handle.writelines("\t".join(" ".join(text.split()) for text in row) + "\n" for row in rows)


def read_list(directory: Path) -> dict[str, list[str]] | None:
    """Record → its reasons, of a directory with implausible.tsv; None for one without.

    Raises:
        DataError: the file is not the one that was written.
    """
    path = directory / IMPLAUSIBLE_FILE
    if not path.is_file():
        return None
    check_listed(path)
    with open(path, encoding="utf-8", newline="") as handle:
        rows = csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE)
        return {row["record_id"]: row["reasons"].split("; ") for row in rows if row.get("record_id") and row.get("reasons")}


def _part(measured: Measured, doubts: Sequence[tuple[int, Sequence[str]]]) -> dict[str, Any]:
    return {
        "records": len(measured.number),
        "amplitude_mv": _rounded(measured.amplitude),
        "peak_mv": _rounded(measured.peak),
        "doubtful": len(doubts),
        "reasons": count_reasons(doubts),
    }


def _median(values: np.ndarray) -> float:
    """Median of what was measured; NaN, which no comparison holds for, where nothing was."""
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else math.nan


def _rounded(values: np.ndarray) -> float | None:
    return float(f"{np.median(values):.4g}") if len(values) else None
