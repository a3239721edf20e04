"""MELP's losses: ``melp``, of report, words and sentences; and each alone (Wang, Xu, Yu 2025, arXiv 2506.21803).

The two contrastive ones compare with the records of all ranks, with gradients that reach the rank each came from.
"""

import functools
import math
from dataclasses import dataclass, field
from typing import Any, Optional

import torch
from torch import Tensor
from torch.nn import functional as F

from cmelt_plugin import host
from cmelt_plugin.criterions.collapse import CollapseWatch, loss_of_guessing, spread
from cmelt_plugin.criterions.pretraining import Batch, LossTerm, PretrainingCriterion, Terms, of_batch
from cmelt_plugin.criterions.uncertainty import UncertaintyCriterion, UncertaintyLossOptions
from cmelt_plugin.losses.beats import FORMS, Similarity, beat_similarity, gloria_similarity, local_loss
from cmelt_plugin.losses.caption import caption_loss
from cmelt_plugin.losses.clip import clip_loss
from cmelt_plugin.losses.pairs import DUPLICATES

CHOICES = {"duplicates": DUPLICATES, "local": FORMS}


@dataclass
class MELPCriterionConfig(UncertaintyLossOptions):
    """One configuration for all four, so that ``criterion._name=melp_clip`` alone switches between them."""

    clip_weight: float = field(
        default=1.0, metadata={"help": "weight in melp of the contrastive loss, ECG against report (release: 1); 0: left out"}
    )
    caption_weight: float = field(
        default=2.0, metadata={"help": "weight in melp of captioning, the report's next word (release: 2); 0: left out"}
    )
    local_weight: float = field(
        default=0.2, metadata={"help": "weight in melp of the local loss, beats against sentences (release: 0.2); 0: left out"}
    )
    local: str = field(
        default="beat",
        metadata={
            "help": "form of the local loss: gloria (release), or beat: one softmax over beats with a learned temperature, a "
            "mean over sentences"
        },
    )
    duplicates: str = field(
        default="ignore",
        metadata={"help": "a foreign report identical to the ECG's own: negative (release), ignore or positive"},
    )
    collapse_window: int = field(
        default=2000,
        metadata={
            "help": "the training ends if over so many batches all embeddings are one point and the contrastive loss is that "
            "of guessing; 0: it goes on (release)"
        },
    )


@host.register_criterion("melp", dataclass=MELPCriterionConfig)
class MELPCriterion(UncertaintyCriterion):
    """CLIP + captioning + local loss. The hosts keep the names of these classes in checkpoints."""

    choices = CHOICES
    contrastive = "clip"

    def __init__(self, cfg: MELPCriterionConfig, task: Any):
        super().__init__(cfg, task)
        self.watch = CollapseWatch(cfg.collapse_window)

    def terms(self) -> Terms:
        return self.with_uncertainty(self.weighted(clip=self.clip, caption=self.caption, local=self.local))

    def clip(self, batch: Batch) -> LossTerm:
        """ECG against report, mean of both ways, among the pairs of all ranks.

        Logged: ``logit_scale``, the inverse temperature; ``clip_of_guessing``, the loss as a share of ln M, M pairs (1: nothing
        is told apart); ``ecg_spread`` and ``text_spread``, the standard deviation of embeddings in a batch (0: collapsed).
        """
        output = batch.output
        ecg, text = output["ecg_embedding"], output["text_embedding"]
        (all_ecg, all_text), labels = batch.gather_pairs(batch.sample["report_id"], self.cfg.duplicates, ecg, text)
        loss = clip_loss(ecg, text, all_ecg, all_text, labels, output["logit_scale"], "mean")
        guessing, ecg_spread, text_spread = loss_of_guessing(labels), spread(ecg), spread(text)
        if self.training:
            share = loss.detach() / guessing.clamp(min=torch.finfo(guessing.dtype).tiny)
            self.watch.add(share, torch.minimum(ecg_spread, text_spread), batch.rows > 0, batch.group)
        return LossTerm(
            loss,
            {
                "logit_scale": of_batch(output["logit_scale"]),
                "clip_of_guessing": (loss, guessing),
                "ecg_spread": of_batch(ecg_spread),
                "text_spread": of_batch(text_spread),
            },
        )

    def caption(self, batch: Batch) -> LossTerm:
        """The report's next word: mean over the words of all ranks; ``caption_accuracy`` and ``caption_perplexity``."""
        found = caption_loss(batch.output["caption_logits"], batch.output["caption_labels"])
        tokens = found.tokens * (1 if batch.rows else 0)
        return LossTerm(batch.mean_over_ranks(found.total, tokens), {"caption_accuracy": (found.correct, tokens)})

    def local(self, batch: Batch) -> LossTerm:
        """Beats against sentences, mean of both ways, among the pairs of all ranks; ``beat_scale`` of the form ``beat``."""
        output = batch.output
        beats, sentences, padding = (output[name] for name in ("beats", "sentences", "sentence_padding_mask"))
        all_sentences, all_padding = self._of_one_length(batch, sentences, padding.long())
        columns, labels = batch.gather_pairs(batch.sample["report_id"], self.cfg.duplicates, beats, all_sentences, all_padding)
        all_beats, all_sentences, all_padding = columns
        similarity: Similarity = gloria_similarity
        logged = {}
        if self.cfg.local == "beat":
            similarity = functools.partial(beat_similarity, beat_scale=output["beat_scale"])
            logged["beat_scale"] = of_batch(output["beat_scale"])
        loss = local_loss(similarity, beats, sentences, padding, all_beats, all_sentences, all_padding != 0, labels)
        return LossTerm(loss, logged)

    @staticmethod
    def _of_one_length(batch: Batch, sentences: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
        """``[B, S, E]`` and int64 ``[B, S]`` (1 = padding) with as many sentences as on every rank.

        That is the most that any report has: how many others have would have to be asked for, and the CPU would wait.
        """
        if batch.group is None:
            return sentences, padding
        more = batch.sample["max_sentences"] - padding.shape[1]
        if more < 0:
            raise ValueError(f"a report of {padding.shape[1]} sentences, but none may have more than {padding.shape[1] + more}")
        return F.pad(sentences, (0, 0, 0, more)), F.pad(padding, (0, more), value=1)

    @staticmethod
    def reduce_metrics(logging_outputs: list[dict[str, Any]], prefix: Optional[str] = None) -> None:
        PretrainingCriterion.reduce_metrics(logging_outputs, prefix)
        if any("loss_caption" in log for log in logging_outputs):
            host.metrics.log_derived("caption_perplexity", _perplexity)


def _perplexity(meters: Any) -> float:
    """Of captioning, whose loss is a mean over words in nats; at most e¹⁰⁰, NaN where nothing was logged yet."""
    meter = meters.get("loss_caption")
    return math.nan if meter is None else round(math.exp(min(float(meter.avg), 100.0)), 2)


@host.register_criterion("melp_clip", dataclass=MELPCriterionConfig)
class MELPClipCriterion(MELPCriterion):
    """The contrastive loss of whole reports alone."""

    only = "clip"


@host.register_criterion("melp_caption", dataclass=MELPCriterionConfig)
class MELPCaptionCriterion(MELPCriterion):
    """Captioning alone."""

    only = "caption"


@host.register_criterion("melp_local", dataclass=MELPCriterionConfig)
class MELPLocalCriterion(MELPCriterion):
    """The local loss alone."""

    only = "local"
