import dataclasses

import pytest
import torch
from finetune_runs import save_pretrained
from tiny import tiny_model

from cmelt_plugin import host
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.classifier.config import ClassifierConfig
from cmelt_plugin.models.classifier.model import Classifier, outputs_key
from cmelt_plugin.models.files.checkpoint import load_model
from cmelt_plugin.models.files.encoder_source import read_encoder
from cmelt_plugin.modules.pooling.tokens import pool_ecg_states
from tests.losses.ranks import two_ranks
from tests.models.classifier_ranks import UPDATES, tiny_config, train


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    return save_pretrained(tmp_path_factory.mktemp("pretrained") / "checkpoint.pt")


@pytest.fixture(autouse=True)
def nothing_cached():
    read_encoder.cache_clear()


def config(pretrained, **changes):
    return ClassifierConfig(**{"pretrained": str(pretrained), "num_classes": 2, "class_names": ["A", "B"], **changes})


def batch(n=3, seed=0):
    torch.manual_seed(seed)
    return torch.randn(n, 12, 5000) * 0.3


def save_classifier(model, path):
    cfg = {"model": {**dataclasses.asdict(model.cfg), "_name": "cmelt_classifier"}, "task": {"_name": "cmelt_classification"}}
    torch.save({"model": model.state_dict(), "cfg": cfg, "task_state": {"thresholds": [0.5, 0.25]}}, path)
    return path


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_features_are_those_of_the_pretrained_encoder(pretrained, pool):
    torch.manual_seed(0)
    encoder = tiny_model().ecg_encoder.eval()  # what save_pretrained saved
    model = Classifier.build_model(config(pretrained, pool=pool)).eval()
    ecg, n_samples = batch(), torch.tensor([5000, 3500, 5000])
    with torch.no_grad():
        encoded = encoder(ecg, n_samples)
        expected = pool_ecg_states(encoded.states, encoded.padding_mask, pool)
        out = model(ecg, n_samples)
    torch.testing.assert_close(out["features"], expected)
    torch.testing.assert_close(out["logits"], expected @ model.head.weight.T + model.head.bias)
    norms = model.embed_ecg(ecg, n_samples).mean.norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(3))
    torch.testing.assert_close(
        model.embed_ecg(ecg, n_samples).mean, torch.nn.functional.normalize(expected, dim=-1), rtol=1e-4, atol=1e-5
    )


SEEING = {"extractor_mode": "layer_norm", "amplitude_embedding": True}


def test_an_encoder_that_sees_amplitudes_is_taken_as_it_is(tmp_path):
    path = save_pretrained(tmp_path / "checkpoint.pt", **SEEING)
    model = Classifier.build_model(config(path)).eval()
    assert {name: getattr(model.cfg, name) for name in SEEING} == SEEING
    loaded = load_model(save_classifier(model, tmp_path / "classifier.pt")).model
    assert torch.equal(loaded(batch())["logits"], model(batch())["logits"])
    with pytest.raises(DataError, match="model.extractor_mode=default, but the encoder of .* has layer_norm"):
        Classifier.build_model(config(path, extractor_mode="default"))


def test_checkpoints_from_before_these_settings_are_what_they_were(pretrained, tmp_path):
    """Neither the model's own nor the classifier's says anything of them."""
    state = torch.load(pretrained, weights_only=False)
    for name in SEEING:
        state["cfg"]["model"].pop(name, None)
    torch.save(state, tmp_path / "old.pt")
    expected, model = (Classifier.build_model(config(path)).eval() for path in (pretrained, tmp_path / "old.pt"))
    assert torch.equal(model.features(batch()), expected.features(batch()))
    state = torch.load(save_classifier(model, tmp_path / "classifier.pt"), weights_only=False)
    for name in SEEING:
        state["cfg"]["model"].pop(name, None)
    torch.save(state, tmp_path / "old_classifier.pt")
    loaded = load_model(tmp_path / "old_classifier.pt").model
    assert torch.equal(loaded(batch())["logits"], model(batch())["logits"])
    assert (loaded.cfg.extractor_mode, loaded.cfg.amplitude_embedding) == ("default", False)


