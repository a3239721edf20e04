"""The formulas of PCME++: by hand, against released numbers, against sampling, and in every way they are computed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cmelt_plugin.losses.pcmepp import (
    DISTANCES,
    LARGEST_VIB,
    match_loss,
    match_loss_in_rows,
    pseudo_positive_targets,
    sampled_distance,
    vib,
    wasserstein_distance,
)
from tests.losses.test_siglep_in_rows import M, Sizes

# Three pairs in the plane, a = b = 5.
MEAN_X = torch.tensor([[1, 0], [0, 1], [0.6, 0.8]], dtype=torch.float64)
MEAN_Y = torch.tensor([[0.8, 0.6], [0, 1], [1, 0]], dtype=torch.float64)
LOG_VARIANCE_X = torch.tensor([[0.1, 0.1], [0.2, 0.1], [0.05, 0.05]], dtype=torch.float64).log()
LOG_VARIANCE_Y = torch.tensor([[0.1, 0.2], [0.1, 0.1], [0.3, 0.1]], dtype=torch.float64).log()
GOLDEN = (MEAN_X, LOG_VARIANCE_X, MEAN_Y, LOG_VARIANCE_Y)


def assert_golden(found: Tensor, expected: Any, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=tolerance)


def test_golden_case() -> None:
    distance = sampled_distance(*GOLDEN)
    assert_golden(distance, [[0.9, 2.4, 0.6], [1.4, 0.5, 2.7], [0.48, 0.7, 1.3]])
    logits, matched = 5 - 5 * distance, torch.eye(3, dtype=torch.float64)
    assert_golden(logits, [[0.5, -7, 2], [-2, 2.5, -8.5], [2.6, 1.5, -1.5]])
    bce = match_loss(logits, matched) / 9
    assert_golden(bce, 0.9869343225, 5e-11)
    by_rows, by_columns = pseudo_positive_targets(logits, matched), pseudo_positive_targets(logits.T, matched)
    assert by_rows.tolist() == [[1, 0, 1], [0, 1, 0], [1, 1, 1]] and by_columns.tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
    pseudo = match_loss(logits, by_rows) / 9, match_loss(logits.T, by_columns) / 9
    assert_golden(torch.stack(pseudo), [0.3091565447, 0.4758232114], 5e-11)
    divergence = vib(MEAN_X, LOG_VARIANCE_X).mean(), vib(MEAN_Y, LOG_VARIANCE_Y).mean()
    assert_golden(torch.stack(divergence), [1.0090548115, 0.8269792574], 5e-11)
    assert_golden(2 * bce + 0.1 * sum(pseudo) + 1e-4 * sum(divergence), 2.0525502240, 1e-10)
    expected = [[0.417157, 2.0, 0.053590], [0.834315, 0.017157, 2.010102], [0.138579, 0.417157, 0.913630]]
    assert_golden(wasserstein_distance(*GOLDEN), expected, 5e-7)


def gaussians(rows: int, dim: int = 6, seed: int = 0, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mean = F.normalize(torch.randn(rows, dim, generator=generator, dtype=dtype), dim=1)
    return [mean, torch.randn(rows, dim, generator=generator, dtype=dtype) * 0.5 - 2]


def test_the_sampled_distance_is_the_mean_over_samples() -> None:
    x, y = gaussians(2), gaussians(3, seed=1)
    generator = torch.Generator().manual_seed(2)
    noise = [torch.randn(200_000, 1, 1, 6, generator=generator, dtype=torch.float64) for _ in range(2)]
    a = x[0][:, None] + (x[1] / 2).exp()[:, None] * noise[0]
    b = y[0][None] + (y[1] / 2).exp()[None] * noise[1]
    torch.testing.assert_close(sampled_distance(*x, *y), (a - b).square().sum(3).mean(0), rtol=1e-2, atol=0)


def test_gaussians_of_one_variance_are_as_far_apart_as_their_means() -> None:
    (x, log_variance), (y, _) = gaussians(3), gaussians(3, seed=1)
    same = log_variance[:1].expand(3, -1)
    torch.testing.assert_close(wasserstein_distance(x, same, y, same), torch.cdist(x, y) ** 2)


def test_a_row_without_a_positive_gets_none() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.0], [1.0, 2.0, 3.0]])
    targets = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert pseudo_positive_targets(logits, targets).tolist() == [[0, 0, 0], [0, 1, 1]]
    counted = torch.tensor([[True, True, True], [True, True, False]])
    assert pseudo_positive_targets(logits, targets, counted).tolist() == [[0, 0, 0], [0, 1, 0]]


def test_the_threshold_is_the_first_of_several_positives_and_smoothed_targets_stay() -> None:
    logits, targets = torch.tensor([[2.0, 5.0, 3.0, 1.0]]), torch.tensor([[0.7, 0.7, 0.1, 0.1]])
    torch.testing.assert_close(pseudo_positive_targets(logits, targets), torch.tensor([[0.7, 0.7, 0.7, 0.1]]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype) -> None:
    x, y = ([part.to(dtype) for part in gaussians(4, seed=seed)] for seed in (0, 1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for distance in DISTANCES.values():
            found = distance(*x, *y)
            assert found.dtype == torch.float32
            torch.testing.assert_close(found, distance(*(part.float() for part in (*x, *y))))
        assert vib(*x).dtype == torch.float32


def in_rows(x: list[Tensor], y: list[Tensor], keys: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    counted = options.pop("counted", torch.ones_like(keys))
    scale, shift = options.pop("scale", torch.tensor(4.0)), options.pop("shift", torch.tensor(3.0))
    own = torch.arange(len(keys))
    return match_loss_in_rows((x[0], x[1]), (y[0], y[1]), keys, keys, own, counted, scale, shift, **options)


@pytest.mark.parametrize("duplicates", ["positive", "ignore", "negative"])
def test_one_direction_is_its_formula(duplicates: str) -> None:
    x, y, keys = gaussians(5), gaussians(5, seed=1), torch.tensor([0, 1, 2, 0, 4])
    counted = torch.tensor([1, 1, 0, 1, 1])
    same = keys[:, None] == keys
    matched = same if duplicates == "positive" else torch.eye(5, dtype=torch.bool)
    kept = torch.ones(5, 5, dtype=torch.bool) if duplicates != "ignore" else ~same | torch.eye(5, dtype=torch.bool)
    matched, kept = (matched & (counted > 0)).double(), kept & (counted > 0)
    logits = 3 - 4 * sampled_distance(*x, *y)
    targets = pseudo_positive_targets(logits, matched, kept)
    losses = [(F.softplus(logits) - goal * logits)[kept].sum() for goal in (matched, targets)]
    loss, n_pseudo = in_rows(x, y, keys, counted=counted, duplicates=duplicates)
    torch.testing.assert_close(loss, losses[0] + 0.1 * losses[1])
    assert n_pseudo == (targets - matched).sum() and n_pseudo > 0


def test_a_pair_that_is_not_aligned_is_a_negative_and_has_no_pseudo_positives() -> None:
    x, y, keys = gaussians(3), gaussians(3, seed=1), torch.tensor([0, 1, 2])
    logits = 3 - 4 * sampled_distance(*x, *y)
    targets = torch.diag(torch.tensor([1.0, 0.0, 1.0])).to(logits.dtype)
    aligned = torch.tensor([True, False, True])
    loss, _ = in_rows(x, y, keys, aligned=aligned, pseudo_weight=0.0)
    torch.testing.assert_close(loss, match_loss(logits, targets))
    pseudo = match_loss(logits, pseudo_positive_targets(logits, targets))
    torch.testing.assert_close(in_rows(x, y, keys, aligned=aligned, chunk=2)[0], loss + 0.1 * pseudo)


@pytest.mark.parametrize("distance", sorted(DISTANCES))
def test_chunks_give_the_same_loss_and_gradients(distance: str) -> None:
    keys = torch.tensor([0, 1, 2, 0, 4, 5, 1])
    found = []
    for chunk in (0, 3, 7):
        x, y = ([part.requires_grad_() for part in gaussians(7, seed=seed)] for seed in (0, 1))
        scale, shift = torch.tensor(4.0, requires_grad=True), torch.tensor(3.0, requires_grad=True)
        loss, n_pseudo = in_rows(x, y, keys, scale=scale, shift=shift, distance=distance, chunk=chunk)
        loss.backward()
        found.append([loss.detach(), n_pseudo, *(part.grad for part in (*x, *y, scale, shift))])
    for other in found[1:]:
        for one, expected in zip(other, found[0]):
            torch.testing.assert_close(one, expected)
    with torch.no_grad():
        torch.testing.assert_close(in_rows(x, y, keys, distance=distance, chunk=2)[0], found[0][0])


@pytest.mark.parametrize(("chunk", "most"), [(0, 7), (2, 2)])
def test_no_matrix_has_more_rows_than_asked_for(chunk: int, most: int) -> None:
    x, y = ([part.requires_grad_() for part in gaussians(rows, dim=2, seed=rows)] for rows in (7, M))
    keys, counted, own = torch.arange(M), torch.ones(M, dtype=torch.int64), torch.arange(7)
    scale = torch.tensor(4.0, requires_grad=True)
    with Sizes() as sizes:
        loss, _ = match_loss_in_rows((x[0], x[1]), (y[0], y[1]), keys[:7], keys, own, counted, scale, scale, chunk=chunk)
        loss.backward()
    assert sizes.rows == most


# -- Numbers of the released criterion -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(real_data: Path) -> Path:
    path = real_data / "reference" / "pcmepp_loss"
    if not path.is_dir():
        pytest.skip(f"no released numbers at {path}")
    return path


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_released_numbers(folder: Path, dtype: torch.dtype) -> None:
    """Every case with all its terms and gradients, to 1e-5 in float32; the loss to 1e-10 in float64."""
    from safetensors.torch import load_file

    numbers = load_file(folder / "case.safetensors")
    cases = json.loads((folder / "config.json").read_text(encoding="utf-8"))["cases"]
    assert len(cases) == 13
    for name, options in cases.items():
        own = {key[len(name) + 1 :]: value for key, value in numbers.items() if key.startswith(f"{name}.")}
        found = computed({key: value.to(dtype) for key, value in own.items()}, options)
        if dtype == torch.float64:
            torch.testing.assert_close(found["loss"], own["loss64"], rtol=1e-10, atol=0)
            continue
        for key in own.keys() & found.keys():
            error = (found[key] - own[key]).abs().max() / own[key].abs().max().clamp(min=1)
            assert error < 1e-5, (name, key, float(error))
        assert {"distance", "bce", "grad_mu_x", "grad_lv_y", "grad_a", "grad_b", "loss"} <= own.keys() & found.keys(), name


def computed(case: dict[str, Tensor], options: dict[str, Any]) -> dict[str, Tensor]:
    """What the case's README names, by the formulas."""
    x, y = ([case[f"{part}_{side}"].clone().requires_grad_() for part in ("mu", "lv")] for side in "xy")
    dtype, matched = x[0].dtype, case["matched"]
    scale, shift = (
        torch.tensor(options[f"init_{name}"], dtype=dtype, requires_grad=True) for name in ("negative_scale", "shift")
    )
    distance = DISTANCES["sampled" if options["prob_distance"] == "csd" else "wasserstein"](*x, *y)
    logits = shift - scale * distance
    out: dict[str, Tensor] = {"distance": distance, "logits": logits, "bce": match_loss(logits, matched) / logits.numel()}
    loss = 2 * out["bce"]
    for side, gaussian in (("x", x), ("y", y)):
        divergence = vib(*gaussian).mean()
        out[f"kl_{side}"] = torch.where(divergence <= LARGEST_VIB, divergence, torch.zeros_like(divergence))
        loss = loss + options["vib_beta"] * out[f"kl_{side}"]
    for way, view, goal in (("xy", logits, matched), ("yx", logits.T, matched.T)):
        targets = pseudo_positive_targets(view.detach(), goal)
        out[f"targets_pp_{way}"], out[f"bce_pp_{way}"] = targets, match_loss(view, targets) / view.numel()
        loss = loss + options["smoothness_alpha"] * out[f"bce_pp_{way}"]
    loss.backward()
    gradients = {"mu_x": x[0], "lv_x": x[1], "mu_y": y[0], "lv_y": y[1], "a": scale, "b": shift}
    out.update({f"grad_{name}": tensor.grad for name, tensor in gradients.items()}, loss=loss)
    return {name: tensor.detach() for name, tensor in out.items()}


def test_a_regulariser_that_is_too_large_is_known_by_its_mean() -> None:
    assert vib(torch.zeros(1, 2), torch.full((1, 2), math.log(3e4))).mean() > LARGEST_VIB
