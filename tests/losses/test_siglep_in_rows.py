"""The contrastive loss a few ECGs at a time is that of the whole matrix, and the whole matrix is never made."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from cmelt_plugin.losses import pair_labels, siglep_loss, siglep_loss_in_rows
from cmelt_plugin.losses.pairs import DUPLICATES

B, M, D = 7, 11, 2  # texts transposed are not to be mistaken for rows of pairs


def batch() -> dict[str, Tensor]:
    """Texts of two ranks, one of which is nobody's, and reports that occur twice."""
    generator = torch.Generator().manual_seed(0)
    return {
        "ecg": torch.randn(B, D, generator=generator),
        "text": torch.randn(M, D, generator=generator),
        "ecg_report": torch.arange(B) % 4,
        "text_report": torch.arange(M) % 5,
        "own_column": torch.arange(B) + 3,
        "aligned": torch.arange(B) % 3 != 1,
        "counted": (torch.arange(M) != 1).long(),
    }


def with_gradients(function) -> list[Tensor]:
    values = batch()
    leaves = [values["ecg"], values["text"], torch.tensor(3.0), torch.tensor(-1.0)]
    for leaf in leaves:
        leaf.requires_grad_()
    loss = function(values, leaves[2], leaves[3])
    loss.backward()
    return [loss.detach(), *(leaf.grad for leaf in leaves)]


def whole(values: dict[str, Tensor], scale: Tensor, bias: Tensor, duplicates: str) -> Tensor:
    names = ("ecg_report", "text_report", "own_column", "aligned")
    labels = pair_labels(*(values[name] for name in names), duplicates) * values["counted"]
    return siglep_loss(values["ecg"], values["text"], labels, scale, bias)


@pytest.mark.parametrize("duplicates", DUPLICATES)
@pytest.mark.parametrize("rows", [0, 1, 3, 7, 100])
def test_value_and_gradients_equal_the_whole(rows: int, duplicates: str) -> None:
    expected = with_gradients(lambda values, scale, bias: whole(values, scale, bias, duplicates))
    got = with_gradients(
        lambda values, scale, bias: siglep_loss_in_rows(**values, duplicates=duplicates, scale=scale, bias=bias, rows=rows)
    )
    for a, b in zip(got, expected):
        torch.testing.assert_close(a, b)
    with torch.no_grad():
        alone = siglep_loss_in_rows(**batch(), duplicates=duplicates, scale=3.0, bias=-1.0, rows=rows)
    torch.testing.assert_close(alone, expected[0])


class Sizes(TorchDispatchMode):
    """The most rows of anything as wide as there are texts."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if torch.is_tensor(out) and out.ndim == 2 and out.shape[1] == M and not function._schema.name.endswith("::t"):
            self.rows = max(self.rows, out.shape[0])
        return out


@pytest.mark.parametrize(("rows", "most"), [(0, B), (2, 2)])
def test_no_matrix_has_more_rows_than_asked_for(rows: int, most: int) -> None:
    with Sizes() as sizes:
        with_gradients(lambda values, scale, bias: siglep_loss_in_rows(**values, scale=scale, bias=bias, rows=rows))
    assert sizes.rows == most
