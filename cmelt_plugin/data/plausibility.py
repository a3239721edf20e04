"""Whether a recording can be what its header says: its size, its range, its limb leads and its hum, in numbers.

Nothing here changes a signal. What is lost wholly (:func:`nothing_left`) is refused wherever recordings are read; the rest
(:func:`examine`) is doubtful, not wrong. The thresholds are set so that real recordings are rarely doubtful: how rarely was
measured and stands in ``docs/data.md``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.limb_leads import RESIDUAL, describe_exchange, relations_residual
from cmelt_plugin.data.store.record_store import MAX_DIGITAL, MV_PER_UNIT, SAMPLE_RATE

LOW, HIGH = 0.1, 5.0
"""mV, of the median lead. On paper 0.1 mV is one millimetre, 5 mV five centimetres; real recordings had 0.45 to 4.1."""
OFFSET = 5.0
"""mV between a lead's mean and zero. Devices filter it out (0.05 Hz); a raw one had 9."""
LEVELS = 32
"""Different values of the median lead, 5 bits: an 8-bit converter whose range is eight times the ECG. Real: 107 and more."""
STANDING = 0.05
"""Share of the time that a lead stands at its largest or smallest value: 0.5 s of 10 s. Real: up to 0.013."""
HUM = 0.05
"""Share of the power that is mains hum, 13 dB below the rest. Real: median 0.0003."""
MOSTLY_CLIPPED = 0.25
"""Share of samples beyond the range from which on a recording is refused: as many as three of twelve leads have."""

MAX_MV = MAX_DIGITAL * MV_PER_UNIT
WINDOW = 2 * SAMPLE_RATE  # samples
MAINS = (50, 60)  # Hz
_CYCLE = SAMPLE_RATE // 10  # samples; both frequencies repeat after 0.1 s
_WAVES = np.stack(
    [wave(2 * np.pi * hertz * np.arange(_CYCLE) / SAMPLE_RATE) for hertz in MAINS for wave in (np.cos, np.sin)], 1
)


class DoubtfulECG(UserWarning):
    """A recording was used although something is doubtful about it."""


class Measures(NamedTuple):
    """Numbers of one recording; NaN where something cannot be measured.

    Attributes:
        amplitude: mV before rounding: peak to peak within 2 s, median over the windows, then over the leads. So neither a
            drifting baseline nor a single spike counts, and 30 beats a minute are enough.
        stored: the same after rounding and clipping.
        peak: mV before rounding, the largest deflection from zero.
        offset: mV, the largest mean of a lead.
        levels: different values of the lead of median amplitude, after rounding.
        clipped: samples beyond ±32.767 mV.
        standing: the largest share of samples that a lead has at its largest, or at its smallest, value; of leads that
            span more than 0.1 mV.
        residual: root mean square of what the relations between the limb leads leave over, as a share of the leads'.
        hum: share of the power around 50 or 60 Hz, whichever is more; of all that changes within a second.
        spread: variation of the leads' sizes: standard deviation over the leads, divided by the mean, of standard
            deviations or of ranges, whichever varies less. 0 = each lead was normalised for itself; real: 0.14 up.
    """

    amplitude: float
    stored: float
    peak: float
    offset: float
    levels: int
    clipped: int
    standing: float
    residual: float
    hum: float
    spread: float


class Reason(NamedTuple):
    """Why a recording is doubtful, or refused: a stable code and what was found."""

    code: str
    text: str

    def __str__(self) -> str:
        return f"{self.code}: {self.text}"


class Plausibility(NamedTuple):
    """What :func:`examine` finds; no reason means nothing is doubtful."""

    measures: Measures
    reasons: tuple[Reason, ...]


def describe_reasons(reasons: Iterable[Reason]) -> str:
    """All reasons in one line."""
    return "; ".join(map(str, reasons))


