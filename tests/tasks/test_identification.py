import numpy as np
import pytest
import torch
from finetune_runs import save_pretrained, write_labelled

from cmelt_plugin import host
from cmelt_plugin.criterions.identification import IdentificationCriterion, IdentificationCriterionConfig
from cmelt_plugin.data.directory.split_meta import META_SCHEMA
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.metrics.identification import identify
from cmelt_plugin.tasks.identification import (
    IdentificationConfig,
    IdentificationTask,
    distinct_subjects,
    subject_numbers,
    subjects_fingerprint,
)
from tests.tasks.test_classification import model_config


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return write_labelled(tmp_path_factory.mktemp("identification") / "m", {"train": 24, "valid": 12, "test": 12})


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    return save_pretrained(tmp_path_factory.mktemp("pretrained") / "checkpoint.pt")


def task(directory, **changes):
    return IdentificationTask(IdentificationConfig(data=str(directory), seed=1, **changes))


def rewrite_subjects(directory, split, subjects):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = directory / f"{split}.meta.parquet"
    table = pq.read_table(path)
    index = META_SCHEMA.names.index("subject_id")
    pq.write_table(table.set_column(index, "subject_id", pa.array(subjects, pa.string())), path)


def validate(the_task, model, subset, batch_size):
    criterion = IdentificationCriterion(IdentificationCriterionConfig(), the_task).eval()
    iterator = the_task.get_batch_iterator(the_task.dataset(subset), max_sentences=batch_size)
    with host.metrics.aggregate(new_root=True) as aggregate:
        for batch in iterator.next_epoch_itr(shuffle=False):
            _, _, log = the_task.valid_step(batch, model, criterion)
            the_task.reduce_metrics([log], criterion)
    return dict(aggregate.get_smoothed_values())


def test_one_output_per_subject_and_a_fingerprint_instead_of_ids(directory, pretrained):
    the_task, cfg = task(directory), model_config(pretrained)
    model = the_task.build_model(cfg)
    assert cfg.num_classes == 12 and model.head.out_features == 12
    assert len(cfg.class_names) == 1 and cfg.class_names[0].startswith("sha256:")
    the_task.load_dataset("train", combine=True)
    batch = the_task.dataset("train").collater([0, 1, 5])
    subjects = sorted({f"s{i}" for i in range(12)})
    assert batch["subject"].tolist() == [subjects.index(s) for s in ("s0", "s0", "s2")]


def test_evaluation_compares_the_second_record_with_the_first_of_all(directory, pretrained):
    the_task = task(directory)
    model = the_task.build_model(model_config(pretrained))
    the_task.load_dataset("test")
    small, large = validate(the_task, model, "test", 5), validate(the_task, model, "test", 12)
    assert small == large
    batch = the_task.dataset("test").collater(list(range(12)))
    with torch.no_grad():
        features = model.eval()(**batch["net_input"])["features"].numpy()
    expected = identify(features, [f"s{18 + i // 2}" for i in range(12)])
    assert large["top1_accuracy"] == pytest.approx(expected.top1, abs=1e-4)
    assert large["mean_rank"] == pytest.approx(expected.mean_rank, abs=1e-4)
    assert (large["people"], large["records"]) == (6, 12)
    assert "loss" not in large  # nobody of the test set is an output


def test_distinct_subjects_the_training_set_have_a_loss_in_validation(directory, pretrained, tmp_path):
    folder = write_labelled(tmp_path / "m", {"train": 24, "valid": 12, "test": 12})
    rewrite_subjects(folder, "valid", ["s1", "s1", "new", "new", *[""] * 8])
    the_task = task(folder)
    model = the_task.build_model(model_config(pretrained))
    the_task.load_dataset("valid")
    assert the_task.dataset("valid").collater([0, 2])["subject"].tolist() == [1, -1]
    values = validate(the_task, model, "valid", 4)
    assert (values["people"], values["records"]) == (2, 4)  # records without a subject take no part
    assert values["loss"] > 0


def test_another_data_set_gives_no_loss(directory, pretrained, tmp_path):
    """A checkpoint is validated on other subjects, of whom a split called train may exist as well."""
    the_task = task(directory)
    model = the_task.build_model(model_config(pretrained))
    other = write_labelled(tmp_path / "m", {"train": 8, "test": 12}, seed=3)
    the_task.cfg.data, the_task.training_subjects = str(other), None
    the_task.load_dataset("test")
    assert the_task.dataset("test").collater([0])["subject"].tolist() == [-1]
    assert "loss" not in validate(the_task, model, "test", 4)


def test_sets_that_cannot_be_used(directory, pretrained, tmp_path):
    folder = write_labelled(tmp_path / "m", {"train": 4, "test": 4})
    rewrite_subjects(folder, "test", ["a", "b", "c", ""])
    the_task = task(folder)
    the_task.build_model(model_config(pretrained))
    with pytest.raises(DataError, match=r"test.meta.parquet: no subject has two records to compare"):
        the_task.load_dataset("test")
    rewrite_subjects(folder, "train", ["a", "a", "a", ""])
    with pytest.raises(DataError, match="fewer than two subjects"):
        task(folder).build_model(model_config(pretrained))


def test_subject_numbers():
    subjects = distinct_subjects(np.array(["b", "", "a", "b", "d"]))
    assert subjects.tolist() == ["a", "b", "d"]
    assert subject_numbers(np.array(["d", "c", "", "a", "z"]), subjects).tolist() == [2, -1, -1, 0, -1]
    assert subject_numbers(np.array(["a"]), subjects[:0]).tolist() == [-1]
    assert subjects_fingerprint(subjects) != subjects_fingerprint(subjects[:2])
