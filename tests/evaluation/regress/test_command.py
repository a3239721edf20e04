"""``python -m cmelt_plugin.evaluation.regress``: values planted in recordings, found again by texts."""

import csv

import numpy as np
import pytest
import torch
from planted_values import DIM, Planted, planted, write_planted, write_planted_teacher
from pretrained_files import write_tokenizer_folder

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding.records import embed_records
from cmelt_plugin.evaluation.metrics.prompt_regression import prompt_regression, sampled_regression
from cmelt_plugin.evaluation.metrics.regression import regression_metrics
from cmelt_plugin.evaluation.regress import __main__ as regress
from cmelt_plugin.evaluation.regress.candidates import Candidates, own_candidates
from cmelt_plugin.evaluation.regress.estimates import estimate_values
from cmelt_plugin.evaluation.result_files import read_result
from cmelt_plugin.models.base import Embedding
from cmelt_plugin.models.building import build_random
from cmelt_plugin.models.inference import pretrained as pretrained_module
from cmelt_plugin.models.inference.pretrained import load_pretrained
from tests.systems.cases import CASES, write_checkpoint

VALUES = np.array([12.0, 25, np.nan, 38, 45, 52, 58, 63, 70, 66])
TRAIN = np.array([30.0, np.nan, 60, 66])


@pytest.fixture
def loaded(monkeypatch):
    """What the command loads, whatever the checkpoint; random weights see the opposite of what is planted."""
    monkeypatch.setattr(pretrained_module, "load_pretrained", lambda *arguments: planted())
    monkeypatch.setattr(regress, "build_random", lambda *arguments: Planted(0.2).eval())


@pytest.fixture
def directory(tmp_path):
    splits = {"test": VALUES, "train": TRAIN, "valid": np.array([20.0, 50, 55, 65])}
    return write_planted(tmp_path / "m", splits, np.linspace(0.005, 0.3, 18))


def run(directory, results, *options):
    arguments = ["--checkpoint", "planted.pt", "--manifest", directory, "--results", results, "--bootstrap", 50, *options]
    assert regress.main([str(argument) for argument in arguments]) == 0
    return read_result(results / "m")


def test_values_by_teacher_texts(loaded, directory, tmp_path, capsys) -> None:
    teacher = write_planted_teacher(tmp_path / "teacher", VALUES[~np.isnan(VALUES)][:-1], shift=-3)  # one is not in it
    stored = run(directory, tmp_path / "out", "--teacher", teacher)
    result, known = stored.result, ~np.isnan(VALUES)
    assert (result.kind, result.n_records, result.n_subjects) == ("regression", 9, 5)
    assert result.notes[0] == "9 records with a value of lvef; 1 without are left out."

    # 40 texts vote, those of the 20 values around the planted one; of an even number the lower middle one decides.
    names = ("record_id", "target", "value", "low", "high", "uncertainty")
    record_id, target, value, low, high, uncertainty = stored.arrays("values.npz", names, "")
    assert record_id.tolist() == [f"test{i}" for i in np.flatnonzero(known)] and target.tolist() == VALUES[known].tolist()
    assert np.abs(value - target).max() <= 1
    assert result.metrics["mae"] == pytest.approx(np.abs(value - target).mean()) and result.metrics["r2"] > 0.99
    assert result.metrics["spearman"] == pytest.approx(1)
    expected = np.resize(np.linspace(0.005, 0.3, 18), 18)[:10][known] ** 2 * DIM
    assert uncertainty == pytest.approx(expected, rel=0.05)  # steps of a microvolt
    width = high - low
    assert (width[:-1] < width[1:]).mean() > 0.8 and width[-1] > 5 * max(width[0], 1)
    assert result.metrics["coverage"] == pytest.approx(((low <= target) & (target <= high)).mean())

    constant = regression_metrics(target, np.full(9, np.nanmean(TRAIN)))
    assert result.metrics["train_mean/mae"] == pytest.approx(constant["mae"])
    assert "train_mean/spearman" not in result.metrics  # a constant has none
    assert result.metrics["random/mae"] > 20  # it says a fifth of each value
    assert result.metrics["teacher/bias"] == pytest.approx(-3, abs=1.5)
    assert result.settings["estimated_records"]["teacher"] == 8
    assert result.settings["modality_gap"] > 0 and result.metrics["centred/mae"] != result.metrics["mae"]
    low, high = result.intervals["sampled/mae"]
    assert low <= result.metrics["sampled/mae"] <= high
    with open(tmp_path / "out" / "regression.csv", newline="", encoding="utf-8") as handle:
        table = list(csv.DictReader(handle))
    assert [row["records"] for row in table] == ["9", "9", "9", "9", "9", "8"]
    assert table[0]["MAE"].startswith(f"{result.metrics['mae']:.2f} [")
    assert [row["values by"] for row in table if not row["Spearman"]] == ["mean of the training records"]
    assert "the teacher's own means" in capsys.readouterr().out


def test_values_by_the_model_s_own_texts(loaded, directory, tmp_path, monkeypatch) -> None:
    words = lambda text: [round(float(text.split()[-2]))]  # noqa: E731
    monkeypatch.setattr(pretrained_module, "load_pretrained", lambda *arguments: planted(words))
    file = tmp_path / "ef.json"
    file.write_text('{"unit": "%", "first": 0, "last": 100, "step": 2, "texts": ["ef {value} percent", "a {value} percent"]}')
    stored = run(directory, tmp_path / "out", "--value-texts", file, "--samples", 0, "--bootstrap", 0)
    assert stored.result.metrics["mae"] <= 2 and "coverage" not in stored.result.metrics
    assert stored.result.settings["unit"] == "%" and stored.result.settings["n_texts"] == 102
    assert list(stored.result.settings["estimators"]) == ["model", "train_mean", "random"]  # nothing to centre, no ceiling
    assert "# Regression (%)" in (tmp_path / "out" / "regression.md").read_text(encoding="utf-8")


