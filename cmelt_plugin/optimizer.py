"""``cmelt_adam``: the host's Adam with layer-wise learning-rate decay (Clark et al. 2020, ELECTRA; Bao et al. 2022, BEiT)."""

from dataclasses import dataclass, field
from typing import Any

from cmelt_plugin import host
from cmelt_plugin.errors import DataError


@dataclass
class LayerwiseAdamConfig(host.AdamConfig):
    layer_decay: float = field(
        default=1.0,
        metadata={"help": "factor on the learning rate per layer below the output layer; 1: the host's Adam, unchanged"},
    )


@host.register_optimizer("cmelt_adam", dataclass=LayerwiseAdamConfig)
class LayerwiseAdam(host.Adam):
    """One parameter group per depth; the scheduler's learning rate is multiplied by ``layer_decay ** depth``.

    Depths are noted on the parameters by the model (``host.set_depth``).
    """

    def __init__(self, cfg: LayerwiseAdamConfig, params: Any):
        params = list(params)
        self.scales = [1.0]
        if cfg.layer_decay != 1.0:
            params, self.scales = group_by_depth(params, cfg.layer_decay)
        super().__init__(cfg, params)
        self.set_lr(self.optimizer_config["lr"])

    def get_lr(self) -> float:
        """The scheduler's learning rate, that of the output layer."""
        return self.param_groups[0]["lr"] / self.scales[0]

    def set_lr(self, lr: float) -> None:
        for group, scale in zip(self.param_groups, self.scales):
            group["lr"] = lr * scale


def group_by_depth(params: Any, layer_decay: float) -> tuple[list[dict[str, Any]], list[float]]:
    """Parameter groups from the output layer downwards, and the factor on the learning rate of each.

    Raises:
        DataError: ``layer_decay`` is not in (0, 1], or a parameter has no depth.
    """
    if not 0.0 < layer_decay <= 1.0:
        raise DataError(f"optimizer.layer_decay={layer_decay}: must be above 0 and at most 1")
    depths = [host.depth_of(parameter) for parameter in params]
    if None in depths:
        raise DataError(
            "optimizer.layer_decay needs parameters that know their layer: those of model._name=cmelt_classifier do; with "
            "common.fp16=true set common.fp16_no_flatten_grads=true, or all of them become one"
        )
    groups = [{"params": [p for p, own in zip(params, depths) if own == depth]} for depth in sorted(set(depths))]
    return groups, [layer_decay**depth for depth in sorted(set(depths))]
