"""Scores of classes from any model of this package, in one form: zero-shot, fine-tuned classifiers, linear probes.

A scorer makes *states* of recordings (embeddings, or pooled features), and of the states scores, uncertainties and points for
distances. States of a split are kept by the embedding cache; states of disturbed recordings are made in the same way.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.directory.training_data import EARLIER_TRAINING_DATA, TRAINING_DATA, trainings_of
from cmelt_plugin.data.leads import LEADS, ordered_leads
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding.encoder import SplitEncoder
from cmelt_plugin.evaluation.embedding.features import FEATURES
from cmelt_plugin.evaluation.embedding.passes import Columns
from cmelt_plugin.evaluation.embedding.precision import precision_name
from cmelt_plugin.evaluation.embedding.records import columns_of, embedding_of
from cmelt_plugin.evaluation.linear_probe.runs import POOLED, ProbedEncoder
from cmelt_plugin.evaluation.options import load_ecg_model
from cmelt_plugin.evaluation.uncertainty.unseen import Training
from cmelt_plugin.evaluation.zero_shot.class_texts import ClassTexts, choose_class_texts, embed_class_texts
from cmelt_plugin.models.base import Embedding
from cmelt_plugin.models.files.training_history import file_trainings
from cmelt_plugin.models.inference.calibration import (
    CLASSIFIER,
    LINEAR_PROBE,
    ZERO_SHOT,
    against_the_others,
    classes_key,
    sigmoid,
)
from cmelt_plugin.models.inference.linear_probe import Probe, load_probe
from cmelt_plugin.models.inference.neighbours import unit_rows
from cmelt_plugin.models.inference.pretrained import Pretrained
from cmelt_plugin.models.inference.scoring import score_settings
from cmelt_plugin.models.inference.variances import read_variances


class Scorer:
    """What all kinds share.

    Args:
        pretrained: the model.
        encoder: goes over splits with it.
        names: the C classes.
        leads: that the model sees.

    Attributes:
        kind: one of :data:`cmelt_plugin.models.inference.calibration.KINDS`.
        base: factor and offset that make logits of the scores; None: the model takes them for no logits.
    """

    kind: str
    base: tuple[float, float] | None = (1.0, 0.0)

    def __init__(self, pretrained: Pretrained, encoder: SplitEncoder, names: Sequence[str], leads: Sequence[str]) -> None:
        self.pretrained, self.encoder = pretrained, encoder
        self.names, self.leads = list(names), list(ordered_leads(leads))

    def states(self, manifest: Manifest) -> Columns:
        """States of a split, each name ``[N, D]``."""
        raise NotImplementedError

    def encode(self, ecg: Tensor, n_samples: Tensor | None) -> dict[str, Tensor]:
        """States of ``ecg [B, 12, T]`` mV, lost leads at zero."""
        raise NotImplementedError

    def scores(self, states: Columns) -> np.ndarray:
        """float64 ``[N, C]``, higher = likelier."""
        raise NotImplementedError

    def points(self, states: Columns) -> np.ndarray:
        """float32 ``[N, D]`` of unit length, for distances between recordings."""
        raise NotImplementedError

    def variance(self, states: Columns) -> np.ndarray | None:
        """Sums of the variances of embeddings, float64 ``[N]``; None where these are points."""
        return None

    def raw_probabilities(self, scores: np.ndarray) -> np.ndarray | None:
        """What the model itself takes for probabilities, float64 ``[N, C]``; None where it has no such thing."""
        return None if self.base is None else sigmoid(self.base[0] * scores + self.base[1])

    def trained_on(self) -> list[Training]:
        """The trainings that the scores come from: of the model, those before it, and of what was put on it."""
        source, state, cfg = self.pretrained.source, self.pretrained.task_state, self.pretrained.cfg
        last, *earlier = trainings_of(state)
        began_with = (cfg.get("model") or {}).get("pretrained")
        if began_with and EARLIER_TRAINING_DATA not in state:  # written before this was noted
            # Of paths an exported folder keeps the last part, which anything may be called.
            earlier = file_trainings(began_with) if Path(began_with).is_absolute() else [None]
        found = [Training(source, last, str((cfg.get("task") or {}).get("data") or ""))]
        found += [Training(f"what {source} began with", data) for data in earlier]
        variances = self.pretrained.variances
        if variances:
            found.append(Training(variances, read_variances(variances)["facts"].get(TRAINING_DATA)))
        return found

    @property
    def key(self) -> str:
        """:func:`cmelt_plugin.models.inference.calibration.classes_key`."""
        return classes_key(self.kind, self.names, self.leads)

    @property
    def score(self) -> str:
        """How ECG and text are compared; "" where they are not."""
        return ""

    @property
    def texts(self) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """Texts of the classes, and of their absence; empty where there are none."""
        return {}, {}

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the scores, for results."""
        return {"kind": self.kind, "leads": self.leads, "precision": precision_name(self.encoder.bf16)}


