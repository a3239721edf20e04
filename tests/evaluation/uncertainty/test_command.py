"""``python -m cmelt_plugin.evaluation.uncertainty``: variances planted beside errors."""

import numpy as np
import pytest
from planted_values import DIM, planted, write_planted

from cmelt_plugin.data.files import atomic_path
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.metrics.regression import regression_metrics, spearman
from cmelt_plugin.evaluation.result_files import Result, Scores, read_result, write_result
from cmelt_plugin.evaluation.uncertainty.__main__ import main
from cmelt_plugin.models.base import Embedding
from cmelt_plugin.models.inference import pretrained as pretrained_module

N = 40
DEVIATION = np.random.default_rng(3).permutation(np.linspace(0.01, 0.2, N))
TARGET = np.linspace(20, 70, N)
VALUE = TARGET + 100 * DEVIATION * np.where(np.arange(N) % 2, 1, -1)  # the less certain, the more wrong


@pytest.fixture
def directory(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained_module, "load_pretrained", lambda *arguments: planted())
    return write_planted(tmp_path / "m", {"test": TARGET}, DEVIATION)


def result_of(kind, **values):
    fields = {"model": "ours", "checkpoint": "x", "data_set": "d", "label_set": "", "split": "test", "n_records": N}
    return Result(kind=kind, n_subjects=N, **{**fields, **values})


def regression(folder, ids=None, value=VALUE):
    ids = [f"test{i}" for i in range(N)] if ids is None else ids
    with atomic_path(folder / "values.npz") as temporary:
        np.savez(temporary, record_id=np.array(ids), target=TARGET, value=value)
    write_result(folder, result_of("regression"))
    return folder


def classification(folder):
    """Scores right for certain records and wrong for the others, with a threshold."""
    labels = (np.arange(N) % 2).astype(float)
    labels[0] = np.nan
    sure = DEVIATION < np.median(DEVIATION)
    scores = np.where(sure, labels, 1 - labels)
    scores[0] = 0.3
    metrics = {"LVEF<40": {"threshold": 0.5}}
    columns = ([f"test{i}" for i in range(N)], [""] * N, ["LVEF<40"], labels[:, None], scores[:, None])
    write_result(folder, result_of("zero_shot", per_class=metrics), Scores(*columns))
    return folder


def retrieval(folder):
    with atomic_path(folder / "ranks.npz") as temporary:
        ranks = 1 + np.argsort(np.argsort(DEVIATION))[None]
        ids = np.array([f"test{i}" for i in range(N)])
        np.savez(temporary, record_id=ids, names=np.array(["ecg_to_echo"]), ranks=ranks)
    write_result(folder, result_of("retrieval"))
    return folder


def run(directory, results, *options):
    fixed = ["--checkpoint", "x.pt", "--manifest", directory, "--results", results, "--bootstrap", 20]
    assert main([str(value) for value in (*fixed, *options)]) == 0
    return read_result(results)


def test_metrics_by_uncertainty(directory, tmp_path, capsys) -> None:
    folders = [regression(tmp_path / "a"), classification(tmp_path / "b"), retrieval(tmp_path / "c")]
    stored = run(directory, tmp_path / "out", "--of", *folders, "--snr", "--lost")
    metrics = stored.result.metrics
    uncertainty, names, bins = stored.arrays("uncertainty.npz", ("uncertainty", "names", "bins"), "")
    assert uncertainty == pytest.approx(DIM * DEVIATION**2, rel=0.05)
    low = np.flatnonzero(uncertainty <= np.median(uncertainty))
    assert metrics["regression/mae/low"] == pytest.approx(regression_metrics(TARGET[low], VALUE[low])["mae"])
    assert metrics["regression/mae/low"] < metrics["regression/mae/all"] < metrics["regression/mae/high"]
    assert metrics["regression/mae/pearson"] == pytest.approx(1, abs=0.02)  # of the error: expected to rise
    assert metrics["spearman/regression/absolute error"] == pytest.approx(1)
    assert metrics["zero-shot/balanced_accuracy/low"] == 1 and metrics["zero-shot/balanced_accuracy/high"] == 0
    assert metrics["zero-shot/macro_auc/low"] == 1 and metrics["zero-shot/macro_auc/high"] < 0.1
    assert metrics["zero-shot/balanced_accuracy/pearson"] < -0.8
    wrong = (DEVIATION >= np.median(DEVIATION))[1:].astype(float)  # the first record's label is unknown
    assert metrics["spearman/zero-shot/wrong decisions"] == pytest.approx(spearman(uncertainty[1:], wrong))
    assert ["zero-shot", "macro_auc", N - 1] in stored.result.settings["compared"]
    assert metrics["retrieval/ecg_to_echo_r5/low"] == 0.25 and metrics["retrieval/ecg_to_echo_r5/high"] == 0
    assert names.tolist()[:2] == ["regression: mae", "regression: r2"] and bins.shape == (6, 10)
    lower, upper = stored.result.intervals["regression/mae/high"]
    assert lower <= metrics["regression/mae/high"] <= upper
    assert "noise/monotone" not in metrics and "disturbed" not in capsys.readouterr().out


