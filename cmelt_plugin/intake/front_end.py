"""Files of any format for packing and for models: the readers' contract, filled by :func:`.reading.read_ecg`.

WFDB records of the standard twelve leads go to their own reader as ever, so that what was packed from them stays the same to
the last bit. Records of other leads are brought to these as other formats are.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from cmelt_plugin.data.lead_codes import OTHER_LEADS, lead_name
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.readers.arrays import ArrayReader, Place, is_array
from cmelt_plugin.data.readers.contract import ALL, Reading, Recording, Rejected, one_line, takes_reading
from cmelt_plugin.data.readers.record_paths import record_stem
from cmelt_plugin.data.readers.wfdb_records import read_wfdb
from cmelt_plugin.data.standard_leads import without_others
from cmelt_plugin.errors import DataError
from cmelt_plugin.intake import recording
from cmelt_plugin.intake.calibration import in_millivolts
from cmelt_plugin.intake.formats import apple_watch, arrays
from cmelt_plugin.intake.reading import head_of, read_ecg
from cmelt_plugin.intake.waveforms import with_limb_leads


@takes_reading
def read_any(path: str, reading: Reading = ALL) -> Recording:
    """Read a recording of any format; leads beyond the standard twelve are left out where it has some of these.

    Args:
        path: a file, a WFDB record, or one recording of an array, also as :meth:`.Place.encode` writes it.
        reading: the part that is wanted.

    Raises:
        Rejected: as :func:`cmelt_plugin.data.readers.wfdb_records.read_wfdb`; ``unreadable``: other files cannot be read.
        OSError, MemoryError: trouble of the machine.
    """
    stem = record_stem(path)
    if os.path.isfile(f"{stem}.hea") or not os.path.exists(Place.decode(path).file if "\t" in path else Place.parse(path).file):
        return _of_wfdb(stem, read_wfdb(stem, reading))
    try:
        return standard(read_ecg(_typed(path), reading))
    except DataError as error:
        raise Rejected("unreadable", _without_path(str(error))) from None


def _of_wfdb(stem: str, record: Recording) -> Recording:
    """A record with the limb leads that it lacks and without the leads that models do not know, where it has any of either."""
    if sorted(lead.strip().lower() for lead in record.leads) == sorted(lead.lower() for lead in LEADS):
        return record
    try:
        signal, leads, notes = in_millivolts(stem, record)
    except DataError:
        return record  # refused for its leads or units, with their own code
    made = recording.Recording(signal, record.rate, leads, notes=notes, samples=record.samples, doubtful=record.doubtful)
    return standard(with_limb_leads(made))


def standard(found: recording.Recording) -> Recording:
    """A recording by the readers' contract; leads beyond the standard twelve are left out where it has some of these."""
    signal, leads, left = without_others(found.signal, found.leads)
    notes = found.notes + ((f"Left out: {', '.join(left[:10])}, none of the standard leads.",) if left else ())
    return Recording(signal, list(leads), ["mV"] * len(leads), found.sample_rate, found.samples, notes, found.doubtful, left)


@takes_reading
@dataclass(frozen=True)
class FileReader:
    """:func:`read_any`; arrays as ``arrays`` says, where it does."""

    arrays: ArrayReader | None = None

    def __call__(self, path: str, reading: Reading = ALL) -> Recording:
        if self.arrays is not None and is_array(Place.decode(path).file):
            found = self.arrays(path, reading)
            signal, leads, left = without_others(found.signal, tuple(map(lead_name, found.leads)), OTHER_LEADS)
            return found._replace(signal=signal, leads=leads, units=found.units[: len(leads)], ignored=left) if left else found
        return read_any(path, reading)


def describes_itself(file: str) -> bool:
    """Whether an array says its rate, unit and leads: by a JSON file beside it, or as an export of a watch.

    Raises:
        Rejected, OSError: it cannot be opened.
    """
    return os.path.isfile(arrays.description_of(file)) or (
        file.lower().endswith(".csv") and os.path.isfile(file) and apple_watch.matches(head_of(file), file)
    )


def _typed(path: str) -> str:
    """An encoded place as users type it."""
    if "\t" not in path:
        return path
    place = Place.decode(path)
    row = "" if place.row is None else f"[{place.row}]"
    return f"{place.file}{f':{place.variable}' if place.variable else ''}{row}"


def _without_path(text: str) -> str:
    """A refusal with the file's name in place of its path, as packing lists it."""
    path, colon, what = text.partition(": ")
    return one_line(f"{os.path.basename(path)}{colon}{what}")
