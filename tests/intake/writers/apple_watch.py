"""CSV exports of a watch's ECG, as phones of several languages write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

# Headings: name, birth, time, classification, symptoms, version, device, rate, lead, unit; the value of the lead; hertz.
LANGUAGES = {
    "en": (
        "Name,Date of Birth,Recorded Date,Classification,Symptoms,Software Version,Device,Sample Rate,Lead,Unit",
        "Lead I",
        "hertz",
    ),
    "nl": (
        "Naam,Geboren,Opnamedatum,Classificatie,Symptomen,Softwareversie,Apparaat,Meetfrequentie,Afleiding,Eenheid",
        "Afleiding I",
        "hertz",
    ),
    "de": (
        "Name,Geburtsdatum,Aufzeichnungsdatum,Klassifizierung,Symptome,Softwareversion,Gerät,Messrate,Ableitung,Einheit",
        "Ableitung I",
        "Hertz",
    ),
    "ja": ("名前,生年月日,記録日,分類,症状,ソフトウェアバージョン,デバイス,サンプルレート,誘導,単位", "誘導 I", "ヘルツ"),
}


def write(
    path: Path,
    microvolts: np.ndarray,
    *,
    language: str = "en",
    mark: str = ".",
    rate: str = "512",
    unit: str = "µV",
    quote: str = "",
    encoding: str = "utf-8",
    newline: str = "\n",
) -> Path:
    """``microvolts``: ``[samples]``, of which three decimals are written, with ``mark`` before them."""
    headings, lead, hertz = LANGUAGES[language]
    name, birth, time, verdict, symptoms, version, device, rate_heading, lead_heading, unit_heading = headings.split(",")
    lines = [
        name,
        f"{birth},12 mei 1980",
        f"{time},2020-02-29 23:05:06 +0200",
        f"{verdict},Sinus",
        f"{symptoms},",
        f"{version},1.90",
        f'{device},"Watch4,2"',
        f"{rate_heading},{rate.replace('.', mark)} {hertz}",
        "",
        "",
        f"{lead_heading},{lead}",
        f"{unit_heading},{unit}",
        "",
    ]
    lines += [f"{quote}{value:.3f}{quote}".replace(".", mark) for value in microvolts]
    path.write_bytes((newline.join(lines) + newline).encode(encoding))
    return path
