"""Initial weights for the ECG encoder from a fairseq-signals checkpoint (wav2vec 2.0, W2V+CMSC+RLM naming)."""

from __future__ import annotations

import logging
import re
from typing import NamedTuple

from torch import Tensor, nn

from cmelt_plugin.errors import DataError
from cmelt_plugin.serialization.checkpoint_files import load_state

logger = logging.getLogger(__name__)

# Parts of those models that exist for their own pre-training loss and have no counterpart here.
_PRETRAINING_ONLY = re.compile(r"^(quantizer|project_q|final_proj|mask_emb|target_glu|proj)\b")
# What wav2vec models do not have: ours to learn.
_OURS = ("class_embedding", "amplitude.proj.weight")
_PREFIXES = ("ecg_encoder.", "encoder.w2v_model.", "w2v_encoder.w2v_model.")


class Fit(NamedTuple):
    """What a set of weights does to a module: ``missing`` stay as they were, ``unexpected`` are not used."""

    missing: list[str]
    unexpected: list[str]
    mismatched: list[str]


def _canonical(name: str) -> str:
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            name = name[len(prefix) :]
    # Old and new spelling of weight normalisation.
    name = name.replace("pos_conv.0.weight_g", "pos_conv.0.parametrizations.weight.original0")
    return name.replace("pos_conv.0.weight_v", "pos_conv.0.parametrizations.weight.original1")


def match_ecg_weights(encoder: nn.Module, weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], Fit]:
    """Sort foreign ``weights`` into those that fit ``encoder`` and the rest."""
    own = encoder.state_dict()
    fitting: dict[str, Tensor] = {}
    unexpected, mismatched = [], []
    for name, tensor in weights.items():
        target = _canonical(name)
        if target not in own:
            if not _PRETRAINING_ONLY.match(target):
                unexpected.append(name)
        elif own[target].shape != tensor.shape:
            mismatched.append(f"{name} {tuple(tensor.shape)} ≠ {tuple(own[target].shape)}")
        else:
            fitting[target] = tensor
    missing = [name for name in own if name not in fitting and name not in _OURS]
    return fitting, Fit(missing, unexpected, mismatched)


def load_ecg_encoder(encoder: nn.Module, path: str, partial: bool = False) -> Fit:
    """Copy the weights of a fairseq(-signals) checkpoint into ``encoder``.

    Raises:
        DataError: weights are missing, unknown or of another size, and ``partial`` is False.
    """
    state = load_state(path, ())
    fitting, fit = match_ecg_weights(encoder, state["model"])
    if any(fit):
        report = "\n".join(f"  {kind}: {', '.join(names)}" for kind, names in fit._asdict().items() if names)
        if not partial or not fitting:
            raise DataError(
                f"{path} does not fit the ECG encoder:\n{report}\n"
                "Change the model's sizes to those of the checkpoint, or accept this with model.ecg_encoder_init_partial=true."
            )
        logger.warning("%s fits the ECG encoder in part:\n%s", path, report)
    encoder.load_state_dict(fitting, strict=False)
    logger.info("ECG encoder: %d of %d weights from %s", len(fitting), len(encoder.state_dict()), path)
    return fit
