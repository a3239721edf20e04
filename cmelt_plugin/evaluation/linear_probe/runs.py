"""From a frozen encoder and labelled manifest directories to the results of linear probes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from cmelt_plugin.data.directory.manifest import available_splits
from cmelt_plugin.data.directory.training_data import training_fingerprint
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding.encoder import SplitEncoder
from cmelt_plugin.evaluation.embedding.features import choose_pool
from cmelt_plugin.evaluation.embedding.precision import FLOAT32, precision_name
from cmelt_plugin.evaluation.embedding.records import columns_of
from cmelt_plugin.evaluation.labelled_split import LabelledSplit, open_labelled
from cmelt_plugin.evaluation.linear_probe.results import ProbeScores, probe_result, scores_on_target
from cmelt_plugin.evaluation.linear_probe.sizes import TrainingSize, subset_seed, training_part, training_sizes
from cmelt_plugin.evaluation.linear_probe.train import ProbeSettings, seeded_run, train_probes
from cmelt_plugin.evaluation.low_data import PUBLISHED_ROWS, without_positives
from cmelt_plugin.evaluation.metrics.thresholds import choose_thresholds
from cmelt_plugin.evaluation.options import CommandFacts, load_ecg_model
from cmelt_plugin.evaluation.result_files import Result, write_result
from cmelt_plugin.models.files.weights_fingerprint import weights_fingerprint
from cmelt_plugin.models.inference.linear_probe import Probe, save_probe

POOLED, MEAN, GAUSSIAN = "pooled", "mean", "gaussian"
FEATURES = (POOLED, MEAN, GAUSSIAN)


class ProbedSet(NamedTuple):
    """A data set to train on; ``valid`` may be None."""

    name: str
    train: LabelledSplit
    valid: LabelledSplit | None
    test: LabelledSplit


class Row(NamedTuple):
    """A line of the table: a result, and the classes that the first probe saw no positive of."""

    name: str
    result: Result
    missing: list[str]


class ProbedEncoder:
    """The checkpoint's ECG encoder with the pool and leads whose features probes are trained on.

    Attributes:
        pretrained: the model.
        leads: that the encoder sees from now on; all at first.

    Raises:
        DataError: the model has no such pool, or embeddings were asked for that it does not make.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.kind = args.features
        self.pretrained = load_ecg_model(args)
        self.encoder = SplitEncoder(self.pretrained.model, args.cache, args.batch_size, args.workers, args.device, args.bf16)
        self.pool = choose_pool(self.encoder.model, args.pool)
        self.leads = list(LEADS)
        if self.kind != POOLED and not hasattr(self.encoder.model, "embed_text"):
            raise DataError(f"--features {self.kind}: {args.checkpoint} is no model of ECGs and texts; its features are pooled")

    def features(self, split: LabelledSplit) -> np.ndarray:
        """float32 ``[N, D]``; computed once a split.

        Raises:
            DataError: variances were asked for, and embeddings are points.
        """
        if self.kind == POOLED:
            return self.encoder.features(split.manifest, self.pool, self.leads)
        columns = columns_of(self.encoder.embeddings(split.manifest, self.leads))
        if self.kind == GAUSSIAN and len(columns) < 2:
            raise DataError(f"--features {GAUSSIAN}: this model's embeddings are points, which have no variance; use {MEAN}")
        return np.concatenate([*columns.values()] if self.kind == GAUSSIAN else [columns["mean"]], axis=1)

    @property
    def settings(self) -> dict[str, Any]:
        """What of it decides the metrics of a probe."""
        own = {} if self.kind == POOLED else {"features": self.kind}
        return {"pool": self.pool, "leads": self.leads, "precision": precision_name(self.encoder.bf16), **own}

    def info(self) -> dict[str, str]:
        """What a kept probe must agree with."""
        return {"encoder": self.encoder.cache.weights, **self.settings, "leads": " ".join(self.leads)}

    def differences(self, info: dict[str, str]) -> list[str]:
        """Names of what a kept probe does not agree with, given its :meth:`info`."""
        info = {"precision": FLOAT32, **info}  # probes kept before there was a choice do not say it
        if self.kind == POOLED and info.get("features", POOLED) != POOLED:
            return ["features"]
        # Probes kept before the fingerprint was that of the whole model hold that of its part that encodes ECGs.
        parts = [weights_fingerprint(part) for part in self.encoder.model.children()]
        return [
            name
            for name, value in self.info().items()
            if info.get(name) != value and not (name == "encoder" and info.get(name) in parts)
        ]


