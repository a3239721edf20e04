"""What the demo can train: a configuration of ``examples/pretrain`` each, and what it must reach on held-out subjects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class System(NamedTuple):
    """A system of models.

    Attributes:
        title: how it is called on the page.
        configuration: what is trained here.
        settings: in which it differs here from that configuration.
        larger: the configuration for one's own data.
        text_encoder: the pre-trained text encoder that this one reads.
        preparation: what is run on one's own data beside what every system needs.
        negatives: whether it trains on negative reports.
        learns_labels: whether it learns from labels, too, by the texts of their classes.
        shown: logged metrics that are printed while it trains.
        bars: ``macro_auc`` of all findings, ``auc_NAME`` of one, ``recall_over_chance`` and logged metrics of its own → what
            they must reach; errors must not exceed theirs.
    """

    title: str
    configuration: str
    settings: Sequence[str]
    larger: str
    text_encoder: str
    preparation: Sequence[str]
    negatives: bool
    learns_labels: bool
    shown: Sequence[str]
    bars: Mapping[str, float]


SYSTEMS = {
    "cmelt": System(
        title="C-MELT",
        configuration="cmelt_tiny",
        settings=("model.extractor_mode=layer_norm", "model.amplitude_embedding=true"),
        larger="cmelt_base",
        text_encoder="google/flan-t5-base",
        preparation=("python preprocess/n3s.py --manifest $D --embedder google/flan-t5-small --strategy balanced",),
        negatives=True,
        learns_labels=False,
        shown=("loss", "loss_mem", "etm_accuracy", "mlm_accuracy", "macro_auc", "ecg_to_text_r10", "text_to_ecg_r10"),
        bars={"loss_mem": 0.65},
    ),
    "merl": System(
        title="MERL",
        configuration="cmelt_synthetic",  # the recipe of the model that comes with the package, in small
        settings=(
            *("task.lead_sets=null", "task.standardise_probability=0", "task.max_text_tokens=64", "task.group_by_length=true"),
            *("dataset.validate_interval=5", "optimization.max_update=1000"),
        ),
        larger="merl_base",
        text_encoder="ncbi/MedCPT-Query-Encoder",
        preparation=("python preprocess/report_embeddings.py --manifest $D --text-encoder ncbi/MedCPT-Query-Encoder",),
        negatives=False,
        learns_labels=True,
        shown=("loss", "loss_cma", "loss_uma", "loss_label", "macro_auc", "ecg_to_text_r10", "text_to_ecg_r10"),
        bars={"macro_auc": 0.92, "auc_LVH": 0.80, "auc_LVOLT": 0.80, "recall_over_chance": 20.0},
    ),
    "melp": System(
        title="MELP",
        configuration="melp_tiny",
        settings=("model.extractor_mode=layer_norm", "model.amplitude_embedding=true", "optimization.max_update=800"),
        larger="melp_base",
        text_encoder="ncbi/MedCPT-Query-Encoder",
        preparation=(),
        negatives=False,
        learns_labels=False,
        shown=("loss", "loss_clip", "loss_caption", "loss_local", "macro_auc", "ecg_to_text_r10", "text_to_ecg_r10"),
        bars={"macro_auc": 0.68, "recall_over_chance": 5.0},
    ),
}
