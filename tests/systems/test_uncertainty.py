"""Variances as an option of every contrastive system: off they are not there, on they are learned, kept and given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from calibrated import PROMPTS, write_calibration_data
from pretrained_files import TEXTS, random_ecg, write_tokenizer_folder
from tiny import write_manifest
from torch import Tensor

from cmelt_plugin import export
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.store.record_store import RecordStore
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.calibrate import __main__ as calibrate
from cmelt_plugin.evaluation.confidence import __main__ as confidence
from cmelt_plugin.evaluation.embedding.kinds import silent_embedding
from cmelt_plugin.evaluation.result_files import read_results
from cmelt_plugin.evaluation.variance_head import __main__ as variance_head
from cmelt_plugin.losses.pcmepp import match_loss, pseudo_positive_targets, sampled_distance, vib
from cmelt_plugin.losses.prolip import inclusion_loss
from cmelt_plugin.models.files.encoder_source import read_encoder
from cmelt_plugin.models.inference.answering import UNCERTAIN
from cmelt_plugin.models.inference.calibration import calibration_folders, calibration_root, read_calibration
from cmelt_plugin.models.inference.pretrained import load_pretrained
from cmelt_plugin.modules.uncertainty import PCMEPP, PROLIP, UNCERTAINTIES
from tests.losses.ranks import two_ranks
from tests.models.cmelt.batches import joined
from tests.systems.cases import CASES, hosted_model, plain_model, split_of, write_checkpoint
from tests.systems.uncertainty_step import criterion_with, uncertainty_step

NAMES = ("cmelt", "melp", "melp-resnet18", "merl-resnet18", "merl-vit")
KINDS = (PCMEPP, PROLIP)


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("m") / "m"
    return write_manifest(folder, 12, n_reports=6, splits=("train", "valid"), short_row=6)


@pytest.fixture(scope="module")
def batches(directory) -> dict[str, dict[str, Any]]:
    """Four rows of every system, one of them short."""
    return {name: split_of(CASES[name], directory, plain_model(CASES[name])).collater([4, 5, 6, 7]) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_off_it_is_not_there(name: str, batches) -> None:
    model = hosted_model(CASES[name]).train()
    assert model.uncertainty is None and not [key for key in model.state_dict() if "uncertainty" in key]
    plain = criterion_with(name)(model, batches[name])
    without = criterion_with(name, uncertainty_weight=0.0)(model, batches[name])
    assert torch.equal(plain[0], without[0]) and plain[2].keys() == without[2].keys()
    assert not [key for key in plain[2] if "uncertainty" in key]
    assert model.eval().embed_ecg(batches[name]["net_input"]["ecg"]).log_variance is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_means_are_those_of_the_same_weights_without_it(name: str, kind: str, batches) -> None:
    model, plain = (plain_model(CASES[name], uncertainty=value).eval() for value in (kind, "none"))
    weights = {key: value for key, value in model.state_dict().items() if not key.startswith("uncertainty.")}
    plain.load_state_dict(weights, strict=True)
    inputs = batches[name]["net_input"]
    n_samples = inputs["n_samples"]
    found, expected = (one.embed_ecg(inputs["ecg"], n_samples) for one in (model, plain))
    torch.testing.assert_close(found.mean, expected.mean)
    torch.testing.assert_close(model.ecg_features(inputs["ecg"], n_samples), plain.ecg_features(inputs["ecg"], n_samples))
    texts = [one.embed_text(inputs["text"], inputs["text_padding_mask"]) for one in (model, plain)]
    torch.testing.assert_close(texts[0].mean, texts[1].mean)
    assert found.log_variance.shape == found.mean.shape and texts[0].log_variance.shape == texts[0].mean.shape
    short = slice(2, 3)  # what stands behind the end of a record or a text says nothing
    n = int(n_samples[2])
    cut = model.embed_ecg(inputs["ecg"][short, :, :n])
    torch.testing.assert_close(cut.log_variance, found.log_variance[short], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_every_part_of_it_learns(name: str, kind: str, batches) -> None:
    model, criterion = hosted_model(CASES[name], uncertainty=kind).train(), criterion_with(name).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        loss, rows, log = criterion(model, batches[name])
        (loss / rows).backward()
        optimizer.step()
        losses.append(float(log["loss_uncertainty"]))
    assert losses[-1] < losses[0]
    assert not [key for key, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert float(log["match_ecg_uncertainty_std/sum"]) > 0
    twice = [key for key in log if "inclusion" in key and key.endswith("/count")]
    assert len(twice) == (2 if kind == PROLIP else 0)


def formula(out: dict[str, Tensor], kind: str, targets: Tensor, own: Tensor) -> Tensor:
    """Of B records: 2 · BCE + α · pseudo-positives + β · VIB as means over pairs; or the inclusions in place of the second."""
    ecg, text = ((out[f"{side}_embedding"], out[f"{side}_log_variance"]) for side in ("ecg", "text"))
    logits = out["match_shift"] - out["match_scale"] * sampled_distance(*ecg, *text)
    n = len(logits)
    total = 2 * match_loss(logits, targets) / n**2 + 1e-4 * (vib(*ecg).mean() + vib(*text).mean())
    if kind == PCMEPP:
        for view, goal in ((logits, targets), (logits.T, targets.T)):
            total = total + 0.1 * match_loss(view, pseudo_positive_targets(view.detach(), goal)) / n**2
        return total
    inside = [inclusion_loss(*(part[i : i + 1] for part in (*ecg, *text))) for i in range(n) if own[i]]
    total = total + 0.1 * sum(inside) / n
    return total + 0.1 * inclusion_loss(ecg[0][:1], ecg[1][:1], out["hidden_mean"], out["hidden_log_variance"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["cmelt", "merl-resnet18"])
def test_the_loss_is_its_formula(name: str, kind: str, batches) -> None:
    """Half of C-MELT's reports are foreign ones: no match, and nothing that their ECG lies in."""
    data = batches[name]
    model, criterion = hosted_model(CASES[name], uncertainty=kind).train(), criterion_with(name, duplicates="negative").train()
    torch.manual_seed(1)
    loss, rows, log = criterion(model, data)
    options = criterion.model_options(data, tuple(criterion.computed_terms()))
    torch.manual_seed(1)
    out = model(**data["net_input"], **options)
    own = data.get("aligned", torch.ones(rows, dtype=torch.bool))
    assert name == "merl-resnet18" or 0 < own.sum() < rows
    expected = formula(out, kind, torch.diag(own.float()), own)
    torch.testing.assert_close(log["loss_uncertainty"] / rows, expected.detach(), rtol=1e-4, atol=1e-6)
    others = sum(value for key, value in log.items() if key.startswith("loss_") and key != "loss_uncertainty")
    torch.testing.assert_close(loss.detach(), others + log["loss_uncertainty"])


