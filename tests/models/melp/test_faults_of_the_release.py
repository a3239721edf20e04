"""Faults of MELP's released code that ours does not have, and where the others are tested:

- D-M1 (evaluations that do not start) in ``tests/systems/test_every_system.py``; D-M2 in
  ``tests/modules/text/test_multimodal_decoder.py``;
- D-M3 in ``test_criterion.py`` and, with D-M15, in ``tests/examples/test_configurations.py`` (D-M15 also in
  ``tests/optim/test_adam.py``);
- D-M4 in ``tests/evaluation/linear_probe/test_train.py`` and ``tests/evaluation/metrics/test_multi_label.py``;
- D-M5 and D-M19 in ``test_inputs.py``; D-M6, D-M9, D-M13, D-M17, D-M21 and D-M22 in ``test_model.py``;
- D-M7 in ``tests/losses/test_beats.py``; D-M8 in ``test_criterion.py``;
- D-M12 in ``tests/evaluation/test_validation.py`` and ``tests/evaluation/metrics/test_classifier.py``;
- D-M14 and D-M16 in ``test_text_layout.py``; D-M18 (the MERL it compares with) in ``tests/models/merl/test_criterion.py``;
- D-M20 in ``tests/preprocess/test_code_test.py``.
"""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from tiny import write_manifest
from tiny_melp import tiny_melp

from cmelt_plugin.data.store.record_store import RecordStore
from tests.models.melp.stub import criterion
from tests.models.melp.test_inputs import split_of, write_sentences
from tests.models.melp.test_losses_alone import sample


def test_a_loss_that_is_no_number_is_left_to_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """D-M10: the release waits at a debugger's prompt, and looks for anomalies in every backward pass."""
    monkeypatch.setitem(sys.modules, "ipdb", None)
    monkeypatch.setitem(sys.modules, "pdb", None)

    def prompt(*_: Any, **__: Any) -> None:
        raise AssertionError("a debugger was called")

    monkeypatch.setattr(sys, "breakpointhook", prompt)
    batch = sample()
    batch["net_input"]["ecg"][1] = torch.nan
    model, looked = tiny_melp().train(), []
    model.register_forward_hook(lambda *_: looked.append(torch.is_anomaly_enabled()))
    loss = criterion()(model, batch)[0]
    loss.backward()
    assert loss.isnan() and looked == [False]


def test_raw_files_are_not_read_in_training(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """D-M11: the release reads every record anew with wfdb in every epoch, and one sample that is no number spoils it. Such
    records are left out when a directory is made (D-R7 in ``tests/models/merl/test_faults_of_the_release.py``)."""
    monkeypatch.setitem(sys.modules, "wfdb", None)
    directory = write_manifest(tmp_path / "m", n_records=12, n_reports=6)
    write_sentences(directory)
    split = split_of(directory, lead_mask_probability=0.0)
    found = split.collater([3, 0])["net_input"]["ecg"]
    manifest = split.manifest
    stored = RecordStore(manifest.store_root).read(manifest.shard[[3, 0]], manifest.row[[3, 0]])
    assert found.isfinite().all() and torch.equal(found, torch.from_numpy(stored))
