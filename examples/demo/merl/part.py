"""What the page shows of MERL alone: the course of its losses. Nothing of it is masked or reconstructed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cmelt_plugin.evaluation.report.blocks import Metric, Section
from cmelt_plugin.models.inference.pretrained import Pretrained

CURVES = {
    "loss": ("All losses together", "nats, sum"),
    "loss_cma": ("ECG against report (CMA)", "nats, both directions"),
    "loss_uma": ("One view of an ECG against the other (UMA)", "nats, both directions"),
    "loss_label": ("ECG against the texts of its classes", "nats, both directions"),
}


def metrics(measured: Mapping[str, float], bars: Mapping[str, float]) -> list[Metric]:
    """None: its losses depend on how many records a batch has, and what they are for is measured for every system."""
    return []


def sections(loaded: Pretrained, directory: Path, split: str) -> list[Section]:
    """None."""
    return []
