"""The reconstruction and matching heads (paper §3.1, decoders and loss functions)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmelt_plugin.modules.ecg.conv_positions import ConvPositionalEncoding
from cmelt_plugin.modules.masking import TokenMask
from cmelt_plugin.modules.transformer import BERT_NORM_EPSILON, Encoder, init_bert_weights, sinusoidal_positions


class MLMHead(nn.Module):
    """Dense → GELU → LayerNorm → vocabulary. Called on the masked positions alone: the vocabulary is the cost."""

    def __init__(self, dim: int, vocab_size: int):
        super().__init__()
        self.dense = nn.Linear(dim, dim)
        self.layer_norm = nn.LayerNorm(dim, BERT_NORM_EPSILON)
        self.decoder = nn.Linear(dim, vocab_size)
        self.apply(init_bert_weights)

    def forward(self, states: Tensor) -> Tensor:
        """``[..., D]`` → logits ``[..., V]``."""
        return self.decoder(self.layer_norm(F.gelu(self.dense(states))))


class MEMHead(nn.Module):
    """Mask tokens in the dropped places, a small transformer, and the samples of each token.

    Args:
        dim: width of the fused ECG states.
        n_tokens: tokens of a whole record (312 for 5,000 samples).
        out_dim: values per token = samples per token × leads (16 × 12 = 192), lead-major.
        decoder_dim, layers, heads: sizes of the decoder.
        activation: of its feed-forward layers, a key of :data:`cmelt_plugin.modules.transformer.ACTIVATIONS`.
        recompute: keep no activations inside its layers (:func:`cmelt_plugin.modules.transformer.run_layer`).
        conv_pos, conv_pos_groups: kernel in tokens and groups of a convolutional position embedding, added once the mask
            tokens are in place; 0: none (the authors' release). With absolute positions alone the decoder takes long to find
            the neighbours of a hidden token, which say most about it, and the error stays that of the mean.
        zero_output: the last layer begins at zero. At random it adds to the error, which an encoder reduces soonest by making
            all tokens alike; a deep one does not recover from that.
    """

    positions: Tensor

    def __init__(
        self,
        dim: int,
        n_tokens: int,
        out_dim: int,
        decoder_dim: int = 384,
        layers: int = 4,
        heads: int = 6,
        activation: str = "gelu",
        recompute: bool = False,
        conv_pos: int = 0,
        conv_pos_groups: int = 1,
        zero_output: bool = False,
    ):
        super().__init__()
        self.embed = nn.Linear(dim, decoder_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_dim))
        nn.init.normal_(self.mask_token, std=0.02)
        self.register_buffer("positions", sinusoidal_positions(1 + n_tokens, decoder_dim), persistent=False)
        self.decoder = Encoder(
            layers,
            decoder_dim,
            heads,
            4 * decoder_dim,
            dropout=0.0,
            attention_dropout=0.0,
            norm_first=True,
            activation=activation,
            recompute=recompute,
        )
        self.predict = nn.Linear(decoder_dim, out_dim)
        # As in MAE: N(0, 0.02²) is too small for narrow decoders, whose input would then be positions alone.
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        if zero_output:
            nn.init.zeros_(self.predict.weight)
        self.conv_pos = ConvPositionalEncoding(decoder_dim, conv_pos, conv_pos_groups) if conv_pos else None

    def forward(self, states: Tensor, mask: TokenMask | None, padding_mask: Tensor | None = None) -> Tensor:
        """
        Args:
            states: ``[B, 1 + K, D]``, CLS first, visible tokens in the mask's order.
            mask: the token mask; None: all tokens are visible and in order.
            padding_mask: ``[B, N]`` of all tokens, True = padding.

        Returns:
            ``[B, N, out_dim]``.
        """
        x = self.embed(states)
        cls, tokens = x[:, :1], x[:, 1:]
        if mask is not None:
            n_dropped = mask.restore_ids.shape[1] - tokens.shape[1]
            fill = self.mask_token.to(x.dtype).expand(len(x), n_dropped, -1)
            if mask.unused is not None:  # there stand hidden tokens
                tokens = torch.where(mask.unused.unsqueeze(-1), self.mask_token.to(x.dtype), tokens)
            ids = mask.restore_ids.unsqueeze(-1).expand(-1, -1, x.shape[-1])
            tokens = torch.cat([tokens, fill], dim=1).gather(1, ids)
        if self.conv_pos is not None:
            seen = tokens if padding_mask is None else tokens.masked_fill(padding_mask.unsqueeze(-1), 0.0)
            tokens = tokens + self.conv_pos(seen)
        x = torch.cat([cls, tokens], dim=1)
        x = x + self.positions[: x.shape[1]].to(x.dtype)
        if padding_mask is not None:
            padding_mask = torch.cat([padding_mask.new_zeros(len(x), 1), padding_mask], dim=1)
        return self.predict(self.decoder(x, padding_mask)[:, 1:])


class ETMHead(nn.Module):
    """One dense layer on the pooled text ⊕ pooled ECG → one logit (paper §3.1, ETM)."""

    def __init__(self, dim: int):
        super().__init__()
        self.dense = nn.Linear(2 * dim, 1)
        init_bert_weights(self.dense)

    def forward(self, text: Tensor, ecg: Tensor) -> Tensor:
        """``[B, D]``, ``[B, D]`` → logits ``[B]``; > 0 means "this text belongs to this ECG"."""
        return self.dense(torch.cat([text, ecg], dim=-1)).squeeze(-1)
