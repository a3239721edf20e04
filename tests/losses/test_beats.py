"""The local loss against loops over pairs, sentences and beats, against numbers of the release, and over two ranks."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from cmelt_plugin.losses import beat_similarity, gloria_similarity, local_loss
from cmelt_plugin.losses import sentence_columns as module
from cmelt_plugin.losses.beats import FORMS, sentence_attention
from cmelt_plugin.losses.pairs import DUPLICATES
from cmelt_plugin.serialization.safetensors_files import read_safetensors
from tests.losses import rank_work
from tests.losses.ranks import two_ranks
from tests.losses.test_clip import labels_of

REPORTS = [4, 9, 4, 7]
COUNTS = [2, 1, 5, 3]
TAU = 6.0


def material(
    counts: list[int] = COUNTS, n_beats: int = 3, dim: int = 4, seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    """Beats, sentences and padding of as many pairs as there are ``counts`` of sentences; rubbish stands under padding."""
    generator = torch.Generator().manual_seed(seed)
    beats = torch.randn(len(counts), n_beats, dim, generator=generator, dtype=dtype)
    sentences = torch.randn(len(counts), max(counts), dim, generator=generator, dtype=dtype)
    return beats, sentences, torch.arange(max(counts)) >= torch.tensor(counts)[:, None]


def similarity_of(form: str, scale: Any = TAU) -> Callable[..., Tensor]:
    return gloria_similarity if form == "gloria" else functools.partial(beat_similarity, beat_scale=scale)


def loss_of(
    form: str, beats: Tensor, sentences: Tensor, padding: Tensor, labels: Tensor | None = None, scale: Any = TAU
) -> Tensor:
    labels = labels_of(list(range(len(beats)))) if labels is None else labels
    return local_loss(similarity_of(form, scale), beats, sentences, padding, beats, sentences, padding, labels)


def unit(v: Tensor) -> Tensor:
    return v / v.square().sum().sqrt()


def pair_by_hand(form: str, beats: Tensor, sentences: list[Tensor], scale: Any) -> tuple[Tensor, list[Tensor]]:
    """One ECG, one report: its score, and each sentence's weights of the beats. Formulas of the module's docstring."""
    if form == "beat":
        beats, sentences = torch.stack([unit(v) for v in beats]), [unit(s) for s in sentences]
    terms, attention = [], []
    for number, sentence in enumerate(sentences):
        if form == "beat":
            heights = [scale * (v @ sentence) for v in beats]
        else:
            heights = [4.0 * torch.softmax(torch.stack([v @ s for s in sentences]), dim=0)[number] for v in beats]
        weights = torch.stack(heights).exp()
        weights = weights / weights.sum()
        context = sum(weight * v for weight, v in zip(weights, beats))
        terms.append((5.0 * (unit(context) @ unit(sentence))).exp())
        attention.append(weights)
    total = torch.stack(terms).sum() / (len(terms) if form == "beat" else 1)
    return 10.0 * total.log(), attention


def matrix_by_hand(form: str, beats: Tensor, sentences: Tensor, padding: Tensor, scale: Any = TAU) -> Tensor:
    real = [[s for s, out in zip(*pair) if not out] for pair in zip(sentences, padding)]
    return torch.stack([torch.stack([pair_by_hand(form, ecg, text, scale)[0] for text in real]) for ecg in beats])


@pytest.mark.parametrize("form", FORMS)
def test_equals_a_loop_over_pairs(form: str) -> None:
    """Value, gradient and attention; in the release's batch of identical labels also its loss."""
    beats, sentences, padding = material()
    inputs = [value.requires_grad_() for value in (beats, sentences, torch.tensor(TAU, dtype=torch.float64))]
    found = similarity_of(form, inputs[2])(beats, sentences, padding)
    expected = matrix_by_hand(form, beats, sentences, padding, inputs[2])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    own = torch.arange(len(beats))
    cross_entropy = torch.nn.functional.cross_entropy
    naive = (cross_entropy(expected, own) + cross_entropy(expected.T, own)) / 2
    ours = loss_of(form, beats, sentences, padding, scale=inputs[2]) / len(beats)
    torch.testing.assert_close(ours, naive, rtol=1e-12, atol=1e-12)
    used = inputs if form == "beat" else inputs[:2]
    for gradient, wanted in zip(torch.autograd.grad(ours, used), torch.autograd.grad(naive, used)):
        torch.testing.assert_close(gradient, wanted, rtol=1e-9, atol=1e-12)

    attention = sentence_attention(form, beats, sentences, padding, TAU)
    for row, count in enumerate(COUNTS):
        weights = pair_by_hand(form, beats[row], list(sentences[row, :count]), TAU)[1]
        torch.testing.assert_close(attention[row, :count], torch.stack(weights))
        assert not attention[row, count:].any()


