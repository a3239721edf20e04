"""What EchoingECG's batches hold beside the ECG: a report, or the teacher's Gaussian of an echocardiogram."""

from dataclasses import dataclass, field
from typing import Any, Optional

import numpy as np
import torch

from cmelt_plugin.data.batches.inputs import ECG_ECHO, SOURCES, InputOptions, Inputs, Pairs, Records, SplitInputs
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.teacher import Teacher, open_teacher
from cmelt_plugin.errors import DataError


@dataclass
class EchoingInputOptions(InputOptions):
    teacher: Optional[str] = field(
        default=None,
        metadata={
            "help": "folder of the teacher's Gaussians of echocardiograms (preprocess/echo_teacher.py), for ecg_echo records"
        },
    )
    teacher_log_variance_min: float = field(
        default=-14.0,
        metadata={"help": "smaller log-variances of the teacher are raised to this; a single frame has -18.4 throughout"},
    )


class EchoingSplitInputs(SplitInputs):
    """Every ECG beside its report, or beside its echocardiogram.

    Adds to ``net_input`` ``text`` and ``text_padding_mask``; or ``teacher_mean`` and ``teacher_log_variance`` (float32
    ``[B, D]``), and then to the batch ``teacher_row`` (int64 ``[B]``), by which ECGs of one echocardiogram are known.

    Args:
        pairs: the split.
        teacher: of the echocardiograms; None: there are none.
        rows: int64 ``[n]``, the teacher's row of every record that has one.
        least: the smallest log-variance.
    """

    def __init__(self, pairs: Pairs, teacher: Optional[Teacher], rows: np.ndarray, least: float):
        super().__init__(pairs)
        self.teacher, self.rows, self.least = teacher, rows, least

    def add(self, batch: dict[str, Any], records: Records) -> None:
        if records.source != ECG_ECHO:
            super().add(batch, records)
            return
        assert self.teacher is not None
        rows = self.rows[records.rows]
        log_variance = np.maximum(self.teacher.log_variance[rows], np.float32(self.least))
        batch["net_input"].update(
            teacher_mean=torch.from_numpy(self.teacher.mean[rows]), teacher_log_variance=torch.from_numpy(log_variance)
        )
        batch["teacher_row"] = torch.from_numpy(rows)


class EchoingInputs(Inputs):
    """See :class:`EchoingSplitInputs`."""

    Options = EchoingInputOptions
    options: EchoingInputOptions
    sources = SOURCES
    exact = ("teacher_mean", "teacher_log_variance")

    def __init__(self, options: EchoingInputOptions, model: Any):
        super().__init__(options, model)
        self.embed_dim: int = model.cfg.embed_dim

    def open(self, pairs: Pairs) -> EchoingSplitInputs:
        """
        Raises:
            DataError: records have echocardiograms, and there is no teacher, it is of another width, or it lacks one of them.
        """
        with_echo = np.zeros(0, np.int64) if pairs.sources is None else np.flatnonzero(pairs.sources == SOURCES.index(ECG_ECHO))
        if not len(with_echo):
            return EchoingSplitInputs(pairs, None, with_echo, self.options.teacher_log_variance_min)
        manifest = pairs.manifest
        if not self.options.teacher:
            raise DataError(
                f"{manifest.directory}/{manifest.split}: {len(with_echo)} records have echocardiograms (source ecg_echo); set "
                "task.teacher to the folder of the teacher's Gaussians (written by preprocess/echo_teacher.py)"
            )
        teacher = open_teacher(self.options.teacher)
        if teacher.dim != self.embed_dim:
            raise DataError(
                f"{self.options.teacher}: embeddings of {teacher.dim} numbers, the model's have {self.embed_dim}; set "
                f"model.embed_dim={teacher.dim}"
            )
        rows = np.full(len(manifest), -1, dtype=np.int64)
        rows[with_echo] = teacher.rows(teacher_ids(manifest, with_echo))
        return EchoingSplitInputs(pairs, teacher, rows, self.options.teacher_log_variance_min)


def teacher_ids(manifest: Manifest, rows: np.ndarray) -> list[str]:
    """The column ``teacher_id`` of some rows of a split.

    Raises:
        DataError: there is no such column, or it has no value in one of the rows.
    """
    column = manifest.meta(["teacher_id"])["teacher_id"].take(rows).to_pylist()
    missing = [row for row, name in zip(rows.tolist(), column) if not name]
    if missing:
        raise DataError(
            f"{manifest.directory}/{manifest.split}.meta.parquet, row {missing[0]}: source is ecg_echo, but there is no "
            f"teacher_id ({len(missing)} such rows in all)"
        )
    return column
