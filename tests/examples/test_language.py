"""The language stage's configurations, and the command that shows what it buys."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from corpora import write_bert
from hosts import REPOSITORY
from tiny import write_manifest

from cmelt_plugin.criterions.text_mlm import TextMLMCriterionConfig
from cmelt_plugin.data.batches.negatives import NegativeTable
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.text.reports import read_reports
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.language.config import LanguageConfig
from cmelt_plugin.tasks.text_mlm import TextMLMConfig
from tests.examples.test_configurations import ONE_HOST_ONLY

sys.path.insert(0, str(REPOSITORY / "examples" / "ablation"))
import language  # noqa: E402
import text_measures  # noqa: E402

FOLDER = REPOSITORY / "examples" / "language"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(name: str) -> dict:
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_every_key_is_known_on_both_hosts(name: str) -> None:
    values = load(name)
    sections = {"model": LanguageConfig, "criterion": TextMLMCriterionConfig, "task": TextMLMConfig}
    for section, config in sections.items():
        assert values[section]["_name"] == "cmelt_text_mlm"
        assert set(values[section]) - {"_name"} <= {field.name for field in dataclasses.fields(config)}
    assert not ONE_HOST_ONLY & {key for section in values.values() for key in section}


def test_the_recipe_is_the_one_that_is_named() -> None:
    """MedCPT, BERT's masking of whole words, 256 tokens, 256 sequences, AdamW 5e-5, 0.01, warm-up of 6 %."""
    values = load("heart_lm")
    assert values["model"]["text_encoder"] == "ncbi/MedCPT-Query-Encoder" == LanguageConfig().text_encoder
    assert values["task"] == {"_name": "cmelt_text_mlm", "data": "???", "max_text_tokens": 256, "mlm_probability": 0.15,
                              "whole_words": True}  # fmt: skip
    assert values["dataset"]["batch_size"] * values["optimization"]["update_freq"][0] == 256
    assert (values["optimization"]["lr"], values["optimizer"]["weight_decay"]) == ([5e-5], 0.01)
    assert values["lr_scheduler"]["phase_ratio"][0] == 0.06 and sum(values["lr_scheduler"]["phase_ratio"]) == 1.0


def test_it_has_no_key_that_is_tried_on_no_host() -> None:
    """tests/test_language_training.py trains the tiny one on both hosts; cmelt_base is composed by both."""
    tried = load("heart_lm_tiny")
    others = yaml.safe_load((REPOSITORY / "examples" / "pretrain" / "cmelt_base.yaml").read_text(encoding="utf-8"))
    for section, values in load("heart_lm").items():
        known = set(tried[section]) if section in ("task", "model", "criterion") else {*tried[section], *others[section]}
        assert set(values) <= known, section


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Path:
    """Six reports; the last two are those of test records alone."""
    directory = write_manifest(tmp_path_factory.mktemp("language") / "m", splits=("train", "test"), labels=True)
    for split, kept in (("train", range(4)), ("test", range(2, 6))):
        opened = Manifest.open(directory, split)
        rows = np.flatnonzero(np.isin(opened.report_ids(), kept))
        lines = (directory / f"{split}.tsv").read_text().splitlines()
        (directory / f"{split}.tsv").write_text("\n".join([lines[0], *(lines[1 + row] for row in rows)]) + "\n")
        meta = pq.read_table(directory / f"{split}.meta.parquet")
        pq.write_table(meta.take(rows), directory / f"{split}.meta.parquet")
        np.save(directory / f"{split}.labels.npy", np.load(directory / f"{split}.labels.npy")[rows])
        for path in directory.glob(f"{split}.n3s.*"):
            path.unlink()
    return directory


