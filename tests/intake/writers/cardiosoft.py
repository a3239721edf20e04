"""CardioSoft's XML around known counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cmelt_plugin.data.leads import LEADS


def write(
    path: Path,
    counts: np.ndarray,
    *,
    leads: tuple[str, ...] = LEADS,
    block: str = "StripData",
    rate: str = "500",
    bit: str = "5",
    units: str = "uVperLsb",
    total: int | None = None,
    number: int | None = None,
    age: str = '<Age units="years">50</Age>',
    encoding: str = "ISO8859-1",
) -> Path:
    """``counts``: ``[leads, samples]``; before them stand median beats with other values."""
    median = _block("MedianSamples", counts[:, :100] + 1000, leads, rate, bit, units, 100, len(leads))
    strip = _block(block, counts, leads, rate, bit, units, total or counts.shape[1], number or len(leads))
    text = f"""<?xml version="1.0" encoding="{encoding}" ?>
<CardiologyXML>
<ObservationDateTime><Hour>23</Hour><Minute>5</Minute><Second>6</Second>
<Day>29</Day><Month>2</Month><Year>2020</Year></ObservationDateTime>
<ClinicalInfo><DeviceInfo><Desc>CardioSoft</Desc><SoftwareVer>V6.71</SoftwareVer></DeviceInfo></ClinicalInfo>
<PatientInfo>{age}<BirthDateTime><Day>28</Day><Month>2</Month><Year>1980</Year></BirthDateTime>
<Name>M\u00fcller</Name><Gender>FEMALE</Gender></PatientInfo>
<FilterSetting><CubicSpline>No</CubicSpline><Filter50Hz>Yes</Filter50Hz><LowPass units="Hz">150</LowPass></FilterSetting>
<RestingECGMeasurements>
{median}
</RestingECGMeasurements>
{strip}
</CardiologyXML>
"""
    path.write_bytes(text.encode("latin-1"))
    return path


def _block(name, counts, leads, rate, bit, units, total, number) -> str:
    rows = "\n".join(
        f'<WaveformData lead="{lead}">\t{",".join(map(str, row.tolist()))}</WaveformData>' for lead, row in zip(leads, counts)
    )
    return f"""<{name}><NumberOfLeads>{number}</NumberOfLeads>
<SampleRate units="Hz">{rate}</SampleRate>
<ChannelSampleCountTotal>{total}</ChannelSampleCountTotal>
<Resolution units="{units}">{bit}</Resolution>
{rows}
</{name}>"""
