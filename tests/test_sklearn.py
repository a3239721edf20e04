"""The estimators: scikit-learn's own checks as far as recordings allow, pipelines, and what they give."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import published_encoders
import pytest
import torch
from pretrained_files import random_ecg, write_checkpoint, write_classifier, write_record, write_tokenizer_folder
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import estimator_checks_generator

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.inference.pretrained import load_pretrained
from cmelt_plugin.sklearn import ECGEncoder, ZeroShotECGClassifier

PROMPTS = {"SR": ["sinus rhythm"], "AFIB": ["atrial fibrillation", "af"], "LBBB": ["left bundle branch block"]}
ECGS = np.stack([random_ecg(seed=seed) for seed in range(6)])
LABELS = np.array([0, 1] * 3)
CHECKS = (
    # Of scikit-learn's checks all that bring no table of their own: the others are of two dimensions.
    "check_estimator_cloneable",
    "check_estimator_tags_renamed",
    "check_valid_tag_types",
    "check_estimator_repr",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_get_params_invariance",
    "check_set_params",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_mixin_order",
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("pretrained")
    write_tokenizer_folder(folder / "tokenizer")
    write_checkpoint(folder / "cmelt.pt", folder / "tokenizer")
    return str(folder / "cmelt.pt")


@pytest.mark.parametrize("kind", (ECGEncoder, ZeroShotECGClassifier))
def test_scikit_learns_checks(kind: type, checkpoint: str) -> None:
    estimator = kind(checkpoint, **({"prompts": PROMPTS} if kind is ZeroShotECGClassifier else {}))
    offered = [check.func.__name__ for _, check in estimator_checks_generator(estimator)]
    assert set(offered) <= set(CHECKS)  # what it offers for three dimensions
    for name in CHECKS:
        getattr(estimator_checks, name)(kind.__name__, clone(estimator))


def test_an_encoder_gives_what_the_model_gives(checkpoint: str) -> None:
    model = load_pretrained(checkpoint)
    features = ECGEncoder(checkpoint).fit_transform(ECGS)
    np.testing.assert_array_equal(features, model.ecg_features(ECGS).numpy())
    encoder = ECGEncoder(checkpoint, output="embedding").fit()
    np.testing.assert_array_equal(encoder.transform(ECGS), model.encode_ecg(ECGS).numpy())
    assert (
        encoder.get_feature_names_out()[0] == "ecgencoder0" and len(encoder.get_feature_names_out()) == encoder.n_features_out_
    )
    assert encoder.signal_contract_["sample_rate"] == 500 and encoder.signal_contract_["leads"] == list(LEADS)
    mean = ECGEncoder(checkpoint, pool="mean").fit_transform(ECGS)
    np.testing.assert_array_equal(mean, model.ecg_features(ECGS, pool="mean").numpy())


def test_other_rates_orders_and_files(checkpoint: str, tmp_path: Path) -> None:
    order = [1, 0, *range(2, 12)]
    expected = ECGEncoder(checkpoint).fit_transform(ECGS)
    swapped = ECGEncoder(checkpoint, leads=[LEADS[row] for row in order]).fit_transform(ECGS[:, order])
    np.testing.assert_allclose(swapped, expected, atol=1e-6)
    slow = np.stack([random_ecg(rate=250, seed=seed) for seed in range(6)])
    assert np.abs(ECGEncoder(checkpoint, sample_rate=250).fit_transform(slow) - expected).max() < 0.1
    eight = [0, 1, *range(6, 12)]
    names = [LEADS[row] for row in eight]
    few = [write_record(tmp_path, f"few{number}", ecg[eight], leads=names) for number, ecg in enumerate(ECGS)]
    of_arrays = ECGEncoder(checkpoint, leads=names).fit_transform(ECGS[:, eight])
    np.testing.assert_allclose(of_arrays, ECGEncoder(checkpoint).fit_transform(few), atol=0.02)
    with_frank = ECGEncoder(checkpoint, leads=[*LEADS, "vx"]).fit_transform(np.concatenate([ECGS, ECGS[:, :1]], axis=1))
    np.testing.assert_allclose(with_frank, expected, atol=1e-6)
    paths = [str(write_record(tmp_path, f"r{number}", ecg)) + ".hea" for number, ecg in enumerate(ECGS)]
    np.testing.assert_allclose(ECGEncoder(checkpoint).fit_transform(paths), expected, atol=0.02)


def test_a_pipeline_and_cross_validation(checkpoint: str) -> None:
    pipeline = make_pipeline(ECGEncoder(checkpoint), StandardScaler(), LogisticRegression())
    assert (pipeline.fit(ECGS, LABELS).predict(ECGS) == LABELS).all()
    assert set(cross_val_predict(pipeline, ECGS, LABELS, cv=3)) <= {0, 1}
    again = clone(pipeline)
    assert again.get_params()["ecgencoder__model"] == checkpoint and not hasattr(again[0], "signal_contract_")


def test_published_models_by_name(tmp_path: Path) -> None:
    torch.save({"model": published_encoders.weights(published_encoders.fairseq_wav2vec())}, tmp_path / "ecg_fm.pt")
    encoder = ECGEncoder("ecg-fm", weights=str(tmp_path / "ecg_fm.pt")).fit()
    assert encoder.n_features_out_ == 64 and encoder.signal_contract_["published"]["licence"] == "MIT"
    again = ECGEncoder.load(encoder.save(tmp_path / "encoder.json"))
    np.testing.assert_array_equal(again.transform(ECGS), encoder.transform(ECGS))
    with pytest.raises(DataError, match="ecg-fm: give its weights"):
        ECGEncoder("ecg-fm").fit()
    with pytest.raises(DataError, match="weights= is for dbeta, merl"):
        ECGEncoder(str(tmp_path / "ecg_fm.pt"), weights="other.pt").fit()


def test_another_model_is_opened_by_fit_and_used_after_it_alone(checkpoint: str, tmp_path: Path) -> None:
    write_tokenizer_folder(tmp_path / "tokenizer")
    write_checkpoint(tmp_path / "other.pt", tmp_path / "tokenizer", seed=7)
    other = str(tmp_path / "other.pt")
    encoder = ECGEncoder(checkpoint).fit()
    classifier = ZeroShotECGClassifier(checkpoint, prompts=PROMPTS).fit()
    opened = encoder.pretrained
    assert encoder.set_params(batch_size=2).fit().pretrained is opened
    for estimator, use in ((encoder, encoder.transform), (classifier, classifier.decision_function)):
        before = use(ECGS)
        estimator.set_params(model=other)
        with pytest.raises(NotFittedError, match="were set after fit"):
            use(ECGS)
        fresh = clone(estimator).fit()
        assert estimator.fit() is estimator and estimator.pretrained.model is not opened.model
        after = use(ECGS)
        np.testing.assert_array_equal(after, getattr(fresh, use.__name__)(ECGS))
        assert np.abs(after - before).max() > 1e-3
        with pytest.raises(DataError, match="missing.pt: no such"):
            estimator.set_params(model=str(tmp_path / "missing.pt")).fit()
        with pytest.raises(DataError, match="weights= is for"):
            estimator.set_params(model=checkpoint, weights="other.pt").fit()
        with pytest.raises(RuntimeError, match="nowhere"):
            estimator.set_params(weights=None, device="nowhere").fit()


def test_of_longer_recordings_the_first_seconds_are_used(checkpoint: str) -> None:
    longer = np.concatenate([ECGS, ECGS[::-1]], axis=2)
    encoder = ECGEncoder(checkpoint).fit()
    np.testing.assert_array_equal(encoder.transform(longer), encoder.transform(ECGS))


def test_zero_shot(checkpoint: str) -> None:
    model = load_pretrained(checkpoint)
    classifier = ZeroShotECGClassifier(checkpoint, prompts=PROMPTS).fit()
    names, expected = model.zero_shot(ECGS, PROMPTS)
    scores = classifier.decision_function(ECGS)
    assert classifier.classes_.tolist() == sorted(PROMPTS)
    np.testing.assert_allclose(scores, expected[:, [names.index(name) for name in classifier.classes_]], atol=1e-6)
    assert (classifier.predict(ECGS) == classifier.classes_[scores.argmax(axis=1)]).all()
    assert 0 <= classifier.score(ECGS, ["SR"] * 6) <= 1
    two = ZeroShotECGClassifier(checkpoint, prompts={name: PROMPTS[name] for name in ("SR", "AFIB")}).fit(ECGS, ["SR"] * 6)
    difference = two.decision_function(ECGS)
    assert difference.shape == (6,) and (two.predict(ECGS) == np.where(difference > 0, "SR", "AFIB")).all()
    with pytest.raises(DataError, match="no class text for PVC"):
        ZeroShotECGClassifier(checkpoint, prompts=PROMPTS).fit(ECGS, ["PVC"] * 6)


def test_they_are_stored_without_weights_and_without_pickle(checkpoint: str, tmp_path: Path) -> None:
    encoder = ECGEncoder(checkpoint, output="embedding").fit()
    again = ECGEncoder.load(encoder.save(tmp_path / "encoder.json"))
    np.testing.assert_array_equal(again.transform(ECGS), encoder.transform(ECGS))
    classifier = ZeroShotECGClassifier(checkpoint, prompts=PROMPTS).fit()
    loaded = ZeroShotECGClassifier.load(classifier.save(tmp_path / "classifier.json"))
    np.testing.assert_array_equal(loaded.predict(ECGS), classifier.predict(ECGS))
    with pytest.raises(DataError, match="encoder.json: no ZeroShotECGClassifier"):
        ZeroShotECGClassifier.load(tmp_path / "encoder.json")
    small = pickle.dumps(encoder)  # as joblib hands it to other processes
    assert len(small) < 5000
    np.testing.assert_array_equal(pickle.loads(small).transform(ECGS), encoder.transform(ECGS))


def test_another_model_is_another_model(checkpoint: str, tmp_path: Path) -> None:
    """Parameters that are set after the model was opened count."""
    encoder: Any = ECGEncoder("synthetic").fit()
    assert encoder.transform(ECGS).shape[1] != load_pretrained(checkpoint).encode_ecg(ECGS).shape[1]
    with pytest.raises(DataError, match="missing.pt: no such"):
        encoder.set_params(model=str(tmp_path / "missing.pt")).fit()
    found = encoder.set_params(model=checkpoint).fit().transform(ECGS)
    np.testing.assert_array_equal(found, ECGEncoder(checkpoint).fit().transform(ECGS))
    with pytest.raises(DataError, match="weights= is for"):
        encoder.set_params(weights="file.pt").fit()


def test_what_is_refused(checkpoint: str, tmp_path: Path) -> None:
    with pytest.raises(NotFittedError):
        ECGEncoder(checkpoint).transform(ECGS)
    with pytest.raises(NotFittedError):
        ZeroShotECGClassifier(checkpoint, prompts=PROMPTS).predict(ECGS)
    encoder: Any = ECGEncoder(checkpoint).fit()
    for wrong in (ECGS[0], np.zeros((2, 3, 4, 5)), [["a"]], "a"):
        with pytest.raises(ValueError, match="give recordings"):
            encoder.transform(wrong)
    with pytest.raises(DataError, match="missing V6"):
        ECGEncoder(checkpoint, leads=LEADS[:-1]).fit().transform(ECGS[:, :-1])
    with pytest.raises(DataError, match="output must be"):
        ECGEncoder(checkpoint, output="all").fit()
    with pytest.raises(DataError, match="missing.pt: no such"):
        ECGEncoder(str(tmp_path / "missing.pt")).fit()
    write_classifier(tmp_path / "c.pt", ["a", "b"])
    with pytest.raises(DataError, match="text"):
        ZeroShotECGClassifier(str(tmp_path / "c.pt"), prompts=PROMPTS).fit()
    assert torch.is_inference_mode_enabled() is False
