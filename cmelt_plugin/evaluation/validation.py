"""Metrics that need a whole validation subset, gathered batch by batch and over all ranks.

The hosts average what a criterion logs per batch, which is wrong for retrieval and AUC. The task therefore keeps what the
model says about each record of a pass over a subset here, and the last batch's logging output carries the metrics.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cmelt_plugin.data.text.tokens import TokenTable
from cmelt_plugin.evaluation.metrics.multi_label import macro_auc
from cmelt_plugin.evaluation.metrics.retrieval import pair_recalls
from cmelt_plugin.losses.gather import gather_rows, row_counts
from cmelt_plugin.models.base import Embedding
from cmelt_plugin.models.inference.scoring import embed_classes, similarities


class ValidationPass:
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

    def metrics(self, model: Any, columns: dict[str, Tensor]) -> dict[str, float]:
        """Name → value from every record of the subset, each once, by rising ``id``; the same on every rank."""
        raise NotImplementedError

    @torch.no_grad()
    def add(self, model: Any, sample: dict[str, Any], out: Any = None) -> dict[str, float] | None:
        """Take in one batch; after the last one return the metrics.

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
        columns = unique_records(self._gather())
        return {**self.metrics(model, columns), "records": float(len(columns["id"]))}

    def _gather(self) -> dict[str, Tensor]:
        columns = {name: torch.cat(values) for name, values in self.columns.items()}
        if self.group is None:
            return columns
        if not columns:
            raise RuntimeError("this process got no batch of the subset; use fewer processes than there are batches")
        counts = row_counts(len(columns["id"]), columns["id"].device, self.group)
        return {name: gather_rows(values, counts, self.group) for name, values in sorted(columns.items())}


def unique_records(columns: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rows by rising ``id``, the first of each: a rank that runs out of batches repeats one."""
    order = columns["id"].argsort(stable=True)
    ids = columns["id"][order]
    first = torch.ones(len(ids), dtype=torch.bool, device=ids.device)
    first[1:] = ids[1:] != ids[:-1]
    return {name: values[order[first]] for name, values in columns.items()}


class TextModelValidation(ValidationPass):
    """Retrieval and zero-shot classification with a model of ECGs and texts.

    Args:
        n_batches: as :class:`ValidationPass`.
        label_names: classes of the subset's labels; None: no zero-shot classification.
        prompts: token ids of the class texts.
        max_text_tokens: longer class texts are cut.
        group: as :class:`ValidationPass`.
    """

    def __init__(
        self,
        n_batches: int,
        label_names: Sequence[str] | None = None,
        prompts: TokenTable | None = None,
        max_text_tokens: int | None = None,
        group: Any = None,
    ):
        super().__init__(n_batches, group)
        self.label_names = label_names
        self.prompts = prompts
        self.max_text_tokens = max_text_tokens

    def rows(self, model: Any, sample: dict[str, Any], out: Any = None) -> dict[str, Tensor]:
        inputs = sample["net_input"]
        rows = {"id": sample["id"], **_columns("ecg", model.embed_ecg(inputs["ecg"], inputs["n_samples"]))}
        if "report_text" in sample:
            rows.update(_columns("text", model.embed_text(sample["report_text"], sample["report_padding_mask"])))
            rows["report"] = sample["report_id"]
        if "labels" in sample:
            rows["labels"] = sample["labels"].float()
        return rows

    def metrics(self, model: Any, columns: dict[str, Tensor]) -> dict[str, float]:
        return {**self.retrieval(model, columns), **self.zero_shot(model, columns)}

    def retrieval(self, model: Any, columns: dict[str, Tensor]) -> dict[str, float]:
        """Recall of ECGs and reports, where there are any."""
        if "report" not in columns:
            return {}
        return pair_recalls(model, _embedding("ecg", columns), _embedding("text", columns), columns["report"])

    def zero_shot(self, model: Any, columns: dict[str, Tensor]) -> dict[str, float]:
        """AUC of the classes, where there are labels and class texts."""
        metrics: dict[str, float] = {}
        ecg = _embedding("ecg", columns)
        if self.prompts is not None and self.label_names is not None and self.prompts.class_index is not None:
            texts = [self.prompts[index] for index in range(len(self.prompts))]
            pad_id, n_classes = self.prompts.info["pad_id"], len(self.label_names)
            classes = embed_classes(
                model, texts, self.prompts.class_index, n_classes, pad_id, ecg.mean.device, self.max_text_tokens
            )
            scores = similarities(model, ecg, classes)
            auc = macro_auc(columns["labels"].cpu().numpy(), scores.cpu().numpy(), self.label_names)
            metrics["macro_auc"] = auc.macro
            metrics["classes_without_auc"] = float(len(auc.excluded))
            metrics.update({f"auc_{name}": value for name, value in auc.per_class.items()})
        return metrics


class SourcesValidation(TextModelValidation):
    """The same where a record has a report or a teacher's echocardiogram, and retrieval between ECGs and echocardiograms.

    All batches have all columns, for ranks may have batches of different sources.
    """

    def rows(self, model: Any, sample: dict[str, Any], out: Any = None) -> dict[str, Tensor]:
        rows = super().rows(model, sample)
        nothing = {name[len("ecg_") :]: torch.zeros_like(values) for name, values in rows.items() if name.startswith("ecg_")}
        inputs, none = sample["net_input"], torch.full_like(sample["id"], -1)
        text = {f"text_{name}": values for name, values in nothing.items()}
        echo = {f"echo_{name}": inputs.get(f"teacher_{name}", values) for name, values in nothing.items()}
        return {**text, "report": none, **rows, **echo, "echo": sample.get("teacher_row", none)}

    def retrieval(self, model: Any, columns: dict[str, Tensor]) -> dict[str, float]:
        metrics = {}
        for modality, key in (("text", columns["report"]), ("echo", columns["echo"])):
            own = key >= 0
            if own.any():
                ecg, other = (_embedding(name, columns).select(own) for name in ("ecg", modality))
                metrics.update(pair_recalls(model, ecg, other, key[own], other=modality))
        return metrics


def _columns(prefix: str, embedding: Embedding) -> dict[str, Tensor]:
    """The fields of B embeddings as tensors ``[B, D]`` that can be gathered."""
    return {f"{prefix}_{name}": values for name, values in embedding._asdict().items() if values is not None}


def _embedding(prefix: str, columns: dict[str, Tensor]) -> Embedding:
    return Embedding(columns[f"{prefix}_mean"], columns.get(f"{prefix}_log_variance"))
