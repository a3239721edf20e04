"""A training step of MELP never makes the CPU wait for a GPU, but once in a window of batches, to look for a collapse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import write_manifest

from benchmarks.harness.waits import WaitCounter
from cmelt_plugin.losses import sentence_columns
from cmelt_plugin.models.melp.criterion import MELPCriterion, MELPCriterionConfig
from tests.systems.cases import CASES, hosted_model, split_of


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> dict[str, Any]:
    """A batch with a padded record."""
    directory: Path = write_manifest(tmp_path_factory.mktemp("m") / "m", 12, short_row=2, splits=("train",))
    return split_of(CASES["melp"], directory, hosted_model(CASES["melp"])).collater([0, 1, 2, 3])


@pytest.mark.parametrize("options", [{}, {"local": "gloria", "duplicates": "positive"}])
def test_nothing_is_read_back(sample, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentence_columns, "PACKING_DEVICES", ())  # as on a GPU
    model = hosted_model(CASES["melp"]).train()
    criterion = MELPCriterion(MELPCriterionConfig(**options), None).train()
    with WaitCounter() as counter:
        loss, _, log = criterion(model, sample)
        loss.backward()
    assert dict(counter.names) == {}
    assert all(torch.is_tensor(value) for name, value in log.items() if name.startswith("loss") or "/" in name)
