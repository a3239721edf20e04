"""Figures that need a whole validation subset, gathered batch by batch and over all ranks.

The hosts average what a criterion logs per batch, which is wrong for retrieval and AUC. The task therefore keeps the
embeddings of a pass over a subset here, and the last batch's logging output carries the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cmelt_plugin.data.tokens import TokenTable
from cmelt_plugin.evaluation.classification import macro_auc
from cmelt_plugin.evaluation.retrieval import retrieval_figures
from cmelt_plugin.evaluation.zero_shot import class_embeddings
from cmelt_plugin.losses.gather import gather_rows, row_counts


class SubsetEvaluation:
    """One pass over one subset.

    Args:
        n_batches: batches each rank goes through, empty ones included.
        label_names: classes of the subset's labels; None: no zero-shot classification.
        prompts: token ids of the class texts.
        group: process group; None in a single process.
    """

    def __init__(
        self,
        n_batches: int,
        label_names: Sequence[str] | None = None,
        prompts: TokenTable | None = None,
        group: Any = None,
    ):
        self.n_batches = n_batches
        self.label_names = label_names
        self.prompts = prompts
        self.group = group
        self.seen = 0
        self.columns: dict[str, list[Tensor]] = {}

    @torch.no_grad()
    def add(self, model: Any, sample: dict[str, Any]) -> dict[str, float] | None:
        """Take in one batch (``{}`` for a rank that has none left); after the last one return the figures."""
        self.seen += 1
        if sample:
            self._embed(model, sample)
        return self._figures(model) if self.seen == self.n_batches else None

    def _embed(self, model: Any, sample: dict[str, Any]) -> None:
        inputs = sample["net_input"]
        rows = {"id": sample["id"], "ecg": model.embed_ecg(inputs["ecg"], inputs["n_samples"])}
        if "report_text" in sample:
            rows["text"] = model.embed_text(sample["report_text"], sample["report_padding_mask"])
            rows["report"] = sample["report_id"]
        if "labels" in sample:
            rows["labels"] = sample["labels"].float()
        for name, values in rows.items():
            self.columns.setdefault(name, []).append(values)

    def _figures(self, model: Any) -> dict[str, float]:
        columns = self._gather()
        # A rank that runs out of batches repeats one: every record counts once.
        ids = columns["id"].cpu()
        first = torch.ones(len(ids), dtype=torch.bool)
        order = ids.argsort(stable=True)
        first[order[1:][ids[order[1:]] == ids[order[:-1]]]] = False
        columns = {name: values[first.to(values.device)] for name, values in columns.items()}
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
        figures["records"] = float(len(columns["id"]))
        return figures

    def _gather(self) -> dict[str, Tensor]:
        columns = {name: torch.cat(values) for name, values in self.columns.items()}
        if self.group is None:
            return columns
        if not columns:
            raise RuntimeError("this process got no batch of the subset; use fewer processes than there are batches")
        counts = row_counts(len(columns["id"]), columns["id"].device, self.group)
        return {name: gather_rows(values, counts, self.group) for name, values in sorted(columns.items())}
