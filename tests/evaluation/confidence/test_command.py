"""The command: its metrics are those of the formulas on scores taken straight from the model."""

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from calibrated import PROMPTS, save_classifier, write_calibration_data
from labelled_sets import write_checkpoint, write_tokenizer

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.directory.training_data import training_fingerprint
from cmelt_plugin.data.files import write_json
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.confidence.__main__ import main
from cmelt_plugin.evaluation.confidence.uncertainties import DROPOUT, MAX_PROBABILITY, NEIGHBOUR, disagreement
from cmelt_plugin.evaluation.metrics.calibration import calibration_metrics
from cmelt_plugin.evaluation.metrics.decision_curve import net_benefit
from cmelt_plugin.evaluation.metrics.detection import detection
from cmelt_plugin.evaluation.metrics.selective import mistakes_avoided, random_areas, risk_coverage
from cmelt_plugin.evaluation.metrics.thresholds import choose_thresholds
from cmelt_plugin.evaluation.result_files import read_result
from cmelt_plugin.evaluation.uncertainty.conformal import class_promise
from cmelt_plugin.evaluation.uncertainty.recalibration import fit_curves
from cmelt_plugin.models.inference.calibration import curve_probabilities, expected_mistakes, sigmoid
from cmelt_plugin.models.inference.neighbours import neighbour_distance
from cmelt_plugin.models.inference.pretrained import load_pretrained

NAMES = ["LOUD", "SINE", "DRIFT"]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return write_calibration_data(tmp_path_factory.mktemp("data") / "m", 48)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return save_classifier(tmp_path_factory.mktemp("model") / "classifier.pt")


def run(checkpoint, directory, results, *options):
    fixed = ["--checkpoint", *checkpoint, "--manifest", directory, "--results", results, "--bootstrap", 10, "--recall", 0.8]
    return main([str(value) for value in (*fixed, *options)])


def outputs(checkpoint, directory, split, change=lambda ecg: ecg):
    manifest = Manifest.open(directory, split)
    ecg = torch.from_numpy(RecordStore(manifest.store_root).read(manifest.shard, manifest.row))
    with torch.no_grad():
        out = load_pretrained(checkpoint).model(change(ecg))
    features = torch.nn.functional.normalize(out["features"], dim=1).numpy()
    return out["logits"].double().numpy(), features, manifest.labels()[0]


