"""Answers of calibrated models, against the calibration applied by hand, and every reason not to answer."""

import json

import numpy as np
import pytest
import torch
from calibrated import PROMPTS, save_classifier, save_probed, write_calibration_data
from labelled_sets import write_checkpoint, write_tokenizer

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.directory.training_data import training_fingerprint
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.calibrate.__main__ import main as calibrate
from cmelt_plugin.export import main as export
from cmelt_plugin.intake.recording import Recording
from cmelt_plugin.models.inference.calibration import calibration_folders, calibration_root, expected_mistakes, read_calibration
from cmelt_plugin.models.inference.linear_probe import load_probe, save_probe
from cmelt_plugin.models.inference.pretrained import load_pretrained
from cmelt_plugin.models.inference.variances import VarianceHeads, write_variances

pytestmark = pytest.mark.filterwarnings("ignore::cmelt_plugin.data.plausibility.DoubtfulECG")


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return write_calibration_data(tmp_path_factory.mktemp("data") / "m", 64)


@pytest.fixture(scope="module")
def ecg(directory):
    manifest = Manifest.open(directory, "test")
    return RecordStore(manifest.store_root).read(manifest.shard[:6], manifest.row[:6])


def calibrated(checkpoint, directory, *options):
    fixed = ["--checkpoint", checkpoint, "--manifest", directory, "--recall", 0.8, "--refuse", 0.1]
    assert calibrate([str(value) for value in (*fixed, *options)]) == 0
    return checkpoint


@pytest.fixture(scope="module")
def classifier(tmp_path_factory, directory):
    return calibrated(save_classifier(tmp_path_factory.mktemp("model") / "c.pt"), directory)


def test_a_classifier_answers_as_its_calibration_says(classifier, ecg) -> None:
    pretrained = load_pretrained(classifier)
    found = pretrained.answer(ecg, leads=LEADS)
    (folder,) = calibration_folders(calibration_root(classifier))
    calibration = read_calibration(folder)
    with torch.no_grad():
        scores = pretrained.model(torch.from_numpy(ecg))["logits"].double().numpy()
    probabilities, sets = calibration.probabilities(scores), calibration.sets(scores)
    for row, answer in enumerate(found):
        assert list(answer.probability.values()) == pytest.approx(probabilities[row], abs=1e-4)
        assert answer.may_have == [name for name, inside in zip(calibration.names, sets[row]) if inside]
        assert answer.recall == 0.8 and answer.unpromised == []
    doubt = expected_mistakes(probabilities)
    codes = [[reason.code for reason in answer.abstention] for answer in found]
    assert [("too-uncertain" in own) for own in codes] == (doubt > calibration.abstention["uncertainty"]).tolist()
    single = pretrained.answer(ecg[2], leads=LEADS)
    assert single.probability == pytest.approx(found[2].probability, abs=1e-4)


def test_recordings_unlike_those_of_calibration_get_no_answer(classifier, ecg) -> None:
    pretrained = load_pretrained(classifier)
    noise = np.random.default_rng(0).normal(size=ecg[0].shape).astype(np.float32)
    strange = pretrained.answer(noise * np.linspace(0, 3, 12)[:, None], leads=LEADS)
    assert "out-of-distribution" in [reason.code for reason in strange.abstention]
    assert "passed by all but 10 % of ordinary recordings" in strange.abstention[-1].text
    fewer = pretrained.answer(ecg[0][:11], leads=LEADS[:11], missing_leads="zero")
    assert fewer.abstention[0].code == "lead-missing" and "V6" in fewer.abstention[0].text


def test_texts_of_the_calibration_are_those_of_the_answer(directory, ecg, tmp_path) -> None:
    checkpoint = write_checkpoint(tmp_path / "c.pt", write_tokenizer(tmp_path))
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps(PROMPTS))
    calibrated(checkpoint, directory, "--prompts", plain)
    pretrained = load_pretrained(checkpoint)
    (answer,) = pretrained.answer(ecg[:1], leads=LEADS)
    names, scores = pretrained.zero_shot(ecg[:1], PROMPTS)
    (folder,) = calibration_folders(calibration_root(checkpoint))
    expected = read_calibration(folder).probabilities(scores.double().numpy())[0]
    assert answer.probability == pytest.approx(dict(zip(names, expected)), abs=1e-5)
    # A second set of classes: one has to be named.
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**PROMPTS, "SINE": ["hum"]}))
    calibrated(checkpoint, directory, "--prompts", other)
    with pytest.raises(DataError, match="several calibrations; name the classes .* by one of tiny-zero-shot-"):
        load_pretrained(checkpoint).answer(ecg, leads=LEADS)
    same = load_pretrained(checkpoint).answer(ecg[:1], leads=LEADS, classes=folder.name)
    assert same[0].probability == pytest.approx(answer.probability)


def test_variances_of_a_frozen_model_turn_recordings_away(directory, ecg, tmp_path) -> None:
    checkpoint, folder = write_checkpoint(tmp_path / "c.pt", write_tokenizer(tmp_path)), tmp_path / "c.variances"
    model = load_pretrained(checkpoint).model
    torch.manual_seed(0)
    silence = torch.zeros(1, 12, 5000)
    heads = VarianceHeads(model.ecg_features(silence).shape[1], model.embed_ecg(silence).mean.shape[1], 4)
    torch.nn.init.normal_(heads.ecg.outer.weight)
    write_variances(folder, heads, model, {"training_data": training_fingerprint(str(directory), "train")})
    prompts = tmp_path / "prompts.json"
    prompts.write_text(json.dumps(PROMPTS))
    calibrated(checkpoint, directory, "--prompts", prompts, "--variances", folder, "--uncertainty", "variance")
    pretrained = load_pretrained(checkpoint, variances=folder)
    found = pretrained.answer(ecg, leads=LEADS)
    (one,) = calibration_folders(folder / "calibration")
    limit = read_calibration(one).abstention["uncertainty"]
    codes = [[reason.code for reason in answer.abstention] for answer in found]
    assert [("too-uncertain" in own) for own in codes] == [
        value > limit for value in pretrained.embed_ecg(ecg).uncertainty().tolist()
    ]
    # The model alone was not calibrated, and the heads saw the training split.
    with pytest.raises(DataError, match="no calibration of"):
        load_pretrained(checkpoint).answer(ecg, leads=LEADS)
    with pytest.raises(DataError, match="m/train: .*c.variances was trained on these records"):
        calibrated(checkpoint, directory, "--prompts", prompts, "--variances", folder, "--split", "train")


