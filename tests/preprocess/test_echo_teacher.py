"""Sidecars from embeddings, from DICOM videos with a stand-in encoder, and made up: what is in them, resuming, and refusals."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from dicom_files import moving_disc, write_dicom
from tiny_teacher import ef_prompts

from cmelt_plugin.data.teacher import open_teacher, teacher_gaussian
from cmelt_plugin.data.teacher.prompts import write_prompts
from cmelt_plugin.errors import DataError
from preprocess import echo_teacher

COLUMNS = ["path", "video_id", "study_id", "subject_id", "acquisition_datetime"]


def write_table(path: Path, rows: list[list[object]], columns: list[str] = COLUMNS) -> Path:
    with open(path, "w", newline="") as handle:
        csv.writer(handle).writerows([columns, *rows])
    return path


def rejected(folder: Path) -> dict[str, str]:
    with open(folder / "rejected.tsv", newline="") as handle:
        return {row["record_id"]: row["reason"] for row in csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE)}


@pytest.fixture
def embedded(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """Two studies of two videos, one of one, and files of every fault."""
    rng = np.random.default_rng(0)
    frames = {
        name: rng.normal(size=6) + rng.normal(0, 0.4, (4 + n, 6)) for n, name in enumerate(["a1", "a2", "b1", "b2", "c1"])
    }
    rows = []
    for name, values in frames.items():
        np.save(tmp_path / f"{name}.npy", values.astype(np.float16 if name == "b1" else np.float32))
        rows.append([f"{name}.npy", name, name[0], "s" + name[0], f"2150-01-01 1{name[1]}:00:00"])
    for name, values in {
        "nan": np.full((3, 6), np.nan),
        "flat": np.zeros((3, 6)),
        "wide": np.ones((3, 7)),
        "one": np.ones(6),
        "int": np.ones((3, 6), int),
        "against": np.array([[1.0] + [0.0] * 5, [-1.0] + [0.0] * 5]),
    }.items():
        np.save(tmp_path / f"{name}.npy", values)
        rows.append([f"{name}.npy", name, "c", "sc", ""])
    (tmp_path / "cut.npy").write_bytes((tmp_path / "a1.npy").read_bytes()[:-5])
    rows += [["cut.npy", "cut", "d", "sd", ""], ["gone.npy", "gone", "d", "sd", ""]]
    return write_table(tmp_path / "embeddings.csv", rows), frames


def test_embeddings_become_studies_and_every_bad_file_is_listed(embedded, tmp_path: Path, capsys) -> None:
    table, frames = embedded
    write_prompts(tmp_path / "prompts.npz", ef_prompts())
    common = ["--embeddings", str(table), "--encoder", "echo-clip", "--prompts", str(tmp_path / "prompts.npz")]
    assert echo_teacher.main([*common, "--dest", str(tmp_path / "study"), "--keep-frames", "--view-filter", "A4C"]) == 0
    teacher = open_teacher(tmp_path / "study")
    assert teacher.ids == ["a", "b", "c"] and [line.n_videos for line in teacher.index] == [2, 2, 1]
    assert teacher.index[0].acq_time == "2150-01-01T11:00:00" and teacher.index[1].subject_id == "sb"
    for row, names in enumerate((["a1", "a2"], ["b1", "b2"], ["c1"])):
        pooled = np.concatenate([frames[name].astype(np.float16 if name == "b1" else np.float32) for name in names])
        mean, log_variance, raw_norm = teacher_gaussian(pooled)
        assert np.allclose(teacher.mean[row], mean, atol=1e-5) and abs(teacher.raw_norm[row] - raw_norm) < 1e-5
        assert np.allclose(np.exp(teacher.log_variance[row]), np.exp(log_variance), atol=1e-6)
        assert teacher.frames(row).shape == pooled.shape
    info = teacher.info
    assert (info["encoder"], info["view_filter"], info["level"], info["channel_order"]) == ("echo-clip", "A4C", "study", "")
    assert teacher.prompts() is not None
    reasons = {name: reason.partition(":")[0] for name, reason in rejected(tmp_path / "study").items()}
    assert reasons == {
        **dict.fromkeys(["nan", "flat", "against"], "values"),
        **dict.fromkeys(["one", "int"], "shape"),
        **{"wide": "dim", "cut": "unreadable", "gone": "missing"},
    }
    assert "rejected, values: 3 videos" in capsys.readouterr().out
    assert echo_teacher.main([*common, "--dest", str(tmp_path / "video"), "--level", "video"]) == 0
    assert open_teacher(tmp_path / "video").ids == list(frames)


class Standin:
    """Embeds a frame by its mean colours and their order."""

    name, weights_sha256, size = "stand-in", "sha256:0", (12, 12)

    def __init__(self, stop_after: int = 10**9) -> None:
        self.videos, self.stop_after = 0, stop_after

    def frames(self, frames: np.ndarray) -> np.ndarray:
        if self.videos >= self.stop_after:
            raise KeyboardInterrupt
        self.videos += 1
        return np.concatenate([frames.mean(axis=(1, 2)), np.ones((len(frames), 1))], axis=1).astype(np.float32)

    def texts(self, texts) -> np.ndarray:
        return np.array([[1.0, len(text), 0.0, 2.0] for text in texts], np.float32)


@pytest.fixture
def filmed(tmp_path: Path) -> Path:
    pytest.importorskip("pydicom", minversion="3", reason="pydicom 3 is not installed: pip install 'cmelt-plugin[echo]'")
    rows = []
    for number in range(6):
        video = moving_disc(frames=1 if number == 4 else 5, seed=number)
        write_dicom(tmp_path / "files" / f"v{number}.dcm", video, "YBR_FULL")
        rows.append([f"files/v{number}.dcm", f"study{number // 2}", "s", "2150-01-01"])
    (tmp_path / "files" / "v1.dcm").write_text("damaged")
    return write_table(tmp_path / "videos.csv", rows, ["path", "study_id", "subject_id", "acquisition_datetime"])


def use(monkeypatch: pytest.MonkeyPatch, encoder: Standin) -> Standin:
    monkeypatch.setattr(echo_teacher, "load_encoder", lambda *args: encoder)
    return encoder


def test_a_killed_run_over_videos_goes_on(filmed: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    common = ["--videos", str(filmed), "--encoder", "open_clip:x", "--jobs", "2"]
    use(monkeypatch, Standin())
    assert echo_teacher.main([*common, "--dest", str(tmp_path / "whole")]) == 0
    use(monkeypatch, Standin(stop_after=2))
    with pytest.raises(KeyboardInterrupt):
        echo_teacher.main([*common, "--dest", str(tmp_path / "killed")])
    assert not (tmp_path / "killed").exists()
    with pytest.raises(DataError, match="begun with another channel_order"):
        echo_teacher.main([*common, "--dest", str(tmp_path / "killed"), "--channel-order", "BGR"])
    encoder = use(monkeypatch, Standin())
    assert echo_teacher.main([*common, "--dest", str(tmp_path / "killed")]) == 0
    assert encoder.videos == 2 and "going on where an earlier run stopped: 3 of 6" in capsys.readouterr().err
    for name in ("mean.npy", "logvar.npy", "index.tsv", "rejected.tsv", "prompts.npz"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files", "killed", "videos.csv", "whole"]
    teacher = open_teacher(tmp_path / "whole")
    assert teacher.ids == ["study0", "study1", "study2"] and [line.n_videos for line in teacher.index] == [1, 2, 1]
    assert {name: reason.partition(":")[0] for name, reason in rejected(tmp_path / "whole").items()} == {
        "v1": "unreadable",
        "v4": "single-frame",
    }
    info, prompts = teacher.info, teacher.prompts()
    assert (info["encoder"], info["weights_sha256"], info["channel_order"]) == ("stand-in", "sha256:0", "RGB")
    assert prompts is not None and len(prompts.value) == 202 and prompts.value[35] == 35 and "35%" in prompts.text[35]


def test_the_order_of_colours_and_the_stride_reach_the_encoder(filmed: Path, tmp_path: Path, monkeypatch) -> None:
    use(monkeypatch, Standin())
    means = {}
    for order in ("RGB", "BGR"):
        arguments = ["--videos", str(filmed), "--encoder", "timm:x", "--channel-order", order, "--frame-stride", "2"]
        arguments += ["--level", "video", "--prompt-template", "lvef {value}"]
        assert echo_teacher.main([*arguments, "--dest", str(tmp_path / order)]) == 0
        teacher = open_teacher(tmp_path / order)
        assert teacher.ids == ["v0", "v2", "v3", "v5"] and [line.n_frames for line in teacher.index] == [3] * 4
        assert teacher.prompts().text[7] == "lvef 7" and teacher.info["frame_stride"] == 2
        means[order] = teacher.mean[:]
    assert (
        np.allclose(means["RGB"][:, [2, 1, 0, 3]], means["BGR"], atol=1e-6) and (means["RGB"][:, 0] > means["RGB"][:, 2]).all()
    )


def test_made_up_studies(tmp_path: Path) -> None:
    for level in ("study", "video"):
        assert echo_teacher.main(["--synthetic", "4", "--seed", "3", "--level", level, "--dest", str(tmp_path / level)]) == 0
    studies, videos = open_teacher(tmp_path / "study"), open_teacher(tmp_path / "video")
    assert len(studies) == 4 and len(videos) == sum(line.n_videos for line in studies.index) > 4
    assert studies.prompts().emb.shape == (202, studies.dim) and not (tmp_path / "study" / "rejected.tsv").exists()
    with pytest.raises(DataError, match="is a sidecar already"):
        echo_teacher.main(["--synthetic", "4", "--dest", str(tmp_path / "study")])
    assert echo_teacher.main(["--synthetic", "2", "--dest", str(tmp_path / "study"), "--overwrite"]) == 0
    assert json.loads((tmp_path / "study" / "meta.json").read_text())["n_items"] == 2


@pytest.mark.parametrize(
    "rows, reason",
    [
        ([["a.npy", "a", "1", "s", ""], ["b.npy", "a", "1", "s", ""]], "video a occurs twice"),
        ([["a.npy", "a", "1", "s", ""], ["b.npy", "b", "1", "t", ""]], "study 1 has two subjects, s and t"),
        ([["a.npy", "a", "", "s", ""]], "row 1: no study_id"),
        ([["a.npy", "a", "1", "s", ""]], "no echocardiogram to write"),
    ],
)
def test_lists_that_cannot_be_meant_are_named(tmp_path: Path, rows, reason: str) -> None:
    table = write_table(tmp_path / "t.csv", rows)
    with pytest.raises(DataError, match=reason):
        echo_teacher.main(["--embeddings", str(table), "--encoder", "x", "--dest", str(tmp_path / "out")])


def test_options_that_do_not_fit_are_named(embedded, tmp_path: Path, monkeypatch) -> None:
    dest = ["--dest", str(tmp_path / "out")]
    with pytest.raises(DataError, match="give the name of the encoder"):
        echo_teacher.main(["--embeddings", str(embedded[0]), *dest])
    write_prompts(tmp_path / "p.npz", ef_prompts(dim=5))
    with pytest.raises(DataError, match="prompts of 5 numbers, the frames have 6"):
        echo_teacher.main(["--embeddings", str(embedded[0]), "--encoder", "x", "--prompts", str(tmp_path / "p.npz"), *dest])
    monkeypatch.setattr(echo_teacher, "import_pydicom", lambda: None)
    with pytest.raises(DataError, match="name the model that embeds frames"):
        echo_teacher.main(["--videos", str(embedded[0]), *dest])
    use(monkeypatch, Standin())
    with pytest.raises(DataError, match="must hold {value}"):
        echo_teacher.main(["--videos", str(embedded[0]), "--encoder", "x", "--prompt-template", "no", *dest])
