"""Every way to say how uncertain a model is about a recording, each as one number: larger = less certain."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.evaluation.embedding.batches import record_batches
from cmelt_plugin.evaluation.embedding.passes import Columns, evaluating
from cmelt_plugin.evaluation.embedding.precision import encoder_precision
from cmelt_plugin.evaluation.uncertainty.dropout import dropping
from cmelt_plugin.evaluation.uncertainty.foreign import foreign_recordings
from cmelt_plugin.evaluation.uncertainty.scorers import Scorer
from cmelt_plugin.models.inference.calibration import Curve, curve_probabilities, expected_mistakes, sigmoid
from cmelt_plugin.models.inference.linear_probe import Probe
from cmelt_plugin.models.inference.neighbours import neighbour_distance

MAX_PROBABILITY, VARIANCE, ENSEMBLE, DROPOUT, NEIGHBOUR = (
    "max-probability",
    "variance",
    "3 probes",
    "MC dropout",
    "kNN distance",
)


class Doubter(NamedTuple):
    """What uncertainties of a model are made from.

    Attributes:
        scorer: the model with its classes.
        curves: from scores to probabilities, fitted on validation data.
        thresholds: ``[C]`` scores from which on a class counts as present, from validation data; NaN = none.
        known: ``[M, D]`` points that distances are measured from.
        probes: on pooled features of the encoder, trained alike but for their seed; empty: none.
        passes: with dropout; 0: none.
    """

    scorer: Scorer
    curves: Sequence[Curve | None]
    thresholds: np.ndarray
    known: np.ndarray
    probes: Sequence[Probe] = ()
    passes: int = 0

    @property
    def dropout_passes(self) -> int:
        """Passes with dropout; 0 where no class has probabilities that could differ."""
        return self.passes if any(curve is not None for curve in self.curves) else 0

    def of_states(self, states: Columns, features: np.ndarray | None) -> dict[str, np.ndarray]:
        """Name → float64 ``[N]``; without dropout. ``features [N, W]`` are what probes read."""
        scores = self.scorer.scores(states)
        decided = np.array([curve is not None for curve in self.curves]) & ~np.isnan(self.thresholds)
        found = {}
        if decided.any():
            probabilities = curve_probabilities(self.curves, scores)[:, decided]
            found[MAX_PROBABILITY] = expected_mistakes(probabilities, scores[:, decided] >= self.thresholds[decided])
        variance = self.scorer.variance(states)
        if variance is not None:
            found[VARIANCE] = variance
        if self.probes and features is not None:
            found[ENSEMBLE] = disagreement([sigmoid(probe.scores(features)) for probe in self.probes])
        found[NEIGHBOUR] = neighbour_distance(self.scorer.points(states), self.known)
        return found

    def of_recordings(self, ecg: Tensor, n_samples: Tensor | None, with_others: bool) -> dict[str, np.ndarray]:
        """Name → float64 ``[B]`` of recordings that no cache has; dropout, and with ``with_others`` the rest, too.

        Raises:
            ValueError: never; outputs that are not finite make the uncertainty infinite.
        """
        found = {}
        if with_others:
            states = _arrays(self.scorer.encode(ecg, n_samples))
            features = self.scorer.pretrained.model.ecg_features(ecg, n_samples).float().cpu().numpy() if self.probes else None
            found = self.of_states(states, features)
        if self.dropout_passes:
            with dropping(self.scorer.pretrained.model):
                runs = [_arrays(self.scorer.encode(ecg, n_samples)) for _ in range(self.dropout_passes)]
            found[DROPOUT] = disagreement([self._probabilities(states) for states in runs])
        return {name: np.where(np.isfinite(values), values, np.inf) for name, values in found.items()}

    def _probabilities(self, states: Columns) -> np.ndarray:
        scores = self.scorer.scores(states)
        chosen = [column for column, curve in enumerate(self.curves) if curve is not None]
        return curve_probabilities([self.curves[column] for column in chosen], scores[:, chosen])


def passes_over(
    doubter: Doubter, manifest: Manifest, kinds: Sequence[str], most: int, seed: int = 0
) -> tuple[np.ndarray | None, dict[str, dict[str, np.ndarray]]]:
    """Uncertainties that need passes of their own.

    Args:
        doubter: what they are made from.
        manifest: the split.
        kinds: of foreign recordings (:data:`cmelt_plugin.evaluation.uncertainty.foreign.FOREIGN`).
        most: records, from the first on, that foreign ones are made of.
        seed: of foreign recordings and of dropout.

    Returns:
        Uncertainty by dropout of all N records, None where there are no passes or the encoder drops nothing; and kind → name →
        ``[min(N, most)]``.
    """
    scorer, encoder = doubter.scorer, doubter.scorer.encoder
    model = scorer.pretrained.model
    n_foreign = min(most, len(manifest)) if kinds else 0
    n = len(manifest) if doubter.dropout_passes else n_foreign
    part = dataclasses.replace(manifest, shard=manifest.shard[:n], row=manifest.row[:n], n_samples=manifest.n_samples[:n])
    ordinary: list[np.ndarray] = []
    foreign: dict[str, list[Mapping[str, np.ndarray]]] = {kind: [] for kind in kinds}
    start = 0
    with torch.random.fork_rng(), torch.no_grad(), evaluating(model, encoder.device):
        torch.manual_seed(seed)
        with encoder_precision(encoder.device, encoder.bf16), tqdm(total=n, desc="uncertainties", unit=" records") as bar:
            for ecg, n_samples in record_batches(part, encoder.batch_size, encoder.device, encoder.workers):
                ecg = _shown(ecg, scorer.leads)
                if doubter.dropout_passes:
                    ordinary.append(doubter.of_recordings(ecg, n_samples, with_others=False)[DROPOUT])
                rows = range(start, min(start + len(ecg), n_foreign))
                if len(rows):
                    own = None if n_samples is None else n_samples[: len(rows)]
                    for kind in kinds:
                        made = _shown(foreign_recordings(ecg[: len(rows)], kind, seed, rows, own), scorer.leads)
                        foreign[kind].append(doubter.of_recordings(made, own, with_others=True))
                start += len(ecg)
                bar.update(len(ecg))
    joined = {
        kind: {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        for kind, parts in foreign.items()
        if parts
    }
    dropout = np.concatenate(ordinary) if ordinary else None
    if dropout is not None and not dropout.any():  # nothing was dropped on the way of an ECG
        dropout = None
        joined = {kind: {name: values for name, values in own.items() if name != DROPOUT} for kind, own in joined.items()}
    return dropout, joined


def disagreement(probabilities: Sequence[np.ndarray]) -> np.ndarray:
    """Standard deviation over several ``[N, C]`` of the same classes, as a mean over the classes: ``[N]``."""
    every = np.stack(probabilities).astype(np.float64)
    same = (every == every[0]).all(axis=0)  # whose mean may differ from them by rounding
    with np.errstate(invalid="ignore"):
        return np.where(same, 0.0, every.std(axis=0)).mean(axis=1)


def _arrays(states: Mapping[str, Tensor]) -> Columns:
    return {name: values.float().cpu().numpy() for name, values in states.items()}


def _shown(ecg: Tensor, leads: Sequence[str]) -> Tensor:
    from cmelt_plugin.data.leads import lead_keep_mask

    keep = torch.from_numpy(lead_keep_mask(leads)).to(ecg.device)
    return ecg if keep.all() else ecg * keep[:, None]
