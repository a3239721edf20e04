"""``cmelt_adam``: the host's Adam in few kernels, with layer-wise learning rates, and if wanted weight decay of matrices alone.

The layer-wise decay is that of ELECTRA (Clark et al. 2020) and BEiT (Bao et al. 2022). Formula and state are the host's. The
hosts compare the names of optimisers when they resume, so a run that began with ``adam`` goes on with ``optimizer._name=adam``.
"""

from dataclasses import dataclass, field
from typing import Any

from cmelt_plugin import host
from cmelt_plugin.errors import DataError
from cmelt_plugin.optim.depths import depth_of
from cmelt_plugin.optim.multi_tensor import MultiTensorAdam

FUSED = ("auto", "true", "false")


@dataclass
class LayerwiseAdamConfig(host.AdamConfig):
    layer_decay: float = field(
        default=1.0,
        metadata={"help": "factor on the learning rate per layer below the output layer; 1: the host's Adam, unchanged"},
    )
    fused: str = field(
        default="auto",
        metadata={
            "help": "one kernel for all parameters (fused): auto = on a GPU, elsewhere the host's operations, parameter lists "
            "at a time; true = also on a CPU (torch >= 2.4), equal to rounding; false = the host's own loop"
        },
    )
    decay_vectors: bool = field(
        default=True,
        metadata={
            "help": "weight decay of all parameters, as the hosts do; False: not of biases, norms and learned temperatures, "
            "which are those of fewer than two dimensions"
        },
    )
    scalar_lr: float = field(
        default=1.0,
        metadata={
            "help": "factor on the learning rate of learned temperatures and other single numbers, which a rate for matrices "
            "may hardly move"
        },
    )


def _setting(cfg: Any, name: str, default: Any) -> Any:
    """A setting that configurations of older runs do not have; omegaconf 2.0 says None of what is not there."""
    value = getattr(cfg, name, None)
    return default if value is None else value


@host.register_optimizer("cmelt_adam", dataclass=LayerwiseAdamConfig)
class LayerwiseAdam(host.Adam):
    """One parameter group per depth, or two; the scheduler's learning rate is multiplied by ``layer_decay ** depth``.

    Depths are noted on the parameters by the model (:func:`cmelt_plugin.optim.depths.set_depth`).
    """

    def __init__(self, cfg: LayerwiseAdamConfig, params: Any):
        params = list(params)
        self.scales = [1.0]
        if cfg.layer_decay != 1.0:
            params, self.scales = group_by_depth(params, cfg.layer_decay)
        if not _setting(cfg, "decay_vectors", True):
            params, self.scales = without_decay_of_vectors(params, self.scales)
        scalar_lr = _setting(cfg, "scalar_lr", 1.0)
        if scalar_lr != 1.0:
            params, self.scales = with_rate_of_scalars(params, self.scales, scalar_lr)
        super().__init__(cfg, params)
        wanted = _setting(cfg, "fused", "auto")
        fused = str(wanted).lower()  # true and false arrive as words or as truth values
        if fused not in FUSED:
            raise DataError(f"optimizer.fused must be one of {', '.join(FUSED)}, not {wanted!r}")
        special = getattr(cfg, "tpu", False) is True or getattr(cfg, "fp16_adam_stats", False)
        if fused != "false" and not special:
            self._optimizer = MultiTensorAdam(params, fused_on_cpu=fused == "true", **self.optimizer_config)
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
    found = [depth_of(parameter) for parameter in params]
    depths = [depth for depth in found if depth is not None]
    if len(depths) < len(found):
        raise DataError(
            "optimizer.layer_decay needs parameters that know their layer: those of model._name=cmelt_classifier do; with "
            "common.fp16=true set common.fp16_no_flatten_grads=true, or all of them become one"
        )
    groups = [{"params": [p for p, own in zip(params, depths) if own == depth]} for depth in sorted(set(depths))]
    return groups, [layer_decay**depth for depth in sorted(set(depths))]


def without_decay_of_vectors(params: list[Any], scales: list[float]) -> tuple[list[dict[str, Any]], list[float]]:
    """Groups of which those of parameters with fewer than two dimensions have no weight decay.

    Args:
        params: parameters, or groups of them.
        scales: factor on the learning rate of each group.

    Raises:
        DataError: no parameter has two dimensions.
    """
    split: list[dict[str, Any]] = []
    split_scales: list[float] = []
    for group, scale in zip(_as_groups(params), scales):
        matrices, vectors = ([p for p in group["params"] if (p.ndim > 1) == wide] for wide in (True, False))
        parts = [{**group, "params": matrices}, {**group, "params": vectors, "weight_decay": 0.0}]
        kept = [part for part in parts if part["params"]]
        split += kept
        split_scales += [scale] * len(kept)
    if all("weight_decay" in group for group in split):
        raise DataError(
            "optimizer.decay_vectors=false: the host shows all parameters as one vector, none of which would decay; with "
            "common.fp16=true or common.bf16=true set common.fp16_no_flatten_grads=true"
        )
    return split, split_scales


def with_rate_of_scalars(params: list[Any], scales: list[float], factor: float) -> tuple[list[dict[str, Any]], list[float]]:
    """Groups of which those of parameters without dimensions have ``factor`` times the learning rate.

    Args:
        params: parameters, or groups of them.
        scales: factor on the learning rate of each group.
        factor: on those of single numbers.

    Raises:
        DataError: ``factor`` is not positive, or no parameter is a single number.
    """
    if not factor > 0:
        raise DataError(f"optimizer.scalar_lr={factor}: must be above 0")
    split: list[tuple[dict[str, Any], float]] = []
    found = False
    for group, scale in zip(_as_groups(params), scales):
        wide, single = ([p for p in group["params"] if (p.ndim > 0) == larger] for larger in (True, False))
        found = found or bool(single)
        split += [({**group, "params": part}, own) for part, own in ((wide, scale), (single, scale * factor)) if part]
    if not found:
        raise DataError(
            f"optimizer.scalar_lr={factor}: no parameter is a single number. With common.fp16=true or common.bf16=true set "
            "common.fp16_no_flatten_grads=true, or all of them become one vector"
        )
    return [group for group, _ in split], [scale for _, scale in split]


def _as_groups(params: list[Any]) -> list[dict[str, Any]]:
    return params if params and isinstance(params[0], dict) else [{"params": params}]
