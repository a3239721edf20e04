"""The four losses of C-MELT computed the way of the authors' release, from the parameters of a model of ours.

Kept ECG tokens go through the encoder, as in ours; attention matrices of text encoder and fusion are written out, T5's GELU is
six operations, vocabulary logits are computed at every word, every logged number is read from the device by itself, and padded
words are computed like others. The release has no training loop.

The parameters are shared, by name, so that both ways can be timed on the same weights and must give the same loss. What is
computed is ours where the release computes something else (the target of masked ECG modelling, one logit of matching, padding
that is not attended to); how it is computed is the release's, which costs the same there.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.harness.profiling import part
from benchmarks.naive.attention import Mode, Weights
from benchmarks.naive.ecg_encoder import encode_ecg
from benchmarks.naive.text_encoder import encode_text
from benchmarks.systems.cmelt.heads import fuse, pool, reconstruct, vocabulary_logits
from cmelt_plugin.modules.ecg.conv_layers import parse_conv_layers

IGNORE = -100


class NaiveCMELT:
    """Another way through the same weights.

    Args:
        model: a ``cmelt_plugin.models.cmelt.model.CMELT`` with a T5 text encoder.
        mode: see :class:`benchmarks.naive.attention.Mode`; None: naive in everything.

    Attributes:
        log: numbers of the last batch, each read from the device by itself: ``loss``, the four losses, right answers and
            questions of MLM and ETM.

    Raises:
        ValueError: another text encoder than T5 with gated GELU.
    """

    def __init__(self, model: nn.Module, mode: Mode | None = None) -> None:
        self.model, self.mode, self.cfg = model, mode or Mode(), model.cfg
        self.sizes = json.loads(model.cfg.text_encoder_config)
        if self.sizes["model_type"] != "t5" or self.sizes.get("feed_forward_proj") != "gated-gelu":
            raise ValueError("the naive model knows T5 encoders with gated GELU only")
        self.conv_layers = parse_conv_layers(model.cfg.conv_feature_layers)
        self.log: dict[str, float] = {}

    def losses(self, sample: dict[str, Any]) -> dict[str, Tensor]:
        """``mlm, mem, etm, siglep``, each per row of the batch, and their sum ``loss``.

        Args:
            sample: a training batch of ``PretrainingDataset`` without padded records.
        """
        cfg, mode, inputs = self.cfg, self.mode, sample["net_input"]
        weights = Weights(dict(self.model.named_parameters()))
        text_padding = inputs["text_padding_mask"]
        ecg = inputs["ecg"] * (~inputs["lead_mask"]).to(inputs["ecg"].dtype)[..., None]
        with part("ecg_encoder"):
            encoded = encode_ecg(weights.below("ecg_encoder"), cfg, self.conv_layers, ecg, inputs["mem_noise"], mode)
        with part("text_encoder"):
            text_states = encode_text(weights.below("text_encoder.model"), self.sizes, inputs["text"], text_padding, mode)
        ecg_vector = pool(weights.below("ecg_projection"), encoded.states, None, "first")
        text_vector = pool(weights.below("text_projection"), text_states, text_padding, cfg.text_pool)
        with part("fusion"):
            text, fused_ecg, for_mem = fuse(weights.below("fusion"), cfg, text_states, encoded.states, text_padding, mode)
        with part("mem_head"):
            prediction = reconstruct(weights.below("mem_head"), cfg, for_mem, encoded)

        words, word_target = self._words(weights.below("mlm_head"), text, sample)
        losses = {
            "mlm": F.cross_entropy(words.float(), word_target, ignore_index=IGNORE),
            "mem": self._mem(prediction, encoded.dropped, sample),
        }
        pooled = [
            pool(weights.below("fused_text_pooler"), text, text_padding, cfg.text_pool),
            pool(weights.below("fused_ecg_pooler"), fused_ecg, None, "first"),
        ]
        matching = weights.below("etm_head").linear("dense", torch.cat(pooled, dim=-1)).squeeze(-1)
        losses["etm"] = F.binary_cross_entropy_with_logits(matching.float(), sample["aligned"].float())
        losses["siglep"] = self._siglep(ecg_vector.float(), text_vector.float(), sample)
        losses["loss"] = torch.stack(list(losses.values())).sum()
        with torch.no_grad():
            masked = word_target != IGNORE
            self.log = {name: value.item() for name, value in losses.items()}
            self.log["mlm_correct"] = (words.argmax(-1) == word_target)[masked].sum().item()
            self.log["mlm_count"] = masked.sum().item()
            self.log["etm_correct"] = ((matching > 0) == sample["aligned"]).sum().item()
            self.log["etm_count"] = matching.numel()
        return losses

    def _words(self, weights: Weights, states: Tensor, sample: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Vocabulary logits of positions ``[P, V]`` and their words ``[P]``, :data:`IGNORE` where none was masked."""
        mask = sample["net_input"]["mlm_mask"]
        with part("mlm_head"):
            if not self.mode.full_vocabulary:
                return vocabulary_logits(weights, states[mask]), sample["mlm_target"]
            target = torch.full(mask.shape, IGNORE, device=mask.device)
            target[mask] = sample["mlm_target"]
            return vocabulary_logits(weights, states).flatten(0, 1), target.flatten()

    def _mem(self, prediction: Tensor, dropped: Tensor, sample: dict[str, Any]) -> Tensor:
        """Mean squared error over dropped tokens; the target is the original signal, standardised per lead."""
        ecg = sample["net_input"]["ecg"].float()
        rows, n_tokens, values = prediction.shape
        samples = values // ecg.shape[1]
        used = ecg[..., : n_tokens * samples]
        used = (used - used.mean(dim=-1, keepdim=True)) / torch.sqrt(used.var(dim=-1, keepdim=True) + 1e-6)
        target = used.reshape(rows, -1, n_tokens, samples).permute(0, 2, 1, 3).reshape(rows, n_tokens, values)
        error = (prediction.float() - target) ** 2
        return (error.mean(dim=-1) * dropped).sum() / dropped.sum()

    def _siglep(self, ecg: Tensor, text: Tensor, sample: dict[str, Any]) -> Tensor:
        """Sigmoid loss over all pairs; a foreign text that reads as the ECG's own report does not count."""
        if self.cfg.normalise_embeddings:
            ecg, text = F.normalize(ecg, dim=-1), F.normalize(text, dim=-1)
        logits = self.model.log_logit_scale.float().exp() * (ecg @ text.T) + self.model.logit_bias.float()
        own = torch.eye(len(ecg), dtype=torch.bool, device=ecg.device)
        same = sample["report_id"][:, None] == sample["text_report_id"][None, :]
        label = torch.where(own & sample["aligned"][:, None], 1.0, -1.0)
        counted = (own | ~same).float()
        return (F.softplus(-label * logits) * counted).sum() / len(ecg)
