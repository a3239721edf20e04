"""The models that come with the package: whole, small, checked, offline, and what ``predict`` uses where none is named."""

from __future__ import annotations

import csv
import json
import shutil
import socket

import numpy as np
import pytest
import torch
from pretrained_files import random_ecg, write_record
from safetensors import safe_open
from sklearn.metrics import roc_auc_score

from cmelt_plugin import cli, predict, weights
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.files.exported import CHECKSUMS, CONFIG_FILE, TOKENIZER_FOLDER, WEIGHTS_FILE
from cmelt_plugin.models.files.integrity import verify_model
from cmelt_plugin.models.inference.pretrained import load_pretrained
from cmelt_plugin.prompts import label_sets, load_prompts
from preprocess.synthetic import main as synthetic

MOST_BYTES, MOST_PARAMETERS = 16_000_000, 8_000_000


@pytest.fixture(scope="module", params=weights.SHIPPED)
def shipped(request):
    """The folder, which is part of the package: where it is missing, every test fails."""
    return weights.FOLDER / request.param


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort") / "cohort"
    synthetic(["--records", "60", "--seed", "7", "--prevalence", "balanced", "--dest", str(folder)])
    return folder


def test_a_folder_is_as_it_was_exported_and_small(shipped) -> None:
    assert verify_model(shipped) == []
    config = json.loads((shipped / CONFIG_FILE).read_text(encoding="utf-8"))
    listed = set(config[CHECKSUMS])
    files = {path.relative_to(shipped).as_posix() for path in shipped.rglob("*") if path.is_file()}
    assert files == listed | {CONFIG_FILE, "README.md"} and f"{TOKENIZER_FOLDER}/tokenizer_config.json" in listed
    assert sum((shipped / name).stat().st_size for name in files) <= MOST_BYTES


def test_matrices_are_float16_on_disk_and_float32_in_memory(shipped) -> None:
    with safe_open(str(shipped / WEIGHTS_FILE), "pt") as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}
    assert {tensor.dtype for tensor in stored.values() if tensor.ndim > 1} == {torch.float16}
    loaded = load_pretrained(shipped.name)
    state = loaded.model.state_dict()
    assert {tensor.dtype for tensor in state.values() if tensor.is_floating_point()} == {torch.float32}
    assert sum(parameter.numel() for parameter in loaded.model.parameters()) <= MOST_PARAMETERS
    assert not loaded.model.training and tuple(loaded.leads) == LEADS


def test_the_card_says_what_it_is(shipped) -> None:
    card = (shipped / "README.md").read_text(encoding="utf-8")
    for text in (
        'license: "mit"',
        "Not a medical device. It never saw a patient",
        "preprocess/synthetic.py --records 30000 --seed 1 --prevalence balanced",
        "make synthetic-model",
        "| seed | 1 |",
        "| updates | ",
        "docs/synthetic-model.md",
        "they are not probabilities of a diagnosis",
    ):
        assert text in card, text
    assert "{commands}" not in card and "data set | mimic-iv-ecg" not in card


@pytest.mark.parametrize("name", [WEIGHTS_FILE, CONFIG_FILE, f"{TOKENIZER_FOLDER}/tokenizer.json"])
def test_a_damaged_file_is_refused(shipped, name, tmp_path, monkeypatch) -> None:
    shutil.copytree(shipped, tmp_path / shipped.name)
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    load_pretrained(shipped.name)
    path = tmp_path / shipped.name / name
    content = bytearray(path.read_bytes())
    place = content.index(b"0.1") if name == CONFIG_FILE else len(content) // 2
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        DataError, match="its checksum is wrong.*part of the package: where a file is damaged, install that again"
    ):
        load_pretrained(shipped.name)
    path.unlink()
    with pytest.raises(DataError, match=f"{shipped.name}.*install that again"):
        load_pretrained(shipped.name)


def test_a_path_of_that_name_is_a_path() -> None:
    assert weights.shipped_folder("./synthetic") is None
    with pytest.raises(DataError, match="no such checkpoint$"):
        load_pretrained("./synthetic")


def test_it_reads_every_label_set_without_a_network(shipped, monkeypatch) -> None:
    def refused(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    model = load_pretrained(shipped.name)
    assert weights.PROMPTS in label_sets()
    for label_set in label_sets():
        names, similarity = model.zero_shot(random_ecg(), label_set)
        assert names == list(load_prompts(label_set)) and torch.isfinite(similarity).all()
    features = model.ecg_features(random_ecg(), leads=LEADS)
    assert features.dtype == torch.float32 and torch.isfinite(features).all()


def test_it_tells_findings_of_a_new_cohort_apart(shipped, cohort, capsys) -> None:
    """Weights that are whole but not those of a trained model would be at 0.5."""
    with open(cohort / "labels.csv", encoding="utf-8", newline="") as file:
        rows = {row["record_id"]: row for row in csv.DictReader(file)}
    paths = {path.stem: path for path in cohort.rglob("*.hea")}
    names, similarity = load_pretrained(shipped.name).zero_shot([paths[record] for record in rows], weights.PROMPTS)
    labels = {name: np.array([float(row[name]) for row in rows.values()]) for name in names}
    frequent = [column for column, name in enumerate(names) if 5 <= labels[name].sum() <= 55]
    areas = [roc_auc_score(labels[names[column]], similarity[:, column]) for column in frequent]
    assert len(areas) >= 6 and np.mean(areas) > 0.85


def predicted(capsys, *arguments):
    """Exit code, stdout, stderr of the command without --checkpoint."""
    code = predict.main([*map(str, arguments)])
    return code, *capsys.readouterr()


def test_predict_uses_it_and_says_what_it_is(cohort, capsys) -> None:
    record = next(cohort.rglob("*.hea"))
    code, out, err = predicted(capsys, record)
    assert code == 0 and "never saw a patient; it is not a medical device" in err and "not a probability" in err
    names, similarity = load_pretrained(weights.DEFAULT).zero_shot(record, weights.PROMPTS)
    best = [names[column] for column in similarity.argsort(descending=True)[:5]]
    lines = out.splitlines()
    assert [line.split()[1 if number == 0 else 0] for number, line in enumerate(lines[1:6])] == best
    assert lines[0].split() == ["record", "class", "similarity"]

    code, out, err = predicted(capsys, record, "--format", "jsonl")
    (line,) = map(json.loads, out.splitlines())
    assert line["kind"] == "similarity" and "not a medical device" in err
    assert [line["scores"][name] for name in names] == pytest.approx(similarity.tolist(), abs=2e-6)
    code, out, _ = predicted(capsys, record, "--format", "jsonl", "--prompts", "cpsc2018")
    assert set(json.loads(out)["scores"]) == set(load_prompts("cpsc2018"))


def test_predict_reads_two_leads_where_asked_to(tmp_path, capsys) -> None:
    record = write_record(tmp_path, "watch", random_ecg(leads=2), leads=["I", "II"])
    code, out, err = predicted(capsys, record)
    assert code == 1 and f"skipped {tmp_path / 'watch'}: leads: 6 leads" in err and "(--missing-leads zero)" in err
    code, out, err = predicted(capsys, record, "--missing-leads", "zero")
    assert code == 0 and "no signal in V1" in out


def test_predict_ends_in_one_line_where_the_model_is_damaged(tmp_path, monkeypatch, capsys) -> None:
    record = write_record(tmp_path, "r", random_ecg())
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    code = cli.run(lambda: predict.main([str(record)]))
    assert code == 1 and capsys.readouterr().err.splitlines()[-1].startswith(f"error: {tmp_path / weights.DEFAULT}: no such")
