"""Fine-tuning to estimate a measured value: the task, its checkpoints, and the commands that read them."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from finetune_runs import command, save_pretrained, write_labelled
from hosts import HOSTS, host_python, logged, run

from cmelt_plugin import export, host, register
from cmelt_plugin.criterions.regression import RegressionCriterion, RegressionCriterionConfig
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.prepared_ecg import PreparedECG
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.metrics.regression import regression_metrics
from cmelt_plugin.evaluation.regress.__main__ import main as regress
from cmelt_plugin.evaluation.result_files import read_result
from cmelt_plugin.losses.regression import huber_loss
from cmelt_plugin.models.inference.pretrained import load_pretrained
from cmelt_plugin.tasks.regression import RegressionConfig, RegressionTask
from tests.tasks.test_classification import model_config

register()


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A value that shows in the signal, unknown for some records; CLASSES stay as they were."""
    path = write_labelled(tmp_path_factory.mktemp("regression") / "m", {"train": 40, "valid": 16, "test": 20})
    for split in ("train", "valid", "test"):
        labels = np.load(path / f"{split}.labels.npy")
        values = 30 + 25 * labels[:, 0] + np.arange(len(labels)) % 5
        values[3::10] = np.nan
        meta = pq.read_table(path / f"{split}.meta.parquet")
        pq.write_table(meta.append_column("lvef", pa.array(values)), path / f"{split}.meta.parquet")
    return path


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    return save_pretrained(tmp_path_factory.mktemp("pretrained") / "checkpoint.pt")


def task(directory, pretrained, **changes):
    made = RegressionTask(RegressionConfig(data=str(directory), **{"seed": 1, "bootstrap": 20, **changes}))
    torch.manual_seed(0)
    model = made.build_model(model_config(pretrained))
    torch.nn.init.normal_(model.head.weight, std=0.3)
    return made, model


def values_of(directory, split):
    return Manifest.open(directory, split).meta(["lvef"])["lvef"].to_numpy()


def validate(the_task, model, subset):
    criterion = RegressionCriterion(RegressionCriterionConfig(), the_task).eval()
    iterator = the_task.get_batch_iterator(the_task.dataset(subset), max_sentences=7)
    with host.metrics.aggregate(new_root=True) as aggregate:
        for batch in iterator.next_epoch_itr(shuffle=False):
            _, _, log = the_task.valid_step(batch, model, criterion)
            the_task.reduce_metrics([log], criterion)
    return dict(aggregate.get_smoothed_values())


def test_the_loss_is_in_deviations_of_the_training_values(directory, pretrained) -> None:
    the_task, model = task(directory, pretrained)
    the_task.load_dataset("train", combine=True)
    known = values_of(directory, "train")
    known = known[~np.isnan(known)]
    assert the_task.target_scale() == pytest.approx((known.mean(), known.std())) and len(the_task.dataset("train")) == 36
    batch = the_task.prepared(the_task.dataset("train").collater([0, 1, 2, 3]))
    criterion = RegressionCriterion(RegressionCriterionConfig(delta=0.5), the_task).train()
    loss, rows, log = criterion(model.eval(), batch)
    target = (batch["labels"] - known.mean()) / known.std()
    expected = huber_loss(model(**batch["net_input"])["logits"], target, 0.5)
    assert rows == 3 and loss.item() == pytest.approx(expected.total.item(), rel=1e-5) and log["sample_size"] == 3
    with pytest.raises(DataError, match="criterion.delta=0"):
        RegressionCriterion(RegressionCriterionConfig(delta=0.0), the_task)


