"""``load_pretrained``: a trained model on a user's own signals and texts."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from calibrated import save_classifier, write_calibration_data
from pretrained_files import TEXTS, random_ecg, write_checkpoint, write_classifier, write_record, write_tokenizer_folder
from torch.nn import functional as F

import cmelt_plugin
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.plausibility import DoubtfulECG
from cmelt_plugin.data.prepared_ecg import prepare_ecg
from cmelt_plugin.data.text.reports import normalise_report
from cmelt_plugin.data.text.tokens import TokenTable
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.calibrate.__main__ import main as calibrate
from cmelt_plugin.intake.windows import best_window
from cmelt_plugin.models.inference.pretrained import load_pretrained
from cmelt_plugin.modules.pooling.tokens import pool_ecg_states
from tests.models.release_layout import write_release

PROMPTS = {
    "AFIB": ["Atrial fibrillation.", "af with rapid response"],
    "SR": ["sinus rhythm"],
    "LBBB": "left bundle branch block",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained")
    write_tokenizer_folder(folder / "tokenizer")
    model = write_checkpoint(folder / "cmelt.pt", folder / "tokenizer")
    return folder, model


@pytest.fixture(scope="module")
def pretrained(files):
    return load_pretrained(files[0] / "cmelt.pt")


@pytest.fixture(scope="module")
def ecgs():
    return np.stack([random_ecg(seed=seed) for seed in range(4)])


# -- Recordings ------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_encode_ecg_is_the_models_own_embedding(files, pretrained, ecgs) -> None:
    expected = files[1].embed_ecg(torch.from_numpy(ecgs).float()).mean
    torch.testing.assert_close(pretrained.encode_ecg(ecgs), expected)
    assert not pretrained.model.training
    torch.testing.assert_close(pretrained.encode_ecg(ecgs).norm(dim=-1), torch.ones(4))


def test_leading_dimensions_are_kept(pretrained, ecgs) -> None:
    flat = pretrained.encode_ecg(ecgs)
    assert pretrained.encode_ecg(ecgs[0]).shape == (32,)
    assert pretrained.encode_ecg(ecgs.reshape(2, 2, 12, -1)).shape == (2, 2, 32)
    torch.testing.assert_close(pretrained.encode_ecg(ecgs.reshape(2, 2, 12, -1)).flatten(0, 1), flat)
    torch.testing.assert_close(pretrained.encode_ecg(torch.from_numpy(ecgs), batch_size=1), flat)


def test_order_of_leads_does_not_matter_and_their_names_do(pretrained, ecgs) -> None:
    order = [5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6]
    names = [LEADS[index].lower() for index in order]
    assert torch.equal(pretrained.encode_ecg(ecgs[:, order], leads=names), pretrained.encode_ecg(ecgs))
    assert (pretrained.encode_ecg(ecgs[:, order]) - pretrained.encode_ecg(ecgs)).abs().max() > 1e-3


@torch.no_grad()
def test_short_recordings_are_padded_and_the_padding_is_masked(files, pretrained) -> None:
    short = random_ecg(6)
    padded = torch.zeros(1, 12, 5000)
    padded[0, :, :3000] = torch.from_numpy(short)
    expected = files[1].embed_ecg(padded, torch.tensor([3000])).mean
    torch.testing.assert_close(pretrained.encode_ecg(short), expected[0])
    assert (files[1].embed_ecg(padded).mean - expected).abs().max() > 1e-4  # unmasked zeros would count


def test_results_may_take_part_in_training(pretrained, ecgs) -> None:
    embedding = pretrained.encode_ecg(ecgs[:1])
    assert not embedding.is_inference()
    weight = torch.ones(32, requires_grad=True)
    (embedding @ weight).sum().backward()
    assert weight.grad is not None and all(parameter.grad is None for parameter in pretrained.model.parameters())


@torch.no_grad()
@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_features_are_those_of_the_linear_probe(files, pretrained, ecgs, pool) -> None:
    encoded = files[1].ecg_encoder(torch.from_numpy(ecgs).float())
    torch.testing.assert_close(pretrained.ecg_features(ecgs, pool=pool), pool_ecg_states(encoded.states, None, pool))
    with pytest.raises(DataError, match="pool must be one of cls, mean"):
        pretrained.ecg_features(ecgs, pool="max")


def test_a_wfdb_record_in_place_of_an_array(pretrained, tmp_path) -> None:
    signal, names = random_ecg(10, 250), list(reversed(LEADS))
    path = write_record(tmp_path, "r1", signal, 250, names)
    torch.testing.assert_close(pretrained.encode_ecg(path), pretrained.encode_ecg(signal, 250, names), atol=1e-3, rtol=0)
    assert pretrained.encode_ecg([path, f"{path}.hea"]).shape == (2, 32)
    names, similarity = pretrained.zero_shot(path, PROMPTS)
    assert similarity.shape == (3,)


def test_doubtful_recordings_are_warned_about_once_where_the_user_called(pretrained) -> None:
    plausible = np.stack([random_ecg(seed=seed) for seed in range(3)])
    doubtful = plausible.copy()
    doubtful[1:] *= 6
    for call in (pretrained.encode_ecg, pretrained.ecg_features, functools.partial(pretrained.zero_shot, prompts=PROMPTS)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            call(plausible)
        with pytest.warns(DoubtfulECG, match="^2 of 3 recordings are doubtful, number 1: amplitude-high: the median") as found:
            call(doubtful)
        assert len(found) == 1 and found[0].filename == __file__
        with pytest.warns(DoubtfulECG, match="^the recording is doubtful: amplitude-high"):
            call(doubtful[2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepared = pretrained.prepare(doubtful)
    assert [[reason.code for reason in reasons] for reasons in prepared.doubts] == [[], ["amplitude-high"], ["amplitude-high"]]


def test_missing_leads(pretrained, ecgs) -> None:
    with pytest.raises(DataError, match="missing"):
        pretrained.encode_ecg(ecgs[:, :2], leads=["I", "V1"])
    zeros = ecgs.copy()
    zeros[:, 2:] = 0
    expected = pretrained.encode_ecg(zeros)
    found = pretrained.encode_ecg(ecgs[:, [0, 1]], leads=["I", "II"], missing_leads="zero")
    assert not torch.allclose(found, expected)  # III, aVR, aVL and aVF are computed
    zeros[:, 1:6] = 0
    zeros[:, 6] = ecgs[:, 6]
    expected = pretrained.encode_ecg(zeros)
    torch.testing.assert_close(pretrained.encode_ecg(ecgs[:, [0, 6]], leads=["I", "V1"], missing_leads="zero"), expected)


def test_leads_that_are_ignored_where_others_are_missing_are_named(pretrained, ecgs, tmp_path) -> None:
    message = "lead-ignored: MLII not read, none of the standard leads; I, II, III, .* V6 missing and taken as zero"
    record = write_record(tmp_path, "holter", ecgs[0][:2], leads=["MLII", "V1"])
    arrays = {"signal": ecgs[0][:2], "leads": ["MLII", "V1"]}
    for given in ({"signal": record}, {"signal": best_window(str(record))}, arrays):
        with pytest.warns(DoubtfulECG, match=message):
            pretrained.encode_ecg(**given, missing_leads="zero")
    whole = pretrained.prepare(np.concatenate([ecgs[0][:1], ecgs[0]]), leads=["MLII", *LEADS])
    assert "lead-ignored" not in [reason.code for reason in whole.doubts[0]]  # nothing was missing


@pytest.mark.parametrize("others", [0, 3])
def test_an_array_is_what_a_file_of_the_same_leads_is(pretrained, ecgs, tmp_path, others) -> None:
    """Eight leads from which four follow, and eleven with Frank's among them."""
    leads = ["V6", *LEADS[:2], *LEADS[6:11], *("vx", "vy", "vz")[:others]]
    signal = ecgs[0][: len(leads)]
    record = write_record(tmp_path, "r", signal, leads=leads)
    file, array = pretrained.prepare(record), pretrained.prepare(signal, leads=leads)
    torch.testing.assert_close(array.ecg, file.ecg, atol=0.0011, rtol=0)  # the file's steps
    assert array.ecg[0, 2:6].any() and array.doubts[0] == file.doubts[0]
    for call in (pretrained.encode_ecg, lambda *a, **k: pretrained.zero_shot(*a, prompts=PROMPTS, **k)[1]):
        torch.testing.assert_close(call(signal, leads=leads), call(record), atol=2e-3, rtol=0)
    with pytest.raises(DataError, match="unknown VX6"):
        pretrained.prepare(signal, leads=["VX6", *leads[1:]])