class ZeroShotScorer(Scorer):
    """Similarities of recordings to the texts of classes."""

    kind = ZERO_SHOT

    def __init__(
        self, pretrained: Pretrained, encoder: SplitEncoder, directory: Path, chosen: ClassTexts, own_tokenizer: bool = True
    ) -> None:
        super().__init__(pretrained, encoder, list(chosen.texts), LEADS)
        self.chosen = chosen
        self.classes = embed_class_texts(pretrained, directory, chosen, own_tokenizer)
        self.base = _affine(pretrained) if not chosen.absent else None

    def states(self, manifest: Manifest) -> Columns:
        return columns_of(self.encoder.embeddings(manifest))

    def encode(self, ecg: Tensor, n_samples: Tensor | None) -> dict[str, Tensor]:
        embedding: Embedding = self.pretrained.model.embed_ecg(ecg, n_samples)
        return {name: values for name, values in embedding._asdict().items() if values is not None}

    def scores(self, states: Columns) -> np.ndarray:
        found = self.classes.scores(self.pretrained.model, embedding_of(states), self.pretrained.device)
        return found.astype(np.float64)

    def points(self, states: Columns) -> np.ndarray:
        return unit_rows(states["mean"])

    def variance(self, states: Columns) -> np.ndarray | None:
        embedding = embedding_of(states)
        return None if embedding.log_variance is None else embedding.uncertainty().double().numpy()

    def raw_probabilities(self, scores: np.ndarray) -> np.ndarray | None:
        if self.chosen.absent:
            return None  # a difference of similarities is no similarity
        found = self.pretrained.pair_probability(torch.from_numpy(scores))
        return None if found is None else found.double().numpy()

    @property
    def key(self) -> str:
        return classes_key(self.kind, self.names, self.leads, self.score, *self.texts)

    @property
    def score(self) -> str:
        return score_settings(self.pretrained.model).get("score", "")

    @property
    def texts(self) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        return dict(self.chosen.texts), dict(self.chosen.absent)

    @property
    def settings(self) -> dict[str, Any]:
        return {**super().settings, "prompt_kind": self.chosen.kind, "prompts": self.chosen.source, "score": self.score}


class _FeatureScorer(Scorer):
    """Scores from pooled features."""

    pool: str | None = None

    def states(self, manifest: Manifest) -> Columns:
        return {FEATURES: self.encoder.features(manifest, self.pool, self.leads)}

    def encode(self, ecg: Tensor, n_samples: Tensor | None) -> dict[str, Tensor]:
        return {FEATURES: self.pretrained.model.ecg_features(ecg, n_samples, self.pool)}

    def points(self, states: Columns) -> np.ndarray:
        return unit_rows(states[FEATURES])