def test_held_out_reports_and_labels_of_reports(manifest: Path) -> None:
    assert text_measures.held_out_reports(manifest).tolist() == [4, 5]
    labels = text_measures.labels_of_reports(manifest, "test", 6)
    assert labels.astype(int).tolist() == [[0, 0], [0, 0], [0, 1], [1, 0], [0, 1], [1, 0]]
    first, second = np.array([[1, 0, 1], [0, 0, 0]], dtype=bool), np.array([[1, 1, 0], [0, 0, 0]], dtype=bool)
    assert text_measures.in_common(first, second).tolist() == pytest.approx([1 / 3, 1.0])


def test_nearest_is_another_one() -> None:
    vectors = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    assert text_measures.nearest(vectors).tolist() == [1, 0, 1]


def test_negatives_are_weighed_by_their_records(manifest: Path, tmp_path: Path) -> None:
    for name in ("reports.parquet", "train.tsv", "train.meta.parquet"):
        shutil.copy(manifest / name, tmp_path)
    neighbours = np.full((6, 2), -1, dtype=np.int32)
    neighbours[:4] = [[1, 2], [0, 3], [0, 3], [1, 2]]
    named = dict.fromkeys(("share_used", "text_only_auc", "marginal_auc", "mean_distance", "random_mean_distance"), 0.5)
    NegativeTable(neighbours, named).save(tmp_path, "train")
    labels = text_measures.labels_of_reports(manifest, "train", 6)  # 0 and 2 alike, 1 and 3 alike
    found = text_measures.negatives(tmp_path, labels, np.array([4, 1, 1, 2, 0, 0]))
    assert found["same_labels"] == found["labels_in_common"] == pytest.approx((4 + 1 + 1 + 2) / 16)
    assert found["text_only_auc"] == 0.5


def test_masked_words_are_the_same_every_time_and_count_all_draws(tmp_path: Path) -> None:
    folder = str(write_bert(tmp_path, masked=True))
    texts = ["sinus rhythm normal ecg", "atrial fibrillation", "left bundle branch block left axis deviation"]
    once, again, more = (text_measures.masked_words(folder, texts, draws) for draws in (1, 1, 5))
    assert once == again and more["words"] > 3 * once["words"] > 0
    assert once["perplexity"] > 1 and 0 <= once["accuracy"] <= 1


def test_the_stage_is_what_a_user_types(tmp_path: Path) -> None:
    steps = language.language_stage(tmp_path, tmp_path / "m", ["optimization.max_update=3"])
    assert [step.output.name for step in steps] == ["corpus", "train.bert.npz", "checkpoint_best.pt", "after"]
    words = [" ".join(step.words) for step in steps]
    assert "--accept-labelled" in words[0] and f"--corpus {tmp_path / 'corpus'}" in words[1]
    assert words[2].endswith("optimization.max_update=3") and f"model.text_encoder={tmp_path / 'm' / 'tokenizer'}" in words[2]
    assert f"--checkpoint {steps[2].output}" in words[3]


def test_tables_have_a_column_for_each_encoder(manifest: Path, tmp_path: Path) -> None:
    found = {"before": {"perplexity": 12.0, "accuracy": 0.125}, "after": {"perplexity": 3.5}, "tfidf": {"text_only_auc": 0.75}}
    lines = language.table_of(found).splitlines()
    assert lines[2] == "| perplexity of masked words | 12.000 | 3.500 | – |"
    assert lines[3] == "| masked words predicted rightly, % | 12.5 | – | – |"
    assert lines[-1].endswith("| – | – | 0.750 |")
    texts = [f"report number {word} x" for word in "abcdef"]
    reports = read_reports(manifest)
    rows = language.neighbours(reports, np.ones(6, dtype=int), {"after": str(write_bert(tmp_path, texts))}).splitlines()
    assert rows[0] == "| statement | nearest, after |" and len(rows) == 2 + 6
    assert all(row.split(" | ")[0] != row.split(" | ")[1] for row in rows[2:])


def test_manifests_that_cannot_be_compared_are_refused(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="m: no tokenizer; encoders are compared on labelled reports"):
        language.main(["--dest", str(tmp_path), "--manifest", str(manifest)])