def nothing_left(ecg: np.ndarray, digital: np.ndarray, clipped: int, given: np.ndarray) -> Reason | None:
    """Why nothing usable is stored of a recording, if so: refused, whatever is done with doubtful ones.

    Args:
        ecg: ``[12, T]``, mV, as :func:`examine` takes it.
        digital: the same in the store's digital units.
        clipped: how many samples were clipped.
        given: bool ``[12]``, the leads the recording has.

    Returns:
        ``zero``: nothing remains after rounding; ``clipped``: more than a quarter of the samples lies beyond the range;
        ``flat``: every lead is constant after both.
    """
    if not digital.any():
        return Reason("zero", f"every sample is zero after rounding to {MV_PER_UNIT:g} mV, the largest is {_peak(ecg):.2g} mV")
    share = clipped / max(1, int(given.sum()) * ecg.shape[1])
    if share > MOSTLY_CLIPPED:
        middle = float(np.median(ecg[given]))
        hint = "take off the offset" if abs(middle) > MAX_MV else "are unit and gain right?"
        return Reason(
            "clipped",
            f"{100 * share:.0f} % of the samples are beyond ±{MAX_MV:g} mV, half of all above {middle:.4g} mV: {hint}",
        )
    if not changing(digital).any():
        return Reason("flat", f"every lead is constant after rounding to {MV_PER_UNIT:g} mV")
    return None


def changing(ecg: np.ndarray) -> np.ndarray:
    """Which leads are not constant: bool ``[leads]``."""
    return ecg.max(axis=1) > ecg.min(axis=1)


def examine(ecg: np.ndarray, digital: np.ndarray, clipped: int = 0, given: np.ndarray | None = None) -> Plausibility:
    """Measure a recording and name what is doubtful about it.

    Exchanged *columns* of limb leads, inverted and rescaled ones contradict the relations; exchanged *electrodes* do not,
    because the device computes all six leads from the wrong places; and chest leads obey no relation.

    Args:
        ecg: ``[12, T]``, mV at 500 Hz before rounding, real samples only; leads in the order of ``LEADS``, without NaN.
        digital: int16 ``[12, T]``, what the store gets (:func:`cmelt_plugin.data.store.record_store.to_digital`).
        clipped: how many samples were clipped.
        given: bool ``[12]``, the leads the recording has; None: all. Leads it lacks and constant ones are not asked.

    Reasons, in this order: ``clipped``, ``amplitude-low`` or ``amplitude-high``, ``quantised``, ``offset``, ``saturated``,
    ``lead-relations``, ``mains``.
    """
    ecg = np.asarray(ecg, dtype=np.float64)
    given = np.ones(len(LEADS), dtype=bool) if given is None else given
    with np.errstate(all="ignore"):  # single values may be absurd; they are clipped, which is said
        return _examine(ecg, digital, clipped, given)


