"""``python -m cmelt_plugin.evaluation.zero_shot``: its figures, where thresholds and texts come from, what it refuses."""

import csv
import json

import numpy as np
import pytest
import torch
from labelled_sets import CLASSES, CPSC, SUPER, write_checkpoint, write_labelled, write_tokenizer
from sklearn.metrics import f1_score, roc_auc_score

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.files import write_json
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.data.text.prompt_copies import write_copy
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding import encoder as encoder_module
from cmelt_plugin.evaluation.metrics.multi_label import classification_metrics
from cmelt_plugin.evaluation.metrics.thresholds import choose_thresholds
from cmelt_plugin.evaluation.result_files import read_result, read_results
from cmelt_plugin.evaluation.zero_shot.__main__ import main
from cmelt_plugin.evaluation.zero_shot.class_texts import choose_class_texts
from cmelt_plugin.evaluation.zero_shot.same_classes import same_classes
from cmelt_plugin.models.inference.pretrained import load_pretrained
from cmelt_plugin.prompts import class_names, load_prompts
from preprocess import tokenizer as tokenizer_command


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def checkpoint(tokenizer, tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("model") / "checkpoint.pt", tokenizer)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    return {name: write_labelled(folder / name, name, seed=index) for index, name in enumerate(CLASSES)}


@pytest.fixture
def run(checkpoint, tmp_path):
    """Runs the command and returns the folder of results."""

    def call(manifests, *options, results="out"):
        manifests = manifests if isinstance(manifests, list) else [manifests]
        arguments = ["--checkpoint", checkpoint, "--manifest", *manifests, "--results", tmp_path / results, *options]
        assert main([str(argument) for argument in arguments]) == 0
        return tmp_path / results

    return call


def embeddings(checkpoint, directory, split):
    """One record at a time, with its own number of real samples."""
    model = load_pretrained(checkpoint).model
    manifest = Manifest.open(directory, split)
    store = RecordStore(manifest.store_root)
    rows = []
    for row in range(len(manifest)):
        ecg = torch.from_numpy(store.read(manifest.shard[[row]], manifest.row[[row]]))
        with torch.no_grad():
            rows.append(model.embed_ecg(ecg, torch.tensor([int(manifest.n_samples[row])])).mean[0].numpy())
    return np.stack(rows)


def naive_scores(checkpoint, directory, split, texts):
    """Cosine of each record with the mean of the unit vectors of a class's texts, in the order of labels.json."""
    names = json.loads((directory / "labels.json").read_text())["names"]
    texts = {name: texts[name] for name in names if name in texts} or texts
    pretrained = load_pretrained(checkpoint)
    columns = []
    for name in texts:
        vectors = np.stack([pretrained.encode_text([text])[0].numpy() for text in texts[name]])
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        mean = vectors.mean(axis=0)
        columns.append(mean / np.linalg.norm(mean))
    return embeddings(checkpoint, directory, split) @ np.stack(columns).T


