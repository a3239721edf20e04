"""The proof of the model that comes with the package: what it runs, what it measures, and its tables."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hosts import REPOSITORY

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.evaluation.labelled_split import open_labelled
from cmelt_plugin.evaluation.options import CommandFacts
from cmelt_plugin.evaluation.result_files import Result, Scores, read_result, write_result
from cmelt_plugin.modules.text.text_encoder import describe_text_encoder
from cmelt_plugin.weights import DEFAULT, FOLDER
from examples.synthetic_model import measures, probes, proof_results, proof_steps
from examples.synthetic_model.proof_pictures import CLASSES, LEADS, draw
from examples.synthetic_model.proof_steps import LEAD_SETS, MODEL, TASKS, UNTRAINED
from examples.synthetic_model.proof_tables import tables
from preprocess import ptb_xl
from preprocess.synthetic_ecg.layouts.ptb_xl_layout import write_ptb_xl_layout

SEEDS = 2


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A folder of data sets in which there is a synthetic PTB-XL alone."""
    root = tmp_path_factory.mktemp("real")
    write_ptb_xl_layout(root / "ptb-xl", 60, seed=3)
    return root


@pytest.fixture(scope="module")
def dest(real, tmp_path_factory):
    """What the commands of the proof leave for the superclasses, with scores that are drawn."""
    dest = tmp_path_factory.mktemp("proof")
    plan = proof_steps.data_steps(real, dest)
    for step in plan.steps:
        if step.name in ("ptb-xl", "super", "super-divided", proof_steps.CHOICE):
            assert ptb_xl.main(step.words[2:]) == 0
    draws = np.random.default_rng(0)

    def write(folder, split, labels_count):
        noise = draws.normal(size=split.labels.shape).astype(np.float32)
        scores = labels_count * (split.labels == 1) + noise
        stored = Scores(split.record_id, split.subject_id, split.names, split.labels, scores.astype(np.float32))
        write_result(folder, Result("zero_shot", "m", "c", "d", "", "test", 1, 1), stored)

    whole = open_labelled(dest / "manifests" / "super", "test")
    for model, strength in ((MODEL, 2), *((name, 0) for name in proof_steps.untrained(SEEDS))):
        write(dest / "zero_shot" / model / "super", whole, strength)
    for name in ("12-leads", "6-leads", "3-leads", "2-leads", "1-leads", "II"):
        write(dest / "zero_shot" / "leads" / f"super-{name}", whole, 1)
    for one in [*proof_steps.classifiers(SEEDS), *proof_steps.candidates()]:
        if one.data.startswith("super"):
            divided = open_labelled(dest / "manifests" / one.data, "test")
            write(dest / "results" / "finetuned" / one.name, divided, 1)
    return dest


def test_what_is_missing_is_named(real, tmp_path):
    plan = proof_steps.data_steps(real, tmp_path)
    assert [name for name, _ in plan.missing] == ["cpsc2018", "cinc2021", "code15"]
    assert plan.missing[0].reason == f"no {real / 'cpsc2018'}"
    assert {step.name for step in plan.steps} == {
        *(f"{name}{kind}" for name in ("ptb-xl", *TASKS) for kind in ("", "-standardised")),
        "reports",
        *(f"{task}-divided" for task in TASKS),
        "super-choice",
    }
    folder = proof_steps.encoder_steps(tmp_path, tmp_path / "tokenizer", tmp_path / "exported", 1)
    assert [step.name for step in folder.steps] == ["tokens", "untrained-1"]
    assert folder.missing[0].name == "continued" and "no checkpoint of a training run" in folder.missing[0].reason


def test_encoders_of_random_weights_are_made_with_the_shipped_model_alone(tmp_path):
    """Its folder holds a tokenizer; the sizes of the text encoder, which a training needs, are in its configuration."""
    folder = proof_steps.text_encoder_folder(FOLDER / DEFAULT, tmp_path)
    sizes = json.loads(describe_text_encoder(str(folder)))
    assert sizes["model_type"] == "t5" and sizes["d_model"] == 64
    words = proof_steps.encoder_steps(tmp_path, folder, FOLDER / DEFAULT, 1).steps[-1].words
    assert "+model.text_encoder_pretrained=false" in words and f"model.text_encoder={folder}" in words
    (folder / "model.safetensors").touch()
    words = proof_steps.encoder_steps(tmp_path, folder, FOLDER / DEFAULT, 1).steps[-1].words
    assert "+model.text_encoder_pretrained=false" not in words


def test_every_command_there_is_can_be_typed(real, tmp_path):
    (tmp_path / "manifests" / "super").mkdir(parents=True)
    (tmp_path / "manifests" / "super" / "manifest.json").touch()
    steps = proof_steps.zero_shot_steps(tmp_path, "a.pt", 1)
    assert [step.name for step in steps] == ["zero_shot-model", "zero_shot-untrained-1", "zero_shot-leads"]
    assert all(step.words[step.words.index("--manifest") + 1].endswith("super") for step in steps)
    steps = proof_steps.finetuning_steps(tmp_path, "a.pt", 2)
    # two seeds of five shares from two starts, and five learning rates of each start; each trained and tested
    assert len(steps) == 2 * (2 * 5 * 2 + 2 * 5) and len({step.name for step in steps}) == len(steps)
    assert len(proof_steps.classifiers(5)) == 2 * (2 * 5 + 3 * 3)
    chosen = [step for step in steps if step.name.startswith("train-super-choice")]
    assert {word for step in chosen for word in step.words if "lr=" in word} == {
        f"optimization.lr=[{rate}]" for rate in proof_steps.RATES
    }
    for step in proof_steps.encoder_steps(tmp_path, tmp_path, tmp_path / "a.pt", 1).steps + steps:
        for name in step.words:
            if name.endswith((".py", "/examples/finetune", "/examples/pretrain")):
                assert name.startswith(str(REPOSITORY)) and (REPOSITORY / name).exists()
    assert proof_steps.untrained(2) == ["untrained-1", "untrained-2"]


