"""What every registered system must do; a system without a :class:`cases.Case` fails the first test."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compiled import traced_graphs
from pretrained_files import TEXTS, random_ecg, write_record, write_tokenizer_folder
from tiny import write_manifest
from torch import Tensor

from cmelt_plugin import export, predict, registry
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation import retrieve
from cmelt_plugin.evaluation.linear_probe import __main__ as linear_probe
from cmelt_plugin.evaluation.result_files import read_results
from cmelt_plugin.evaluation.zero_shot import __main__ as zero_shot
from cmelt_plugin.models.base import ECGModel, ECGTextModel
from cmelt_plugin.models.inference.portable import TORCHSCRIPT, write_graph
from cmelt_plugin.models.inference.pretrained import load_pretrained
from cmelt_plugin.modules.compiling import RECOMPUTES_COMPILED
from tests.losses.ranks import two_ranks
from tests.models.cmelt.batches import joined
from tests.systems.cases import (
    CASES,
    classification_step,
    criterion_of,
    hosted_model,
    plain_model,
    split_of,
    train_step,
    write_checkpoint,
)

NAMES = sorted(CASES)
READING = [name for name in NAMES if CASES[name].text_encoder is not None]


def option_names(name: str) -> set[str]:
    """Options of the task that a case's system has."""
    return {field.name for field in dataclasses.fields(registry.systems()[CASES[name].system].inputs_class().Options)}


VARIANTS = [(name, changes) for name in NAMES for changes in CASES[name].variants]


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    """Records of which one is short, several with one report."""
    splits = ("train", "valid", "test")
    return write_manifest(tmp_path_factory.mktemp("m") / "m", 12, n_reports=6, splits=splits, short_row=6, labels=True)


@pytest.fixture(scope="module")
def batches(directory) -> dict[str, list[dict[str, Any]]]:
    """Of every case five rows and three, the short record in the second."""
    splits = {name: split_of(case, directory, plain_model(case)) for name, case in CASES.items()}
    return {name: [split.collater([0, 1, 2, 3, 4]), split.collater([5, 6, 7])] for name, split in splits.items()}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    write_tokenizer_folder(folder / "tokenizer")
    for name, case in CASES.items():
        write_checkpoint(folder / f"{name}.pt", case, folder / "tokenizer")
    return {name: folder / f"{name}.pt" for name in CASES}


def test_every_system_has_a_case() -> None:
    assert {case.system for case in CASES.values()} == set(registry.systems())
    for case in CASES.values():
        assert registry.systems()[case.system].reads_text == (case.text_encoder is not None)


@pytest.mark.parametrize("name", NAMES)
def test_it_keeps_the_protocol(name: str) -> None:
    model = plain_model(CASES[name]).eval()
    assert isinstance(model, ECGTextModel if name in READING else ECGModel)
    ecg = torch.randn(3, 12, 1500, generator=torch.Generator().manual_seed(0)) * 0.3
    for pool in model.pools:
        features = model.ecg_features(ecg, None, pool)
        assert features.shape[0] == 3 and features.dtype == torch.float32 and features.isfinite().all()
    assert all(isinstance(layer, torch.nn.Module) for layer in model.layers()) and model.layers()
    scores = model.similarity(model.embed_ecg(ecg), model.embed_ecg(ecg))
    assert scores.shape == (3, 3) and scores.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_losses_fall_and_every_parameter_learns(name: str, batches) -> None:
    case, sample = CASES[name], batches[name][1]
    model, criterion = hosted_model(case).train(), criterion_of(case).train()
    parameters = {key: parameter for key, parameter in model.named_parameters() if parameter.requires_grad}
    optimizer = torch.optim.Adam(parameters.values(), lr=3e-3)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss, rows, log = criterion(model, sample)
        assert rows == 3 and {f"loss_{term}" for term in case.losses} == {key for key in log if key.startswith("loss_")}
        (loss / rows).backward()
        optimizer.step()
        losses.append(float(loss) / rows)
    assert np.isfinite(losses).all() and losses[-1] < 0.9 * losses[0]
    idle = {key for key, parameter in parameters.items() if parameter.grad is None or not parameter.grad.any()}
    assert idle == case.idle