@pytest.mark.parametrize(("name", "kind"), [("cmelt", PROLIP), ("merl-resnet18", PCMEPP)])
def test_two_ranks_learn_as_one_process(name: str, kind: str, directory) -> None:
    split = split_of(CASES[name], directory, plain_model(CASES[name]))
    samples = [split.collater([0, 1, 2, 3]), split.collater([5, 6, 7])]
    steps = two_ranks()(uncertainty_step, [(name, kind, sample) for sample in samples])
    alone = uncertainty_step(name, kind, joined(*samples))
    torch.testing.assert_close(sum(step["loss"] for step in steps), alone["loss"], rtol=1e-4, atol=1e-4)
    largest = max(float(gradient.abs().max()) for gradient in alone["gradients"].values() if gradient is not None)
    for key, expected in alone["gradients"].items():
        found = sum(step["gradients"][key] for step in steps)
        torch.testing.assert_close(found, expected, rtol=5e-3, atol=1e-4 * largest, msg=lambda m, key=key: f"{key}: {m}")


def test_it_stands_beside_the_contrastive_loss_alone(batches) -> None:
    assert set(criterion_with("merl-vit", cma_weight=0.0).computed_terms()) == {"uma"}
    model = hosted_model(CASES["melp"], uncertainty=PROLIP)
    model.train_for({"caption"}, None)
    assert not any(parameter.requires_grad for parameter in model.uncertainty.parameters())


def test_settings_that_cannot_be_are_refused() -> None:
    for changes, message in (
        ({"uncertainty": "gauss"}, f"model.uncertainty must be one of {', '.join(UNCERTAINTIES)}, not 'gauss'"),
        ({"uncertainty": "prolip", "variance_init": 0.0}, "model.variance_init must be a positive number"),
    ):
        for name in ("cmelt", "melp", "merl-vit"):
            with pytest.raises(DataError, match=message):
                plain_model(CASES[name], **changes)
    with pytest.raises(DataError, match="normalise_embeddings=true"):
        plain_model(CASES["cmelt"], uncertainty="pcmepp", normalise_embeddings=False)
    for option, value in (("vib_weight", -1.0), ("hidden_share", 1.5)):
        with pytest.raises(DataError, match=f"criterion.uncertainty_{option}"):
            criterion_with("merl-vit", **{f"uncertainty_{option}": value})


