"""What the demo can train: a configuration of ``examples/pretrain`` each, and what it must reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class System(NamedTuple):
    """A system of models.

    Attributes:
        title: how it is called on the page.
        configuration: what is trained here.
        larger: the configuration for one's own data.
        text_encoder: the pre-trained text encoder that this one reads.
        preparation: what is run on one's own data beside what every system needs.
        negatives: whether it trains on negative reports.
        shown: logged metrics that are printed while it trains.
        bars: ``macro_auc``, ``recall_over_chance`` and logged metrics of its own → what they must reach on held-out
            subjects; errors must not exceed theirs.
    """

    title: str
    configuration: str
    larger: str
    text_encoder: str
    preparation: Sequence[str]
    negatives: bool
    shown: Sequence[str]
    bars: Mapping[str, float]


SYSTEMS = {
    "cmelt": System(
        title="C-MELT",
        configuration="cmelt_tiny",
        larger="cmelt_base",
        text_encoder="google/flan-t5-base",
        preparation=("python preprocess/n3s.py --manifest $D --embedder google/flan-t5-small --strategy balanced",),
        negatives=True,
        shown=("loss", "loss_mem", "etm_accuracy", "mlm_accuracy", "macro_auc", "ecg_to_text_r10", "text_to_ecg_r10"),
        bars={"etm_accuracy": 0.90, "macro_auc": 0.80, "recall_over_chance": 5.0, "loss_mem": 0.65},
    ),
    "merl": System(
        title="MERL",
        configuration="merl_tiny",
        larger="merl_base",
        text_encoder="ncbi/MedCPT-Query-Encoder",
        preparation=("python preprocess/report_embeddings.py --manifest $D --text-encoder ncbi/MedCPT-Query-Encoder",),
        negatives=False,
        shown=("loss", "loss_cma", "loss_uma", "macro_auc", "ecg_to_text_r10", "text_to_ecg_r10"),
        bars={"macro_auc": 0.80, "recall_over_chance": 5.0},
    ),
    "melp": System(
        title="MELP",
        configuration="melp_tiny",
        larger="melp_base",
        text_encoder="ncbi/MedCPT-Query-Encoder",
        preparation=(),
        negatives=False,
        shown=("loss", "loss_clip", "loss_caption", "loss_local", "macro_auc", "ecg_to_text_r10", "text_to_ecg_r10"),
        bars={"macro_auc": 0.80, "recall_over_chance": 5.0},
    ),
}
