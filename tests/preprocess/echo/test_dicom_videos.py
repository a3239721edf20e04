"""DICOM files of every kind become the same frames, and what is no video is named."""

from __future__ import annotations

import builtins
import importlib
from pathlib import Path

import numpy as np
import pytest
from dicom_files import REGION, moving_disc, write_dicom

from cmelt_plugin.data.readers.contract import Rejected
from cmelt_plugin.data.readers.dicom_library import import_pydicom
from cmelt_plugin.errors import DataError
from preprocess.echo.dicom_videos import read_video
from preprocess.echo.frames import area_resize

pytest.importorskip("pydicom", minversion="3", reason="pydicom 3 is not installed: pip install 'cmelt-plugin[echo]'")
SIZE = (16, 16)
LEFT, TOP, RIGHT, BOTTOM = REGION


def wanted(video: np.ndarray, stride: int = 1) -> np.ndarray:
    return np.stack([area_resize(frame[TOP:BOTTOM, LEFT:RIGHT], SIZE) for frame in video[::stride]])


@pytest.mark.parametrize("kind, tolerance", [("RGB", 0), ("YBR_FULL", 3), ("JPEG", 25)])
def test_colours_arrive_as_rgb(tmp_path: Path, kind: str, tolerance: int) -> None:
    if kind == "JPEG":
        pytest.importorskip("PIL", reason="pillow, which decodes JPEG, is not installed: pip install 'cmelt-plugin[echo]'")
    video = moving_disc()
    frames = read_video(str(write_dicom(tmp_path / "a.dcm", video, kind)), 1, SIZE)
    assert frames.shape == (5, *SIZE, 3) and frames.dtype == np.uint8
    off = np.abs(frames.astype(int) - wanted(video))
    assert off.max() <= tolerance and off.mean() <= tolerance / 10
    assert frames[..., 0].max() > 150 > frames[..., 2].max()  # red, not blue


def test_grey_videos_have_three_equal_colours_and_strides_leave_frames_out(tmp_path: Path) -> None:
    video = moving_disc(frames=7)
    frames = read_video(str(write_dicom(tmp_path / "a.dcm", video, "MONOCHROME2")), 3, SIZE)
    assert np.array_equal(frames, np.repeat(wanted(video, 3)[..., :1], 3, axis=3))


def test_without_a_region_the_whole_picture_is_used_and_edges_are_cut(tmp_path: Path) -> None:
    video = moving_disc()
    whole = read_video(str(write_dicom(tmp_path / "a.dcm", video, regions=[])), 1, SIZE)
    assert np.array_equal(whole, np.stack([area_resize(frame, SIZE) for frame in video]))
    # The last pixel counted: one more than there are.
    assert np.array_equal(read_video(str(write_dicom(tmp_path / "b.dcm", video, regions=[(1, 0, 0, 81, 65)])), 1, SIZE), whole)


def damaged(path: Path, kind: str) -> Path:
    video = moving_disc()
    if kind == "still":
        return write_dicom(path, video[:1])
    if kind == "no region":
        return write_dicom(path, video, regions=[(1, 70, 4, 72, 60)])
    write_dicom(path, video)
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:-9000])
    elif kind == "other":
        path.write_text("no DICOM file")
    elif kind == "no pixels":
        import pydicom

        head = pydicom.dcmread(path)
        del head.PixelData
        head.save_as(path)
    elif kind == "no rows":
        import pydicom

        head = pydicom.dcmread(path)
        del head.Rows
        head.save_as(path)
    elif kind == "missing":
        path.unlink()
    return path


@pytest.mark.parametrize(
    "kind, code",
    [
        ("still", "single-frame"),
        ("no region", "region"),
        ("cut", "unreadable"),
        ("other", "unreadable"),
        ("no pixels", "unreadable"),
        ("no rows", "unreadable"),
        ("missing", "missing"),
    ],
)
def test_what_is_no_video_is_rejected_by_name(tmp_path: Path, kind: str, code: str) -> None:
    path = damaged(tmp_path / "bad.dcm", kind)
    with pytest.raises(Rejected, match="bad.dcm") as caught:
        read_video(str(path), 1, SIZE)
    assert caught.value.code == code


def test_a_missing_decoder_or_library_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("PIL", reason="pillow is needed to write the file")
    from pydicom.pixels.decoders.base import Decoder

    path = write_dicom(tmp_path / "a.dcm", moving_disc(), "JPEG")
    monkeypatch.setattr(Decoder, "is_available", property(lambda self: False))
    with pytest.raises(DataError, match="no decoder for JPEG Baseline"):
        read_video(str(path), 1, SIZE)

    def missing(name: str, *rest):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(DataError, match="pydicom 3 .*pip install .pydicom>=3"):
        import_pydicom()
    assert builtins.__import__("pydicom")
