"""DICOM files with ECG waveforms of known counts, written through pydicom."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cmelt_plugin.data.leads import LEADS

NUMBERS = dict(zip(LEADS, (1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8)))


def group(
    counts: np.ndarray,
    leads: Sequence[str] = LEADS,
    *,
    rate: float = 500,
    label: str = "RHYTHM",
    originality: str = "ORIGINAL",
    scheme: str = "SCPECG",
    sensitivity: str = "2.5",
    correction: str = "1",
    baseline: str = "0",
    unit: str = "uV",
    kind: str = "SS",
    offset: float | str = 0,
    padding: int | None = None,
    order: str = "<",
) -> Any:
    """A multiplex group of ``[leads, samples]``; ``offset`` in ms."""
    from pydicom.dataset import Dataset

    stored = np.dtype({"SS": "i2", "US": "u2", "SB": "i1", "SL": "i4"}[kind]).newbyteorder(order)
    item = Dataset()
    item.MultiplexGroupTimeOffset = str(offset)
    item.WaveformOriginality = originality
    item.NumberOfWaveformChannels, item.NumberOfWaveformSamples = counts.shape
    item.SamplingFrequency = str(rate)
    item.MultiplexGroupLabel = label
    item.ChannelDefinitionSequence = [
        _channel(lead, scheme, sensitivity, correction, baseline, unit, 8 * stored.itemsize) for lead in leads
    ]
    item.WaveformBitsAllocated = 8 * stored.itemsize
    item.WaveformSampleInterpretation = kind
    if padding is not None:
        item.WaveformPaddingValue = np.array(padding, stored).tobytes()
    data = np.ascontiguousarray(counts.T).astype(stored).tobytes()
    item.WaveformData = data + b"\0" * (len(data) % 2)
    for name in ("WaveformData", "WaveformPaddingValue"):
        if name in item:
            item[name].VR = "OB" if stored.itemsize == 1 else "OW"
    return item


def _channel(lead: str, scheme: str, sensitivity: str, correction: str, baseline: str, unit: str, bits: int) -> Any:
    from pydicom.dataset import Dataset

    source = Dataset()
    codes = {"SCPECG": f"5.6.3-9-{NUMBERS.get(lead)}", "MDC": f"2:{NUMBERS.get(lead)}", "99OWN": lead}
    source.CodeValue, source.CodingSchemeDesignator, source.CodeMeaning = codes[scheme], scheme, f"Lead {lead} (own words)"
    units = Dataset()
    units.CodeValue, units.CodingSchemeDesignator, units.CodeMeaning = unit, "UCUM", unit
    channel = Dataset()
    channel.ChannelSourceSequence = [source]
    if sensitivity:
        channel.ChannelSensitivity = sensitivity
        channel.ChannelSensitivityUnitsSequence = [units]
        channel.ChannelSensitivityCorrectionFactor = correction
        channel.ChannelBaseline = baseline
    channel.WaveformBitsStored = bits
    channel.FilterLowFrequency, channel.FilterHighFrequency = "0.05", "150"
    return channel


def write(
    path: Path, groups: Sequence[Any], *, syntax: str = "ExplicitVRLittleEndian", kind: str = "TwelveLeadECGWaveformStorage"
) -> Path:
    """Write a file of these groups."""
    from pydicom import uid
    from pydicom.dataset import Dataset, FileMetaDataset

    content = Dataset()
    content.SOPClassUID, content.SOPInstanceUID = getattr(uid, kind), uid.generate_uid(entropy_srcs=["twin"])
    content.Modality = "ECG"
    content.PatientSex, content.PatientBirthDate, content.AcquisitionDateTime = "F", "19600229", "20200301073000.5"
    content.Manufacturer, content.ManufacturerModelName = "Nobody", "Twin"
    content.WaveformSequence = list(groups)
    content.file_meta = FileMetaDataset()
    content.file_meta.TransferSyntaxUID = getattr(uid, syntax)
    content.file_meta.MediaStorageSOPClassUID = content.SOPClassUID
    content.file_meta.MediaStorageSOPInstanceUID = content.SOPInstanceUID
    content.save_as(path, enforce_file_format=True)
    return path