class ClassifierScorer(_FeatureScorer):
    """Logits of a fine-tuned classifier; of exclusive classes those of each class against all others."""

    kind = CLASSIFIER

    def __init__(self, pretrained: Pretrained, encoder: SplitEncoder) -> None:
        super().__init__(pretrained, encoder, pretrained.class_names, pretrained.leads)
        self.pool = pretrained.model.cfg.pool

    def encode(self, ecg: Tensor, n_samples: Tensor | None) -> dict[str, Tensor]:
        # The head's dropout, which does nothing but in Monte-Carlo passes.
        found = super().encode(ecg, n_samples)
        return {name: self.pretrained.model.head_dropout(values) for name, values in found.items()}

    @torch.no_grad()
    def scores(self, states: Columns) -> np.ndarray:
        head = self.pretrained.model.head.float()
        device = next(head.parameters()).device
        logits = head(torch.from_numpy(states[FEATURES]).to(device)).double().cpu().numpy()
        return against_the_others(logits) if self.pretrained.exclusive else logits


class ProbeScorer(_FeatureScorer):
    """Logits of a saved linear probe.

    Raises:
        DataError: it was trained on features of another encoder.
    """

    kind = LINEAR_PROBE

    def __init__(self, probed: ProbedEncoder, path: Path, kept: tuple[Probe, list[str], dict[str, str]]) -> None:
        probe, names, info = kept
        if probed.kind != POOLED:
            raise DataError(f"{path}: a probe on embeddings; calibrate one on pooled features (--features {POOLED})")
        wrong = probed.differences(info)
        if wrong:
            raise DataError(f"{path}: trained on other features than these ({', '.join(wrong)}); give the same options")
        super().__init__(probed.pretrained, probed.encoder, names, probed.leads)
        self.pool, self.probe, self.path = probed.pool, probe, path
        self.training = {name: info.get(f"training_{name}") for name in ("order", "meta")}

    def trained_on(self) -> list[Training]:
        return [*super().trained_on(), Training(str(self.path), self.training)]

    def scores(self, states: Columns) -> np.ndarray:
        return self.probe.scores(states[FEATURES]).astype(np.float64)

    @property
    def key(self) -> str:
        return classes_key(self.kind, self.names, self.leads, head=self.probe.fingerprint)


def open_scorer(args: argparse.Namespace, directory: Path, names: Sequence[str]) -> Scorer:
    """The scorer that a command's options name, for the classes of a labelled directory.

    A saved probe (``--probe``), the classes of a fine-tuned classifier, or zero-shot by texts of the directory's classes.

    Args:
        args: ``checkpoint`` and other options of :mod:`cmelt_plugin.evaluation.options`; ``probe``, ``pool``, ``prompts``,
            ``prompt_kind``.
        directory: manifest directory.
        names: its classes.

    Raises:
        DataError: the model cannot be opened, or has nothing to say on these classes.
    """
    if args.probe is not None:
        kept = load_probe(args.probe)
        args.features = kept[2].get("features", POOLED)
        args.pool = kept[2].get("pool") if args.pool is None else args.pool
        probed = ProbedEncoder(args)
        probed.leads = kept[2].get("leads", " ".join(LEADS)).split()
        return ProbeScorer(probed, args.probe, kept)
    pretrained = load_ecg_model(args)
    encoder = SplitEncoder(pretrained.model, args.cache, args.batch_size, args.workers, args.device, args.bf16)
    if pretrained.class_names:
        if args.prompts is not None or args.prompt_kind is not None:
            raise DataError(f"{pretrained.source}: a classifier has its own classes; leave --prompts and --prompt-kind out")
        return ClassifierScorer(pretrained, encoder)
    if not pretrained.reads_text:
        raise DataError(
            f"{pretrained.source}: an encoder of ECGs alone, which has no classes; give a linear probe on it with --probe "
            "(linear_probe --save-probe writes one)"
        )
    chosen = choose_class_texts(directory, list(names), args.prompt_kind, args.prompts)
    return ZeroShotScorer(pretrained, encoder, directory, chosen, args.tokenizer is None)


def _affine(pretrained: Pretrained) -> tuple[float, float] | None:
    """Factor and offset of the model's match probability, where it is a sigmoid of a line of the similarity."""
    base = (pretrained.logit_scale, pretrained.logit_bias)
    grid = torch.linspace(-1, 1, 9)
    found = pretrained.pair_probability(grid)
    if found is None or not np.allclose(found.double().numpy(), sigmoid(base[0] * grid.numpy() + base[1]), atol=1e-5):
        return None
    return base
