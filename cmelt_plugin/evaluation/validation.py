"""Figures that need a whole validation subset, gathered batch by batch and over all ranks.

The hosts average what a criterion logs per batch, which is wrong for retrieval and AUC. The task therefore keeps what the
model says about each record of a pass over a subset here, and the last batch's logging output carries the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cmelt_plugin.data.text.tokens import TokenTable
from cmelt_plugin.evaluation.metrics.multi_label import macro_auc
from cmelt_plugin.evaluation.metrics.recall import retrieval_figures
from cmelt_plugin.evaluation.zero_shot.class_embeddings import class_embeddings
from cmelt_plugin.losses.gather import gather_rows, row_counts


class GatheredSubset:
    """One pass over one subset; subclasses say what is kept of a record and what is computed from all of them.

    Args:
        n_batches: batches each rank goes through, empty ones included.
        group: process group; None in a single process.
    """

    def __init__(self, n_batches: int, group: Any = None):
        self.n_batches = n_batches
        self.group = group
        self.seen = 0
        self.columns: dict[str, list[Tensor]] = {}

    def rows(self, model: Any, sample: dict[str, Any], out: Any) -> dict[str, Tensor]:
        """What is kept of a batch of B records: ``[B, …]`` each, numbers of records under ``id``."""
        raise NotImplementedError

    def figures(self, model: Any, columns: dict[str, Tensor]) -> dict[str, float]:
        """Name → value from every record of the subset, each once, by rising ``id``; the same on every rank."""
        raise NotImplementedError

    @torch.no_grad()
    def add(self, model: Any, sample: dict[str, Any], out: Any = None) -> dict[str, float] | None:
        """Take in one batch; after the last one return the figures.

        Args:
            model: without the hosts' wrappers.
            sample: the batch; ``{}`` for a rank that has none left.
            out: what the model returned for it, where it was asked already.
        """
        self.seen += 1
        if sample:
            for name, values in self.rows(model, sample, out).items():
                self.columns.setdefault(name, []).append(values)
        if self.seen != self.n_batches:
            return None
        columns = each_once(self._gather())
        return {**self.figures(model, columns), "records": float(len(columns["id"]))}

    def _gather(self) -> dict[str, Tensor]:
        columns = {name: torch.cat(values) for name, values in self.columns.items()}
        if self.group is None:
            return columns
        if not columns:
            raise RuntimeError("this process got no batch of the subset; use fewer processes than there are batches")
        counts = row_counts(len(columns["id"]), columns["id"].device, self.group)
        return {name: gather_rows(values, counts, self.group) for name, values in sorted(columns.items())}


def each_once(columns: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rows by rising ``id``, the first of each: a rank that runs out of batches repeats one."""
    order = columns["id"].argsort(stable=True)
    ids = columns["id"][order]
    first = torch.ones(len(ids), dtype=torch.bool, device=ids.device)
    first[1:] = ids[1:] != ids[:-1]
    return {name: values[order[first]] for name, values in columns.items()}


class SubsetEvaluation(GatheredSubset):
    """Retrieval and zero-shot classification with a C-MELT.

    Args:
        n_batches: as :class:`GatheredSubset`.
        label_names: classes of the subset's labels; None: no zero-shot classification.
        prompts: token ids of the class texts.
        group: as :class:`GatheredSubset`.
    """

    def __init__(
        self,
        n_batches: int,
        label_names: Sequence[str] | None = None,
        prompts: TokenTable | None = None,
        group: Any = None,
    ):
        super().__init__(n_batches, group)
        self.label_names = label_names
        self.prompts = prompts

    def rows(self, model: Any, sample: dict[str, Any], out: Any = None) -> dict[str, Tensor]:
        inputs = sample["net_input"]
        rows = {"id": sample["id"], "ecg": model.embed_ecg(inputs["ecg"], inputs["n_samples"]).mean}
        if "report_text" in sample:
            rows["text"] = model.embed_text(sample["report_text"], sample["report_padding_mask"]).mean
            rows["report"] = sample["report_id"]
        if "labels" in sample:
            rows["labels"] = sample["labels"].float()
        return rows

    def figures(self, model: Any, columns: dict[str, Tensor]) -> dict[str, float]:
        figures: dict[str, float] = {}
        if "text" in columns:
            figures.update(retrieval_figures(columns["ecg"], columns["text"], columns["report"]))
        if self.prompts is not None and self.label_names is not None:
            classes = class_embeddings(model, self.prompts, len(self.label_names), columns["ecg"].device)
            scores = columns["ecg"] @ classes.T
            auc = macro_auc(columns["labels"].cpu().numpy(), scores.cpu().numpy(), self.label_names)
            figures["macro_auc"] = auc.macro
            figures["classes_without_auc"] = float(len(auc.excluded))
            figures.update({f"auc_{name}": value for name, value in auc.per_class.items()})
        return figures