def test_figures_against_the_formula(run, checkpoint, sets, capsys):
    directory = sets["cpsc2018"]
    out = run(directory, "--bootstrap", 200)
    stored = read_result(out / "cpsc2018")
    result, kept = stored.result, stored.scores()
    scores = naive_scores(checkpoint, directory, "test", load_prompts("cpsc2018"))
    labels = np.load(directory / "test.labels.npy")
    np.testing.assert_allclose(kept.scores, scores, atol=1e-5)
    np.testing.assert_array_equal(kept.labels, labels)
    areas = {}
    for column, name in enumerate(CPSC):
        known = ~np.isnan(labels[:, column])
        areas[name] = roc_auc_score(labels[known, column], scores[known, column])
        assert result.per_class[name]["auc"] == pytest.approx(areas[name])
        assert result.per_class[name]["positives"] == labels[known, column].sum()
    assert result.metrics["macro_auc"] == pytest.approx(np.mean(list(areas.values())))
    low, high = result.intervals["macro_auc"]
    assert 0 <= low < result.metrics["macro_auc"] < high <= 1
    assert (result.kind, result.label_set, result.split, result.data_set) == ("zero_shot", "cpsc2018", "test", "cpsc2018")
    assert (result.n_records, result.n_subjects) == (12, 6)
    assert "labels (made up)" in result.notes and "splits: two" not in result.notes
    assert result.settings["prompt_kind"] == "description" and result.settings["prompts"] == "cpsc2018"
    assert json.loads((out / "cpsc2018" / "class_texts.json").read_text())["classes"] == load_prompts("cpsc2018")

    printed, page = capsys.readouterr().out, (out / "zero_shot.md").read_text()
    macro = f"{100 * result.metrics['macro_auc']:.2f}"
    for text in (printed, page):
        assert f"| cpsc2018 | test | 12 | 6 | 9 of 9 | {macro} |" in text
    with open(out / "zero_shot_classes.csv", newline="") as handle:
        rows = {row["class"]: row for row in csv.DictReader(handle)}
    assert list(rows) == CPSC
    assert rows["PAC"]["AUC"] == f"{100 * areas['PAC']:.2f}"
    assert int(rows["PAC"]["positives"]) + int(rows["PAC"]["negatives"]) == (~np.isnan(labels[:, CPSC.index("PAC")])).sum()


def test_thresholds_are_the_validation_splits_and_test_labels_do_not_move_them(run, checkpoint, sets, tmp_path):
    """Released code chooses them on the records it judges; then any change of test labels changes them."""
    first = read_result(run(sets["ptb-xl-super"], "--bootstrap", 0) / "ptb-xl-super")
    valid = naive_scores(checkpoint, sets["ptb-xl-super"], "valid", load_prompts("ptb-xl-super"))
    expected = choose_thresholds(np.load(sets["ptb-xl-super"] / "valid.labels.npy"), valid)
    got = [first.result.per_class[name]["threshold"] for name in SUPER]
    np.testing.assert_allclose(got, expected, atol=1e-5)

    other = write_labelled(tmp_path / "other", "ptb-xl-super", seed=0)
    labels = np.load(other / "test.labels.npy")
    np.save(other / "test.labels.npy", (1 - labels).astype(np.float32))
    second = read_result(run(other, "--bootstrap", 0, results="second") / "other")
    assert [second.result.per_class[name]["threshold"] for name in SUPER] == got

    scores = first.scores()
    f1, right, cells = [], 0, 0
    for column, threshold in enumerate(got):
        known = ~np.isnan(scores.labels[:, column])
        decisions = scores.scores[known, column] >= threshold
        f1.append(f1_score(scores.labels[known, column], decisions, zero_division=0))
        right += (decisions == (scores.labels[known, column] > 0.5)).sum()
        cells += known.sum()
    assert first.result.metrics["macro_f1"] == pytest.approx(np.mean(f1))
    assert first.result.metrics["accuracy"] == pytest.approx(right / cells)
    assert (
        "cpsc" not in first.result.settings["thresholds"] and "split valid, 12 records" in first.result.settings["thresholds"]
    )


def test_thresholds_from_the_evaluated_records_are_refused(run, sets, tmp_path):
    with pytest.raises(DataError, match="chosen on the split that is evaluated"):
        run(sets["code"], "--thresholds-from", "test")
    twin = write_labelled(tmp_path / "twin", "ptb-xl-super", data_set="code")  # other labels, the same records
    with pytest.raises(DataError, match="other records than those"):
        run(sets["code"], "--thresholds-from", "test", "--thresholds-manifest", twin)


def test_without_validation_data_there_are_no_decisions(run, tmp_path):
    directory = write_labelled(tmp_path / "m", "code", splits=("test",))
    result = read_result(run(directory, "--bootstrap", 0) / "m").result
    assert not {"macro_f1", "accuracy", "exact_match"} & set(result.metrics)
    assert all(np.isnan(entry["threshold"]) for entry in result.per_class.values())
    assert any("No validation data" in note for note in result.notes)