@pytest.mark.parametrize("name", ["local125", "local111", "local3184"])
def test_gloria_is_the_releases(name: str, real_data: Path) -> None:
    path = real_data / "reference" / "melp_tiny" / "case.safetensors"
    if not path.is_file():
        pytest.skip(f"no {path}")
    every = read_safetensors(path)
    case = {key.partition(".")[2]: value for key, value in every.items() if key.startswith(f"{name}.")}
    padding = torch.arange(case["sentences"].shape[1]) >= case["n_sentences"][:, None]
    beats, sentences = case["beats"].requires_grad_(), case["sentences"].requires_grad_()

    def close(found: Tensor, expected: Tensor, tolerance: float) -> None:
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * max(1.0, float(expected.abs().max())))

    close(gloria_similarity(beats, sentences, padding), case["similarity"], 1e-4)
    close(sentence_attention("gloria", beats, sentences, padding), case["attention"], 1e-4)
    loss = loss_of("gloria", beats, sentences, padding) / len(beats)
    close(loss, case["loss"], 1e-4)
    loss.backward()
    close(beats.grad, case["grad_beats"], 1e-3)
    close(sentences.grad, case["grad_sentences"], 1e-3)


def test_one_sentence_looks_at_some_beats_more_than_at_others() -> None:
    """D-M7a: in the release's form its weights are all alike."""
    pairs = material(counts=[1, 1, 1])
    gloria, ours = (sentence_attention(form, *pairs, beat_scale=TAU)[:, 0] for form in ("gloria", "beat"))
    torch.testing.assert_close(gloria, torch.full_like(gloria, 1 / 3))
    assert (ours.max(dim=1).values > 5 * ours.min(dim=1).values).all()
    cosine = torch.einsum("bqe,be->bq", *(torch.nn.functional.normalize(v, dim=-1) for v in (pairs[0], pairs[1][:, 0])))
    assert torch.equal(ours.argmax(dim=1), cosine.argmax(dim=1))


def test_long_reports_have_no_advantage() -> None:
    """D-M7c: a report that says one thing S times scores 10 log S higher in the release's form, and the same in ours."""
    beats, sentences, padding = material(counts=[1, 1])
    for times in (2, 8):
        again, none = sentences.expand(-1, times, -1), padding.expand(-1, times)
        higher = gloria_similarity(beats, again, none) - gloria_similarity(beats, sentences, padding)
        torch.testing.assert_close(higher, torch.full_like(higher, 10 * math.log(times)))
        torch.testing.assert_close(beat_similarity(beats, again, none, TAU), beat_similarity(beats, sentences, padding, TAU))


def test_a_sentence_can_look_at_one_beat_alone() -> None:
    """D-M7b: in the release's form no beat weighs more than e⁴ times another, however well it fits."""
    beats = torch.eye(3, dtype=torch.float64)[None]
    sentences, padding = torch.stack([beats[0, 0], beats[0, 1]])[None], torch.zeros(1, 2, dtype=torch.bool)
    for size in (1.0, 1000.0):
        weights = sentence_attention("gloria", size * beats, size * sentences, padding)[0, 0]
        assert weights.max() <= weights.min() * math.exp(4) * (1 + 1e-9)
    assert sentence_attention("beat", beats, sentences, padding, 20.0)[0, 0, 0] > 0.999