def test_estimates_are_those_of_the_plain_functions() -> None:
    model = Planted().eval()
    generator = torch.Generator().manual_seed(0)
    ecg = Embedding(torch.randn(5, DIM, generator=generator), torch.randn(5, DIM, generator=generator) - 2)
    texts = torch.nn.functional.normalize(torch.randn(30, DIM, generator=generator), dim=1)
    candidates = Candidates(Embedding(texts), np.arange(30.0), "x", "", "own", "")
    estimates = estimate_values(model, ecg, candidates, samples=7, seed=3)
    noise = torch.randn(7, DIM, generator=torch.Generator().manual_seed(3))
    drawn = (ecg.mean[:, None] + (ecg.log_variance / 2).exp()[:, None] * noise) @ texts.T
    expected = sampled_regression(drawn.numpy(), candidates.values)
    assert estimates.value.tolist() == prompt_regression((ecg.mean @ texts.T).numpy()[:, None], candidates.values).tolist()
    assert estimates.sampled.tolist() == expected.value.tolist() and estimates.low == pytest.approx(expected.low)
    # A record's numbers depend on nothing but itself, and a teacher's texts are compared by cosine.
    alone = estimate_values(model, ecg.select(slice(3, 4)), candidates._replace(texts="teacher"), samples=7, seed=3)
    assert alone.sampled[0] == estimates.sampled[3] and alone.high[0] == estimates.high[3]
    points = estimate_values(model, Embedding(ecg.mean), candidates)
    assert points.value.tolist() == estimates.value.tolist() and points.low is None and points.uncertainty is None


def test_our_texts_name_every_percent() -> None:
    candidates = own_candidates(
        planted(lambda text: [round(float(text.split()[-2 if text.endswith("percent") else -1]))]), "lvef"
    )
    assert sorted(set(candidates.values)) == list(range(101)) and candidates.unit == "%" and candidates.embedding.rows == 303


@pytest.mark.parametrize(
    "options, message",
    [
        ((), "planted.pt: not fine-tuned for regression .*--teacher DIR, or --value-texts"),
        (("--value-texts", "lvef", "--centre", "test"), "is the split that is evaluated"),
        (("--value-texts", "lvef", "--target", "age"), "age is unknown for all 10 records"),
        (("--value-texts", "lvef", "--target", "sex"), "column sex: holds string, not numbers"),
        (("--value-texts", "lvef", "--target", "ef"), "no column ef"),
        (("--value-texts", "rvef"), "neither a JSON file nor a measurement"),
    ],
)
def test_what_is_missing_is_named(loaded, directory, tmp_path, options, message) -> None:
    with pytest.raises(DataError, match=message):
        run(directory, tmp_path / "out", *options)


def test_a_teacher_must_have_texts_of_the_measurement_and_the_model_s_width(loaded, directory, tmp_path) -> None:
    teacher = write_planted_teacher(tmp_path / "teacher", VALUES[:2])
    with pytest.raises(DataError, match="no text names a value of 'rvsp'; groups whose texts name values: lvef"):
        run(directory, tmp_path / "out", "--teacher", teacher, "--measurement", "rvsp", "--target", "lvef")
    (teacher / "prompts.npz").unlink()
    with pytest.raises(DataError, match="prompts.npz"):
        run(directory, tmp_path / "out", "--teacher", teacher)
    from tiny_teacher import write_tiny_teacher

    with pytest.raises(DataError, match="embeddings of 6 numbers, those of planted.pt have 8"):
        run(directory, tmp_path / "out", "--teacher", write_tiny_teacher(tmp_path / "other"))


@pytest.mark.parametrize("name", ["echoing", "merl-resnet18"])
def test_a_checkpoint_of_a_system_beside_the_same_with_random_weights(name, tmp_path) -> None:
    """Gaussians have intervals, points have none; the encoder with random weights is of the checkpoint's own sizes."""
    write_tokenizer_folder(tmp_path / "tokenizer")
    write_checkpoint(tmp_path / "c.pt", CASES[name], tmp_path / "tokenizer")
    directory = write_planted(tmp_path / "m", {"test": VALUES, "train": TRAIN})
    file = tmp_path / "ef.json"
    file.write_text('{"first": 0, "last": 100, "step": 20, "texts": ["sinus rhythm {value}"]}')
    fixed = ["--manifest", directory, "--value-texts", file, "--bootstrap", 0, "--samples", 5]
    arguments = ["--checkpoint", tmp_path / "c.pt", *fixed, "--target", "lvef", "--results", tmp_path / "out"]
    assert regress.main([str(argument) for argument in arguments]) == 0
    stored = read_result(tmp_path / "out" / "m")
    gaussian = name == "echoing"
    assert ("sampled" in stored.result.settings["estimators"]) == gaussian == ("coverage" in stored.result.metrics)
    uncertainty = stored.arrays("values.npz", ("uncertainty",), "")[0]
    assert (uncertainty > 0).all() if gaussian else np.isnan(uncertainty).all()
    opened = load_pretrained(tmp_path / "c.pt")
    random = build_random(opened.cfg["model"], "c.pt", 0)
    texts = own_candidates(opened, str(file))
    expected = estimate_values(opened.model, embed_records(random, Manifest.open(directory, "test")), texts, 0).value
    known = ~np.isnan(VALUES)
    assert stored.result.metrics["random/mae"] == pytest.approx(np.abs(expected - VALUES)[known].mean())
