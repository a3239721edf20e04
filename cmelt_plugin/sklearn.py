"""scikit-learn's estimators around trained models: recordings to embeddings, and zero-shot classes.

``X`` is ``[n, leads, samples]`` in mV, or a list of paths of ECG files of any format that is read (docs/formats.md). ``fit``
learns nothing from it, so that pipelines, grids and cross-validation can be built on frozen encoders::

    make_pipeline(ECGEncoder("synthetic"), StandardScaler(), LogisticRegression()).fit(X, y)

Recordings pass the one way of this project (:meth:`.Pretrained.prepare`): other rates are resampled to the model's, leads are
put in its order by name, of longer recordings the first seconds that it takes are used, and what violates its contract is
refused. Estimators are stored as JSON (:meth:`ECGEncoder.save`); a
pickle of one holds its parameters alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from cmelt_plugin.data.files import read_object, write_json
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.store.record_store import SAMPLE_RATE
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.inference.pretrained import Pretrained, load_pretrained
from cmelt_plugin.models.inference.signal_contracts import is_published, open_published, published_models
from cmelt_plugin.weights import DEFAULT, PROMPTS

EMBEDDING, FEATURES = "embedding", "features"
KIND = "estimator"


class _OnModel(BaseEstimator):
    """What both estimators share: the model, the way to it, and storing the way."""

    model: Any
    weights: Any
    sample_rate: float
    leads: Sequence[str]
    missing_leads: str
    batch_size: int
    device: str
    _fitted_on: tuple[Any, ...]

    def save(self, path: str | os.PathLike) -> Path:
        """Write the parameters as JSON; weights stay where they are.

        Raises:
            DataError: a parameter that JSON does not hold.
        """
        values = {KIND: type(self).__name__, **self.get_params(deep=False)}
        try:
            plain = {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in values.items()}
            write_json(path, plain)
        except TypeError as error:
            raise DataError(f"{os.fspath(path)}: {error}; give parameters as texts, numbers, lists and dictionaries") from None
        return Path(path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Any:
        """The estimator of :meth:`save`, fitted.

        Raises:
            DataError: the file is of another one.
        """
        values = read_object(path)
        if values.pop(KIND, None) != cls.__name__ or not set(values) <= set(cls().get_params(deep=False)):
            raise DataError(f"{os.fspath(path)}: no {cls.__name__}; load it with the class that saved it")
        return cls(**values).fit()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_opened"}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.three_d_array, tags.input_tags.string = False, True, True
        tags.requires_fit = False
        return tags

    @property
    def pretrained(self) -> Pretrained:
        """The model that the parameters name, opened when first needed.

        Raises:
            DataError: nothing there that can be opened.
        """
        named, opened = self.__dict__.get("_opened", (None, None))
        if opened is None or named != self._named():
            opened = self._open()
            self._opened = self._named(), opened
        return opened

    def _named(self) -> tuple[Any, ...]:
        """The parameters that say which model it is, and where it computes."""
        return self.model, self.weights, self.device

    def _check_fitted(self) -> None:
        """Refuse to compute with another model than ``fit`` opened: what it stored is of that one.

        Raises:
            NotFittedError: ``fit`` was not called, or model, weights or device were set after it.
        """
        check_is_fitted(self, "_fitted_on")
        if self._fitted_on != self._named():
            raise NotFittedError(f"model, weights or device of this {type(self).__name__} were set after fit; call fit again")

    def _open(self) -> Pretrained:
        if is_published(self.model):
            return open_published(self.model, self.weights, self.device)
        if self.weights is not None:
            named = ", ".join(filter(is_published, published_models()))
            raise DataError(f"weights= is for {named}; {self.model} is opened as it is")
        return load_pretrained(self.model, device=self.device)

    @staticmethod
    def _recordings(X: Any) -> Any:
        """``X`` as models take it.

        Raises:
            ValueError: it is neither recordings nor paths.
        """
        if isinstance(X, (list, tuple)) and X and all(isinstance(item, (str, os.PathLike)) for item in X):
            return list(X)
        X = np.asarray(X)
        if X.ndim == 1 and len(X) and X.dtype.kind in "UO":
            return [str(item) for item in X]  # paths that went through scikit-learn's splitters
        if X.ndim != 3 or X.dtype.kind not in "iuf":
            raise ValueError(f"X is {X.dtype} {list(X.shape)}; give recordings [n, leads, samples] in mV, or a list of paths")
        return X


class ECGEncoder(TransformerMixin, _OnModel):
    """Recordings → embeddings of a trained model.

    Parameters:
        model: a model that comes with the package, a published one (``dbeta``, ``merl``, ``melp``, ``echoing``, ``ecg-fm``,
            ``hubert-ecg``, ``ecgfounder``), or the path of a checkpoint, an exported folder or a file of published weights.
        weights: of a published model, the file that its authors offer; it then gets the preprocessing of
            :mod:`cmelt_plugin.models.inference.signal_contracts`.
        output: ``embedding``, as compared with texts and other recordings; or ``features``, before any projection, which
            linear probes are trained on.
        pool: of features, how they are pooled; None: as the authors of a published model do, else the model's first way.
        sample_rate: Hz, of arrays.
        leads: names of the rows of arrays.
        missing_leads: ``refuse`` or ``zero``.
        batch_size: recordings at a time.
        device: where the model computes.

    Attributes:
        signal_contract_: what the model takes and does: rate, samples, leads, normalisation; of published models also the row
            of the table.
        n_features_out_: width of the output.
    """

    def __init__(
        self,
        model: Any = DEFAULT,
        *,
        weights: Any = None,
        output: str = FEATURES,
        pool: str | None = None,
        sample_rate: float = SAMPLE_RATE,
        leads: Sequence[str] = LEADS,
        missing_leads: str = "refuse",
        batch_size: int = 64,
        device: str = "cpu",
    ) -> None:
        self.model = model
        self.weights = weights
        self.output = output
        self.pool = pool
        self.sample_rate = sample_rate
        self.leads = leads
        self.missing_leads = missing_leads
        self.batch_size = batch_size
        self.device = device

    def fit(self, X: Any = None, y: Any = None) -> ECGEncoder:
        """Open the model; ``X`` is not learned from.

        Raises:
            DataError: the model cannot be opened, or a parameter is none of its.
        """
        if self.output not in (EMBEDDING, FEATURES):
            raise DataError(f"output must be {EMBEDDING} or {FEATURES}, not {self.output!r}")
        self.signal_contract_ = signal_contract(self.pretrained)
        if isinstance(self.model, str) and self.model in published_models():
            self.signal_contract_["published"] = published_models()[self.model]._asdict()
        self.n_features_out_ = self._width()
        self._fitted_on = self._named()
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Embeddings or features: float32 ``[n, D]``.

        Raises:
            DataError, ValueError: recordings that the model does not take.
            NotFittedError: not fitted, or another model was set after ``fit``.
        """
        self._check_fitted()
        arguments = self._recordings(X), self.sample_rate, list(self.leads)
        options: dict[str, Any] = {"missing_leads": self.missing_leads, "batch_size": self.batch_size}
        if self.output == EMBEDDING:
            return self.pretrained.encode_ecg(*arguments, **options).numpy()
        return self.pretrained.ecg_features(*arguments, pool=self._pool(), **options).numpy()

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """``ecgencoder0`` …, as scikit-learn names outputs of a transformer."""
        check_is_fitted(self, "signal_contract_")
        return np.array([f"{type(self).__name__.lower()}{number}" for number in range(self.n_features_out_)], dtype=object)

    def _width(self) -> int:
        model = self.pretrained.model
        ecg = torch.zeros(1, len(model.signal.leads), model.signal.n_samples, device=self.pretrained.device)
        with torch.inference_mode():
            found = model.embed_ecg(ecg).mean if self.output == EMBEDDING else model.ecg_features(ecg, None, self._pool())
        return int(found.shape[1])

    def _pool(self) -> str | None:
        return self.pool if self.pool is not None or not is_published(self.model) else published_models()[self.model].pool


