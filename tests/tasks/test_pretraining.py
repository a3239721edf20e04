import dataclasses
import json
import pickle
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from pairs import pretraining_task as task
from tiny import TINY_MODEL, hosted_tiny_model, tiny_t5_config, token_table, write_manifest
from tiny_melp import TEXT_ENCODERS, TINY_MELP
from torch import nn

from cmelt_plugin import host, register, registry
from cmelt_plugin.criterions.pretraining import LossTerm, PretrainingCriterion
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.millivolts import batch_in_mv
from cmelt_plugin.data.text.padding import cut
from cmelt_plugin.data.text.reports import write_reports
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.metrics.retrieval import pair_recalls
from cmelt_plugin.models.cmelt.criterion import CMELTCriterionConfig, CompositeCriterion
from cmelt_plugin.models.melp.criterion import MELPCriterionConfig
from cmelt_plugin.tasks.pretraining import PretrainingConfig, PretrainingTask


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return write_manifest(tmp_path_factory.mktemp("task") / "m", labels=True, short_row=5)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return hosted_tiny_model()


def validate(the_task, model, batch_size, subset="valid", repeat_last=False):
    """What the hosts do: every batch through valid_step and reduce_metrics, averaged at the end."""
    criterion = CompositeCriterion(CMELTCriterionConfig(), the_task).eval()
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


def test_figures_are_those_of_the_whole_subset_for_any_batch_size(directory, model):
    the_task = task(directory)
    the_task.load_dataset("valid")
    small, large = validate(the_task, model, 5), validate(the_task, model, 24)
    whole = {key for key in large if "_to_" in key or "auc" in key or key == "records"}
    assert len(whole) == 6 + 3 + 1 + 1  # recalls, macro and class AUCs, classes without one, records
    for key in whole:
        assert small[key] == pytest.approx(large[key], abs=1e-6), key
    batch = the_task.dataset("valid").collater(list(range(24)))
    model.eval()
    with torch.no_grad():
        ecg = model.embed_ecg(batch["net_input"]["ecg"], batch["net_input"]["n_samples"])
        text = model.embed_text(batch["report_text"], batch["report_padding_mask"])
    for key, value in pair_recalls(model, ecg, text, batch["report_id"]).items():
        assert large[key] == pytest.approx(value, abs=1e-4)


def test_repeated_records_count_once_and_a_second_pass_starts_anew(directory, model):
    the_task = task(directory)
    the_task.load_dataset("valid")
    once = validate(the_task, model, 6)
    again = validate(the_task, model, 6, repeat_last=True)
    assert again["records"] == once["records"] == 24
    for key in ("ecg_to_text_r5", "text_to_ecg_r5", "macro_auc"):
        assert again[key] == once[key]


def test_an_empty_batch_is_counted_but_adds_nothing(directory, model):
    the_task = task(directory)
    the_task.load_dataset("valid")
    criterion = CompositeCriterion(CMELTCriterionConfig(), the_task).eval()
    batch = next(the_task.get_batch_iterator(the_task.dataset("valid"), max_sentences=24).next_epoch_itr(shuffle=False))
    the_task.evaluation.n_batches = 2
    assert "metric_ranks" not in the_task.valid_step(batch, model, criterion)[2]
    loss, size, log = the_task.valid_step({}, model, criterion)
    assert (float(loss), size, log["metric/records"]) == (0.0, 0, 24.0)


def test_training_set_is_shuffled_and_the_others_are_not(directory):
    the_task = task(directory)
    the_task.load_dataset("train", combine=True)
    the_task.load_dataset("valid")
    assert the_task.dataset("train").options.train and not the_task.dataset("valid").options.train

    def batches(subset, epoch):
        iterator = the_task.get_batch_iterator(the_task.dataset(subset), max_sentences=8, epoch=epoch)
        return [batch.tolist() for batch in iterator.frozen_batches]

    first, second = batches("train", 1), batches("train", 2)
    assert sorted(sum(first, [])) == list(range(24))
    assert {frozenset(b) for b in first} != {frozenset(b) for b in second}  # composed anew, not only reordered
    assert batches("valid", 1) == batches("valid", 2) == [list(range(i, i + 8)) for i in (0, 8, 16)]


