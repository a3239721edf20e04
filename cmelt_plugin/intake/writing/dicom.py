"""DICOM ECG waveforms, written through pydicom: 16 bits, or the 32-bit ECG where these do not do. No patient is named."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cmelt_plugin.data.files import atomic_path
from cmelt_plugin.data.lead_codes import LEAD_NAMES, lead_name
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.readers.contract import one_line
from cmelt_plugin.data.readers.dicom_library import import_pydicom
from cmelt_plugin.errors import DataError
from cmelt_plugin.intake.formats.dicom import ECG_CLASSES, FILTERS
from cmelt_plugin.intake.recording import Recording
from cmelt_plugin.intake.writing.digital import digitised

TWELVE_LEAD, GENERAL, AMBULATORY, GENERAL_32 = ECG_CLASSES
TWELVE_LEAD_SAMPLES, TWELVE_LEAD_RATES = 16384, (200, 1000)  # PS3.3 A.34.3.4
AMBULATORY_RATES = (50, 1000)  # A.34.5.4
LONGEST_TEXT = 64  # characters of LO
_NUMBERS = {name: number for number, name in LEAD_NAMES.items()}
_FILTER = re.compile(rf"({'|'.join(name for _, name in FILTERS)}) ([\d.]+) Hz")


def write_dicom(path: Path, recording: Recording) -> list[Path]:
    """``path``.dcm. Names of leads that DICOM cannot hold are changed (:func:`channel_names`).

    Raises:
        DataError: pydicom is not installed, or more samples than an element holds.
    """
    pydicom = import_pydicom()
    from pydicom.dataset import Dataset, FileMetaDataset

    digital = digitised(recording.signal)
    data = np.ascontiguousarray(digital.counts.T).astype(f"<i{digital.bits // 8}").tobytes()
    if len(data) >= 1 << 32:
        raise DataError(f"{path.name}: {len(data):,} bytes of samples, which no DICOM element holds; convert it in windows")
    content = Dataset()
    content.SpecificCharacterSet = "ISO_IR 192"  # UTF-8: names of leads and devices are of any script
    content.SOPClassUID, content.SOPInstanceUID = _class_of(recording, digital.bits), pydicom.uid.generate_uid()
    content.StudyInstanceUID, content.SeriesInstanceUID = pydicom.uid.generate_uid(), pydicom.uid.generate_uid()
    for name in ("PatientName", "PatientID", "PatientBirthDate", "StudyID", "StudyDate", "StudyTime", "AccessionNumber"):
        setattr(content, name, "")
    content.ReferringPhysicianName, content.Laterality = "", ""
    content.PatientSex = recording.sex or ""
    if recording.age is not None:
        content.PatientAge = f"{int(recording.age):03d}Y"
    content.Modality, content.SeriesNumber, content.InstanceNumber = "ECG", "1", "1"
    content.Manufacturer = _text(recording.device)[:LONGEST_TEXT]
    content.AcquisitionContextSequence = []
    if recording.start is not None:
        content.AcquisitionDateTime = f"{recording.start:%Y%m%d%H%M%S}"
        content.ContentDate, content.ContentTime = f"{recording.start:%Y%m%d}", f"{recording.start:%H%M%S}"
    group = Dataset()
    group.MultiplexGroupTimeOffset, group.MultiplexGroupLabel, group.WaveformOriginality = "0", "RHYTHM", "ORIGINAL"
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = digital.counts.shape
    group.SamplingFrequency = _decimal(recording.sample_rate)
    filters = dict(_FILTER.findall(recording.filters))
    names = channel_names(recording.leads)
    group.ChannelDefinitionSequence = [
        _channel(Dataset, name, step, digital.bits, filters) for name, step in zip(names, digital.steps)
    ]
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = digital.bits, "SS" if digital.bits == 16 else "SL"
    group.WaveformData = data
    group["WaveformData"].VR = "OW"
    content.WaveformSequence = [group]
    content.file_meta = FileMetaDataset()
    content.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    content.file_meta.MediaStorageSOPClassUID = content.SOPClassUID
    content.file_meta.MediaStorageSOPInstanceUID = content.SOPInstanceUID
    file = path.with_name(f"{path.name}.dcm")
    with atomic_path(file) as temporary:
        content.save_as(temporary, enforce_file_format=True)
    return [file]


def channel_names(leads: Sequence[str]) -> list[str]:
    """Names of channels: without backslashes, which separate values; of at most 64 characters; none empty or twice."""
    names: list[str] = []
    for number, lead in enumerate(leads, start=1):
        whole = _text(lead) or f"channel {number}"
        name, copy = whole[:LONGEST_TEXT].strip(), 1
        while lead_name(name) in names:
            copy += 1
            name = f"{whole[: LONGEST_TEXT - len(f' {copy}')].strip()} {copy}"
        names.append(name)
    return names


def _text(text: str) -> str:
    return one_line(text).replace("\\", "/")


def _class_of(recording: Recording, bits: int) -> str:
    """The class whose limits the recording keeps; the general one where it keeps none."""
    leads, samples, rate = set(recording.leads), recording.signal.shape[1], recording.sample_rate
    if bits == 32:
        return GENERAL_32
    within = TWELVE_LEAD_RATES[0] <= rate <= TWELVE_LEAD_RATES[1]
    if leads <= set(LEADS) and samples <= TWELVE_LEAD_SAMPLES and within:
        return TWELVE_LEAD
    return AMBULATORY if not within and len(leads) <= 12 and AMBULATORY_RATES[0] <= rate < TWELVE_LEAD_RATES[0] else GENERAL


def _channel(dataset: Any, lead: str, step: float, bits: int, filters: dict[str, str]) -> Any:
    source, units, channel = dataset(), dataset(), dataset()
    number = _NUMBERS.get(lead)
    code, scheme = ("", "99NONE") if number is None else (f"5.6.3-9-{number}", "SCPECG")
    source.CodeValue, source.CodingSchemeDesignator, source.CodeMeaning = code or lead[:16], scheme, lead
    units.CodeValue, units.CodingSchemeDesignator, units.CodeMeaning = "uV", "UCUM", "microvolt"
    channel.ChannelSourceSequence, channel.ChannelSensitivityUnitsSequence = [source], [units]
    channel.ChannelSensitivity, channel.ChannelSensitivityCorrectionFactor = _decimal(step * 1000), "1"
    channel.ChannelBaseline, channel.ChannelSampleSkew, channel.WaveformBitsStored = "0", "0", bits
    for field, name in FILTERS:
        if name in filters:
            setattr(channel, field, filters[name])
    return channel


def _decimal(value: float) -> str:
    """At most 16 characters, as DS has."""
    return next(text for digits in range(16, 0, -1) if len(text := f"{value:.{digits}g}") <= 16)
