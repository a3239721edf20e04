"""``python -m cmelt_plugin.predict`` where it is asked for a value: the estimate, its interval and uncertainty, and maps."""

import json

import numpy as np
import pytest
import torch
from planted_values import DIM, planted, write_planted_teacher
from pretrained_files import random_ecg, write_checkpoint, write_record, write_tokenizer_folder

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.teacher import open_teacher
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.regress.candidates import teacher_candidates
from cmelt_plugin.evaluation.regress.estimates import estimate_values
from cmelt_plugin.models.base import Embedding
from cmelt_plugin.models.inference import pretrained as pretrained_module
from cmelt_plugin.predict import main

WORDS = lambda text: [int(next(word for word in text.split() if word.isdigit()))]  # noqa: E731


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Records of planted values 35 and 62, one of them short, and a teacher."""
    folder = tmp_path_factory.mktemp("values")
    for name, value, seconds in (("low", 35, 10), ("high", 62, 6)):
        ecg = random_ecg(seconds, seed=value) * 0.2
        # A planted value is the mean of ten seconds of lead I.
        ecg[0] += value / 100 * 10 / seconds - ecg[0].mean()
        write_record(folder / "records", name, ecg)
    write_planted_teacher(folder / "teacher", [35, 62])
    return folder


@pytest.fixture
def loaded(monkeypatch):
    monkeypatch.setattr(pretrained_module, "load_pretrained", lambda *arguments: planted(WORDS))


def predict(capsys, *arguments):
    code = main(["--checkpoint", "planted.pt", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out.splitlines(), err


def test_values_by_teacher_texts_and_by_own_texts(loaded, folder, capsys) -> None:
    records = [folder / "records" / name for name in ("low", "high")]
    code, lines, err = predict(capsys, *records, "--teacher", folder / "teacher", "--format", "jsonl", "--samples", 50)
    found = [json.loads(line) for line in lines]
    assert code == 0 and "lvef: estimate of a measurement; not a measurement" in err
    pretrained = planted()
    ecg = pretrained.embed_ecg([str(record) for record in records])
    assert isinstance(ecg, Embedding) and ecg.log_variance.shape == (2, DIM)
    expected = estimate_values(pretrained.model, ecg, teacher_candidates(open_teacher(folder / "teacher"), "lvef"), 50)
    for index, (line, value) in enumerate(zip(found, (35, 62))):
        assert line["kind"] == "value" and line["measurement"] == "lvef" and abs(line["value"] - value) <= 1
        assert line["value"] == expected.value[index] and "scores" not in line and "similarity" not in line
        assert line["interval"] == pytest.approx([expected.low[index], expected.high[index]], abs=1e-5)
        assert line["uncertainty"] == pytest.approx(expected.uncertainty[index], rel=1e-4)
    assert [line["seconds"] for line in found] == [10.0, 6.0]

    code, lines, _ = predict(capsys, *records, "--value-texts", "lvef")
    assert lines[0].split() == ["record", "lvef", "(%)", "low", "high", "uncertainty"]
    first = lines[1].split()
    assert first[0] == str(records[0]) and float(first[1]) == pytest.approx(35, abs=1.5)
    assert float(first[2]) <= float(first[1]) <= float(first[3])
    assert float(first[4]) == pytest.approx(expected.uncertainty[0], rel=1e-3)
    _, lines, _ = predict(capsys, records[0], "--value-texts", "lvef", "--samples", 0)
    assert lines[1].split()[2:4] == ["–", "–"]


def test_classes_of_gaussians_have_an_uncertainty_too(loaded, folder, tmp_path, capsys) -> None:
    (tmp_path / "p.json").write_text(json.dumps({"LOW": ["ef 30"], "HIGH": ["ef 60"]}), encoding="utf-8")
    record = folder / "records" / "low"
    _, lines, _ = predict(capsys, record, "--prompts", tmp_path / "p.json", "--format", "jsonl")
    line = json.loads(lines[0])
    ecg = planted(WORDS).embed_ecg(str(record))
    assert line["uncertainty"] == pytest.approx(ecg.uncertainty().item(), rel=1e-4)
    _, similarity = planted(WORDS).zero_shot(str(record), {"LOW": ["ef 30"], "HIGH": ["ef 60"]})
    assert list(line["scores"].values()) == pytest.approx(similarity.tolist(), abs=2e-6)
    _, lines, _ = predict(capsys, record, "--prompts", tmp_path / "p.json")
    assert any(f"(uncertainty {ecg.uncertainty().item():.4g})" in line for line in lines)


def test_figures_show_the_map_and_its_numbers_lie_beside(loaded, folder, tmp_path, capsys) -> None:
    out, record = tmp_path / "figures", folder / "records" / "high"
    options = ("--teacher", folder / "teacher", "--figure", out, "--map-hop", 0.5)
    assert predict(capsys, record, *options)[0] == 0
    assert (out / "high.png").read_bytes()[:4] == b"\x89PNG"
    with np.load(out / "high.npz") as kept:
        values, leads = kept["map"], kept["leads"].tolist()
        assert str(kept["method"]) == "lead" and leads == list(LEADS) and values.shape == (12, 3000)
    assert values[1].max() > 0 and not values[[0, *range(2, 12)]].any()  # of lead II alone
    assert predict(capsys, record, *options[:2], "--figure", tmp_path / "plain", "--map", "none")[0] == 0
    assert [path.name for path in (tmp_path / "plain").glob("*")] == ["high.png"]
    with pytest.raises(DataError, match="cannot say what its parts add"):
        predict(capsys, record, *options, "--map", "tokens")


def test_points_have_neither_interval_nor_map(folder, tmp_path, capsys) -> None:
    write_tokenizer_folder(tmp_path / "tokenizer")
    write_checkpoint(tmp_path / "cmelt.pt", tmp_path / "tokenizer")
    record, out = folder / "records" / "low", tmp_path / "figures"
    arguments = ["--checkpoint", tmp_path / "cmelt.pt", "--value-texts", "lvef", "--format", "jsonl", "--figure", out, record]
    assert main([str(argument) for argument in arguments]) == 0
    line = json.loads(capsys.readouterr().out)
    assert 0 <= line["value"] <= 100 and not {"interval", "uncertainty"} & set(line)
    assert [path.name for path in out.glob("*")] == ["low.png"]


def test_a_fine_tuned_regression_needs_no_texts(folder, tmp_path, monkeypatch, capsys) -> None:
    class Regression:
        measurement, is_classifier, leads, source = "lvef", True, LEADS, "r.pt"
        prepare = planted().prepare

        def estimate_prepared(self, prepared, batch_size):
            return torch.arange(len(prepared.ecg)) + 41.25

    monkeypatch.setattr(pretrained_module, "load_pretrained", lambda *arguments: Regression())
    records = sorted(str(path.with_suffix("")) for path in (folder / "records").glob("*.hea"))
    _, lines, _ = predict(capsys, *records, "--format", "jsonl", "--figure", tmp_path / "figures")
    assert [json.loads(line)["value"] for line in lines] == [41.25, 42.25]
    assert len(list((tmp_path / "figures").glob("*.png"))) == 2 and not list((tmp_path / "figures").glob("*.npz"))
    with pytest.raises(DataError, match="estimates lvef by itself"):
        predict(capsys, records[0], "--value-texts", "lvef")
    with pytest.raises(DataError, match="classes and values are asked for apart"):
        predict(capsys, records[0], "--prompts", "cpsc2018")
