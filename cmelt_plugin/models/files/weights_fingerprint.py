"""One name for what a model computes: its weights and plain settings."""

from __future__ import annotations

import hashlib

from torch import nn


def weights_fingerprint(model: nn.Module) -> str:
    """``sha256:`` over weights and plain settings (heads, epsilons, …) of a module and of all in it."""
    digest = hashlib.sha256()
    for name, values in sorted(model.state_dict().items()):
        values = values.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.float().numpy().tobytes())
    for name, module in model.named_modules():
        plain = {key: value for key, value in vars(module).items() if isinstance(value, (bool, int, float, str))}
        settings = sorted((key, value) for key, value in plain.items() if not key.startswith("_") and key != "training")
        digest.update(f"{name} {type(module).__name__} {settings}\n".encode())
    return "sha256:" + digest.hexdigest()
