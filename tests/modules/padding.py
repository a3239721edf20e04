"""The one question asked of every module that takes a padding mask: does padding reach a real position?"""

from __future__ import annotations

from typing import Callable

import torch
from torch import Tensor


def assert_padding_is_not_read(function: Callable[[Tensor], Tensor], states: Tensor, padding: Tensor) -> None:
    """``function(states)`` at real positions stays the same whatever stands at ``padding [B, L]`` of ``states``.

    The output is compared where ``padding`` is False if it has the same length, else everywhere. Without padding mask
    the same change must show, or the comparison would be blind.
    """
    garbage = torch.where(padding.unsqueeze(-1), torch.full_like(states, 50.0).add(torch.randn_like(states)), states)
    before, after = function(states), function(garbage)
    compared = ~padding if before.shape[:2] == padding.shape else torch.ones(before.shape[:2], dtype=torch.bool)
    torch.testing.assert_close(before[compared], after[compared])
    changed = states + (~padding).unsqueeze(-1) * 0.5 * torch.randn_like(states)
    assert not torch.allclose(before[compared], function(changed)[compared], atol=1e-3)