def test_metrics_of_a_classifier(directory, classifier, tmp_path, capsys) -> None:
    results = tmp_path / "r"
    options = ["--passes", 2, "--probe-epochs", 3, "--foreign", "gain_x1000", "swapped_electrodes", "--foreign-records", 9]
    assert run([classifier], directory, results, *options, "--model-name", "mine") == 0
    stored = read_result(results)
    metrics = stored.result.metrics
    valid_scores, valid_points, valid_labels = outputs(classifier, directory, "valid")
    scores, points, labels = outputs(classifier, directory, "test")

    subjects = [f"s{row // 2}" for row in range(24)]
    raw = calibration_metrics(labels, sigmoid(scores), NAMES, subjects, 10, 0)
    assert metrics["raw/macro_ece"] == pytest.approx(raw.metrics["macro_ece"], abs=1e-3)
    assert stored.result.intervals["raw/macro_brier"] == pytest.approx(raw.intervals["macro_brier"], abs=1e-3)
    curves = fit_curves(valid_labels, valid_scores, "platt")
    platt = curve_probabilities(curves, scores)
    expected = calibration_metrics(labels, platt, NAMES).metrics
    assert metrics["platt/macro_brier"] == pytest.approx(expected["macro_brier"], abs=1e-3)
    assert {f"{method}/macro_ece" for method in ("raw", "platt", "temperature", "isotonic")} <= set(metrics)

    recalls = []
    for column in range(3):
        has = valid_labels[:, column] == 1
        threshold = class_promise(valid_scores[has, column], np.arange(48)[has] // 2, 0.8).threshold
        own = np.flatnonzero(labels[:, column] == 1)
        shares = [np.mean([scores[row, column] >= threshold for row in own if row // 2 == s]) for s in sorted(set(own // 2))]
        recalls.append(np.mean(shares))
        assert stored.result.per_class[NAMES[column]]["recall"] == pytest.approx(recalls[-1], abs=0.05)
    assert metrics["recall"] == pytest.approx(np.mean(recalls), abs=0.03) and metrics["promised_classes"] == 3
    assert metrics["set_size_blind"] == pytest.approx(2.4) and 0 <= metrics["set_size"] <= 3

    thresholds = choose_thresholds(valid_labels, valid_scores)
    known = ~np.isnan(labels)
    loss = (known & ((labels == 1) != (scores >= thresholds))).sum(axis=1) / known.sum(axis=1)
    doubt = expected_mistakes(platt, scores >= thresholds)
    assert metrics["loss"] == pytest.approx(loss.mean(), abs=0.02)
    assert metrics["augrc/random"] == pytest.approx(random_areas(loss)[1], abs=0.02)
    assert metrics[f"augrc/{MAX_PROBABILITY}"] == pytest.approx(risk_coverage(loss, doubt).augrc, abs=0.02)
    distance = neighbour_distance(points, valid_points)
    assert metrics[f"augrc/{NEIGHBOUR}"] == pytest.approx(risk_coverage(loss, distance).augrc, abs=0.02)
    assert {f"augrc/{name}" for name in ("3 probes", "best possible")} <= set(metrics)
    assert metrics["augrc/best possible"] <= min(metrics[name] for name in metrics if name.startswith("augrc/"))

    assert metrics["benefit/9"] == pytest.approx(
        np.mean([net_benefit(labels[:, c], platt[:, c], 9).model for c in range(3)]), abs=0.05
    )
    drawn = np.random.default_rng(0).integers(12, size=(10, 12))  # subjects of two records each
    samples = [
        np.mean([net_benefit(labels[rows, c], platt[rows, c], 9).model for c in range(3)])
        for rows in (np.concatenate([2 * people, 2 * people + 1]) for people in drawn)
    ]
    expected = np.percentile(samples, [2.5, 97.5])
    assert stored.result.intervals["benefit/9"] == pytest.approx(expected, abs=0.05)
    assert expected[1] - expected[0] > 0.05 and "benefit_everybody/9" not in stored.result.intervals
    assert metrics[f"avoided_20/{NEIGHBOUR}"] == pytest.approx(mistakes_avoided(risk_coverage(loss, distance), 0.2), abs=0.05)
    assert not any(name.startswith("recall_of/") for name in metrics)  # nobody's sex or age is known

    _, far, _ = outputs(classifier, directory, "test", lambda ecg: 1000 * ecg)
    found = detection(distance, neighbour_distance(far, valid_points)[:9])
    # The group norm all but removes a gain: distances nearly tie, and each pair that rounding exchanges moves this by 0.005.
    assert metrics[f"auroc/gain_x1000/{NEIGHBOUR}"] == pytest.approx(found.auroc, abs=0.05)
    assert metrics[f"rises/gain_x1000/{NEIGHBOUR}"] == pytest.approx(
        (neighbour_distance(far, valid_points)[:9] > distance[:9]).mean(), abs=0.12
    )
    assert f"fpr95/swapped_electrodes/{MAX_PROBABILITY}" in metrics and "auroc/noise/max-probability" not in metrics
    out = capsys.readouterr().out
    assert "| mine | platt |" in out and "| mine | kNN distance |" in out and "24 records of 12 subjects" in out
    bins, risk = stored.arrays("confidence.npz", ("reliability_platt", f"risk_{NEIGHBOUR}"), "")
    assert bins.shape == (3, 15) and bins[0].sum() == known.sum() and risk.shape == (24,)


def test_the_promise_is_measured_for_women_men_and_ages(directory, classifier, tmp_path, capsys) -> None:
    people = tmp_path / "m"
    shutil.copytree(directory, people)
    path = people / "test.meta.parquet"
    table = pq.read_table(path)
    sex, age = ["F", "M", "F"] * 8, [40.0, 55.0, 90.0, float("nan")] * 6
    for name, values, kind in (("sex", sex, pa.string()), ("age", age, pa.float32())):
        table = table.set_column(table.column_names.index(name), name, pa.array(values, kind))
    pq.write_table(table, path)
    options = ["--passes", 0, "--no-probes", "--foreign", "--cost", "--unit", "record"]
    assert run([classifier], people, tmp_path / "r", *options) == 0
    metrics = read_result(tmp_path / "r").result.metrics
    assert [metrics[f"records_of/{name}"] for name in ("women", "men", "under 50", "50 to 69", "70 and older")] == [
        16,
        8,
        6,
        6,
        6,
    ]
    valid_scores, _, valid_labels = outputs(classifier, directory, "valid")
    scores, _, labels = outputs(classifier, directory, "test")
    recalls = []
    for column in range(3):
        has = valid_labels[:, column] == 1
        threshold = class_promise(valid_scores[has, column], np.arange(has.sum()), 0.8).threshold
        own = (labels[:, column] == 1) & (np.array(sex) == "M")
        recalls.append((scores[own, column] >= threshold).mean())
    assert metrics["recall_of/men"] == pytest.approx(np.mean(recalls), abs=0.13)
    out = capsys.readouterr().out
    assert "| 70 and older | 6 |" in out and "net benefit" not in out


def test_equal_passes_do_not_disagree_by_rounding() -> None:
    values = np.random.default_rng(0).random((50, 3))
    assert not disagreement([values] * 5).any()
    assert disagreement([values, values + 0.2]) == pytest.approx(np.full(50, 0.1))


def test_several_models_make_one_table(directory, classifier, tmp_path, capsys) -> None:
    folder = tmp_path / "text"
    folder.mkdir()
    text_model = write_checkpoint(folder / "c.pt", write_tokenizer(folder))
    write_json(directory / "prompts.json", PROMPTS)
    options = ["--passes", 2, "--no-probes", "--foreign", "--model-name", "A", "B"]
    assert run([classifier, text_model], directory, tmp_path / "r", *options) == 0
    out = capsys.readouterr().out
    assert "| A | platt |" in out and "| B | platt |" in out and "Foreign" not in out
    assert read_result(tmp_path / "r" / "B").result.settings["kind"] == "zero_shot"
    first, second = (read_result(tmp_path / "r" / name).result for name in "AB")
    assert f"augrc/{DROPOUT}" not in first.metrics and "No MC dropout: this encoder drops nothing." in first.notes
    assert f"augrc/{DROPOUT}" in second.metrics and second.metrics[f"augrc/{DROPOUT}"] != second.metrics["augrc/random"]
    page = (tmp_path / "r" / "confidence.md").read_text()
    assert page.count("| B |") == out.count("| B |") > 4


def test_without_probabilities_nothing_is_made_of_them(directory, tmp_path, capsys) -> None:
    """Labels of one kind alone in the calibration split: no class has a curve, and dropout has nothing to change."""
    folder, bare = tmp_path / "text", tmp_path / "m"
    folder.mkdir()
    shutil.copytree(directory, bare)
    labels = np.load(bare / "valid.labels.npy")
    np.save(bare / "valid.labels.npy", np.zeros_like(labels))
    (bare / "checksums.json").unlink(missing_ok=True)
    write_json(bare / "prompts.json", PROMPTS)
    checkpoint = write_checkpoint(folder / "c.pt", write_tokenizer(folder))
    options = ["--passes", 2, "--no-probes", "--foreign", "gain_x1000", "--foreign-records", 4]
    assert run([checkpoint], bare, tmp_path / "r", *options) == 0
    result = read_result(tmp_path / "r").result
    assert not any(DROPOUT in name for name in result.metrics) and f"| {DROPOUT} |" not in capsys.readouterr().out
    assert "No MC dropout: no class has probabilities." in result.notes
    assert f"auroc/gain_x1000/{NEIGHBOUR}" in result.metrics


def test_trainings_of_one_model_are_one_row_of_means(directory, classifier, tmp_path, capsys) -> None:
    state = torch.load(classifier, weights_only=False)
    state["model"]["head.weight"] = state["model"]["head.weight"].flip(0)
    other = tmp_path / "other.pt"
    torch.save(state, other)
    options = ["--passes", 0, "--no-probes", "--foreign", "noise", "--foreign-records", 6, "--model-name", "A", "A"]
    assert run([classifier, other], directory, tmp_path / "r", *options) == 0
    out = capsys.readouterr().out
    first, second = (read_result(tmp_path / "r" / name).result.metrics for name in ("A-1", "A-2"))
    assert first["raw/macro_ece"] != second["raw/macro_ece"]
    for name, row in (("raw/macro_ece", "| A | raw |"), ("augrc/max-probability", "| A | max-probability |")):
        pair = 100 * np.array([first[name], second[name]])
        digits = 1 if "ece" in name else 2
        (line,) = [
            line for line in out.split("Abstention" if "augrc" in name else "Probabilities")[1].splitlines() if row in line
        ][:1]
        assert f"{pair.mean():.{digits}f} ± {np.abs(pair[0] - pair[1]) / np.sqrt(2):.{digits}f}" in line
    assert "| A-1 |" not in out
    noise = 100 * np.array([first["auroc/noise/max-probability"], second["auroc/noise/max-probability"]])
    assert f"{noise.mean():.0f} ± {noise.std(ddof=1):.0f} / " in out


def test_splits_that_share_somebody_are_refused(directory, classifier, tmp_path) -> None:
    shared = tmp_path / "m"
    shutil.copytree(directory, shared)
    path = shared / "test.meta.parquet"
    table = pq.read_table(path)

    def rewrite(column, names):
        changed = table.set_column(table.column_names.index(column), column, pa.array(names, pa.string()))
        pq.write_table(changed, path)
        (shared / "checksums.json").unlink(missing_ok=True)

    own, known = table["subject_id"].to_pylist(), pq.read_table(shared / "valid.meta.parquet")["subject_id"].to_pylist()
    rewrite("subject_id", [known[0], known[0], known[2], *own[3:]])
    with pytest.raises(DataError, match=f"m/test: 2 subjects are in valid, too, .* .one of them: '{known[0]}'"):
        run([classifier], shared, tmp_path / "r")
    records = pq.read_table(shared / "valid.meta.parquet")["record_id"].to_pylist()
    rewrite("record_id", [records[5], *table["record_id"].to_pylist()[1:]])
    with pytest.raises(DataError, match=f"1 records are in valid, too, .* .one of them: '{records[5]}'"):
        run([classifier], shared, tmp_path / "r")
    rewrite("subject_id", [""] * len(own))  # nobody is known to be the same
    assert run([classifier], shared, tmp_path / "r", "--passes", 0, "--no-probes", "--foreign") == 0


def test_what_would_flatter_is_refused(directory, classifier, tmp_path) -> None:
    with pytest.raises(DataError, match="--calibrate-on test"):
        run([classifier], directory, tmp_path, "--calibrate-on", "test")
    seen = save_classifier(tmp_path / "seen.pt", {"training_data": training_fingerprint(str(directory), "test")})
    with pytest.raises(DataError, match="m/test: .*seen.pt was trained on these records"):
        run([seen], directory, tmp_path)
    with pytest.raises(DataError, match="the folders of two checkpoints have one name"):
        run([classifier, classifier], directory, tmp_path)
    with pytest.raises(DataError, match="--model-name: give each of the 2"):
        run([classifier, classifier], directory, tmp_path, "--model-name", "A")
    with pytest.raises(DataError, match="make the folders A-1, A-2, A-1, of which two are one"):
        run([classifier] * 3, directory, tmp_path, "--model-name", "A", "A", "A-1")
    with pytest.raises(DataError, match="without /"):
        run([classifier], directory, tmp_path, "--model-name", "../x")
    with pytest.raises(DataError, match="exactly one"):
        run([classifier, seen], directory, tmp_path, "--probe", tmp_path / "p.npz")
