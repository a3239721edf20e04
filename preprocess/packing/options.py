"""The settings of a packing, which its first and its last step share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from preprocess.packing.engines import Engine
from preprocess.packing.recording import SignalOptions
from preprocess.packing.splits import DEFAULT_FRACTIONS


@dataclass(frozen=True)
class PackingOptions:
    """How the records are packed; what the plan leaves out does not change what is written."""

    jobs: int = 1
    backend: str = Engine.backend
    scheduler: str | None = None
    overwrite: bool = False
    rows_per_shard: int = 4096
    seed: int = 1
    fractions: Sequence[float] = DEFAULT_FRACTIONS
    require_report: bool = True
    signal: SignalOptions = field(default_factory=SignalOptions)

    @property
    def engine(self) -> Engine:
        """Where the blocks are packed."""
        return Engine(self.backend, self.jobs, self.scheduler)
