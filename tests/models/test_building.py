"""A configuration takes no more memory than the weights beside it, and odd values are refused in one line."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys

import pytest
import torch
from hosts import environment
from tiny import TINY_MODEL, tiny_model, tiny_t5_config

from cmelt_plugin.errors import DataError
from cmelt_plugin.models.building import build_from_config, build_random, check_fits
from cmelt_plugin.models.cmelt.config import CMELTConfig


@pytest.fixture(scope="module")
def weights():
    return dict(tiny_model().state_dict())


def settings(text: dict | None = None, **changes) -> dict:
    description = json.dumps({**json.loads(tiny_t5_config()), **(text or {})})
    cfg = CMELTConfig(**{**TINY_MODEL, "text_encoder_config": description})
    return {**dataclasses.asdict(cfg), "_name": "cmelt", **changes}


def test_what_fits_is_built_as_ever(weights) -> None:
    model = build_from_config(settings(), weights, "x.pt")
    assert not model.training and all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}
    half = {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}
    assert {p.dtype for p in build_from_config(settings(), half, "x.pt").parameters()} == {torch.float32}


def test_a_host_asks_before_it_reads_the_tensors_of_a_checkpoint(weights) -> None:
    from cmelt_plugin import host, register

    register()

    def tree(**changes):
        return {"cfg": {"model": settings(**changes)}, "model": weights}

    host.check_checkpoint(tree(), "x.pt")
    with pytest.raises(DataError, match="x.pt"):
        host.check_checkpoint(tree(encoder_layers=1_000_000), "x.pt")


# What takes gigabytes, or hours, where it is built before it is compared.
EXCESSIVE = [
    {"encoder_layers": 1_000_000},
    {"fusion_layers": 1_000_000},
    {"mem_decoder_layers": 1_000_000},
    {"encoder_embed_dim": 1_000_000},
    {"encoder_ffn_embed_dim": 10**12},
    {"fusion_dim": 400_000},
    {"conv_pos": 10**9},
    {"conv_feature_layers": "[(512, 2, 2)] * 1000000000"},
    {"conv_feature_layers": "[(512,2,2)] * 10**9"},
    {"conv_feature_layers": "[(1000000, 1000, 2)] * 3"},
    {"conv_feature_layers": "(" * 900},
    {"text": {"num_layers": 1_000_000}},
    {"text": {"vocab_size": 10**9}},
    {"text": {"vocab_size": 9_000_000, "d_model": 9_000_000}},
    {"text": {"num_labels": 10**9}},
    {"text": {"d_ff": 5_000_000, "d_model": 5_000_000}},
    {"text": {"model_type": "bert", "num_hidden_layers": 1_000_000}},
]
SCRIPT = """
import json, resource, sys
sys.path.insert(0, "tests/models")
from test_building import EXCESSIVE, settings
from tiny import tiny_model
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.building import build_from_config

weights = dict(tiny_model().state_dict())
build_from_config(settings(), weights, "x.pt")
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before, processor = peak(), lambda: sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
for changes in EXCESSIVE:
    changes, start = dict(changes), processor()
    values = settings(changes.pop("text", None), **changes)
    try:
        build_from_config(values, weights, "x.pt")
    except DataError as error:
        message = str(error)
    print("CASE" + json.dumps([message, peak() - before, processor() - start]))
"""


def test_sizes_are_compared_before_memory_is_taken() -> None:
    python_path = {"PYTHONPATH": ".:tests/support"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment("fairseq", **python_path), capture_output=True, text=True, timeout=300
    )
    cases = [json.loads(line[4:]) for line in done.stdout.splitlines() if line.startswith("CASE")]
    assert len(cases) == len(EXCESSIVE), done.stderr[-3000:]
    for changes, (message, megabytes, _) in zip(EXCESSIVE, cases):
        assert message.startswith("x.pt: ") and "\n" not in message, changes
        assert megabytes < 200, changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder_attention_heads": 0}, "0 attention heads"),
        ({"encoder_attention_heads": -4}, "-4 attention heads"),
        ({"encoder_layers": -1}, "unexpected ecg_encoder"),
        ({"encoder_layers": 2.0}, r"model.encoder_layers='2.0' is not of the type"),
        ({"encoder_layers": True}, "model.encoder_layers='True'"),
        ({"encoder_layers": "2"}, "model.encoder_layers='2'"),
        ({"encoder_layers": None}, "model.encoder_layers='None'"),
        ({"normalise_embeddings": "false"}, "model.normalise_embeddings='false'"),
        ({"dropout": math.nan}, "model.dropout='nan'"),
        ({"dropout": 7.0}, "dropout"),
        ({"conv_pos_groups": 0}, "x.pt"),
        ({"text_pool": []}, "model.text_pool"),
        ({"text_pool": "median"}, "x.pt"),
        ({"text_encoder_config": None}, "text_encoder_config is not set"),
        ({"text_encoder_config": "[" * 100_000}, "text_encoder_config: not JSON"),
        ({"text_encoder_config": "[]"}, "describes no text encoder"),
        ({"text_encoder_config": '{"model_type": "t5", "num_heads": "x"}'}, "x.pt"),
        ({"_name": ["cmelt"]}, "does not name a model"),
        ({"_name": "no such"}, "which this plugin does not know"),
        ({3: 4}, "no table of names"),
    ],
)
def test_odd_values_are_refused_in_one_line(changes, message, weights) -> None:
    with pytest.raises(DataError, match=message) as caught:
        build_from_config({**settings(), **changes}, weights, "x.pt")
    assert str(caught.value).startswith("x.pt: ") and "\n" not in str(caught.value) and len(str(caught.value)) < 1000


def test_a_message_lists_a_few_differences_and_counts_the_others(weights) -> None:
    with pytest.raises(DataError, match=r"x.pt: the weights do not fit .*: .* and \d+ more") as caught:
        check_fits(settings(encoder_ffn_embed_dim=128, fusion_ffn_dim=128), weights, "x.pt")
    assert str(caught.value).count("should be") == 5
    integers = {**weights, "log_logit_scale": torch.tensor(3)}
    with pytest.raises(DataError, match="log_logit_scale is torch.int64 and should be torch.float32"):
        check_fits(settings(), integers, "x.pt")


def test_random_weights_are_a_seed_s_own_and_leave_other_random_numbers_alone(weights) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    models = [build_random(settings(), "x.pt", seed) for seed in (1, 1, 2)]
    assert torch.equal(torch.rand(3), expected)
    states = [model.state_dict() for model in models]
    name = next(name for name, value in weights.items() if value.ndim == 2)
    assert torch.equal(states[0][name], states[1][name]) and not torch.equal(states[0][name], states[2][name])
    assert not models[0].training and states[0].keys() == weights.keys()
    with pytest.raises(DataError, match=r"x.pt: .* does not know: layers"):
        build_random(settings(layers=1), "x.pt")
