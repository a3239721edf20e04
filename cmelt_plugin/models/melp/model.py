"""MELP: multi-scale ECG–language pre-training (Wang, Xu, Yu 2025, arXiv 2506.21803).

::

    ecg  → ECG tower ──┬─ contrast pooler → beats ──┬────────────── local loss
                       │                            └─ mean → e ─── CLIP loss
                       └─ caption pooler → context ──────────────── caption loss
    text → text tower ─┬─ means of sentences' states ────────────── local loss
           (causal)    ├─ state of the summary → t ──────────────── CLIP loss
                       └─ states of tokens → captioner(context) ─── caption loss

The model returns a dictionary; the criterions read it by name and the model knows none of them.
"""

from __future__ import annotations

import hashlib
import json
import math
import operator
from collections.abc import Collection
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.text.tokenizer import load_tokenizer
from cmelt_plugin.errors import DataError
from cmelt_plugin.huggingface import config_of
from cmelt_plugin.losses.beats import FORMS, sentence_attention
from cmelt_plugin.models.base import MAX_WRITTEN_TOKENS, Embedding, TimeAttention
from cmelt_plugin.models.common.ecg_init import load_ecg_encoder
from cmelt_plugin.models.common.gaussian_outputs import gaussian_outputs, hidden_rows, split_hidden, with_hidden
from cmelt_plugin.models.common.text_tower import WithTextEncoder, is_loading, text_encoder_of
from cmelt_plugin.models.melp.captioner import CachedCaptioner, WholeCaptioner
from cmelt_plugin.models.melp.config import MELPConfig
from cmelt_plugin.models.melp.ecg_side import MELPEncoder, variances
from cmelt_plugin.models.melp.text_layout import NO_LABEL, TextLayout, TextSequence, text_tokens
from cmelt_plugin.modules.compiling import compile_in_training
from cmelt_plugin.modules.contrast import inverse_temperature, unit
from cmelt_plugin.modules.ecg.ecg_encoder import ECGEncoder
from cmelt_plugin.modules.pooling.learned_queries import AttentionalPooler
from cmelt_plugin.modules.text.causal_text_encoder import CausalTextEncoder
from cmelt_plugin.modules.text.decoding import beam_search, greedy
from cmelt_plugin.modules.text.multimodal_decoder import MultimodalDecoder

OBJECTIVES = ("clip", "caption", "local")
READERS = {
    "ecg_tower.contrast_pool": ("clip", "local"),
    "ecg_projection": ("clip", "local"),
    "caption_pool": ("caption",),
    "decoder": ("caption",),
    "text_projection": ("clip",),
    "log_logit_scale": ("clip",),
    "sentence_projection": ("local",),
    "log_beat_scale": ("local",),
}
"""Modules and weights that not every objective reads, and which do."""


class ReadText(NamedTuple):
    """What the text tower makes of texts.

    Attributes:
        sequence: the texts as it read them.
        states: ``[B, N, W]`` last states.
    """

    sequence: TextSequence
    states: Tensor