def test_a_last_batch_of_one_pair_is_left_out_of_training(directory):
    the_task = task(directory)
    the_task.load_dataset("train", combine=True)
    iterator = the_task.get_batch_iterator(the_task.dataset("train"), max_sentences=23)
    assert [len(batch) for batch in iterator.frozen_batches] == [23]


def test_length_groups_reach_every_rank_once_and_a_resumed_epoch_goes_on(directory):
    """The hosts shuffle batches themselves unless told not to, also when they restore an epoch."""

    def iterator(shard, epoch=2):
        the_task = task(directory, group_by_length=True)
        the_task.load_dataset("train", combine=True)
        options = {"max_sentences": 4, "num_shards": 2, "shard_id": shard, "epoch": epoch, "seed": 1}
        return the_task.get_batch_iterator(the_task.dataset("train"), **options)

    whole = [list(iterator(shard).next_epoch_itr(shuffle=True)) for shard in (0, 1)]
    assert [len(batches) for batches in whole] == [3, 3]
    assert sorted(sum((batch["id"].tolist() for batches in whole for batch in batches), [])) == list(range(24))
    planned = [batch[:, 0].tolist() for batch in iterator(0).frozen_batches]
    dealt = [batch["id"].tolist() for pair in zip(*whole) for batch in pair]
    assert dealt == planned
    assert {tuple(batch) for batch in planned} != {tuple(b[:, 0].tolist()) for b in iterator(0, epoch=3).frozen_batches}

    interrupted = iterator(1)
    first = next(interrupted.next_epoch_itr(shuffle=True))
    resumed = iterator(1)
    resumed.load_state_dict(interrupted.state_dict())
    rest = list(resumed.next_epoch_itr(shuffle=True))
    for expected, got in zip(whole[1], [first, *rest]):
        for name in ("text", "mlm_mask", "mem_noise", "ecg"):
            assert torch.equal(expected["net_input"][name], got["net_input"][name])
    assert len(rest) == 2
    assert iterator(0).first_batch["id"].tolist() == planned[0]


def test_build_model_keeps_the_text_encoder_configuration(directory, tmp_path):
    """What a checkpoint needs in order to open without the folder is written into the host's own configuration."""
    from cmelt_plugin.huggingface import import_transformers

    transformers = import_transformers()
    values = json.loads(tiny_t5_config())
    values.pop("model_type")
    transformers.T5EncoderModel(transformers.T5Config(**values)).save_pretrained(tmp_path / "t5")
    given = {"_name": "cmelt", **TINY_MODEL, "text_encoder": str(tmp_path / "t5"), "text_encoder_config": None}
    configuration = OmegaConf.create({"model": given})
    the_task = task(directory)
    the_task.build_model(configuration.model)
    assert (the_task.inputs.n_ecg_tokens, the_task.vocab_size) == (312, 60)
    assert json.loads(configuration.model.text_encoder_config)["d_model"] == 32

    configuration.model.update({"text_encoder": str(tmp_path / "nowhere"), "text_encoder_config": None})
    with pytest.raises(DataError, match="text encoder .* cannot be opened"):
        task(directory).build_model(configuration.model)


@pytest.mark.parametrize("loading", [False, True])
def test_the_model_hears_of_the_criterion_before_it_trains(directory, loading: bool) -> None:
    """What follows is written into the host's own configuration; not where a checkpoint is opened, which has it."""
    register()
    criterion = {**dataclasses.asdict(MELPCriterionConfig(local="gloria")), "_name": "melp_local"}
    model = {"_name": "melp", **TINY_MELP, **TEXT_ENCODERS["bert"], "local_form": None}
    configuration = OmegaConf.create({"model": model, "criterion": criterion})
    the_task = task(directory)
    built = the_task.build_model(configuration.model, loading)
    the_task.build_criterion(configuration.criterion)
    assert configuration.model.local_form == built.cfg.local_form == (None if loading else "gloria")
    assert any(parameter.requires_grad for parameter in built.decoder.parameters()) == loading


