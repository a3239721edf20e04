"""One labelled set: what is needed to evaluate it, and its results by the model's own texts and by a teacher's."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from cmelt_plugin.data.directory.manifest import available_splits
from cmelt_plugin.data.teacher import TeacherPrompts
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding.encoder import SplitEncoder
from cmelt_plugin.evaluation.embedding.teacher_items import Centring
from cmelt_plugin.evaluation.labelled_split import LabelledSplit, open_labelled
from cmelt_plugin.evaluation.options import CommandFacts
from cmelt_plugin.evaluation.result_files import Result
from cmelt_plugin.evaluation.zero_shot.class_texts import ClassTexts, choose_class_texts, embed_class_texts
from cmelt_plugin.evaluation.zero_shot.evaluate import (
    Evaluation,
    evaluate,
    evaluate_shift,
    shift_sources,
    validation_thresholds,
    write_evaluation,
)
from cmelt_plugin.evaluation.zero_shot.teacher_texts import teacher_classes
from cmelt_plugin.models.base import COSINE, Embedding
from cmelt_plugin.models.inference.pretrained import Pretrained

TEACHER, CENTRED = "teacher", "teacher, centred"
"""Kinds of class text that are the teacher's."""


class PlannedSet(NamedTuple):
    """A set to evaluate, with everything found before the first recording is read.

    Attributes:
        name: of its folder and rows.
        test: records and labels.
        valid: validation data for thresholds, or None.
        texts: one entry per kind of class text.
    """

    name: str
    test: LabelledSplit
    valid: LabelledSplit | None
    texts: list[ClassTexts]


def plan_set(name: str, directory: Path, args: argparse.Namespace) -> PlannedSet:
    """Open what a set needs.

    Raises:
        DataError: the split, its labels or class texts are missing, or thresholds would come from the evaluated split.
    """
    test = open_labelled(directory, args.split)
    kinds = args.compare_prompts or [args.prompt_kind]
    texts = [choose_class_texts(directory, test.names, kind, args.prompts) for kind in dict.fromkeys(kinds)]
    valid = None
    if args.thresholds_from != "none":
        source = args.thresholds_manifest or directory
        if args.thresholds_from == args.split and source.resolve() == directory.resolve():
            raise DataError(
                f"--thresholds-from {args.thresholds_from}: thresholds chosen on the split that is evaluated flatter F1 and "
                "accuracy; choose another split, or none"
            )
        if args.thresholds_manifest is not None or args.thresholds_from in available_splits(source):
            valid = open_labelled(source, args.thresholds_from)
        if valid is not None and valid.data_set == test.data_set and set(valid.record_id) & set(test.record_id):
            raise DataError(
                f"{source}, split {args.thresholds_from}: holds records of {directory}, split {args.split}; thresholds must "
                "come from other records than those they are applied to"
            )
    return PlannedSet(name, test, valid, texts)


class SetEvaluator:
    """Evaluates one set by one kind of class text after the other.

    Args:
        planned: the set.
        pretrained: the model.
        encoder: its encoder of splits.
        args: of the command.
        leads: that the model sees; None: all.

    Attributes:
        results: so far.
    """

    def __init__(
        self,
        planned: PlannedSet,
        pretrained: Pretrained,
        encoder: SplitEncoder,
        args: argparse.Namespace,
        leads: Sequence[str] | None = None,
    ) -> None:
        self.planned, self.pretrained, self.args = planned, pretrained, args
        self.ecg = encoder.embeddings(planned.test.manifest, leads)
        self.valid_ecg = None if planned.valid is None else encoder.embeddings(planned.valid.manifest, leads)
        self.results: list[Result] = []

    def own_texts(self, texts: ClassTexts, facts: CommandFacts) -> Evaluation:
        """By texts through the model's text encoder."""
        test, pretrained = self.planned.test, self.pretrained
        classes = embed_class_texts(pretrained, test.manifest.directory, texts, self.args.tokenizer is None)
        folder = self.planned.name if len(self.planned.texts) == 1 else f"{self.planned.name}-{texts.kind}"
        scores = functools.partial(classes.scores, pretrained.model, device=pretrained.device)
        return self._evaluated(test, texts, facts, scores, folder)

    def teacher_texts(self, prompts: TeacherPrompts, facts: CommandFacts) -> None:
        """By a teacher's texts, for the classes of which it has some; centred, too, where there is validation data."""
        taught = teacher_classes(prompts, self.planned.test.names)
        if not taught.names:
            return
        columns = [self.planned.test.names.index(name) for name in taught.names]
        test = self.planned.test._replace(names=taught.names, labels=self.planned.test.labels[:, columns])
        facts = facts._replace(settings={**facts.settings, "score": COSINE})
        kinds: dict[str, Centring | None] = {TEACHER: None}
        if self.valid_ecg is not None:
            kinds[CENTRED] = Centring.of(self.valid_ecg.mean, torch.from_numpy(prompts.emb))
        for kind, centring in kinds.items():
            source = str(self.args.teacher)
            texts = ClassTexts(taught.texts(taught.present), kind, source, taught.texts(taught.absent))
            folder = f"{self.planned.name}-{kind.replace(', ', '-')}"
            self._evaluated(test, texts, facts, functools.partial(taught.scores, centring=centring), folder)

    def _evaluated(
        self,
        test: LabelledSplit,
        texts: ClassTexts,
        facts: CommandFacts,
        scores: Callable[[Embedding], np.ndarray],
        folder: str,
    ) -> Evaluation:
        valid = self.planned.valid
        thresholds = None
        notes = ["No validation data, hence no thresholds, F1 and accuracy."]
        if valid is not None and self.valid_ecg is not None:
            thresholds, pairs = validation_thresholds(test, valid, scores(self.valid_ecg), self.args.threshold_rule)
            correspondence = ", ".join(f"{name} by {other}" for name, other in pairs.items()) or "none"
            same = valid.label_set == test.label_set
            notes = [] if same else [f"Thresholds come from classes of another label set: {correspondence}."]
        evaluation = evaluate(test, scores(self.ecg), texts, facts, thresholds, notes)
        embeddings = self.ecg.mean.numpy() if self.args.keep_embeddings else None
        write_evaluation(self.args.results / folder, evaluation, texts, embeddings)
        self.results.append(evaluation.result)
        return evaluation


def evaluate_set(
    planned: PlannedSet,
    pretrained: Pretrained,
    encoder: SplitEncoder,
    facts: CommandFacts,
    args: argparse.Namespace,
    prompts: TeacherPrompts | None = None,
    leads: Sequence[str] | None = None,
) -> tuple[list[Result], list[Result]]:
    """Evaluate one set and write its folders: a result per kind of text, and those of distribution shift (first kind).

    Args:
        planned: the set.
        pretrained, encoder: the model.
        facts, args: of the command.
        prompts: a teacher's texts, to score by as well.
        leads: that the model sees; None: all.
    """
    evaluator = SetEvaluator(planned, pretrained, encoder, args, leads)
    shifts = []
    for texts in planned.texts:
        evaluation = evaluator.own_texts(texts, facts)
        for source in shift_sources(planned.test.label_set) if args.shift and texts is planned.texts[0] else ():
            shift = evaluate_shift(evaluation, planned.test, source, facts)
            write_evaluation(args.results / f"shift-{source}-to-{planned.name}", shift)
            shifts.append(shift.result)
    if prompts is not None:
        evaluator.teacher_texts(prompts, facts)
    return evaluator.results, shifts
