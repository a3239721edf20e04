"""``cmelt_text_mlm``: cross-entropy of masked words.

The sample size is the number of masked words, so that the hosts' division makes the mean over all of them, of all ranks and
of all batches of an update.
"""

import math
from dataclasses import dataclass
from typing import Any, Optional

import torch
from torch import Tensor

from cmelt_plugin import host
from cmelt_plugin.criterions.base import COUNT, SUM, LoggingCriterion
from cmelt_plugin.losses.mlm import mlm_loss

LARGEST_LOSS = 50.0  # nats, for which a perplexity is printed


@dataclass
class TextMLMCriterionConfig(host.Dataclass):
    pass


@host.register_criterion("cmelt_text_mlm", dataclass=TextMLMCriterionConfig)
class TextMLMCriterion(LoggingCriterion):
    """Logs ``loss`` in nats a word, ``perplexity``, its exponential, and ``accuracy``, the share of words predicted rightly."""

    def forward(self, model: Any, sample: dict[str, Any], reduce: bool = True) -> tuple[Tensor, int, dict[str, Any]]:
        """Loss summed over masked words, number of masked words, values to log."""
        logits, target = model(**sample["net_input"])["logits"], sample["target"]
        loss = mlm_loss(logits, target)
        # A rank that ran out of batches repeats one whose gradient is thrown away; its words count nowhere.
        counts = not sample.get("ignore_grad")
        words, rows = target.numel() * counts, sample["id"].numel() * counts
        log: dict[str, Any] = {
            "loss": loss.detach() * counts,
            f"accuracy{SUM}": (logits.argmax(dim=-1) == target).sum() * counts,
            f"accuracy{COUNT}": torch.full((), words, device=loss.device),
        }
        if not self.training:  # logged values travel through pickles there
            log = {key: value.item() for key, value in log.items()}
        log.update(sample_size=words, nsentences=rows, nsignals=rows, ntokens=sample["ntokens"] * counts)
        return loss, words, log

    @staticmethod
    def reduce_metrics(logging_outputs: list[dict[str, Any]], prefix: Optional[str] = None) -> None:
        LoggingCriterion.reduce_metrics(logging_outputs, prefix)
        host.metrics.log_derived("perplexity", _perplexity)


def _perplexity(meters: Any) -> float:
    return round(math.exp(min(float(meters["loss"].avg), LARGEST_LOSS)), 3)