@pytest.mark.parametrize(("data", "message"), [(None, "set task.data"), ("nowhere", "no such folder")])
def test_missing_data_directory(data, message):
    with pytest.raises(DataError, match=message):
        task(data).load_dataset("train", combine=True)


def test_batch_size_is_required(directory):
    the_task = task(directory)
    the_task.load_dataset("valid")
    with pytest.raises(DataError, match="dataset.batch_size"):
        the_task.get_batch_iterator(the_task.dataset("valid"), max_tokens=1000)


def test_sidecars_are_checked(tmp_path):
    directory = write_manifest(tmp_path / "m")
    table = token_table([[3]] * 6, directory / "reports.parquet")
    table.save(directory / "reports.other.npz")
    with pytest.raises(DataError, match=r"several token files.*task\.tokenizer=TAG"):
        task(directory).load_dataset("train", combine=True)
    task(directory, tokenizer="tiny").load_dataset("train", combine=True)

    small = task(directory, vocab_size=10, tokenizer="tiny")
    with pytest.raises(DataError, match="vocabulary of 60 tokens, the text encoder one of 10"):
        small.load_dataset("train", combine=True)

    other = task(directory, tokenizer="tiny")
    other.state.merge_state_dict({"tokenizer_fingerprint": "sha256:another"})
    with pytest.raises(DataError, match="not the one the model was trained with"):
        other.load_dataset("train", combine=True)

    write_reports(directory, [f"changed {r}" for r in range(6)], np.full(6, 8))
    with pytest.raises(DataError, match="stale"):
        task(directory, tokenizer="tiny").load_dataset("train", combine=True)
    for path in directory.glob("reports.*.npz"):
        path.unlink()
    with pytest.raises(DataError, match=r"no token file.*preprocess/tokenizer\.py"):
        task(directory).load_dataset("train", combine=True)


def test_missing_and_unknown_negatives(tmp_path):
    directory = write_manifest(tmp_path / "m")
    with pytest.raises(DataError, match="task.negatives must be one of n3s, random"):
        task(directory, negatives="nearest")
    (directory / "train.n3s.npy").unlink()
    with pytest.raises(DataError, match=r"preprocess/n3s\.py"):
        task(directory).load_dataset("train", combine=True)
    task(directory, negatives="random").load_dataset("train", combine=True)


def test_labels_without_reports_are_zero_shot_only(tmp_path, model):
    directory = write_manifest(tmp_path / "m", labels=True, reports=False)
    the_task = task(directory)
    the_task.load_dataset("valid")
    values = validate(the_task, model, 10)
    assert set(values) == {"macro_auc", "auc_AFIB", "auc_SR", "classes_without_auc", "records"}
    with pytest.raises(DataError, match="nothing to train"):
        the_task.load_dataset("train", combine=True)
    assert Manifest.open(directory, "valid").labels()[1] == ["AFIB", "SR"]


