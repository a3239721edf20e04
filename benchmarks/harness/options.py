"""Settings that every benchmark is run with."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Options:
    """Settings of a run.

    Attributes:
        device: of models and searches; data loading is always the CPU's.
        quick: tiny sizes, to see that everything runs; the numbers mean nothing.
        full: the whole task where the default measures a part and extrapolates.
        rounds: instead of each benchmark's own number.
        compile: also models through ``torch.compile``.
        profile: file for a profile of a naive and of our training step; None: none is made.
        folder: where large temporary files go; None: the machine's choice.
        model: registered name of the system that benchmarks of a model measure; None: the default one, or where few systems
            have what is measured the first of these.
    """

    device: str = "cpu"
    quick: bool = False
    full: bool = False
    rounds: int | None = None
    compile: bool = False
    profile: Path | None = None
    folder: Path | None = None
    model: str | None = None

    @property
    def on_gpu(self) -> bool:
        return torch.device(self.device).type == "cuda"

    def choose_rounds(self, default: int) -> int:
        """Timed rounds: as asked for, else 2 when quick, else ``default``."""
        return self.rounds or (2 if self.quick else default)

    @contextmanager
    def temporary(self) -> Iterator[Path]:
        """A folder that is deleted afterwards."""
        with tempfile.TemporaryDirectory(prefix="cmelt-bench-", dir=self.folder) as folder:
            yield Path(folder)


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch, OpenMP libraries behind it and FAISS on one thread, as in a data-loader worker."""
    import faiss

    before, faiss_before = torch.get_num_threads(), faiss.omp_get_max_threads()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        faiss.omp_set_num_threads(faiss_before)