def test_masked_leads_are_zero(pretrained):
    model = Classifier.build_model(config(pretrained)).eval()
    ecg, mask = batch(), torch.zeros(3, 12, dtype=torch.bool)
    mask[:, 2:] = True
    zeroed = ecg.clone()
    zeroed[:, 2:] = 0
    torch.testing.assert_close(model(ecg, lead_mask=mask)["logits"], model(zeroed)["logits"])


def test_sizes_are_filled_in_and_a_checkpoint_stands_alone(pretrained, tmp_path):
    model = Classifier.build_model(config(pretrained))
    assert (model.cfg.encoder_embed_dim, model.cfg.encoder_layers, model.cfg.conv_feature_layers) == (32, 2, "[(16, 2, 2)] * 4")
    assert (model.cfg.dropout, model.cfg.attention_dropout) == (0.1, 0.1)  # those of pre-training
    assert Classifier.build_model(config(pretrained, dropout=0.0)).cfg.dropout == 0.0
    model.cfg.pretrained = str(tmp_path / "gone.pt")
    loaded = load_model(save_classifier(model, tmp_path / "classifier.pt"))
    assert list(loaded.model.cfg.class_names) == ["A", "B"]
    assert loaded.task_state == {"thresholds": [0.5, 0.25]}
    torch.testing.assert_close(loaded.model(batch())["logits"], model.eval()(batch())["logits"])


def test_a_classifier_can_be_tuned_further(pretrained, tmp_path):
    first = Classifier.build_model(config(pretrained))
    torch.nn.init.constant_(first.ecg_encoder.class_embedding, 0.25)
    path = save_classifier(first, tmp_path / "classifier.pt")
    second = Classifier.build_model(config(path, num_classes=5, class_names=list("vwxyz")))
    assert torch.equal(second.ecg_encoder.class_embedding, first.ecg_encoder.class_embedding)
    assert second.head.weight.shape == (5, 32)


def test_an_exported_folder_is_as_good_as_the_checkpoint(pretrained, tmp_path):
    from cmelt_plugin.models.files.exported import write_folder

    loaded = load_model(pretrained)
    write_folder(tmp_path / "exported", loaded.model, loaded.cfg, loaded.task_state)
    torch.manual_seed(1)
    a = Classifier.build_model(config(pretrained)).ecg_encoder.state_dict()
    b = Classifier.build_model(config(tmp_path / "exported")).ecg_encoder.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_from_scratch_takes_the_sizes_given_and_the_papers_for_the_rest():
    cfg = ClassifierConfig(num_classes=2, class_names=["A", "B"], encoder_embed_dim=24, encoder_layers=1)
    Classifier.prepare_config(cfg)
    assert (cfg.encoder_embed_dim, cfg.encoder_layers, cfg.encoder_attention_heads, cfg.dropout) == (24, 1, 12, 0.1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder_layers": 3}, "model.encoder_layers=3, but the encoder of .* has 2"),
        ({"pretrained": "nowhere.pt"}, "model.pretrained=nowhere.pt: no such file"),
        ({"pool": "max"}, "model.pool must be one of cls, mean"),
        ({"freeze": "all"}, "model.freeze one of none, encoder"),
        ({"num_classes": 0}, "model.num_classes is not set"),
    ],
)
def test_unusable_settings(pretrained, changes, message):
    with pytest.raises(DataError, match=message):
        Classifier.build_model(config(**{"pretrained": pretrained, **changes}))


def test_weights_must_fit_strictly(pretrained, tmp_path):
    state = torch.load(pretrained, weights_only=True)
    del state["model"]["ecg_encoder.encoder.layers.1.fc1.bias"]
    torch.save(state, tmp_path / "partial.pt")
    with pytest.raises(DataError, match="(?s)does not fit the encoder.*layers.1.fc1.bias"):
        Classifier.build_model(config(tmp_path / "partial.pt"))
    (tmp_path / "no.pt").write_text("not a checkpoint")
    with pytest.raises(DataError, match="no.pt"):
        Classifier.build_model(config(tmp_path / "no.pt"))
    state["model"] = {"other": torch.zeros(1)}
    torch.save(state, tmp_path / "foreign.pt")
    with pytest.raises(DataError, match="holds no ECG encoder of this plugin"):
        Classifier.build_model(config(tmp_path / "foreign.pt"))