@pytest.mark.parametrize("lacking", ["all reports", "one report", "token ids", "negatives"])
def test_a_labelled_set_that_was_not_prepared_for_pairs_is_evaluated_zero_shot_alone(tmp_path, model, lacking):
    """What packing a labelled data set leaves: an empty reports.parquet, a record without a report, no sidecars."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    whole = write_manifest(tmp_path / "whole", labels=True)
    bare = write_manifest(tmp_path / "bare", labels=True)
    meta = pq.read_table(bare / "valid.meta.parquet")
    if lacking in ("all reports", "one report"):
        ids = meta["report_id"].to_numpy().copy()
        ids[: None if lacking == "all reports" else 1] = -1
        column = meta.schema.get_field_index("report_id")
        pq.write_table(meta.set_column(column, "report_id", pa.array(ids)), bare / "valid.meta.parquet")
    if lacking == "all reports":
        write_reports(bare, [], [])
    if lacking in ("all reports", "token ids"):
        (bare / "reports.tiny.npz").unlink()
    if lacking == "negatives":
        for path in bare.glob("*.n3s.*"):
            path.unlink()
    expected, got = task(whole), task(bare, negatives="random" if lacking == "one report" else "n3s")
    for the_task in (expected, got):
        the_task.load_dataset("valid")
    figures = validate(got, model, 8)
    assert figures["macro_auc"] == pytest.approx(validate(expected, model, 8)["macro_auc"], abs=1e-4)
    assert "loss" not in figures and "ecg_to_text_r1" not in figures and figures["records"] == 24


def test_what_one_split_lacks_in_a_prepared_directory_is_an_error(tmp_path):
    bare = write_manifest(tmp_path / "bare", labels=True)
    (bare / "valid.n3s.npy").unlink()
    with pytest.raises(DataError, match="valid.n3s.npy"):
        task(bare).load_dataset("valid")


def test_class_texts_are_cut_as_reports_are(directory):
    the_task = task(directory, max_text_tokens=2)
    the_task.load_dataset("valid")
    _, prompts = the_task.prompts[the_task.dataset("valid")]
    assert [prompts[index].tolist() for index in range(3)] == [[5, 6, 1], [7, 8, 1], [9, 1]]
    seen = []
    stub = hosted_tiny_model().eval()
    embed_text = stub.embed_text
    stub.embed_text = lambda ids, padding: seen.extend(ids.tolist()) or embed_text(ids, padding)
    evaluation = the_task.new_evaluation(the_task.dataset("valid"), 1)
    batch = {"id": torch.tensor([0]), "labels": torch.tensor([[0, 1]]), "net_input": {"n_samples": None}}
    batch["net_input"]["ecg"] = torch.zeros(1, 12, 5000)
    evaluation.add(stub, batch)
    assert seen == [[5, 1], [7, 1], [9, 1]]


def test_a_text_of_each_class_is_drawn_for_each_update(directory):
    the_task = task(directory, max_text_tokens=5)
    the_task.load_dataset("train", combine=True)
    names, table = the_task.prompts[the_task.dataset("train")]
    own = [[table[index] for index in np.flatnonzero(table.class_index == number)] for number in range(len(names))]
    assert max(map(len, own)) > 1

    def texts(training=True):
        ids, padding = the_task.class_texts(training, "cpu")
        return [row[~hidden].tolist() for row, hidden in zip(ids.numpy(), padding.numpy())]

    drawn = set()
    for the_task.update in range(20):
        assert texts() == texts()
        for text, choices in zip(texts(), own):
            assert text in [cut(choice, 5).tolist() for choice in choices]
        drawn.add(str(texts()))
    assert len(drawn) > 1
    assert texts(training=False) == [cut(choices[0], 5).tolist() for choices in own]


def test_a_loss_of_labels_needs_labels(tmp_path):
    the_task = task(write_manifest(tmp_path / "m"))
    the_task.load_dataset("train", combine=True)
    with pytest.raises(DataError, match="needs labels and class texts; run preprocess/labels.py"):
        the_task.class_texts(True, "cpu")


@pytest.mark.parametrize(("multiple", "limit", "length"), [(1, 256, 6), (8, 256, 8), (4, 256, 8), (3, 256, 6), (8, 7, 7)])
def test_texts_are_padded_to_few_lengths_and_the_loss_stays(directory, model, multiple, limit, length):
    the_task = task(directory, pad_text_to=multiple, max_text_tokens=limit)
    the_task.load_dataset("train", combine=True)
    batch = the_task.dataset("train").collater([0, 1, 2, 5])
    assert batch["net_input"]["text"].shape == (4, 6)
    seen = []

    class Spy(CompositeCriterion):
        def forward(self, model, sample, reduce=True):
            seen.append(sample["net_input"]["text"].shape[1])
            return super().forward(model, sample, reduce)

    class Optimizer:
        def backward(self, loss):
            loss.backward()

    criterion = Spy(CMELTCriterionConfig(), the_task).train()
    with torch.random.fork_rng():
        results = []
        for sample in (batch, the_task.with_padded_texts(batch)):
            results.append(criterion(model.eval(), sample)[0].item())
        the_task.train_step(
            sample=batch, model=model, criterion=criterion, optimizer=Optimizer(), update_num=0, ignore_grad=False
        )
    model.zero_grad()
    assert seen == [6, length, length]
    assert results[0] == pytest.approx(results[1], rel=1e-5)


def test_leads_are_standardised_in_the_records_that_are_drawn(directory):
    the_task = task(directory)
    the_task.load_dataset("valid")
    data = the_task.dataset("valid")
    batch = data.collater([3, 5, 8], digital=True)
    plain = the_task.prepared(batch)["net_input"]
    assert plain["n_samples"][1] < plain["n_samples"][0]  # a short record
    batch["standardised"] = torch.tensor([False, True, True])
    ready = the_task.prepared(batch)["net_input"]["ecg"]
    assert torch.equal(ready[0], plain["ecg"][0])
    for row in (1, 2):
        real = plain["ecg"][row, :, : plain["n_samples"][row]]
        naive = (real - real.mean(1, keepdim=True)) / real.std(1, keepdim=True)
        torch.testing.assert_close(ready[row, :, : real.shape[1]], naive, rtol=1e-3, atol=1e-3)
        assert not ready[row, :, real.shape[1] :].any()


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_of_standardised_records_is_one_between_0_and_1(directory, share):
    with pytest.raises(DataError, match="standardise_probability"):
        task(directory, standardise_probability=share)


def test_a_multiple_below_one_is_refused(directory):
    with pytest.raises(DataError, match="task.pad_text_to=0"):
        task(directory, pad_text_to=0)


@dataclass
class ToyConfig:
    width: int = 2


class Toy(nn.Module):
    """An ECG encoder that learns from ECGs alone."""

    def __init__(self, cfg):
        super().__init__()
        self.leads = nn.Linear(12, cfg.width)

    @classmethod
    def build_model(cls, cfg, task=None):
        return cls(cfg)

    def forward(self, ecg, n_samples=None):
        return {"states": self.leads(ecg.mean(dim=2))}


class ToyCriterion(PretrainingCriterion):
    def terms(self):
        return {"size": (0.5, lambda batch: LossTerm(batch.output["states"].square().sum(), {}))}


def test_a_system_without_texts_needs_no_reports(tmp_path):
    directory = write_manifest(tmp_path / "m", reports=False)
    the_task, model = task(directory), Toy(ToyConfig())
    the_task.use(registry.System("toy", model="", config="", reads_text=False), model)
    the_task.load_dataset("train", combine=True)
    the_task.load_dataset("valid")
    criterion = ToyCriterion(None, the_task).train()
    [batch] = the_task.get_batch_iterator(the_task.dataset("train"), max_sentences=24).next_epoch_itr(shuffle=False)
    sample = the_task.with_padded_texts(batch_in_mv(batch))
    loss, rows, log = criterion(model, sample)
    assert rows == 24 and loss.item() == pytest.approx(0.5 * log["loss_size"].item()) and log["loss"] > 0
    [batch] = the_task.get_batch_iterator(the_task.dataset("valid"), max_sentences=24).next_epoch_itr(shuffle=False)
    loss, rows, log = the_task.valid_step(batch, model, criterion.eval())
    assert rows == 24 and loss > 0 and not any(name.startswith("metric") for name in log)


def test_the_task_trains_systems_and_nothing_before_the_model_is_built(directory):
    new = PretrainingTask(PretrainingConfig(data=str(directory), seed=1))
    with pytest.raises(RuntimeError, match="build_model comes first"):
        new.load_dataset("train", combine=True)
    with pytest.raises(DataError, match=r"trains model._name = cmelt.*, not 'cmelt_classifier'"):
        new.build_model(OmegaConf.create({"_name": "cmelt_classifier"}))


def test_options_of_systems_are_options_of_the_task():
    fields = PretrainingConfig.__dataclass_fields__
    assert fields["mlm_probability"].metadata["help"] == "share of words masked"
    assert (PretrainingConfig().negatives, PretrainingConfig().pad_text_to) == ("n3s", 1)
    assert pickle.loads(pickle.dumps(PretrainingConfig())) == PretrainingConfig()  # as processes of a host get it
