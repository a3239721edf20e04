"""Tables of the recordings of PhysioNet's challenges, each of a patient of its own."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from cmelt_plugin.data.readers.challenge_files import Patient
from cmelt_plugin.data.readers.folders import find_stems
from preprocess.packing.records import records_table


def find_records(root: Path, name: str, suffix: str) -> list[tuple[str, str]]:
    """Files below ``root`` whose name is the regular expression ``name`` followed by ``suffix``.

    Returns:
        (name, path relative to ``root`` without ``suffix``), sorted by name and path.
    """
    pattern = re.compile(name)
    stems = ((os.path.basename(stem), stem) for stem in find_stems(root, (suffix,)))
    return sorted((own, stem) for own, stem in stems if pattern.fullmatch(own))


def patient_records(
    recordings: Sequence[tuple[str, str]], patients: Sequence[Patient], split: Sequence[str] | None
) -> pa.Table:
    """Table of records, each of a patient of its own.

    Args:
        recordings: n pairs (name, path below the root without suffix).
        patients: theirs.
        split: theirs; None: by subject hash.
    """
    names = [name for name, _ in recordings]
    return records_table(
        record_id=names,
        path=[path for _, path in recordings],
        subject_id=names,
        sex=[patient.sex for patient in patients],
        age=[patient.age for patient in patients],
        split=split,
    )
