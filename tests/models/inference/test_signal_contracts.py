"""The table of published models: opened by name, each with its own preprocessing, and refused where it does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import published_encoders
import pytest
import torch
from hosts import REPOSITORY
from pretrained_files import random_ecg
from safetensors.torch import save_file
from tiny_merl import release_weights

from cmelt_plugin import registry
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.files.released import LEAD_ORDERS, load_released
from cmelt_plugin.models.inference.signal_contracts import COLUMNS, is_published, open_published, published_models, table_rows
from cmelt_plugin.tables import markdown

ECGS = np.stack([random_ecg(seed=seed) for seed in range(2)])


@pytest.fixture
def merl(tmp_path: Path) -> Path:
    folder = tmp_path / "merl"
    folder.mkdir()
    save_file({name: tensor.contiguous() for name, tensor in release_weights("resnet18").items()}, folder / "w.safetensors")
    (folder / "config.json").write_text(json.dumps({"text_heads": 4}), encoding="utf-8")
    return folder


def test_rows_name_what_there_is() -> None:
    for name, row in published_models().items():
        model = registry.models()[row.system]
        assert (model.released is not None) and row.lead_order in LEAD_ORDERS and row.source and row.licence, name
        assert row.pool in model.model_class().pools and is_published(name) == bool(row.weights)
    assert {row.system for row in published_models().values()} == {
        name for name, model in registry.models().items() if model.released is not None
    }


def test_the_page_prints_the_table() -> None:
    page = (REPOSITORY / "docs" / "deployment.md").read_text(encoding="utf-8")
    assert markdown(COLUMNS, table_rows(), numeric=False).strip() in page


def test_a_name_brings_its_own_order_of_leads_and_normalisation(merl: Path) -> None:
    opened = open_published("merl", merl)
    assert opened.model.signal.normalisation == "min_max"
    expected = load_released(merl, "mimic-iv-ecg").model
    with torch.inference_mode():
        torch.testing.assert_close(opened.ecg_features(ECGS), expected.ecg_features(torch.from_numpy(ECGS).float()))


def test_what_violates_a_contract_is_refused(merl: Path, tmp_path: Path) -> None:
    opened = open_published("merl", merl)
    for arguments, message in (
        ((ECGS[:, :11],), "the signal is"),
        ((ECGS[:, :11], 500, ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5")), "missing V6"),
        ((ECGS, 20), "sample rate 20 Hz"),
        ((ECGS * 1000,), "they cannot be millivolts"),
        ((ECGS[..., :300],), "at least 1 s"),
    ):
        with pytest.raises(DataError, match=message):
            opened.ecg_features(*arguments)
    torch.save({"model": published_encoders.weights(published_encoders.fairseq_wav2vec())}, tmp_path / "fm.pt")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pt")
    for name, weights, message in (
        ("nothing", None, "no published model is called 'nothing'; known are synthetic, dbeta"),
        ("synthetic", merl, "comes with this package; leave weights out"),
        ("ecg-fm", None, "ecg-fm: give its weights, weights=FILE; its authors offer them at https"),
        ("merl", tmp_path / "fm.pt", "not weights of MERL, but of ecg-fm"),
        ("merl", tmp_path / "missing.pt", "missing.pt: no such file or folder; the authors of MERL offer it at https"),
        ("merl", tmp_path / "other.pt", "not weights as the authors of MERL published them"),
    ):
        with pytest.raises(DataError, match=message):
            open_published(name, weights)
    assert open_published("ecg-fm", tmp_path / "fm.pt").ecg_features(ECGS).shape == (2, 64)