@pytest.mark.parametrize(("name", "kind"), [("cmelt", PROLIP), ("melp", PROLIP), ("merl-resnet18", PCMEPP)])
def test_a_trained_model_gives_its_variances(name: str, kind: str, directory, tmp_path) -> None:
    """Opened and exported alike; classifiers take its encoder; it wants no head; an older checkpoint knows no such setting."""
    write_tokenizer_folder(tmp_path / "tokenizer")
    case = CASES[name]
    with_it = type(case)(**{**vars(case), "model": {**case.model, "uncertainty": kind}})
    write_checkpoint(tmp_path / "with.pt", with_it, tmp_path / "tokenizer")
    assert export.main(["--checkpoint", str(tmp_path / "with.pt"), "--dest", str(tmp_path / "out"), "--name", "m"]) == 0
    one, other = load_pretrained(tmp_path / "with.pt"), load_pretrained(tmp_path / "out")
    found, same = (opened.embed_ecg(random_ecg()) for opened in (one, other))
    assert torch.equal(found.uncertainty(), same.uncertainty()) and found.uncertainty().isfinite().all()
    assert torch.equal(one.embed_text(TEXTS).uncertainty(), other.embed_text(TEXTS).uncertainty())
    assert silent_embedding(one).log_variance is not None
    classes = one.class_embeddings({"a": TEXTS[:2], "b": TEXTS[2:]})[1]
    assert classes.rows == 2 and classes.uncertainty().isfinite().all()
    assert not [key for key in read_encoder(str(tmp_path / "with.pt")).weights if "uncertainty" in key]
    with pytest.raises(DataError, match="Gaussians already"):
        variance_head.main(["--checkpoint", str(tmp_path / "with.pt"), "--manifest", str(directory)])

    write_checkpoint(tmp_path / "without.pt", case, tmp_path / "tokenizer")
    state = torch.load(tmp_path / "without.pt", weights_only=False)
    assert state["cfg"]["model"].pop("uncertainty") == "none" and state["cfg"]["model"].pop("variance_init")
    torch.save(state, tmp_path / "older.pt")
    assert load_pretrained(tmp_path / "older.pt").embed_ecg(random_ecg()).log_variance is None


def test_a_calibrated_model_abstains_by_its_variance(tmp_path) -> None:
    """The limit is on the variance that was learned; what is measured of confidence names it, too."""
    directory = write_calibration_data(tmp_path / "m")
    write_tokenizer_folder(tmp_path / "tokenizer")
    (tmp_path / "prompts.json").write_text(json.dumps(PROMPTS))
    case = CASES["merl-resnet18"]
    with_it = type(case)(**{**vars(case), "model": {**case.model, "uncertainty": PROLIP}})
    write_checkpoint(tmp_path / "model.pt", with_it, tmp_path / "tokenizer")
    shared = ["--checkpoint", tmp_path / "model.pt", "--manifest", directory, "--prompts", tmp_path / "prompts.json"]
    calibrated = [*shared, "--recall", 0.8, "--uncertainty", "variance", "--refuse", 0.4]
    assert calibrate.main([str(word) for word in calibrated]) == 0
    (folder,) = calibration_folders(calibration_root(tmp_path / "model.pt"))
    limits = read_calibration(folder).abstention
    opened = load_pretrained(tmp_path / "model.pt")
    manifest = Manifest.open(directory, "test")
    ecg = RecordStore(manifest.store_root).read(manifest.shard[:12], manifest.row[:12])
    reasons = [{reason.code for reason in opened.answer(one).abstention} for one in ecg]
    unsure = [float(opened.embed_ecg(one).uncertainty()) > limits["uncertainty"] for one in ecg]
    assert limits["uncertainty_name"] == "variance" and [UNCERTAIN in codes for codes in reasons] == unsure
    assert 0 < sum(unsure) < len(unsure)
    measured = [*shared, "--recall", 0.8, "--no-probes", "--foreign", "--bootstrap", 0, "--results", tmp_path / "results"]
    assert confidence.main([str(word) for word in measured]) == 0
    (found,) = read_results([tmp_path / "results"])
    assert found.result.metrics["augrc/variance"] > 0
