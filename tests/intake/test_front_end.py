"""One front end: a recording gives the same numbers whatever format it came in, to models and to packing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from format_files import known_counts
from format_twins import STEP, WRITERS, twin_counts, write_twins
from limb_leads import limb_leads
from pretrained_files import write_checkpoint, write_tokenizer_folder

from cmelt_plugin import predict
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.prepared_ecg import prepare_ecg
from cmelt_plugin.data.readers.arrays import ArrayReader, Place
from cmelt_plugin.data.readers.contract import Crop, Reading, Rejected
from cmelt_plugin.data.readers.wfdb_records import read_wfdb
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.errors import DataError
from cmelt_plugin.intake.front_end import FileReader, describes_itself, read_any, standard
from cmelt_plugin.intake.reading import read_ecg
from cmelt_plugin.intake.recording import Recording
from cmelt_plugin.intake.windows import best_window
from cmelt_plugin.intake.writing.arrays import write_npy
from cmelt_plugin.intake.writing.wfdb import write_wfdb
from cmelt_plugin.models.inference.pretrained import load_pretrained
from preprocess import table
from tests.intake.writers import apple_watch, ishne, muse, scp


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_twins(tmp_path_factory.mktemp("twins"))


def test_every_format_gives_the_same_numbers_embedding_and_prediction(
    twins: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(twins) >= len(WRITERS) - 1
    expected = twin_counts() * (STEP / 1000)
    for path in twins:
        prepared = prepare_ecg(path, read=read_any)
        np.testing.assert_allclose(prepared.ecg[0].numpy(), expected, atol=2e-6, err_msg=path.name)
        assert prepared.doubts == ((),), path.name
    write_tokenizer_folder(tmp_path / "tokenizer")
    write_checkpoint(tmp_path / "model.pt", tmp_path / "tokenizer")
    model = load_pretrained(tmp_path / "model.pt")
    embeddings = model.encode_ecg([str(path) for path in twins])
    np.testing.assert_allclose(embeddings, embeddings[:1].expand_as(embeddings), atol=1e-4)
    (tmp_path / "prompts.json").write_text(json.dumps({"SR": ["sinus rhythm"], "AFIB": ["atrial fibrillation"]}))
    options = ["--checkpoint", str(tmp_path / "model.pt"), "--prompts", str(tmp_path / "prompts.json"), "--format", "jsonl"]
    assert predict.main([*options, *map(str, twins)]) == 0
    scores = [json.loads(line)["scores"] for line in capsys.readouterr().out.splitlines()]
    assert len(scores) == len(twins)
    np.testing.assert_allclose([list(one.values()) for one in scores], [list(scores[0].values())] * len(twins), atol=1e-4)


def test_every_format_is_packed_alike(twins: list[Path], tmp_path: Path) -> None:
    paths = [path.name for path in twins]
    pd.DataFrame({"path": paths, "label": "1"}).to_csv(tmp_path / "ours.csv", index=False)
    options = ["--table", tmp_path / "ours.csv", "--root", twins[0].parent, "--dest", tmp_path / "m", "--jobs", 1]
    assert table.main([*map(str, options), "--allow-no-report"]) == 0
    rows = RecordStore(tmp_path / "m").read(np.zeros(len(paths), int), np.arange(len(paths)))
    assert len(rows) == len(paths)
    np.testing.assert_allclose(rows, np.broadcast_to(twin_counts() * (STEP / 1000), rows.shape), atol=0.0011)


def test_arrays_that_say_nothing_still_need_the_options(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", known_counts() * 0.0025)
    pd.DataFrame({"path": ["a.npy"]}).to_csv(tmp_path / "ours.csv", index=False)
    options = ["--table", tmp_path / "ours.csv", "--root", tmp_path, "--dest", tmp_path / "m", "--allow-no-report"]
    with pytest.raises(DataError, match="1 of 1 recordings, such as a.npy, .* give --leads"):
        table.main([*map(str, options)])


def test_wfdb_records_are_those_of_their_own_reader(twins: list[Path]) -> None:
    stem = str(twins[0].parent / "record")
    for path in (stem, f"{stem}.hea", f"{stem}.dat"):
        found, expected = read_any(path, Reading(Crop(2))), read_wfdb(stem, Reading(Crop(2)))
        np.testing.assert_array_equal(found.signal, expected.signal)
        assert found[1:] == expected[1:]
    with pytest.raises(Rejected, match="missing: none.hea"):
        read_any(str(twins[0].parent / "none"))


def test_what_is_damaged_is_rejected_without_its_path(tmp_path: Path) -> None:
    path = scp.write(tmp_path / "a.scp", scp.sections_of(known_counts()))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Rejected, match="^unreadable: a.scp: .* announced; ") as caught:
        read_any(str(path))
    assert caught.value.code == "unreadable"
    with pytest.raises(DataError, match=f"^{path}: unreadable"):
        prepare_ecg(path, read=read_any)


def test_parts_places_and_other_leads(tmp_path: Path) -> None:
    path = ishne.write(tmp_path / "a.ecg", known_counts(3), codes=(4, 5, 6))  # Z, I, II
    found = read_any(str(path), Reading(Crop(0.5)))
    assert found.leads == ["I", "II", "III", "aVR", "aVL", "aVF"] and found.signal.shape == (6, 250) and found.samples == 600
    assert found.notes[-1] == "Left out: Z, none of the standard leads."
    np.save(tmp_path / "many.npy", np.stack([known_counts(), known_counts(seed=1)]) * 0.0025)
    (tmp_path / "many.json").write_text(f'{{"sample_rate": 500, "unit": "mV", "leads": {list(LEADS)}}}'.replace("'", '"'))
    place = Place(str(tmp_path / "many.npy"), row=1).encode()
    for reader in (read_any, FileReader(), FileReader(ArrayReader(LEADS, "mV", rate=500.0))):
        np.testing.assert_allclose(reader(place).signal, known_counts(seed=1) * 0.0025, atol=1e-6)


def test_arrays_that_describe_themselves(tmp_path: Path) -> None:
    apple_watch.write(tmp_path / "watch.csv", known_counts(1, 1000)[0] * 1.0)
    (tmp_path / "plain.csv").write_text("I,II\n1,2\n")
    assert describes_itself(str(tmp_path / "watch.csv")) and not describes_itself(str(tmp_path / "plain.csv"))
    assert not describes_itself(str(tmp_path / "missing.csv"))
    assert read_any(str(tmp_path / "watch.csv")).leads == ["I"]
    recording = prepare_ecg(tmp_path / "watch.csv", missing_leads="zero", read=read_any)
    assert recording.ecg[0, 0].any() and not recording.ecg[0, 1:].any()
    write_npy(tmp_path / "plain", read_ecg(str(tmp_path / "watch.csv")))
    assert describes_itself(str(tmp_path / "plain.npy"))


@pytest.mark.parametrize("suffix", ("", ".npy"))
def test_records_of_other_leads_are_brought_to_the_standard_ones(tmp_path: Path, suffix: str) -> None:
    signal = (twin_counts() * (STEP / 1000)).astype(np.float32)
    eight = [0, 1, *range(6, 12)]
    names = [LEADS[row] for row in eight]
    recording = Recording(signal[[*eight, 6]], 500.0, (*names, "vx"))
    (write_npy if suffix else write_wfdb)(tmp_path / "nine", recording)
    path = str(tmp_path / f"nine{suffix}")
    for found in (read_any(path), standard(best_window(path))):
        assert found.leads == list(LEADS)
        np.testing.assert_allclose(found.signal, signal, atol=0.0026)
        assert "III, aVR, aVL, aVF were computed from I and II." in found.notes
        assert "Left out: vx, none of the standard leads." in found.notes


def test_doubts_of_a_file_and_exchanged_electrodes_reach_the_model(tmp_path: Path) -> None:
    counts = twin_counts()
    exchanged = np.concatenate([limb_leads(-counts[0], counts[1] - counts[0]), counts[6:]])
    path = muse.write(tmp_path / "a.xml", exchanged[[0, 1, *range(6, 12)]], bit=f"{STEP}", fields="<LeadOff>TRUE</LeadOff>")
    ((header, electrodes),) = prepare_ecg(path, read=read_any).doubts
    assert str(header).startswith("header: the device reports that I, II, V1")
    assert str(electrodes) == "electrodes: the electrodes RA and LA may be exchanged"
    six = Recording((exchanged[:6] * (STEP / 1000)).astype(np.float32), 500.0, LEADS[:6])
    write_npy(tmp_path / "six", six)
    assert prepare_ecg(tmp_path / "six.npy", missing_leads="zero", read=read_any).doubts == ((),)
