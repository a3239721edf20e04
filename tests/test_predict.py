"""``python -m cmelt_plugin.predict``: every record gets its scores or its reason."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
import torch
from hosts import environment
from pretrained_files import random_ecg, write_checkpoint, write_classifier, write_record, write_tokenizer_folder

from cmelt_plugin import cli
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.readers.record_paths import find_records
from cmelt_plugin.errors import DataError
from cmelt_plugin.intake.windows import best_window
from cmelt_plugin.models.files.weights_fingerprint import weights_fingerprint
from cmelt_plugin.models.inference.calibration import Calibration, ClassCalibration, Curve, calibration_root, write_calibration
from cmelt_plugin.models.inference.pretrained import load_pretrained
from cmelt_plugin.predict import _figure_names, main

PROMPTS = {"AFIB": ["atrial fibrillation"], "SR": ["sinus rhythm"], "LBBB": ["left bundle branch block"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, class texts, three good records and two bad ones."""
    folder = tmp_path_factory.mktemp("predict")
    write_tokenizer_folder(folder / "tokenizer")
    write_checkpoint(folder / "cmelt.pt", folder / "tokenizer")
    write_classifier(folder / "classifier.pt", ["AFIB", "SR", "PVC"], thresholds=[0.0, 1.0, float("nan")])
    (folder / "prompts.json").write_text(json.dumps(PROMPTS), encoding="utf-8")
    records = folder / "records"
    write_record(records, "a1", random_ecg(seed=1))
    write_record(records / "more", "a2", random_ecg(7, 250, seed=2)[::-1], 250, list(reversed(LEADS)))
    flat = random_ecg(seed=3)
    flat[LEADS.index("V6")] = 0
    write_record(records / "more", "a3", flat)
    write_record(folder / "bad", "b1", random_ecg(leads=2), leads=["I", "II"])
    write_record(folder / "bad", "b2", random_ecg())
    (folder / "bad" / "b2.dat").unlink()
    return folder


