"""Embeddings of made-up echocardiograms: what a frozen encoder of frames might see of the heart behind an electrocardiogram.

A study is a point of nine numbers, the *view from inside*: the ejection fraction as an angle, so that texts on it can be
compared by cosine, and seven traits that the electrocardiogram shows as well. Frames are that point, turned into D dimensions,
with what differs from video to video and from frame to frame.
"""

from __future__ import annotations

import numpy as np

from cmelt_plugin.data.teacher import TeacherPrompts
from preprocess.synthetic_ecg.echo.ejection import HIGHEST, LOWEST, plan_with_ejection
from preprocess.synthetic_ecg.physiology.subjects import ECHO_STREAM, draw_subject
from preprocess.synthetic_ecg.record import Plan

DIM = 64
"""Numbers of an embedding, unless told otherwise."""
LATENTS = 9
GROUP = "lvef"
TEMPLATES = ("the left ventricular ejection fraction is estimated at {value} percent", "ejection fraction of {value} percent")
_EJECTION_WEIGHT = 2.0
_FRAMES = (8, 24)
# Third words of the streams' keys.
_STUDY, _ENCODER, _WORDING = 1, 2, 3


def heart_of(plan: Plan, ejection: float) -> np.ndarray:
    """``[9]``: two of the ejection fraction (per cent), then rate, wall, atrium, position, conduction, fibrillation, pacing."""
    findings, subject = plan.findings, plan.subject
    return np.concatenate(
        [
            _EJECTION_WEIGHT * _angle(ejection),
            [
                (findings.rate - 75) / 18,
                1.6 * ("LVH" in findings.labels) + np.log(subject.strength) / 0.25 - 0.3,
                np.log(subject.p_strength) / 0.3 - 0.3,
                np.arctan2(subject.rotation[1, 0], subject.rotation[0, 0]) / 0.5,
                (plan.beats.qrs_duration - 0.100) / 0.025,
                1.8 * (findings.rhythm == "AFIB") - 0.2,
                1.8 * (findings.rhythm == "PACE") - 0.1,
            ],
        ]
    )


def draw_videos(seed: int, study: int, heart: np.ndarray, dim: int = DIM) -> list[np.ndarray]:
    """Frames of a study's videos, float32 ``[F, dim]`` of unit length each; one to four videos.

    Args:
        seed: of the cohort, which the encoder depends on, too.
        study: number of the study.
        heart: ``[9]`` of :func:`heart_of`.
        dim: D.
    """
    rng = np.random.default_rng([seed, ECHO_STREAM, _STUDY, study])
    quality = float(np.exp(rng.normal(0, 0.4)))  # of the images of this study
    centre = _encoder(seed, dim) @ heart
    scale = np.linalg.norm(centre) / np.sqrt(dim)
    videos = []
    for _ in range(int(rng.integers(1, 5))):
        count = int(rng.integers(*_FRAMES))
        view = rng.normal(0, 0.25 * quality, size=dim)
        # The heart beats: frames swing about along a direction of their own.
        swing = np.sin(2 * np.pi * (rng.random() + np.arange(count) / 12))[:, None] * rng.normal(0, 0.3, size=dim)
        frames = centre + scale * (view + swing + rng.normal(0, 0.3 * quality, size=(count, dim)))
        videos.append((frames / np.linalg.norm(frames, axis=1, keepdims=True)).astype(np.float32))
    return videos


def draw_prompts(seed: int, dim: int = DIM) -> TeacherPrompts:
    """Two templates on ejection fractions of 0, 1, …, 100 %, embedded by the encoder of this seed: ``C`` = 202."""
    rng = np.random.default_rng([seed, ECHO_STREAM, _WORDING])
    values = np.arange(101)
    hearts = np.zeros((len(values), LATENTS))
    hearts[:, :2] = [_EJECTION_WEIGHT * _angle(value) for value in values.tolist()]
    centres = hearts @ _encoder(seed, dim).T
    parts = []
    for _ in TEMPLATES:
        wording = rng.normal(0, 0.1, size=dim) * np.linalg.norm(centres, axis=1).mean() / np.sqrt(dim)
        parts.append(centres + wording)
    emb = np.concatenate(parts)
    return TeacherPrompts(
        (emb / np.linalg.norm(emb, axis=1, keepdims=True)).astype(np.float32),
        np.tile(values, len(TEMPLATES)).astype(np.float64),
        np.array([GROUP] * len(emb)),
        np.array([template.format(value=value) for template in TEMPLATES for value in values]),
    )


def draw_study(seed: int, index: int, dim: int = DIM) -> tuple[list[np.ndarray], float]:
    """Videos of study ``index``, which is the only one of subject ``index``, and its ejection fraction, per cent."""
    plan, ejection = plan_with_ejection(seed, index, index, draw_subject(seed, index))
    return draw_videos(seed, index, heart_of(plan, ejection), dim), ejection


def _angle(ejection: float) -> np.ndarray:
    """A quarter of a circle from the lowest to the highest ejection fraction, and on beyond them."""
    angle = np.pi / 2 * (ejection - LOWEST) / (HIGHEST - LOWEST)
    return np.array([np.cos(angle), np.sin(angle)])


def _encoder(seed: int, dim: int) -> np.ndarray:
    """``[dim, 9]`` with orthonormal columns."""
    rng = np.random.default_rng([seed, ECHO_STREAM, _ENCODER])
    return np.linalg.qr(rng.normal(size=(dim, LATENTS)))[0]
