import dataclasses

import numpy as np
import pytest
import torch
from finetune_runs import CLASSES, save_pretrained, write_labelled
from omegaconf import OmegaConf
from tiny import write_manifest

from cmelt_plugin import host, register
from cmelt_plugin.criterions.classification import ClassificationCriterion, ClassificationCriterionConfig
from cmelt_plugin.data.files import write_json
from cmelt_plugin.data.leads import LEAD_SETS
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.low_data import subset_rows
from cmelt_plugin.evaluation.metrics.thresholds import choose_thresholds
from cmelt_plugin.models.classifier.config import ClassifierConfig
from cmelt_plugin.tasks.classification import ClassificationConfig, ClassificationTask

register()


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return write_labelled(tmp_path_factory.mktemp("classification") / "m")


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    return save_pretrained(tmp_path_factory.mktemp("pretrained") / "checkpoint.pt")


def model_config(pretrained, **changes):
    values = {f.name: getattr(ClassifierConfig(), f.name) for f in dataclasses.fields(ClassifierConfig)}
    return OmegaConf.create({**values, "_name": "cmelt_classifier", "pretrained": str(pretrained), **changes})


def task(directory, pretrained=None, **changes):
    """A task, with its model built where there is something to build it on."""
    made = ClassificationTask(ClassificationConfig(data=str(directory), **{"seed": 1, "bootstrap": 20, **changes}))
    torch.manual_seed(0)
    model = made.build_model(model_config(pretrained)) if pretrained else None
    return made, model


def validate(the_task, model, subset, batch_size=7, repeat_last=False):
    """What the hosts do: every batch through valid_step and reduce_metrics, averaged at the end."""
    criterion = ClassificationCriterion(ClassificationCriterionConfig(), the_task).eval()
    iterator = the_task.get_batch_iterator(the_task.dataset(subset), max_sentences=batch_size)
    batches = list(iterator.next_epoch_itr(shuffle=False))
    if repeat_last:  # as the hosts do on a rank that ran out of batches
        the_task.evaluation.n_batches += 1
        batches.append(batches[-1])
    with host.metrics.aggregate(new_root=True) as aggregate:
        for batch in batches:
            _, _, log = the_task.valid_step(batch, model, criterion)
            the_task.reduce_metrics([log], criterion)
    return dict(aggregate.get_smoothed_values())


def test_the_model_gets_its_outputs_from_the_manifest(directory, pretrained):
    the_task, _ = task(directory)
    cfg = model_config(pretrained)
    model = the_task.build_model(cfg)
    assert (cfg.num_classes, list(cfg.class_names)) == (3, CLASSES)  # what the host writes into checkpoints
    assert cfg.encoder_embed_dim == 32 and model.head.weight.shape == (3, 32)
    with pytest.raises(DataError, match="trains model._name=cmelt_classifier"):
        the_task.build_model(OmegaConf.create({"_name": "cmelt"}))


def test_figures_are_those_of_the_whole_subset_for_any_batch_size(directory, pretrained):
    the_task, model = task(directory, pretrained)
    the_task.load_dataset("valid")
    small, large = validate(the_task, model, "valid", 5), validate(the_task, model, "valid", 24)
    again = validate(the_task, model, "valid", 5, repeat_last=True)
    figures = {key for key in large if key != "loss"}
    assert {"macro_auc", "macro_auprc", "macro_f1_at_chosen", "auc_LOUD", "records"} <= figures
    for key in figures:
        assert small[key] == pytest.approx(large[key], abs=1e-6) and again[key] == small[key], key
    assert small["loss"] == pytest.approx(large["loss"], abs=1e-4)
    batch = the_task.dataset("valid").collater(list(range(24)))
    with torch.no_grad():
        expected = torch.nn.functional.binary_cross_entropy_with_logits(
            model.eval()(**batch["net_input"])["logits"], batch["labels"]
        )
    assert large["loss"] == pytest.approx(float(expected), abs=1e-4)


