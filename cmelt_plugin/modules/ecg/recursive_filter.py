"""Recursive (IIR) filters as a few products of matrices, on whole batches and where these are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

BLOCK = 80  # samples filtered at once


class RecursiveFilter:
    """A causal filter that starts at rest: ``[rows, T]`` → ``[rows, T]``, what ``scipy.signal.sosfilt`` gives.

    The signal is cut into blocks. Inside a block the filter is a product with its impulse response; what came before reaches a
    block through the filter's few states, and states of all blocks are one more product. Matrices are computed in float64,
    with states scaled by what they add to the output, so that float32 is enough for what follows.

    Args:
        sections: second-order sections ``[S, 6]`` as SciPy designs them, float64.
    """

    def __init__(self, sections: Any):
        self.sections = sections
        self._matrices: dict[tuple[int, torch.device, torch.dtype], tuple[Tensor, ...]] = {}

    def __call__(self, x: Tensor) -> Tensor:
        rows, length = x.shape
        blocks = -(-length // BLOCK)
        own, enter, carry, leave = self._for(blocks, x)
        x = torch.nn.functional.pad(x, (0, blocks * BLOCK - length)).view(rows, blocks, BLOCK)
        states = ((x @ enter).flatten(1) @ carry).view(rows, blocks, -1)
        return (x @ own + states @ leave).flatten(1)[:, :length]

    def _for(self, blocks: int, like: Tensor) -> tuple[Tensor, ...]:
        key = blocks, like.device, like.dtype
        if key not in self._matrices:
            self._matrices[key] = tuple(torch.from_numpy(matrix).to(like) for matrix in self._computed(blocks))
        return self._matrices[key]

    def _computed(self, blocks: int) -> tuple[Any, ...]:
        """Impulse response ``[BLOCK, BLOCK]``; from samples to states at the block's end ``[BLOCK, Q]``; to the states at each
        block's start ``[blocks · Q, blocks · Q]``; and from these to samples ``[Q, BLOCK]``."""
        import numpy as np
        from scipy.signal import sosfilt  # takes as long to import as torch does

        n_states = 2 * len(self.sections)
        rest, units = np.zeros((len(self.sections), 1, 2)), np.eye(n_states).reshape(n_states, -1, 2).transpose(1, 0, 2)
        own, ends = sosfilt(self.sections, np.eye(BLOCK), zi=rest.repeat(BLOCK, axis=1))
        leave, steps = sosfilt(self.sections, np.zeros((n_states, BLOCK)), zi=units)
        enter, step = (part.transpose(1, 0, 2).reshape(-1, n_states) for part in (ends, steps))
        # Rows are states: x @ enter + state @ step is the state at the end of a block, state @ leave what it adds there.
        _, scale, turn = np.linalg.svd(leave.T, full_matrices=False)
        forth, back = turn.T * scale, (turn.T / scale).T
        enter, step, leave = enter @ forth, back @ step @ forth, back @ leave
        carry = np.zeros((blocks, n_states, blocks, n_states))
        power = np.eye(n_states)
        for distance in range(1, blocks):
            for start in range(blocks - distance):
                carry[start, :, start + distance] = power
            power = power @ step
        return own, enter, carry.reshape(blocks * n_states, -1), leave
