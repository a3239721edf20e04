"""What a checkpoint says about the run that wrote it, for people: updates, batch size, losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MEASURED = ("loss", "accuracy", "logit_scale")  # beginnings and ends of the names of metrics worth telling


def run_facts(state: Mapping[str, Any]) -> dict[str, Any]:
    """Facts of a host's checkpoint as a table for people; what the checkpoint does not hold is left out."""
    extra, cfg = dict(state.get("extra_state") or {}), dict(state.get("cfg") or {})
    optimization, dataset = dict(cfg.get("optimization") or {}), dict(cfg.get("dataset") or {})
    distributed = dict(cfg.get("distributed_training") or {})
    history = state.get("optimizer_history") or [{}]
    metric = dict(cfg.get("checkpoint") or {}).get("best_checkpoint_metric")
    facts = {
        "updates": dict(history[-1]).get("num_updates"),
        "epoch": dict(extra.get("train_iterator") or {}).get("epoch"),
        "records per process and step": dataset.get("batch_size"),
        "processes": distributed.get("distributed_world_size"),
        "steps per update": _single(optimization.get("update_freq")),
        "learning rate": _single(optimization.get("lr")),
        "optimiser": dict(cfg.get("optimizer") or {}).get("_name"),
        "seed": dict(cfg.get("common") or {}).get("seed"),
        f"validation {metric}": _rounded(extra.get("val_loss")),
        f"best validation {metric}": _rounded(extra.get("best")),
        "task": dict(cfg.get("task") or {}).get("_name"),
    }
    return {name: value for name, value in facts.items() if value is not None}


def training_metrics(state: Mapping[str, Any]) -> dict[str, float]:
    """Means over the last epoch of training: metric → value, from the host's meters in the checkpoint."""
    meters = dict(dict(state.get("extra_state") or {}).get("metrics") or {}).get("train") or []
    metrics = {}
    for _, name, kind, values in meters:
        count = float(values.get("count") or 0)
        if kind == "AverageMeter" and count and str(name).startswith(MEASURED) | str(name).endswith(MEASURED):
            metrics[str(name)] = float(values["sum"]) / count
    return metrics


def _single(value: Any) -> Any:
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    return values[0] if len(values) == 1 else ", ".join(map(str, values))


def _rounded(value: Any) -> Any:
    return None if value is None else float(f"{float(value):.5g}")
