"""A training step of EchoingECG never makes the CPU wait for a GPU, with reports and with echocardiograms, padded or not."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_echo import DIM, write_echo_manifest

from benchmarks.harness.waits import WaitCounter
from cmelt_plugin.data.batches.sources import SourceOptions, SourcesDataset, read_sources
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.text.tokens import TokenTable
from cmelt_plugin.models.echoing.criterion import PCMEPPCriterion, PCMEPPCriterionConfig
from cmelt_plugin.models.echoing.inputs import EchoingInputOptions, EchoingInputs
from tests.systems.cases import CASES, hosted_model

STATISTICS = json.dumps([[0.0] * 12, [0.2] * 12])


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> list[dict[str, Any]]:
    """Reports with a padded record, reports, echocardiograms."""
    directory: Path = write_echo_manifest(tmp_path_factory.mktemp("m") / "m", 12, short_row=2, splits=("train",))
    manifest = Manifest.open(directory, "train")
    model = SimpleNamespace(cfg=SimpleNamespace(embed_dim=DIM))
    inputs = EchoingInputs(EchoingInputOptions(teacher=str(directory / "teacher")), model)
    tokens = TokenTable.load(directory / "reports.tiny.npz", directory / "reports.parquet")
    data = SourcesDataset(manifest, inputs, tokens, SourceOptions(), None, read_sources(manifest))
    return [data.collater(rows) for rows in ([0, 1, 2, 3], [0, 1, 3], [4, 5, 6, 8])]


@pytest.mark.parametrize("options", [{}, {"duplicates": "ignore", "chunk": 2}])
@pytest.mark.parametrize("matching", ["sampled", "info_nce"])
def test_nothing_is_read_back(samples, matching: str, options: dict[str, Any]) -> None:
    model = hosted_model(CASES["echoing"], matching=matching, lead_statistics=STATISTICS).train()
    criterion = PCMEPPCriterion(PCMEPPCriterionConfig(**options), None).train()
    for sample in samples:
        criterion(model, sample)  # what is computed once on the CPU
        with WaitCounter() as counter:
            loss, _, log = criterion(model, sample)
            loss.backward()
        assert dict(counter.names) == {}
        assert all(torch.is_tensor(value) for name, value in log.items() if name.startswith(("loss", "rows")) or "/" in name)