def test_a_frozen_encoder_gets_no_gradient_and_no_dropout(pretrained):
    """D-R2 and D-R3 of the released probes: an explicit setting, and eval mode."""
    model = Classifier.build_model(config(pretrained, freeze="encoder")).train()
    assert model.training and model.head.training and not model.ecg_encoder.training
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["head.weight", "head.bias"]
    ecg = batch()
    first = model(ecg)["features"]
    assert torch.equal(first, model(ecg)["features"]) and not first.requires_grad
    free = Classifier.build_model(config(pretrained)).train()
    assert not torch.equal(free(ecg)["features"], free(ecg)["features"])  # dropout 0.1


def test_head_dropout_acts_in_training_alone(pretrained):
    model = Classifier.build_model(config(pretrained, freeze="encoder", head_dropout=0.5)).train()
    ecg = batch()
    assert not torch.equal(model(ecg)["logits"], model(ecg)["logits"])
    model.eval()
    assert torch.equal(model(ecg)["logits"], model(ecg)["logits"])


def test_freeze_updates_ends_after_that_many(pretrained):
    model = Classifier.build_model(config(pretrained, freeze_updates=2))
    n_encoder = len(list(model.ecg_encoder.parameters()))
    for update, frozen in enumerate([True, True, False, False]):
        model.train()
        model.set_num_updates(update)
        assert (model.frozen, model.ecg_encoder.training, len(model.frozen_parameters())) == (
            frozen, not frozen, n_encoder if frozen else 0
        )  # fmt: skip
        model.zero_grad(set_to_none=True)
        model(batch())["logits"].sum().backward()
        gradients = [p.grad for p in model.ecg_encoder.parameters()]
        assert all(g is not None for g in gradients)  # what data-parallel training waits for
        assert all(not g.any() for g in gradients) == frozen


def host_optimizer(model, **changes):
    from omegaconf import OmegaConf

    from cmelt_plugin.optim.adam import LayerwiseAdam, LayerwiseAdamConfig

    cfg = OmegaConf.create(
        {"adam_betas": "(0.9, 0.999)", "adam_eps": 1e-8, "weight_decay": 0.1, "lr": [0.01], "layer_decay": 1.0,
         "use_old_adam": False, "fp16_adam_stats": False, "tpu": False, **changes}
    )  # fmt: skip
    assert set(changes) <= {field.name for field in dataclasses.fields(LayerwiseAdamConfig)}
    return LayerwiseAdam(cfg, [p for p in model.parameters() if p.requires_grad])


def test_frozen_parameters_are_left_exactly_as_they_are(pretrained):
    """Neither weight decay nor Adam's memory touches them; a gradient of zero would let both."""
    model = Classifier.build_model(config(pretrained, freeze_updates=1)).train()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = host_optimizer(model)
    model(batch())["logits"].square().sum().backward()
    host.drop_gradients(optimizer, model.frozen_parameters())
    optimizer.step()
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {"head.weight", "head.bias"}
    assert {id(p) for p in optimizer.optimizer.state} == {id(p) for p in model.head.parameters()}


def test_frozen_parameters_in_half_precision():
    class Wrapped:  # as the hosts' FP16Optimizer
        has_flat_params = False

    held, free = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    twins = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    for parameter in (held, free, *twins):
        parameter.grad = torch.ones(2)
    Wrapped.fp16_params, Wrapped.fp32_params = [held, free], twins
    host.drop_gradients(Wrapped(), [held])
    assert held.grad is None and twins[0].grad is None
    assert free.grad is not None and twins[1].grad is not None
    Wrapped.has_flat_params = True
    with pytest.raises(DataError, match="fp16_no_flatten_grads"):
        host.drop_gradients(Wrapped(), [held])


def half_per_layer(name):
    """0.01 for the head, half of it for each layer below."""
    rates = {"head.": 0.01, "encoder.layers.1.": 0.005, "encoder.layers.0.": 0.0025, "": 0.00125}
    return next(rate for key, rate in rates.items() if key in name)


