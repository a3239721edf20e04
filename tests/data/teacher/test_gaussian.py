"""The Gaussian of frames: its identity, and videos merged as if their frames lay together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmelt_plugin.data.teacher import EPS, entry_of_frames, entry_of_videos, merge_videos, teacher_gaussian


@st.composite
def videos(draw) -> list[np.ndarray]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dim = draw(st.integers(1, 9))
    centre, spread = rng.normal(size=dim), draw(st.sampled_from([0.0, 1e-3, 0.3, 3.0]))
    counts = draw(st.lists(st.integers(1, 12), min_size=1, max_size=5))
    return [centre + spread * rng.normal(size=(count, dim)) for count in counts]


@settings(max_examples=60, deadline=None)
@given(videos())
def test_variances_and_the_squared_length_add_up_to_one(frames_of) -> None:
    for frames in frames_of:
        mean, log_variance, raw_norm = teacher_gaussian(frames)
        assert mean.dtype == log_variance.dtype == np.float32
        assert abs(np.exp(log_variance.astype(float)).sum() + raw_norm**2 - 1) < 1e-4
        if raw_norm > 1e-6:
            assert abs(np.linalg.norm(mean) - 1) < 1e-5


@settings(max_examples=60, deadline=None)
@given(videos())
def test_merged_videos_are_the_pooled_frames(frames_of) -> None:
    pooled = teacher_gaussian(np.concatenate(frames_of))
    parts = [teacher_gaussian(frames) for frames in frames_of]
    means, log_variances, raw_norms = (np.array(values) for values in zip(*parts))
    merged = merge_videos(means, log_variances, raw_norms, np.array([len(frames) for frames in frames_of]))
    assert abs(merged[2] - pooled[2]) < 1e-6
    assert np.allclose(merged[0] * merged[2], pooled[0] * pooled[2], atol=1e-6)
    assert np.allclose(np.exp(merged[1]), np.exp(pooled[1]), atol=1e-6)


def test_a_known_case() -> None:
    mean, log_variance, raw_norm = teacher_gaussian(np.array([[2.0, 0.0], [0.0, 3.0]]))
    assert np.allclose(mean, [2**-0.5] * 2) and raw_norm == pytest.approx(2**-0.5)
    assert np.allclose(np.exp(log_variance), 0.25 + EPS)
    mean, log_variance, raw_norm = teacher_gaussian(np.array([[2.0, 0.0], [0.0, 4.0]]), normalise=False)
    assert np.allclose(mean * raw_norm, [1, 2]) and np.allclose(np.exp(log_variance), [1, 4])


def test_one_frame_has_the_least_variance_and_opposite_frames_no_direction() -> None:
    mean, log_variance, raw_norm = teacher_gaussian(np.array([[0.0, 5.0]]))
    assert raw_norm == 1 and np.allclose(log_variance, np.log(EPS))
    mean, _, raw_norm = teacher_gaussian(np.array([[1.0, 0.0], [-1.0, 0.0]]))
    assert raw_norm == 0 and not mean.any()


@pytest.mark.parametrize(
    "frames, reason",
    [(np.zeros((0, 3)), "shape"), (np.ones(3), "shape"), (np.array([[1.0, np.nan]]), "NaN"), (np.zeros((2, 3)), "zero")],
)
def test_frames_that_have_no_gaussian_are_named(frames, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        teacher_gaussian(frames)


def test_a_study_adds_up_its_videos() -> None:
    rng = np.random.default_rng(0)
    times = ["2150-01-02T11:00:00", "", "2150-01-02T10:00:00"]
    parts = [entry_of_frames(f"v{n}", rng.normal(size=(n + 2, 4)), "s1", times[n], keep_frames=True) for n in range(3)]
    study = entry_of_videos("study", parts)
    assert (study.teacher_id, study.n_frames, study.n_videos, study.subject_id) == ("study", 9, 3, "s1")
    assert study.acq_time == "2150-01-02T10:00:00"
    assert study.frames is not None and np.allclose(np.linalg.norm(study.frames, axis=1), 1)
    assert np.allclose(study.mean, teacher_gaussian(study.frames)[0])
    assert entry_of_videos("study", [parts[0]._replace(frames=None), *parts[1:]]).frames is None