def test_thresholds_come_from_validation_are_kept_and_applied_elsewhere(directory, pretrained):
    """D-E7."""
    the_task, model = task(directory, pretrained)
    for split in ("valid", "test"):
        the_task.load_dataset(split)
    before = validate(the_task, model, "test")
    assert "macro_f1" not in before and "macro_f1_at_chosen" not in before
    valid = validate(the_task, model, "valid")
    assert "macro_f1_at_chosen" in valid and "macro_f1" not in valid
    batch = the_task.dataset("valid").collater(list(range(24)))
    with torch.no_grad():
        scores = model.eval()(**batch["net_input"])["logits"].double().sigmoid().numpy()
    expected = choose_thresholds(batch["labels"].numpy(), scores)
    kept = the_task.state_dict()["thresholds"]
    np.testing.assert_allclose(kept, expected, rtol=1e-6)
    assert {"macro_f1", "accuracy", "exact_match", "macro_f1_low"} <= set(validate(the_task, model, "test"))

    # What a checkpoint carries is used by a task that never saw the validation data.
    other, _ = task(directory)
    other.load_state_dict({"thresholds": [2.0, 2.0, 2.0]})
    other.class_names = CLASSES
    other.load_dataset("test")
    assert validate(other, model, "test")["macro_f1"] == 0.0  # nothing reaches a probability of 2


def test_intervals_are_for_other_subsets_than_validation(directory, pretrained):
    the_task, model = task(directory, pretrained)
    for split in ("valid", "test"):
        the_task.load_dataset(split)
    assert not any(key.endswith("_low") for key in validate(the_task, model, "valid"))
    assert "macro_auc_low" in validate(the_task, model, "test")
    without, _ = task(directory, pretrained, bootstrap=0)
    without.load_dataset("test")
    assert "macro_auc_low" not in validate(without, model, "test")


def test_the_table_names_what_is_left_out(directory, pretrained, tmp_path, caplog):
    folder = write_labelled(tmp_path / "m")
    labels = np.load(folder / "test.labels.npy")
    labels[:, 1] = 1
    np.save(folder / "test.labels.npy", labels)
    the_task, model = task(folder, pretrained)
    the_task.load_dataset("test")
    with caplog.at_level("INFO"):
        values = validate(the_task, model, "test")
    assert values["classes_without_auc"] == 1
    assert "left out of the means: SINE" in caplog.text and "LOUD" in caplog.text and "12 subjects" in caplog.text


def test_a_manifest_in_another_order_is_read_by_name_and_another_one_refused(directory, pretrained, tmp_path):
    """D-E1."""
    turned = write_labelled(tmp_path / "turned", classes=["DRIFT", "LOUD", "SINE"])
    the_task, model = task(directory, pretrained)
    the_task.load_dataset("test")
    expected = validate(the_task, model, "test")
    the_task.cfg.data = str(turned)
    the_task.load_dataset("test")
    values = validate(the_task, model, "test")
    assert {key: value for key, value in values.items() if "auc" in key} == {
        key: value for key, value in expected.items() if "auc" in key
    }
    the_task.cfg.data = str(write_manifest(tmp_path / "other", labels=True))
    with pytest.raises(DataError, match="not the classes of the model; missing DRIFT, LOUD, SINE; unknown to it AFIB, SR"):
        the_task.load_dataset("valid")


@pytest.mark.parametrize("name", sorted(LEAD_SETS))
def test_lead_sets_hold_in_training_and_evaluation(directory, name):
    the_task, _ = task(directory, leads=list(LEAD_SETS[name]))
    the_task.class_names = CLASSES
    the_task.load_dataset("train", combine=True)
    the_task.load_dataset("test")
    for split in ("train", "test"):
        mask = the_task.dataset(split).collater([0, 1])["net_input"]["lead_mask"]
        seen = 12 if mask is None else int((~mask[0]).sum())
        assert seen == int(name)
    assert the_task.is_training_set(the_task.dataset("train")) and not the_task.is_training_set(the_task.dataset("test"))