# -- Texts -----------------------------------------------------------------------------------------------------------


def test_encode_text_does_not_depend_on_the_other_texts_of_a_batch(pretrained) -> None:
    together = pretrained.encode_text(TEXTS)
    assert together.shape == (len(TEXTS), 32)
    torch.testing.assert_close(together[3], pretrained.encode_text([TEXTS[3]])[0])
    assert pretrained.encode_text([]).shape == (0, 32)


@torch.no_grad()
def test_encode_text_normalises_as_reports_are_and_cuts_long_texts(files, pretrained) -> None:
    torch.testing.assert_close(pretrained.encode_text(["Sinus Rhythm, normal EKG!"]), pretrained.encode_text([TEXTS[0]]))
    long = " ".join(TEXTS)
    ids = pretrained.tokenizer(normalise_report(long))["input_ids"]
    assert len(ids) > 16  # task.max_text_tokens
    cut = torch.tensor([[*ids[:15], 1]])
    torch.testing.assert_close(pretrained.encode_text([long]), files[1].embed_text(cut).mean)


@pytest.mark.parametrize("texts", ["sinus rhythm", [1, 2], ["a", None]])
def test_what_is_not_a_list_of_texts_is_refused(pretrained, texts) -> None:
    with pytest.raises(DataError, match="list of texts"):
        pretrained.encode_text(texts)


