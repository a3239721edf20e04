"""What every system offers: all that tasks, evaluation, export, predict and benchmarks may ask of a model.

A system is registered with :func:`cmelt_plugin.registry.register_system`. An encoder of ECGs alone is an :class:`ECGModel`; one
that also reads texts is an :class:`ECGTextModel`. Scores between the two are made by the model and nowhere else.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmelt_plugin.data.signal_contract import SignalContract
from cmelt_plugin.errors import DataError

COSINE = "cosine"
MAX_WRITTEN_TOKENS = 128
"""Tokens of a report that a model writes, unless more or fewer are asked for."""


class Embedding(NamedTuple):
    """Points in the space that ECGs and texts share, or Gaussians with a diagonal covariance.

    Attributes:
        mean: ``[B, D]`` float32.
        log_variance: ``[B, D]`` float32; None: points.
    """

    mean: Tensor
    log_variance: Tensor | None = None

    @property
    def rows(self) -> int:
        """B; ``len()`` of a tuple is the number of its fields."""
        return len(self.mean)

    def to(self, device: torch.device | str) -> Embedding:
        return Embedding(self.mean.to(device), None if self.log_variance is None else self.log_variance.to(device))

    def select(self, index: Tensor | slice) -> Embedding:
        """Some of the rows."""
        return Embedding(self.mean[index], None if self.log_variance is None else self.log_variance[index])

    def uncertainty(self) -> Tensor:
        """Σ over d of the variances of each Gaussian: ``[B]`` float32.

        Raises:
            ValueError: the embeddings are points, which have no variance.
        """
        if self.log_variance is None:
            raise ValueError("the embeddings are points, which have no variance")
        return self.log_variance.float().exp().sum(dim=1)


def concatenate(parts: Sequence[Embedding]) -> Embedding:
    """Embeddings one below the other.

    Raises:
        ValueError: nothing to concatenate, or points among Gaussians.
    """
    variances = [part.log_variance for part in parts if part.log_variance is not None]
    if not parts or len(variances) not in (0, len(parts)):
        raise ValueError("needs embeddings of one kind, at least one")
    return Embedding(torch.cat([part.mean for part in parts]), torch.cat(variances) if variances else None)


@runtime_checkable
class ECGModel(Protocol):
    """An encoder of ECGs: a classifier, a self-supervised model, the ECG half of an ECG–text model.

    A system's model also makes and finds its ECG encoder alone, so that a classifier can be put on it
    (:mod:`cmelt_plugin.models.classifier`):

    - ``build_encoder(cfg, conv_stack)`` → a module with ``features(ecg, n_samples, pool)``, ``layers()`` and ``width``, and
      ``signal`` where it is not the usual one;
    - ``encoder_weights(state)``, of a state dict of the whole model that of this module;
    - ``resolved_sizes(cfg)``, only where a setting of the encoder may be None: what it then is.

    Its configuration names the encoder's settings: ``encoder_sizes``, which must be those of the pre-trained encoder, and
    ``encoder_training`` with the classifier's defaults (None: as in pre-training). ``encoder_additions``, where there are any,
    are those of the former that checkpoints of earlier versions lack, with what holds for these.

    Attributes:
        pools: ways of pooling, the usual one first.
        signal: the ECGs it was trained on, and what it does to them.
    """

    pools: Sequence[str]
    signal: SignalContract

    def ecg_features(self, ecg: Tensor, n_samples: Tensor | None = None, pool: str | None = None) -> Tensor:
        """``ecg [B, 12, T]`` mV → pooled states ``[B, width]`` before any projection: what probes and classifiers read.

        Args:
            ecg: ``[B, 12, T]`` float32, mV.
            n_samples: ``[B]`` real samples per record; None: none is padded.
            pool: one of :attr:`pools`; None: the first.
        """
        ...

    def layers(self) -> list[nn.Module]:
        """Layers of the ECG encoder from input to output, for layer-wise learning rates."""
        ...


@runtime_checkable
class ECGTextModel(ECGModel, Protocol):
    """An ECG encoder and a text encoder with one space of embeddings.

    Attributes:
        vocab_size: tokens that the text encoder knows.
    """

    vocab_size: int

    def embed_ecg(self, ecg: Tensor, n_samples: Tensor | None = None) -> Embedding:
        """``ecg [B, 12, T]`` mV, unmasked → B embeddings as :meth:`similarity` takes them."""
        ...

    def embed_text(self, ids: Tensor, padding_mask: Tensor | None = None) -> Embedding:
        """``ids [B, L]``, ``padding_mask [B, L]`` True = padding → B embeddings as :meth:`similarity` takes them."""
        ...

    def similarity(self, ecg: Embedding, text: Embedding) -> Tensor:
        """``[A, B]``: the score of each ECG with each text, or of any two lists of embeddings; higher = closer."""
        ...

    def ensemble(self, texts: Embedding, group: Tensor, n_groups: int) -> Embedding:
        """One embedding for each of ``n_groups`` from several texts; ``group [B]`` int64 names each text's group."""
        ...

    def match_probability(self, similarity: Tensor) -> Tensor | None:
        """What training takes for the probability of a pair at that similarity; None where it has no such thing."""
        ...


@runtime_checkable
class TrainedForLosses(Protocol):
    """A model of which some losses read parts alone."""

    def train_for(self, losses: Collection[str], settings: Any) -> dict[str, Any]:
        """Be told before training what will be computed; what none of the losses reads must not ask for a gradient.

        Several processes would wait for it.

        Args:
            losses: names of the terms of the loss.
            settings: of the criterion.

        Returns:
            Settings of the model that follow, which its checkpoints must hold.
        """
        ...


