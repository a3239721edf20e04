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
    state = host.host_module("distributed.utils").broadcast_object(state, src_rank=0, group=group, dist_device=device)
    return OmegaConf.to_container(state["cfg"]), state["model"]["weight"], state["extra"]


def fail_with_a_data_error(index: int, main: Any, cfg: Any, arguments: dict) -> None:
    """What a host's spawned process runs, in whose first one training finds damaged data."""
    from cmelt_plugin.errors import DataError
    from cmelt_plugin.host.workers import errors_in_one_line

    with errors_in_one_line():
        if index == 0:
            raise DataError("train.tsv: row 3: damaged")
