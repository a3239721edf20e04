"""The commands that evaluate a fine-tuned checkpoint: without a host's trainer, on checkpoints made here."""

import dataclasses

import numpy as np
import pytest
import torch
from finetune_runs import CLASSES, write_labelled
from sklearn.metrics import f1_score, roc_auc_score

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.files import write_json
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.classify import main
from cmelt_plugin.evaluation.identify import main as identify
from cmelt_plugin.evaluation.metrics.identification import identify as identify_people
from cmelt_plugin.evaluation.metrics.thresholds import choose_thresholds
from cmelt_plugin.evaluation.result_files import read_results
from cmelt_plugin.models.classifier.model import Classifier
from tests.models.classifier_ranks import tiny_config


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return write_labelled(tmp_path_factory.mktemp("classify") / "m", unknown=0.1)


def save(path, task="cmelt_classification", state=None, names=CLASSES, model=None, **task_values):
    """A classifier with random weights whose outputs differ from record to record, as a host saves it."""
    torch.manual_seed(0)
    made = Classifier.build_model(tiny_config(num_classes=len(names), class_names=list(names), **(model or {})))
    torch.nn.init.normal_(made.head.weight, std=1.0)
    cfg = {**dataclasses.asdict(made.cfg), "_name": "cmelt_classifier"}
    task_cfg = {"_name": task, "leads": list(LEADS), "seed": 7, **task_values}
    torch.save({"model": made.state_dict(), "cfg": {"model": cfg, "task": task_cfg}, "task_state": state or {}}, path)
    return made.eval()


def outputs(model, directory, split, leads=LEADS):
    manifest = Manifest.open(directory, split)
    ecg = RecordStore(manifest.store_root).read(manifest.shard, manifest.row)
    ecg[:, [lead not in leads for lead in LEADS]] = 0
    with torch.no_grad():
        out = model(torch.from_numpy(ecg))
    return out["logits"].double().sigmoid().numpy(), out["features"].numpy(), manifest.labels()[0]


def run(main, checkpoint, directory, *options):
    arguments = ["--checkpoint", checkpoint, "--manifest", directory, "--bootstrap", 20, "--batch-size", 7, *options]
    return main([str(argument) for argument in arguments])


def test_figures_thresholds_and_scores(directory, tmp_path, capsys):
    model = save(tmp_path / "c.pt", problem="multi_label", fraction=0.1, subset="merl", subset_seed=42)
    assert run(main, tmp_path / "c.pt", directory, "--results", tmp_path / "r", "--model-name", "mine") == 0
    (stored,) = read_results([tmp_path / "r"])
    result = stored.result
    scores, _, labels = outputs(model, directory, "test")
    valid_scores, _, valid_labels = outputs(model, directory, "valid")
    thresholds = choose_thresholds(valid_labels, valid_scores)
    aucs, f1s = [], []
    for column in range(3):
        known = ~np.isnan(labels[:, column])
        aucs.append(roc_auc_score(labels[known, column], scores[known, column]))
        f1s.append(f1_score(labels[known, column], scores[known, column] >= thresholds[column]))
    assert result.metrics["macro_auc"] == pytest.approx(np.mean(aucs), abs=1e-6)
    assert result.metrics["macro_f1"] == pytest.approx(np.mean(f1s), abs=1e-6)
    assert [result.per_class[name]["threshold"] for name in CLASSES] == pytest.approx(thresholds, abs=1e-5)
    assert (result.kind, result.model, result.data_set, result.label_set) == ("finetune", "mine", "tiny", "tiny")
    assert (result.n_records, result.n_subjects, result.settings["fraction"]) == (24, 12, 0.1)
    assert result.settings["thresholds"] == f"{directory}/valid"
    kept = stored.scores()
    np.testing.assert_allclose(kept.scores, scores, atol=1e-5)
    np.testing.assert_array_equal(kept.labels, labels)
    assert kept.names == CLASSES and kept.record_id[0] == "r72" and kept.subject_id[0] == "s36"
    assert "macro AUROC" in capsys.readouterr().out

    assert run(main, tmp_path / "c.pt", directory, "--results", tmp_path / "half", "--bf16") == 0
    (half,) = read_results([tmp_path / "half"])
    assert (result.settings["precision"], half.result.settings["precision"]) == ("float32", "bf16")
    assert 0 < np.abs(half.scores().scores - scores).max() < 0.02


