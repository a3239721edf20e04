"""Echo videos in DICOM files, written through pydicom."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

REGION = (8, 4, 72, 60)
"""Left, top, right and bottom edge of the ultrasound region of :func:`write_dicom`."""


def moving_disc(frames: int = 5, height: int = 64, width: int = 80, seed: int = 0) -> np.ndarray:
    """uint8 ``[frames, height, width, 3]``: a coloured disc that grows, and letters of noise above the region."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    video = np.zeros((frames, height, width, 3), np.uint8)
    for number in range(frames):
        inside = (y - 32) ** 2 + (x - 40) ** 2 < (8 + 2 * number + seed) ** 2
        video[number][inside] = (200, 120 + 10 * number, 40)
    video[:, :3] = rng.integers(0, 255, (frames, 3, width, 3))
    return video


def write_dicom(path: Path, video: np.ndarray, kind: str = "RGB", regions: list[tuple] | None = None) -> Path:
    """Write a video; ``kind`` is ``RGB``, ``YBR_FULL``, ``MONOCHROME2`` or, compressed, ``JPEG``.

    Args:
        path: the file.
        video: uint8 ``[F, H, W, 3]``.
        regions: (spatial format, left, top, right, bottom) of each; None: :data:`REGION` and a smaller one of a spectrum.
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.pixels import convert_color_space
    from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, UltrasoundMultiFrameImageStorage, generate_uid

    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = UltrasoundMultiFrameImageStorage, generate_uid()
    dataset.Modality = "US"
    dataset.Rows, dataset.Columns = video.shape[1:3]
    dataset.NumberOfFrames = len(video)
    dataset.SamplesPerPixel = 1 if kind == "MONOCHROME2" else 3
    dataset.PhotometricInterpretation = "YBR_FULL_422" if kind == "JPEG" else kind
    if dataset.SamplesPerPixel == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    items = []
    for space, *edges in [(1, *REGION), (3, 0, 0, 40, 40)] if regions is None else regions:
        item = Dataset()
        item.RegionSpatialFormat = space
        for name, edge in zip(("MinX0", "MinY0", "MaxX1", "MaxY1"), edges):
            setattr(item, f"RegionLocation{name}", edge)
        items.append(item)
    if items:
        dataset.SequenceOfUltrasoundRegions = items
    syntax = JPEGBaseline8Bit if kind == "JPEG" else ExplicitVRLittleEndian
    if kind == "JPEG":
        dataset.PixelData = encapsulate([_jpeg(frame) for frame in video])
        dataset["PixelData"].is_undefined_length = True
    else:
        pixels = {
            "RGB": lambda: video,
            "YBR_FULL": lambda: convert_color_space(video, "RGB", "YBR_FULL"),
            "MONOCHROME2": lambda: video[..., 0],
        }[kind]()
        dataset.PixelData = pixels.tobytes()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def _jpeg(frame: np.ndarray) -> bytes:
    from PIL import Image

    packed = io.BytesIO()
    Image.fromarray(frame).save(packed, "JPEG", quality=95)
    return packed.getvalue()
