"""What a system's mini-batches hold beside ECG and report: the hooks that ``models/SYSTEM/inputs.py`` fills in.

:class:`Inputs` is made once, from the options of the task and the model; :class:`SplitInputs` once for each split. Where a
system adds nothing, these classes serve as they are: every ECG stands beside its own report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.text.padding import padded_texts
from cmelt_plugin.data.text.tokens import TokenTable

ECG_TEXT, ECG_ECHO = "ecg_text", "ecg_echo"
SOURCES = (ECG_TEXT, ECG_ECHO)
"""What a record has beside its ECG, where a system is trained on records of several kinds: a report or an echocardiogram."""


@dataclass
class InputOptions:
    """Options of the task ``cmelt_pretraining`` that a system adds; a subclass has a field, with its help, for each."""


class Pairs(NamedTuple):
    """The pairs of one split.

    Attributes:
        manifest: the split.
        tokens: token ids of the manifest's reports; None: the system reads no texts.
        report_ids: int32 ``[n]``, the report of every record; None: no texts.
        max_text_tokens: longer texts are cut.
        train: whether the split is trained on: everything is drawn anew every epoch.
        sources: int8 ``[n]``, places in :data:`SOURCES`; None: all records have their reports.
    """

    manifest: Manifest
    tokens: TokenTable | None
    report_ids: np.ndarray | None
    max_text_tokens: int
    train: bool
    sources: np.ndarray | None = None

    def texts(self) -> tuple[TokenTable, np.ndarray]:
        """:attr:`tokens` and :attr:`report_ids` of a system that reads texts."""
        if self.tokens is None or self.report_ids is None:
            raise RuntimeError("the system was registered with reads_text=False")
        return self.tokens, self.report_ids


class Records(NamedTuple):
    """The records of a mini-batch.

    Attributes:
        rows: int64 ``[B]``, rows of the manifest.
        report_ids: int32 ``[B]``, their own reports; None: no texts.
        shown: int64 ``[B]``, the reports they are shown with where :meth:`SplitInputs.texts_of_epoch` chose them, else None.
        generators: a source of random numbers for each record, which depends on (seed, epoch, row) alone. Numbers of a fixed
            count are to be drawn first, so that none depends on the texts of its neighbours.
        source: one of :data:`SOURCES`, of all of them; None: all have their reports.
    """

    rows: np.ndarray
    report_ids: np.ndarray | None
    shown: np.ndarray | None
    generators: Sequence[np.random.Generator]
    source: str | None = None


class SplitInputs:
    """Base: every ECG beside its own report, unmasked, as ``text`` and ``text_padding_mask`` of the model's inputs."""

    halves: ClassVar[bool] = False
    """Whether the halves of a batch are shown with unlike texts; batches of similar length are then made half by half."""

    def __init__(self, pairs: Pairs):
        self.pairs = pairs

    def texts_of_epoch(self, order: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
        """The report that each record is shown with, where batches are made by the lengths of texts.

        Args:
            order: int32 ``[n]``, rows of the manifest in the order of this epoch.
            size: rows of a batch.
            rng: for whatever is drawn.

        Returns:
            int32 ``[n]``, in the same order.
        """
        return self.pairs.texts()[1][order].astype(np.int32)

    def add(self, batch: dict[str, Any], records: Records) -> None:
        """Add to a mini-batch, which has the ECGs, what else the model and the criterion read.

        Args:
            batch: ``id [B]``; ``net_input`` (``ecg``, ``n_samples``); ``ntokens``; with texts ``report_id [B]``.
            records: which they are.
        """
        if records.report_ids is not None:
            self.add_texts(batch, *self.padded_texts(records.report_ids))

    def padded_texts(self, report_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ids int64 ``[B, L]`` and padding bool ``[B, L]`` (True = padding) of reports."""
        return padded_texts(self.pairs.texts()[0], report_ids, self.pairs.max_text_tokens)

    @staticmethod
    def add_texts(batch: dict[str, Any], ids: np.ndarray, padding: np.ndarray) -> None:
        batch["net_input"].update(text=torch.from_numpy(ids), text_padding_mask=torch.from_numpy(padding))
        batch["ntokens"] = int((~padding).sum())


class Inputs:
    """Base: what a system's batches hold, whatever the split.

    Args:
        options: an :attr:`Options`.
        model: the system's model, for what follows from its sizes.
    """

    Options: ClassVar[type[InputOptions]] = InputOptions
    Split: ClassVar[type[SplitInputs]] = SplitInputs
    text_fillers: ClassVar[Mapping[str, Any]] = {"text": 0, "text_padding_mask": True}
    """Inputs ``[B, L]`` of the model that are as long as the texts, and what they are filled up with."""
    sources: ClassVar[tuple[str, ...]] = (ECG_TEXT,)
    """Of :data:`SOURCES` those whose records it can be trained on."""
    exact: ClassVar[tuple[str, ...]] = ()
    """Float32 inputs of the model that no host may round on their way to it."""
    reads_statements: ClassVar[bool] = False
    """Whether batches say where a report's statements lie; token files must then be of its statements as they are now."""

    def __init__(self, options: Any, model: Any):
        self.options = options

    def open(self, pairs: Pairs) -> SplitInputs:
        """What batches of one split need.

        Raises:
            DataError: the split cannot be trained or evaluated on.
        """
        return self.Split(pairs)

    def missing(self, manifest: Manifest, sources: np.ndarray | None = None) -> str | None:
        """What keeps records and reports of a split from being pairs; None where nothing does.

        Args:
            manifest: the split.
            sources: as :attr:`Pairs.sources`; records of ``ecg_echo`` need no report.
        """
        lacking = manifest.report_ids() < 0
        without = int((lacking if sources is None else lacking & (sources == SOURCES.index(ECG_TEXT))).sum())
        return f"{without} of {len(manifest)} records have no report" if without else None
