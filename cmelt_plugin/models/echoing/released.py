"""The weights EchoingECG's authors published, in this plugin's EchoingECG.

They are under CC BY-NC-ND 4.0: whoever downloaded them may open them here and may not pass them on, nor a folder made of them.
Weights need another name and nothing else; what the authors call ``std`` is the log-variance. The pooler of their BERT, which
nothing reads, is dropped. Scale and shift of the match logits are not published, and stand at their first values.

The means and deviations by which they standardise leads lie in a file of their own, a pickle, which is not opened. They are
expected beside the weights, in ``config.json``::

    {"lead_statistics": {"I": [mean, deviation], "II": …}}
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cmelt_plugin.data.leads import LEADS, lead_indices
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.echoing.ecg_side import PAIRS
from cmelt_plugin.models.files.foreign_weights import bert_settings

LEAD_ORDER = None
MAX_TEXT_TOKENS = 256
SIGNS = ("ecg_encoder.std_linear.weight", "text_encoder.std_linear.weight")

BACKBONE = "text_encoder.backbone."
UNUSED = (f"{BACKBONE}pooler.dense.weight", f"{BACKBONE}pooler.dense.bias", f"{BACKBONE}embeddings.position_ids")
HEADS = {
    "ecg_encoder.linear": "ecg_tower.mean.linear",
    "ecg_encoder.gpool": "ecg_tower.mean.pool",
    "ecg_encoder.std_linear": "ecg_log_variance.linear",
    "ecg_encoder.std_gpool": "ecg_log_variance.pool",
    "text_encoder.linear": "text_mean.linear",
    "text_encoder.gpool": "text_mean.pool",
    "text_encoder.std_linear": "text_log_variance.linear",
    "text_encoder.std_gpool": "text_log_variance.pool",
}
STAGES = ("conv1.", "bn1.", "layer1.", "layer2.", "layer3.", "layer4.")
FIRST_CONVOLUTION = "ecg_tower.encoder.conv1.weight"
FIRST_MATCH = 5.0


def our_name(name: str) -> str | None:
    """Our name of a weight of theirs; None: it is unknown."""
    if name.startswith(BACKBONE):
        return f"text_encoder.model.{name[len(BACKBONE) :]}"
    tower, _, rest = name.partition(".")
    if tower == "ecg_encoder" and rest.startswith(STAGES):
        return f"ecg_tower.encoder.{rest}"
    part, _, kind = rest.partition(".")
    head = HEADS.get(f"{tower}.{part}")
    if head is None or not part.endswith("gpool"):
        return None if head is None else f"{head}.{kind}"
    if kind == "linear.weight":
        return f"{head}.score.weight"
    if not kind.startswith("gru."):
        return None
    gru = kind[len("gru.") :]
    return f"{head}.back.{gru[: -len('_reverse')]}" if gru.endswith("_reverse") else f"{head}.ahead.{gru}"


def convert(weights: dict[str, Tensor], lead_order: Sequence[str] = LEADS) -> dict[str, Tensor]:
    """The release's state dict → the state dict of our model.

    Args:
        weights: all of the release's weights.
        lead_order: the 12 leads in the order of the channels they were trained with.

    Raises:
        DataError: a weight that is not known.
    """
    names = {name: our_name(name) for name in weights if name not in UNUSED}
    unknown = sorted(name for name, ours in names.items() if ours is None)
    if unknown:
        raise DataError(f"weights this plugin does not know: {', '.join(unknown)}")
    state = {str(ours): weights[name] for name, ours in names.items()}
    state = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    if FIRST_CONVOLUTION in state:
        state[FIRST_CONVOLUTION] = state[FIRST_CONVOLUTION][:, lead_indices(lead_order)].contiguous()
    for pair in PAIRS:
        state[f"scale.{pair}"], state[f"shift.{pair}"] = torch.tensor(FIRST_MATCH), torch.tensor(FIRST_MATCH)
    return state


def recognises(names: Collection[str]) -> bool:
    """Whether weights of these names are the release's."""
    return all(name in names for name in SIGNS)


def our_settings(weights: Mapping[str, Any], config: dict[str, Any] | None = None) -> dict[str, Any]:
    """Values of :class:`cmelt_plugin.models.echoing.config.EchoingConfig` for the release's weights, from their shapes.

    Args:
        weights: name → anything with ``shape``.
        config: ``lead_statistics``, lead → [mean, standard deviation] in mV; and ``text_heads``, attention heads of BERT, which
            no shape tells (default: one per 64 channels).

    Raises:
        DataError: a weight that tells a size is missing, or ``lead_statistics`` are.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    blocks = [{name.split(".")[2] for name in shapes if name.startswith(f"ecg_encoder.{stage}")} for stage in STAGES[2:]]
    try:
        sizes = {
            "ecg_width": shapes["ecg_encoder.conv1.weight"][0],
            "embed_dim": shapes["ecg_encoder.linear.weight"][0],
            "text_encoder_config": json.dumps(
                bert_settings(shapes, BACKBONE, (config or {}).get("text_heads")), sort_keys=True
            ),
        }
    except KeyError as error:
        raise DataError(f"the published weights lack {error.args[0]}") from None
    return {
        **sizes,
        "ecg_blocks": ", ".join(str(len(stage)) for stage in blocks),
        "lead_statistics": _lead_statistics((config or {}).get("lead_statistics")),
        "text_encoder_pretrained": False,
        "variance_init": None,
    }


def _lead_statistics(given: Any) -> str:
    """What ``model.lead_statistics`` is for a table by leads."""
    if not isinstance(given, dict) or set(given) != set(LEADS):
        raise DataError(
            "config.json beside the weights must give lead_statistics, {lead: [mean, standard deviation], …} in mV for "
            f"{', '.join(LEADS)}: mean_ and scale_ of the scaler that was published with the weights"
        )
    return json.dumps([[float(given[lead][part]) for lead in LEADS] for part in (0, 1)])
