"""CODE-test: readers and models against the gold standard."""

import numpy as np
import pandas as pd
import pytest

from cmelt_plugin.data.code_test_annotations import CLASSES, read_annotations, record_ids
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.human_readers import __main__ as human_readers
from cmelt_plugin.evaluation.human_readers.rows import (
    AT_THRESHOLDS,
    FROM_SCORES,
    READERS,
    YES_NO,
    evaluate,
    model_rows,
    reader_rows,
)
from cmelt_plugin.evaluation.result_files import Result, Scores, StoredResult, read_results, write_result

# Paper Table 5 and what the data set's own files give (macro AUC × 100).
PAPER = {"cardiology_residents": 92.07, "emergency_residents": 90.52, "medical_students": 93.61, "dnn": 96.59}
MEASURED = {"cardiology_residents": 92.08, "emergency_residents": 90.51, "medical_students": 93.61, "dnn": 96.60}


def write_annotations(folder, gold, mistakes=0.05, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    pd.DataFrame(gold, columns=CLASSES).to_csv(folder / "gold_standard.csv", index=False)
    for reader in READERS:
        table = pd.DataFrame(gold ^ (rng.random(gold.shape) < mistakes), columns=CLASSES)
        table[list(reversed(CLASSES))].to_csv(folder / f"{reader.file}.csv", index=reader.file == "dnn")
    return folder


@pytest.fixture
def gold():
    return (np.random.default_rng(1).random((60, 6)) < 0.2).astype(int)


@pytest.fixture
def annotations(tmp_path, gold):
    return write_annotations(tmp_path / "annotations", gold)


def make_result(folder, gold, order=None, classes=CLASSES, thresholds=None, kind="zero_shot", label_set="code", noise=0.4):
    order = np.arange(len(gold)) if order is None else order
    columns = [CLASSES.index(name) for name in classes]
    labels = gold[order][:, columns].astype(np.float32)
    scores = (gold + noise * np.random.default_rng(5).normal(size=gold.shape))[order][:, columns].astype(np.float32)
    ids = [record_ids(len(gold))[row] for row in order]
    per_class = {name: {"threshold": value} for name, value in (thresholds or {}).items()}
    result = Result(kind, "ours", "c.pt", "code-test", label_set, "test", len(ids), len(ids), per_class=per_class)
    write_result(folder, result, Scores(ids, ids, list(classes), labels, scores))
    return scores


def naive_figures(gold, decisions):
    """Per class: area under the curve through (0,0), (1 − specificity, sensitivity), (1,1), and F1."""
    areas, f1 = [], []
    for truth, said in zip(gold.T.astype(bool), decisions.T.astype(bool)):
        hits, false = (truth & said).sum(), (~truth & said).sum()
        x, y = false / (~truth).sum(), hits / truth.sum()
        areas.append(x * y / 2 + (1 - x) * (y + 1) / 2)
        f1.append(2 * hits / (2 * hits + false + (truth & ~said).sum()))
    return np.array(areas), np.array(f1)


def test_published_figures_of_people_come_out_of_the_real_tables(real_data):
    folder = real_data / "code-test-tables" / "annotations"
    if not folder.is_dir():
        pytest.skip(f"no CODE-test tables at {folder}")
    rows = dict(zip((reader.file for reader in READERS), reader_rows(folder)))
    for file, expected in MEASURED.items():
        result = evaluate(rows[file], resamples=50)
        assert round(100 * result.metrics["macro_auc"], 2) == expected, file
        assert abs(100 * result.metrics["macro_auc"] - PAPER[file]) < 0.02, file
        assert result.n_records == result.n_subjects == 827
        assert [result.per_class[name]["positives"] for name in CLASSES] == [28, 34, 30, 16, 13, 37]
    assert "made from" in rows["cardiologist1"].remarks[0] and "made from" in rows["cardiologist2"].remarks[0]


def test_figures_equal_their_definitions(annotations, gold):
    for reader, row in zip(READERS, reader_rows(annotations)):
        decisions = read_annotations(annotations / f"{reader.file}.csv")
        result = evaluate(row, resamples=200)
        areas, f1 = naive_figures(gold, decisions)
        assert result.metrics["macro_auc"] == pytest.approx(areas.mean())
        assert result.metrics["macro_f1"] == pytest.approx(f1.mean())
        for column, name in enumerate(CLASSES):
            found = result.per_class[name]
            assert (
                found["auc"] == pytest.approx(areas[column]) == pytest.approx((found["sensitivity"] + found["specificity"]) / 2)
            )
            truth = gold[:, column] == 1
            assert found["sensitivity"] == pytest.approx(decisions[truth, column].mean())
            assert found["specificity"] == pytest.approx(1 - decisions[~truth, column].mean())
        low, high = result.intervals["macro_auc"]
        assert low < result.metrics["macro_auc"] < high
        assert result.settings["decisions"] == YES_NO and result.kind == "code_test"


def test_class_without_positives_is_left_out_and_named(tmp_path, gold, capsys):
    gold[:, 4] = 0
    write_annotations(tmp_path, gold)
    result = evaluate(reader_rows(tmp_path)[0], resamples=20)
    assert result.excluded == ["AF"] and np.isfinite(result.metrics["macro_auc"])
    assert human_readers.main(["--annotations", str(tmp_path), "--resamples", "20"]) == 0
    assert "left out of the means for want of positives or negatives: AF" in capsys.readouterr().out


def test_model_has_a_row_of_scores_and_one_of_decisions(tmp_path, gold):
    thresholds = dict(zip(CLASSES, np.linspace(0.3, 0.7, 6)))
    order = np.random.default_rng(2).permutation(len(gold))
    scores = make_result(tmp_path / "r", gold, order, tuple(reversed(CLASSES)), thresholds)[:, ::-1]
    from_scores, decided = model_rows(read_results([tmp_path / "r"])[0], gold)
    assert (from_scores.kind, decided.kind) == (FROM_SCORES, AT_THRESHOLDS)
    assert not from_scores.comparable and decided.comparable
    assert np.array_equal(from_scores.labels, gold[order]) and np.allclose(from_scores.scores, scores)
    decisions = scores >= np.array(list(thresholds.values()))
    areas, _ = naive_figures(gold[order], decisions)
    assert evaluate(decided, resamples=20).metrics["macro_auc"] == pytest.approx(areas.mean())
    pairs = [np.mean([(p > n) + 0.5 * (p == n) for p in s[t == 1] for n in s[t == 0]]) for s, t in zip(scores.T, gold[order].T)]
    result = evaluate(from_scores, resamples=20)
    assert result.metrics["macro_auc"] == pytest.approx(np.mean(pairs)) and "macro_f1" not in result.metrics


def test_without_thresholds_the_decision_row_says_what_is_missing(tmp_path, annotations, gold, capsys):
    make_result(tmp_path / "r", gold, thresholds={"AF": 0.5, "ST": float("nan")})
    arguments = ["--annotations", str(annotations), "--result", str(tmp_path / "r"), "--resamples", "20"]
    assert human_readers.main(arguments) == 0
    out = capsys.readouterr().out
    assert "no threshold for 1dAVb, RBBB, LBBB, SB, ST: choose them on validation data" in out
    assert "not comparable with those (scores rank patients, decisions do not): ours" in out
    comparable = next(line for line in out.splitlines() if line.startswith("comparable with each other"))
    assert "medical students" in comparable and "DNN" in comparable and "ours" not in comparable


def test_command_writes_a_result_per_row(tmp_path, annotations, gold, capsys):
    make_result(tmp_path / "in" / "code", gold, thresholds=dict.fromkeys(CLASSES, 0.5))
    make_result(tmp_path / "in" / "other", gold, label_set="csn")
    arguments = ["--annotations", str(annotations), "--result", str(tmp_path / "in"), "--resamples", "20"]
    assert human_readers.main([*arguments, "--results", str(tmp_path / "out")]) == 0
    captured = capsys.readouterr()
    assert "N = 60 patients" in captured.out and "positives: 1dAVb" in captured.out
    assert "left out:" in captured.err and "csn" in captured.err
    stored = {item.folder.name: item for item in read_results([tmp_path / "out"])}
    assert set(stored) == {reader.file for reader in READERS} | {"model-1-scores", "model-1-decisions"}
    for item in stored.values():
        assert item.result.kind == "code_test" and item.result.label_set == "code"
        assert item.scores().record_id == record_ids(60) and np.array_equal(item.scores().labels, gold)
        assert "human_readers" in item.result.command
    assert stored["model-1-decisions"].result.settings["decisions"] == AT_THRESHOLDS
    assert set(np.unique(stored["model-1-decisions"].scores().scores)) == {0.0, 1.0}
    assert stored["cardiologist1"].result.notes and not stored["model-1-scores"].result.per_class["AF"].get("f1")


def test_fewer_tracings_are_said_to_be_fewer(tmp_path, gold):
    make_result(tmp_path, gold, order=np.arange(50), thresholds=dict.fromkeys(CLASSES, 0.5))
    assert "50 of 60 tracings: not the readers' set" in model_rows(read_results([tmp_path])[0], gold)[0].remarks


def test_foreign_results_are_refused(tmp_path, gold, annotations):
    make_result(tmp_path / "labels", 1 - gold)
    with pytest.raises(DataError, match="its labels differ from gold_standard.csv"):
        model_rows(read_results([tmp_path / "labels"])[0], gold)
    make_result(tmp_path / "long", np.concatenate([gold, gold]))
    with pytest.raises(DataError, match="holds record code-0060"):
        model_rows(read_results([tmp_path / "long"])[0], gold)
    make_result(tmp_path / "classes", gold, classes=("AF", "ST"))
    with pytest.raises(DataError, match="no scores for 1dAVb, RBBB, LBBB, SB"):
        model_rows(read_results([tmp_path / "classes"])[0], gold)
    bare = StoredResult(tmp_path / "none", Result("zero_shot", "m", "", "code-test", "code", "test", 1, 1))
    with pytest.raises(DataError, match="holds no scores"):
        model_rows(bare, gold)
    make_result(tmp_path / "csn", gold, label_set="csn")
    with pytest.raises(DataError, match="no zero-shot result with label set 'code'"):
        human_readers.main(["--annotations", str(annotations), "--result", str(tmp_path / "csn")])


def test_faulty_tables(tmp_path, gold):
    with pytest.raises(DataError, match="gold_standard.csv: no such file; expected the annotations/ folder"):
        reader_rows(tmp_path)
    path = write_annotations(tmp_path, gold) / "gold_standard.csv"
    table = pd.read_csv(path)
    table.drop(columns="SB").to_csv(path, index=False)
    with pytest.raises(DataError, match="no column SB; expected 1dAVb"):
        read_annotations(path)
    pd.concat([table, table[["AF"]]], axis=1).to_csv(path, index=False)
    with pytest.raises(DataError, match="several columns of one name: AF"):
        read_annotations(path)
    table.loc[3, "AF"] = 2
    table.to_csv(path, index=False)
    with pytest.raises(DataError, match="line 5, column AF: .*2.* is not 0 or 1"):
        read_annotations(path)
    table.iloc[:0].to_csv(path, index=False)
    with pytest.raises(DataError, match="holds no rows"):
        read_annotations(path)
    path.write_text("")
    with pytest.raises(DataError, match="not a CSV file"):
        read_annotations(path)
    write_annotations(tmp_path, gold)
    short = tmp_path / "dnn.csv"
    short.write_text("\n".join(short.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(DataError, match="dnn.csv: 59 rows, gold_standard.csv has 60"):
        reader_rows(tmp_path)
