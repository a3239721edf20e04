"""What a trained model says about prepared recordings: probabilities of its classes, or scores against class texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.plausibility import Reason
from cmelt_plugin.data.prepared_ecg import PreparedECG
from cmelt_plugin.data.store.record_store import SAMPLE_RATE
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.base import Embedding
from cmelt_plugin.models.inference.answering import Answer, Answerer
from cmelt_plugin.models.inference.scoring import similarities

PROBABILITY, PAIR, SIMILARITY, VALUE = "probability", "pair_probability", "similarity", "value"
CALIBRATED = "calibrated_probability"
# A constant that was resampled swings: by so much of itself, and more at its ends, for so many samples.
SWING, EDGE = 2e-3, SAMPLE_RATE // 10
MEANING = {
    PROBABILITY: "probability of the fine-tuned classifier",
    PAIR: "zero-shot: sigmoid(scale * similarity + bias) of the contrastive loss; not a calibrated probability",
    SIMILARITY: "zero-shot: similarity of ECG and class text; not a probability",
    VALUE: "estimate of a measurement; not a measurement",
    CALIBRATED: "share of calibration records with such a score that had the class",
}


class Prediction(NamedTuple):
    """What a model says about one record.

    Attributes:
        record: its path, without suffix.
        seconds: how much of it the model saw.
        flat_leads: leads without a signal in that part.
        scores: class → score, of the kind the run shows.
        similarity: class → similarity, zero-shot only.
        positive: classes that count as present, or that may be, where an ``answer`` says so; None where nothing decides.
        ecg: float32 ``[12, samples]``, mV at 500 Hz, as the model saw it.
        doubts: what is doubtful about the recording.
        uncertainty: sum of the variances of its embedding; None where embeddings are points, or a classifier needs none.
        interval: ends of the predictive interval of a value; None where nothing gives one.
        answer: of a calibrated model.
        begins: seconds from the beginning of the record to the part that the model saw, where that is one of its windows.
    """

    record: str
    seconds: float
    flat_leads: list[str]
    scores: dict[str, float]
    similarity: dict[str, float] | None
    positive: list[str] | None
    ecg: np.ndarray
    doubts: tuple[Reason, ...]
    uncertainty: float | None = None
    interval: tuple[float, float] | None = None
    answer: Answer | None = None
    begins: float | None = None


def seen_part(pretrained: Any, prepared: PreparedECG, index: int) -> tuple[float, list[str], np.ndarray, tuple[Reason, ...]]:
    """Seconds, flat leads, ECG and doubts of a prepared record, as :class:`Prediction` has them."""
    ecg = prepared.ecg[index, :, : int(prepared.n_samples[index])].numpy()
    inner = ecg[:, EDGE:-EDGE]
    constant = np.ptp(inner, axis=1) <= SWING * np.abs(inner).max(axis=1)
    flat = [lead for lead, is_flat in zip(LEADS, constant) if is_flat and lead in pretrained.leads]
    return ecg.shape[1] / SAMPLE_RATE, flat, ecg, prepared.doubts[index]


class Predictor:
    """A model with the classes it is asked about.

    Args:
        pretrained: from ``load_pretrained``.
        prompts: zero-shot only: label set, JSON file, or class → texts.

    Attributes:
        kind: ``probability``, ``pair_probability`` or ``similarity``: what :attr:`Prediction.scores` are.
        names: the classes.

    Raises:
        DataError: a classifier with prompts, another model without, or prompts that cannot be read.
    """

    def __init__(self, pretrained: Any, prompts: Any = None) -> None:
        self.pretrained = pretrained
        self.classes: Embedding | None = None
        if pretrained.is_classifier:
            if prompts is not None:
                raise DataError(f"{pretrained.source}: a classifier has its own classes; leave --prompts out")
            if not pretrained.class_names:
                raise DataError(f"{pretrained.source}: neither a classifier nor a model that reads texts; it has no classes")
            self.kind, self.names = PROBABILITY, pretrained.class_names
            return
        if prompts is None:
            from cmelt_plugin.prompts import label_sets

            raise DataError(
                f"{pretrained.source}: a pre-trained model needs classes: --prompts with a JSON file or one of "
                f"{', '.join(label_sets())}"
            )
        from cmelt_plugin.models.inference.pretrained import (
            read_prompts,  # late: half a second of imports, which a classifier spares
        )

        self.names, self.classes = pretrained.class_embeddings(read_prompts(prompts))
        self.kind = SIMILARITY if pretrained.pair_probability(torch.zeros(1)) is None else PAIR

    def predict(self, records: Sequence[str], prepared: PreparedECG, batch_size: int) -> list[Prediction]:
        """Predictions for prepared records, in their order."""
        similarity = uncertainty = None
        if self.classes is None:
            scores = self.pretrained.classify_prepared(prepared, batch_size)
        elif self.classes.log_variance is None:
            similarity = self.pretrained.compare_prepared(prepared, self.classes, batch_size)
        else:
            ecg = self.pretrained.embed_prepared(prepared, batch_size)
            similarity = similarities(self.pretrained.text_model, ecg, self.classes, self.pretrained.device)
            uncertainty = ecg.uncertainty().tolist()
        if similarity is not None:
            scores = similarity if self.kind == SIMILARITY else self.pretrained.pair_probability(similarity)
        predictions = []
        for index, record in enumerate(records):
            seconds, flat, signal, doubts = seen_part(self.pretrained, prepared, index)
            named = dict(zip(self.names, scores[index].tolist()))
            close = None if similarity is None else dict(zip(self.names, similarity[index].tolist()))
            own = None if uncertainty is None else uncertainty[index]
            positive = self._positive(named)
            predictions.append(Prediction(record, seconds, flat, named, close, positive, signal, doubts, own))
        return predictions

    def _positive(self, scores: dict[str, float]) -> list[str] | None:
        if self.kind != PROBABILITY:
            return None
        if self.pretrained.exclusive:
            return [max(scores, key=lambda name: scores[name])]
        thresholds = self.pretrained.thresholds
        return [name for name in self.names if name in thresholds and scores[name] >= thresholds[name]] if thresholds else None


class CalibratedPredictor:
    """A model that answers as it was calibrated (:mod:`cmelt_plugin.models.inference.answering`).

    Args:
        answerer: the model with its calibration.

    Attributes:
        pretrained: the model.
        kind: :data:`CALIBRATED`.
        names: the classes.
    """

    kind = CALIBRATED

    def __init__(self, answerer: Answerer) -> None:
        self.answerer, self.pretrained = answerer, answerer.pretrained
        self.names = answerer.calibration.names

    @property
    def meaning(self) -> str:
        """What its marks promise, for people."""
        calibration = self.answerer.calibration
        data = calibration.data
        source = f"{data.get('data_set') or 'unnamed'}, {data.get('records')} records, {calibration.date[:10]}"
        promise = f"of recordings with a class {100 * calibration.recall:g} % have it marked"
        return f"{MEANING[CALIBRATED]} ({source}); classes that may be present are marked: on average {promise}"

    def predict(self, records: Sequence[str], prepared: PreparedECG, batch_size: int) -> list[Prediction]:
        """Predictions for prepared records, in their order."""
        predictions = []
        for index, (record, answer) in enumerate(zip(records, self.answerer.answer_prepared(prepared, batch_size))):
            seconds, flat, signal, doubts = seen_part(self.pretrained, prepared, index)
            predictions.append(
                Prediction(record, seconds, flat, answer.probability, None, answer.may_have, signal, doubts, answer=answer)
            )
        return predictions
