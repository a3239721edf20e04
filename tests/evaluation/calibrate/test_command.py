"""The command: what it writes for each kind of model is what the formulas say, and it refuses what training saw."""

import json
import shutil

import numpy as np
import pytest
import torch
from calibrated import PROMPTS, save_classifier, save_probed, subjects_of, write_calibration_data
from finetune_runs import CLASSES
from labelled_sets import write_checkpoint, write_tokenizer

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.directory.training_data import training_fingerprint
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.calibrate.__main__ import main
from cmelt_plugin.evaluation.uncertainty.conformal import class_promise
from cmelt_plugin.evaluation.uncertainty.recalibration import fit_curves
from cmelt_plugin.models.inference.calibration import (
    calibration_folders,
    calibration_root,
    find_calibration,
    read_calibration,
    read_points,
)
from cmelt_plugin.models.inference.linear_probe import load_probe
from cmelt_plugin.models.inference.pretrained import load_pretrained

N = 64


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return write_calibration_data(tmp_path_factory.mktemp("data") / "m", N)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return save_classifier(tmp_path_factory.mktemp("model") / "classifier.pt", {"thresholds": [0.5, 0.5, 0.5]})


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    path = tmp_path_factory.mktemp("prompts") / "prompts.json"
    path.write_text(json.dumps(PROMPTS))
    return path


@pytest.fixture(scope="module")
def text_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    return write_checkpoint(folder / "c.pt", write_tokenizer(folder))


def run(checkpoint, directory, *options):
    fixed = ["--checkpoint", checkpoint, "--manifest", directory, "--recall", 0.8]
    return main([str(value) for value in (*fixed, *options)])


def the_calibration(path):
    (folder,) = calibration_folders(calibration_root(path))
    return read_calibration(folder), folder


def logits_of(checkpoint, directory, split="valid"):
    """Outputs of the classifier and labels, straight from the recordings."""
    manifest = Manifest.open(directory, split)
    ecg = RecordStore(manifest.store_root).read(manifest.shard, manifest.row)
    with torch.no_grad():
        logits = load_pretrained(checkpoint).model(torch.from_numpy(ecg))["logits"]
    return logits.double().numpy(), manifest.labels()[0]


def test_a_classifier(directory, classifier, capsys) -> None:
    assert run(classifier, directory, "--seed", 3, "--refuse", 0.1) == 0
    found, folder = the_calibration(classifier)
    scores, labels = logits_of(classifier, directory)
    assert (found.kind, found.label_set, found.recall, found.unit, found.needed) == ("classifier", "tiny", 0.8, "subject", 4)
    for column, (one, curve) in enumerate(zip(found.classes, fit_curves(labels, scores, "platt"))):
        has = labels[:, column] == 1
        promise = class_promise(scores[has, column], subjects_of(N)[has], 0.8)
        assert one.name == CLASSES[column] and one.positives == has.sum() and one.units == promise.n_units
        assert one.threshold == pytest.approx(promise.threshold, abs=1e-4)
        assert one.called == pytest.approx((scores[:, column] >= promise.threshold).mean(), abs=0.02)
        grid = np.linspace(-3, 3, 5)
        assert one.curve.probabilities(grid) == pytest.approx(curve.probabilities(grid), abs=1e-3)
    assert found.data["records"] == N and found.data["subjects"] == N // 2 and found.data["split"] == "valid"
    assert found.data["order"] == training_fingerprint(str(directory), "valid")["order"]
    assert "does not say what it was trained on" in found.notes[0] and "--seed 3" in found.command
    assert {name.split("/")[0] for name in found.measured} == {"classes", "raw", "platt", "temperature", "isotonic"}
    assert found.measured["classes"] == 3 and found.signal_leads == list(LEADS)
    pretrained = load_pretrained(classifier)
    out = capsys.readouterr().out
    assert f"| LOUD | {found.classes[0].positives} | {found.classes[0].units} | platt |" in out and "platt (used)" in out
    assert read_points(folder).shape[1] == pretrained.model.head.in_features
    limits = found.abstention
    assert limits["refused"] == 0.1 and 0 < limits["distance"] <= 2 and 0 < limits["uncertainty"] <= 0.5
    # Again with another method: in its place.
    assert run(classifier, directory, "--method", "temperature", "--refuse", 0) == 0
    again, same = the_calibration(classifier)
    assert same == folder and again.method == "temperature" and again.abstention == {}
    assert len({(one.curve.slope, one.curve.intercept) for one in again.classes}) == 1


