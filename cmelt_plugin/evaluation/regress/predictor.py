"""What a model estimates from prepared recordings: a value by texts that name values, or that of a fine-tuned regression."""

from __future__ import annotations

from collections.abc import Sequence

from cmelt_plugin.data.prepared_ecg import PreparedECG
from cmelt_plugin.evaluation.regress.candidates import Candidates
from cmelt_plugin.evaluation.regress.estimates import Estimates, estimate_values
from cmelt_plugin.evaluation.regress.options import SAMPLES
from cmelt_plugin.models.inference.predictor import VALUE, Prediction, seen_part
from cmelt_plugin.models.inference.pretrained import Pretrained


class ValuePredictor:
    """A model with the measurement it is asked about, in the place of a :class:`.Predictor`.

    Args:
        pretrained: from ``load_pretrained``.
        candidates: texts that name values; None: the model is a fine-tuned regression.
        samples, seed: of the Gaussians, for intervals (:func:`cmelt_plugin.evaluation.regress.estimates.estimate_values`).

    Attributes:
        kind: ``value``.
        names: the measurement, alone.
        unit: of its values; "" where unknown.
        limits: of the values that the texts name; None for a fine-tuned regression.
    """

    kind = VALUE

    def __init__(self, pretrained: Pretrained, candidates: Candidates | None, samples: int = SAMPLES, seed: int = 0) -> None:
        self.pretrained, self.candidates, self.samples, self.seed = pretrained, candidates, samples, seed
        self.names = [pretrained.measurement if candidates is None else candidates.name]
        self.unit = "" if candidates is None else candidates.unit
        values = None if candidates is None else candidates.values
        self.limits = None if values is None else (float(values.min()), float(values.max()))

    def predict(self, records: Sequence[str], prepared: PreparedECG, batch_size: int) -> list[Prediction]:
        """Estimates for prepared records, in their order."""
        pretrained = self.pretrained
        if self.candidates is None:
            estimates = Estimates(pretrained.estimate_prepared(prepared, batch_size).double().reshape(-1).numpy())
        else:
            ecg = pretrained.embed_prepared(prepared, batch_size)
            estimates = estimate_values(pretrained.model, ecg, self.candidates, self.samples, self.seed, pretrained.device)
        predictions = []
        for index, record in enumerate(records):
            seconds, flat, signal, doubts = seen_part(pretrained, prepared, index)
            interval = None
            if estimates.low is not None and estimates.high is not None:
                interval = float(estimates.low[index]), float(estimates.high[index])
            uncertainty = None if estimates.uncertainty is None else float(estimates.uncertainty[index])
            named = {self.names[0]: float(estimates.value[index])}
            predictions.append(Prediction(record, seconds, flat, named, None, None, signal, doubts, uncertainty, interval))
        return predictions
