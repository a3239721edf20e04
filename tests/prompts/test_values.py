"""Texts that name values."""

import json

import pytest

from cmelt_plugin.data.text.reports import normalise_report
from cmelt_plugin.errors import DataError
from cmelt_plugin.prompts.values import FOLDER, MEASUREMENTS, load_value_texts


def test_every_measurement_has_a_file() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.json")) == sorted(MEASUREMENTS)
    for name in MEASUREMENTS:
        texts = load_value_texts(name)
        assert texts.name == name and texts.unit and len(set(texts.texts)) == len(texts.texts) == len(texts.values)
        assert all(normalise_report(text) == text for text in texts.texts)


def test_each_text_says_its_value(tmp_path) -> None:
    path = tmp_path / "strain.json"
    fields = {"unit": "%", "first": -1, "last": 0.5, "step": 0.5, "texts": ["strain {value}", "gls {value} percent"]}
    path.write_text(json.dumps(fields))
    texts = load_value_texts(path)
    assert texts.texts == [
        *("strain -1", "strain -0.5", "strain 0", "strain 0.5"),
        *("gls -1 percent", "gls -0.5 percent", "gls 0 percent", "gls 0.5 percent"),
    ]
    assert texts.values == [-1, -0.5, 0, 0.5] * 2 and texts.name == "strain"


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"texts": ["no place"]}, "hold {value}"),
        ({"texts": []}, "hold {value}"),
        ({"step": 0}, "at least one value"),
        ({"last": -2}, "at least one value"),
        ({"step": 1e-9}, "at most 10,000"),
        ({"first": "0"}, '"first" must be a number'),
        ({"last": True}, '"last" must be a number'),
    ],
)
def test_a_malformed_file_is_named(tmp_path, changes, message) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"first": 0, "last": 1, "step": 1, "texts": ["{value}"], **changes}))
    with pytest.raises(DataError, match=message) as caught:
        load_value_texts(path)
    assert str(path) in str(caught.value)
