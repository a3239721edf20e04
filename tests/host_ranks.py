"""What the two processes of the host's tests compute. No test code here: both import this module anew."""

from __future__ import annotations

from typing import Any

import torch
from omegaconf import OmegaConf


def received(state: dict[str, Any] | None) -> tuple[dict, torch.Tensor, list]:
    """A checkpoint that the first process has, as every process gets it: configuration, weight and the rest."""
    from cmelt_plugin import host

    if state is not None:
        state = {**state, "cfg": OmegaConf.create(state["cfg"])}
    group, device = host.data_parallel_group(), torch.device("cpu")
    state = host._host("distributed.utils").broadcast_object(state, src_rank=0, group=group, dist_device=device)
    return OmegaConf.to_container(state["cfg"]), state["model"]["weight"], state["extra"]
