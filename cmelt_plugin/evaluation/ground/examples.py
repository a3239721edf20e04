"""Recordings with the attention of their sentences, kept beside a result for figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cmelt_plugin.data.files import atomic_path
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.plots.grounding import SentenceAttention, grounding_figure
from cmelt_plugin.evaluation.result_files import GROUNDED_FILE, StoredResult

_ARRAYS = ("description", "ecg", "weights")


class Example(NamedTuple):
    """A recording and its sentences.

    Attributes:
        record_id: the recording.
        ecg: ``[12, T]`` float32 mV.
        sentences: what its report says, in order.
        samples_per_step: of their weights.
    """

    record_id: str
    ecg: np.ndarray
    sentences: list[SentenceAttention]
    samples_per_step: int

    def figure(self) -> Any:
        """The figure of it."""
        return grounding_figure(self.ecg, self.sentences, self.samples_per_step, title=f"Recording {self.record_id}")


def write_examples(folder: Path, examples: Sequence[Example]) -> None:
    """Write the file of examples of a result folder."""
    described = [
        {
            "record_id": example.record_id,
            "samples_per_step": example.samples_per_step,
            "steps": len(example.sentences[0].weights),
            "sentences": [{"text": sentence.text, "events": list(sentence.events)} for sentence in example.sentences],
        }
        for example in examples
    ]
    flat = [np.ravel(sentence.weights) for example in examples for sentence in example.sentences]
    with atomic_path(folder / GROUNDED_FILE) as temporary:
        np.savez(
            temporary,
            description=np.frombuffer(json.dumps(described, ensure_ascii=False).encode(), dtype=np.uint8),
            ecg=np.stack([example.ecg for example in examples]).astype(np.float32),
            weights=np.concatenate(flat).astype(np.float32),
        )


def read_examples(stored: StoredResult) -> list[Example]:
    """The examples of a result; none where none were kept.

    Raises:
        DataError: the file is damaged.
    """
    remedy = "run the evaluation again"
    arrays = stored.arrays(GROUNDED_FILE, _ARRAYS, remedy)
    if arrays is None:
        return []
    description, ecg, weights = arrays
    examples, start = [], 0
    try:
        for entry, signal in zip(json.loads(description.tobytes().decode()), ecg):
            sentences, steps = [], int(entry["steps"])
            for sentence in entry["sentences"]:
                events = [(float(onset), float(offset)) for onset, offset in sentence["events"]]
                sentences.append(SentenceAttention(str(sentence["text"]), weights[start : start + steps], events))
                start += steps
            examples.append(Example(str(entry["record_id"]), signal, sentences, int(entry["samples_per_step"])))
        if start != len(weights):
            raise ValueError(f"{len(weights)} weights where its description says {start}")
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{stored.folder / GROUNDED_FILE}: damaged ({error}); {remedy}") from None
    return examples
