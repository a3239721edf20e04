"""The command that measures what recordings look like and which faults would be named."""

import re
import sys
from pathlib import Path

import numpy as np

from cmelt_plugin.data.plausibility import examine
from cmelt_plugin.data.store.record_store import to_digital
from preprocess.synthetic_ecg.layouts.challenge_records import draw, samples
from tests.support.tiny import write_manifest, write_records

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
import plausibility


def test_table_and_faults_of_a_directory(tmp_path, capsys) -> None:
    directory = write_manifest(tmp_path / "m", n_records=4, splits=("train",))
    write_records(directory, np.stack([samples(draw(31, index)) for index in range(4)]).astype(np.float32))
    assert plausibility.main([str(directory), "--faults"]) == 0
    table, faults = capsys.readouterr().out.split("\n\n")
    amplitudes = [examine(ecg, *to_digital(ecg)).measures.amplitude for _, ecg in plausibility.stored(directory)]
    cells = [cell.strip() for cell in table.splitlines()[2].split("|")[1:-1]]
    assert int(cells[1]) == len(amplitudes)
    assert cells[2].startswith(f"{np.median(amplitudes):.2f} ({min(amplitudes):.2f}")
    named = {line.split("|")[1].strip(): int(re.findall(r"\d+", line.split("|")[2])[0]) for line in faults.splitlines()[2:]}
    assert named["unit: 1,000 times too large"] == named["offset of 6 mV"] == len(amplitudes)
    assert named["none"] < named["two limb leads exchanged"]
