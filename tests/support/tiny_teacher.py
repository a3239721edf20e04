"""Small teacher sidecars."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cmelt_plugin.data.teacher import TeacherEntry, TeacherPrompts, entry_of_frames, write_teacher


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of unit length."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def entries(count: int = 5, dim: int = 6, seed: int = 0, keep_frames: bool = False) -> list[TeacherEntry]:
    """``e0``, ``e1``, … of 3, 4, … frames, two to a subject."""
    rng = np.random.default_rng(seed)
    return [
        entry_of_frames(
            f"e{number}",
            rng.normal(size=dim) + rng.normal(0, 0.3, (3 + number, dim)),
            f"s{number // 2}",
            f"2150-01-{number + 1:02d}T10:00:00",
            keep_frames,
        )
        for number in range(count)
    ]


def ef_prompts(dim: int = 6, seed: int = 0, step: int = 10) -> TeacherPrompts:
    """Texts of two templates on ejection fractions of 0, ``step``, …, 100 %."""
    rng = np.random.default_rng(seed)
    values = np.tile(np.arange(0, 101, step), 2)
    texts = [f"template {number // (len(values) // 2)}: {value}%" for number, value in enumerate(values)]
    return TeacherPrompts(unit(rng.normal(size=(len(values), dim))), values, np.array(["lvef"] * len(values)), np.array(texts))


def write_tiny_teacher(path: Path, count: int = 5, dim: int = 6, seed: int = 0, **options) -> Path:
    """A sidecar of :func:`entries`; ``options`` as of ``write_teacher``."""
    keep_frames = options.pop("keep_frames", False)
    settings = {"encoder": "synthetic", "level": "study", "created": "2150-01-01", **options}
    return write_teacher(path, entries(count, dim, seed, keep_frames), **settings)
