"""Echo videos in DICOM files: decoded frame by frame, in RGB, cut to the ultrasound region.

Tags are those of the standard: number of frames (0028,0008), and in the sequence of ultrasound regions (0018,6011) the spatial
format (0018,6012) and the edges of the region (0018,6018), (0018,601A), (0018,601C), (0018,601E).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cmelt_plugin.data.readers.contract import Rejected, check_file, file_name, reader
from cmelt_plugin.data.readers.dicom_library import import_pydicom
from cmelt_plugin.errors import DataError
from preprocess.echo.frames import area_resize

TWO_DIMENSIONAL = 1  # spatial format of images; others are of M mode and spectra
LEAST_EDGE = 32  # pixels; a smaller region holds no picture of a heart


@reader
def read_video(path: str, stride: int, size: tuple[int, int]) -> np.ndarray:
    """Frames of a video, uint8 ``[F, height, width, 3]`` in RGB.

    Args:
        path: the file.
        stride: every how many frames one is taken, beginning with the first.
        size: height and width of the result.

    Raises:
        Rejected: missing, damaged, not a video (``single-frame``), without pixels or with an impossible region.
        DataError: its compression needs a decoder that is not installed.
        OSError, MemoryError: trouble of the machine.
    """
    pydicom = import_pydicom()
    name = file_name(path)
    check_file(path)
    try:
        head = pydicom.dcmread(path, stop_before_pixels=True)
    except pydicom.errors.InvalidDicomError:
        raise Rejected("unreadable", f"{name}: not a DICOM file") from None
    count = int(head.get("NumberOfFrames") or 1)
    if count < 2:
        raise Rejected("single-frame", f"{name}: a still picture")
    if "Rows" not in head or "Columns" not in head:
        raise Rejected("unreadable", f"{name}: no picture in it")
    _check_decoder(pydicom, head.file_meta.get("TransferSyntaxUID"), name)
    rows, columns = _region(head, name)
    frames = []
    try:
        # Frames are decoded one by one: a video of 100 frames would be 200 MB at once.
        for frame in pydicom.pixels.iter_pixels(path, indices=range(0, count, stride)):
            frames.append(area_resize(_rgb(frame, name)[rows, columns], size))
    except AttributeError as error:  # an element is missing
        raise Rejected("unreadable", f"{name}: {error}") from None
    if not frames:
        raise Rejected("unreadable", f"{name}: no frame in it")
    return np.stack(frames)


def _check_decoder(pydicom: Any, syntax: Any, name: str) -> None:
    """Refuse to list every video of a data set as damaged, where only a decoder is missing."""
    if syntax is None or not syntax.is_compressed:
        return
    try:
        decoder = pydicom.pixels.get_decoder(syntax)
    except NotImplementedError:
        raise Rejected("unreadable", f"{name}: pixels in {syntax.name}") from None
    if not decoder.is_available:
        raise DataError(
            f"{name}: no decoder for {syntax.name} is installed: pip install 'cmelt-plugin[echo]', or one of "
            f"{'; '.join(' '.join(missing.split()) for missing in decoder.missing_dependencies)}"
        )


def _region(head: Any, name: str) -> tuple[slice, slice]:
    """Rows and columns of the largest two-dimensional ultrasound region; all of them where the file names none."""
    height, width = int(head.Rows), int(head.Columns)
    boxes = []
    for item in head.get("SequenceOfUltrasoundRegions") or []:
        edges = [item.get(f"RegionLocation{edge}") for edge in ("MinX0", "MinY0", "MaxX1", "MaxY1")]
        if all(edge is not None for edge in edges):
            left, top, right, bottom = map(int, edges)
            flat = item.get("RegionSpatialFormat") == TWO_DIMENSIONAL
            boxes.append((flat, (right - left) * (bottom - top), left, top, right, bottom))
    if not boxes:
        return slice(0, height), slice(0, width)
    _, _, left, top, right, bottom = max(boxes)
    # Some writers count the last pixel, some the one after it.
    right, bottom = min(right, width), min(bottom, height)
    if not (0 <= left <= right - LEAST_EDGE and 0 <= top <= bottom - LEAST_EDGE):
        raise Rejected("region", f"{name}: ultrasound region {left}, {top} to {right}, {bottom} of {width} x {height} pixels")
    return slice(top, bottom), slice(left, right)


def _rgb(frame: np.ndarray, name: str) -> np.ndarray:
    """uint8 ``[H, W, 3]`` of a decoded frame, whose colours pydicom has turned to RGB."""
    if frame.dtype != np.uint8:
        raise Rejected("unreadable", f"{name}: pixels of {frame.dtype}")
    if frame.ndim == 2:
        return np.repeat(frame[:, :, None], 3, axis=2)
    if frame.ndim != 3 or frame.shape[2] != 3:
        raise Rejected("unreadable", f"{name}: frames of shape {frame.shape}")
    return frame