def test_classes_need_positives_where_they_are_tested_and_trained():
    labels = np.array([[1, 1, 0], [1, 1, 0], [0, 1, 1], [np.nan, 1, 0]])
    assert measures.chosen_columns(labels, 2).tolist() == [True, False, False]
    assert measures.chosen_columns(labels, 1).tolist() == [True, False, True]
    assert measures.chosen_columns(labels, 1, np.array([[1, 1, 0]])).tolist() == [True, False, False]


def test_results_are_of_the_chosen_records_and_classes(dest):
    split = open_labelled(dest / "manifests" / "super", "test")
    rows, columns = np.arange(0, len(split.record_id), 2), measures.chosen_columns(split.labels)
    perfect, reverse = split.labels.astype(np.float32), 1 - split.labels.astype(np.float32)
    facts = CommandFacts("m", "c", "typed", bootstrap=10)
    result, stored = measures.measured("zero_shot", split, rows, columns, [perfect, reverse], facts, {"folds": "x"})
    assert result.metrics["macro_auc"] == 0.5 and result.spread["macro_auc"] == pytest.approx(np.sqrt(0.5))
    assert result.n_records == len(rows) and result.settings["folds"] == "x" and "macro_auc" in result.intervals
    assert list(result.per_class) == stored.names == [n for n, c in zip(split.names, columns) if c]


def test_no_record_is_in_the_training_set_of_its_own_probe(dest, real, monkeypatch):
    split = open_labelled(dest / "manifests" / "super", "test")
    table = ptb_xl.read_database(real / "ptb-xl")
    fold = dict(zip(table["ecg_id"], table["strat_fold"]))
    seen = []

    class Named:
        def __init__(self, part):
            self.part = part

        def scores(self, features):
            seen.append((self.part, features[:, 0].astype(int)))
            return np.zeros((len(features), len(split.names)), dtype=np.float32)

    monkeypatch.setattr(probes, "train_parts", lambda title, features, labels, parts, *rest: [Named(parts[0])])
    rows, _ = probes.cross_validated(split, np.arange(len(split.record_id))[:, None], fold, False)
    assert sorted(np.concatenate([tested for _, tested in seen])) == rows.tolist()
    for part, tested in seen:
        assert not set(part) & set(tested) and {fold[split.record_id[row]] for row in part} <= set("12345678")
        assert not {split.subject_id[row] for row in part} & {split.subject_id[row] for row in tested}


def test_tables_pictures_and_summary(dest, real, tmp_path):
    proof = proof_results.collect(real, dest, SEEDS)
    whole, first = proof.zero_shot[MODEL, "super", "all"], proof.zero_shot[MODEL, "super", "1-8"]
    divided = Manifest.open(dest / "manifests" / "super-divided", "train")
    assert first.n_records == len(divided) < whole.n_records
    assert whole.metrics["macro_auc"] > 0.8 > proof.zero_shot[UNTRAINED, "super", "all"].metrics["macro_auc"]
    text = tables(proof)
    row = next(line for line in text.splitlines() if line.startswith("| super |"))
    assert row.endswith("| 76.2 | 74.2 |") and f"| {100 * whole.metrics['macro_auc']:.1f} [" in row
    assert "| 6 limb |" not in text.split("fewer leads")[0] and "| super, folds 9-10 |" in text
    finetuned = next(line for line in text.splitlines() if line.startswith("| from random weights | ")).split("|")
    assert "± " in finetuned[2] and "± " in finetuned[3] and finetuned[4].strip() == "–"
    chosen = text.split("Learning rates of fine-tuning")[1].splitlines()
    assert "| 1e-05 | 3e-05 | 0.0001 | 0.0003 | 0.001 |" in chosen[2] and "–" not in "".join(chosen[4:6])
    values = proof_results.summary(proof)
    assert values["zero_shot"]["model super all"]["records"] == whole.n_records
    assert set(values["leads"]) == {f"super {leads}" for leads in LEAD_SETS}
    others = {(model, task, folds): whole for model in (MODEL,) for task in TASKS for folds in ("all",)}
    leads = {(task, name): whole for task in TASKS for name in LEAD_SETS}
    draw(proof._replace(zero_shot={**proof.zero_shot, **others}, leads=leads), tmp_path)
    assert all((tmp_path / name).stat().st_size < 150_000 for name in (CLASSES, LEADS))


def test_scores_of_other_records_are_refused(dest, real):
    split = open_labelled(dest / "manifests" / "super", "test")
    other = split._replace(record_id=split.record_id[::-1])
    with pytest.raises(proof_results.DataError, match="not the scores of"):
        proof_results._scores(dest / "zero_shot" / MODEL / "super", other)
    assert proof_results._scores(dest / "zero_shot" / MODEL / "super", split).shape == split.labels.shape
    assert read_result(dest / "zero_shot" / MODEL / "super").result.kind == "zero_shot"
