"""Texts that name values, as embeddings that recordings are compared with: the teacher's, or of the model's own encoder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from cmelt_plugin.data.teacher import Teacher
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding.teacher_items import Centring, cosines, prompts_of
from cmelt_plugin.models.base import Embedding
from cmelt_plugin.models.inference.pretrained import Pretrained
from cmelt_plugin.models.inference.scoring import similarity_rows
from cmelt_plugin.prompts.values import load_value_texts

TEACHER, OWN = "teacher", "own"


class Candidates(NamedTuple):
    """C texts that name values of one measurement.

    Attributes:
        embedding: C embeddings, float32, on the CPU.
        values: float64 ``[C]``.
        name: of the measurement.
        unit: of its values; "" where unknown.
        texts: ``teacher``: points that are compared by their cosine; ``own``: of the model, which compares them itself.
        source: sidecar, measurement or file they come from.
        centring: of teacher texts, where asked for.
    """

    embedding: Embedding
    values: np.ndarray
    name: str
    unit: str
    texts: str
    source: str
    centring: Centring | None = None

    def similarities(self, model: Any, ecg: Embedding, device: str | torch.device | None = None) -> Iterator[np.ndarray]:
        """``[rows, C]`` each, of all embeddings ``ecg`` together, some rows at a time; higher = closer."""
        if self.texts == TEACHER:
            yield cosines(ecg.mean, self.embedding.mean, self.centring).numpy()
        else:
            for scores in similarity_rows(model, ecg, self.embedding, device):
                yield scores.cpu().numpy()


def teacher_candidates(teacher: Teacher, measurement: str) -> Candidates:
    """The teacher's texts of a measurement.

    Args:
        teacher: the sidecar.
        measurement: group of its texts.

    Raises:
        DataError: it has no texts, or none that name values of this measurement.
    """
    prompts = prompts_of(teacher)
    chosen = (prompts.group == measurement) & np.isfinite(prompts.value)
    if not chosen.any():
        groups = sorted(set(prompts.group[np.isfinite(prompts.value)].tolist()))
        raise DataError(
            f"{teacher.path}/prompts.npz: no text names a value of {measurement!r}; groups whose texts name values: "
            f"{', '.join(groups) or 'none'} (--measurement)"
        )
    embedding = Embedding(torch.from_numpy(prompts.emb[chosen]))
    return Candidates(embedding, prompts.value[chosen], measurement, "", TEACHER, str(teacher.path))


def own_candidates(pretrained: Pretrained, measurement_or_path: str) -> Candidates:
    """Our texts of a measurement, or a file's, through the model's text encoder.

    Raises:
        DataError: no such texts, no tokenizer, or a model that reads no texts.
    """
    texts = load_value_texts(measurement_or_path)
    embedding = pretrained.embed_text(texts.texts)
    return Candidates(embedding, np.array(texts.values), texts.name, texts.unit, OWN, measurement_or_path)
