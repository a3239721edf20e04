"""A user's recordings, of any rate, length and lead order, as the model takes them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Callable, NamedTuple, Union

import numpy as np
import torch
from torch import Tensor

from cmelt_plugin.data.electrodes import doubtful_electrodes
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.plausibility import MAX_MV, DoubtfulECG, Reason, describe_reasons, examine, nothing_left
from cmelt_plugin.data.readers.contract import Crop, Reading, Recording, Rejected
from cmelt_plugin.data.readers.record_paths import record_stem
from cmelt_plugin.data.readers.wfdb_header import NO_UNIT
from cmelt_plugin.data.readers.wfdb_records import WRONG_CHECKSUM, read_wfdb
from cmelt_plugin.data.resampling import RATES
from cmelt_plugin.data.signal_contract import STORE_SIGNALS, SignalContract
from cmelt_plugin.data.signals import at_contract_rate, calibrate
from cmelt_plugin.data.standard_leads import standard_array
from cmelt_plugin.data.store.record_store import SAMPLE_RATE, to_digital
from cmelt_plugin.errors import DataError

MIN_SECONDS = 1.0
CROPS = ("start", "centre")
MISSING_LEADS = ("refuse", "zero")

Signal = Union[np.ndarray, Tensor, str, os.PathLike, Sequence[Union[str, os.PathLike]]]


class PreparedECG(NamedTuple):
    """Recordings ready for a model.

    Attributes:
        ecg: float32 ``[B, leads, samples]``, mV: as the contract says, by default ``[B, 12, 5000]`` at 500 Hz with the leads
            in the order of :data:`cmelt_plugin.data.leads.LEADS`.
        n_samples: int64 ``[B]``, real samples of each; the rest is padding.
        shape: leading dimensions of the user's array, whose product is B; ``()`` for a single recording.
        doubts: what is doubtful about each of the B recordings (:func:`cmelt_plugin.data.plausibility.examine`), and, as
            ``header``, what its header leaves out or says against it, ``electrodes``, those that may be exchanged, and
            ``lead-ignored``, leads that were not read although it lacks some that the model reads.
    """

    ecg: Tensor
    n_samples: Tensor
    shape: tuple[int, ...]
    doubts: tuple[tuple[Reason, ...], ...] = ()

    @property
    def padding(self) -> Tensor | None:
        """``n_samples`` where a recording is padded, else None: models skip masks that mask nothing."""
        return self.n_samples if bool((self.n_samples < self.ecg.shape[-1]).any()) else None


def joined(parts: Sequence[PreparedECG]) -> PreparedECG:
    """Recordings that were prepared one by one, as one batch ``[B]``."""
    doubts = tuple(doubts for part in parts for doubts in part.doubts)
    ecg, n_samples = torch.cat([part.ecg for part in parts]), torch.cat([part.n_samples for part in parts])
    return PreparedECG(ecg, n_samples, (len(ecg),), doubts)


def prepare_ecg(
    signal: Signal,
    sample_rate: float = SAMPLE_RATE,
    leads: Sequence[str] = LEADS,
    crop: str = "start",
    missing_leads: str = "refuse",
    required: Sequence[str] = LEADS,
    accept_wrong_checksums: bool = False,
    contract: SignalContract = STORE_SIGNALS,
    read: Callable[..., Recording] = read_wfdb,
) -> PreparedECG:
    """Bring recordings to the leads, the sample rate and the length of a contract, and say what is doubtful about them.

    Args:
        signal: ``[.., leads, samples]`` in mV (NumPy array or tensor), the path of a WFDB record, or a list of such
            paths. A record's header then says what ``sample_rate`` and ``leads`` would.
        sample_rate: Hz.
        leads: names of the rows, in any order and letter case. III, aVR, aVL and aVF are computed where only I and II are
            there; known leads beyond the twelve (V7, vx, …) are left out: :mod:`cmelt_plugin.data.standard_leads`.
        crop: which 10 s of a longer recording are kept: ``start`` (as packing does) or ``centre``.
        missing_leads: ``refuse`` recordings that lack leads, or take them as ``zero``, as lead masking in training does.
        required: the leads a model reads; others are zero where they are missing.
        accept_wrong_checksums: use WFDB records, and name them doubtful, whose samples fail the checksums in their header.
        contract: the signals the model takes.
        read: reader of paths, of WFDB records by default; of any format: :func:`cmelt_plugin.intake.front_end.read_any`.

    Raises:
        DataError: unknown or missing leads, a rate outside 50–20,000 Hz, less than 1 s, samples without a value,
            nothing but zeros, values that cannot be millivolts, or nothing left after rounding and clipping as packing does.
    """
    _check_choice("crop", crop, CROPS)
    _check_choice("missing_leads", missing_leads, MISSING_LEADS)
    paths = _paths(signal)
    if paths is None:
        return prepare_arrays(signal, sample_rate, leads, crop, missing_leads, required, contract)
    reading = Reading(Crop(contract.seconds, crop), accept_wrong_checksums)
    recordings = (_read(path, reading, read) for path in paths)
    shape = (len(paths),) if paths is signal else ()
    return _prepared(recordings, [f"{os.fspath(path)}: " for path in paths], shape, crop, missing_leads, required, contract)


def prepare_arrays(
    signal: Any,
    sample_rate: float = SAMPLE_RATE,
    leads: Sequence[str] = LEADS,
    crop: str = "start",
    missing_leads: str = "refuse",
    required: Sequence[str] = LEADS,
    contract: SignalContract = STORE_SIGNALS,
) -> PreparedECG:
    """:func:`prepare_ecg` of arrays and tensors alone."""
    _check_choice("crop", crop, CROPS)
    _check_choice("missing_leads", missing_leads, MISSING_LEADS)
    recordings, shape = _recordings(signal, float(sample_rate), [str(name) for name in leads])
    origins = [f"recording {number}: " if len(recordings) > 1 else "" for number in range(len(recordings))]
    return _prepared(recordings, origins, shape, crop, missing_leads, required, contract)


def hide_leads(prepared: PreparedECG, leads: Sequence[str], contract: SignalContract) -> None:
    """Set the leads that a model does not read, which are all but ``leads``, to zero."""
    read = {lead.lower() for lead in leads}
    prepared.ecg[:, [row for row, lead in enumerate(contract.leads) if lead.lower() not in read]] = 0.0


def warned(prepared: PreparedECG) -> PreparedECG:
    """The same, after one warning to the caller's caller about all its doubtful recordings."""
    doubtful = [(number, reasons) for number, reasons in enumerate(prepared.doubts) if reasons]
    if doubtful:
        number, reasons = doubtful[0]
        several = f"{len(doubtful)} of {len(prepared.doubts)} recordings are doubtful, number {number}: "
        which = several if len(prepared.doubts) > 1 else "the recording is doubtful: "
        warnings.warn(which + describe_reasons(reasons), DoubtfulECG, stacklevel=3)
    return prepared


