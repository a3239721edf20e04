"""Schiller's XML around known counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cmelt_plugin.data.leads import LEADS


def write(
    path: Path,
    counts: np.ndarray,
    *,
    leads: tuple[str, ...] = LEADS,
    kind: str = "ECG_RHYTHMS",
    rate: str = "500",
    bit: str = "1.0",
    units: str = "UV",
    written_as: str = "COMMASEPARATE",
) -> Path:
    """``counts``: ``[leads, samples]``; before them stand averages with other values."""
    averages = _waves("ECG_AVERAGES", counts[:, :100] + 1000, leads, rate, bit, units, written_as)
    rhythm = _waves(kind, counts, leads, rate, bit, units, written_as)
    text = f"""<?xml version="1.0" encoding="UTF-8"?>
<com.xiriuz.sema.xml.schillerEDI.SchillerEDI>
<patdata><birthdate>19700228</birthdate><gender>FEMALE</gender></patdata>
<examdescript><startdatetime><date>20200229</date><time>230506000</time></startdatetime>
<aquiringdevice><hardware><vendor>Schiller</vendor><model>AT-110</model></hardware></aquiringdevice></examdescript>
<eventdata><event>
{averages}
{rhythm}
<filters_data><filter><name>MAINS</name><value>-</value></filter>
<filter><name>LOWPASS_CUTOFF_FREQ</name><value>150</value></filter></filters_data>
</event></eventdata>
</com.xiriuz.sema.xml.schillerEDI.SchillerEDI>
"""
    path.write_text(text, encoding="utf-8-sig")
    return path


def _waves(kind, counts, leads, rate, bit, units, written_as) -> str:
    channels = [
        f"""<channel><annotation_lead><name>P_POS_AMPL</name><value>0.02</value></annotation_lead>
<name>{lead.upper()}</name><data>{",".join(map(str, row.tolist()))}</data>
<datastype>{written_as}</datastype><samplecount>{len(row)}</samplecount></channel>"""
        for lead, row in zip(leads, counts)
    ]
    return f"""<wavedata><type>{kind}</type><resolution>
<samplerate><exponent>1</exponent><value>{rate}</value></samplerate>
<yres><unitperbit>{bit}</unitperbit><units>{units}</units></yres></resolution>
{"".join(channels)}
</wavedata>"""