def test_fractions_choose_training_records_alone(directory):
    the_task, _ = task(directory, fraction=0.25, subset="melp", subset_seed=3)
    the_task.class_names = CLASSES
    the_task.load_dataset("train", combine=True)
    the_task.load_dataset("test")
    data = the_task.dataset("train")
    expected = subset_rows(np.load(directory / "train.labels.npy"), 0.25, "melp", 3)
    assert sorted(data.ordered_indices().tolist()) == expected.tolist() and len(data) == 12
    np.testing.assert_array_equal(the_task.training_labels, np.load(directory / "train.labels.npy")[expected])
    assert len(the_task.dataset("test")) == 24
    whole_people, _ = task(directory, fraction=0.25, subset="stratified")
    whole_people.class_names = CLASSES
    whole_people.load_dataset("train", combine=True)
    rows = whole_people.dataset("train").ordered_indices()
    assert set(rows.tolist()) == {int(r) ^ 1 for r in rows}  # both records of a person, or none
    iterator = the_task.get_batch_iterator(data, max_sentences=11)
    assert [len(batch) for batch in iterator.frozen_batches] == [11, 1]  # no record is dropped


def test_exclusive_classes(pretrained, tmp_path):
    directory = write_labelled(tmp_path / "m", exclusive=True)
    the_task, model = task(directory, pretrained, problem="multi_class")
    the_task.load_dataset("test")
    values = validate(the_task, model, "test")
    assert {"accuracy", "macro_auc", "macro_f1", "accuracy_low"} <= set(values)
    labels = np.load(directory / "test.labels.npy")
    labels[4] = [1, 1, 0]
    np.save(directory / "test.labels.npy", labels)
    with pytest.raises(DataError, match=r"test.labels.npy, row 4: 2 classes \(1 such records\)"):
        the_task.load_dataset("test")


def test_the_reward_matrix_is_kept_in_the_checkpoint(pretrained, tmp_path):
    directory = write_labelled(tmp_path / "m", classes=CLASSES)
    names = ["NSR", "AF", "IAVB"]
    write_json(directory / "labels.json", {"label_set": "cinc2021", "names": names})
    codes = ["426783006", "164889003", "270492004"]
    weights = tmp_path / "weights.csv"
    rows = [f"{code},{'0.5,' * place}1{',0.5' * (2 - place)}" for place, code in enumerate(codes)]
    weights.write_text("\n".join([f",{','.join(codes)}", *rows]))
    the_task, model = task(directory, pretrained, cinc_weights=str(weights), cinc_threshold="0.5")
    the_task.load_dataset("test")
    values = validate(the_task, model, "test")
    assert "cinc_score" in values and "cinc_score_low" in values
    weights.unlink()  # the checkpoint is validated on another machine
    again, _ = task(directory, cinc_weights=str(weights), cinc_threshold="0.5")
    again.load_state_dict(the_task.state_dict())
    again.class_names = names
    again.load_dataset("test")
    assert validate(again, model, "test")["cinc_score"] == values["cinc_score"]
    missing, _ = task(directory, cinc_weights=str(weights))
    missing.class_names = names
    missing.load_dataset("test")
    with pytest.raises(DataError, match="weights.csv: no such file"):
        validate(missing, model, "test")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"problem": "regression"}, "task.problem must be one of multi_label, multi_class"),
        ({"fraction": 0.0}, "task.fraction=0.0: must be above 0"),
        ({"leads": ["I", "V7"]}, "unknown lead V7"),
        ({"leads": []}, "no leads chosen"),
    ],
)
def test_unusable_settings(directory, changes, message):
    with pytest.raises(DataError, match=message):
        task(directory, **changes)


def test_manifests_without_labels(tmp_path, pretrained):
    directory = write_manifest(tmp_path / "m")
    with pytest.raises(DataError, match="labels.json: no such file"):
        task(directory, pretrained)
    with pytest.raises(DataError, match="set task.data"):
        ClassificationTask(ClassificationConfig(data=None, seed=1)).outputs()


def test_tasks_of_one_process_keep_their_own_state(directory):
    first, _ = task(directory)
    first.state.merge_state_dict({"thresholds": [0.1, 0.2, 0.3]})
    second, _ = task(directory)
    assert "thresholds" not in second.state_dict() and first.state_dict() == {"thresholds": [0.1, 0.2, 0.3]}
