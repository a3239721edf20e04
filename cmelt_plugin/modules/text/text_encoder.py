"""Any Hugging Face text encoder (Flan-T5, BERT, MedCPT, DeBERTa) behind one interface.

``from_pretrained(name or local folder)`` is the only way weights come in. The architecture is kept as the JSON of the
Hugging Face configuration, so that a checkpoint can be opened where that folder does not exist.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmelt_plugin.errors import DataError
from cmelt_plugin.huggingface import (
    check_code,
    check_numbers,
    config_of,
    first_line,
    import_transformers,
    load_config,
    load_model,
)
from cmelt_plugin.modules.compiling import stacked_layers
from cmelt_plugin.modules.pooling.tokens import masked_mean
from cmelt_plugin.modules.text.plain_t5 import SIZES, PlainT5, is_plain
from cmelt_plugin.modules.text.real_tokens import RealTokenLinears
from cmelt_plugin.modules.text.t5_range import widen_t5_range

SOURCE = "text_encoder_config"
# Encoder-decoder families of which only the encoder is wanted.
_T5_FAMILY = ("t5", "mt5", "umt5")
# Families whose every layer reads one and the same mask, which transformers 5 takes ready-made.
_ONE_MASK = (*_T5_FAMILY, "bert")
TEXT_POOLS = ("first", "mean", "pooler")
# Entries of a configuration that change nothing of what the encoder computes.
_NO_MATTER = ("transformers_version", "_name_or_path", "architectures", "dtype", "torch_dtype")


def _encoder_class(model_type: str) -> Any:
    transformers = import_transformers()

    return transformers.T5EncoderModel if model_type in _T5_FAMILY else transformers.AutoModel


def describe_text_encoder(name_or_folder: str) -> str:
    """The Hugging Face configuration of a text encoder as a JSON string.

    Raises:
        DataError: neither a model name nor a folder with a configuration.
    """
    try:
        config = load_config(name_or_folder)
    except DataError as error:
        raise DataError(
            f"text encoder {name_or_folder!r} cannot be opened: {error}\n"
            "Give a Hugging Face model name or a folder written by preprocess/tokenizer.py (model.text_encoder=…)."
        ) from None
    return json.dumps({"model_type": config.model_type, **config.to_diff_dict()}, sort_keys=True)


def described_config(description: str) -> Any:
    """The Hugging Face configuration of the JSON from :func:`describe_text_encoder`.

    Raises:
        DataError: it is none.
    """
    return config_of(_values(description), SOURCE)


def _values(description: str) -> Any:
    try:
        return json.loads(description)
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(f"{SOURCE}: not JSON ({first_line(error)})") from None


def _plain_values(description: str) -> dict[str, Any] | None:
    """The values of a description where an encoder of ours computes the same as transformers'; else None.

    Raises:
        DataError: it would bring code along or exhaust memory.
    """
    values = _values(description)
    if not isinstance(values, dict) or not is_plain(values):
        return None
    check_code(values, SOURCE)
    check_numbers(values, SOURCE)
    return {**SIZES, **values}


class TextEncoder(nn.Module):
    """Token ids → last hidden states, or one vector a text (:meth:`pool`).

    Args:
        description: JSON from :func:`describe_text_encoder`.
        pretrained: name or folder to take the weights from; None: random weights (a checkpoint will fill them).
        pooler: keep BERT's pooler (a linear layer and tanh on the first state), for ``pool="pooler"``.
        serving: the encoder will not train: take our own (:mod:`.plain_t5`) where there is one, which needs no transformers.

    Attributes:
        free_layers: how many of the last layers train (:meth:`freeze`); None: the whole encoder.

    Raises:
        DataError: the weights cannot be read or do not cover the encoder, or it has no pooler to keep.
    """

    def __init__(self, description: str, pretrained: str | None = None, pooler: bool = False, serving: bool = False):
        super().__init__()
        self._description = description
        plain = _plain_values(description) if serving and pretrained is None and not pooler else None
        config = described_config(description) if plain is None else SimpleNamespace(**plain)
        encoder_class: Any = PlainT5 if plain is not None else _encoder_class(config.model_type)
        self.model: Any
        if plain is not None:
            self.model = PlainT5(plain)
        elif pretrained is None:
            # AutoModel is a factory, the others are models.
            if hasattr(encoder_class, "from_config"):
                self.model = encoder_class.from_config(config, trust_remote_code=False)
            else:
                self.model = encoder_class(config)
        else:
            try:
                self.model, info = load_model(encoder_class, pretrained, output_loading_info=True)
            except DataError as error:
                raise DataError(f"{pretrained}: the weights of the text encoder cannot be loaded: {error}") from None
            missing = sorted(key for key in info["missing_keys"] if pooler or "pooler" not in key)
            if missing or info.get("mismatched_keys"):
                raise DataError(
                    f"{pretrained}: these weights of the text encoder are missing or of another size: "
                    f"{missing + list(info.get('mismatched_keys', []))}"
                )
        if pooler and getattr(self.model, "pooler", None) is None:
            raise DataError(f"a {config.model_type} text encoder has no pooler; pool its states: first or mean")
        if not pooler and getattr(self.model, "pooler", None) is not None:
            self.model.pooler = None  # a pooler nobody reads would stay without gradient
        self.model.float().train()  # folders may hold half precision; a host that wants it casts the whole model
        self.model_type = config.model_type
        if self.model_type in _T5_FAMILY:
            widen_t5_range(self.model)
        self.dim = int(getattr(config, "d_model", None) or config.hidden_size)
        self.vocab_size = int(config.vocab_size)
        self.free_layers: int | None = None
        self._linears = RealTokenLinears(self.model, self.dim)

    def forward(self, text: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """``text [B, L]`` int64 ids, ``padding_mask [B, L]`` True = padding → ``[B, L, D]``, at padding of no meaning."""
        return self._run(text, padding_mask).last_hidden_state

    def with_query(self, text: Tensor, padding_mask: Tensor | None, query: Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`forward`, and the state of one more token, which reads the others in all layers and is read by none.

        It stands behind the last token of each text.

        Args:
            text, padding_mask: as :meth:`forward`.
            query: ``[D]``, its embedding.

        Returns:
            ``[B, L, D]``, at padding of no meaning, and ``[B, D]``.

        Raises:
            DataError: texts are too long for one more token, or masks of the encoder's family keep padding from reading.
        """
        if self.model_type not in _ONE_MASK:
            raise DataError(
                f"model.uncertainty=prolip: a {self.model_type} text encoder takes no uncertainty token; take one of "
                f"{', '.join(_ONE_MASK)}, or model.uncertainty=pcmepp"
            )
        most = getattr(self.model.config, "max_position_embeddings", None) if self.model_type == "bert" else None
        if most is not None and text.shape[1] >= most:
            raise DataError(f"texts of {text.shape[1]} tokens leave no place for one more: set task.max_text_tokens={most - 1}")
        end = torch.full_like(text[:, :1], text.shape[1]) if padding_mask is None else (~padding_mask).sum(1, keepdim=True)
        place = torch.arange(text.shape[1] + 1, device=text.device)
        embedded = self.model.get_input_embeddings()(F.pad(text, (0, 1)))
        embedded = torch.where((place == end).unsqueeze(2), query.to(embedded.dtype), embedded)
        with torch.no_grad() if self.free_layers == 0 else nullcontext(), self._linears.padded(place > end):
            out = self.model(inputs_embeds=embedded, attention_mask=self.attention_mask(place >= end))
        states = out.last_hidden_state
        return states[:, :-1], states.gather(1, end.unsqueeze(2).expand(-1, -1, states.shape[2]))[:, 0]

    def pool(self, text: Tensor, padding_mask: Tensor | None, pool: str) -> Tensor:
        """One vector a text: ``text [B, L]`` → ``[B, D]``.

        Args:
            text, padding_mask: as :meth:`forward`.
            pool: ``first`` (the last state of the first token, BERT's [CLS]), ``mean`` (of the last states of real tokens) or
                ``pooler`` (BERT's pooler, for an encoder built with it).

        Raises:
            ValueError: another ``pool``.
        """
        if pool not in TEXT_POOLS:
            raise ValueError(f"pool must be one of {', '.join(TEXT_POOLS)}, not {pool!r}")
        out = self._run(text, padding_mask)
        if pool == "pooler":
            return out.pooler_output
        return out.last_hidden_state[:, 0] if pool == "first" else masked_mean(out.last_hidden_state, padding_mask)

    def freeze(self, free_layers: int = 0) -> None:
        """Let the last ``free_layers`` layers (and the pooler) train and nothing else; 0: nothing at all.

        What is frozen asks for no gradient and stays in evaluation mode, without dropout, also while the model trains.

        Raises:
            DataError: more layers than there are.
        """
        n_layers = len(list(stacked_layers(self.model)))
        if not 0 <= free_layers <= n_layers:
            raise DataError(f"{free_layers} free layers of a text encoder that has {n_layers}")
        self.free_layers = free_layers
        self.requires_grad_(False)
        for module in self._free_modules():
            module.requires_grad_(True)
        self.train(self.training)

    def _free_modules(self) -> list[nn.Module]:
        if not self.free_layers:
            return []
        pooler = getattr(self.model, "pooler", None)
        return [*list(stacked_layers(self.model))[-self.free_layers :], *([] if pooler is None else [pooler])]

    def train(self, mode: bool = True) -> TextEncoder:
        super().train(mode)
        if self.free_layers is not None:
            self.model.eval()
            for module in self._free_modules():
                module.train(mode)
        return self

    def fingerprint(self, parts: Sequence[nn.Module] | None = None) -> str:
        """``sha256:`` of architecture and weights: the same for the same function of token ids.

        Args:
            parts: the modules whose weights count; None: all of them.
        """
        model = self.model
        if isinstance(model, PlainT5):
            with torch.device("meta"):  # transformers' class changes its configuration
                model = _encoder_class(self.model_type)(described_config(self._description))
        config = {key: value for key, value in model.config.to_diff_dict().items() if key not in _NO_MATTER}
        digest = hashlib.sha256(json.dumps([self.model_type, config], sort_keys=True, default=str).encode())
        counting = tuple(
            f"{name}." for name, module in self.model.named_modules() if any(module is part for part in parts or ())
        )
        for name, tensor in sorted(self.model.state_dict().items()):
            if parts is not None and not name.startswith(counting):
                continue
            values = tensor.detach().cpu().contiguous()
            digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
            digest.update(values.reshape(-1).view(torch.uint8).numpy())
        return "sha256:" + digest.hexdigest()

    def pooled_fingerprint(self, pool: str) -> str:
        """``sha256:`` of what :meth:`pool` computes: :meth:`fingerprint`, and which of the pools."""
        return "sha256:" + hashlib.sha256(f"{self.fingerprint()} {pool}".encode()).hexdigest()

    def _run(self, text: Tensor, padding_mask: Tensor | None) -> Any:
        with torch.no_grad() if self.free_layers == 0 else nullcontext(), self._linears.padded(padding_mask):
            return self.model(input_ids=text, attention_mask=self.attention_mask(padding_mask))

    def attention_mask(self, padding_mask: Tensor | None) -> Tensor | None:
        """What the Hugging Face model is told of ``padding_mask [B, L]``.

        From one row per text, transformers 5 makes a mask only after asking whether any text is padded, and that question
        halts the CPU until the GPU has answered. Where it takes a ready-made mask it gets ``[B, 1, 1, L]``: bool (True =
        attend) for fused attention, else added to the logits. Elsewhere int64 ``[B, L]``, 1 = attend.
        """
        if padding_mask is None:
            return None
        attend = ~padding_mask
        makes_masks = hasattr(sys.modules[type(self.model).__module__], "create_bidirectional_mask")
        attention = getattr(getattr(self.model, "config", None), "_attn_implementation", None)
        if self.model_type not in _ONE_MASK or not makes_masks or attention not in ("sdpa", "eager"):
            return attend.long()
        attend = attend[:, None, None, :]
        if attention == "sdpa":
            return attend
        dtype = self.model.get_input_embeddings().weight.dtype
        return torch.zeros(attend.shape, dtype=dtype, device=attend.device).masked_fill(~attend, torch.finfo(dtype).min)
