"""From the store to the loss: int16 through the host, exact millivolts in the task, results as with millivolts throughout."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from finetune_runs import save_pretrained, write_labelled
from tiny import tiny_model, write_manifest

from cmelt_plugin import host, register
from cmelt_plugin.criterions.classification import ClassificationCriterion, ClassificationCriterionConfig
from cmelt_plugin.criterions.composite import CompositeCriterion
from cmelt_plugin.criterions.config import CriterionConfig
from cmelt_plugin.criterions.identification import IdentificationCriterion, IdentificationCriterionConfig
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.tasks.base import ECGTask
from tests.tasks import test_classification, test_identification, test_pretraining

register()
TASKS = ("pretraining", "classification", "identification")


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("batches")
    return {
        "pairs": write_manifest(root / "pairs", n_records=12, labels=True, short_row=5),
        "labelled": write_labelled(root / "labelled", {"train": 12, "valid": 12, "test": 12}),
        "pretrained": save_pretrained(root / "checkpoint.pt"),
    }


def made(name: str, folders: dict[str, Any]) -> tuple[ECGTask, Any, Any]:
    """A task with its training and validation data, a model and the criterion."""
    torch.manual_seed(0)
    if name == "pretraining":
        task = test_pretraining.task(folders["pairs"])
        model, criterion = tiny_model(), CompositeCriterion(CriterionConfig(), task)
    elif name == "classification":
        task, model = test_classification.task(folders["labelled"], folders["pretrained"], lead_mask_probability=0.5)
        criterion = ClassificationCriterion(ClassificationCriterionConfig(), task)
    else:
        task = test_identification.task(folders["labelled"])
        model = task.build_model(test_classification.model_config(folders["pretrained"]))
        criterion = IdentificationCriterion(IdentificationCriterionConfig(), task)
    task.load_dataset("train", combine=True)
    task.load_dataset("valid")
    return task, model.eval(), criterion


def converted(sample: dict[str, Any], **precision: bool) -> dict[str, Any]:
    """What the host's trainer makes of a batch on its way to the task."""
    common = SimpleNamespace(**{"fp16": False, "bf16": False, **precision})
    trainer = SimpleNamespace(cfg=SimpleNamespace(common=common))
    return host.host_module("trainer").Trainer._fp_convert_sample(trainer, sample)


class Watched:
    """A criterion that notes the batches it is given."""

    def __init__(self, criterion: Any) -> None:
        self.criterion, self.samples = criterion, []

    def __call__(self, model: Any, sample: dict[str, Any]) -> Any:
        self.samples.append(sample)
        return self.criterion(model, sample)

    def judge(self, out: Any, sample: dict[str, Any]) -> Any:
        self.samples.append(sample)
        return self.criterion.judge(out, sample)


class Optimizer:
    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("subset", ["train", "valid"])
def test_batches_are_int16_and_losses_and_gradients_those_of_millivolts(folders, name: str, subset: str) -> None:
    task, model, criterion = made(name, folders)
    data = task.dataset(subset)
    criterion.train(subset == "train")
    [batch] = task.get_batch_iterator(data, max_sentences=12).next_epoch_itr(shuffle=False)
    assert batch["net_input"]["ecg"].dtype == torch.int16
    plain = data.collater(batch["id"].tolist())
    assert plain["net_input"]["ecg"].dtype == torch.float32
    results = []
    for sample in (converted(batch), plain):
        watched = Watched(criterion)
        model.zero_grad()
        torch.manual_seed(0)  # of dropout
        if subset == "train":
            loss, _, _ = task.train_step(sample, model, watched, Optimizer(), 0, ignore_grad=False)
        else:
            task.evaluation = task.new_evaluation(data, 1)
            loss, _, _ = task.valid_step(sample, model, watched)
        [seen] = watched.samples
        assert torch.equal(seen["net_input"]["ecg"], plain["net_input"]["ecg"])
        results.append((loss.detach(), [p.grad for p in model.parameters() if p.grad is not None]))
    (loss, gradients), (expected, expected_gradients) = results
    assert torch.isfinite(loss) and torch.equal(loss, expected)
    assert len(gradients) == len(expected_gradients) and (len(gradients) > 0) == (subset == "train")
    assert all(torch.equal(a, b) for a, b in zip(gradients, expected_gradients))


@pytest.mark.skipif(host.IS_SIGNALS, reason="fairseq-signals knows no bf16, and its fp16 rounds integers too")
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_of_the_host_leaves_the_signal_exact(folders, precision: str) -> None:
    """Only the encoder's input is rounded, to the precision of its weights; the target of MEM is the signal itself."""
    task, model, _ = made("pretraining", folders)
    data = task.dataset("train")
    [batch] = task.get_batch_iterator(data, max_sentences=12).next_epoch_itr(shuffle=False)
    rows = batch["id"].numpy()
    manifest = data.manifest
    exact = torch.from_numpy(RecordStore(manifest.store_root).read(manifest.shard[rows], manifest.row[rows]))
    seen = []

    def criterion(model: Any, sample: dict[str, Any]) -> Any:
        seen.append(sample["net_input"]["ecg"])
        return torch.zeros((), requires_grad=True), 12, {}

    task.train_step(converted(batch, **{precision: True}), model, criterion, Optimizer(), 0, ignore_grad=False)
    assert seen[0].dtype == torch.float32 and torch.equal(seen[0], exact)
    rounded = converted(data.collater(rows.tolist()), **{precision: True})["net_input"]["ecg"]
    assert not torch.equal(rounded.float(), exact)  # what the criterion got before


@pytest.mark.parametrize("name", TASKS)
def test_a_model_in_bf16_trains_on_exact_signals(folders, name: str) -> None:
    task, model, criterion = made(name, folders)
    [batch] = task.get_batch_iterator(task.dataset("train"), max_sentences=12).next_epoch_itr(shuffle=False)
    sample = batch if host.IS_SIGNALS else converted(batch, bf16=True)
    losses = []
    for dtype in (torch.float32, torch.bfloat16):
        model.to(dtype).zero_grad()
        torch.manual_seed(0)  # of dropout
        loss, size, _ = task.train_step(sample, model, criterion.train(), Optimizer(), 0, ignore_grad=False)
        losses.append(float(loss.detach()) / float(size))
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