@pytest.mark.parametrize("name", [name for name in NAMES if "lead_sets" in option_names(name)])
def test_sets_of_leads_depend_on_epoch_and_record_alone(name: str, directory) -> None:
    case = dataclasses.replace(CASES[name], inputs={**CASES[name].inputs, "lead_sets": "all limb:0.5 I+II any"})
    model = plain_model(case)
    data, valid = split_of(case, directory, model), split_of(case, directory, model, "valid")
    whole = data.collater(list(range(12)))["net_input"]["lead_mask"]
    assert not whole.all(dim=1).any() and len(whole.unique(dim=0)) > 2
    assert torch.equal(data.collater([9, 4])["net_input"]["lead_mask"], whole[[9, 4]])
    data.set_epoch(2)
    assert not torch.equal(data.collater(list(range(12)))["net_input"]["lead_mask"], whole)
    assert valid.collater([0, 1])["net_input"].get("lead_mask") is None


# -- Padding, leads, precision ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_padding_of_ecgs_changes_nothing(name: str) -> None:
    model, ecg = plain_model(CASES[name]).eval(), torch.from_numpy(np.stack([random_ecg(seed=seed) for seed in (0, 1)])).float()
    padded, n_samples = ecg.clone(), torch.tensor([5000, 2400])
    padded[1, :, 2400:] = 0.0
    found = model.embed_ecg(padded, n_samples).mean
    expected = torch.cat([model.embed_ecg(ecg[:1]).mean, model.embed_ecg(ecg[1:, :, :2400]).mean])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", READING)