def test_thresholds_of_another_label_set_go_by_meaning(run, checkpoint, sets, tmp_path):
    """CODE's AF is fibrillation, CSN's AF is flutter and its AFIB fibrillation; CSN has no sinus bradycardia."""
    code = write_labelled(tmp_path / "code", "code", splits=("test",), seed=9)
    result = read_result(run(code, "--thresholds-manifest", sets["csn"], "--bootstrap", 0) / "code").result
    texts = load_prompts("code")
    valid = naive_scores(checkpoint, sets["csn"], "valid", {"CODE's AF": texts["AF"]})
    labels = np.load(sets["csn"] / "valid.labels.npy")[:, [CLASSES["csn"].index("AFIB")]]
    assert result.per_class["AF"]["threshold"] == pytest.approx(choose_thresholds(labels, valid)[0], abs=1e-5)
    assert np.isnan(result.per_class["SB"]["threshold"])
    assert any("AF by AFIB" in note for note in result.notes) and any("No threshold" in note for note in result.notes)


def test_classes_of_the_same_meaning():
    assert same_classes(["AF", "ST"], "code", ["AF", "STach"], "cinc2021") == {"AF": "AF", "ST": "STach"}
    assert same_classes(["AF", "ST"], "mine", ["AF", "ST"], "csn") == {"ST": "ST"}
    assert same_classes(["AF", "ST"], "csn", ["AF", "ST"], "csn") == {"AF": "AF", "ST": "ST"}
    assert same_classes(["A", "B"], "mine", ["B", "C"], "theirs") == {"B": "B"}


@pytest.mark.parametrize("label_set", ["cinc2021", "csn", "cpsc2018", "ptb-xl-all", "ptb-xl-rhythm"])
def test_the_classes_that_serve_code_exist(label_set):
    found = same_classes(class_names("code"), "code", class_names(label_set), label_set)
    assert {"csn": 5, "cpsc2018": 4, "ptb-xl-rhythm": 3}.get(label_set, 6) == len(found)


def test_classes_without_both_kinds_are_left_out_and_named(run, tmp_path, capsys):
    directory = write_labelled(tmp_path / "m", "ptb-xl-super")
    labels = np.load(directory / "test.labels.npy")
    labels[:, SUPER.index("MI")] = 0
    labels[:, SUPER.index("CD")] = np.nan
    np.save(directory / "test.labels.npy", labels)
    out = run(directory)
    result = read_result(out / "m").result
    assert result.excluded == ["MI", "CD"]
    areas = [result.per_class[name]["auc"] for name in ("NORM", "STTC", "HYP")]
    assert result.metrics["macro_auc"] == pytest.approx(np.mean(areas))
    assert np.isnan(result.per_class["MI"]["auc"]) and result.per_class["MI"]["positives"] == 0
    assert "| 3 of 5 |" in capsys.readouterr().out
    with open(out / "zero_shot.csv", newline="") as handle:
        assert next(csv.DictReader(handle))["left out"] == "MI CD"


def test_columns_go_by_name(run, tmp_path):
    """Two files with the same labels in another order of columns give the same figures."""
    one = write_labelled(tmp_path / "one", "ptb-xl-super")
    two = write_labelled(tmp_path / "two", "ptb-xl-super")
    order = [3, 1, 4, 0, 2]
    write_json(two / "labels.json", {"label_set": "ptb-xl-super", "names": [SUPER[i] for i in order]})
    for split in ("valid", "test"):
        np.save(two / f"{split}.labels.npy", np.load(one / f"{split}.labels.npy")[:, order])
    out = run([one, two], "--bootstrap", 0)
    first, second = read_result(out / "one").result, read_result(out / "two").result
    for name in SUPER:
        assert second.per_class[name]["auc"] == pytest.approx(first.per_class[name]["auc"])