def plan_set(name: str, directory: Path, args: argparse.Namespace) -> ProbedSet:
    """Open the splits of a set.

    Raises:
        DataError: one is missing, or training or validation data would be tested on.
    """
    if args.split in ("train", "valid"):
        raise DataError(f"--split {args.split}: probes are trained and chosen on it; evaluate another split")
    valid = open_labelled(directory, "valid") if "valid" in available_splits(directory) else None
    if valid is None and args.select == "best_valid":
        raise DataError(f"{directory}: no validation split to choose the epoch by; --select last needs none")
    return ProbedSet(name, open_labelled(directory, "train"), valid, open_labelled(directory, args.split))


def probe_set(
    planned: ProbedSet,
    targets: Sequence[tuple[str, LabelledSplit]],
    encoder: ProbedEncoder,
    settings: ProbeSettings,
    facts: CommandFacts,
    args: argparse.Namespace,
) -> list[Row]:
    """Train and test every size and seed on one set; write a result folder per size and per target."""
    valid = None if planned.valid is None else (encoder.features(planned.valid), planned.valid.labels)
    train, test = encoder.features(planned.train), encoder.features(planned.test)
    rows: list[Row] = []
    probes: list[Probe] = []
    training: dict[str, Any] = {}
    for size in training_sizes(args):
        parts = [training_part(planned.train, size, index, args) for index in range(args.seeds)]
        title = f"{planned.name}, {size.text}"
        probes = train_parts(title, train, planned.train.labels, parts, settings, valid, args.seed)
        scores = [probe.scores(test) for probe in probes]
        thresholds = [] if valid is None else [choose_thresholds(valid[1], probe.scores(valid[0])) for probe in probes]
        probed = ProbeScores(planned.test.names, planned.test.labels, scores, thresholds)
        missing = without_positives(planned.train.labels, parts[0], planned.train.names)
        training = {
            **size.settings(args.subset),
            "subset_seeds": [subset_seed(index, args) for index in range(args.seeds)],
            "n_train": len(parts[0]),
            "epochs_tested": [probe.epoch for probe in probes],
        }
        location = _location(planned.test)
        if planned.valid is not None:
            location["thresholds"] = _where(planned.valid)
        notes = notes_of(planned, parts, missing, size, args)
        result, stored = probe_result("linear_probe", probed, planned.test, facts, {**training, **location}, notes)
        write_result(args.results / f"{planned.name}-{size.folder}", result, stored)
        rows.append(Row(planned.name, result, missing))
    if args.save_probe is not None:
        seen = training_fingerprint(str(planned.train.manifest.directory), planned.train.manifest.split)
        info = {"label_set": planned.train.label_set, **{f"training_{name}": seen[name] for name in ("order", "meta")}}
        save_probe(args.save_probe, probes[0], planned.train.names, {**encoder.info(), **info})
    for name, target in other_sets(targets, planned.train.label_set):
        scores = [probe.scores(encoder.features(target)) for probe in probes]
        source = (planned.name, planned.train.label_set, planned.train.names)
        rows.append(shift_row(source, scores, name, target, facts, training, args.results))
    return rows


def kept_probe_rows(
    kept: tuple[Probe, list[str], dict[str, str]],
    targets: Sequence[tuple[str, LabelledSplit]],
    encoder: ProbedEncoder,
    facts: CommandFacts,
    args: argparse.Namespace,
) -> list[Row]:
    """Test a kept probe on other data sets.

    Raises:
        DataError: it was trained on features of another encoder, pool or leads.
    """
    probe, names, info = kept
    wrong = encoder.differences(info)
    if wrong:
        raise DataError(f"{args.probe}: trained on other features than these ({', '.join(wrong)}); give the same options")
    source = (args.probe.stem, info["label_set"], names)
    training = {"probe": str(args.probe)}
    return [
        shift_row(source, [probe.scores(encoder.features(target))], name, target, facts, training, args.results)
        for name, target in other_sets(targets, info["label_set"])
    ]


