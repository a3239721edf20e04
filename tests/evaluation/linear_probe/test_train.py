"""The linear layer on fixed features: against plain PyTorch, against the classifier's own head, and its choices."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TINY_MODEL
from torch.nn import functional as F

from cmelt_plugin.data.batches.rng import epoch_order
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.linear_probe.train import (
    ProbeRun,
    ProbeSettings,
    _Monitor,
    initial_weights,
    seeded_run,
    train_probes,
)
from cmelt_plugin.evaluation.metrics.multi_label import macro_auc
from cmelt_plugin.losses.classification import multi_label_loss
from cmelt_plugin.models.inference.linear_probe import Probe

LAST = ProbeSettings(batch_size=16, epochs=3, select="last")


def train_one(features, labels, run, settings=None, valid=None):
    return train_probes(features, labels, [run], settings or ProbeSettings(), valid)[0]


def problem(seed=0, n=70, dim=6, classes=4, unknown=0.1):
    """Features, and labels that a linear layer can learn from them."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, dim)).astype(np.float32)
    logits = features @ rng.normal(size=(dim, classes)) + rng.normal(size=(n, classes))
    labels = (logits > 0.5).astype(np.float32)
    labels[rng.random(labels.shape) < unknown] = np.nan
    return features, labels


def plain_training(features, labels, batches, weight0, bias0, settings):
    """One nn.Linear, torch's Adam, the loss of the classifier's criterion, one record set after the other."""
    layer = torch.nn.Linear(features.shape[1], labels.shape[1])
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight0))
        layer.bias.copy_(torch.from_numpy(bias0))
    optimiser = torch.optim.Adam(layer.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    for epoch in range(1, settings.epochs + 1):
        for rows in batches(epoch):
            loss = multi_label_loss(layer(torch.from_numpy(features[rows])), torch.from_numpy(labels[rows]))
            optimiser.zero_grad()
            (loss.total / loss.records.clamp(min=1)).backward()
            optimiser.step()
    return layer.weight.detach().numpy(), layer.bias.detach().numpy()


@given(st.integers(0, 1000), st.sampled_from([0.0, 0.3]), st.sampled_from([0.0, 1e-2]))
@settings(max_examples=8, deadline=None)
def test_probes_trained_side_by_side_are_those_trained_alone_with_pytorch(seed, unknown, weight_decay):
    features, labels = problem(seed, unknown=unknown)
    labels[3] = np.nan if unknown else labels[3]  # a record of which nothing is known
    options = ProbeSettings(batch_size=16, epochs=3, select="last", weight_decay=weight_decay, learning_rate=0.01)
    parts = [np.random.default_rng(seed + s).permutation(70)[:40] for s in range(3)]
    runs = [seeded_run(part, 4, 6, seed + s, 16) for s, part in enumerate(parts)]
    for run, probe in zip(runs, train_probes(features, labels, runs, options)):
        weight, bias = plain_training(features, labels, run.batches, run.weight0, run.bias0, options)
        np.testing.assert_allclose(probe.weight, weight, atol=2e-5)
        np.testing.assert_allclose(probe.bias, bias, atol=2e-5)
        assert probe.epoch == 3


def test_the_loss_falls_and_the_right_direction_is_found():
    features, labels = problem(n=400, unknown=0.0)
    options = ProbeSettings(batch_size=32, epochs=60, select="last", learning_rate=0.01)
    probe = train_one(features, labels, seeded_run(np.arange(300), 4, 6, 0, 32), options)
    names = list("abcd")
    assert macro_auc(labels[300:], probe.scores(features[300:]), names).macro > 0.85


def test_order_and_initial_weights_come_from_the_seed():
    features, labels = problem()
    first, again, other = (train_one(features, labels, seeded_run(np.arange(70), 4, 6, s, 16), LAST) for s in (1, 1, 2))
    assert (first.weight == again.weight).all() and (first.bias == again.bias).all()
    assert np.abs(first.weight - other.weight).max() > 1e-3


def test_the_order_is_that_of_the_training_data_set():
    """The same permutation of the chosen rows as LabelledECGDataset's in epoch e, cut into batches."""
    rows = np.array([5, 8, 9, 30, 31, 44, 60])
    run = seeded_run(rows, 2, 3, seed=7, batch_size=3)
    for epoch in (1, 2):
        batches = run.batches(epoch)
        assert [len(batch) for batch in batches] == [3, 3, 1]
        assert np.concatenate(batches).tolist() == rows[epoch_order(7, epoch, 7)].tolist()
    assert run.batches(1)[0].tolist() != run.batches(2)[0].tolist()


def test_initial_weights_are_those_of_the_classifiers_head():
    weight, bias = initial_weights(50, 400, seed=3)
    assert weight.shape == (50, 400) and (bias == 0).all()
    assert weight.std() == pytest.approx(0.02, rel=0.03) and abs(weight.mean()) < 1e-3
    assert (initial_weights(50, 400, seed=3)[0] == weight).all()


@given(st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_the_monitor_is_the_macro_auc(seed):
    rng = np.random.default_rng(seed)
    features = rng.integers(-2, 3, (25, 3)).astype(np.float32)  # with ties
    labels = (rng.random((25, 4)) < 0.3).astype(np.float32)
    labels[rng.random((25, 4)) < 0.2] = np.nan
    labels[:, 3] = 0
    weight, bias = rng.integers(-2, 3, (2, 3, 4)).astype(np.float32), np.zeros((2, 1, 4), np.float32)
    found = _Monitor(features, labels).macro_aucs(torch.from_numpy(weight), torch.from_numpy(bias))
    expected = [macro_auc(labels, features @ weight[s], list("abcd")).macro for s in range(2)]
    np.testing.assert_allclose(found, expected)


def test_the_kept_epoch_is_the_earliest_of_best_validation_auc():
    features, labels = problem(1)
    options = ProbeSettings(batch_size=16, epochs=12, learning_rate=0.05)
    run = seeded_run(np.arange(50), 4, 6, 0, 16)
    valid = (features[50:], labels[50:])
    probe = train_one(features, labels, run, options, valid)
    assert len(probe.valid_auc) == 12 and probe.epoch == 1 + int(np.argmax(probe.valid_auc))
    short = ProbeSettings(batch_size=16, epochs=probe.epoch, learning_rate=0.05, select="last")
    np.testing.assert_allclose(probe.weight, train_one(features, labels, run, short).weight, atol=1e-6)
    measured = macro_auc(valid[1], probe.scores(valid[0]), list("abcd")).macro
    assert measured == pytest.approx(probe.valid_auc.max())


def test_the_last_epoch_takes_no_look_at_the_validation_split():
    features, labels = problem()
    run = seeded_run(np.arange(70), 4, 6, 0, 16)
    shuffled = (features[::-1].copy(), labels)
    alone, beside = (train_one(features, labels, run, LAST, valid) for valid in (None, shuffled))
    assert (alone.weight == beside.weight).all() and len(beside.valid_auc) == 0


def test_without_a_usable_validation_split_best_valid_is_refused():
    features, labels = problem()
    run = seeded_run(np.arange(70), 4, 6, 0)
    for valid in (None, (features, np.zeros_like(labels))):
        with pytest.raises(DataError, match="--select last"):
            train_one(features, labels, run, ProbeSettings(epochs=1), valid)
    with pytest.raises(DataError, match="best_valid, last"):
        train_one(features, labels, run, ProbeSettings(select="test"))


def test_standardised_training_ends_in_a_probe_of_raw_features():
    features, labels = problem()
    features = features * np.array([1, 10, 0.1, 5, 1, 0], np.float32) + np.array([0, 3, 1, -2, 0, 4], np.float32)
    rows = np.arange(0, 70, 2)
    run = seeded_run(rows, 4, 6, 0, 16)
    options = ProbeSettings(batch_size=16, epochs=4, select="last", standardise=True, learning_rate=0.01)
    mean, deviation = features[rows].mean(axis=0), features[rows].std(axis=0)
    deviation[5] = 1  # constant
    scaled = ((features - mean) / deviation).astype(np.float32)
    weight, bias = plain_training(scaled, labels, run.batches, run.weight0, run.bias0, options)
    probe = train_one(features, labels, run, options)
    np.testing.assert_allclose(probe.scores(features), scaled @ weight.T + bias, atol=1e-4)


def test_scores_are_raw_logits_without_a_softmax_over_classes():
    """D-M4: the release gives a softmax over classes to the AUC of labels that occur together."""
    probe = Probe(np.eye(2, dtype=np.float32), np.array([0.0, 1.0], np.float32), 1, np.zeros(0))
    assert probe.scores(np.array([[2.0, 3.0]])).tolist() == [[2.0, 4.0]]


def test_runs_of_unequal_batches_and_wrong_shapes_are_refused():
    features, labels = problem()
    runs = [seeded_run(np.arange(k), 4, 6, 0, 16) for k in (40, 41)]
    with pytest.raises(ValueError, match="same sizes"):
        train_probes(features, labels, runs, LAST)
    with pytest.raises(ValueError, match="do not fit"):
        train_probes(features, labels, [seeded_run(np.arange(40), 4, 5, 0)], LAST)
    with pytest.raises(ValueError, match="which rows"):
        train_probes(
            features,
            labels,
            [ProbeRun(runs[0].batches, runs[0].weight0, runs[0].bias0)],
            ProbeSettings(standardise=True, select="last"),
        )


def test_the_probe_is_the_head_of_the_frozen_classifier():
    """The classifier of examples/linear_probe, given the same records, order and weights, ends with the same head."""
    from cmelt_plugin.models.classifier.config import ClassifierConfig
    from cmelt_plugin.models.classifier.model import Classifier

    torch.manual_seed(0)
    sizes = {name: value for name, value in TINY_MODEL.items() if name in ClassifierConfig.__dataclass_fields__}
    cfg = ClassifierConfig(**sizes, freeze="encoder", num_classes=3, class_names=list("abc"), dropout=0.3)
    model = Classifier.build_model(cfg).train()
    ecg = torch.randn(40, 12, 1000)
    labels = (torch.rand(40, 3) < 0.4).float()
    labels[0, 1] = float("nan")
    with torch.no_grad():
        features = model.features(ecg).numpy()
    weight0, bias0 = (value.detach().clone().numpy() for value in (model.head.weight, model.head.bias))
    run = ProbeRun(seeded_run(np.arange(40), 3, 32, 5, 16).batches, weight0, bias0)
    probe = train_one(features, labels.numpy(), run, LAST)

    encoder = {name: value.clone() for name, value in model.ecg_encoder.state_dict().items()}
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=LAST.learning_rate)
    for epoch in range(1, LAST.epochs + 1):
        for rows in run.batches(epoch):
            model.train()
            loss = multi_label_loss(model(ecg[rows])["logits"], labels[rows])
            optimiser.zero_grad()
            (loss.total / loss.records).backward()
            optimiser.step()
    np.testing.assert_allclose(probe.weight, model.head.weight.detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(probe.bias, model.head.bias.detach().numpy(), atol=1e-5)
    assert np.abs(probe.weight - weight0).max() > 1e-3
    assert all(torch.equal(value, encoder[name]) for name, value in model.ecg_encoder.state_dict().items())
    logits = F.linear(torch.from_numpy(features), model.head.weight, model.head.bias).detach().numpy()
    np.testing.assert_allclose(probe.scores(features), logits, atol=1e-4)