class MELP(WithTextEncoder, MELPEncoder):
    """The whole pre-training model. Build it with :meth:`build_model`."""

    text_encoder: CausalTextEncoder

    def __init__(self, cfg: MELPConfig, text_encoder: CausalTextEncoder, n_leads: int = len(LEADS)):
        super().__init__(cfg, n_leads, alone=False)
        if cfg.local_form not in (None, *FORMS):
            raise DataError(f"model.local_form must be one of {', '.join(FORMS)}, not {cfg.local_form!r}")
        width = text_encoder.dim
        self.layout = TextLayout(text_tokens(cfg, text_encoder.model.config), not text_encoder.is_t5, cfg.text_layout)
        self.caption_pool = AttentionalPooler(cfg.n_caption_queries, width, self.ecg_tower.dim, cfg.pool_heads)
        self.text_encoder = text_encoder
        self.text_projection = nn.Sequential(
            nn.Linear(width, cfg.projection_dim), nn.GELU(), nn.Linear(cfg.projection_dim, cfg.embed_dim)
        )
        self.sentence_projection = nn.Linear(width, cfg.embed_dim)
        self.decoder = MultimodalDecoder(
            width,
            cfg.decoder_layers,
            cfg.decoder_heads,
            text_encoder.vocab_size,
            cfg.decoder_dropout,
            recompute=cfg.checkpoint_activations,
        )
        self.uncertainty = variances(cfg, self.ecg_tower, width)
        self.log_logit_scale = nn.Parameter(torch.tensor(math.log(cfg.logit_scale_init)))
        beat_scale = torch.tensor(math.log(cfg.beat_scale_init))
        self.log_beat_scale = nn.Parameter(beat_scale, requires_grad=cfg.learn_beat_scale)
        if cfg.compile:
            self._compile()

    @classmethod
    def prepare_config(cls, cfg: Any) -> None:
        """Fill in what a checkpoint must hold to be opened without the text encoder's folder: its description, and which tokens
        stand at the ends of a text."""
        super().prepare_config(cfg)
        if None in (cfg.begin_token, cfg.end_token, cfg.summary_token):
            config = config_of(json.loads(cfg.text_encoder_config), "text_encoder_config")
            tokenizer = _tokenizer_of(cfg.text_encoder, config.vocab_size)
            cfg.begin_token, cfg.end_token, cfg.summary_token = text_tokens(cfg, config, tokenizer)

    @classmethod
    def build_model(cls, cfg: MELPConfig, task: Any = None) -> MELPEncoder:
        """The host's way to a model; ``task.loading_checkpoint`` spares the weights a checkpoint overwrites.

        Raises:
            DataError: settings that no model can be built of, or files of weights that cannot be read.
        """
        if cfg.ecg_only:
            if not is_loading(task):
                raise DataError("model.ecg_only=true is for published weights, which have no texts; it cannot be pre-trained")
            return MELPEncoder(cfg)
        free_layers = None if cfg.text_free_layers < 0 else cfg.text_free_layers
        options = {"free_layers": free_layers, "free_embeddings": cfg.text_free_embeddings}
        model = cls(cfg, text_encoder_of(cfg, task, CausalTextEncoder, **options))
        if cfg.ecg_encoder_init and not is_loading(task):
            if not isinstance(model.ecg_tower.encoder, ECGEncoder):
                raise DataError("model.ecg_encoder_init is for model.ecg_tower=wav2vec; a ResNet-18 has other weights")
            load_ecg_encoder(model.ecg_tower.encoder, cfg.ecg_encoder_init, partial=cfg.ecg_encoder_init_partial)
        return model

    def train_for(self, losses: Collection[str], settings: Any) -> dict[str, Any]:
        """As :meth:`cmelt_plugin.models.base.TrainedForLosses.train_for`: what no loss reads stays as it is."""
        if "local" in losses:
            self.cfg.local_form = settings.local
        idle = [name for name, readers in READERS.items() if not set(readers) & set(losses)]
        if self.uncertainty is not None and "uncertainty" not in losses:
            idle.append("uncertainty")
        if self.cfg.local_form == "gloria":
            idle.append("log_beat_scale")
        for name in idle:
            part = operator.attrgetter(name)(self)
            part.requires_grad_(False)
        return {"local_form": self.cfg.local_form}

    @property
    def logit_scale(self) -> Tensor:
        """Inverse temperature of the CLIP loss."""
        return inverse_temperature(self.log_logit_scale)

    def embed_text(self, text: Tensor, text_padding_mask: Tensor | None = None) -> Embedding:
        """``text [B, L]`` ids as tokenizers give them → ``[B, E]`` float32, unit norm; Gaussians as of :meth:`embed_ecg`."""
        return self._text_embedding(self._read(text, text_padding_mask))

    @property
    def text_is_cacheable(self) -> bool:
        """Whether :meth:`lower_text_states` of a text never change while the rest trains, and there is no padding in them."""
        return self.text_encoder.lower_is_constant and not self.layout.gaps

    @property
    def cached_tokens(self) -> int:
        """Places that the layout adds to a text's own."""
        return self.layout.shift + 1

    def cacheable_text(self, text: Tensor, text_padding_mask: Tensor | None = None) -> Tensor:
        """:meth:`lower_text_states`."""
        return self.lower_text_states(text, text_padding_mask)

    def text_fingerprint(self) -> str:
        """``sha256:…`` of what :meth:`lower_text_states` computes: weights below the layers that train, tokens at the ends."""
        tokens = self.layout.tokens
        ends = f"{self.text_encoder.lower_fingerprint()} begins with {tokens.begin}, summed up by {tokens.summary}"
        return "sha256:" + hashlib.sha256(ends.encode()).hexdigest()

    def lower_text_states(self, text: Tensor, text_padding_mask: Tensor | None = None) -> Tensor:
        """What the text tower's frozen layers make of texts, for :meth:`forward` to go on from.

        Args:
            text: ``[B, L]`` int64 ids.
            text_padding_mask: ``[B, L]`` bool, True = padding.

        Returns:
            ``[B, N, W]``: as many places as the tower reads, which are L and those that :attr:`layout` adds. A text's states do
            not depend on those it stands beside, and at padding they have no meaning.
        """
        sequence = self.layout.sequence(text, text_padding_mask)
        return self.text_encoder.lower(sequence.ids, sequence.padding_mask, self.layout.gaps)

    def forward(
        self,
        ecg: Tensor,
        text: Tensor,
        text_padding_mask: Tensor | None = None,
        n_samples: Tensor | None = None,
        lead_mask: Tensor | None = None,
        sentence_spans: Tensor | None = None,
        sentence_padding_mask: Tensor | None = None,
        text_states: Tensor | None = None,
        objectives: Collection[str] = OBJECTIVES,
        hidden_share: float = 0.0,
    ) -> dict[str, Any]:
        """
        Args:
            ecg: ``[B, 12, T]`` float32, mV.
            text: ``[B, L]`` int64 token ids as tokenizers give them, padded at the end.
            text_padding_mask: ``[B, L]`` bool, True = padding.
            n_samples: ``[B]`` real samples per record; None: none is padded.
            lead_mask: ``[B, 12]`` bool, True = a lead the encoder does not see; None: it sees all.
            sentence_spans: int64 ``[B, S, 2]``, first token and end of each sentence in ``text``, for ``local``.
            sentence_padding_mask: ``[B, S]`` bool, True = no sentence; None: all are.
            text_states: ``[B, N, W]`` of :meth:`lower_text_states`, in any precision, which then are not computed; places at
                the end that are padding in all texts may be missing.
            objectives: which outputs are wanted.
            hidden_share: share of the batch that a model with variances reads once more with leads hidden.

        Returns:
            For ``clip``: ``ecg_embedding``, ``text_embedding`` ``[B, E]`` float32, unit norm, and ``logit_scale``. For
            ``local``: ``beats [B, Q, E]`` and ``sentences [B, S, E]`` float32 of any norm, ``sentence_padding_mask [B, S]`` and
            ``beat_scale``. For ``caption``: ``caption_logits [B, N - 2, V]`` and ``caption_labels [B, N - 2]`` int64, −100
            where no token follows. With variances beside those of ``clip`` what
            :func:`cmelt_plugin.models.common.gaussian_outputs.gaussian_outputs` says.

        Raises:
            ValueError: ``local`` without sentences.
        """
        n_hidden = hidden_rows(self.uncertainty, hidden_share, len(ecg))
        states, hidden = split_hidden(self.ecg_tower(*with_hidden(ecg, n_hidden, n_samples, lead_mask)), n_hidden)
        read = self._read(text, text_padding_mask, text_states)
        out: dict[str, Any] = {}
        if "clip" in objectives or "local" in objectives:
            beats, ecg_embedding = self.read_beats(states)
        if "clip" in objectives:
            text_embedding = self._text_embedding(read)
            out["ecg_embedding"], out["text_embedding"] = ecg_embedding.mean, text_embedding.mean
            out["logit_scale"] = self.logit_scale
            if self.uncertainty is not None:
                fewer_leads = self.read_beats(hidden)[1] if n_hidden else None
                out.update(gaussian_outputs(self.uncertainty, ecg_embedding, text_embedding, fewer_leads))
        if "local" in objectives:
            if sentence_spans is None:
                raise ValueError("the objective local needs sentence_spans")
            out["beats"] = beats
            out["sentences"] = self._sentences(read, sentence_spans)
            none = torch.zeros_like(sentence_spans[..., 0], dtype=torch.bool)
            out["sentence_padding_mask"] = none if sentence_padding_mask is None else sentence_padding_mask
            out["beat_scale"] = inverse_temperature(self.log_beat_scale)
        if "caption" in objectives:
            context = self.caption_pool(*states)
            labels = self.layout.labels(read.sequence)
            out["caption_logits"] = self.decoder(read.states[:, :-2].to(context.dtype), context, labels == NO_LABEL)
            out["caption_labels"] = labels
        return out

    @torch.no_grad()
    def generate(
        self,
        ecg: Tensor,
        n_samples: Tensor | None = None,
        beams: int = 1,
        max_tokens: int = MAX_WRITTEN_TOKENS,
        use_cache: bool = True,
    ) -> list[list[int]]:
        """Reports of recordings, always without dropout.

        Args:
            ecg: ``[B, 12, T]`` float32, mV.
            n_samples: ``[B]`` real samples per record; None: none is padded.
            beams: texts written side by side, of which the likeliest is kept; 1: the likeliest token at each place.
            max_tokens: of a report.
            use_cache: keep what was read; False: read everything anew for each token, which gives the same.

        Returns:
            B lists of token ids, without those at the ends.
        """
        training = self.training
        self.eval()
        try:
            context = self.caption_pool(*self.ecg_tower(ecg, n_samples))
            step = (CachedCaptioner if use_cache else WholeCaptioner)(self.text_encoder, self.decoder, context)
            tokens, most = self.layout.tokens, self.text_encoder.max_tokens
            begin = torch.full((len(ecg),), tokens.begin, device=ecg.device)
            never = {tokens.begin, tokens.summary, *self.text_encoder.pad_tokens} - {tokens.end}
            max_tokens = max_tokens if most is None else min(max_tokens, most - 1)
            if beams == 1:
                return greedy(step, begin, tokens.end, max_tokens, never)
            return beam_search(step, begin, tokens.end, max_tokens, beams, never)
        finally:
            self.train(training)

    @torch.no_grad()
    def grounding(
        self,
        ecg: Tensor,
        text: Tensor,
        text_padding_mask: Tensor,
        sentence_spans: Tensor,
        sentence_padding_mask: Tensor,
        n_samples: Tensor | None = None,
    ) -> TimeAttention:
        """Where in time each sentence looks: at the beats as in the local loss, and through them where these look.

        Arguments as :meth:`cmelt_plugin.models.base.Grounding.grounding`. A model that does not know its loss's form (older
        checkpoints) is taken for ``beat`` if its temperature was learned.
        """
        states = self.ecg_tower(ecg, n_samples)
        queries = self.ecg_tower.contrast_pool.weights(*states)
        sentences = self._sentences(self._read(text, text_padding_mask), sentence_spans)
        form = self.cfg.local_form or ("beat" if self.cfg.learn_beat_scale else "gloria")
        scale = inverse_temperature(self.log_beat_scale)
        shares = sentence_attention(form, self.beats(states), sentences, sentence_padding_mask, scale)
        return TimeAttention(shares @ queries, queries, self.samples_per_token)

    def _sentences(self, read: ReadText, spans: Tensor) -> Tensor:
        """Means of the states of each sentence's tokens, projected: ``[B, S, E]`` float32, of any norm."""
        means = self.layout.span_means(read.states, spans, read.sequence)
        return self.sentence_projection(means.to(self.sentence_projection.weight.dtype)).float()

    def _read(self, text: Tensor, padding_mask: Tensor | None, lower: Tensor | None = None) -> ReadText:
        sequence = self.layout.sequence(text, padding_mask)
        if lower is not None:
            lower = F.pad(lower, (0, 0, 0, sequence.ids.shape[1] - lower.shape[1]))
        return ReadText(sequence, self.text_encoder(sequence.ids, sequence.padding_mask, self.layout.gaps, lower))

    def _text_embedding(self, read: ReadText) -> Embedding:
        rows = torch.arange(len(read.states), device=read.states.device)
        summary = read.states[rows, read.sequence.summary]
        mean = unit(self.text_projection(summary.to(cast(nn.Linear, self.text_projection[0]).weight.dtype)))
        return Embedding(mean, None if self.uncertainty is None else self.uncertainty.text(summary))

    def _compile(self) -> None:
        encoder = self.ecg_tower.encoder
        convolutions = [encoder.feature_extractor] if isinstance(encoder, ECGEncoder) else []
        ecg_layers = encoder.layers() if isinstance(encoder, ECGEncoder) else encoder.blocks()
        text_layers = self.text_encoder.causal_layers[self.text_encoder.n_frozen :]
        layers = (*convolutions, *ecg_layers, *text_layers, *self.decoder.self_layers, *self.decoder.cross_layers)
        compile_in_training(*layers, recomputed=self.cfg.checkpoint_activations)


def _tokenizer_of(text_encoder: str, vocab_size: int) -> Any | None:
    """The tokenizer beside a text encoder; None where there is none.

    Of a folder that holds none transformers 5 makes one that knows a handful of words.
    """
    try:
        tokenizer = load_tokenizer(text_encoder)
    except DataError:
        return None
    return tokenizer if vocab_size < 2 * len(tokenizer) <= 2 * vocab_size else None