def test_class_embeddings_are_those_of_a_file_of_their_token_ids(files, pretrained) -> None:
    names, classes = pretrained.class_embeddings(PROMPTS)
    assert names == list(PROMPTS) and classes.log_variance is None
    texts = [*PROMPTS["AFIB"], *PROMPTS["SR"], PROMPTS["LBBB"]]
    rows = [pretrained.tokenizer(normalise_report(text))["input_ids"] for text in texts]
    info = {"format": 1, "tokenizer": "t", "fingerprint": "f", "source_fingerprint": "s", "vocab_size": 200, "pad_id": 0}
    info.update(mask_id=5, special_ids=[], max_tokens=256)
    table = TokenTable(np.concatenate(rows), np.cumsum([0, *map(len, rows)]), info, np.array([0, 0, 1, 2]))
    assert torch.equal(pretrained.class_embeddings(PROMPTS, table)[1].mean, classes.mean)
    torch.testing.assert_close(pretrained.embed_tokens(table, np.array([2])).mean, pretrained.encode_text(texts[2:3]))
    first, second = F.normalize(pretrained.encode_text(texts[:2]), dim=-1)
    torch.testing.assert_close(classes.mean[0], F.normalize(first + second, dim=-1))


@pytest.mark.parametrize(
    ("prompts", "message"), [({}, "no class"), ({"A": []}, "class without a text: A"), ({"B": [" "]}, "B")]
)
def test_classes_without_texts_are_refused(pretrained, prompts, message) -> None:
    with pytest.raises(DataError, match=message):
        pretrained.class_embeddings(prompts)


def test_zero_shot_compares_each_recording_with_each_class(pretrained, ecgs, tmp_path) -> None:
    names, similarity = pretrained.zero_shot(ecgs.reshape(2, 2, 12, -1), PROMPTS)
    assert names == ["AFIB", "SR", "LBBB"] and similarity.shape == (2, 2, 3)
    ecg = pretrained.encode_ecg(ecgs[3])
    first, second = F.normalize(pretrained.encode_text(PROMPTS["AFIB"]), dim=-1)
    torch.testing.assert_close(similarity[1, 1, 0], ecg @ F.normalize((first + second) / 2, dim=-1))
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps({"AFIB": PROMPTS["AFIB"], "SR": ["sinus rhythm"]}), encoding="utf-8")
    torch.testing.assert_close(pretrained.zero_shot(ecgs, path)[1], similarity.flatten(0, 1)[:, :2])


def test_zero_shot_with_a_label_set_of_the_package(pretrained, ecgs) -> None:
    names, similarity = pretrained.zero_shot(ecgs[0], "ptb-xl-super")
    assert sorted(names) == ["CD", "HYP", "MI", "NORM", "STTC"] and similarity.isfinite().all()
    with pytest.raises(DataError, match="no-such-set"):
        pretrained.zero_shot(ecgs[0], "no-such-set")


def test_pair_probability_is_the_siglep_formula(files, pretrained, tmp_path) -> None:
    similarity = torch.tensor([-0.2, 0.9])
    assert pretrained.logit_scale == pytest.approx(10.0) and pretrained.logit_bias == pytest.approx(-10.0)
    expected = 1 / (1 + torch.exp(-(10.0 * similarity - 10.0)))
    torch.testing.assert_close(pretrained.pair_probability(similarity), expected)
    write_checkpoint(tmp_path / "raw.pt", files[0] / "tokenizer", learn_logit_scale=False, normalise_embeddings=False)
    raw = load_pretrained(tmp_path / "raw.pt")
    assert raw.pair_probability(similarity) is None and (raw.logit_scale, raw.logit_bias) == (1.0, 0.0)