def test_a_linear_probe_answers_as_its_calibration_says(directory, ecg, tmp_path) -> None:
    checkpoint, probe = save_probed(tmp_path, directory)
    calibrated(checkpoint, directory, "--probe", probe)
    pretrained = load_pretrained(checkpoint)
    found = pretrained.answer(ecg, leads=LEADS, probe=probe)
    (folder,) = calibration_folders(calibration_root(checkpoint, probe))
    kept, names, info = load_probe(probe)
    scores = kept.scores(pretrained.ecg_features(ecg, leads=LEADS, pool=info["pool"]).numpy()).astype(np.float64)
    expected = read_calibration(folder).probabilities(scores)
    assert np.array([list(answer.probability.values()) for answer in found]) == pytest.approx(expected, abs=1e-5)
    with pytest.raises(DataError, match="no calibration of"):
        pretrained.answer(ecg, leads=LEADS)  # which is the probe's alone
    save_probe(tmp_path / "other.npz", kept._replace(bias=kept.bias + 1), names, info)
    with pytest.raises(DataError, match="calibrated for another probe"):
        pretrained.answer(ecg, leads=LEADS, probe=tmp_path / "other.npz", calibration=folder.parent)


def test_recordings_of_any_format_are_answered(classifier, ecg) -> None:
    """What ``read_ecg`` gives says its rate and leads itself; leads beyond the twelve are left out."""
    pretrained = load_pretrained(classifier)
    order = [*reversed(LEADS)]
    rows = np.concatenate([ecg[0][::-1], np.zeros((1, ecg.shape[2]), np.float32)])
    recording = Recording(rows, 500.0, (*order, "V7"))
    expected = pretrained.answer(ecg[:2], leads=LEADS)
    assert pretrained.answer(recording).probability == pytest.approx(expected[0].probability, abs=1e-4)
    both = pretrained.answer([recording, Recording(ecg[1], 500.0, LEADS)])
    assert [one.probability for one in both] == [pytest.approx(one.probability, abs=1e-4) for one in expected]


def test_too_few_records_are_a_reason(directory, ecg, tmp_path) -> None:
    checkpoint = calibrated(save_classifier(tmp_path / "c.pt"), directory, "--recall", 0.99, "--refuse", 0)
    answer = load_pretrained(checkpoint).answer(ecg[0], leads=LEADS)
    assert answer.unpromised == ["LOUD", "SINE", "DRIFT"] and answer.may_have == []
    assert [reason.code for reason in answer.abstention] == ["calibration-too-small"]
    assert "a recall of 0.99 needs for each class 99 subjects with it, and none" in answer.abstention[0].text
    assert len(answer.probability) == 3 and answer.whole_set is None


def test_calibrations_of_other_weights_classes_or_places_are_refused(directory, classifier, ecg, tmp_path) -> None:
    alone = save_classifier(tmp_path / "alone.pt")
    with pytest.raises(DataError, match="no calibration of .*alone.pt; .*calibrate` makes one"):
        load_pretrained(alone).answer(ecg, leads=LEADS)
    state = torch.load(classifier, weights_only=False)
    state["model"]["head.bias"] += 1
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(DataError, match="calibrated for other weights than these"):
        load_pretrained(tmp_path / "other.pt").answer(ecg, leads=LEADS, calibration=calibration_root(classifier))
    with pytest.raises(DataError, match="none of nothing among its calibrations: tiny-classifier-"):
        load_pretrained(classifier).answer(ecg, leads=LEADS, classes="nothing")


def test_an_exported_folder_answers_alike_and_a_rounded_one_asks_for_its_own(classifier, ecg, tmp_path, capsys) -> None:
    assert export(["--checkpoint", str(classifier), "--dest", str(tmp_path / "e")]) == 0
    assert "calibrations: tiny-classifier-" in capsys.readouterr().out
    before, after = (load_pretrained(path).answer(ecg[0], leads=LEADS) for path in (classifier, tmp_path / "e"))
    assert after.probability == pytest.approx(before.probability) and after.may_have == before.may_have
    assert (
        export(["--checkpoint", str(classifier), "--dest", str(tmp_path / "e"), "--overwrite", "--precision", "float16"]) == 0
    )
    assert "left behind, as rounded weights score otherwise" in capsys.readouterr().err
    with pytest.raises(DataError, match="no calibration of"):
        load_pretrained(tmp_path / "e").answer(ecg[0], leads=LEADS)


@pytest.mark.parametrize("kind, what", [("torchscript", "graphs"), ("hf", "folders for transformers")])
def test_what_gives_scores_alone_says_that_calibrations_stay_behind(classifier, tmp_path, kind, what, capsys) -> None:
    assert export(["--checkpoint", str(classifier), "--dest", str(tmp_path / kind), "--format", kind]) == 0
    assert f"calibrations left behind, as {what} give scores alone: tiny-classifier-" in capsys.readouterr().err
    assert not list((tmp_path / kind).rglob("*calibration*.json"))
