"""Zero-shot scores by a teacher's texts, and by texts on the absence of a class."""

import json

import numpy as np
import pytest
import torch
from planted_values import directions, planted, write_planted, write_planted_teacher
from sklearn.metrics import balanced_accuracy_score

from cmelt_plugin.data.teacher import TeacherPrompts
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding.teacher_items import Centring, cosines
from cmelt_plugin.evaluation.metrics.thresholds import choose_thresholds
from cmelt_plugin.evaluation.result_files import read_result
from cmelt_plugin.evaluation.zero_shot.__main__ import main
from cmelt_plugin.evaluation.zero_shot.class_texts import choose_class_texts
from cmelt_plugin.evaluation.zero_shot.teacher_texts import teacher_classes
from cmelt_plugin.models.base import Embedding
from cmelt_plugin.models.inference import pretrained as pretrained_module
from cmelt_plugin.prompts import absence_texts, class_names, load_prompts

TEST = np.array([10.0, 25, 33, 38, 41, 48, 55, 60, 66, 70])
VALID = np.array([20.0, 36, 44, 52, 64, np.nan])
NAME = "LVEF<40"


def prompts(values, groups):
    return TeacherPrompts(directions(np.nan_to_num(values)).numpy(), np.array(values), np.array(groups), np.array(groups))


@pytest.fixture
def directory(tmp_path, monkeypatch):
    loaded = planted(lambda text: [round(float(text.split()[-1]))])
    monkeypatch.setattr(pretrained_module, "load_pretrained", lambda *arguments: loaded)
    return write_planted(tmp_path / "m", {"test": TEST, "valid": VALID})


def texts(path, absent=("value 60",)):
    entry = {"name": "low", "descriptions": ["value 20", "value 40"], **({"absent": list(absent)} if absent else {})}
    path.write_text(json.dumps({"classes": {NAME: entry}}), encoding="utf-8")
    return path


def run(directory, out, *options):
    arguments = ["--checkpoint", "x", "--manifest", directory, "--results", out, "--bootstrap", 30, *options]
    assert main([str(argument) for argument in arguments]) == 0
    return out


def test_texts_on_absence_are_set_against_the_others(directory, tmp_path) -> None:
    stored = read_result(run(directory, tmp_path / "out", "--prompts", texts(tmp_path / "p.json")) / "m")
    own = torch.nn.functional.normalize(directions([20, 40]).mean(0), dim=0)
    expected = directions(TEST) @ (own - directions([60])[0])
    assert stored.scores().scores[:, 0] == pytest.approx(expected.numpy(), abs=1e-3)  # steps of a microvolt
    assert stored.result.metrics["macro_auc"] == 1 and stored.result.settings["classes_with_texts_of_absence"] == 1
    assert any("on their absence" in note for note in stored.result.notes)
    written = json.loads((tmp_path / "out" / "m" / "class_texts.json").read_text(encoding="utf-8"))
    assert written["absent"] == {NAME: ["value 60"]}
    plain = read_result(run(directory, tmp_path / "plain", "--prompts", texts(tmp_path / "q.json", ())) / "m")
    assert plain.scores().scores[:, 0] == pytest.approx((directions(TEST) @ own).numpy(), abs=1e-3)
    assert plain.result.metrics["macro_auc"] < 1  # 10 is as far from its texts as 50
    assert "classes_with_texts_of_absence" not in plain.result.settings


def test_a_copy_of_our_texts_takes_those_on_absence_from_us(tmp_path) -> None:
    names = class_names("lvef")
    (tmp_path / "labels.json").write_text(json.dumps({"label_set": "lvef", "names": names}), encoding="utf-8")
    assert choose_class_texts(tmp_path, names).absent == absence_texts("lvef") != {}
    own = {name: [f"my {name}"] for name in names}
    (tmp_path / "prompts.json").write_text(json.dumps(own), encoding="utf-8")
    assert choose_class_texts(tmp_path, names).absent == {}  # these are the user's
    assert choose_class_texts(tmp_path, names, "name").absent == absence_texts("lvef")
    assert choose_class_texts(tmp_path, names, None, "lvef").texts == load_prompts("lvef")


def test_thresholds_may_be_those_of_balanced_accuracy(directory, tmp_path) -> None:
    options = ("--prompts", texts(tmp_path / "p.json", ()), "--threshold-rule", "balanced_accuracy")
    stored = read_result(run(directory, tmp_path / "out", *options) / "m")
    own = torch.nn.functional.normalize(directions([20, 40]).mean(0), dim=0)
    valid = (directions(np.nan_to_num(VALID, nan=50)) @ own).double().numpy()[:, None]
    labels = np.where(np.isnan(VALID), np.nan, VALID < 40)[:, None]
    (threshold,) = choose_thresholds(labels, valid, "balanced_accuracy")
    assert stored.result.per_class[NAME]["threshold"] == pytest.approx(threshold, abs=1e-3)
    expected = balanced_accuracy_score(TEST < 40, stored.scores().scores[:, 0] >= threshold)
    assert stored.result.metrics["balanced_accuracy"] == pytest.approx(expected)
    low, high = stored.result.intervals["balanced_accuracy"]
    assert low <= expected <= high
    assert "| balanced accuracy |" in (tmp_path / "out" / "zero_shot.md").read_text(encoding="utf-8")