# -- Tokenizers ------------------------------------------------------------------------------------------------------


def test_signals_need_no_tokenizer_and_texts_say_what_is_missing(files, ecgs, tmp_path) -> None:
    shutil.copytree(files[0] / "tokenizer", tmp_path / "tokenizer")
    write_checkpoint(tmp_path / "cmelt.pt", tmp_path / "tokenizer")
    shutil.rmtree(tmp_path / "tokenizer")
    alone = load_pretrained(tmp_path / "cmelt.pt")
    assert alone.encode_ecg(ecgs[0]).shape == (32,)
    with pytest.raises(DataError, match=r"cannot be loaded.*tokenizer="):
        alone.encode_text(["sinus rhythm"])
    elsewhere = load_pretrained(tmp_path / "cmelt.pt", tokenizer=files[0] / "tokenizer")
    assert elsewhere.encode_text(["sinus rhythm"]).shape == (1, 32)


def test_another_tokenizer_is_refused(files, tmp_path) -> None:
    write_tokenizer_folder(tmp_path / "other", ["quite other words", "and more of them"])
    with pytest.raises(DataError, match="not the one the model was trained with"):
        load_pretrained(files[0] / "cmelt.pt", tokenizer=tmp_path / "other").encode_text(["a"])


# -- Classifiers -----------------------------------------------------------------------------------------------------


def test_classifier_gives_probabilities_of_its_classes(ecgs, tmp_path) -> None:
    model = write_classifier(tmp_path / "c.pt", ["AFIB", "SR"], thresholds=[0.25, float("nan")])
    loaded = load_pretrained(tmp_path / "c.pt")
    assert loaded.is_classifier and loaded.class_names == ["AFIB", "SR"] and loaded.thresholds == {"AFIB": 0.25}
    names, probabilities = loaded.classify(ecgs)
    with torch.no_grad():
        logits = model(torch.from_numpy(ecgs).float())["logits"]
    assert names == ["AFIB", "SR"]
    torch.testing.assert_close(probabilities, 1 / (1 + torch.exp(-logits)))
    assert loaded.encode_ecg(ecgs[0]).shape == (32,)
    for call in (lambda: loaded.encode_text(["a"]), lambda: loaded.zero_shot(ecgs, PROMPTS), lambda: loaded.logit_scale):
        with pytest.raises(DataError, match="reads no texts"):
            call()


def test_exclusive_classes_sum_to_one_and_have_no_thresholds(ecgs, tmp_path) -> None:
    model = write_classifier(tmp_path / "c.pt", ["A", "B", "C"], {"problem": "multi_class"}, thresholds=[0.1, 0.2, 0.3])
    loaded = load_pretrained(tmp_path / "c.pt")
    with torch.no_grad():
        logits = model(torch.from_numpy(ecgs).float())["logits"]
    torch.testing.assert_close(loaded.classify(ecgs)[1], logits.softmax(dim=-1))
    assert loaded.exclusive and loaded.thresholds == {}


def test_a_classifier_of_two_leads_reads_these_alone(ecgs, tmp_path) -> None:
    write_classifier(tmp_path / "c.pt", ["A"], {"leads": ["I", "II"]})
    loaded = load_pretrained(tmp_path / "c.pt")
    assert loaded.leads == ("I", "II")
    expected = loaded.classify(ecgs)[1]
    torch.testing.assert_close(loaded.classify(ecgs[:, :2], leads=["I", "II"])[1], expected)
    noisy = ecgs.copy()
    noisy[:, 2:] += 1
    torch.testing.assert_close(loaded.classify(noisy)[1], expected)
    with pytest.raises(DataError, match="missing II, which the model reads"):
        loaded.classify(ecgs[:, :1], leads=["I"])


def test_a_model_that_identifies_people_has_no_classes(ecgs, tmp_path) -> None:
    write_classifier(tmp_path / "c.pt", ["sha256:people"])
    state = torch.load(tmp_path / "c.pt", weights_only=True)
    state["cfg"]["model"]["num_classes"] = 2
    state["model"]["head.weight"], state["model"]["head.bias"] = torch.zeros(2, 32), torch.zeros(2)
    torch.save(state, tmp_path / "c.pt")
    loaded = load_pretrained(tmp_path / "c.pt")
    assert loaded.class_names == []
    torch.testing.assert_close(loaded.encode_ecg(ecgs).norm(dim=-1), torch.ones(4))
    with pytest.raises(DataError, match="not a classifier"):
        loaded.classify(ecgs)


