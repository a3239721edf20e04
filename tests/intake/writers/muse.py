"""GE MUSE's XML around known counts."""

from __future__ import annotations

import base64
import zlib
from pathlib import Path

import numpy as np

LEADS = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")


def write(
    path: Path,
    counts: np.ndarray,
    *,
    leads: tuple[str, ...] = LEADS,
    base: int = 500,
    exponent: int = 0,
    kind: str = "Rhythm",
    checksums: bool = True,
    doctype: str = '<!DOCTYPE RestingECG SYSTEM "restecg.dtd">',
    fields: str = "<LeadSampleSize>2</LeadSampleSize>",
    units: str = "MICROVOLTS",
    bit: str = "4.88",
    patient: str = "<PatientAge>6</PatientAge><AgeUnits>MONTHS</AgeUnits><Gender>FEMALE</Gender>",
) -> Path:
    """``counts``: int16 ``[leads, samples]``; before them stands a median beat of zeros."""
    median = _waveform("Median", np.zeros((len(leads), 300), np.int16), leads, base, exponent, checksums, fields, units, bit)
    rhythm = _waveform(kind, counts, leads, base, exponent, checksums, fields, units, bit)
    text = f"""<?xml version="1.0" encoding="ISO-8859-1"?>
{doctype}
<RestingECG>
<MuseInfo><MuseVersion>9.0</MuseVersion></MuseInfo>
<PatientDemographics>{patient}
<PatientLastName>M\u00fcller</PatientLastName></PatientDemographics>
<TestDemographics><AcquisitionDevice>MAC</AcquisitionDevice><AcquisitionTime>23:05:06</AcquisitionTime>
<AcquisitionDate>02-29-2020</AcquisitionDate></TestDemographics>
{median}
{rhythm}
</RestingECG>
"""
    path.write_bytes(text.encode("latin-1"))
    return path


def _waveform(kind, counts, leads, base, exponent, checksums, fields, units, bit) -> str:
    parts = []
    for name, row in zip(leads, counts):
        data = row.astype("<i2").tobytes()
        checksum = f"<LeadDataCRC32>{zlib.crc32(data)}</LeadDataCRC32>" if checksums else ""
        packed = (
            "\n".join(filter(None, base64.encodebytes(data).decode().split("\n")))
            if checksums
            else base64.b64encode(data).decode()
        )
        parts.append(f"""<LeadData><LeadByteCountTotal>{len(data)}</LeadByteCountTotal>
<LeadSampleCountTotal>{len(row)}</LeadSampleCountTotal>
<LeadAmplitudeUnitsPerBit>{bit}</LeadAmplitudeUnitsPerBit><LeadAmplitudeUnits>{units}</LeadAmplitudeUnits>
<LeadID>{name}</LeadID>{fields}{checksum}
<WaveFormData>
{packed}
</WaveFormData></LeadData>""")
    return f"""<Waveform><WaveformType>{kind}</WaveformType>
<SampleBase>{base}</SampleBase><SampleExponent>{exponent}</SampleExponent>
<HighPassFilter>5</HighPassFilter><LowPassFilter>150</LowPassFilter>
{"".join(parts)}
</Waveform>"""
