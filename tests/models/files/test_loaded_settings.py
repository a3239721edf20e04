"""What files say about a model's task is checked before anything relies on it."""

from __future__ import annotations

import pytest
import torch
from pretrained_files import write_classifier

from cmelt_plugin.errors import DataError
from cmelt_plugin.models.files.loaded_settings import check_settings
from cmelt_plugin.models.inference.pretrained import load_pretrained

MODEL = {"_name": "cmelt_classifier", "num_classes": 2, "class_names": ["A", "B"]}


def cfg(task=None, **model):
    return {"model": {**MODEL, **model}, "task": {"_name": "cmelt_classification", **(task or {})}}


ONE = cfg(num_classes=1, class_names=["lvef"])


def test_what_is_right_comes_back() -> None:
    state = {"thresholds": [0.5, float("nan")], "tokenizer_fingerprint": None, "cinc_weights": {"classes": []}}
    values = cfg({"leads": ["I", "ii"], "problem": "multi_label", "max_text_tokens": 256, "other": object})
    assert check_settings(values, state, "x.pt") == (values, state)
    assert check_settings({"model": MODEL, "task": None}, None, "x.pt") == ({"model": MODEL, "task": {}}, {})
    people = {"_name": "cmelt_classifier", "num_classes": 40, "class_names": ["sha256:people"]}
    assert check_settings({"model": people}, {}, "x.pt")[0]["task"] == {}


@pytest.mark.parametrize(
    ("values", "state", "message"),
    [
        (None, {}, "no model configuration"),
        ([1], {}, "no model configuration"),
        ({"model": [1]}, {}, "no model configuration"),
        ({"model": MODEL, "task": [1]}, {}, "cfg.task is no table"),
        ({"model": MODEL, "task": {1: 2}}, {}, "cfg.task is no table"),
        (cfg(), [1], "task_state is no table"),
        (cfg(), {3: 1}, "task_state is no table"),
        (cfg({"leads": "I"}), {}, "task.leads"),
        (cfg({"leads": 3}), {}, "task.leads"),
        (cfg({"leads": ["I", 2]}), {}, "task.leads"),
        (cfg({"leads": ["I", "X"]}), {}, "task.leads: unknown lead X"),
        (cfg({"problem": "both"}), {}, "task.problem"),
        (cfg({"max_text_tokens": 0}), {}, "task.max_text_tokens"),
        (cfg({"max_text_tokens": "256"}), {}, "task.max_text_tokens"),
        (cfg({"max_text_tokens": 10**9}), {}, "task.max_text_tokens"),
        (cfg({"_name": ["x"]}), {}, "task._name"),
        (cfg(), {"tokenizer_fingerprint": 3}, "tokenizer_fingerprint"),
        (cfg(), {"thresholds": 0.5}, "thresholds"),
        (cfg(), {"thresholds": ["0.5", 0.5]}, "thresholds"),
        (cfg(), {"thresholds": [0.5, float("inf")]}, "thresholds"),
        (cfg(), {"thresholds": [0.5, 1.5]}, "thresholds"),
        (cfg(), {"thresholds": [0.5]}, "one for each of 2 classes"),
        (cfg(class_names=[]), {}, "model.class_names"),
        (cfg(class_names=["A", "B", "C"]), {}, "model.class_names"),
        (cfg(class_names=["A", "A"]), {}, "named twice"),
        (cfg(class_names=["A", 3]), {}, "model.class_names"),
        (cfg(num_classes=0), {}, "model.num_classes"),
        (cfg(), {"target_mean": 50.0, "target_deviation": 9.0}, "model.num_classes .of a regression"),
        (ONE, {"target_mean": 50.0}, "target_deviation"),
        (ONE, {"target_mean": "50", "target_deviation": 9.0}, "target_mean"),
        (ONE, {"target_mean": 50.0, "target_deviation": 0.0}, "target_deviation"),
        (ONE, {"target_mean": float("nan"), "target_deviation": 9.0}, "target_mean"),
    ],
)
def test_what_is_not_is_refused(values, state, message) -> None:
    with pytest.raises(DataError, match=f"x.pt: .*{message}") as caught:
        check_settings(values, state, "x.pt")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", ["cfg", "task", "task_state", "thresholds", "model"])
@pytest.mark.parametrize("value", [None, [], {}, 3, "x", {3: 4}, [None, "x"], torch.zeros(2)])
def test_no_entry_of_a_checkpoint_of_odd_shape_ends_in_a_traceback(place, value, tmp_path) -> None:
    write_classifier(tmp_path / "c.pt", ["A", "B"], thresholds=[0.5, 0.5])
    state = torch.load(tmp_path / "c.pt", weights_only=True)
    where = {"task": state["cfg"], "thresholds": state["task_state"]}.get(place, state)
    where[place] = value
    torch.save(state, tmp_path / "c.pt")
    try:
        loaded = load_pretrained(tmp_path / "c.pt")
    except DataError as error:
        assert str(tmp_path / "c.pt") in str(error) and "\n" not in str(error)
    else:
        assert place in ("task", "task_state", "thresholds") and not value  # empty is not odd
        assert loaded.class_names == ["A", "B"] and len(loaded.leads) == 12
        assert loaded.thresholds == ({"A": 0.5, "B": 0.5} if place == "task" else {})