class CacheableText(Protocol):
    """A model with a text encoder of which a part, or all, may be frozen, so that what it makes of a report can be kept.

    Attributes:
        text_is_cacheable: whether :meth:`cacheable_text` of a text stays what it is while the model trains.
        cached_tokens: states of how many tokens there are beside one for each of the text's; None: a single vector.
    """

    text_is_cacheable: bool
    cached_tokens: int | None

    def cacheable_text(self, text: Tensor, text_padding_mask: Tensor | None = None) -> Tensor:
        """``text [B, L]`` ids, ``text_padding_mask [B, L]`` True = padding → ``[B, W]`` or, of tokens, ``[B, N, W]``."""
        ...

    def text_fingerprint(self) -> str:
        """``sha256:…`` of what :meth:`cacheable_text` computes."""
        ...


@runtime_checkable
class ReportWriter(Protocol):
    """A model that writes the report of a recording."""

    def generate(
        self, ecg: Tensor, n_samples: Tensor | None = None, beams: int = 1, max_tokens: int = MAX_WRITTEN_TOKENS
    ) -> list[list[int]]:
        """Reports of recordings, always without dropout and the same each time.

        Args:
            ecg: ``[B, 12, T]`` float32, mV.
            n_samples: ``[B]`` real samples per record; None: none is padded.
            beams: texts written side by side, of which the likeliest is kept; 1: the likeliest token at each place.
            max_tokens: of a report.

        Returns:
            B lists of token ids, without those at the ends.
        """
        ...


class TimeAttention(NamedTuple):
    """Where in time a model looks when it reads the sentences of a report.

    Attributes:
        sentences: ``[B, S, T']`` float32, weights of each sentence over T' steps in time, sums of one; padding means nothing.
        queries: ``[B, Q, T']``, the same of what the model mixes these from, whatever the sentences.
        samples_per_step: step t begins at sample t · ``samples_per_step``.
    """

    sentences: Tensor
    queries: Tensor
    samples_per_step: int


@runtime_checkable
class Grounding(Protocol):
    """A model that points: it looks at parts of a recording for each sentence of its report."""

    def grounding(
        self,
        ecg: Tensor,
        text: Tensor,
        text_padding_mask: Tensor,
        sentence_spans: Tensor,
        sentence_padding_mask: Tensor,
        n_samples: Tensor | None = None,
    ) -> TimeAttention:
        """Where each sentence looks in the recording beside it.

        Args:
            ecg: ``[B, 12, T]`` float32, mV.
            text: ``[B, L]`` int64 token ids of the reports, as tokenizers give them.
            text_padding_mask: ``[B, L]`` bool, True = padding.
            sentence_spans: int64 ``[B, S, 2]``, first token and end of each sentence.
            sentence_padding_mask: ``[B, S]`` bool, True = no sentence.
            n_samples: ``[B]`` real samples per record; None: none is padded. Padding has weight 0.
        """
        ...


@runtime_checkable
class TokenUncertainty(Protocol):
    """A model that divides the uncertainty of an embedding among parts of the recording.

    Its ``samples_per_token`` says where they lie: token t begins at sample t · ``samples_per_token``.
    """

    def uncertainty_tokens(self, ecg: Tensor, n_samples: Tensor | None = None) -> Tensor:
        """What each of T' tokens adds to the uncertainty, to first order: ``[B, T']`` float32, 0 for padding.

        Args:
            ecg: ``[B, 12, T]`` float32, mV.
            n_samples: ``[B]`` real samples per record; None: none is padded.
        """
        ...


def group_means(points: Tensor, group: Tensor, n_groups: int) -> Tensor:
    """The mean of the ``points [B, D]`` of each group, ``[n_groups, D]``; ``group [B]`` int64 names each point's."""
    sums = torch.zeros(n_groups, points.shape[1], device=points.device).index_add_(0, group, points)
    return sums / torch.bincount(group, minlength=n_groups)[:, None]


def mixture_log_variance(points: Tensor, log_variance: Tensor, centre: Tensor, group: Tensor) -> Tensor:
    """Log-variances ``[C, D]`` of the mixture of each group's Gaussians (law of total variance).

    Args:
        points, log_variance: ``[B, D]``.
        centre: ``[C, D]``, the mean of each group's points.
        group: int64 ``[B]``, each point's.
    """
    return group_means(log_variance.exp() + (points - centre[group]).square(), group, len(centre)).log()


class CosineSimilarity:
    """Defaults for models whose embeddings are points of unit length: the score is the cosine."""

    @property
    def score(self) -> str:
        """How ECG and text are compared; results name it."""
        return COSINE

    def similarity(self, ecg: Embedding, text: Embedding) -> Tensor:
        return ecg.mean @ text.mean.T

    def ensemble(self, texts: Embedding, group: Tensor, n_groups: int) -> Embedding:
        """The mean of the unit-length embeddings of a group, of unit length again (CLIP's prompt ensemble); of Gaussians with
        the variance of the mixture around the mean itself."""
        points = F.normalize(texts.mean, dim=-1)
        centre = group_means(points, group, n_groups)
        mean = F.normalize(centre, dim=-1)
        if texts.log_variance is None:
            return Embedding(mean)
        return Embedding(mean, mixture_log_variance(points, texts.log_variance, centre, group))

    def match_probability(self, similarity: Tensor) -> Tensor | None:
        return None

    def choose_score(self, score: str) -> None:
        """Compare by another score from now on, where a model knows several.

        Raises:
            DataError: it does not know this one.
        """
        if score != COSINE:
            raise DataError(f"score must be {COSINE}, not {score!r}: this model compares ECG and text in no other way")