class ZeroShotECGClassifier(ClassifierMixin, _OnModel):
    """Classes described by texts, with a model that reads ECGs and texts. Nothing is trained; scores rank, they do not measure.

    Parameters:
        model: as of :class:`ECGEncoder`; it must read texts.
        prompts: label set, JSON file, or class → texts.
        others: as of :class:`ECGEncoder`.

    Attributes:
        classes_: the classes, sorted, as scikit-learn has them.
    """

    def __init__(
        self,
        model: Any = DEFAULT,
        *,
        weights: Any = None,
        prompts: str | Mapping[str, Any] = PROMPTS,
        sample_rate: float = SAMPLE_RATE,
        leads: Sequence[str] = LEADS,
        missing_leads: str = "refuse",
        batch_size: int = 64,
        device: str = "cpu",
    ) -> None:
        self.model = model
        self.weights = weights
        self.prompts = prompts
        self.sample_rate = sample_rate
        self.leads = leads
        self.missing_leads = missing_leads
        self.batch_size = batch_size
        self.device = device

    def fit(self, X: Any = None, y: Any = None) -> ZeroShotECGClassifier:
        """Open the model and embed the class texts; neither ``X`` nor ``y`` is learned from.

        Raises:
            DataError: the model reads no texts, or ``y`` holds classes without texts.
        """
        from cmelt_plugin.models.inference.pretrained import read_prompts

        prompts = read_prompts(self.prompts)
        if y is not None and (unknown := sorted(set(map(str, np.unique(y))) - set(prompts))):
            raise DataError(f"no class text for {', '.join(unknown[:10])}; prompts have {', '.join(list(prompts)[:10])}")
        self.classes_ = np.array(sorted(prompts))
        _, classes = self.pretrained.class_embeddings({name: prompts[name] for name in self.classes_.tolist()})
        self.class_embeddings_ = classes
        self._fitted_on = self._named()
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Similarity of each recording with each class, ``[n, C]``; of two classes the second less the first, ``[n]``.

        Raises:
            DataError, ValueError: recordings that the model does not take.
            NotFittedError: not fitted, or another model was set after ``fit``.
        """
        self._check_fitted()
        model = self.pretrained
        prepared = model.prepare(self._recordings(X), self.sample_rate, list(self.leads), missing_leads=self.missing_leads)
        scores = model.compare_prepared(prepared, self.class_embeddings_, self.batch_size).numpy()
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: Any) -> np.ndarray:
        """The class of the highest similarity for each recording."""
        scores = self.decision_function(X)
        return self.classes_[(scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)]


def signal_contract(pretrained: Pretrained) -> dict[str, Any]:
    """What a model takes, and what it does to it, in plain values."""
    contract = pretrained.model.signal
    return {
        "system": str(pretrained.cfg["model"].get("_name", "")),
        "sample_rate": contract.sample_rate,
        "samples": contract.n_samples,
        "leads": list(contract.leads),
        "leads_read": list(pretrained.leads),
        "unit": "mV",
        "normalisation": contract.normalisation,
        "pools": list(pretrained.model.pools),
    }
