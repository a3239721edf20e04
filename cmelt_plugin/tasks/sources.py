"""``ecg_echo_pretraining``: pre-training on records of which some have a report and others a teacher's echocardiogram.

Every batch is of one source, ``ecg_text`` or ``ecg_echo``, the same on all ranks at a step. Any system whose inputs know both
can be trained so.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import numpy as np

from cmelt_plugin import host, registry
from cmelt_plugin.criterions.base import METRIC_RANKS
from cmelt_plugin.data.batches.inputs import ECG_ECHO
from cmelt_plugin.data.batches.source_order import MIXES
from cmelt_plugin.data.batches.sources import SourceOptions, SourcesDataset, read_sources, restored
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.directory.subjects import check_disjoint
from cmelt_plugin.data.text.tokens import TokenTable
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.validation import SourcesValidation
from cmelt_plugin.tasks.pretraining import PretrainingConfig, PretrainingTask

RECALL = "ecg_to_echo_r5"
SELECTION = "selection"
"""Metric of a validation pass by which the best checkpoint is chosen: see :func:`selection`."""


@dataclass
class SourcesConfig(PretrainingConfig):
    mix: str = field(
        default=MIXES[0],
        metadata={
            "help": "order of the sources of batches: proportional (random, every record in every epoch) or released (at each "
            "step every source that has a whole batch left is as likely, so that a small one is used up early)"
        },
    )
    echo_upsample: int = field(default=1, metadata={"help": "how often an epoch goes through the records with echocardiograms"})


@host.register_task("ecg_echo_pretraining", dataclass=SourcesConfig)
class SourcesTask(PretrainingTask):
    """Pre-training on two sources."""

    name = "ecg_echo_pretraining"

    def __init__(self, cfg: Any):
        """
        Raises:
            DataError: a setting that batches of several sources cannot have.
        """
        super().__init__(cfg)
        if cfg.mix not in MIXES:
            raise DataError(f"task.mix must be one of {', '.join(MIXES)}, not {cfg.mix!r}")
        if cfg.echo_upsample < 1:
            raise DataError(f"task.echo_upsample={cfg.echo_upsample}: must be at least 1")
        if cfg.group_by_length:
            raise DataError("task.group_by_length=true: not with ecg_echo_pretraining, whose batches are grouped by source")

    def use(self, system: registry.System, model: Any) -> None:
        """
        Raises:
            DataError: the system knows no echocardiograms.
        """
        able = sorted(name for name, known in registry.systems().items() if ECG_ECHO in known.inputs_class().sources)
        if system.name not in able:
            raise DataError(
                f"the task {self.name} trains model._name = {', '.join(able)}, not {system.name}, which knows no "
                "echocardiograms; use task._name=cmelt_pretraining"
            )
        super().use(system, model)

    def load_dataset(self, split: str, combine: bool = False, **kwargs: Any) -> None:
        """
        Raises:
            DataError: as of every pre-training task; or a subject of the training set is in another split, whatever the source.
        """
        if combine and not split.startswith("valid"):
            check_disjoint(Path(self.data_directory(self.cfg.data)), split)
        super().load_dataset(split, combine, **kwargs)

    def sources_of(self, manifest: Manifest) -> np.ndarray:
        return read_sources(manifest)

    def paired_dataset(
        self,
        manifest: Manifest,
        tokens: Optional[TokenTable],
        training: bool,
        labels: Optional[np.ndarray],
        sources: Optional[np.ndarray],
    ) -> SourcesDataset:
        assert sources is not None
        cfg = self.cfg
        options = SourceOptions(
            seed=cfg.seed,
            train=training,
            max_text_tokens=cfg.max_text_tokens,
            standardise_probability=cfg.standardise_probability,
            mix=cfg.mix,
            echo_upsample=cfg.echo_upsample,
        )
        return SourcesDataset(manifest, self.inputs, tokens, options, labels, sources)

    def prepared(self, sample: dict[str, Any]) -> dict[str, Any]:
        return restored(super().prepared(sample))

    def has_loss(self, sample: dict[str, Any]) -> bool:
        return super().has_loss(sample) or "teacher_row" in sample

    def new_evaluation(self, dataset: Any, n_batches: int) -> Optional[SourcesValidation]:
        names, prompts = self.prompts[dataset]
        return SourcesValidation(n_batches, names, prompts, self.cfg.max_text_tokens, host.data_parallel_group())

    def reduce_metrics(self, logging_outputs: Any, criterion: Any) -> None:
        super().reduce_metrics(logging_outputs, criterion)
        if any(METRIC_RANKS in log and "loss" in log for log in logging_outputs):
            host.metrics.log_derived(SELECTION, selection, priority=50)


def selection(meters: Any) -> float:
    """What the best checkpoint has least of: its validation losses, each by itself, and what ECG → echo R@5 lacks of 1.

    Labels take no part in it.

    Args:
        meters: the host's meters of a validation pass, by name.
    """
    losses = sum(meter.avg for name, meter in meters.items() if name.startswith("loss_"))
    return float(losses + (1 - meters[RECALL].avg if RECALL in meters else 0.0))