def test_padding_of_texts_changes_nothing(name: str) -> None:
    model, ids = plain_model(CASES[name]).eval(), torch.tensor([[5, 6, 7, 1]])
    longer = torch.nn.functional.pad(ids, (0, 3), value=9)
    padding = torch.arange(7)[None] >= 4
    torch.testing.assert_close(model.embed_text(longer, padding).mean, model.embed_text(ids).mean, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_agrees(name: str, dtype: torch.dtype, batches) -> None:
    """The whole model in half precision, as the hosts' fp16 and bf16 train it: embeddings and the loss's terms."""
    case, sample = CASES[name], batches[name][1]
    whole, half, criterion = hosted_model(case), hosted_model(case).to(dtype), criterion_of(case).eval()
    ecg = sample["net_input"]["ecg"]
    expected, found = whole.eval().embed_ecg(ecg).mean, half.eval().embed_ecg(ecg).mean
    assert found.dtype == torch.float32 and torch.cosine_similarity(found, expected).min() > 0.99
    logs = [criterion(model, sample)[2] for model in (whole, half)]
    for term in case.losses:
        assert logs[1][f"loss_{term}"] == pytest.approx(logs[0][f"loss_{term}"], rel=0.1, abs=0.2), term


@pytest.mark.parametrize("name, changes", VARIANTS)
def test_recomputed_and_compiled_layers_train_as_written_ones(name: str, changes: dict[str, Any], batches) -> None:
    sample = batches[name][1]
    expected = train_step(name, sample, **changes)
    recomputed = train_step(name, sample, checkpoint_activations=True, **changes)
    assert_same_gradients(recomputed, expected, rtol=1e-5, atol=1e-7)
    for more in ({}, {"checkpoint_activations": True}):
        with traced_graphs() as graphs:
            compiled = train_step(name, sample, compile=True, **more, **changes)
        written = more and name != "cmelt" and not RECOMPUTES_COMPILED  # torch 2.3 compiles no layers that are recomputed
        assert not graphs if written else len(graphs) >= CASES[name].compiled
        torch.testing.assert_close(compiled["loss"], expected["loss"])
        assert_same_gradients(compiled, expected, rtol=1e-4, atol=1e-5)


def assert_same_gradients(found: dict[str, Any], expected: dict[str, Any], rtol: float, atol: float) -> None:
    for key, gradient in expected["gradients"].items():
        if gradient is None:
            assert found["gradients"][key] is None, key
        else:
            torch.testing.assert_close(
                found["gradients"][key], gradient, rtol=rtol, atol=atol, msg=lambda m, key=key: f"{key}: {m}"
            )


@pytest.mark.parametrize("name", NAMES)
def test_equal_seeds_give_equal_models_and_batches(name: str, directory) -> None:
    case = CASES[name]
    weights = [torch.cat([p.flatten() for p in plain_model(case, seed).parameters()]) for seed in (1, 1, 2)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    splits = [split_of(case, directory, plain_model(case)) for _ in range(2)]
    splits[1].set_epoch(2)
    first, again, later = splits[0].collater([0, 1, 2]), splits[0].collater([0, 1, 2]), splits[1].collater([0, 1, 2])
    tensors = {key: value for key, value in first["net_input"].items() if torch.is_tensor(value)}
    assert all(torch.equal(again["net_input"][key], value) for key, value in tensors.items())
    drawn = [key for key, value in tensors.items() if not _same(later["net_input"][key], value)]
    assert bool(drawn) == case.draws and "ecg" not in drawn


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other)


# -- Ranks --------------------------------------------------------------------------------------------------------------


def assert_same_step(name: str, steps: list[dict[str, Any]], alone: dict[str, Any], counting: list[int]) -> None:
    """Equal loss and gradients before the trainer divides by the rows, and the same statistics left behind."""
    assert sum(step["sample_size"] for step in steps) == alone["sample_size"]
    torch.testing.assert_close(sum(step["loss"] for step in steps), alone["loss"], rtol=1e-4, atol=1e-5)
    # What batch norm cancels is rounding alone, in sums as large as the other gradients.
    largest = max(1.0, *(float(gradient.abs().max()) for gradient in alone["gradients"].values() if gradient is not None))
    atol = CASES[name].gradient_atol * largest
    for key, expected in alone["gradients"].items():
        gradients = [step["gradients"][key] for step in steps if step["gradients"][key] is not None]
        assert bool(gradients) == (expected is not None), key
        if gradients:
            torch.testing.assert_close(sum(gradients), expected, rtol=2e-3, atol=atol, msg=lambda m, n=key: f"{n}: {m}")
    for rank in counting:
        for key, expected in alone["buffers"].items():
            torch.testing.assert_close(steps[rank]["buffers"][key], expected, rtol=1e-4, atol=1e-5, msg=key)


@pytest.mark.parametrize("name", NAMES)
def test_two_ranks_fine_tune_as_one_process(name: str, batches) -> None:
    """Batch statistics of all ranks, where an encoder has any; what a rank repeats counts nowhere."""
    steps = two_ranks()(classification_step, [(name, sample) for sample in batches[name]])
    assert_same_step(name, steps, classification_step(name, joined(*batches[name])), [0, 1])
    repeated = [batches[name][0], {**batches[name][1], "ignore_grad": True}]
    steps = two_ranks()(classification_step, [(name, sample) for sample in repeated])
    assert_same_step(name, steps, classification_step(name, repeated[0]), [0, 1])
    assert not any(steps[1]["log"].values())


def skip_where_rounding_decides(name: str) -> None:
    """Of that case a relative change of the ECG by 1e-7 moves gradients by up to nine times what ranks may differ by."""
    if name == "echoing-resnet18" and tuple(map(int, torch.__version__.split(".")[:2])) < (2, 5):
        pytest.skip(f"by the rounding of torch {torch.__version__} ranks lie on either side of a kink of this encoder")


@pytest.mark.parametrize("batch_size", [None, 5])
@pytest.mark.parametrize("name", NAMES)
def test_two_ranks_train_as_one_process(name: str, batch_size, batches) -> None:
    skip_where_rounding_decides(name)
    steps = two_ranks()(train_step, [(name, sample, batch_size) for sample in batches[name]])
    assert_same_step(name, steps, train_step(name, joined(*batches[name])), [0, 1])


@pytest.mark.parametrize("name", NAMES)
def test_a_rank_that_ran_out_of_batches_counts_nowhere(name: str, batches) -> None:
    """Neither in the loss nor in the log, the gradients or the statistics of a batch."""
    skip_where_rounding_decides(name)
    for repeating in (0, 1):
        samples = [dict(sample) for sample in batches[name]]
        samples[repeating]["ignore_grad"] = True
        steps = two_ranks()(train_step, [(name, sample) for sample in samples])
        assert_same_step(name, steps, train_step(name, batches[name][1 - repeating]), [0, 1])
        assert not any(steps[repeating]["log"].values())
        assert all(g is None or g.isfinite().all() for g in steps[repeating]["gradients"].values())


# -- A trained model -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_an_exported_model_is_the_same_bit_for_bit(name: str, checkpoints, tmp_path) -> None:
    assert export.main(["--checkpoint", str(checkpoints[name]), "--dest", str(tmp_path / "out"), "--name", "Some model"]) == 0
    one, other = load_pretrained(checkpoints[name]), load_pretrained(tmp_path / "out")
    expected, found = one.model.state_dict(), other.model.state_dict()
    assert list(found) == list(expected) and all(torch.equal(found[key], expected[key]) for key in expected)
    ecg = random_ecg()
    assert torch.equal(other.encode_ecg(ecg), one.encode_ecg(ecg))
    if name in READING:
        assert torch.equal(other.encode_text(TEXTS), one.encode_text(TEXTS))
    assert "Some model" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", READING)
def test_it_is_evaluated_by_every_command(name: str, checkpoints, directory, tmp_path) -> None:
    common = ["--checkpoint", str(checkpoints[name]), "--manifest", str(directory), "--bootstrap", "0"]
    assert zero_shot.main([*common, "--thresholds-from", "none", "--results", str(tmp_path / "zero_shot")]) == 0
    assert retrieve.main([*common, "--results", str(tmp_path / "retrieval")]) == 0
    probe = ["--fraction", "1.0", "--seeds", "1", "--epochs", "2", "--results", str(tmp_path / "probe")]
    assert linear_probe.main([*common, *probe]) == 0
    names = {"zero_shot": "macro_auc", "retrieval": "ecg_to_text_r1", "probe": "macro_auc"}
    for kind, metric in names.items():
        results = read_results([tmp_path / kind])
        assert results and all(0 <= stored.result.metrics[metric] <= 1 for stored in results)
        assert {stored.result.n_records for stored in results} == {12}
        assert {stored.result.settings.get("score") for stored in results} == {None if kind == "probe" else "cosine"}


@pytest.mark.parametrize("name", READING)
def test_it_predicts_and_takes_missing_leads_as_zero(name: str, checkpoints, tmp_path, capsys) -> None:
    prompts = tmp_path / "prompts.json"
    prompts.write_text(json.dumps({"AFIB": [TEXTS[1]], "SR": [TEXTS[0], TEXTS[3]]}), encoding="utf-8")
    signal = random_ecg()
    record = write_record(tmp_path, "r", signal)
    options = ["--checkpoint", str(checkpoints[name]), "--prompts", str(prompts), "--format", "jsonl"]
    assert predict.main([*options, str(record)]) == 0
    line = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    model = load_pretrained(checkpoints[name])
    names, scores = model.zero_shot(signal, json.loads(prompts.read_text()))
    assert set(names) == {"AFIB", "SR"} and "AFIB" in json.dumps(line)
    with pytest.raises(DataError, match="V6"):
        model.encode_ecg(signal[:-1], leads=LEADS[:-1])
    silent = signal.copy()
    silent[-1] = 0.0
    found = model.encode_ecg(signal[:-1], leads=LEADS[:-1], missing_leads="zero")
    assert torch.equal(found, model.encode_ecg(silent)) and not torch.allclose(found, model.encode_ecg(signal))


@pytest.mark.parametrize("name", sorted(READING))
def test_it_becomes_a_graph(name: str, checkpoints, tmp_path) -> None:
    written = write_graph(tmp_path, load_pretrained(checkpoints[name]), TORCHSCRIPT)
    assert written.difference <= 1e-4  # of one recording and of four; it was traced with two