def _examine(ecg: np.ndarray, digital: np.ndarray, clipped: int, given: np.ndarray) -> Plausibility:
    # Few passes over the samples: this is a sizeable part of what packing a recording takes.
    highs, lows = _window_extremes(ecg)
    high, low = highs.max(axis=1), lows.min(axis=1)
    seconds = _Seconds.of(ecg)
    active = given & (high > low)
    offset, peak = float(np.abs(seconds.means).max()), float(max(high.max(), -low.min()))
    if not active.any():
        nothing = Measures(0.0, 0.0, peak, offset, 1, clipped, 1.0, *[math.nan] * 3)
        return _judge(nothing, ecg, seconds.means, active, None, 0)
    windows = slice(None, max(1, ecg.shape[1] // WINDOW))  # without what remains after the last whole one
    spans = _middle(highs[:, windows] - lows[:, windows])
    # Rounding and clipping keep the order of values, so that the extremes of the digital ECG are those of the ECG.
    tops, bottoms = _rounded(highs[:, windows]), _rounded(lows[:, windows])
    chosen = np.flatnonzero(active)
    typical = chosen[np.argsort(spans[active], kind="stable")[(len(chosen) - 1) // 2]]
    limb = ecg[:6]
    gram = limb @ limb.T - ecg.shape[1] * np.outer(seconds.means[:6], seconds.means[:6])
    hum, hertz = seconds.hum(active)
    large = active & (high - low > LOW)  # smaller ones have few values to stand at
    standing = np.where(large, _standing(digital, _rounded(high), _rounded(low)), 0.0)
    measures = Measures(
        amplitude=float(_middle(spans[active])),
        stored=float(_middle(_middle(tops - bottoms)[active])) * MV_PER_UNIT,
        peak=peak,
        offset=offset,
        levels=_levels(digital[typical]),
        clipped=clipped,
        standing=float(standing.max()),
        residual=relations_residual(gram, active[:6]),
        hum=hum,
        spread=min(_variation(seconds.deviations(active)), _variation((high - low)[active])),
    )
    return _judge(measures, ecg, seconds.means, standing > STANDING, gram if active[:6].all() else None, hertz)


def _judge(
    measures: Measures, ecg: np.ndarray, means: np.ndarray, standing: np.ndarray, gram: np.ndarray | None, hertz: int
) -> Plausibility:
    reasons = []
    if measures.clipped:
        leads = _names((np.abs(ecg) > MAX_MV).any(axis=1))
        samples = "1 sample" if measures.clipped == 1 else f"{measures.clipped} samples"
        text = f"{samples} beyond ±{MAX_MV:g} mV in {leads}, the largest {measures.peak:.4g} mV"
        reasons.append(Reason("clipped", text))
    if not LOW <= measures.amplitude <= HIGH:
        code, limit = ("amplitude-low", LOW) if measures.amplitude < LOW else ("amplitude-high", HIGH)
        stored = "" if math.isclose(measures.stored, measures.amplitude, rel_tol=0.05) else f", {measures.stored:.3g} as stored"
        side = "below" if measures.amplitude < LOW else "above"
        reasons.append(Reason(code, f"the median lead spans {measures.amplitude:.3g} mV{stored}, {side} {limit:g} mV"))
    if measures.levels < LEVELS:
        reasons.append(Reason("quantised", f"different values of the median lead: {measures.levels}, fewer than {LEVELS}"))
    if measures.offset > OFFSET:
        far = _names(np.abs(means) > OFFSET)
        reasons.append(Reason("offset", f"mean beyond ±{OFFSET:g} mV in {far}, the largest {measures.offset:.4g} mV"))
    if standing.any():
        text = f"{_names(standing)} at the largest or smallest value for up to {100 * measures.standing:.0f} % of the time"
        reasons.append(Reason("saturated", text))
    if measures.residual > RESIDUAL:
        explanation = "" if gram is None else describe_exchange(gram, measures.residual)
        text = (
            f"the limb leads contradict Einthoven's and Goldberger's relations by {100 * measures.residual:.0f} % of their size"
        )
        reasons.append(Reason("lead-relations", text + explanation))
    if measures.hum > HUM:
        reasons.append(Reason("mains", f"{100 * measures.hum:.0f} % of the power is hum of {hertz} Hz"))
    return Plausibility(measures, tuple(reasons))


def _window_extremes(ecg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Largest and smallest value of each lead in windows of about 2 s, and in what remains: each ``[leads, windows (+ 1)]``."""
    leads, samples = ecg.shape
    count = max(1, samples // WINDOW)
    whole = samples // count * count
    windows = ecg[:, :whole].reshape(leads, count, -1)
    highs, lows = windows.max(axis=2), windows.min(axis=2)
    if whole == samples:
        return highs, lows
    rest = ecg[:, whole:]
    return np.column_stack([highs, rest.max(axis=1)]), np.column_stack([lows, rest.min(axis=1)])


def _rounded(ecg: np.ndarray) -> np.ndarray:
    """Digital units of the store, as floating-point numbers."""
    return np.clip(np.rint(ecg / MV_PER_UNIT), -MAX_DIGITAL, MAX_DIGITAL)


class _Seconds(NamedTuple):
    """Sums over the whole seconds of a recording, and its means.

    Attributes:
        cycle: ``[leads, seconds, 50]``: the ten cycles of 0.1 s of each second added up. What repeats after 0.1 s stays, and
            a tenth of the products is needed to find it.
        squares: ``[leads, seconds]``, sums of squares.
        means: ``[leads]``, of all samples.
    """

    cycle: np.ndarray
    squares: np.ndarray
    means: np.ndarray

    @classmethod
    def of(cls, ecg: np.ndarray) -> _Seconds:
        leads, samples = ecg.shape
        seconds = samples // SAMPLE_RATE
        whole = ecg[:, : seconds * SAMPLE_RATE]
        cycle = whole.reshape(leads, seconds, -1, _CYCLE).sum(axis=2) if seconds else np.zeros((leads, 0, _CYCLE))
        windows = whole.reshape(leads, seconds, SAMPLE_RATE)
        total = cycle.sum(axis=(1, 2))
        if seconds * SAMPLE_RATE < samples:
            total = total + ecg[:, seconds * SAMPLE_RATE :].sum(axis=1)
        return cls(cycle, np.einsum("lst,lst->ls", windows, windows), total / samples)

    def hum(self, active: np.ndarray) -> tuple[float, int]:
        """Share of the power that is hum, and its frequency; NaN for less than a second."""
        cycle = self.cycle[active]
        if not cycle.size:
            return math.nan, 0
        power = float(self.squares[active].sum() - (cycle.sum(axis=2) ** 2).sum() / SAMPLE_RATE)
        waves = ((cycle.reshape(-1, _CYCLE) @ _WAVES) ** 2).sum(axis=0) * (2 / SAMPLE_RATE)
        power_at = waves.reshape(len(MAINS), 2).sum(axis=1)
        return float(power_at.max() / power) if power > 0 else math.nan, MAINS[int(power_at.argmax())]

    def deviations(self, active: np.ndarray) -> np.ndarray:
        """Standard deviation of each lead over the whole seconds."""
        samples = max(1, self.cycle.shape[1]) * SAMPLE_RATE
        means = self.cycle[active].sum(axis=(1, 2)) / samples
        return np.sqrt(np.maximum(self.squares[active].sum(axis=1) / samples - means**2, 0))


def _levels(digital: np.ndarray) -> int:
    """How many different values there are."""
    ordered = np.sort(digital)
    return int(np.count_nonzero(ordered[1:] != ordered[:-1])) + 1


def _standing(digital: np.ndarray, high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Share of samples at the largest, or the smallest, value of each lead."""
    counts = [
        np.add.reduce((digital == end.astype(np.int16)[:, None]).view(np.int8), axis=1, dtype=np.int32) for end in (high, low)
    ]
    return np.maximum(*counts) / digital.shape[1]


def _middle(values: np.ndarray) -> np.ndarray:
    """Median over the last dimension; ``np.median`` takes longer for few values than what it is to find."""
    ordered = np.sort(values, axis=-1)
    count = ordered.shape[-1]
    return (ordered[..., (count - 1) // 2] + ordered[..., count // 2]) / 2


def _variation(sizes: np.ndarray) -> float:
    """Standard deviation divided by the mean."""
    values = sizes.tolist()
    mean = sum(values) / len(values)
    if len(values) < 2 or not mean > 0:
        return math.nan
    return math.sqrt(sum((value - mean) * (value - mean) for value in values) / len(values)) / mean


def _peak(ecg: np.ndarray) -> float:
    return float(np.abs(ecg).max())


def _names(which: np.ndarray) -> str:
    return ", ".join(lead for lead, chosen in zip(LEADS, which) if chosen)
