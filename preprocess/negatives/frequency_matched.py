"""``--strategy balanced``: negatives that are far from a report and, taken together, as frequent as the reports themselves.

Always taking the farthest reports makes some texts typical negatives, and matching can then be learnt from the text alone.
Here report ``q`` gets report ``c`` with probability ``K[q, c] * w[c] / Z[q]``. The preference ``K`` is 1 where ``c`` lies in
the farther half of all reports seen from ``q``, ``RELUCTANCE`` in the nearer half and 0 in the nearest quarter. The weights
``w`` are found by iterative proportional fitting (Sinkhorn) so that

    sum over q of  f[q] * K[q, c] * w[c] / Z[q]  =  f[c],        f = share of the split's records,

that is, a swapped record carries report ``c`` as often as a true one does. The farther half alone cannot always do that: a
short frequent report can be among the nearer half of nearly every other report.

Rows of ``k`` slots are coarse for frequent reports (one slot of the most frequent MIMIC-IV-ECG report is worth 0.2 % of all
negatives), so reports are handled most frequent first, in blocks, and what a block used too much or too little is made up by
the blocks after it. With more reports than ``POOL`` each block sees the most frequent candidates and a fresh random sample of
the others, which bounds its cost.
"""

from __future__ import annotations

import numpy as np

from preprocess.negatives.mining import usable_k

POOL = 8192
"""Candidates a block chooses from, half of them the most frequent reports; up to this many reports the pool is all of them."""
BLOCK = 2048
"""Reports handled at once."""
STAND_INS = 2048
"""Sampled reports that represent those of later blocks while the weights are fitted."""
ITERATIONS = 100
RELUCTANCE = 0.01
"""Preference for candidates between the nearest quarter and the farther half; they come in only where weights get large."""
TOLERANCE = 1e-3
"""Fitting stops when the marginal is this close to the wanted one (total variation)."""
NEAR_IDENTICAL = 1 - 1e-3
"""Cosine similarity above which two reports say the same, however far the farther half begins."""


