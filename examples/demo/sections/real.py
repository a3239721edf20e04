"""Real recordings: how well the model ranks those of PTB-XL, or what it says about others, which have no labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cmelt_plugin.data.directory.manifest import Manifest, available_splits
from cmelt_plugin.evaluation.embedding.records import embed_records
from cmelt_plugin.evaluation.metrics.bootstrap import bootstrap_samples, percentile_intervals
from cmelt_plugin.evaluation.plots.classification import auc_columns, auc_figure
from cmelt_plugin.evaluation.plots.prediction import prediction_figure
from cmelt_plugin.evaluation.report.blocks import Block, Metric, Notice, Paragraph, Picture, Section, Table
from cmelt_plugin.models.base import Embedding, concatenate
from cmelt_plugin.models.building import build_random
from cmelt_plugin.models.files.checkpoint import LoadedModel
from cmelt_plugin.models.inference.predictor import MEANING
from cmelt_plugin.models.inference.pretrained import Pretrained
from cmelt_plugin.models.inference.scoring import similarities
from cmelt_plugin.prompts import class_names, load_prompts
from examples.demo.class_areas import MIN_RECORDS, ClassAreas, class_areas
from examples.demo.commands import MOST_REAL
from preprocess.data_sets.ptb_xl_labels import STATEMENTS_FILE, label_matrix, label_set_of, parse_all_codes, read_statements
from preprocess.ptb_xl import DATABASE, read_database

TITLE = "Real recordings"
NOTICE = Notice(
    "The model was trained on synthetic recordings alone. It is no medical device, and its scores are no diagnoses."
)
TASKS = {"super": "superclasses", "sub": "subclasses", "form": "form", "rhythm": "rhythm", "all": "statements"}
RANDOM_SEEDS = 5
BEGINNING = '{"record"'  # of a line of ``predict --format jsonl``
SHOWN, TOP = 40, 3  # recordings in the table, classes of each


class TaskAreas(NamedTuple):
    """One of PTB-XL's label sets.

    Attributes:
        n_records: that have a label of it.
        areas: of the trained model.
        interval: 95 % interval of their mean, patients resampled.
        random: mean of the same classes' areas with random weights, over :data:`RANDOM_SEEDS` of them.
    """

    n_records: int
    areas: ClassAreas
    interval: tuple[float, float]
    random: float


def ptb_xl_section(loaded: Pretrained, directory: Path, root: Path) -> tuple[Section, list[Metric]]:
    """Areas of the classes of PTB-XL's label sets, and their means as metrics.

    Args:
        loaded: the model.
        directory: the packed recordings.
        root: folder of the data set, for its labels.
    """
    splits = [Manifest.open(directory, split) for split in available_splits(directory)]
    meta = [split.meta(["record_id", "subject_id"]) for split in splits]
    records, subjects = (sum((part[name].to_pylist() for part in meta), []) for name in ("record_id", "subject_id"))
    table = read_database(root, more=["scp_codes"]).set_index("ecg_id", drop=False).loc[records]
    models = [loaded, *(_untrained(loaded, seed) for seed in range(RANDOM_SEEDS))]
    embedded = [concatenate([embed_records(model.model, split) for split in splits]) for model in models]
    statements = read_statements(root / STATEMENTS_FILE)
    codes = parse_all_codes(records, table["scp_codes"].tolist(), statements, root / DATABASE)
    results = {}
    for task in TASKS:
        labels = label_matrix(codes, statements, task)
        own = (labels == 1).any(axis=1)
        if own.any():
            scores, *random = [_scores(model, ecg, task)[own] for model, ecg in zip(models, embedded)]
            results[task] = _task_areas(labels[own], scores, random, class_names(label_set_of(task)), np.array(subjects)[own])
    metrics = [
        Metric(f"real recordings, PTB-XL's {TASKS[task]}, macro AUC", result.areas.macro, None, 0.5)
        for task, result in results.items()
    ]
    head = ["label set of PTB-XL", "recordings", "classes", "macro AUC", "95 % interval", "random weights"]
    rows = [
        [TASKS[task], result.n_records, len(result.areas.per_class), f"{result.areas.macro:.3f}",
         f"{result.interval[0]:.3f} to {result.interval[1]:.3f}", f"{result.random:.3f}"]
        for task, result in results.items()
    ]  # fmt: skip
    every = results["all"].areas
    blocks: list[Block] = [
        NOTICE,
        Paragraph(
            f"{len(records)} recordings of {len(set(subjects))} patients in {root} (at most the first {MOST_REAL}, all "
            "folds: the model has seen none), compared with the plugin's own texts of PTB-XL's classes. Classes with "
            f"{MIN_RECORDS} positive and negative recordings count; intervals resample patients; chance is 0.5. Random "
            f"weights: the same model before training, mean of {RANDOM_SEEDS} seeds."
        ),
        Table(head, rows, numeric=[1, 2, 3, 4, 5]),
    ]
    if every.per_class:
        figure = auc_figure(every.per_class, every.positives, every.macro)
        wide = auc_columns(len(every.per_class)) > 1
        blocks.append(Picture(figure, "area under the ROC curve of each of PTB-XL's statements", wide=wide))
    return Section(TITLE, blocks), metrics


def _untrained(loaded: Pretrained, seed: int) -> Pretrained:
    """The same model with random weights."""
    model = LoadedModel(build_random(loaded.cfg["model"], loaded.source, seed), loaded.cfg, loaded.task_state)
    return Pretrained(model, loaded.source, loaded.tokenizer_source)


def _scores(model: Pretrained, ecg: Embedding, task: str) -> np.ndarray:
    """``[N, C]``."""
    _, classes = model.class_embeddings(load_prompts(label_set_of(task), "description"))
    return similarities(model.model, ecg, classes).numpy()


def _task_areas(
    labels: np.ndarray, scores: np.ndarray, random: Sequence[np.ndarray], names: list[str], subjects: np.ndarray
) -> TaskAreas:
    areas = class_areas(labels, scores, names)
    columns = [names.index(name) for name in areas.per_class]
    samples = bootstrap_samples(labels[:, columns], scores[:, columns], list(areas.per_class), subjects.tolist())
    interval = percentile_intervals(samples).get("macro_auc", (float("nan"), float("nan")))
    return TaskAreas(len(labels), areas, interval, float(np.mean([class_areas(labels, one, names).macro for one in random])))


def predictions_section(loaded: Pretrained, log: Path, root: Path) -> Section:
    """What the model says about recordings without labels.

    Args:
        loaded: the model.
        log: output of ``python -m cmelt_plugin.predict --format jsonl``.
        root: folder of the recordings.
    """
    predictions = read_predictions(log)
    best_first = [sorted(one["scores"], key=lambda name: -one["scores"][name]) for one in predictions]
    head = ["recording", *(f"{place}." for place in range(1, TOP + 1))]
    rows = [
        [Path(one["record"]).name, *(f"{name} {one['scores'][name]:.2f}" for name in names[:TOP])]
        for one, names in zip(predictions, best_first[:SHOWN])
    ]
    first = predictions[0]
    prepared = loaded.prepare(first["record"], missing_leads="zero")
    ecg = prepared.ecg[0, :, : int(prepared.n_samples[0])].numpy()
    figure = prediction_figure(ecg, first["scores"], MEANING[first["kind"]], first["kind"] != "similarity", title=rows[0][0])
    more = f", the first {SHOWN} of them below" if len(predictions) > SHOWN else ""
    return Section(
        TITLE,
        [
            NOTICE,
            Paragraph(
                f"{len(predictions)} recordings in {root}{more}: the classes of PTB-XL whose texts are most similar. There are "
                "no labels, so nothing says whether the model is right. Scores rank recordings; they are not probabilities."
            ),
            Table(head, rows),
            Picture(figure, "a 12-lead ECG and the scores of the classes", wide=True),
        ],
    )


def read_predictions(log: Path) -> list[dict[str, Any]]:
    """The predictions among the lines of a log, some of them behind a bar of progress; recordings that could not be read are
    left out."""
    lines = log.read_text(encoding="utf-8").splitlines()
    values = [json.loads(line[line.index(BEGINNING) :]) for line in lines if BEGINNING in line]
    return [value for value in values if "scores" in value]
