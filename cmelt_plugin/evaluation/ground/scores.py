"""How well attention points: sums over sentences, metrics with intervals, and what they amount to in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cmelt_plugin.evaluation.ground.attention import RecordAttention
from cmelt_plugin.evaluation.ground.sentences import NamedFinding
from cmelt_plugin.evaluation.metrics.bootstrap import metrics_of_sums
from cmelt_plugin.evaluation.metrics.pointing import event_mask, iou, pointing
from cmelt_plugin.evaluation.side_by_side import key

CHANCES = {"uniform": "uniform attention", "random": "a random query"}
"""What needs no reading of the sentence: the same weight everywhere, and any of the queries that the model mixes."""
METRICS = {"pointing": pointing, "iou": iou}
GAIN = "gain"
_WIDTH = len(METRICS) * (1 + len(CHANCES))


def score(attention: RecordAttention, named: NamedFinding) -> np.ndarray | None:
    """Each of :data:`METRICS` of a sentence's attention, then what each of :data:`CHANCES` is expected to get; float64 ``[6]``.

    None where no step in time has its middle in one of the events, which are too short, or lie in what was cut off.
    """
    weights, queries = attention.sentences[named.sentence], attention.queries
    mask = event_mask(named.events, len(weights), attention.samples_per_step)
    if not mask.any():
        return None
    uniform = np.ones(len(weights))
    rows = (weights[None], uniform[None], queries)
    return np.array([np.mean([metric(row, mask) for row in part]) for part in rows for metric in METRICS.values()])


def grounding_metrics(
    scores: np.ndarray, findings: Sequence[str], group: np.ndarray, bootstrap: int, seed: int
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Means over sentences with 95 % intervals, subjects resampled.

    Args:
        scores: ``[P, 6]``, :func:`score` of each sentence and finding.
        findings: the P findings.
        group: ``[P]``, subjects (:func:`~cmelt_plugin.evaluation.metrics.bootstrap.subject_groups`).
        bootstrap, seed: resamples and their seed.

    Returns:
        ``pointing``, ``iou``; ``pointing|uniform`` and so on for each chance; ``pointing_gain|uniform``, the difference; and
        the same of each finding, ``pointing/PVC|uniform``.
    """
    names = sorted(set(findings))
    # A block of sums for all findings together and one for each, every block with its number of sentences.
    counted = np.concatenate([scores, np.ones((len(scores), 1))], axis=1)
    blocks = [counted, *(counted * (np.asarray(findings) == name)[:, None] for name in names)]

    def compute(sums: np.ndarray) -> Mapping[str, float]:
        values: dict[str, float] = {}
        for ending, block in zip(("", *(f"/{name}" for name in names)), sums.reshape(-1, _WIDTH + 1)):
            means = block[:-1] / block[-1] if block[-1] else np.full(_WIDTH, np.nan)
            parts = means.reshape(-1, len(METRICS))
            for number, metric in enumerate(METRICS):
                values[f"{metric}{ending}"] = parts[0, number]
                for chance, part in zip(CHANCES, parts[1:]):
                    values[key(f"{metric}{ending}", chance)] = part[number]
                    values[key(f"{metric}_{GAIN}{ending}", chance)] = parts[0, number] - part[number]
        return values

    return metrics_of_sums(np.concatenate(blocks, axis=1), group, compute, bootstrap, seed)


def verdict(intervals: Mapping[str, tuple[float, float]], finding: str = "") -> str:
    """Whether the attention points, in one sentence that claims no more than the intervals of the pointing game allow.

    Args:
        intervals: of :func:`grounding_metrics`.
        finding: of this finding alone; "": of all.
    """
    name = f"pointing_{GAIN}" + (f"/{finding}" if finding else "")
    bounds = {chance: intervals.get(key(name, chance), (np.nan, np.nan)) for chance in CHANCES}
    above = {chance: low > 0 for chance, (low, _) in bounds.items()}
    below = {chance: high < 0 for chance, (_, high) in bounds.items()}
    if above["uniform"] and above["random"]:
        return "It points: better than uniform attention and than a random query."
    if above["uniform"]:
        return "Looks where events are, but no better than a random query: it does not depend on what the sentence says."
    if above["random"]:
        return "Better than a random query, but no better than uniform attention: it does not point."
    worse = " Worse than uniform attention, even." if below["uniform"] else ""
    return f"It does not point: no better than uniform attention or a random query.{worse}"