def fit_weights(preference: np.ndarray, mass: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Candidate weights ``w`` for which ``mass @ (K * w / Z)`` is ``target``, or as near as ``K`` permits.

    Args:
        preference: float32 ``[rows, candidates]``, the ``K`` above; not negative, each row with a positive entry.
        mass: float64 ``[rows]``, how often each row is asked for a negative.
        target: float64 ``[candidates]``, how often each candidate should be one; same sum as ``mass``.

    Returns:
        float32 ``[candidates]``, positive, sum 1.
    """
    weights = target / target.sum()
    for _ in range(ITERATIONS):
        single = weights.astype(np.float32)
        scale = mass / np.maximum(preference @ single, 1e-30)
        reached = weights * (scale.astype(np.float32) @ preference)
        if np.abs(reached - target).sum() <= 2 * TOLERANCE * target.sum():
            break
        weights = weights * np.where(reached > 0, target / np.maximum(reached, 1e-30), 1.0)
        # Candidates that cannot reach their target would otherwise grow, and shrink the others, without end.
        weights = np.maximum(weights / weights.sum(), 1e-12)
    return (weights / weights.sum()).astype(np.float32)


def sample_slots(probabilities: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Fill ``k`` slots per row by systematic sampling: each column gets its expected number of slots, rounded up or down.

    Args:
        probabilities: ``[rows, columns]``, not negative, each row with a positive sum.
        k: slots per row.
        rng: source of one random start per row and one order of the columns.

    Returns:
        int64 ``[rows, k]`` of column indices, repeated where a column gets several slots; never a column of probability 0.
    """
    rows, columns = probabilities.shape
    order = rng.permutation(columns)
    cumulative = np.cumsum(probabilities[:, order], axis=1, dtype=np.float64)
    cumulative *= k / cumulative[:, -1:]
    start = rng.random((rows, 1)) * (1 - 1e-6)
    slots: np.ndarray = np.diff(np.ceil(cumulative - start).astype(np.int32), axis=1, prepend=0)
    row, column = np.nonzero(slots)
    return order[np.repeat(column, slots[row, column])].reshape(rows, k)


class FrequencyMatched:
    """The strategy described at the top of this file."""

    def __init__(
        self, embeddings: np.ndarray, counts: np.ndarray, k: int, seed: int = 1, pool: int = POOL, block: int = BLOCK
    ) -> None:
        """Plan the blocks.

        Args:
            embeddings: float32 ``[n, d]``, rows of unit norm (or zero).
            counts: int ``[n]``, records of the split per report, at least 1.
            k: negatives per report, cut to ``n - 1``.
            seed: same seed, same negatives.
            pool: see ``POOL``.
            block: see ``BLOCK``.

        Raises:
            DataError: fewer than two reports.
        """
        self.embeddings = np.ascontiguousarray(embeddings, dtype=np.float32)
        n = len(self.embeddings)
        self.k = usable_k(k, n)
        self.seed = seed
        self.pool = pool
        self.frequency = np.asarray(counts, dtype=np.float64) / np.sum(counts)
        self.residual = self.frequency.copy()
        rng = np.random.default_rng([seed, 0])
        # Equally frequent reports in random order: then every block of rare reports is a fair sample of them.
        shuffled = rng.permutation(n)
        self.order = shuffled[np.argsort(-self.frequency[shuffled], kind="stable")]
        self.reference = np.arange(n) if n <= pool else rng.choice(n, pool // 2, replace=False)
        sizes: list[int] = []
        size = 1
        while sum(sizes) < n:
            sizes.append(min(size, n - sum(sizes)))
            size = min(4 * size, block)
        self.blocks = np.split(self.order, np.cumsum(sizes)[:-1])

    def draw(self, index: int) -> np.ndarray:
        """Negatives of one block, int32 ``[rows, k]``; blocks before it must have been accepted."""
        rng = np.random.default_rng([self.seed, 1, index])
        rows = self.blocks[index]
        later, later_mass = self._later(index, rng)
        candidates, target = self._candidates(rng)
        queries = np.concatenate([rows, later])
        mass = np.concatenate([self.frequency[rows], later_mass])
        preference = self._preference(queries, candidates)
        weights = fit_weights(preference, mass, target * (mass.sum() / target.sum()))
        return candidates[sample_slots(preference[: len(rows)] * weights, self.k, rng)].astype(np.int32)

    def accept(self, index: int, picks: np.ndarray) -> None:
        """Subtract what the block used from what is still wanted."""
        share = np.repeat(self.frequency[self.blocks[index]] / self.k, self.k)
        self.residual -= np.bincount(picks.ravel(), weights=share, minlength=len(self.residual))

    def _later(self, index: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Rows of later blocks, all or a sample by frequency, and the mass each stands for."""
        later = np.concatenate(self.blocks[index + 1 :] + [np.empty(0, dtype=np.int64)]).astype(np.int64)
        mass = self.frequency[later]
        if len(later) <= STAND_INS:
            return later, mass
        sample = rng.choice(later, STAND_INS, p=mass / mass.sum())
        return sample, np.full(STAND_INS, mass.sum() / STAND_INS)

    def _candidates(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Candidates of one block and how much each is still wanted."""
        # A little is always wanted, so that a row whose candidates are all used up still has a choice.
        wanted = np.maximum(self.residual, 1e-3 * self.frequency)
        if len(wanted) <= self.pool:
            return np.arange(len(wanted)), wanted
        frequent, rest = self.order[: self.pool // 2], self.order[self.pool // 2 :]
        n_sample = min(self.pool - len(frequent), len(rest))
        sample = rng.choice(rest, n_sample, replace=False, p=wanted[rest] / wanted[rest].sum())
        target = np.concatenate([wanted[frequent], np.full(n_sample, wanted[rest].sum() / n_sample)])
        return np.concatenate([frequent, sample]), target

    def _preference(self, queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """``K`` of the fitting, float32 ``[queries, candidates]``."""
        vectors = self.embeddings[queries]
        last = len(self.reference) - 1
        half, quarter = last // 2, 3 * last // 4
        to_reference = np.partition(vectors @ self.embeddings[self.reference].T, [half, quarter], axis=1)
        similarity = vectors @ self.embeddings[candidates].T
        similarity[queries[:, None] == candidates] = np.inf
        preference = np.where(similarity <= to_reference[:, [quarter]], np.float32(RELUCTANCE), np.float32(0))
        preference[similarity <= to_reference[:, [half]]] = 1
        preference[similarity > NEAR_IDENTICAL] = 0
        # A slot worth more than a rare candidate's whole share is better filled with a frequent one.
        slot = self.frequency[queries] / self.k
        if slot.max() > self.frequency.min():
            preference *= np.minimum(1, self.frequency[candidates] / slot[:, None]).astype(np.float32)
        # Where nothing is left (all reports nearly the same), the farthest candidate has to do.
        stuck = np.flatnonzero(~preference.any(axis=1))
        preference[stuck, similarity[stuck].argmin(axis=1)] = 1
        return preference
