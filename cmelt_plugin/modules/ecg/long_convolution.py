"""A grouped convolution with a long kernel as products of matrices, by way of frequencies.

Time is cut into pieces; of each piece with its surroundings and of the kernel the discrete Fourier transform is taken, by a
matrix product; channels are combined frequency by frequency; and the product is taken back (overlap-save, Stockham 1966,
Oppenheim and Schafer 2010, §8.7). A kernel of K steps costs log K in place of K multiplications a step and pair of channels;
the error is that of a direct float32 convolution.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional as F


@functools.lru_cache(maxsize=16)
def _transforms(length: int) -> tuple[Tensor, Tensor]:
    """Of real signals: forward ``[2, F, length]`` (cosine and sine) and back ``[length, 2, F]``, float32."""
    frequency = torch.arange(length // 2 + 1, dtype=torch.float64)
    angle = 2 * math.pi / length * (frequency[:, None] * torch.arange(length, dtype=torch.float64) % length)
    forward = torch.stack([angle.cos(), angle.sin()])
    # Every frequency but the first and, of an even length, the last one stands for its mirror image, too.
    weight = torch.full_like(frequency, 2.0 / length)
    weight[0] = 1.0 / length
    if length % 2 == 0:
        weight[-1] = 1.0 / length
    back = torch.stack([angle.cos(), -angle.sin()]) * weight[:, None]
    return forward.float(), back.permute(2, 0, 1).float().contiguous()


def long_convolution(x: Tensor, weight: Tensor, bias: Tensor, padding: int, groups: int) -> Tensor:
    """``conv1d(x, weight, bias, padding=padding, groups=groups)`` over the second dimension, cut to the length of ``x``.

    Args:
        x: ``[B, N, C]`` float32, on a CPU.
        weight: ``[D, C / groups, K]``.
        bias: ``[D]``.
        padding: zeros in front, and behind as many as are needed.
        groups: of channels.

    Returns:
        ``[B, N, D]``.
    """
    n_rows, n_steps, channels = x.shape
    kernel = weight.shape[-1]
    pieces = max(1, round(n_steps / kernel))
    step = -(-n_steps // pieces)
    length = step + kernel - 1
    forward, back = _transforms(length)
    # [G, B, pieces, C / G, length]
    x = F.pad(x, (0, 0, padding, pieces * step + kernel - 1 - padding - n_steps)).unfold(1, length, step)
    x = x.unflatten(2, (groups, channels // groups)).permute(2, 0, 1, 3, 4).reshape(-1, length)
    n_frequencies = forward.shape[1]
    cosine, sine = (forward.flatten(0, 1) @ x.T).view(2, n_frequencies * groups, n_rows * pieces, channels // groups)
    kernels = forward[..., :kernel].flatten(0, 1) @ weight.reshape(-1, kernel).T
    kernels = kernels.view(2, n_frequencies * groups, weight.shape[0] // groups, channels // groups)
    kernel_cosine, kernel_sine = kernels.transpose(-1, -2)
    # x(f) · conj(w(f)), as a convolution of neural networks does not turn its kernel round.
    real = torch.baddbmm(torch.bmm(cosine, kernel_cosine), sine, kernel_sine)
    imaginary = torch.baddbmm(torch.bmm(cosine, kernel_sine), sine, kernel_cosine, alpha=-1)
    y = back[:step].flatten(1) @ torch.stack([real, imaginary]).view(2 * n_frequencies, -1)
    y = y.view(step, groups, n_rows, pieces, -1).permute(2, 3, 0, 1, 4)
    return y.reshape(n_rows, pieces * step, -1)[:, :n_steps] + bias
