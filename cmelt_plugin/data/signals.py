"""A user's recordings, of any rate, length and lead order, as the model takes them.

The steps are those of packing (``preprocess/packing/recording.py``): leads by name, cut to 10 s, resampled by the ratio of the
rates, padded with zeros at the end.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple, Union

import numpy as np
import torch
from torch import Tensor

from cmelt_plugin.data.leads import LEADS, LeadError, lead_indices, lead_keep_mask
from cmelt_plugin.data.plausibility import MAX_MV, Reason, examine, nothing_left
from cmelt_plugin.data.readers.calibrated_record import read_record
from cmelt_plugin.data.readers.contract import Crop
from cmelt_plugin.data.resampling import RATES, resample
from cmelt_plugin.data.store.record_store import N_SAMPLES, SAMPLE_RATE, to_steps
from cmelt_plugin.errors import DataError

SECONDS = N_SAMPLES / SAMPLE_RATE
MIN_SECONDS = 1.0
CROPS = ("start", "centre")
MISSING_LEADS = ("refuse", "zero")

Signal = Union[np.ndarray, Tensor, str, os.PathLike, Sequence[Union[str, os.PathLike]]]


class PreparedECG(NamedTuple):
    """Recordings ready for a model.

    Attributes:
        ecg: float32 ``[B, 12, 5000]``, mV, 500 Hz, leads in the order of :data:`cmelt_plugin.data.leads.LEADS`.
        n_samples: int64 ``[B]``, real samples of each; the rest is padding.
        shape: leading dimensions of the user's array, whose product is B; ``()`` for a single recording.
        doubts: what is doubtful about each of the B recordings (:func:`cmelt_plugin.data.plausibility.examine`), and, as
            ``header``, what its header leaves out.
    """

    ecg: Tensor
    n_samples: Tensor
    shape: tuple[int, ...]
    doubts: tuple[tuple[Reason, ...], ...] = ()

    @property
    def padding(self) -> Tensor | None:
        """``n_samples`` where a recording is padded, else None: models skip masks that mask nothing."""
        return self.n_samples if bool((self.n_samples < self.ecg.shape[-1]).any()) else None


def prepare_ecg(
    signal: Signal,
    sample_rate: float = SAMPLE_RATE,
    leads: Sequence[str] = LEADS,
    crop: str = "start",
    missing_leads: str = "refuse",
    required: Sequence[str] = LEADS,
    accept_wrong_checksums: bool = False,
) -> PreparedECG:
    """Bring recordings to 12 leads in canonical order, 500 Hz and 10 s, and say what is doubtful about them.

    Args:
        signal: ``[.., leads, samples]`` in mV (NumPy array or tensor), the path of a WFDB record, or a list of such
            paths. A record's header then says what ``sample_rate`` and ``leads`` would.
        sample_rate: Hz.
        leads: names of the rows, in any order and letter case.
        crop: which 10 s of a longer recording are kept: ``start`` (as packing does) or ``centre``.
        missing_leads: ``refuse`` recordings that lack leads, or take them as ``zero``, as lead masking in training does.
        required: the leads a model reads; others are zero where they are missing.
        accept_wrong_checksums: use WFDB records, and name them doubtful, whose samples fail the checksums in their header.

    Raises:
        DataError: unknown or missing leads, a rate outside 50–20,000 Hz, less than 1 s, samples without a value,
            nothing but zeros, values that cannot be millivolts, or nothing left after rounding and clipping as packing does.
    """
    _check_choice("crop", crop, CROPS)
    _check_choice("missing_leads", missing_leads, MISSING_LEADS)
    if isinstance(signal, (str, os.PathLike)):
        return prepare_record(signal, crop, missing_leads, required, accept_wrong_checksums)
    if isinstance(signal, (list, tuple)) and signal and all(isinstance(item, (str, os.PathLike)) for item in signal):
        records = [prepare_record(path, crop, missing_leads, required, accept_wrong_checksums) for path in signal]
        return PreparedECG(
            torch.cat([record.ecg for record in records]),
            torch.cat([record.n_samples for record in records]),
            (len(records),),
            tuple(doubts for record in records for doubts in record.doubts),
        )
    array = _as_array(signal)
    names = [str(name) for name in leads]
    if array.ndim < 2 or array.shape[-2] != len(names):
        hint = "; transpose it" if array.ndim >= 2 and array.shape[-1] == len(names) else ""
        raise DataError(f"the signal is {list(array.shape)} where [.., {len(names)} leads, samples] is expected{hint}")
    rate = float(sample_rate)
    if not RATES[0] <= rate <= RATES[1]:
        raise DataError(f"sample rate {rate:g} Hz; {RATES[0]:g} to {RATES[1]:g} Hz are accepted")
    shape = array.shape[:-2]
    cut = _cut(array.reshape(-1, *array.shape[-2:]), rate, crop)
    _check_values(cut, names)
    ecg = np.zeros((len(cut), len(LEADS), N_SAMPLES), dtype=np.float32)
    at_500 = resample(_in_order(cut, names, () if missing_leads == "zero" else required), rate)[..., :N_SAMPLES]
    n_samples = at_500.shape[-1]
    ecg[..., :n_samples] = np.clip(at_500, -MAX_MV, MAX_MV)
    given = lead_keep_mask(names)
    doubts = tuple(_doubts(each, given, f"recording {i}: " if len(ecg) > 1 else "") for i, each in enumerate(at_500))
    return PreparedECG(torch.from_numpy(ecg), torch.full((len(ecg),), n_samples), shape, doubts)


def prepare_record(
    path: str | os.PathLike,
    crop: str = "start",
    missing_leads: str = "refuse",
    required: Sequence[str] = LEADS,
    accept_wrong_checksums: bool = False,
) -> PreparedECG:
    """:func:`prepare_ecg` of one WFDB record; messages name the record.

    Raises:
        DataError: the record cannot be read or used.
    """
    _check_choice("crop", crop, CROPS)
    record = read_record(path, Crop(SECONDS, crop), accept_wrong_checksums)
    try:
        prepared = prepare_ecg(record.signal, record.sample_rate, record.leads, crop, missing_leads, required)
    except DataError as error:
        raise DataError(f"{os.fspath(path)}: {error}") from None
    assumed = tuple(Reason("header", text) for text in record.assumed)
    return prepared._replace(doubts=tuple(assumed + doubts for doubts in prepared.doubts))


def _as_array(signal: Any) -> np.ndarray:
    if isinstance(signal, Tensor):
        signal = signal.detach().cpu().numpy()
    try:
        return np.asarray(signal, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError("the signal must be an array [.., leads, samples] in mV or the path of a WFDB record") from None


def _cut(array: np.ndarray, rate: float, crop: str) -> np.ndarray:
    samples = array.shape[-1]
    if array.shape[0] == 0:
        raise DataError("the signal holds no recording")
    if samples < MIN_SECONDS * rate:
        raise DataError(f"{samples} samples at {rate:g} Hz are {samples / rate:.2f} s; at least {MIN_SECONDS:g} s are needed")
    start, stop = Crop(SECONDS, crop).span(samples, rate)
    return array[..., start:stop]


def _check_values(array: np.ndarray, names: Sequence[str]) -> None:
    missing = ~np.isfinite(array)
    if missing.any():
        affected = [name for name, bad in zip(names, missing.any(axis=(0, 2))) if bad]
        raise DataError(f"{int(missing.sum())} samples without a value (NaN) in {', '.join(affected)}")
    empty = np.flatnonzero(~array.any(axis=(1, 2)))
    if len(empty):
        which = f" of recording {empty[0]}" if len(array) > 1 else ""
        raise DataError(f"every sample{which} is zero")
    low, high = np.percentile(array, [5, 95], axis=(1, 2))
    with np.errstate(over="ignore"):
        spread = float((high - low).max())
    if spread > 2 * MAX_MV:
        raise DataError(f"the values span {spread:,.0f}: they cannot be millivolts (divide microvolts by 1000)")


def _doubts(ecg: np.ndarray, given: np.ndarray, which: str) -> tuple[Reason, ...]:
    """What packing would find doubtful about one recording, ``[12, T]`` at 500 Hz.

    Raises:
        DataError: packing would refuse it.
    """
    if not np.isfinite(ecg).all():
        raise DataError(f"{which}values too large to be resampled; they cannot be millivolts")
    steps, clipped = to_steps(ecg)
    lost = nothing_left(ecg, steps, clipped, given)
    if lost is not None:
        raise DataError(f"{which}{lost.text}")
    return examine(ecg, steps, clipped, given).reasons


def _in_order(array: np.ndarray, names: Sequence[str], required: Sequence[str]) -> np.ndarray:
    """``[B, leads, T]`` in the order of ``names`` → ``[B, 12, T]`` in canonical order, absent leads zero."""
    if len(required) == len(LEADS):
        return array[:, lead_indices(names)]
    given = lead_keep_mask(names)
    absent = [lead for lead, here, needed in zip(LEADS, given, _mask(required)) if needed and not here]
    if absent:
        raise LeadError(f"missing {', '.join(absent)}, which the model reads")
    found = [name.strip().lower() for name in names]
    ordered = np.zeros((len(array), len(LEADS), array.shape[-1]))
    for index in np.flatnonzero(given):
        ordered[:, index] = array[:, found.index(LEADS[index].lower())]
    return ordered


def _mask(names: Sequence[str]) -> np.ndarray:
    return lead_keep_mask(names) if len(names) else np.zeros(len(LEADS), dtype=bool)


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise DataError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
