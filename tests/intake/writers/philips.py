"""Philips' XML around known counts, with their compression."""

from __future__ import annotations

import base64
import struct
from pathlib import Path

import numpy as np

from cmelt_plugin.data.leads import LEADS


def compress(data: bytes) -> bytes:
    """LZW codes of 10 bits, first bit first, and the code that ends them."""
    table = {bytes([value]): value for value in range(256)}
    codes, known = [], b""
    for value in data:
        longer = known + bytes([value])
        if longer in table:
            known = longer
            continue
        codes.append(table[known])
        if len(table) < 1023:
            table[longer] = len(table)
        known = bytes([value])
    bits = "".join(f"{code:010b}" for code in [*codes, *([table[known]] if known else []), 1023])
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def packed_lead(samples: np.ndarray) -> bytes:
    """One lead as a file holds it."""
    samples = samples.astype(np.int64)
    bends = -np.diff(samples, 2)
    stored = np.zeros(len(samples), np.int16)
    stored[:2] = samples[:2]
    stored[2:-1] = bends[1:] + 64
    planes = (stored.view(np.uint16) >> 8).astype(np.uint8).tobytes() + stored.astype(np.uint8).tobytes()
    data = compress(planes)
    return struct.pack("<IHh", len(data), 1, int(bends[0])) + data


def residuals(counts: np.ndarray) -> np.ndarray:
    """What is stored of 12 leads."""
    one, two, three = counts[:3].astype(np.int64)
    stored = counts.astype(np.int64)
    stored[2] = two - one - counts[2]
    stored[3] = -((one + two) // 2) - counts[3]
    stored[4] = (one - three) // 2 - counts[4]
    stored[5] = (two + three) // 2 - counts[5]
    return stored


def write(
    path: Path,
    counts: np.ndarray,
    *,
    version: str = "1.03",
    encoding: str = "utf-8",
    declared: str | None = None,
    rate: str = "500",
    milliseconds: str | None = None,
    bit: str = "5",
    method: str = "XLI",
    labels: str = " ".join(LEADS),
    severity: str = "NO",
    data: bytes | None = None,
) -> Path:
    """``counts``: ``[12, samples]`` at 500 Hz."""
    if data is None:
        data = b"".join(map(packed_lead, residuals(counts)))
    milliseconds = milliseconds or str(counts.shape[1] * 2)
    if version == "1.03":
        facts = f"<samplingrate>{rate}</samplingrate><signalresolution>{bit}</signalresolution>"
        facts += "<signalbandwidth>0.05-150</signalbandwidth>"
        attributes = f'compressflag="True" compressmethod="{method}" dataencoding="Base64" durationperchannel="{milliseconds}"'
        age = "<years>50</years>"
    else:
        facts = f"<samplingrate>{rate}</samplingrate><resolution>{bit}</resolution><hipass>0.05</hipass><lowpass>150</lowpass>"
        attributes = (
            f'dataencoding="Base64" compression="{method}" numberofleads="12" leadlabels="{labels}" '
            f'durationperchannel="{milliseconds}" samplespersecond="{rate}" resolution="{bit}" '
            'bitspersample="16" signaloffset="0"'
        )
        age = "<dateofbirth>1970-02-28</dateofbirth>"
    text = f"""<?xml version="1.0" encoding="{declared or encoding}"?>
<restingecgdata xmlns="http://www3.medical.philips.com">
<documentinfo><documentversion>{version}</documentversion></documentinfo>
<dataacquisition date="2020-02-29" time="23:05:06"><machine>PageWriter</machine>
<signalcharacteristics>{facts}</signalcharacteristics></dataacquisition>
<patient><generalpatientdata><age>{age}</age><sex>Male</sex></generalpatientdata></patient>
<interpretations><interpretation><severity code="{severity}">- ECG -</severity>
<statement><leftstatement>All 12 leads are missing</leftstatement></statement></interpretation></interpretations>
<waveforms>
<parsedwaveforms {attributes}>
{base64.b64encode(data).decode()}
</parsedwaveforms>
</waveforms>
</restingecgdata>
"""
    path.write_bytes(text.encode(encoding))
    return path