def test_records_in_place_of_subjects(directory, classifier, tmp_path) -> None:
    assert run(classifier, directory, "--unit", "record", "--dest", tmp_path) == 0
    (folder,) = calibration_folders(tmp_path)
    found, (scores, labels) = read_calibration(folder), logits_of(classifier, directory)
    has = labels[:, 0] == 1
    assert found.classes[0].units == has.sum() == found.classes[0].positives
    assert found.classes[0].threshold == pytest.approx(np.sort(scores[has, 0])[int(0.2 * (has.sum() + 1) + 1e-9) - 1], abs=1e-4)


def test_exclusive_classes_have_scores_against_all_others(directory, tmp_path) -> None:
    checkpoint = save_classifier(tmp_path / "c.pt", problem="multi_class")
    assert run(checkpoint, directory) == 0
    found, _ = the_calibration(checkpoint)
    logits, labels = logits_of(checkpoint, directory)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    has = labels[:, 1] == 1
    expected = class_promise(np.log(p / (1 - p))[has, 1], subjects_of(N)[has], 0.8).threshold
    assert found.classes[1].threshold == pytest.approx(expected, abs=1e-4)


def test_too_few_records_promise_nothing_and_say_how_many_it_takes(directory, classifier, tmp_path, capsys) -> None:
    assert run(classifier, directory, "--recall", 0.99, "--dest", tmp_path) == 0
    found = read_calibration(calibration_folders(tmp_path)[0])
    assert [one.threshold for one in found.classes] == [None] * 3 and found.set_threshold is None
    assert all(one.curve is not None for one in found.classes)  # probabilities there are
    out = capsys.readouterr().out
    assert "Nothing is promised of LOUD, SINE, DRIFT: a recall of 0.99 needs 99 subjects with it" in out
    assert f"{found.classes[0].units} of 99 needed" in out


def test_zero_shot_by_texts(directory, text_model, prompts, tmp_path) -> None:
    assert run(text_model, directory, "--prompts", prompts) == 0
    found, _ = the_calibration(text_model)
    assert found.kind == "zero_shot" and found.score == "cosine" and found.texts == PROMPTS
    pretrained = load_pretrained(text_model)
    manifest = Manifest.open(directory, "valid")
    ecg = RecordStore(manifest.store_root).read(manifest.shard, manifest.row)
    names, scores = pretrained.zero_shot(ecg, PROMPTS)
    has = manifest.labels()[0][:, 2] == 1
    expected = class_promise(scores[has, 2].numpy(), subjects_of(N)[has], 0.8).threshold
    assert names[2] == found.classes[2].name == "DRIFT" and found.classes[2].threshold == pytest.approx(expected, abs=1e-5)
    # Other texts are other classes: both calibrations stay.
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**PROMPTS, "LOUD": ["very high voltage"]}))
    assert run(text_model, directory, "--prompts", other) == 0
    folders = calibration_folders(calibration_root(text_model))
    assert len(folders) == 2 and len({read_calibration(folder).key for folder in folders}) == 2
    assert find_calibration(calibration_root(text_model), found.model, found.key)[0] == found


def test_a_linear_probe(directory, tmp_path) -> None:
    checkpoint, probe = save_probed(tmp_path, directory)
    assert run(checkpoint, directory, "--probe", probe) == 0
    found, folder = the_calibration(probe)
    assert folder.parent == tmp_path / "probe.calibration" and found.kind == "linear_probe"
    manifest = Manifest.open(directory, "valid")
    ecg = RecordStore(manifest.store_root).read(manifest.shard, manifest.row)
    kept, _, info = load_probe(probe)
    scores = kept.scores(load_pretrained(checkpoint).ecg_features(ecg, pool=info["pool"]).numpy())
    has = manifest.labels()[0][:, 0] == 1
    expected = class_promise(scores[has, 0], subjects_of(N)[has], 0.8).threshold
    assert found.classes[0].threshold == pytest.approx(expected, abs=1e-4)
    with pytest.raises(DataError, match="m/train: .*probe.npz was trained on these records"):
        run(checkpoint, directory, "--probe", probe, "--split", "train")
    with pytest.raises(DataError, match="--probe"):
        run(save_classifier(tmp_path / "people.pt", names=["sha256:somebody"]), directory)  # it identifies subjects


