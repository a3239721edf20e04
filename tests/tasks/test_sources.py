"""The task ``ecg_echo_pretraining``: what it refuses, what it measures, and what the best checkpoint is chosen by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from omegaconf import OmegaConf
from tiny_echo import DIM, add_echo, write_echo_manifest

from cmelt_plugin import host, register, registry
from cmelt_plugin.data.batches.ecg import ECGDataset
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.teacher import open_teacher
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.metrics.retrieval import pair_recalls
from cmelt_plugin.models.base import Embedding
from cmelt_plugin.models.echoing.criterion import PCMEPPCriterion, PCMEPPCriterionConfig
from cmelt_plugin.models.echoing.front_end import lead_statistics
from cmelt_plugin.tasks.sources import SourcesConfig, SourcesTask
from tests.systems.cases import CASES, hosted_model, values_of


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    return write_echo_manifest(tmp_path_factory.mktemp("m") / "m", 24, labels=True, short_row=5)


def task(directory: Path, system: str = "echoing_ecg", model: Any = None, **options: Any) -> SourcesTask:
    the_task = SourcesTask(SourcesConfig(data=str(directory), teacher=str(directory / "teacher"), seed=1, **options))
    the_task.use(registry.systems()[system], hosted_model(CASES["echoing"]) if model is None else model)
    the_task.state.merge_state_dict({"tokenizer_fingerprint": None})  # shared by all tasks of a process
    return the_task


def validate(the_task: SourcesTask, model: Any, batch_size: int) -> dict[str, float]:
    """Every batch of ``valid`` through valid_step and reduce_metrics, averaged at the end, as the hosts do."""
    criterion = PCMEPPCriterion(PCMEPPCriterionConfig(), the_task).eval()
    iterator = the_task.get_batch_iterator(the_task.dataset("valid"), max_sentences=batch_size)
    with host.metrics.aggregate(new_root=True) as aggregate:
        for batch in iterator.next_epoch_itr(shuffle=False):
            _, _, log = the_task.valid_step(batch, model, criterion)
            the_task.reduce_metrics([log], criterion)
    return dict(aggregate.get_smoothed_values())


def test_settings_of_the_task_reach_its_records(directory) -> None:
    settings = {"mix": "released", "echo_upsample": 3, "standardise_probability": 0.5, "max_text_tokens": 7}
    the_task = task(directory, **settings)
    the_task.load_dataset("train", combine=True)
    data = the_task.dataset("train")
    assert data.options.train and {name: getattr(data.options, name) for name in settings} == settings
    batch = data.collater(np.flatnonzero(data.sources == 1)[:12], digital=True)
    ecg = the_task.prepared(batch)["net_input"]["ecg"]
    assert 0 < batch["standardised"].sum() < 12
    assert ((ecg.std(dim=-1) - 1).abs().amax(dim=1) < 0.01).tolist() == batch["standardised"].tolist()


def test_a_pass_finds_echocardiograms_by_ecgs_and_reports_by_ecgs(directory) -> None:
    model = hosted_model(CASES["echoing"]).eval()
    the_task = task(directory, model=model)
    the_task.load_dataset("valid")
    small, large = validate(the_task, model, 5), validate(the_task, model, 24)
    data, teacher = the_task.dataset("valid"), open_teacher(directory / "teacher")
    with torch.no_grad():
        batches = [data.collater(rows) for rows in (list(range(8)), list(range(8, 24)))]
        ecg = [model.embed_ecg(batch["net_input"]["ecg"], batch["net_input"]["n_samples"]) for batch in batches]
        text = model.embed_text(batches[0]["report_text"], batches[0]["report_padding_mask"])
    rows = batches[1]["teacher_row"]
    echo = Embedding(*(torch.from_numpy(part[rows.numpy()]) for part in (teacher.mean, teacher.log_variance)))
    expected = {
        **pair_recalls(model, ecg[0], text, batches[0]["report_id"]),
        **pair_recalls(model, ecg[1], echo, rows, other="echo"),
    }
    assert len(expected) == 12
    for name, value in expected.items():
        assert small[name] == pytest.approx(value, abs=1e-4) and large[name] == pytest.approx(value, abs=1e-4), name
    assert small["records"] == 24 and 0 <= small["macro_auc"] <= 1 and small["macro_auc"] == pytest.approx(large["macro_auc"])
    for metrics in (small, large):
        lacking = 1 - metrics["ecg_to_echo_r5"]
        assert metrics["selection"] == pytest.approx(metrics["loss_ecg_text"] + metrics["loss_ecg_echo"] + lacking, abs=1e-3)


def test_the_training_order_belongs_to_seed_and_epoch_and_is_the_same_after_a_resume(directory) -> None:
    def order(epoch: int) -> list[list[int]]:
        the_task = task(directory)
        the_task.load_dataset("train", combine=True)
        data = the_task.dataset("train")
        iterator = the_task.get_batch_iterator(data, max_sentences=4, seed=1, epoch=epoch)
        return [batch["id"].tolist() for batch in iterator.next_epoch_itr(shuffle=True)]

    first, again, second = order(1), order(1), order(2)
    assert first == again != second
    assert all(len({row >= 8 for row in rows}) == 1 for rows in first + second)


def test_a_subject_of_both_sources_in_two_splits_is_refused(directory, tmp_path) -> None:
    other = write_echo_manifest(tmp_path / "m", 12)
    path = other / "valid.meta.parquet"
    table = pq.read_table(path)
    names = table["subject_id"].to_pylist()
    names[11] = "train-subject0"
    pq.write_table(table.set_column(table.column_names.index("subject_id"), "subject_id", [names]), path)
    the_task = task(other)
    the_task.load_dataset("valid")
    with pytest.raises(DataError, match="1 subjects of train are in valid, too"):
        the_task.load_dataset("train", combine=True)


def test_records_with_echocardiograms_alone_need_no_reports(tmp_path) -> None:
    directory = write_echo_manifest(tmp_path / "m", 12, reports=False)
    for split in ("train", "valid"):
        add_echo(directory, split, range(12))
    the_task = task(directory)
    the_task.load_dataset("train", combine=True)
    the_task.load_dataset("valid")
    assert len(the_task.dataset("train").batches(4)) == 3
    metrics = validate(the_task, hosted_model(CASES["echoing"]), 12)
    assert "ecg_to_echo_r5" in metrics and "ecg_to_text_r5" not in metrics and "loss_ecg_text" not in metrics


def test_leads_are_measured_on_the_training_set_before_the_model_is_built(directory) -> None:
    register()
    the_task = SourcesTask(SourcesConfig(data=str(directory), seed=1))
    model_class = host.model_class(type("Named", (), {"_name": "echoing_ecg"}))
    cfg = OmegaConf.structured(host.model_config_class(model_class)(**values_of(CASES["echoing"])))
    cfg._name = "echoing_ecg"
    model = the_task.build_model(OmegaConf.create({"model": cfg}).model)
    recordings = ECGDataset(Manifest.open(directory, "train"))
    assert model.cfg.lead_statistics == lead_statistics([recordings.read_ecg(np.arange(24))])
    assert model.ecg_tower.front_end.statistics is not None


@pytest.mark.parametrize(
    "options, message",
    [
        ({"mix": "even"}, "task.mix must be one of proportional, released, not 'even'"),
        ({"echo_upsample": 0}, "task.echo_upsample=0: must be at least 1"),
        ({"group_by_length": True}, "task.group_by_length=true: not with ecg_echo_pretraining"),
    ],
)
def test_settings_it_cannot_have_are_refused(directory, options, message: str) -> None:
    with pytest.raises(DataError, match=message):
        task(directory, **options)


def test_a_system_without_echocardiograms_is_refused(directory) -> None:
    with pytest.raises(DataError, match="trains model._name = echoing_ecg, not merl, .*use task._name=cmelt_pretraining"):
        task(directory, "merl", hosted_model(CASES["merl-vit"]))


def test_the_teachers_gaussians_reach_the_model_unrounded(directory) -> None:
    the_task = task(directory)
    the_task.load_dataset("valid")
    sent = the_task.collate_function(the_task.dataset("valid"))([10, 11])
    assert sent["net_input"]["teacher_mean"].dtype == torch.int32
    prepared = the_task.prepared(sent)["net_input"]
    assert prepared["teacher_mean"].shape == (2, DIM) and prepared["ecg"].dtype == torch.float32
    torch.testing.assert_close(prepared["teacher_mean"].norm(dim=1), torch.ones(2))