def _prepared(
    recordings: Iterable[Recording],
    origins: Sequence[str],
    shape: tuple[int, ...],
    crop: str,
    missing_leads: str,
    required: Sequence[str],
    contract: SignalContract,
) -> PreparedECG:
    needed = () if missing_leads == "zero" else required
    ecg = np.zeros((len(origins), len(contract.leads), contract.n_samples), dtype=np.float32)
    n_samples = torch.zeros(len(origins), dtype=torch.int64)
    doubts = []
    for number, (recording, origin) in enumerate(zip(recordings, origins)):
        try:
            real, reasons = _prepare(recording, crop, needed, contract, required)
        except Rejected as error:
            lacking = error.code == "leads" and "missing" in str(error)
            remedy = "; missing_leads='zero' (--missing-leads zero) leaves them zero" if lacking else ""
            raise DataError(f"{origin}{error}{remedy}") from None
        n_samples[number] = real.shape[1]
        np.clip(real, -MAX_MV, MAX_MV, out=ecg[number, :, : real.shape[1]], casting="same_kind")
        doubts.append(reasons)
    return PreparedECG(torch.from_numpy(ecg), n_samples, shape, tuple(doubts))


def _paths(signal: Any) -> Sequence[str | os.PathLike] | None:
    """The paths of WFDB records that are given; None for an array."""
    if isinstance(signal, (str, os.PathLike)):
        return [signal]
    if isinstance(signal, (list, tuple)) and signal and all(isinstance(item, (str, os.PathLike)) for item in signal):
        return signal
    return None


