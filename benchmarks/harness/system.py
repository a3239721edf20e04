"""A system as benchmarks see it: model, batches and losses through the registry, the naive way through pieces of its own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, ClassVar

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness.machine import REPOSITORY
from benchmarks.harness.outcome import NotMeasured
from benchmarks.harness.training import to_device
from cmelt_plugin import host, registry
from cmelt_plugin.data.batches.inputs import Inputs
from cmelt_plugin.data.batches.pretraining import PretrainingDataset, PretrainingOptions
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.store.record_store import ROW_SHAPE
from cmelt_plugin.data.text.tokens import TokenTable

Losses = Callable[[dict[str, Any]], dict[str, Tensor]]
"""A batch → the terms of the loss and their sum ``loss``, per row."""


class BenchmarkedSystem:
    """Base of what ``benchmarks/systems/NAME/system.py`` calls ``SYSTEM``.

    What every system has is here; a piece that only some have raises :class:`NotMeasured`, and the benchmarks that need it say
    so.

    Attributes:
        name: registered name.
        parts: modules of the model that profiles show one by one.
        variants: names of naive ways in which one thing each is done our way.
        quick_overrides: hydra overrides that make ``NAME_tiny`` as small as can be.
        criterion_settings: of the criterion, where its defaults compute something else than the naive way.
        forms: name → changes of these settings, for losses that the naive way has none of; timed beside the others.
    """

    name: ClassVar[str]
    parts: ClassVar[tuple[str, ...]] = ()
    variants: ClassVar[tuple[str, ...]] = ()
    quick_overrides: ClassVar[tuple[str, ...]] = ()
    criterion_settings: ClassVar[dict[str, Any]] = {}
    forms: ClassVar[dict[str, dict[str, Any]]] = {}

    # -- Pieces of a system ------------------------------------------------------------------------------------------------

    def settings(self, tiny: bool) -> dict[str, Any]:
        """Settings of the model, those of the paper or tiny; text encoders are described and have random weights."""
        raise NotImplementedError

    def naive(self, model: Any, variant: str | None = None, dropout: bool = True) -> Losses:
        """The losses the way of released code, through the weights of ``model``.

        Args:
            model: of ours.
            variant: one of :attr:`variants`; None: naive in everything.
            dropout: as configured; False: none, for comparing losses.
        """
        raise NotMeasured(f"{self.name}: no naive way is written that its step could be compared with")

    def training_flops(self, cfg: Any, rows: int, length: int, n_masked: int) -> float:
        """Operations that the mathematics of a step needs.

        Args:
            cfg: of the model.
            rows: pairs.
            length: tokens of the padded texts.
            n_masked: masked words in the batch.
        """
        raise NotMeasured(f"{self.name}: its operations are not counted")

    def flops_of(self, model: Any, sample: dict[str, Any]) -> float | None:
        """Operations that a step with ``sample`` needs; None where they are not counted."""
        return None

    def collation(self, folder: Path, n_records: int, n_reports: int, encoder: str) -> Any:
        """Our collation and the naive one over the same records: ``ours(rows)``, ``naive(rows, rng)``, ``check(rows)``, and
        ``dataset``, which is ours.

        Args:
            folder: for what they read.
            n_records, n_reports: records, and unique reports.
            encoder: size of the text encoder that the naive one runs.
        """
        raise NotMeasured(f"{self.name}: no naive collation is written that its own could be compared with")

    # -- What every system has -----------------------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """As texts call it."""
        return self.registered.system_card().name

    @property
    def registered(self) -> registry.System:
        return registry.systems()[self.name]

    @property
    def configuration(self) -> Path:
        """The training configuration whose optimiser is timed."""
        return REPOSITORY / "examples" / "pretrain" / f"{self.name}_base.yaml"

    def build_config(self, tiny: bool = False, **changes: Any) -> Any:
        """Configuration of the model."""
        return self.registered.config_class()(**{**self.settings(tiny), **changes})

    def build_model(self, tiny: bool = False, device: str = "cpu", seed: int = 0, **changes: Any) -> Any:
        """The model with random weights, of the paper's sizes or tiny, in training mode."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = self.registered.model_class().build_model(self.build_config(tiny, **changes))
        return model.to(device).train()

    def build_criterion(self, form: str | None = None) -> Any:
        """The system's criterion with :attr:`criterion_settings`, or those of one of its :attr:`forms`, in training mode."""
        settings = {**self.criterion_settings, **(self.forms[form] if form is not None else {})}
        name = self.registered.usual_criterion
        criterion_class = registry.imported(self.registered.criterions[name])
        config_class = host.host_module("criterions").CRITERION_DATACLASS_REGISTRY[name]
        return criterion_class(config_class(**settings), SimpleNamespace(target_dictionary=None)).train()

    def inputs(self, prepared: bool = True) -> Inputs:
        """What the system's batches hold, with the default options.

        Args:
            prepared: whether directories hold what ``material.write_manifest`` writes; False: records and reports alone.
        """
        inputs_class = self.registered.inputs_class()
        return inputs_class(inputs_class.Options(), self.build_model(tiny=True))

    @staticmethod
    def dataset(folder: Path, split: str, tokens: TokenTable, inputs: Inputs) -> PretrainingDataset:
        """A split of a manifest directory as the system trains on it; ``tokens`` are the ids of its reports."""
        return PretrainingDataset(Manifest.open(folder, split), inputs, tokens, PretrainingOptions())

    def synthetic_batch(self, model: Any, rows: int, length: int, device: str = "cpu", seed: int = 0) -> dict[str, Any]:
        """A training batch as the data set makes them, of random numbers.

        Args:
            model: for what follows from its sizes.
            rows: pairs.
            length: tokens of the longest text; the shortest has a third of them.
            device: where to.
            seed: of everything.
        """
        return to_device(self.draw_batch(model, rows, length, np.random.default_rng(seed)), device)

    def draw_batch(self, model: Any, rows: int, length: int, rng: np.random.Generator) -> dict[str, Any]:
        """:meth:`synthetic_batch` on the CPU: every ECG beside its own text."""
        padding = draw_padding(rows, length, rng)
        ids = rng.integers(3, model.vocab_size, (rows, length))
        ids[padding] = 0
        return {
            "id": torch.arange(rows),
            "net_input": {
                "ecg": torch.from_numpy(rng.standard_normal((rows, *ROW_SHAPE), dtype=np.float32)),
                "n_samples": None,
                "text": torch.from_numpy(ids),
                "text_padding_mask": torch.from_numpy(padding),
            },
            "ntokens": int((~padding).sum()),
            "report_id": torch.from_numpy(rng.integers(0, max(2, 4 * rows), rows)),
        }


def draw_padding(rows: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """Padding of texts of a third of ``length`` to ``length`` tokens, the first the longest: bool ``[rows, length]``."""
    lengths = rng.integers(max(2, length // 3), length + 1, rows)
    lengths[0] = length
    return np.arange(length)[None, :] >= lengths[:, None]
