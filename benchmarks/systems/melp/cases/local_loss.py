"""MELP's local loss: all ECGs against all reports in a few matrix products, against the release's loop over reports.

64 ECGs of 14 beats and 64 reports of one to eight sentences, 256 numbers a vector, forward and backward pass down to beats and
sentences, float32. ``ours`` is the form of the release, ``ours, beat`` the one of this plugin, which computes less. Before
timing, the two ways through the release's form must give the same loss, to 1e-4, and the same gradients.

Physical limit: the product of all beats with all sentences and the two of its gradient, 0.4 GFLOP, which no order of the rest
avoids; ``products alone`` is their time, and how many times the loop takes that is the most that can be reached. On a GPU,
where these are nothing, it is how many operations are called.
"""

from __future__ import annotations

import functools
from typing import Callable, NamedTuple

import torch
from torch import Tensor

from benchmarks.harness.options import Options
from benchmarks.harness.outcome import Outcome
from benchmarks.harness.timing import race
from benchmarks.systems.melp import beats as naive
from cmelt_plugin.losses.beats import Similarity, beat_similarity, gloria_similarity, local_loss

BEATS, MOST_SENTENCES, WIDTH = 14, 8, 256
BEAT_SCALE = 10.0
TOLERANCE = 1e-4


class Vectors(NamedTuple):
    """What the loss compares.

    Attributes:
        beats: ``[B, Q, E]``, with gradient.
        sentences: ``[B, S, E]``, with gradient.
        padding_mask: ``[B, S]`` bool, True = no sentence.
    """

    beats: Tensor
    sentences: Tensor
    padding_mask: Tensor

    def gradients(self) -> list[Tensor]:
        """Those of beats and sentences, which begin anew."""
        found = []
        for vectors in (self.beats, self.sentences):
            assert vectors.grad is not None
            found.append(vectors.grad)
            vectors.grad = None
        return found


def draw_vectors(rows: int, device: str = "cpu", seed: int = 0) -> Vectors:
    """Vectors of ``rows`` pairs; softmaxes over their products are neither flat nor all on one place."""
    generator = torch.Generator().manual_seed(seed)
    beats, sentences = (
        (torch.randn(rows, n, WIDTH, generator=generator) / WIDTH**0.25).to(device).requires_grad_()
        for n in (BEATS, MOST_SENTENCES)
    )
    counts = torch.randint(1, MOST_SENTENCES + 1, (rows, 1), generator=generator)
    return Vectors(beats, sentences, (torch.arange(MOST_SENTENCES) >= counts).to(device))


def ours(vectors: Vectors, similarity: Similarity) -> Tensor:
    """The loss a pair, as the criterion computes it where every other report is a negative."""
    labels = 2 * torch.eye(len(vectors.beats), device=vectors.beats.device) - 1
    return local_loss(similarity, *vectors, *vectors, labels) / len(labels)


def loop(vectors: Vectors) -> Tensor:
    """The same, one report after the other."""
    counts = (~vectors.padding_mask).sum(dim=1).tolist()
    return naive.local_loss(vectors.beats, [sentences[:n] for sentences, n in zip(vectors.sentences, counts)])


def products_alone(vectors: Vectors) -> Callable[[], None]:
    """The products that the loss and its gradients cannot be had without, of real sentences, as one call."""
    beats = vectors.beats.detach().flatten(0, 1)
    sentences = vectors.sentences.detach()[~vectors.padding_mask]
    gradient = torch.randn(len(beats), len(sentences), device=beats.device)

    def multiply() -> None:
        for product in (beats @ sentences.T, gradient @ sentences, gradient.T @ beats):
            del product

    return multiply


def check(vectors: Vectors) -> float:
    """Assert that both ways give the same loss and gradients; returns the loss.

    Raises:
        AssertionError: they do not.
    """
    results = []
    for way in (loop, functools.partial(ours, similarity=gloria_similarity)):
        loss = way(vectors)
        loss.backward()
        results.append((loss.detach(), vectors.gradients()))
    (expected, references), (loss, gradients) = results
    torch.testing.assert_close(loss, expected, rtol=0, atol=TOLERANCE)
    for gradient, reference in zip(gradients, references):
        torch.testing.assert_close(gradient, reference, rtol=1e-3, atol=1e-3 * float(reference.abs().max()))
    return float(loss)


def run(options: Options) -> Outcome:
    """See the module's docstring."""
    rows = 6 if options.quick else 64
    vectors = draw_vectors(rows, options.device)
    loss = check(vectors)
    ways: dict[str, Callable[[Vectors], Tensor]] = {
        "loop": loop,
        "ours": functools.partial(ours, similarity=gloria_similarity),
        "ours, beat": functools.partial(ours, similarity=functools.partial(beat_similarity, beat_scale=BEAT_SCALE)),
    }

    def step(way: Callable[[Vectors], Tensor]) -> None:
        way(vectors).backward()
        vectors.gradients()

    contestants: dict[str, Callable[[], None]] = {name: functools.partial(step, way) for name, way in ways.items()}
    contestants["products alone"] = products_alone(vectors)
    timed = race(contestants, options.choose_rounds(30), options.device, 3)
    fast = [name for name in contestants if name != "loop"]
    return Outcome(
        ratios=[ratio for name in fast for ratio in timed.ratio(f"{name} / loop at {rows}", "loop", name)],
        figures=[figure for name in contestants for figure in timed.time(name, f"{name} at {rows}")],
        checks=[f"loss {loss:.4f} equal to {TOLERANCE:g}, the same gradients"],
        settings={"rows": rows, "beats": BEATS, "sentences": MOST_SENTENCES, "width": WIDTH, "device": options.device},
    )