def test_validation_covers_the_subset_and_gives_intervals_of_others(directory, pretrained) -> None:
    the_task, model = task(directory, pretrained)
    for split in ("train", "valid", "test"):
        the_task.load_dataset(split, combine=split == "train")
    mean, deviation = the_task.target_scale()
    for split in ("valid", "test"):
        manifest = Manifest.open(directory, split)
        ecg = torch.from_numpy(RecordStore(manifest.store_root).read(manifest.shard, manifest.row))
        with torch.no_grad():
            outputs = model.eval()(ecg)["logits"][:, 0].double().numpy()
        target = values_of(directory, split)
        known = ~np.isnan(target)
        expected = regression_metrics(target[known], mean + deviation * outputs[known])
        values = validate(the_task, model, split)
        assert {name: values[name] for name in expected} == pytest.approx(expected, abs=1e-3)
        assert values["records"] == known.sum() and ("mae_low" in values) == (split == "test")


def test_columns_without_values_are_refused(directory, pretrained) -> None:
    for target, message in (
        ("age", "column age: no record has a value"),
        ("source_rate", "all values are 500"),
        ("ef", "no column ef"),
        ("sex", "not numbers"),
    ):
        the_task, _ = task(directory, pretrained, target=target)
        with pytest.raises(DataError, match=message):
            the_task.load_dataset("train", combine=True)
    the_task, _ = task(directory, pretrained)
    with pytest.raises(DataError, match="does not say the scale"):
        the_task.target_scale()


@pytest.fixture(scope="module", params=HOSTS)
def trained(request, directory, pretrained, tmp_path_factory):
    """The best checkpoint and what training printed."""
    host_python(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    fixed = [f"task.data={directory}", f"model.pretrained={pretrained}", f"checkpoint.save_dir={folder}"]
    fixed += ["dataset.batch_size=6", "optimization.max_epoch=6", "optimization.lr=[0.002]", "task.bootstrap=20"]
    output = run(command(request.param, "hydra_train", "lvef", fixed), request.param, folder)
    return folder / "checkpoint_best.pt", output


def test_a_host_trains_it_and_commands_read_it(trained, directory, tmp_path, capsys) -> None:
    checkpoint, output = trained
    valid = logged(output, "valid")
    known = values_of(directory, "valid")
    constant = np.nanmean(np.abs(known - np.nanmean(values_of(directory, "train"))))
    best = min(float(line["valid_mae"]) for line in valid)
    assert best < 0.8 * constant and max(float(line["valid_r2"]) for line in valid) > 0

    arguments = ["--checkpoint", checkpoint, "--manifest", directory, "--results", tmp_path / "out", "--bootstrap", 20]
    assert regress([str(argument) for argument in arguments]) == 0
    stored = read_result(tmp_path / "out" / "m")
    assert stored.result.n_records == 18 and list(stored.result.settings["estimators"]) == ["model", "train_mean"]
    arguments = [*arguments[:4], "--results", tmp_path / "valid", "--split", "valid", "--bootstrap", 0]
    assert regress([str(argument) for argument in arguments]) == 0
    assert read_result(tmp_path / "valid" / "m").result.metrics["mae"] == pytest.approx(best, abs=2e-3)

    # The same value of a single recording, from the checkpoint and from the exported folder.
    assert export.main(["--checkpoint", str(checkpoint), "--dest", str(tmp_path / "exported")]) == 0
    assert "Estimates lvef from a 12-lead ECG" in (tmp_path / "exported" / "README.md").read_text(encoding="utf-8")
    manifest = Manifest.open(directory, "test")
    ecg = torch.from_numpy(RecordStore(manifest.store_root).read(manifest.shard[:1], manifest.row[:1]))
    prepared = PreparedECG(ecg, torch.tensor([5000]), ())
    (value,) = stored.arrays("values.npz", ("value",), "")
    for path in (checkpoint, tmp_path / "exported"):
        model = load_pretrained(path)
        assert model.measurement == "lvef" and model.class_names == [] and model.is_classifier
        assert model.estimate_prepared(prepared).item() == pytest.approx(value[0], abs=1e-3)
        with pytest.raises(DataError, match=r"not a classifier; use estimate\(\)"):
            model.classify_prepared(prepared)
