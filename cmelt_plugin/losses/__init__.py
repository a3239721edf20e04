"""The pre-training losses as plain functions of tensors; they know no host, no model and no file."""

from cmelt_plugin.losses.beats import beat_similarity, gloria_similarity, local_loss
from cmelt_plugin.losses.caption import caption_loss
from cmelt_plugin.losses.clip import clip_loss, info_nce
from cmelt_plugin.losses.etm import etm_loss
from cmelt_plugin.losses.mem import mem_loss
from cmelt_plugin.losses.mlm import mlm_loss
from cmelt_plugin.losses.pairs import pair_labels
from cmelt_plugin.losses.siglep import siglep_loss, siglep_loss_in_rows

__all__ = [
    "beat_similarity",
    "caption_loss",
    "clip_loss",
    "etm_loss",
    "gloria_similarity",
    "info_nce",
    "local_loss",
    "mem_loss",
    "mlm_loss",
    "pair_labels",
    "siglep_loss",
    "siglep_loss_in_rows",
]