def test_values_of_a_teacher_s_texts_decide_their_side(directory, tmp_path, capsys) -> None:
    teacher = write_planted_teacher(tmp_path / "teacher", [10, 60])
    out = run(directory, tmp_path / "out", "--prompts", texts(tmp_path / "p.json"), "--teacher", teacher, "--score", "cosine")
    assert sorted(path.name for path in out.glob("*") if path.is_dir()) == ["m", "m-teacher", "m-teacher-centred"]
    stored = {name: read_result(out / name) for name in ("m-teacher", "m-teacher-centred")}
    values = directions(np.tile(np.arange(101.0), 2))
    expected = directions(TEST) @ (directions(np.arange(40.0)).mean(0) - directions(np.arange(40.0, 101)).mean(0))
    assert stored["m-teacher"].scores().scores[:, 0] == pytest.approx(expected.numpy(), abs=2e-3)
    ecg, text = directions(np.nan_to_num(VALID, nan=50)).mean(0), values.mean(0)
    centred = torch.nn.functional.normalize(directions(TEST) - ecg, dim=1)
    centred = centred @ torch.nn.functional.normalize(values - text, dim=1).T
    below = np.tile(np.arange(101), 2) < 40
    expected = centred.numpy()[:, below].mean(1) - centred.numpy()[:, ~below].mean(1)
    assert stored["m-teacher-centred"].scores().scores[:, 0] == pytest.approx(expected, abs=0.05)
    assert all(one.result.metrics["macro_auc"] == 1 for one in stored.values())
    result = stored["m-teacher"].result
    assert (result.settings["prompt_kind"], result.settings["score"]) == ("teacher", "cosine")
    assert result.settings["prompts"] == str(teacher) and "macro_f1" in result.metrics
    printed = capsys.readouterr().out
    assert "| m (description) | " in printed and "| m (teacher) | " in printed and "| m (teacher, centred) | " in printed

    named = write_planted(tmp_path / "other", {"test": TEST})
    (named / "labels.json").write_text(json.dumps({"label_set": "", "names": ["AFIB"]}), encoding="utf-8")
    (named / "prompts.json").write_text(json.dumps({"AFIB": ["value 5"]}), encoding="utf-8")
    with pytest.raises(DataError, match="has no texts on a class of these sets; groups of its texts: lvef"):
        run(named, tmp_path / "none", "--teacher", teacher)


def test_groups_of_a_teacher_bear_the_names_of_classes() -> None:
    own = prompts([np.nan, np.nan, np.nan, 30, 60, 40], ["AFIB", "AFIB/absent", "MI", "lvef", "LVEF", "pasp"])
    taught = teacher_classes(own, ["SR", "MI", "lvef_lte_30_flag", "AFIB", "LVEF ≥ 45", "pasp_gt_40", "pasp_gte_40.0"])
    assert taught.names == ["MI", "lvef_lte_30_flag", "AFIB", "LVEF ≥ 45", "pasp_gte_40.0"]
    assert [np.flatnonzero(row).tolist() for row in taught.present] == [[2], [3], [0], [4], [5]]
    assert [np.flatnonzero(row).tolist() for row in taught.absent] == [[], [4], [1], [3], []]
    ecg = Embedding(directions([10.0, 80]))
    cosine = cosines(ecg.mean, torch.from_numpy(own.emb)).numpy()
    expected = [
        cosine[:, 2],
        cosine[:, 3] - cosine[:, 4],
        cosine[:, 0] - cosine[:, 1],
        cosine[:, 4] - cosine[:, 3],
        cosine[:, 5],
    ]
    assert taught.scores(ecg) == pytest.approx(np.stack(expected, axis=1), abs=1e-6)
    assert teacher_classes(own, ["SR"]).scores(ecg).shape == (2, 0)


def test_centring_takes_both_means_away() -> None:
    generator = torch.Generator().manual_seed(0)
    ecg, text = torch.randn(5, 8, generator=generator) + 3, torch.randn(4, 8, generator=generator) - 2
    centring = Centring.of(ecg, text)
    unit = [torch.nn.functional.normalize(part, dim=1) for part in (ecg, text)]
    assert centring.gap == pytest.approx((unit[0].mean(0) - unit[1].mean(0)).norm().item())
    a, b = (torch.nn.functional.normalize(part - part.mean(0), dim=1) for part in unit)
    assert torch.allclose(cosines(ecg, text, centring), a @ b.T, atol=1e-6)
    assert cosines(ecg, text).max() < 0 < cosines(ecg, text, centring).max()  # two cones apart
