"""Resizing by area keeps means, and is what averaging of blocks gives where sizes divide."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocess.echo.frames import area_resize


def test_blocks_are_averaged() -> None:
    frame = np.random.default_rng(0).integers(0, 255, (12, 20, 3), dtype=np.uint8)
    wanted = frame.reshape(4, 3, 5, 4, 3).mean(axis=(1, 3))
    assert np.abs(area_resize(frame, (4, 5)).astype(float) - wanted).max() <= 0.5001
    assert np.array_equal(area_resize(frame, (12, 20)), frame)
    assert np.array_equal(area_resize(frame, (24, 40)), frame.repeat(2, axis=0).repeat(2, axis=1))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 30), st.integers(1, 30), st.integers(0, 255))
def test_the_mean_stays_whatever_the_sizes(height: int, width: int, new_height: int, new_width: int, seed: int) -> None:
    frame = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    small = area_resize(frame, (new_height, new_width))
    assert small.shape == (new_height, new_width, 3) and small.dtype == np.uint8
    assert np.abs(small.mean(axis=(0, 1)) - frame.mean(axis=(0, 1))).max() <= 0.51
    plain = np.full((height, width, 3), seed, np.uint8)
    assert (area_resize(plain, (new_height, new_width)) == seed).all()
