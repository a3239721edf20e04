"""A sidecar written is read alike, and every fault of its files is named."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_teacher import ef_prompts, entries, write_tiny_teacher

from cmelt_plugin.data.directory.checksums import CHECKSUMS_FILE
from cmelt_plugin.data.teacher import open_teacher, write_teacher
from cmelt_plugin.errors import DataError

SETTINGS = {"encoder": "synthetic", "level": "study", "created": "2150-01-01"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_tiny_teacher(tmp_path / "teacher", prompts=ef_prompts(), keep_frames=True)


def unlisted(path: Path) -> Path:
    """Without checksums, which would name any change before its own check does."""
    (path / CHECKSUMS_FILE).unlink()
    return path


def test_what_is_written_is_read(path: Path) -> None:
    teacher = open_teacher(path)
    wanted = entries(keep_frames=True)
    assert teacher.ids == [entry.teacher_id for entry in wanted] and len(teacher) == 5 and teacher.dim == 6
    assert "e3" in teacher and "e5" not in teacher
    assert teacher.rows(["e4", "e0", "e4"]).tolist() == [4, 0, 4] and teacher.rows([]).dtype == np.int64
    for row, entry in enumerate(wanted):
        assert np.array_equal(teacher.mean[row], entry.mean)
        assert np.array_equal(teacher.log_variance[row], entry.log_variance)
        assert teacher.raw_norm[row] == np.float32(entry.raw_norm)
        frames = teacher.frames(row)
        assert frames is not None and entry.frames is not None and np.array_equal(frames, entry.frames.astype(np.float16))
        line = teacher.index[row]
        assert (line.n_frames, line.n_videos, line.subject_id, line.acq_time) == (
            *(entry.n_frames, entry.n_videos),
            *(entry.subject_id, entry.acq_time),
        )
    assert teacher.info["encoder"] == "synthetic" and teacher.info["eps"] == 1e-8 and teacher.info["n_items"] == 5
    prompts, known = teacher.prompts(), ef_prompts()
    assert prompts is not None and prompts.emb.dtype == np.float32 and np.allclose(prompts.emb, known.emb)
    assert np.array_equal(prompts.value, known.value) and prompts.text.tolist() == known.text.tolist()
    copy = pickle.loads(pickle.dumps(teacher))
    assert np.array_equal(copy.mean, teacher.mean) and copy.rows(["e2"]) == [2]


def test_frames_and_prompts_may_be_missing_and_a_sidecar_is_written_over(path: Path) -> None:
    write_tiny_teacher(path, count=3)
    teacher = open_teacher(path)
    assert len(teacher) == 3 and teacher.prompts() is None and teacher.frames(0) is None
    assert not (path / "frames.npy").exists()


def test_an_unknown_id_and_a_foreign_folder_are_named(path: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no teacher_id 'x' \(2 of 3"):
        open_teacher(path).rows(["e0", "x", "y"])
    with pytest.raises(DataError, match="meta.json: no such file"):
        open_teacher(tmp_path)
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(DataError, match="holds mine.txt"):
        write_teacher(tmp_path, entries(), **SETTINGS)


def test_a_killed_run_leaves_nothing_that_opens(path: Path) -> None:
    def stopping():
        yield entries()[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_teacher(path, stopping(), **SETTINGS)
    with pytest.raises(DataError, match="meta.json"):
        open_teacher(path)
    assert not list(path.iterdir())


@pytest.mark.parametrize(
    "change, reason",
    [
        (lambda all: [*all, all[0]], "occurs twice"),
        (lambda all: [], "no echocardiogram"),
        (lambda all: [all[0]._replace(teacher_id="a\tb")], "tabs"),
        (lambda all: [all[0]._replace(mean=all[0].mean * 2)], "unit length"),
        (lambda all: [all[0]._replace(raw_norm=all[0].raw_norm - 0.2)], "add up to 1"),
        (lambda all: [all[0], all[1]._replace(log_variance=all[1].log_variance * np.nan)], "e1: a number is NaN"),
        (lambda all: [all[0], entries(2, dim=7)[1]], "the first has"),
        (lambda all: [all[0], entries(2, keep_frames=True)[1]], "or none"),
    ],
)
def test_the_writer_refuses_what_the_reader_would(tmp_path: Path, change, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        write_teacher(tmp_path / "teacher", change(entries()), **SETTINGS)


def test_frames_of_any_length_have_no_identity(tmp_path: Path) -> None:
    odd = [entries()[0]._replace(raw_norm=3.0)]
    assert open_teacher(write_teacher(tmp_path / "t", odd, **SETTINGS, normalized_frames=False)).raw_norm[0] == 3


def replace_cell(path: Path, line: int, column: int, cell: str) -> None:
    lines = [text.split("\t") for text in (path / "index.tsv").read_text().splitlines()]
    lines[line][column] = cell
    (path / "index.tsv").write_text("".join("\t".join(cells) + "\n" for cells in lines))


@pytest.mark.parametrize(
    "cell, reason",
    [
        ((2, 0, "e0"), "line 3: e0 stands in line 2"),
        ((2, 1, "7"), "e1 has row 7, there are 5 rows"),
        ((2, 1, "0"), "line 3: row 0 stands in line 2"),
        ((2, 1, "-1"), "row is '-1'"),
        ((2, 2, "0"), "n_frames is '0'"),
        ((2, 0, ""), "no teacher_id"),
        ((0, 4, "patient"), "no column subject_id"),
        ((2, 2, "9"), "does not give each row the frames"),
    ],
)
def test_faults_of_the_index_are_named(path: Path, cell, reason: str) -> None:
    replace_cell(unlisted(path), *cell)
    with pytest.raises(DataError, match=reason):
        open_teacher(path)


def test_the_order_of_lines_is_free_and_the_time_optional(path: Path) -> None:
    head, *lines = (unlisted(path) / "index.tsv").read_text().splitlines()
    texts = ["\t".join(line.split("\t")[:5]) for line in [head, *reversed(lines)]]
    (path / "index.tsv").write_text("\r\n".join(texts) + "\r\n\r\n")
    teacher = open_teacher(path)
    assert teacher.ids == [f"e{row}" for row in range(5)] and teacher.index[0].acq_time == ""


@pytest.mark.parametrize(
    "name, change, reason",
    [
        ("mean.npy", lambda array: array * 1.01, "e0: the mean is not of unit length .5 such rows"),
        ("mean.npy", lambda array: array[:-1], r"expected float32 \(5, 6\)"),
        ("mean.npy", lambda array: array.astype(float), "expected float32"),
        ("mean.npy", np.asfortranarray, "another kind"),
        ("mean.npy", lambda array: array.astype(object), "unreadable|another kind"),
        ("logvar.npy", lambda array: array + np.inf, "NaN or infinite"),
        ("logvar.npy", lambda array: array + 1, "add up to 1"),
        ("raw_norm.npy", lambda array: -array, "negative"),
        ("frames.npy", lambda array: array[1:], "expected float16"),
    ],
)
def test_faults_of_the_arrays_are_named(path: Path, name: str, change, reason: str) -> None:
    array = np.load(unlisted(path) / name)
    np.save(path / name, change(array), allow_pickle=True)
    with pytest.raises(DataError, match=f"{name}.*({reason})"):
        open_teacher(path)


@pytest.mark.parametrize(
    "entry, reason",
    [
        ({"schema_version": 2}, "schema_version 2"),
        ({"level": "frame"}, "level is 'frame'"),
        ({"dim": "6"}, "dim is '6'"),
        ({"n_items": 4}, "5 lines, meta.json says 4"),
        ({"dim": 7}, "expected float32 .5, 7"),
        ({"normalized_frames": 1}, "normalized_frames is 1"),
        ({"eps": None}, "eps is None"),
    ],
)
def test_faults_of_the_description_are_named(path: Path, entry, reason: str) -> None:
    info = json.loads((path / "meta.json").read_text())
    (path / "meta.json").write_text(json.dumps({**info, **entry}))
    with pytest.raises(DataError, match=reason):
        open_teacher(path)


@pytest.mark.parametrize(
    "change, reason",
    [
        (lambda arrays: arrays.pop("group"), "no array group"),
        (lambda arrays: arrays.update(emb=arrays["emb"][:, :5]), "embeddings of 5 numbers"),
        (lambda arrays: arrays.update(emb=arrays["emb"] * 2), r"row 0 \('template 0: 0%'\): the embedding is not of unit"),
        (lambda arrays: arrays.update(value=arrays["value"][1:]), "arrays of shapes"),
        (lambda arrays: arrays.update(value=arrays["value"] / 0.0), "infinite"),
        (lambda arrays: arrays.update(text=arrays["text"].astype(object)), "objects|unreadable"),
        (lambda arrays: arrays.update(text=np.arange(22)), "strings"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_faults_of_the_prompts_are_named(path: Path, change, reason: str) -> None:
    with np.load(unlisted(path) / "prompts.npz") as file:
        arrays = dict(file)
    change(arrays)
    np.savez(path / "prompts.npz", **arrays)
    teacher = open_teacher(path)
    with pytest.raises(DataError, match=reason):
        teacher.prompts()


@pytest.mark.parametrize("name", ["index.tsv", "mean.npy", "logvar.npy", "raw_norm.npy", "frames.npy", "frame_offsets.npy"])
def test_a_changed_or_missing_file_is_named(path: Path, name: str) -> None:
    data = bytearray((path / name).read_bytes())
    data[-2] ^= 1
    (path / name).write_bytes(data)
    with pytest.raises(DataError, match=name):
        open_teacher(path)
    (path / name).unlink()
    with pytest.raises(DataError, match=name):
        open_teacher(path)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["index.tsv", "meta.json", "mean.npy", "raw_norm.npy", "frame_offsets.npy", "prompts.npz"]), st.data())
def test_damage_is_refused_or_harmless_and_never_a_crash(tmp_path: Path, name: str, data) -> None:
    path = unlisted(write_tiny_teacher(tmp_path / "fuzzed", prompts=ef_prompts(), keep_frames=True))
    good = (path / name).read_bytes()
    place = data.draw(st.integers(0, len(good) - 1))
    (path / name).write_bytes(good[:place] + data.draw(st.binary(max_size=3)) + good[place + data.draw(st.integers(0, 3)) :])
    try:
        teacher = open_teacher(path)
        teacher.prompts()
    except DataError as error:
        assert str(path) in str(error)
    else:
        assert len(teacher.ids) == len(set(teacher.ids)) == 5 and np.isfinite(teacher.mean).all()