def predict(folder, capsys, *arguments, model="cmelt.pt", prompts="prompts.json"):
    """Exit code, lines of stdout, text of stderr."""
    classes = ["--prompts", str(folder / prompts)] if prompts else []
    code = main(["--checkpoint", str(folder / model), *classes, *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out.splitlines(), err


def test_zero_shot_scores_are_those_of_load_pretrained(folder, capsys) -> None:
    paths = [folder / "records" / "a1", folder / "records" / "more" / "a2"]
    code, lines, err = predict(folder, capsys, *paths, "--format", "jsonl")
    assert code == 0 and len(lines) == 2
    pretrained = load_pretrained(folder / "cmelt.pt")
    for line, path in zip(map(json.loads, lines), paths):
        _, similarity = pretrained.zero_shot(path, PROMPTS)
        assert line["record"] == str(path) and line["kind"] == "pair_probability"
        assert list(line["similarity"].values()) == pytest.approx(similarity.tolist(), abs=2e-6)
        expected = torch.sigmoid(10 * similarity - 10).tolist()
        assert list(line["scores"].values()) == pytest.approx(expected, abs=2e-6)
        assert list(line["scores"]) == list(PROMPTS) and "positive" not in line
    assert [json.loads(line)["seconds"] for line in lines] == [10.0, 7.0]
    assert "not a calibrated probability" in err and "2 records: 2 predicted, 0 skipped" in err


def test_leads_of_a_holter_that_are_not_read_are_named(folder, capsys) -> None:
    write_record(folder / "holter", "h1", random_ecg(leads=2), leads=["MLII", "V1"])
    code, lines, err = predict(folder, capsys, folder / "holter" / "h1", "--missing-leads", "zero", "--format", "jsonl")
    assert code == 0 and json.loads(lines[0])["warnings"][0].startswith("lead-ignored: MLII not read, none of the standard")
    assert "h1 is doubtful: lead-ignored: MLII not read" in err and "1 doubtful (lead-ignored 1)" in err


def test_a_model_without_learned_scale_shows_similarities(folder, capsys) -> None:
    write_checkpoint(folder / "raw.pt", folder / "tokenizer", learn_logit_scale=False)
    _, lines, err = predict(folder, capsys, folder / "records" / "a1", "--format", "jsonl", model="raw.pt")
    line = json.loads(lines[0])
    assert line["kind"] == "similarity" and "similarity" not in line
    assert "similarity of ECG and class text; not a probability" in err


def test_the_score_may_be_chosen(folder, capsys) -> None:
    record = folder / "records" / "a1"
    _, lines, _ = predict(folder, capsys, record, "--format", "jsonl", "--score", "product")
    line = json.loads(lines[0])
    _, expected = load_pretrained(folder / "cmelt.pt", score="product").zero_shot(record, PROMPTS)
    # Trained on cosines, it knows no probability of a product.
    assert line["kind"] == "similarity" and list(line["scores"].values()) == pytest.approx(expected.tolist(), abs=2e-6)
    with pytest.raises(DataError, match="score must be cosine, not .product.: this model compares .* in no other way"):
        predict(folder, capsys, record, "--score", "product", model="classifier.pt", prompts=None)


def test_a_classifier_gives_its_own_classes_and_decides_by_its_thresholds(folder, capsys) -> None:
    record = folder / "records" / "a1"
    code, lines, err = predict(folder, capsys, record, "--format", "jsonl", model="classifier.pt", prompts=None)
    line = json.loads(lines[0])
    _, probabilities = load_pretrained(folder / "classifier.pt").classify(record)
    assert code == 0 and line["kind"] == "probability" and list(line["scores"]) == ["AFIB", "SR", "PVC"]
    assert list(line["scores"].values()) == pytest.approx(probabilities.tolist(), abs=2e-6)
    assert line["positive"] == ["AFIB"]  # thresholds 0, 1 and none
    assert "fine-tuned classifier" in err


def write_one(folder, **changes):
    """A calibration of the classifier: certain probabilities for AFIB and SR, none for PVC."""
    classes = [
        ClassCalibration("AFIB", 30, 70, 25, Curve(0.0, 0.0), -100.0, 1.0),
        ClassCalibration("SR", 60, 40, 50, Curve(0.0, np.log(3)), 100.0, 0.0),
        ClassCalibration("PVC", 1, 99, 1, None, None, None),
    ]
    values = {
        **{"kind": "classifier", "key": "sha256:" + 64 * "0", "label_set": "mine", "score": "", "leads": list(LEADS)},
        **{"method": "platt", "recall": 0.95, "unit": "subject", "needed": 19, "classes": classes, "date": "2026-01-02"},
        "model": weights_fingerprint(load_pretrained(folder / "classifier.pt").model),
        "data": {"data_set": "ward 3", "records": 100},
    }
    return write_calibration(calibration_root(folder / "classifier.pt"), Calibration(**{**values, **changes}))


def test_a_calibrated_model_answers_as_it_was_calibrated(folder, capsys, tmp_path) -> None:
    shutil.copy(folder / "classifier.pt", tmp_path / "classifier.pt")
    (tmp_path / "prompts.json").write_text("{}", encoding="utf-8")
    write_one(tmp_path)
    records = [folder / "records" / "a1", folder / "records" / "more" / "a3"]
    code, lines, err = predict(tmp_path, capsys, *records, "--format", "jsonl", model="classifier.pt", prompts=None)
    first, second = map(json.loads, lines)
    assert code == 0 and first["kind"] == "calibrated_probability" and first["scores"] == {"AFIB": 0.5, "SR": 0.75}
    assert (first["may_have"], first["recall"], first["unpromised"], first["abstention"]) == (["AFIB"], 0.95, ["PVC"], [])
    assert second["abstention"][0].startswith("lead-missing: no signal in V6") and "positive" not in first
    assert "(ward 3, 100 records, 2026-01-02)" in err and "of recordings with a class 95 % have it marked" in err
    assert "1 not to be relied on (lead-missing 1)" in err
    options = ("--figure", tmp_path / "figures")
    _, lines, _ = predict(tmp_path, capsys, *records, *options, model="classifier.pt", prompts=None)
    assert any("AFIB" in line and line.endswith("may be present") for line in lines)
    assert "(not to be relied on, lead-missing" in "".join(lines) and "(nothing is promised of PVC)" in "".join(lines)
    assert len(list((tmp_path / "figures").glob("*.png"))) == 2
    # As they are, on request; another calibration, by name.
    _, lines, _ = predict(
        tmp_path, capsys, records[0], "--format", "jsonl", "--calibration", "none", model="classifier.pt", prompts=None
    )
    assert json.loads(lines[0])["kind"] == "probability"
    write_one(tmp_path, label_set="yours")
    with pytest.raises(DataError, match="several calibrations"):
        predict(tmp_path, capsys, records[0], model="classifier.pt", prompts=None)
    code, lines, err = predict(tmp_path, capsys, records[0], "--calibration", "yours", model="classifier.pt", prompts=None)
    assert code == 0 and "calibrated_probability" in lines[0]
    with pytest.raises(DataError, match="--calibration: has classes of its own"):
        predict(tmp_path, capsys, records[0], "--calibration", "yours", model="classifier.pt")
    # By its folder, wherever that lies.
    (yours,) = (tmp_path / "classifier.calibration").glob("yours-*")
    shutil.move(yours.parent, tmp_path / "elsewhere")
    options = ("--calibration", tmp_path / "elsewhere" / yours.name)
    _, moved, _ = predict(tmp_path, capsys, records[0], *options, model="classifier.pt", prompts=None)
    assert moved == lines


def test_exclusive_classes_have_one_winner(folder, capsys) -> None:
    write_classifier(folder / "exclusive.pt", ["A", "B", "C"], {"problem": "multi_class"})
    _, lines, _ = predict(folder, capsys, folder / "records", "--format", "jsonl", model="exclusive.pt", prompts=None)
    for line in map(json.loads, lines):
        assert sum(line["scores"].values()) == pytest.approx(1, abs=1e-5)
        assert line["positive"] == [max(line["scores"], key=line["scores"].get)]


def test_table_ranks_the_classes_of_each_record(folder, capsys) -> None:
    _, lines, _ = predict(folder, capsys, folder / "records" / "more", "--top", 2)
    assert lines[0].split() == ["record", "class", "similarity", "pair_probability"]
    assert lines[1].startswith(str(folder / "records" / "more" / "a2")) and lines[2].startswith(" ")
    values = [float(line.split()[-1]) for line in lines[1:3]]
    assert values == sorted(values, reverse=True) and len(lines) == 1 + 2 + 2 + 1
    assert lines[-1].strip() == "(no signal in V6)"
    _, lines, _ = predict(folder, capsys, folder / "records" / "a1", "--top", 0)
    assert len(lines) == 1 + len(PROMPTS)


def test_table_names_classes_whose_texts_have_names(folder, capsys) -> None:
    classes = {"AFIB": {"name": "atrial fibrillation", "descriptions": ["no p waves"]}, "SR": {"name": "sinus rhythm"}}
    classes["SR"]["descriptions"] = ["p before each qrs"]
    (folder / "full.json").write_text(json.dumps({"classes": classes}), encoding="utf-8")
    _, lines, _ = predict(folder, capsys, folder / "records" / "a1", prompts="full.json")
    assert {line.rpartition("  ")[2] for line in lines[1:]} == {"atrial fibrillation", "sinus rhythm"}


def test_table_never_hides_what_counts_as_present(folder, capsys) -> None:
    _, lines, _ = predict(folder, capsys, folder / "records" / "a1", "--top", 1, model="classifier.pt", prompts=None)
    assert [line.split()[-1] for line in lines if "AFIB" in line] == ["present"]
    assert not any("present" in line for line in lines if "AFIB" not in line)


def test_bad_records_are_skipped_with_their_reasons(folder, capsys) -> None:
    code, lines, err = predict(folder, capsys, folder / "bad", folder / "records", folder / "none", "--format", "jsonl")
    assert code == 0
    found = [json.loads(line) for line in lines]
    errors = {line["record"].rpartition("/")[2]: line["error"] for line in found if "error" in line}
    assert set(errors) == {"b1", "b2", "none"} and len(found) == 6
    assert "missing V1" in errors["b1"] and "b2.dat" in errors["b2"] and "none.hea is missing" in errors["none"]
    assert f"skipped {folder / 'bad' / 'b1'}: " in err and "6 records: 3 predicted, 3 skipped" in err
    assert "Traceback" not in err


def test_exit_code_says_when_nothing_could_be_predicted(folder, capsys) -> None:
    code, lines, err = predict(folder, capsys, folder / "bad" / "b1")
    assert code == 1 and "1 records: 0 predicted, 1 skipped" in err
    code, _, _ = predict(folder, capsys, folder / "bad" / "b1", "--missing-leads", "zero")
    assert code == 0


@pytest.mark.parametrize("size", [1, 2, 64])
def test_batch_size_changes_nothing(folder, capsys, size) -> None:
    arguments = (folder / "records", folder / "bad", "--format", "jsonl")
    _, lines, _ = predict(folder, capsys, *arguments, "--batch-size", size)
    scores = {line["record"]: line["scores"] for line in map(json.loads, lines) if "scores" in line}
    _, lines, _ = predict(folder, capsys, *arguments)
    for line in map(json.loads, lines):
        if "scores" in line:
            assert scores.pop(line["record"]) == pytest.approx(line["scores"], abs=1e-5)
    assert not scores


def test_figures_show_the_ecg_and_the_scores(folder, capsys, tmp_path) -> None:
    pytest.importorskip("matplotlib", reason="pip install 'cmelt-plugin[viz]'")
    predict(folder, capsys, folder / "records", "--figure", tmp_path / "png")
    files = sorted((tmp_path / "png").iterdir())
    assert [file.name for file in files] == ["a1.png", "more_a2.png", "more_a3.png"]
    assert all(file.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" for file in files)


def test_figure_has_a_bar_per_class_highest_first() -> None:
    pytest.importorskip("matplotlib", reason="pip install 'cmelt-plugin[viz]'")
    from cmelt_plugin.evaluation.plots.prediction import MOST_BARS, prediction_figure

    scores = {f"class{index}": index / 20 for index in range(20)}
    figure = prediction_figure(random_ecg(4), scores, "probability", True, ["class19"], "r1")
    paper, axes = figure.axes
    assert paper.get_title(loc="left") == "r1"
    heights = [bar.get_width() for bar in axes.patches]
    assert heights == sorted(scores.values(), reverse=True)[:MOST_BARS]
    assert [label.get_text() for label in axes.get_yticklabels()][0] == "class19"
    assert "5 lower classes not shown" in axes.get_xlabel() and "above its threshold" in axes.get_xlabel()
    assert len({bar.get_facecolor() for bar in axes.patches}) == 2
    negative = prediction_figure(random_ecg(4), {"a": -0.5, "b": 0.25}, "similarity", False, titles={"a": "atrium"}).axes[1]
    assert negative.get_xlim()[0] == -0.5
    assert [text.get_text() for text in negative.texts] == ["0.250", "-0.500   atrium"]


def test_classes_are_asked_for_where_they_are_needed(folder, capsys) -> None:
    record = folder / "records" / "a1"
    with pytest.raises(DataError, match="--prompts with a JSON file or one of ptb-xl-super"):
        predict(folder, capsys, record, prompts=None)
    with pytest.raises(DataError, match="has its own classes; leave --prompts out"):
        predict(folder, capsys, record, model="classifier.pt")
    with pytest.raises(DataError, match="none.json"):
        predict(folder, capsys, record, prompts="none.json")
    with pytest.raises(DataError, match="--device nowhere"):
        predict(folder, capsys, record, "--device", "nowhere")


def test_ways_to_name_records(folder, tmp_path) -> None:
    records = folder / "records"
    a1, a2, a3 = (str(records / name) for name in ("a1", "more/a2", "more/a3"))
    assert find_records([str(records)]) == [a1, a2, a3]
    assert find_records([f"{a1}.hea", f"{a1}.dat", a1]) == [a1]
    assert find_records([f"{records}/**/*.hea"]) == [a1, a2, a3]
    assert find_records([f"{records}/more/*"]) == [a2, a3]
    assert find_records([a3, str(records)]) == [a3, a1, a2]
    (records / "list.txt").write_text("# those of today\nmore/a2\n\na1.hea\n", encoding="utf-8")
    assert find_records([f"@{records / 'list.txt'}"]) == [a2, a1]
    (records / "list.txt").unlink()
    assert find_records([str(tmp_path / "none")]) == [str(tmp_path / "none")]  # reading it says that it is missing
    for name in (str(tmp_path), f"{tmp_path}/*.hea"):
        with pytest.raises(DataError, match="no WFDB record there"):
            find_records([name])
    with pytest.raises(DataError, match="no such file"):
        find_records([f"@{tmp_path / 'none.txt'}"])


def test_as_a_command(folder) -> None:
    """Nothing but the results reaches stdout, whatever the host prints when it is imported."""
    pytest.importorskip("fairseq", reason="fairseq is not installed; run 'make install'")
    options = ("--checkpoint", folder / "cmelt.pt", "--prompts", folder / "prompts.json", "--format", "jsonl")
    command = [sys.executable, "-m", "cmelt_plugin.predict", *map(str, options), str(folder / "records")]
    done = subprocess.run(command, env=environment("fairseq"), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["record"].rpartition("/")[2] for line in done.stdout.splitlines()] == ["a1", "a2", "a3"]
    assert "DEBUG" not in done.stderr and "INFO" not in done.stderr


def test_bad_input_ends_in_one_line(folder, capsys) -> None:
    code = cli.run(lambda: main(["--checkpoint", str(folder / "none.pt"), str(folder / "records" / "a1")]))
    assert code == 1 and capsys.readouterr().err == f"error: {folder / 'none.pt'}: no such checkpoint\n"


def test_real_records(folder, capsys, real_data) -> None:
    paths = [real_data / "ptb-xl" / "records500" / "00000" / "00001_hr.hea", real_data / "cinc2021" / "JS20004.hea"]
    if not all(path.is_file() for path in paths):
        pytest.skip(f"no real records in {real_data}")
    code, lines, _ = predict(folder, capsys, *paths, "--format", "jsonl", "--prompt-kind", "name", prompts="prompts.json")
    found = [json.loads(line) for line in lines]
    assert code == 0 and "flat_leads" not in found[0] and found[1]["flat_leads"] == ["V2", "V4", "V6"]
    assert all(0 < value < 1 for line in found for value in line["scores"].values())


def _faulty(folder):
    """Records with a fault that is named or refused."""
    ecg = random_ecg(seed=5)
    time = np.arange(ecg.shape[1]) / 500
    hum = np.outer([1, 1, 0, -1, 0.5, 0.5, 1, 1, 1, 1, 1, 1], 0.8 * np.sin(2 * np.pi * 50 * time))
    spiked, inverted = ecg.copy(), ecg.copy()
    spiked[7, 100:110] = 31
    inverted[3] *= -1
    faults = {
        "good": ecg,
        "low": ecg / 1000,
        "high": 5 * ecg,
        "clipped": 1.5 * spiked,
        "hum": ecg + hum,
        "inverted": inverted,
        "zero": ecg * 1e-5,
        "offset": ecg + 1000,
    }
    for name, signal in faults.items():
        write_record(folder, name, signal)
    return folder


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    return _faulty(tmp_path_factory.mktemp("faulty"))


def test_doubtful_records_are_predicted_and_named_and_those_of_which_nothing_is_left_refused(folder, faulty, capsys) -> None:
    code, lines, err = predict(folder, capsys, faulty, "--format", "jsonl")
    assert code == 0
    found = {line["record"].rpartition("/")[2]: line for line in map(json.loads, lines)}
    codes = {name: [text.split(":")[0] for text in line["warnings"]] for name, line in found.items() if "warnings" in line}
    assert codes == {
        "low": ["amplitude-low", "quantised"],
        "high": ["amplitude-high"],
        "clipped": ["clipped"],
        "hum": ["mains"],
        "inverted": ["lead-relations"],
    }
    assert "10 samples beyond ±32.767 mV in V2, the largest 46.5 mV" in found["clipped"]["warnings"][0]
    assert "warnings" not in found["good"] and "scores" in found["high"]
    assert "zero after rounding" in found["zero"]["error"]
    assert "100 % of the samples are beyond" in found["offset"]["error"] and "take off the offset" in found["offset"]["error"]
    for name in codes:
        assert err.count(f"warning: {faulty / name} is doubtful: {codes[name][0]}: ") == 1
    assert "8 records: 6 predicted, 2 skipped, 5 doubtful (amplitude-high 1, amplitude-low 1, " in err


def test_wrong_checksums_are_refused_unless_accepted_and_what_a_header_lacks_is_named(folder, tmp_path, capsys) -> None:
    for name in ("wrong", "unitless"):
        write_record(tmp_path, name, random_ecg(seed=3))
    header = (tmp_path / "wrong.hea").read_text().splitlines()
    fields = header[3].split()
    fields[6] = str((int(fields[6]) + 1) % 65536)
    (tmp_path / "wrong.hea").write_text("\n".join([*header[:3], " ".join(fields), *header[4:]]) + "\n")
    (tmp_path / "unitless.hea").write_text((tmp_path / "unitless.hea").read_text().replace("/mV", ""))
    _, lines, err = predict(folder, capsys, tmp_path, "--format", "jsonl")
    found = {line["record"].rpartition("/")[2]: line for line in map(json.loads, lines)}
    assert found["wrong"]["error"].startswith("checksum: ") and "--accept-wrong-checksums" in found["wrong"]["error"]
    assert found["unitless"]["warnings"] == ["header: WFDB header without a unit: mV, as WFDB defines"]
    _, lines, err = predict(folder, capsys, tmp_path / "wrong", "--format", "jsonl", "--accept-wrong-checksums")
    assert json.loads(lines[0])["warnings"] == ["header: checksums in the WFDB header are wrong, accepted"]
    assert "1 doubtful (header 1)" in err


def test_the_table_names_doubts(folder, faulty, capsys) -> None:
    _, lines, err = predict(folder, capsys, faulty / "low", "--top", 1)
    assert lines[-1].strip() == "(doubtful: amplitude-low, quantised)"
    _, lines, err = predict(folder, capsys, faulty / "good", "--top", 1)
    assert len(lines) == 2 and "doubtful" not in err


ODD = [
    "a[1]",
    "a*?",
    "100% %d",
    "heart 😀",
    " blanks ",
    "-dash",
    "@at",
    "$x$ _y_",
    "two\nlines",
    "Gr\u00f6\u00dfe",
    "Gro\u0308\u00dfe",
]


def odd_records(folder):
    """A record under many odd names; the header names its signal file, which keeps its own."""
    path = write_record(folder, "signal", random_ecg(seed=1))
    header = (folder / "signal.hea").read_bytes()
    for name in ODD:
        (folder / f"{name}.hea").write_bytes(header)
    (folder / "signal.hea").unlink()
    return [str(path.with_name(name)) for name in ODD]


def test_odd_names_are_predicted_and_drawn(folder, capsys, tmp_path) -> None:
    pytest.importorskip("matplotlib", reason="pip install 'cmelt-plugin[viz]'")
    names = odd_records(tmp_path / "odd")
    code, lines, err = predict(folder, capsys, *names, "--format", "jsonl", "--figure", tmp_path / "png")
    assert code == 0, err
    assert [json.loads(line)["record"] for line in lines] == names
    assert len(list((tmp_path / "png").glob("*.png"))) == len(names)
    _, lines, _ = predict(folder, capsys, *names, "--top", 1)
    assert len(lines) == 1 + len(names)  # one line each, whatever is in the name


def test_figures_never_replace_each_other(tmp_path) -> None:
    records = [
        str(tmp_path / name) for name in ("a/b_c", "a_b/c", "a/B_C", "x" * 240, "x" * 239, "\u00e9", "e\u0301", "s/\udcff")
    ]
    names = _figure_names(records)
    assert names[records[0]] == "a_b_c.png" and names[records[1]] == "a_b_c-2.png"
    assert len({unicodedata.normalize("NFC", name).casefold() for name in names.values()}) == len(records)
    assert all(len(name.encode()) <= 220 for name in names.values())


def test_odd_names_are_packed_too(tmp_path, capsys) -> None:
    """What can be packed can be predicted: the same names through the preparation of a table."""
    from cmelt_plugin.data.directory.manifest import Manifest
    from preprocess import table

    names = [name for name in ODD if name == name.strip() and "\n" not in name]  # cells of tables are stripped
    odd_records(tmp_path / "odd")
    with open(tmp_path / "table.csv", "w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([["path", "subject"], *([f"{name}.hea", index] for index, name in enumerate(names))])
    arguments = ["--table", tmp_path / "table.csv", "--root", tmp_path / "odd", "--dest", tmp_path / "m", "--jobs", 1]
    assert table.main([*map(str, arguments), "--subject-column", "subject", "--allow-no-report", "--split", "1", "0", "0"]) == 0
    assert len(Manifest.open(tmp_path / "m", "train")) == len(names)


@pytest.mark.parametrize("form", ["jsonl", "table"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_no_numbers_are_an_error_of_their_record(form, value, folder, capsys, monkeypatch) -> None:
    """JSON has no NaN; a finite weight can still overflow in the model."""
    from cmelt_plugin.models.inference.pretrained import Pretrained

    classify = Pretrained.classify_prepared

    def broken(self, prepared, batch_size=64):
        probabilities = classify(self, prepared, batch_size)
        probabilities[0, 1] = value
        return probabilities

    monkeypatch.setattr(Pretrained, "classify_prepared", broken)
    paths = [folder / "records" / "a1", folder / "records" / "more" / "a2"]
    code, lines, err = predict(folder, capsys, *paths, "--format", form, model="classifier.pt", prompts=None)
    assert code == 0 and "1 predicted, 1 skipped" in err and "a1: the model's scores for it are not finite" in err
    if form == "jsonl":
        values = {line["record"]: line for line in (json.loads(text, parse_constant=pytest.fail) for text in lines)}
        assert "not finite" in values[str(paths[0])]["error"] and "scores" in values[str(paths[1])]
    assert "nan" not in " ".join(lines)


def test_windows_of_longer_recordings(folder, tmp_path, capsys) -> None:
    long = random_ecg(25.5, seed=5)
    long[:, 5000:10000] *= 0.0  # nothing to read in the second window
    write_record(tmp_path, "long", long)
    paths = [tmp_path / "long", folder / "records" / "a1"]
    code, lines, err = predict(folder, capsys, *paths, "--crop", "all", "--format", "jsonl", "--batch-size", 2)
    values = [json.loads(line) for line in lines]
    assert code == 0 and "2 records: 2 windows predicted, 1 skipped" in err
    assert [value.get("begins") for value in values] == [0.0, None, 0.0], values
    assert values[1] == {"record": f"{tmp_path / 'long'} from 10 s on", "error": "zero: every sample is zero"}
    _, (start, _), _ = predict(folder, capsys, *paths, "--format", "jsonl")
    assert json.loads(start)["scores"] == values[0]["scores"] and "begins" not in json.loads(start)
    _, (best, other), _ = predict(folder, capsys, *paths, "--crop", "best", "--format", "jsonl")
    chosen = best_window(str(tmp_path / "long"))
    scores = load_pretrained(folder / "cmelt.pt").zero_shot(chosen, PROMPTS)[1].tolist()
    assert json.loads(best)["begins"] == chosen.begins
    np.testing.assert_allclose(list(json.loads(best)["similarity"].values()), scores, atol=1e-5)
    assert json.loads(other)["record"] == str(paths[1])
    with pytest.raises(DataError, match="leave --crop best out"):
        predict(folder, capsys, *paths, "--crop", "best", "--accept-wrong-checksums")


def test_constant_leads_are_named_at_any_rate(folder, tmp_path, capsys) -> None:
    ecg = random_ecg(rate=800, seed=7)
    ecg[LEADS.index("V1")] = 0.2
    write_record(tmp_path, "a", ecg, 800)
    _, (line,), _ = predict(folder, capsys, tmp_path / "a", "--format", "jsonl")
    assert json.loads(line)["flat_leads"] == ["V1"]