def test_lengths_of_vectors_do_not_matter() -> None:
    """D-M7d; and a score stays between −50 and 50."""
    beats, sentences, padding = material()
    once = beat_similarity(beats, sentences, padding, TAU)
    torch.testing.assert_close(beat_similarity(7 * beats, sentences / 3, padding, TAU), once)
    assert not torch.allclose(
        gloria_similarity(7 * beats, sentences / 3, padding), gloria_similarity(beats, sentences, padding)
    )
    far = beat_similarity(beats, sentences, padding, 100.0)
    assert far.abs().max() <= 50


@pytest.mark.parametrize("form", FORMS)
def test_leaving_padding_out_and_masking_it_are_one(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done on a CPU, and what on a GPU."""
    results = []
    for devices in (("cpu",), ()):
        monkeypatch.setattr(module, "PACKING_DEVICES", devices)
        beats, sentences, padding = material()
        leaves = [beats.requires_grad_(), sentences.requires_grad_()]
        loss = loss_of(form, *leaves, padding)
        loss.backward()
        results.append((loss.detach(), *(leaf.grad for leaf in leaves), sentence_attention(form, *leaves, padding, TAU)))
    for one, other in zip(*results):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    counts=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    n_beats=st.integers(1, 4),
    more=st.integers(0, 3),
    seed=st.integers(0, 99),
    form=st.sampled_from(FORMS),
)
def test_padding_changes_nothing(counts: list[int], n_beats: int, more: int, seed: int, form: str) -> None:
    """Neither its amount nor what stands under it; it gets no gradient."""
    beats, sentences, padding = material(counts, n_beats, seed=seed)
    with_more = torch.cat([torch.where(padding[..., None], 1e3, sentences), torch.full((len(counts), more, 4), -7.0)], dim=1)
    longer = torch.nn.functional.pad(padding, (0, more), value=True)
    results = []
    for values, mask in ((sentences, padding), (with_more, longer)):
        leaves = [beats.clone().requires_grad_(), values.clone().requires_grad_()]
        loss = loss_of(form, *leaves, mask)
        loss.backward()
        assert not leaves[1].grad[mask].any()
        results.append((loss.detach(), leaves[0].grad, leaves[1].grad[~mask], similarity_of(form)(beats, values, mask)))
    for one, other in zip(*results):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    # Neither does the order of sentences or of beats.
    turned = similarity_of(form)(beats.flip(1), sentences.flip(1), padding.flip(1))
    torch.testing.assert_close(turned, results[0][3], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_vectors_of_zeros_give_numbers(form: str) -> None:
    """Rows that fill up another rank's batch; their columns are left out of the loss."""
    beats, sentences, padding = (torch.cat([value, torch.zeros_like(value[:1])]) for value in material())
    labels = labels_of([*REPORTS, 99])
    labels[:, -1] = labels[-1] = 0
    leaves = [beats.requires_grad_(), sentences.requires_grad_()]
    loss = loss_of(form, *leaves, padding, labels)
    loss.backward()
    shorter = loss_of(form, beats[:-1], sentences[:-1], padding[:-1], labels_of(REPORTS))
    torch.testing.assert_close(loss, shorter)
    assert all(leaf.grad.isfinite().all() and not leaf.grad[-1].any() for leaf in leaves)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(form: str, dtype: torch.dtype) -> None:
    beats, sentences, padding = material(dim=64, dtype=torch.float32)
    rounded = (beats * 100).to(dtype), sentences.to(dtype)  # products beyond float16
    loss = loss_of(form, *rounded, padding)
    assert loss.dtype == torch.float32
    whole = [value.float() for value in rounded]
    torch.testing.assert_close(loss, loss_of(form, *whole, padding))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(loss_of(form, *whole, padding), loss)


class Operations(TorchDispatchMode):
    """Counts what is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("form", FORMS)
def test_the_number_of_operations_does_not_depend_on_the_batch(form: str) -> None:
    """D-M7e: the release goes through the reports of a batch one by one."""
    counts = []
    for size in (2, 9):
        leaves = [value.requires_grad_() for value in material(counts=[2] * size)[:2]]
        padding = torch.zeros(size, 2, dtype=torch.bool)
        with Operations() as operations:
            loss_of(form, *leaves, padding).backward()
        counts.append(operations.count)
    assert counts[0] == counts[1] > 20


@pytest.mark.parametrize("form", FORMS)
def test_no_vector_of_every_ecg_and_sentence_is_made(form: str) -> None:
    """Nothing kept for the backward pass is larger than weights of all beats; there are few of those."""
    n, n_beats, most, dim = 6, 3, 4, 64
    beats, sentences, padding = material([most] * n, n_beats, dim)
    weights = n * n_beats * n * most
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()) or tensor, lambda kept: kept):
        similarity_of(form)(beats.requires_grad_(), sentences.requires_grad_(), padding)
    assert max(kept) <= max(weights, n * most * dim) < n * n * most * dim
    assert sum(size == weights for size in kept) <= 4


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("duplicates", DUPLICATES)
def test_duplicates_are_what_is_asked_for(form: str, duplicates: str) -> None:
    """D-M7g: the release takes identical reports of other records for negatives."""
    beats, sentences, padding = material()
    logits = matrix_by_hand(form, beats, sentences, padding)
    expected = 0.0
    for matrix in (logits, logits.T):
        for row, report in enumerate(REPORTS):
            same = [column for column, other in enumerate(REPORTS) if other == report and column != row]
            left_out = same if duplicates == "ignore" else []
            positives = [row, *(same if duplicates == "positive" else [])]
            others = [matrix[row, column] for column in range(len(REPORTS)) if column not in left_out]
            whole = torch.stack(others).logsumexp(0)
            expected = expected + sum(whole - matrix[row, column] for column in positives) / len(positives) / 2
    torch.testing.assert_close(loss_of(form, beats, sentences, padding, labels_of(REPORTS, duplicates)), expected)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("sizes", "duplicates"), [((1, 3), "negative"), ((2, 2), "ignore"), ((3, 1), "positive")])
def test_two_ranks_are_one_process(form: str, sizes: tuple[int, int], duplicates: str) -> None:
    """D-M7f: the release compares with the pairs of one rank alone. Value and gradient; most sentences differ by rank."""
    beats, sentences, padding = material()
    report, scale = torch.tensor(REPORTS), torch.tensor(TAU, dtype=torch.float64)
    batches, start = [], 0
    for size in sizes:
        rows = slice(start, start + size)
        most = max(COUNTS[rows])
        batches.append((form, beats[rows], sentences[rows, :most], padding[rows, :most], report[rows], duplicates, scale, 5))
        start += size
    parts = two_ranks()(rank_work.local_over_ranks, batches)
    beats, sentences, scale = (value.clone().requires_grad_() for value in (beats, sentences, scale))
    loss = loss_of(form, beats, sentences, padding, labels_of(REPORTS, duplicates), scale)
    (loss + 0 * scale).backward()
    torch.testing.assert_close(sum(part[0] for part in parts), loss.detach())
    torch.testing.assert_close(torch.cat([part[1] for part in parts]), beats.grad)
    found = np.concatenate([part[2].flatten(0, 1)[~batch[3].flatten()].numpy() for part, batch in zip(parts, batches)])
    torch.testing.assert_close(torch.from_numpy(found), sentences.grad[~padding])
    torch.testing.assert_close(sum(part[3] for part in parts), scale.grad)


def test_another_form_is_refused() -> None:
    with pytest.raises(ValueError, match="beat, gloria"):
        sentence_attention("glorious", *material())
