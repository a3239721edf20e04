"""The three losses of MELP computed the way of the authors' release, from the parameters of a model of ours.

Texts are padded to 128 tokens and all of them computed; the text tower is a language model, whose vocabulary logits are
computed at every place and thrown away; its lower layers are frozen, but not the embeddings below them, so that the gradient
runs through all layers; the captioner foretells the word at all 126 places; sentences are averaged, and reports compared with
the ECGs, one after the other. Attention is PyTorch's fused one everywhere, as in the release: its Hugging Face (4.47) gives a
BERT scaled_dot_product_attention, with a mask to be added, and fairseq-signals and ``nn.MultiheadAttention`` come to the same
function where they return no weights. The release also trains under autograd's anomaly detection, which is left out here.

The parameters are shared, by name, so that both ways can be timed on the same weights and must give the same loss. What is
computed is ours where the release computes something else (where the token stands that sums up a text, sentences, which are the
report's statements, records in mV); how it is computed is the release's, which costs the same there.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.harness.profiling import part
from benchmarks.naive.attention import Weights
from benchmarks.naive.bert import encode_texts
from benchmarks.naive.ecg_encoder import embed_ecg, run_layers
from benchmarks.systems.melp.beats import local_loss, sentence_means
from benchmarks.systems.melp.captioner import caption_logits, pool
from benchmarks.systems.melp.language_head import LanguageHead
from cmelt_plugin.losses import beats as ours
from cmelt_plugin.models.melp.text_layout import RELEASED_LENGTH
from cmelt_plugin.modules.contrast import inverse_temperature
from cmelt_plugin.modules.ecg.conv_layers import parse_conv_layers

PAD = 0
WEIGHTS = {"clip": 1.0, "caption": 2.0, "local": 0.2}


class Mode(NamedTuple):
    """How the naive model computes; the defaults are the way of the authors' release in everything.

    Attributes:
        dropout: as configured; False: none, for comparing losses.
        fixed_length: texts of 128 tokens, not as long as the longest.
        language_head: vocabulary logits of the text tower, which nobody reads.
        trained_embeddings: the embeddings below the frozen layers of the text tower train.
        text_by_text: the local loss by a loop over reports, not by matrix products for all at once.
    """

    dropout: bool = True
    fixed_length: bool = True
    language_head: bool = True
    trained_embeddings: bool = True
    text_by_text: bool = True


class NaiveMELP:
    """Another way through the same weights.

    Args:
        model: a ``cmelt_plugin.models.melp.model.MELP`` with the wav2vec tower and a BERT, ``text_layout=dynamic``.
        mode: None: naive in everything.

    Raises:
        ValueError: another model than that.
    """

    def __init__(self, model: Any, mode: Mode | None = None) -> None:
        self.model, self.mode, self.cfg = model, mode or Mode(), model.cfg
        self.sizes = json.loads(model.cfg.text_encoder_config)
        known = {"ecg_tower": "wav2vec", "normalisation": "none", "text_layout": "dynamic", "decoder_dropout": 0.0}
        if self.sizes["model_type"] != "bert" or any(getattr(self.cfg, name) != value for name, value in known.items()):
            raise ValueError(f"the naive model knows BERT and {known} only")
        self.conv_layers = parse_conv_layers(model.cfg.conv_feature_layers)
        self.head = LanguageHead(model.text_encoder.dim, model.vocab_size).to(next(model.parameters()).device)

    def losses(self, sample: dict[str, Any]) -> dict[str, Tensor]:
        """``clip, caption, local``, each per row of the batch, and their weighted sum ``loss``.

        Args:
            sample: a training batch of ``PretrainingDataset`` without padded records.

        Raises:
            FloatingPointError: the loss is not a number.
        """
        cfg, mode, inputs = self.cfg, self.mode, sample["net_input"]
        if mode.trained_embeddings:
            self._embeddings().requires_grad_(True)
        weights = Weights(dict(self.model.named_parameters()))
        dropout, attention_dropout = (cfg.dropout, cfg.attention_dropout) if mode.dropout else (0.0, 0.0)
        tower = weights.below("ecg_tower")
        with part("ecg_tower"):
            ecg = inputs["ecg"] * (~inputs["lead_mask"]).to(inputs["ecg"].dtype)[..., None]
            encoder = tower.below("encoder")
            x = embed_ecg(encoder, cfg, self.conv_layers, ecg, dropout, cfg.feature_grad_mult)
            states = run_layers(encoder.below("encoder"), cfg, x, dropout, attention_dropout)
        beats = weights.linear("ecg_projection", pool(tower.below("contrast_pool"), states, cfg.pool_heads))
        with part("caption_pool"):
            context = pool(weights.below("caption_pool"), states, cfg.pool_heads)
        ids, n_text = self._sequences(inputs["text"], inputs["text_padding_mask"])
        with part("text_encoder"):
            n_constant = 0 if mode.trained_embeddings else self.model.text_encoder.n_frozen
            bert = weights.below("text_encoder.model")
            texts = encode_texts(bert, self.sizes, ids, ids == PAD, mode.dropout, n_constant, causal=True)
            if mode.language_head:
                self.head(texts, bert["embeddings.word_embeddings.weight"])
        with part("decoder"):
            logits = caption_logits(weights.below("decoder"), cfg, texts[:, :-2], context)
        losses = {
            "clip": self._clip(weights, beats, texts[torch.arange(len(texts), device=texts.device), n_text]),
            "caption": self._caption(logits, ids, n_text),
            "local": self._local(weights, beats, texts, ids, inputs),
        }
        losses["loss"] = torch.stack([weight * losses[name] for name, weight in WEIGHTS.items()]).sum()
        if torch.isnan(losses["loss"]):
            raise FloatingPointError("the loss is not a number")
        return losses

    def _embeddings(self) -> nn.Module:
        return self.model.text_encoder.model.embeddings

    def _sequences(self, text: Tensor, padding_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Ids as the text tower reads them ``[B, 128]``, and how many stand before the token that sums up ``[B]``."""
        tokens, n_text = self.model.layout.tokens, (~padding_mask).sum(dim=1)
        length = RELEASED_LENGTH if self.mode.fixed_length else text.shape[1] + 1
        ids = F.pad(text.masked_fill(padding_mask, PAD), (0, length - text.shape[1]), value=PAD)
        ids[:, 0] = tokens.begin
        return ids.scatter(1, n_text[:, None], tokens.summary), n_text

    def _clip(self, weights: Weights, beats: Tensor, summary: Tensor) -> Tensor:
        """InfoNCE of ECGs and reports, mean of both ways; identical reports are negatives."""
        hidden = F.gelu(weights.linear("text_projection.0", summary))
        ecg = F.normalize(beats.mean(dim=1).float(), dim=-1)
        text = F.normalize(weights.linear("text_projection.2", hidden).float(), dim=-1)
        scale, own = inverse_temperature(weights["log_logit_scale"]), torch.arange(len(ecg), device=ecg.device)
        return (F.cross_entropy(scale * ecg @ text.T, own) + F.cross_entropy(scale * text @ ecg.T, own)) / 2

    def _caption(self, logits: Tensor, ids: Tensor, n_text: Tensor) -> Tensor:
        """Cross-entropy of the next word, of every place but those behind which padding stands."""
        place = torch.arange(ids.shape[1], device=ids.device)
        labels = ids.masked_fill(place >= n_text[:, None], PAD)[:, 1:-1]
        return F.cross_entropy(logits.float().permute(0, 2, 1), labels, ignore_index=PAD)

    def _local(self, weights: Weights, beats: Tensor, states: Tensor, ids: Tensor, inputs: dict[str, Any]) -> Tensor:
        spans, padding = inputs["sentence_spans"], inputs["sentence_padding_mask"]
        texts = [
            weights.linear("sentence_projection", means).float() for means in sentence_means(states, ids, spans, padding, PAD)
        ]
        if self.mode.text_by_text:
            return local_loss(beats.float(), texts)
        sentences = nn.utils.rnn.pad_sequence(texts, batch_first=True)
        logits = ours.gloria_similarity(beats.float(), sentences, padding)
        own = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
