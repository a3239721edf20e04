"""Any Hugging Face text encoder (Flan-T5, BERT, MedCPT, DeBERTa) behind one interface.

``from_pretrained(name or local folder)`` is the only way weights come in. The architecture is kept as the JSON of the
Hugging Face configuration, so that a checkpoint can be opened where that folder does not exist.
"""

from __future__ import annotations

import json
import sys

import torch
from torch import Tensor, nn

from cmelt_plugin.errors import DataError
from cmelt_plugin.huggingface import config_of, first_line, import_transformers, load_config, load_model
from cmelt_plugin.modules.real_tokens import RealTokenLinears
from cmelt_plugin.modules.t5_range import widen_t5_range

# Encoder-decoder families of which only the encoder is wanted.
_T5_FAMILY = ("t5", "mt5", "umt5")
# Families whose every layer reads one and the same mask, which transformers 5 takes ready-made.
_ONE_MASK = (*_T5_FAMILY, "bert")


def _encoder_class(model_type: str):
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


class TextEncoder(nn.Module):
    """Token ids → last hidden states.

    Args:
        description: JSON from :func:`describe_text_encoder`.
        pretrained: name or folder to take the weights from; None: random weights (a checkpoint will fill them).

    Raises:
        DataError: the weights cannot be read or do not cover the encoder.
    """

    def __init__(self, description: str, pretrained: str | None = None):
        super().__init__()
        try:
            values = json.loads(description)
        except (ValueError, TypeError, RecursionError) as error:
            raise DataError(f"text_encoder_config: not JSON ({first_line(error)})") from None
        config = config_of(values, "text_encoder_config")
        encoder_class = _encoder_class(config.model_type)
        if pretrained is None:
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
            missing = sorted(key for key in info["missing_keys"] if "pooler" not in key)
            if missing or info.get("mismatched_keys"):
                raise DataError(
                    f"{pretrained}: these weights of the text encoder are missing or of another size: "
                    f"{missing + list(info.get('mismatched_keys', []))}"
                )
        if getattr(self.model, "pooler", None) is not None:
            self.model.pooler = None  # a pooler nobody reads would stay without gradient
        self.model.float().train()  # folders may hold half precision; a host that wants it casts the whole model
        self.model_type = config.model_type
        if self.model_type in _T5_FAMILY:
            widen_t5_range(self.model)
        self.dim = int(getattr(config, "d_model", None) or config.hidden_size)
        self.vocab_size = int(config.vocab_size)
        self.linears = RealTokenLinears(self.model)

    def forward(self, text: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """``text [B, L]`` int64 ids, ``padding_mask [B, L]`` True = padding → ``[B, L, D]``, at padding of no meaning."""
        with self.linears.padded(padding_mask):
            return self.model(input_ids=text, attention_mask=self.attention_mask(padding_mask)).last_hidden_state

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
        attention = getattr(self.model.config, "_attn_implementation", None)
        if self.model_type not in _ONE_MASK or not makes_masks or attention not in ("sdpa", "eager"):
            return attend.long()
        attend = attend[:, None, None, :]
        if attention == "sdpa":
            return attend
        dtype = self.model.get_input_embeddings().weight.dtype
        return torch.zeros(attend.shape, dtype=dtype, device=attend.device).masked_fill(~attend, torch.finfo(dtype).min)