def other_sets(targets: Sequence[tuple[str, LabelledSplit]], source: str) -> list[tuple[str, LabelledSplit]]:
    """The targets whose label set is not the source's own."""
    return [(name, target) for name, target in targets if target.label_set != source]


def shift_row(
    source: tuple[str, str, Sequence[str]],
    scores: Sequence[np.ndarray],
    name: str,
    target: LabelledSplit,
    facts: CommandFacts,
    training: dict[str, Any],
    folder: Path,
) -> Row:
    """Test probes on another data set and write the result; ``source`` = name, label set and classes of the training set."""
    source_name, label_set, names = source
    probed = scores_on_target(scores, names, label_set, target)
    settings = {**training, "source": label_set, "target": target.label_set, "rule": "union", "zero_shot": False}
    note = f"Classes of {label_set}; one is present where any class of {target.label_set} that Table 11 matches with it is."
    result, stored = probe_result("shift", probed, target, facts, {**settings, **_location(target)}, [note])
    write_result(folder / f"shift-{source_name}-to-{name}", result, stored)
    return Row(f"{source_name} → {name}", result, [])


def train_parts(
    title: str,
    features: np.ndarray,
    labels: np.ndarray,
    parts: Sequence[np.ndarray],
    settings: ProbeSettings,
    valid: tuple[np.ndarray, np.ndarray] | None,
    seed: int,
) -> list[Probe]:
    """One probe per part, side by side where the parts are of one size; the first has ``seed``, the next ``seed + 1``."""
    probes: dict[int, Probe] = {}
    sizes = sorted({len(part) for part in parts})
    with tqdm(total=len(sizes) * settings.epochs, desc=f"probes: {title}", unit=" epochs") as bar:
        for size in sizes:
            chosen = [index for index, part in enumerate(parts) if len(part) == size]
            runs = [
                seeded_run(parts[index], labels.shape[1], features.shape[1], seed + index, settings.batch_size)
                for index in chosen
            ]
            probes.update(zip(chosen, train_probes(features, labels, runs, settings, valid, bar.update)))
    return [probes[index] for index in range(len(parts))]


def notes_of(
    planned: ProbedSet, parts: Sequence[np.ndarray], missing: Sequence[str], size: TrainingSize, args: argparse.Namespace
) -> list[str]:
    """What a reader of the metrics must know of the training records."""
    n = len(planned.train.labels)
    notes = [f"Trained on {len(parts[0])} of {n} records."]
    if size.shots is not None:
        notes.append(f"{size.shots} records with and {size.shots} without each class, as far as there are any.")
    if missing:
        notes.append(f"No positive training record{' of the first seed' if len(parts) > 1 else ''}: {', '.join(missing)}.")
    published = PUBLISHED_ROWS.get(planned.train.label_set)
    if size.fraction is not None and size.fraction < 1 and args.subset != "stratified" and published is not None:
        if n != published:
            notes.append(f"The published parts are of {published} training records; from {n} the same rule takes other ones.")
        else:
            notes.append("The first seed's part is the published one if train.tsv has the records in the published order.")
    if size.is_part and len(parts) > 1 and not args.same_subset:
        notes.append("Every seed has a part of its own, so that the spread is that of drawing the training records, too.")
    shared = set(planned.train.subject_id) & set(planned.test.subject_id) - {""}
    if shared:
        notes.append(f"{len(shared)} subjects have records both in the training and in the evaluated split.")
    return notes


def _location(split: LabelledSplit) -> dict[str, str]:
    return {"manifest": str(split.manifest.directory)}


def _where(split: LabelledSplit) -> str:
    return f"{split.manifest.directory}/{split.manifest.split}"
