"""The wav2vec-style ECG encoder: convolutional feature extractor, CLS token, transformer (paper §3.1, Oh et al. 2022).

Parameter names are those of fairseq-signals' wav2vec 2.0 / CMSC models, so that their weights load as they are.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from cmelt_plugin.modules.ecg.amplitude import AmplitudeEmbedding
from cmelt_plugin.modules.ecg.conv_positions import ConvPositionalEncoding
from cmelt_plugin.modules.ecg.feature_extractor import FeatureExtractor, conv_steps
from cmelt_plugin.modules.masking import TokenMask, gather_tokens, mask_tokens
from cmelt_plugin.modules.pooling.tokens import ECG_POOLS, pool_ecg_states
from cmelt_plugin.modules.transformer import Encoder


class EncodedECG(NamedTuple):
    """Token states, CLS first where the encoder has one.

    Attributes:
        states: ``[B, 1 + K, D]``; K = places of visible tokens when masked, else all N; ``[B, K, D]`` without CLS.
        padding_mask: ``[B, 1 + K]`` bool, True = padding or, in a short record, a place without a visible token; None when
            no record is padded.
        mask: the token mask, or None.
        token_padding_mask: ``[B, N]`` for all tokens, or None.
        query: ``[B, D]``, state of the query that was given, or None.
    """

    states: Tensor
    padding_mask: Tensor | None
    mask: TokenMask | None
    token_padding_mask: Tensor | None
    query: Tensor | None = None


class ECGEncoder(nn.Module):
    """12-lead ECG → token states.

    Args:
        feature_extractor: the host's convolutional stack, ``[B, leads, T]`` → ``[B, C, N]``.
        conv_layers: its ``(channels, kernel, stride)``.
        dim, layers, heads, ffn_dim: transformer sizes.
        conv_pos, conv_pos_groups: kernel and groups of the convolutional position embedding.
        feature_grad_mult: factor on the gradient that reaches the convolutions; 0 freezes them.
        masked_tokens_in_positions: the position embedding of visible tokens sees the masked ones too (the authors' release),
            which lets a visible token tell of the signal hidden around it. Without it two numbers a channel remain, the
            statistics of group normalisation over the whole record, and what windows of convolutions that overlap share.
        recompute: keep no activations inside transformer layers (:func:`cmelt_plugin.modules.transformer.run_layer`).
        class_token: a learned token before all others; False: none, as in wav2vec 2.0.
        amplitude_window: samples of a window of :class:`cmelt_plugin.modules.ecg.amplitude.AmplitudeEmbedding`, which is added
            to all tokens, the class token among them, once they have their positions; 0: there is none.
    """

    class_embedding: nn.Parameter | None

    def __init__(
        self,
        feature_extractor: nn.Module,
        conv_layers: list[tuple[int, int, int]],
        dim: int = 768,
        layers: int = 8,
        heads: int = 12,
        ffn_dim: int = 3072,
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        conv_pos: int = 128,
        conv_pos_groups: int = 16,
        feature_grad_mult: float = 1.0,
        masked_tokens_in_positions: bool = True,
        recompute: bool = False,
        class_token: bool = True,
        amplitude_window: int = 0,
    ):
        super().__init__()
        self.conv_layers = list(conv_layers)
        self.feature_grad_mult = feature_grad_mult
        self.masked_tokens_in_positions = masked_tokens_in_positions
        channels = self.conv_layers[-1][0]
        # Frozen weights ask for no gradient, or data-parallel training would wait for it.
        self.feature_extractor = FeatureExtractor(feature_extractor, self.conv_layers).requires_grad_(feature_grad_mult != 0)
        self.layer_norm = nn.LayerNorm(channels)
        self.post_extract_proj = nn.Linear(channels, dim)
        self.dropout_input = nn.Dropout(dropout)
        self.conv_pos = ConvPositionalEncoding(dim, conv_pos, conv_pos_groups)
        self.class_embedding = nn.Parameter(torch.empty(dim).uniform_()) if class_token else None
        self.encoder = Encoder(layers, dim, heads, ffn_dim, dropout, attention_dropout, recompute=recompute)
        n_leads = self.feature_extractor.conv_layers[0][0].in_channels
        self.amplitude = AmplitudeEmbedding(n_leads, dim, amplitude_window) if amplitude_window else None

    @property
    def width(self) -> int:
        """D of the states and features."""
        return self.post_extract_proj.out_features

    def layers(self) -> list[nn.Module]:
        """Transformer layers from input to output."""
        return list(self.encoder.layers)

    @property
    def samples_per_token(self) -> int:
        """Stride of the convolutional stack in samples."""
        stride = 1
        for _, _, layer_stride in self.conv_layers:
            stride *= layer_stride
        return stride

    def n_tokens(self, n_samples: int) -> int:
        """Tokens that ``n_samples`` samples become."""
        for _, kernel, stride in self.conv_layers:
            n_samples = (n_samples - kernel) // stride + 1
        return max(n_samples, 0)

    def token_padding_mask(self, n_samples: Tensor, n_tokens: int) -> Tensor:
        """``n_samples [B]`` real samples → ``[B, N]`` bool, True = padding.

        A record has the tokens it would have were it cut to its real samples, at least one: a token at the border, which
        saw real samples and padding, is padding.
        """
        n_real = n_samples
        for _, kernel, stride in self.conv_layers:
            n_real = conv_steps(n_real, kernel, stride)
        return torch.arange(n_tokens, device=n_samples.device)[None, :] >= n_real.clamp(min=1)[:, None]

    def tokens(self, ecg: Tensor, n_samples: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """``ecg [B, leads, T]`` mV → ``[B, N, D]`` without positions, and which tokens are padding ``[B, N]``.

        The signal is rounded to the precision of the weights here and nowhere before. What stands beyond ``n_samples [B]``
        reaches no real token, and a record has the tokens it would have were it cut there.

        Raises:
            TypeError: integers, which are not mV (:func:`cmelt_plugin.data.millivolts.to_mv` makes mV of them).
        """
        if not ecg.is_floating_point():
            raise TypeError(f"an ECG in mV must be of floating-point numbers, not {ecg.dtype}")
        ecg = ecg.to(self.post_extract_proj.weight.dtype)
        if n_samples is not None:
            real = torch.arange(ecg.shape[-1], device=ecg.device)[None, :] < n_samples[:, None]
            ecg = ecg.masked_fill(~real.unsqueeze(1), 0.0)
        features = self.feature_extractor(ecg, n_samples)
        if self.feature_grad_mult != 1.0 and features.requires_grad:
            features.register_hook(lambda gradient: gradient * self.feature_grad_mult)
        x = self.dropout_input(self.post_extract_proj(self.layer_norm(features.transpose(1, 2))))
        if n_samples is None:
            return x, None
        padding = self.token_padding_mask(n_samples, x.shape[1])
        return x.masked_fill(padding.unsqueeze(-1), 0.0), padding

    def embed(self, ecg: Tensor, n_samples: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """:meth:`tokens` with positions, nothing masked and nothing of amplitudes added."""
        x, padding = self.tokens(ecg, n_samples)
        return x + self.conv_pos(x), padding

    def features(self, ecg: Tensor, n_samples: Tensor | None = None, pool: str = ECG_POOLS[0]) -> Tensor:
        """``ecg [B, leads, T]`` mV → pooled states ``[B, D]``, nothing masked, of an encoder with a class token.

        ``pool`` is one of :data:`ECG_POOLS`.
        """
        encoded = self(ecg, n_samples)
        return pool_ecg_states(encoded.states, encoded.padding_mask, pool)

    def forward(
        self,
        ecg: Tensor,
        n_samples: Tensor | None = None,
        mask_noise: Tensor | None = None,
        mask_ratio: float = 0.0,
        query: Tensor | None = None,
    ) -> EncodedECG:
        """
        Args:
            ecg: ``[B, leads, T]`` mV, padded at the end.
            n_samples: ``[B]`` real samples per record; None: no record is padded.
            mask_noise: ``[B, N]`` random integers that decide which tokens are dropped; None: none is.
            mask_ratio: share of its real tokens that each record loses.
            query: ``[D]``, one more token that reads the others in all layers and is read by none; None: there is none.
        """
        x, padding = self.tokens(ecg, n_samples)
        if mask_noise is None:
            mask, visible_padding = None, padding
            x = x + self.conv_pos(x)
        else:
            mask = mask_tokens(mask_noise, mask_ratio, padding)
            visible_padding = mask.unused
            seen = x if self.masked_tokens_in_positions else x.masked_fill(mask.dropped.unsqueeze(-1), 0.0)
            x = gather_tokens(x + self.conv_pos(seen), mask.keep_ids)
        if self.class_embedding is not None:
            cls = self.class_embedding.to(x.dtype).expand(x.shape[0], 1, -1)
            x = torch.cat([cls, x], dim=1)
            if visible_padding is not None:
                visible_padding = torch.cat([visible_padding.new_zeros(x.shape[0], 1), visible_padding], dim=1)
        if self.amplitude is not None:
            x = x + self.amplitude(ecg, n_samples).unsqueeze(1)
        if query is None:
            return EncodedECG(self.encoder(x, visible_padding), visible_padding, mask, padding)
        unseen = x.new_zeros(x.shape[:2], dtype=torch.bool) if visible_padding is None else visible_padding
        unseen = torch.cat([unseen, unseen.new_ones(x.shape[0], 1)], dim=1)
        states = self.encoder(torch.cat([x, query.to(x.dtype).expand(x.shape[0], 1, -1)], dim=1), unseen)
        return EncodedECG(states[:, :-1], visible_padding, mask, padding, states[:, -1])