def test_shift_restricts_the_target_to_its_matched_classes(run, sets):
    out = run([sets["ptb-xl-super"], sets["cpsc2018"], sets["csn"]], "--shift", "--bootstrap", 50)
    found = {
        (stored.result.settings["source"], stored.result.label_set): stored
        for stored in read_results([out])
        if stored.result.kind == "shift"
    }
    assert len(found) == 6
    plain = read_result(out / "cpsc2018")
    matched = ["NORM", "1AVB", "CRBBB", "STE", "CLBBB", "STD"]  # Table 11, Super → CPSC, in the order of the target
    stored = found["ptb-xl-super", "cpsc2018"]
    columns = [CPSC.index(name) for name in matched]
    expected = classification_metrics(plain.scores().labels[:, columns], plain.scores().scores[:, columns], matched)
    assert list(stored.result.per_class) == matched == stored.scores().names
    assert stored.result.metrics["macro_auc"] == pytest.approx(expected.macro_auc)
    assert stored.result.settings["zero_shot"] is True and "macro_auc" in stored.result.intervals
    # Where every class is matched, zero-shot transfer is plain zero-shot.
    for target in ("cpsc2018", "ptb-xl-super"):
        everything = found["csn", target].result
        assert everything.metrics["macro_auc"] == pytest.approx(read_result(out / target).result.metrics["macro_auc"])
    with open(out / "shift.csv", newline="", encoding="utf-8") as handle:
        rows = list(csv.reader(handle))
    assert rows[0][3:] == [
        "ptb-xl-super → cpsc2018", "ptb-xl-super → csn", "cpsc2018 → ptb-xl-super", "cpsc2018 → csn",
        "csn → ptb-xl-super", "csn → cpsc2018",
    ]  # fmt: skip
    assert rows[1][:4] == ["ours", "✓", "0%", f"{100 * expected.macro_auc:.2f}"]
    with open(out / "paper_table_4.csv", newline="", encoding="utf-8") as handle:
        rows = {row["method"]: list(row.values()) for row in csv.DictReader(handle)}
    published = next(row for method, row in rows.items() if method.startswith("C-MELT"))
    assert published[1:] == ["72.09", "79.11", "77.12", "82.91", "76.24", "80.10"]
    assert rows["ours (zero-shot)"][1].startswith(f"{100 * expected.macro_auc:.2f} [")
    assert rows["records evaluated here"][1:] == ["12"] * 6
    with open(out / "paper_table_3.csv", newline="", encoding="utf-8") as handle:
        ours = {row["method"]: row for row in csv.DictReader(handle)}["ours"]
    assert ours["CPSC2018"].startswith(f"{100 * plain.result.metrics['macro_auc']:.2f} [") and ours["PTBXL-Sub"] == ""


def test_kinds_of_text_side_by_side_with_one_pass_over_the_recordings(run, sets, tmp_path, monkeypatch):
    passes = []
    original = encoder_module.embed_records

    def counted(model, manifest, *options):
        passes.append(manifest.split)
        return original(model, manifest, *options)

    monkeypatch.setattr(encoder_module, "embed_records", counted)
    cache = tmp_path / "cache"
    out = run(sets["cpsc2018"], "--compare-prompts", "name", "description", "all", "--bootstrap", 50, "--cache", cache)
    assert passes == ["test"]  # valid lists the same recordings here, and comes from the cache
    results = {kind: read_result(out / f"cpsc2018-{kind}").result for kind in ("name", "description", "all")}
    assert {kind: result.settings["prompt_kind"] for kind, result in results.items()} == {k: k for k in results}
    with open(out / "prompts.csv", newline="") as handle:
        row = next(csv.DictReader(handle))
    assert row["records"] == "12" and list(row)[3:] == ["name", "description", "all"]
    for kind, result in results.items():
        low, high = result.intervals["macro_auc"]
        assert row[kind] == f"{100 * result.metrics['macro_auc']:.2f} [{100 * low:.2f}, {100 * high:.2f}]"

    again = run(sets["cpsc2018"], "--prompt-kind", "name", "--bootstrap", 0, "--cache", cache, results="again")
    assert passes == ["test"]
    assert read_result(again / "cpsc2018").result.metrics["macro_auc"] == results["name"].metrics["macro_auc"]