def _read(path: str | os.PathLike, reading: Reading, read: Callable[..., Recording]) -> Recording:
    """Read a recording with the reader of packing.

    Raises:
        DataError: the recording cannot be read.
    """
    stem = record_stem(path)
    try:
        return read(stem if read is read_wfdb else os.fspath(path), reading)
    except Rejected as reason:
        if reason.code == "missing" and not os.path.lexists(f"{stem}.hea"):
            raise DataError(f"{path}: no such WFDB record ({os.path.basename(stem)}.hea is missing)") from None
        raise DataError(f"{os.fspath(path)}: {reason}") from None


def _recordings(signal: Any, rate: float, names: list[str]) -> tuple[list[Recording], tuple[int, ...]]:
    """Each recording of an array, and the dimensions before its last two."""
    if isinstance(signal, Tensor):
        signal = signal.detach().cpu().numpy()
    try:
        array = np.asarray(signal, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError("the signal must be an array [.., leads, samples] in mV or the path of a WFDB record") from None
    if array.ndim < 2 or array.shape[-2] != len(names):
        hint = "; transpose it" if array.ndim >= 2 and array.shape[-1] == len(names) else ""
        raise DataError(f"the signal is {list(array.shape)} where [.., {len(names)} leads, samples] is expected{hint}")
    if array.size == 0:
        raise DataError("the signal holds no recording")
    if not RATES[0] <= rate <= RATES[1]:
        raise DataError(f"sample rate {rate:g} Hz; {RATES[0]:g} to {RATES[1]:g} Hz are accepted")
    units = ["mV"] * len(names)
    each = array.reshape(-1, *array.shape[-2:])
    return [standard_array(Recording(ecg, names, units, rate)) for ecg in each], array.shape[:-2]


def _prepare(
    recording: Recording, crop: str, required: Sequence[str], contract: SignalContract, read: Sequence[str]
) -> tuple[np.ndarray, tuple[Reason, ...]]:
    """``[leads, samples]`` mV of the contract, neither clipped nor padded, and what is doubtful about the recording.

    Args:
        required: leads that it must have.
        read: leads that the model reads. Where it lacks some, those it has in their place and nobody reads are doubtful.

    Raises:
        Rejected: it cannot be used.
    """
    calibrated = calibrate(recording, crop, MIN_SECONDS, required)
    signal = calibrated.ecg if calibrated.given.all() else calibrated.ecg[calibrated.given]
    low, high = np.percentile(signal, [5, 95])
    with np.errstate(over="ignore"):
        spread = float(high - low)
    if spread > 2 * MAX_MV:
        raise Rejected("units", f"the values span {spread:,.0f}: they cannot be millivolts (divide microvolts by 1000)")
    ecg = at_contract_rate(calibrated)
    digital, clipped = to_digital(ecg)
    lost = nothing_left(ecg, digital, clipped, calibrated.given)
    if lost is not None:
        raise Rejected(*lost)
    unsaid = tuple(note for note in recording.notes if note in (NO_UNIT, WRONG_CHECKSUM))
    doubts = tuple(Reason("header", text) for text in unsaid + recording.doubtful)
    doubts += _ignored(recording, calibrated.given, read)
    doubts += examine(ecg, digital, clipped, calibrated.given).reasons
    if calibrated.given.all():
        doubts += doubtful_electrodes(ecg, SAMPLE_RATE, doubts)
    if contract != STORE_SIGNALS:
        ecg = at_contract_rate(calibrate(recording, crop, MIN_SECONDS, required, contract), contract)
    return ecg, doubts


def _ignored(recording: Recording, given: np.ndarray, read: Sequence[str]) -> tuple[Reason, ...]:
    """The leads of a recording that were left out, where it lacks leads that the model reads: ``lead-ignored``."""
    wanted = {str(lead).lower() for lead in read}
    lacking = [lead for lead, there in zip(LEADS, given) if not there and lead.lower() in wanted]
    if not lacking or not recording.ignored:
        return ()
    names = ", ".join(recording.ignored[:10])
    text = f"{names} not read, none of the standard leads; {', '.join(lacking)} missing and taken as zero"
    return (Reason("lead-ignored", text),)


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise DataError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