def test_columns_are_matched_by_name(directory, tmp_path):
    """D-E1."""
    turned = write_labelled(tmp_path / "turned", classes=["SINE", "DRIFT", "LOUD"], unknown=0.0)
    straight = write_labelled(tmp_path / "straight", unknown=0.0)
    save(tmp_path / "c.pt")
    for name, folder in (("a", straight), ("b", turned)):
        run(main, tmp_path / "c.pt", folder, "--results", tmp_path / name)
    a, b = (read_results([tmp_path / name])[0] for name in ("a", "b"))
    assert a.result.metrics == b.result.metrics
    np.testing.assert_array_equal(a.scores().labels, b.scores().labels)
    save(tmp_path / "other.pt", names=["X", "Y", "Z"])
    with pytest.raises(DataError, match="not the classes of the model; missing X, Y, Z"):
        run(main, tmp_path / "other.pt", straight)


def test_leads_and_freezing_come_from_the_checkpoint(directory, tmp_path):
    model = save(tmp_path / "c.pt", leads=["I", "V6"], model={"freeze": "encoder", "pool": "mean"})
    run(main, tmp_path / "c.pt", directory, "--results", tmp_path / "r")
    (stored,) = read_results([tmp_path / "r"])
    np.testing.assert_allclose(stored.scores().scores, outputs(model, directory, "test", ["I", "V6"])[0], atol=1e-5)
    assert stored.result.kind == "linear_probe" and stored.result.settings["leads"] == ["I", "V6"]


def test_where_thresholds_come_from(directory, tmp_path, capsys):
    save(tmp_path / "c.pt", state={"thresholds": [0.25, 0.5, float("nan")]})
    run(main, tmp_path / "c.pt", directory, "--valid", "none", "--results", tmp_path / "r")
    result = read_results([tmp_path / "r"])[0].result
    assert result.settings["thresholds"] == "validation data of the training"
    assert [result.per_class[name]["threshold"] for name in CLASSES[:2]] == [0.25, 0.5]
    assert "no threshold (no positives in the validation data): DRIFT" in capsys.readouterr().out
    with pytest.raises(DataError, match="thresholds cannot come from the split that is evaluated"):
        run(main, tmp_path / "c.pt", directory, "--valid", "test")
    save(tmp_path / "none.pt")
    test_only = write_labelled(tmp_path / "m", {"test": 12})
    run(main, tmp_path / "none.pt", test_only, "--results", tmp_path / "none")
    metrics = read_results([tmp_path / "none"])[0].result.metrics
    assert "macro_auc" in metrics and "macro_f1" not in metrics


def test_exclusive_classes_and_an_exported_folder(tmp_path):
    from cmelt_plugin.models.files.checkpoint import load_model
    from cmelt_plugin.models.files.exported import write_folder

    folder = write_labelled(tmp_path / "m", exclusive=True)
    model = save(tmp_path / "c.pt", problem="multi_class")
    loaded = load_model(tmp_path / "c.pt")
    write_folder(tmp_path / "exported", loaded.model, loaded.cfg, loaded.task_state)
    for source in ("c.pt", "exported"):
        run(main, tmp_path / source, folder, "--results", tmp_path / f"{source}-r")
    a, b = (read_results([tmp_path / f"{source}-r"])[0] for source in ("c.pt", "exported"))
    assert a.result.metrics == b.result.metrics
    scores, _, labels = outputs(model, folder, "test")
    right = (np.log(scores / (1 - scores)).argmax(axis=1) == labels.argmax(axis=1)).mean()
    assert a.result.metrics["accuracy"] == pytest.approx(right)
    np.testing.assert_allclose(a.scores().scores.sum(axis=1), 1.0, rtol=1e-5)


