import pytest

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.evaluation.report.descriptions import lead_set, row_name, settings_text
from cmelt_plugin.evaluation.report.own_rows import matches
from cmelt_plugin.evaluation.result_files import Result


def result(kind, **changes):
    values = {"model": "ours", "checkpoint": "c", "data_set": "d", "label_set": "", "split": "test"}
    return Result(**{"kind": kind, **values, "n_records": 880, "n_subjects": 800, **changes})


def test_settings_are_written_in_words_and_defaults_left_out():
    values = {"kind": "linear_probe", "model": "m", "checkpoint": "c", "data_set": "d", "label_set": "", "split": "test"}
    settings = {"fraction": 0.01, "subset": "melp", "seeds": 5, "seed": 0, "leads": ["I", "II"], "pool": "cls"}
    found = settings_text(Result(**values, n_records=1, n_subjects=1, settings=settings))
    assert found == "1 % of the training records; melp subset; 5 seeds; leads I, II"
    settings = {"fraction": 1.0, "subset": "merl", "leads": list(LEADS), "pool": "mean"}
    found = settings_text(Result(**values, n_records=1, n_subjects=1, settings=settings))
    assert found == "100 % of the training records; 12 leads; pool mean"


@pytest.mark.parametrize(
    "leads,expected",
    [(None, "12"), (["II", "I"], "2"), (["i", "ii", "v2"], "3"), ("6", "6"), (["V1"], ""), ("I", "1")],
)
def test_lead_sets_are_recognised_by_their_leads(leads, expected):
    found = result("finetune", settings={"leads": leads})
    assert lead_set(found) == expected
    assert matches(found, {"settings.lead_set": "2"}) is (expected == "2")


def test_names_say_what_sets_a_row_apart():
    assert row_name(result("linear_probe", settings={"subset": "melp"})) == "ours (melp subsets)"
    assert row_name(result("zero_shot", settings={"prompt_kind": "name"})) == "ours (class texts: name)"
    assert row_name(result("shift", settings={"fraction": 1.0})) == "ours (probe)"
    assert row_name(result("shift")) == "ours (zero-shot)"
    assert row_name(result("zero_shot", notes=["labels (exact): exact matches"])) == "ours (exact labels)"
    assert row_name(result("linear_probe", settings={"leads": ["I", "II"]})) == "ours (leads I II)"
    assert row_name(result("linear_probe", settings={"leads": ["I"], "pool": "mean"})) == "ours (leads I, mean pooling)"
    assert row_name(result("finetune", settings={"leads": ["I", "II"]})) == "ours"  # Table 1 has columns for them
    assert row_name(result("zero_shot")) == "ours"