def test_a_pretrained_model_is_no_classifier(pretrained, ecgs) -> None:
    assert not pretrained.is_classifier and pretrained.class_names == [] and pretrained.thresholds == {}
    with pytest.raises(DataError, match="not a classifier; use zero_shot"):
        pretrained.classify(ecgs)


# -- Where models come from ------------------------------------------------------------------------------------------


@torch.no_grad()
def test_published_weights_in_a_file_or_a_folder(ecgs, tmp_path) -> None:
    folder = write_release(tmp_path / "release")
    a, b = (
        load_pretrained(folder, lead_order="standard"),
        load_pretrained(folder / "weights.safetensors", lead_order="standard"),
    )
    assert torch.equal(a.encode_ecg(ecgs), b.encode_ecg(ecgs))
    assert a.model.cfg.text_pool == "first" and a.pair_probability(torch.zeros(1)) is None
    # aVL and aVF change places.
    order = [0, 1, 2, 3, 5, 4, 6, 7, 8, 9, 10, 11]
    swapped = load_pretrained(folder, lead_order="mimic-iv-ecg").encode_ecg(ecgs)
    torch.testing.assert_close(swapped, a.model.embed_ecg(torch.from_numpy(ecgs[:, order]).float()).mean)


def test_other_things_are_refused(files, tmp_path) -> None:
    with pytest.raises(DataError, match="no such checkpoint"):
        load_pretrained(tmp_path / "none.pt")
    with pytest.raises(DataError, match="neither an exported model"):
        load_pretrained(tmp_path)
    with pytest.raises(DataError, match="lead_order is for published weights"):
        load_pretrained(files[0] / "cmelt.pt", lead_order="mimic-iv-ecg")
    state = torch.load(files[0] / "cmelt.pt", weights_only=True)
    del state["model"]["ecg_projection.dense.bias"]
    torch.save(state, tmp_path / "less.pt")
    with pytest.raises(DataError, match="ecg_projection.dense.bias"):
        load_pretrained(tmp_path / "less.pt")


def test_importing_the_package_stays_cheap() -> None:
    code = (
        "import sys, cmelt_plugin\n"
        "assert 'torch' not in sys.modules and 'fairseq' not in sys.modules\n"
        "try:\n    cmelt_plugin.no_such_name\nexcept AttributeError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "no attribute 'no_such_name'" in done.stdout
    assert cmelt_plugin.load_pretrained is load_pretrained


def test_real_recordings_pass_through(pretrained, real_data) -> None:
    record = real_data / "ptb-xl" / "records500" / "00000" / "00001_hr"
    if not record.with_suffix(".hea").is_file():
        pytest.skip(f"no PTB-XL at {record}")
    embedding = pretrained.encode_ecg(record)
    assert embedding.shape == (32,) and embedding.isfinite().all()
    prepared = prepare_ecg(record)
    order = list(reversed(range(12)))
    assert torch.equal(pretrained.encode_ecg(prepared.ecg[0, order], leads=[LEADS[index] for index in order]), embedding)
    slow = pretrained.encode_ecg(str(record).replace("records500", "records100").replace("_hr", "_lr") + ".hea")
    assert slow.shape == (32,) and slow.isfinite().all()


@pytest.mark.filterwarnings("ignore::cmelt_plugin.data.plausibility.DoubtfulECG")
def test_a_calibration_that_was_written_again_is_the_one_that_answers(tmp_path) -> None:
    directory = write_calibration_data(tmp_path / "m", 64)
    checkpoint = save_classifier(tmp_path / "c.pt")
    pretrained = load_pretrained(checkpoint)
    ecg = np.random.default_rng(0).normal(size=(12, 5000)).astype(np.float32)
    options = ["--checkpoint", str(checkpoint), "--manifest", str(directory)]
    answers = []
    for recall in ("0.8", "0.6"):
        assert calibrate([*options, "--recall", recall]) == 0
        answers.append(pretrained.answer(ecg, leads=LEADS).recall)
    assert answers == [0.8, 0.6]
    (known,) = pretrained._answerers.values()
    pretrained.answer(ecg, leads=LEADS)
    assert next(iter(pretrained._answerers.values())) is known  # what did not change is not read again