def test_uncertainty_of_disturbed_recordings(directory, tmp_path, capsys) -> None:
    """The planted variance is the power of lead II: noise adds to it, and without that lead it is gone."""
    options = ("--snr", 0, 3, 9, "--lost", 3, 12, "--seed", 5)
    stored = run(directory, tmp_path / "out", *options, "--batch-size", 7)
    noise, lost, uncertainty = stored.arrays("uncertainty.npz", ("noise", "lost_leads", "uncertainty"), "")
    assert noise.shape == (N, 4) and lost.shape == (N, 3)
    assert noise[:, 0] == pytest.approx(uncertainty) and lost[:, 0] == pytest.approx(uncertainty)
    assert stored.result.metrics["noise/monotone"] == 1 and stored.result.metrics["noise/chance"] == pytest.approx(1 / 24)
    assert (lost[:, 2] < 1e-4).all() and stored.result.metrics["lost_leads/ends_higher"] == 0
    some = lost[:, 1] < 1e-4  # lead II is among the first three
    assert 0 < some.mean() < 0.6 and lost[~some, 1] == pytest.approx(uncertainty[~some])
    assert stored.result.settings["levels"] == {"noise": [9, 3, 0], "lost_leads": [3, 12]}
    out = capsys.readouterr().out
    assert "| added noise | 40 | none: " in out and "3 dB: " in out and "| 100.0 | 4.2 | 100.0 |" in out
    # A record's noise is its own, whatever the batch.
    again = run(directory, tmp_path / "again", *options).arrays("uncertainty.npz", ("noise",), "")[0]
    assert again == pytest.approx(noise)


def test_points_have_no_uncertainty_and_equal_variances_say_so(directory, tmp_path, monkeypatch) -> None:
    same = write_planted(tmp_path / "same", {"test": TARGET}, 0.1)
    assert "collapsed" in run(same, tmp_path / "out", "--snr", "--lost").result.notes[1]
    points = planted()
    points.model.embed_ecg = lambda ecg, n_samples=None: Embedding(ecg[:, 0, :DIM])
    monkeypatch.setattr(pretrained_module, "load_pretrained", lambda *arguments: points)
    with pytest.raises(DataError, match="planted.pt: this model's embeddings are points"):
        run(directory, tmp_path / "out")


def test_evaluations_must_be_of_the_split_and_keep_records(directory, tmp_path) -> None:
    other = regression(tmp_path / "a", [f"valid{i}" for i in range(N)])
    with pytest.raises(DataError, match="has 40 records that are not in .*m/test, first valid0"):
        run(directory, tmp_path / "out", "--of", other)
    write_result(tmp_path / "b", result_of("finetune"))
    with pytest.raises(DataError, match="keeps no scores, values or ranks"):
        run(directory, tmp_path / "out", "--of", tmp_path / "b")
    with pytest.raises(DataError, match="--lost 13: a recording has 12 leads"):
        run(directory, tmp_path / "out", "--lost", 13)
    with pytest.raises(SystemExit):
        run(directory, tmp_path / "out", "--snr", "loud")
