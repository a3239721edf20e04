"""Faults of MERL's released code that our commands do not have. Those of its model and weights are in the other files here:

D-R3, D-R6, D-R10, D-R11 in ``test_model.py``, D-R9 in ``test_inputs.py``, D-R12 in ``test_released.py``, and D-R4 with the
resumption of D-R9 in ``tests/systems/test_training_of_every_system.py``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from finetune_runs import CLASSES, write_labelled
from pretrained_files import write_tokenizer_folder

from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.data.text.reports import read_reports
from cmelt_plugin.evaluation.linear_probe.__main__ import main as linear_probe
from cmelt_plugin.evaluation.result_files import read_result
from cmelt_plugin.evaluation.shift import shift_classes
from cmelt_plugin.models.classifier.config import ClassifierConfig
from cmelt_plugin.models.classifier.model import Classifier
from cmelt_plugin.models.inference.linear_probe import load_probe
from cmelt_plugin.prompts import label_sets, load_prompts
from preprocess import mimic_iv_ecg
from tests.preprocess.mimic_layout import MIMIC_LEADS, make_ecg, write_mimic_layout
from tests.systems.cases import CASES, write_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("merl")
    write_tokenizer_folder(folder / "tokenizer")
    write_checkpoint(folder / "merl.pt", CASES["merl-resnet18"], folder / "tokenizer")
    return folder / "merl.pt"


def test_no_epoch_is_chosen_by_the_test_split(checkpoint, tmp_path) -> None:
    """D-R1: the release scores the test split after every epoch and prints the best; here other test labels change the metrics
    and nothing else."""
    kept = []
    for flip in (False, True):
        data = write_labelled(tmp_path / f"data{flip}", {"train": 32, "valid": 16, "test": 16})
        if flip:
            np.save(data / "test.labels.npy", 1 - np.load(data / "test.labels.npy"))
        arguments = ["--checkpoint", checkpoint, "--manifest", data, "--results", tmp_path / f"out{flip}", "--bootstrap", 0]
        arguments += ["--seeds", 1, "--epochs", 20, "--save-probe", tmp_path / f"{flip}.npz"]
        assert linear_probe([*map(str, arguments)]) == 0
        kept.append((load_probe(tmp_path / f"{flip}.npz")[0], read_result(tmp_path / f"out{flip}" / f"data{flip}-100pct")))
    (probe, one), (same, two) = kept
    assert np.array_equal(probe.weight, same.weight) and probe.epoch == same.epoch
    for name in CLASSES:
        assert one.result.per_class[name]["auc"] == pytest.approx(1 - two.result.per_class[name]["auc"])


@pytest.mark.parametrize("freeze", ["encoder", "none"])
def test_a_setting_freezes_the_encoder_not_the_name_of_a_run(freeze: str, checkpoint) -> None:
    """D-R2: the release freezes it only where the run's name holds the word "linear". D-R3: its batch statistics follow the
    downstream data all the same."""
    cfg = ClassifierConfig(pretrained=str(checkpoint), freeze=freeze, num_classes=2, class_names=["a", "b"])
    model = Classifier.build_model(cfg).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    ecg = torch.randn(4, 12, 1500, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD([parameter for parameter in model.parameters() if parameter.requires_grad], lr=0.1)
    model(ecg)["logits"].square().sum().backward()
    optimizer.step()
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    if freeze == "encoder":
        assert changed == {"head.weight", "head.bias"}
        assert all(parameter.grad is None for parameter in model.ecg_encoder.parameters())
    else:
        assert "ecg_encoder.encoder.conv1.weight" in changed and any("running_mean" in name for name in changed)


def test_data_sets_have_one_name_everywhere() -> None:
    """D-R5: the release's scripts ask for icbeb and chapman, its code for CPSC2018 and CSN."""
    assert {"cpsc2018", "csn"} <= set(label_sets())
    for source, target in (("cpsc2018", "csn"), ("csn", "cpsc2018")):
        assert load_prompts(source) and shift_classes(source, target)
    for name in ("cpsc2018", "csn"):
        commands = Path(mimic_iv_ecg.__file__).parent
        assert f'"{name}"' in (commands / f"{name}.py").read_text(encoding="utf-8")  # the label set it writes


def test_a_sample_without_a_value_costs_its_record_and_moves_no_report(tmp_path) -> None:
    """D-R7: the release looks for NaN among the first 12 samples alone, and then reads the report of another record."""
    records = [{"study_id": str(i), "report": f"Report number {i}"} for i in range(5)]
    broken = make_ecg(1)
    broken[7, 4000] = np.nan
    records[1]["ecg"] = broken
    write_mimic_layout(tmp_path / "r", records)
    assert mimic_iv_ecg.main(["--root", str(tmp_path / "r"), "--dest", str(tmp_path / "m"), "--jobs", "1"]
                             + ["--split", "1", "0", "0"]) == 0  # fmt: skip
    manifest, texts = Manifest.open(tmp_path / "m", "train"), read_reports(tmp_path / "m").texts.to_pylist()
    ids = manifest.meta(["record_id"])["record_id"].to_pylist()
    assert sorted(ids) == ["0", "2", "3", "4"]
    stored = RecordStore(manifest.store_root).read(manifest.shard, manifest.row)
    assert np.isfinite(stored).all()
    for row, record in enumerate(ids):
        assert texts[manifest.report_ids()[row]] == f"report number {record}"
        own = make_ecg(int(record))[MIMIC_LEADS.index("V1")]
        assert np.abs(stored[row, 6] - own).max() < 0.002


def test_no_subject_is_in_two_splits(tmp_path) -> None:
    """D-R8: the release splits by record, so that it validates on patients it has trained on."""
    records = [{"study_id": str(i), "subject_id": str(10000000 + i // 3)} for i in range(30)]
    write_mimic_layout(tmp_path / "r", records)
    arguments = ["--root", str(tmp_path / "r"), "--dest", str(tmp_path / "m"), "--jobs", "1", "--split", "0.6", "0.2", "0.2"]
    assert mimic_iv_ecg.main(arguments) == 0
    subjects = [
        set(Manifest.open(tmp_path / "m", split).meta(["subject_id"])["subject_id"].to_pylist())
        for split in ("train", "valid", "test")
    ]
    assert all(subjects) and len(set.union(*subjects)) == sum(map(len, subjects)) == 10