def test_what_training_saw_is_refused(directory, tmp_path) -> None:
    seen = save_classifier(tmp_path / "a.pt", {"training_data": training_fingerprint(str(directory), "valid")})
    with pytest.raises(DataError, match="m/valid: .*a.pt was trained on these records; calibrate on records that"):
        run(seen, directory)
    apart = save_classifier(tmp_path / "b.pt", {"training_data": training_fingerprint(str(directory), "train")})
    assert run(apart, directory, "--dest", tmp_path / "out") == 0
    assert not any("trained on" in note for note in read_calibration(calibration_folders(tmp_path / "out")[0]).notes)
    # The same records under another name of the split, in other files.
    copy = tmp_path / "copy"
    shutil.copytree(directory, copy)
    for path in list(copy.glob("train.*")):
        shutil.copy(path, path.with_name(path.name.replace("train.", "mine.", 1)))
    with pytest.raises(DataError, match="copy/mine: .*b.pt was trained on these records"):
        run(apart, copy, "--split", "mine")
    # A subject in both.
    shared = write_calibration_data(tmp_path / "shared")
    rename_subject(shared, "valid", "s24", "s3")
    known = save_classifier(tmp_path / "d.pt", {"training_data": training_fingerprint(str(shared), "train")})
    with pytest.raises(DataError, match="shared/valid: 1 subjects are in train, too, which .*d.pt was trained on"):
        run(known, shared)


def test_what_came_before_training_is_refused_too(directory, tmp_path) -> None:
    """Pre-training of a classifier; and training elsewhere, as long as its directory is there."""
    training = {name: training_fingerprint(str(directory), name) for name in ("train", "valid")}
    state = {"training_data": training["train"], "earlier_training_data": [training["valid"]]}
    began = save_classifier(tmp_path / "a.pt", state)
    with pytest.raises(DataError, match="m/valid: what .*a.pt began with was trained on these records"):
        run(began, directory)
    unknown = save_classifier(tmp_path / "b.pt", {"training_data": training["train"], "earlier_training_data": [None]})
    assert run(unknown, directory, "--dest", tmp_path / "out") == 0
    notes = read_calibration(calibration_folders(tmp_path / "out")[0]).notes
    assert notes[0].startswith("what ") and "b.pt began with does not say what it was trained on" in notes[0]
    elsewhere = write_calibration_data(tmp_path / "elsewhere", 40)
    rename_subject(elsewhere, "train", "s0", "s30")
    data = training_fingerprint(str(elsewhere), "train")
    known = save_classifier(tmp_path / "c.pt", {"training_data": data}, data=str(elsewhere))
    with pytest.raises(DataError, match="m/valid: .* in .*elsewhere/train, too"):
        run(known, directory)
    # As many records in the same order are not the same records.
    other = {**training["valid"], "meta": "sha256:0"}
    assert run(save_classifier(tmp_path / "d.pt", {"training_data": other}), directory, "--dest", tmp_path / "out2") == 0


def rename_subject(directory, split, old, new):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = directory / f"{split}.meta.parquet"
    table = pq.read_table(path)
    names = [new if name == old else name for name in table["subject_id"].to_pylist()]
    position = table.column_names.index("subject_id")
    pq.write_table(table.set_column(position, "subject_id", pa.array(names)), path)
    (directory / "checksums.json").unlink(missing_ok=True)


def test_weights_for_other_data(directory, classifier, tmp_path, capsys) -> None:
    """Louder recordings are to come: loud ones of calibration count more, and what they rest on is less."""
    other = write_calibration_data(tmp_path / "other")
    manifest = Manifest.open(other, "test")
    assert run(classifier, directory, "--target", other, "--target-split", "test", "--dest", tmp_path / "out") == 0
    found = read_calibration(calibration_folders(tmp_path / "out")[0])
    assert found.shift["records"] == len(manifest) and found.shift["largest"] == 10 and 1 < found.shift["effective"] <= N
    assert any("estimated" in note for note in found.notes)
    # Weights count a next subject ten times: 64 records are too few for that.
    few = [one for one in found.classes if one.threshold is None]
    assert found.needed == 40 and all((one.weight >= 40) == (one.threshold is not None) for one in found.classes)
    assert few and "needs subjects with it whose weights for the other data add up to 40" in " ".join(found.notes)
    assert f"{few[0].units}, of weight {few[0].weight:.0f} of 40 needed" in capsys.readouterr().out


def test_what_does_not_fit_is_named(directory, classifier, text_model, prompts, tmp_path) -> None:
    with pytest.raises(DataError, match="a classifier has its own classes"):
        run(classifier, directory, "--prompts", prompts)
    with pytest.raises(DataError, match="--uncertainty variance: the embeddings of .* are points"):
        run(classifier, directory, "--uncertainty", "variance", "--dest", tmp_path)
    for option in (["--recall", 1], ["--recall", 0], ["--refuse", 1], ["--method", "guess"]):
        with pytest.raises(SystemExit):
            run(classifier, directory, *option)
