"""Adam with decoupled weight decay for whole lists of parameters: the host's formula and state in few kernels.

The host's Adam adds ε to the root of the *uncorrected* second moment. PyTorch's fused kernel divides that root by
√(1 − β₂ᵗ) first, so it is given ε / √(1 − β₂ᵗ), and both compute the same step.
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Callable

import torch
from torch import Tensor

from cmelt_plugin import host

CHUNK_ELEMENTS = 1 << 18  # 1 MiB of float32, so that a chunk with its state stays in the cache from operation to operation


@functools.cache
def has_fused_kernel(device_type: str) -> bool:
    """Whether this PyTorch has a fused Adam for a kind of device."""
    if device_type == "cuda":
        return True
    try:
        parameter, zero = torch.ones(1, device=device_type), torch.zeros(1, device=device_type)
        _fused([parameter], [zero], [zero.clone()], [zero.clone()], torch.ones((), device=device_type), 0.1, 0.9, 0.9, 1.0, 0.0)
    except RuntimeError:  # of which NotImplementedError is one
        return False
    return True


def _fused(
    parameters: list[Tensor],
    gradients: list[Tensor],
    averages: list[Tensor],
    squares: list[Tensor],
    step: Tensor,
    lr: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
) -> None:
    """PyTorch's kernel; ``step`` is a float32 scalar on the parameters' device, ``epsilon`` in PyTorch's sense."""
    torch._fused_adamw_(
        parameters,
        gradients,
        averages,
        squares,
        [],
        [step] * len(parameters),
        lr=lr,
        beta1=beta1,
        beta2=beta2,
        weight_decay=weight_decay,
        eps=epsilon,
        amsgrad=False,
        maximize=False,
    )


class MultiTensorAdam(host.TorchAdam):
    """A drop-in for the optimiser inside the host's Adam.

    Args:
        params: as for any ``torch.optim.Optimizer``.
        fused_on_cpu: use the fused kernel on a CPU, too, where PyTorch has one; without it the results there are the
            host's, bit for bit.
        options: learning rate, betas, epsilon and weight decay.
    """

    def __init__(self, params: Any, fused_on_cpu: bool = False, **options: Any):
        super().__init__(params, **options)
        self.fused_on_cpu = fused_on_cpu

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step. Half-precision parameters without a float32 twin are left to the host's loop."""
        tensors = [(p, p.grad) for group in self.param_groups for p in group["params"] if p.grad is not None]
        if any(tensor.dtype != torch.float32 or tensor.is_sparse for pair in tensors for tensor in pair):
            return super().step(closure)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for (device, step), parameters in self._alike(group["params"]).items():
                fused = device.type == "cuda" or (self.fused_on_cpu and has_fused_kernel(device.type))
                (self._step_fused if fused else self._step_lists)(group, parameters, step)
        return loss

    def _alike(self, parameters: Sequence[Tensor]) -> dict[tuple[torch.device, int], list[Tensor]]:
        """Parameters that have a gradient by device and number of steps, this one included."""
        alike = defaultdict(list)
        for parameter in parameters:
            if parameter.grad is None:
                continue
            state = self.state[parameter]
            if not state:
                state["step"] = 0
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
            state["step"] += 1
            for name in ("exp_avg", "exp_avg_sq"):
                state[name] = state[name].to(parameter)
            alike[parameter.device, int(state["step"])].append(parameter)
        return alike

    def _lists(self, parameters: list[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Gradients, averages and averages of squares."""
        states = [self.state[parameter] for parameter in parameters]
        gradients = [p.grad for p in parameters if p.grad is not None]  # as all of them have
        return gradients, [s["exp_avg"] for s in states], [s["exp_avg_sq"] for s in states]

    def _step_fused(self, group: dict[str, Any], parameters: list[Tensor], step: int) -> None:
        gradients, averages, squares = self._lists(parameters)
        # The kernel walks through memory and asks for one order of it.
        gradients = [g if g.stride() == p.stride() else torch.empty_like(p).copy_(g) for g, p in zip(gradients, parameters)]
        beta1, beta2 = group["betas"]
        number = torch.full((), float(step), dtype=torch.float32, device=parameters[0].device)
        epsilon = group["eps"] / math.sqrt(1 - beta2**step)
        _fused(
            parameters, gradients, averages, squares, number, group["lr"], beta1, beta2, epsilon, group["weight_decay"]
        )  # fmt: skip

    def _step_lists(self, group: dict[str, Any], parameters: list[Tensor], step: int) -> None:
        beta1, beta2 = group["betas"]
        step_size = group["lr"] * math.sqrt(1 - beta2**step) / (1 - beta1**step)
        for chunk, gradients, averages, squares in _chunks(parameters, *self._lists(parameters)):
            torch._foreach_mul_(averages, beta1)
            torch._foreach_add_(averages, gradients, alpha=1 - beta1)
            torch._foreach_mul_(squares, beta2)
            torch._foreach_addcmul_(squares, gradients, gradients, value=1 - beta2)
            denominators = torch._foreach_sqrt(squares)
            torch._foreach_add_(denominators, group["eps"])
            if group["weight_decay"] != 0:
                torch._foreach_add_(chunk, chunk, alpha=-group["weight_decay"] * group["lr"])
            torch._foreach_addcdiv_(chunk, averages, denominators, value=-step_size)


def _chunks(*lists: list[Tensor]) -> Iterator[tuple[list[Tensor], ...]]:
    """The lists, alike in shapes, in runs of at most :data:`CHUNK_ELEMENTS` elements; larger tensors in pieces."""
    chunk: list[tuple[Tensor, ...]] = []
    elements = 0
    for piece in (piece for tensors in zip(*lists) for piece in _pieces(tensors)):
        if chunk and elements + piece[0].numel() > CHUNK_ELEMENTS:
            yield tuple(map(list, zip(*chunk)))
            chunk, elements = [], 0
        chunk.append(piece)
        elements += piece[0].numel()
    if chunk:
        yield tuple(map(list, zip(*chunk)))


def _pieces(tensors: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, ...]]:
    """Views of at most :data:`CHUNK_ELEMENTS` elements; the tensors whole where one does not lie in memory row by row."""
    if tensors[0].numel() <= CHUNK_ELEMENTS or not all(tensor.is_contiguous() for tensor in tensors):
        return iter([tensors])
    return zip(*(tensor.view(-1).split(CHUNK_ELEMENTS) for tensor in tensors))