def test_cinc_score_with_the_users_weights_or_those_of_the_training(tmp_path):
    folder = write_labelled(tmp_path / "m")
    names = ["NSR", "AF", "IAVB"]
    write_json(folder / "labels.json", {"label_set": "cinc2021", "names": names})
    codes = ["426783006", "164889003", "270492004"]
    rows = [",".join([code, *(["0.5"] * place), "1", *(["0.5"] * (2 - place))]) for place, code in enumerate(codes)]
    (tmp_path / "weights.csv").write_text("\n".join([f",{','.join(codes)}", *rows]))
    matrix = [[1.0 if i == j else 0.5 for j in range(3)] for i in range(3)]
    save(tmp_path / "plain.pt", names=names)
    save(tmp_path / "kept.pt", names=names, state={"cinc_weights": {"classes": codes, "weights": matrix}})
    run(main, tmp_path / "plain.pt", folder, "--results", tmp_path / "without")
    run(main, tmp_path / "plain.pt", folder, "--results", tmp_path / "given", "--cinc-weights", tmp_path / "weights.csv")
    run(main, tmp_path / "kept.pt", folder, "--results", tmp_path / "kept")
    run(main, tmp_path / "kept.pt", folder, "--results", tmp_path / "half", "--cinc-threshold", "0.5")
    found = {name: read_results([tmp_path / name])[0].result for name in ("without", "given", "kept", "half")}
    assert "cinc_score" not in found["without"].metrics
    assert found["given"].metrics["cinc_score"] == found["kept"].metrics["cinc_score"] != found["half"].metrics["cinc_score"]
    assert "cinc_score" in found["given"].intervals


def test_identification(directory, tmp_path, capsys):
    model = save(tmp_path / "c.pt", task="cmelt_identification", names=["sha256:0"], leads=["I", "II"])
    assert run(identify, tmp_path / "c.pt", directory, "--results", tmp_path / "r") == 0
    expected = identify_people(outputs(model, directory, "test", ["I", "II"])[1], [f"s{36 + i // 2}" for i in range(24)])
    result = read_results([tmp_path / "r"])[0].result
    assert result.metrics["top1_accuracy"] == pytest.approx(expected.top1)
    assert result.metrics["mean_rank"] == pytest.approx(expected.mean_rank)
    assert (result.kind, result.n_subjects, result.n_records) == ("identification", 12, 24)
    low, high = result.intervals["top1_accuracy"]
    assert low <= expected.top1 <= high
    assert "12 subjects, 24 records" in capsys.readouterr().out
    assert run(identify, tmp_path / "c.pt", directory, "--results", tmp_path / "half", "--bf16") == 0
    half = read_results([tmp_path / "half"])[0].result
    assert (result.settings["precision"], half.settings["precision"]) == ("float32", "bf16")
    assert half.metrics["mean_rank"] != result.metrics["mean_rank"]  # recordings look much alike to random weights
    with pytest.raises(DataError, match="no subject has two records"):
        run(identify, tmp_path / "c.pt", write_labelled(tmp_path / "m", {"test": 6}, records_per_subject=1))


def test_commands_refuse_each_others_checkpoints(directory, tmp_path):
    save(tmp_path / "c.pt")
    with pytest.raises(
        DataError, match="of the task 'cmelt_classification'; this command evaluates those of cmelt_identification"
    ):
        run(identify, tmp_path / "c.pt", directory)
    save(tmp_path / "i.pt", task="cmelt_identification", names=["sha256:0"])
    with pytest.raises(DataError, match="this command evaluates those of cmelt_classification"):
        run(main, tmp_path / "i.pt", directory)
    with pytest.raises(DataError, match="nowhere.pt: no such checkpoint"):
        run(main, tmp_path / "nowhere.pt", directory)