def test_bfloat16_scores_are_near_those_of_float32_and_come_from_another_file(sets, run, tmp_path):
    """Cosines; a rounding to bfloat16 is off by 2⁻⁸."""
    found = {}
    for name, more in (("float32", []), ("bf16", ["--bf16"]), ("again", [])):
        out = run(sets["cpsc2018"], "--bootstrap", 0, "--cache", tmp_path / "cache", *more, results=name)
        stored = read_result(out / "cpsc2018")
        assert stored.result.settings["precision"] == ("bf16" if more else "float32")
        found[name] = stored.scores().scores
    assert len(list((tmp_path / "cache").iterdir())) == 2  # valid lists the recordings of test here
    assert (found["again"] == found["float32"]).all()
    difference = np.abs(found["bf16"] - found["float32"])
    assert found["bf16"].dtype == np.float32 and 0 < difference.max() < 2.0**-6


def test_where_texts_come_from(run, sets, tokenizer, tmp_path):
    """--prompts goes before the directory's prompts.json, which goes before ours; an explicit kind means ours."""
    directory = write_labelled(tmp_path / "m", "code")
    mine = {name: [f"sinus rhythm {name}", "normal ecg"] for name in CLASSES["code"]}
    write_json(directory / "prompts.json", mine)
    theirs = {name: f"atrial {name}" for name in [*CLASSES["code"], "further"]}
    write_json(tmp_path / "theirs.json", theirs)

    def texts(*options, results):
        out = run(directory, "--bootstrap", 0, *options, results=results)
        return read_result(out / "m"), json.loads((out / "m" / "class_texts.json").read_text())["classes"]

    found, used = texts(results="own")
    assert used == mine and found.result.settings["prompt_kind"] == "unknown"
    # With the token file of preprocess/tokenizer.py: the same, and the tokenizer is not needed.
    assert tokenizer_command.main(["--manifest", str(directory), "--tokenizer", str(tokenizer), "--max-tokens", "256"]) == 0
    again, _ = texts(results="tokens")
    np.testing.assert_allclose(again.scores().scores, found.scores().scores, atol=1e-5)
    _, used = texts("--prompt-kind", "abbreviation", results="kind")
    assert used == load_prompts("code", "abbreviation")
    found, used = texts("--prompts", tmp_path / "theirs.json", results="theirs")
    assert used == {name: [theirs[name]] for name in CLASSES["code"]} and found.result.settings["prompt_kind"] == "own"


def test_the_kind_of_a_copy_is_recorded_and_no_longer_believed_once_it_was_edited(sets, tmp_path):
    directory = write_labelled(tmp_path / "m", "code")
    labels = json.loads((directory / "labels.json").read_text())
    write_json(directory / "labels.json", {**labels, **write_copy(directory, load_prompts("code", "name"), "name")})
    assert choose_class_texts(directory, CLASSES["code"]).kind == "name"
    write_json(directory / "prompts.json", load_prompts("code", "description"))
    assert choose_class_texts(directory, CLASSES["code"]).kind == "unknown"
    assert choose_class_texts(directory, CLASSES["code"], "abbreviation").kind == "abbreviation"


def test_stale_token_files_are_refused(run, tokenizer, tmp_path):
    directory = write_labelled(tmp_path / "m", "code")
    write_json(directory / "prompts.json", load_prompts("code"))
    tokenizer_command.main(["--manifest", str(directory), "--tokenizer", str(tokenizer)])
    write_json(directory / "prompts.json", load_prompts("code", "abbreviation"))
    with pytest.raises(DataError, match="stale"):
        run(directory)
    run(directory, "--tokenizer", tokenizer, "--bootstrap", 0)


def test_embeddings_are_kept_on_request(run, checkpoint, sets):
    out = run(sets["code"], "--keep-embeddings", "--bootstrap", 0, "--batch-size", 5)
    with np.load(out / "code" / "embeddings.npz", allow_pickle=False) as arrays:
        np.testing.assert_allclose(arrays["ecg"], embeddings(checkpoint, sets["code"], "test"), atol=1e-5)
        assert arrays["names"].tolist() == CLASSES["code"] and arrays["record_id"].tolist() == [f"test{i}" for i in range(12)]
        np.testing.assert_array_equal(arrays["labels"], np.load(sets["code"] / "test.labels.npy"))
    run(sets["code"], "--bootstrap", 0)
    assert not (out / "code" / "embeddings.npz").exists()