def test_layer_decay_scales_the_learning_rate_of_each_layer(pretrained):
    model = Classifier.build_model(config(pretrained))
    optimizer = host_optimizer(model, layer_decay=0.5)
    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert len(rate) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        assert rate[id(parameter)] == pytest.approx(half_per_layer(name)), name
    optimizer.set_lr(0.1)
    assert optimizer.get_lr() == pytest.approx(0.1)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1, 0.05, 0.025, 0.0125])

    resumed = host_optimizer(model, layer_decay=0.5)
    resumed.load_state_dict(optimizer.state_dict())
    resumed.set_lr(0.2)
    assert [group["lr"] for group in resumed.param_groups] == pytest.approx([0.2, 0.1, 0.05, 0.025])


def test_layer_decay_of_one_is_the_hosts_adam_and_below_it_each_layer_has_its_own_rate(pretrained):
    def two_steps(make):
        torch.manual_seed(0)
        model = Classifier.build_model(config(pretrained, dropout=0.0, attention_dropout=0.0)).train()
        optimizer = make(model)
        for _ in range(2):
            optimizer.zero_grad()
            model(batch())["logits"].square().sum().backward()
            optimizer.step()
        return dict(model.named_parameters())

    def hosts_adam(rate):
        return lambda model: host.Adam(
            host_optimizer(model).cfg, [{"params": [p], "lr": rate(name)} for name, p in model.named_parameters()]
        )

    for got, expected in (
        (two_steps(host_optimizer), two_steps(hosts_adam(lambda name: 0.01))),
        (two_steps(lambda model: host_optimizer(model, layer_decay=0.5)), two_steps(hosts_adam(half_per_layer))),
    ):
        for name, value in expected.items():
            assert torch.equal(got[name], value), name


def test_layer_decay_is_refused_where_layers_are_not_known(pretrained):
    with pytest.raises(DataError, match="model._name=cmelt_classifier"):
        host_optimizer(tiny_model(), layer_decay=0.5)
    flat = torch.nn.Module()
    flat.all = torch.nn.Parameter(torch.zeros(4))  # common.fp16 without fp16_no_flatten_grads
    with pytest.raises(DataError, match="fp16_no_flatten_grads=true"):
        host_optimizer(flat, layer_decay=0.5)
    with pytest.raises(DataError, match="above 0 and at most 1"):
        host_optimizer(Classifier.build_model(config(pretrained)), layer_decay=1.5)


def test_a_checkpoint_with_other_columns_is_refused(pretrained):
    """Resuming on a manifest whose columns stand in another order would train every output on a foreign class."""
    a = Classifier.build_model(config(pretrained))
    b = Classifier.build_model(config(pretrained, class_names=["B", "A"]))
    with pytest.raises(RuntimeError, match="other classes, or on the same ones in another order"):
        b.load_state_dict(a.state_dict())
    assert not torch.equal(outputs_key(["a", "bc"]), outputs_key(["ab", "c"]))
    assert torch.equal(outputs_key(["A", "B"]), a.outputs)


def test_two_ranks_with_a_frozen_phase_equal_one_process(tmp_path):
    """torch's own data-parallel wrapper refuses parameters without a gradient; frozen weights get none and stay."""
    torch.manual_seed(3)
    whole = [(torch.randn(4, 12, 5000) * 0.3, torch.randint(0, 2, (4, 3)).float()) for _ in range(UPDATES)]
    halves = [[(ecg[part], labels[part]) for ecg, labels in whole] for part in (slice(0, 2), slice(2, 4))]
    first, second = two_ranks()(train, [(half, 2, True) for half in halves])
    alone = train(whole, 2, False)
    start = Classifier.build_model
    torch.manual_seed(0)
    initial = start(tiny_config(freeze_updates=2)).state_dict()
    for update in range(UPDATES):
        for name, expected in alone[update].items():
            assert torch.equal(first[update][name], second[update][name]), name
            torch.testing.assert_close(first[update][name], expected, rtol=1e-3, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
            if name.startswith("ecg_encoder."):
                assert torch.equal(expected, initial[name]) == (update < 2), (update, name)