def test_bad_input_is_named(run, sets, tokenizer, tmp_path):
    with pytest.raises(DataError, match="train.tsv"):
        run(sets["code"], "--split", "train")
    unknown = write_labelled(tmp_path / "unknown", "mine", names=["a", "b"])
    with pytest.raises(DataError, match="give a JSON file with --prompts"):
        run(unknown)
    with pytest.raises(DataError, match="no text for the class a, b"):
        run(unknown, "--prompts", "code")
    write_json(unknown / "prompts.json", {"a": ["x"], "b": ["y"]})
    with pytest.raises(DataError, match="does not tell names from descriptions"):
        run(unknown, "--prompt-kind", "name")
    with pytest.raises(DataError, match="--shift: none of the manifests"):
        run(sets["code"], "--shift")
    (unknown / "test.labels.npy").unlink()
    with pytest.raises(DataError, match="test.labels.npy"):
        run([sets["code"], unknown])
    with pytest.raises(DataError, match="--device nonsense"):
        run(sets["code"], "--device", "nonsense")
    assert not (tmp_path / "out").exists()  # all of it before the first recording was read


def test_a_broken_checkpoint_is_told_by_its_embeddings(checkpoint, sets, tmp_path):
    state = torch.load(checkpoint, weights_only=True)
    # Finite, so that it loads, and too large to be computed with.
    state["model"]["ecg_encoder.post_extract_proj.weight"][:] = 3e38
    torch.save(state, tmp_path / "nan.pt")
    arguments = ["--checkpoint", str(tmp_path / "nan.pt"), "--manifest", str(sets["code"]), "--results", str(tmp_path / "out")]
    with pytest.raises(DataError, match="NaN or infinity for 12 of 12 records, first test0"):
        main(arguments)


def test_some_leads_alone_and_sets_of_leads_side_by_side(run, checkpoint, sets, capsys):
    """Recordings whose other leads are zero; validation data, which thresholds come from, too."""
    directory = sets["cpsc2018"]
    whole = read_result(run(directory, "--bootstrap", 0, results="whole") / "cpsc2018")
    out = run(directory, "--bootstrap", 0, "--compare-leads", "12", "I+II", results="compared")
    alone = read_result(run(directory, "--bootstrap", 0, "--leads", "II", "I", results="alone") / "cpsc2018")
    first, second = (read_result(out / f"cpsc2018-{name}") for name in ("12-leads", "2-leads"))
    np.testing.assert_array_equal(first.scores().scores, whole.scores().scores)
    np.testing.assert_array_equal(second.scores().scores, alone.scores().scores)
    assert second.result.per_class == alone.result.per_class and second.result.settings["leads"] == ["I", "II"]
    assert first.result.settings == whole.result.settings and "leads" not in whole.result.settings

    manifest = Manifest.open(directory, "test")
    ecg = torch.from_numpy(RecordStore(manifest.store_root).read(manifest.shard, manifest.row))
    ecg[:, 2:] = 0
    pretrained = load_pretrained(checkpoint)
    with torch.no_grad():
        ecg_points = pretrained.model.embed_ecg(ecg, torch.from_numpy(manifest.n_samples.astype(np.int64))).mean
    texts = pretrained.class_embeddings(load_prompts("cpsc2018"))[1]
    np.testing.assert_allclose(second.scores().scores, (ecg_points @ texts.mean.T).numpy(), atol=1e-5)

    with open(out / "leads.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    lost = 100 * (first.result.metrics["macro_auc"] - second.result.metrics["macro_auc"])
    assert [row["set"] for row in rows] == ["cpsc2018"] * 2 and [row["leads"] for row in rows][1] == "I II"
    assert rows[0]["lost"] == "0.00" and float(rows[1]["lost"]) == pytest.approx(lost, abs=0.006) and lost != 0
    assert "## Sets of leads" in capsys.readouterr().out
    with pytest.raises(DataError, match="unknown lead X"):
        run(directory, "--leads", "X")
