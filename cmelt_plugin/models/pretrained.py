"""Using a trained model on one's own recordings and texts: ``cmelt_plugin.load_pretrained``."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Callable

import numpy as np
import torch
from torch import Tensor

from cmelt_plugin.data.leads import LEADS, lead_keep_mask
from cmelt_plugin.data.plausibility import DoubtfulECG, describe_reasons
from cmelt_plugin.data.prepared_ecg import PreparedECG, Signal, prepare_ecg
from cmelt_plugin.data.store.record_store import SAMPLE_RATE
from cmelt_plugin.data.text.padding import MAX_TEXT_TOKENS
from cmelt_plugin.data.text.reports import normalise_report
from cmelt_plugin.data.text.tokenizer import encode, load_tokenizer, tokenizer_fingerprint
from cmelt_plugin.data.text.tokens import TokenTable
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.base import Embedding
from cmelt_plugin.models.checkpoint import LoadedModel, load_model
from cmelt_plugin.models.scoring import embed_classes, embed_texts, similarities
from cmelt_plugin.modules.pooling import ECG_POOLS, pool_ecg_states

Prompts = Mapping[str, Sequence[str]]


class Pretrained:
    """A trained model, in eval mode, with what it takes to feed it. Made by :func:`load_pretrained`.

    Attributes:
        model: a ``CMELT``, or a ``Classifier`` (:attr:`is_classifier`).
        cfg: configuration of the run, plain dictionaries (``model``, ``task``, …).
        task_state: what the task keeps, e.g. ``tokenizer_fingerprint``.
        source: path it was loaded from.
    """

    def __init__(self, loaded: LoadedModel, source: str, tokenizer: str | None, device: str | torch.device = "cpu"):
        self.device = torch.device(device)
        self.model = loaded.model.to(self.device).eval()
        self.cfg, self.task_state = loaded.cfg, loaded.task_state
        self.source = source
        self.tokenizer_source = tokenizer
        self._tokenizer: Any = None

    # -- What is known of the model ------------------------------------------------------------------------------------

    @property
    def is_classifier(self) -> bool:
        """Whether the model is a fine-tuned ECG encoder, which reads no texts."""
        return not hasattr(self.model, "embed_text")

    @property
    def class_names(self) -> list[str]:
        """Classes of a fine-tuned classifier in the order of its outputs; empty for other models."""
        names = [str(name) for name in getattr(self.model.cfg, "class_names", None) or []]
        # A model that identifies people keeps a fingerprint of theirs in this place.
        return names if len(names) == getattr(self.model.cfg, "num_classes", -1) else []

    @property
    def exclusive(self) -> bool:
        """Whether the classes of a classifier exclude each other: its probabilities sum to one."""
        return (self.cfg.get("task") or {}).get("problem") == "multi_class"

    @property
    def thresholds(self) -> dict[str, float]:
        """Class → the probability from which on it counts as present, chosen on validation data by F1.

        Classes without one are left out: none was positive there, or the classes exclude each other.
        """
        values = self.task_state.get("thresholds")
        if self.exclusive or values is None or len(values) != len(self.class_names):
            return {}
        return {name: float(value) for name, value in zip(self.class_names, values) if value is not None and value == value}

    @property
    def leads(self) -> Sequence[str]:
        """The leads the model reads: all twelve, or those a classifier was trained on."""
        chosen = (self.cfg.get("task") or {}).get("leads") if self.is_classifier else None
        return tuple(str(lead) for lead in chosen) if chosen else LEADS

    @property
    def logit_scale(self) -> float:
        """Learned factor on similarities; 1 where the model has none."""
        return float(self._contrastive().logit_scale.detach())

    @property
    def logit_bias(self) -> float:
        """Learned offset of similarities; 0 where the model has none."""
        return float(self._contrastive().logit_bias.detach())

    @property
    def tokenizer(self) -> Any:
        """The Hugging Face tokenizer of the text encoder, loaded when first needed.

        Raises:
            DataError: it cannot be found, or is not the one the model was trained with.
        """
        if self._tokenizer is None:
            model = self._contrastive()
            name = self.tokenizer_source or self.cfg["model"].get("text_encoder")
            if not name:
                raise DataError(f"{self.source}: names no tokenizer; give tokenizer=NAME or FOLDER")
            if self.tokenizer_source is None and os.path.isdir(self.source) and "/" not in str(name):
                # Of paths an exported folder keeps the last part, which on a hub would be anybody's.
                raise DataError(
                    f"{self.source}: holds no tokenizer; that of its text encoder {str(name)!r} is needed: "
                    "load_pretrained(…, tokenizer=…) or --tokenizer"
                )
            try:
                tokenizer = load_tokenizer(str(name))
            except DataError as error:
                raise DataError(f"{error}; load_pretrained(…, tokenizer=…) and --tokenizer take another place") from None
            _check_tokenizer(tokenizer, str(name), self.task_state.get("tokenizer_fingerprint"), model.text_encoder.vocab_size)
            self._tokenizer = tokenizer
        return self._tokenizer

    # -- Recordings ----------------------------------------------------------------------------------------------------

    def encode_ecg(
        self,
        signal: Signal,
        sample_rate: float = SAMPLE_RATE,
        leads: Sequence[str] = LEADS,
        crop: str = "start",
        missing_leads: str = "refuse",
        batch_size: int = 64,
    ) -> Tensor:
        """Embeddings of recordings for dot products: float32 ``[.., D]``, on the CPU.

        Args:
            signal: ``[.., leads, samples]`` in mV, array or tensor; or the path of a WFDB record, or a list of paths,
                whose headers then give rate, units and leads.
            sample_rate: Hz; other rates than 500 are resampled.
            leads: names of the rows, in any order.
            crop: ``start`` (as in training) or ``centre``: which 10 s of a longer recording are used. Shorter ones are
                padded, and the padding is masked.
            missing_leads: ``refuse``, or take missing leads as ``zero``, as lead masking does in training.
            batch_size: recordings at a time.

        Raises:
            DataError: the recording cannot be used.

        Warns:
            DoubtfulECG: amplitude, clipping, limb leads or hum are not those of an ordinary ECG; :meth:`prepare` says of
                which recordings and does not warn.
        """
        prepared = _warned(self.prepare(signal, sample_rate, leads, crop, missing_leads))
        return self.encode_prepared(prepared, batch_size)

    def ecg_features(
        self,
        signal: Signal,
        sample_rate: float = SAMPLE_RATE,
        leads: Sequence[str] = LEADS,
        crop: str = "start",
        missing_leads: str = "refuse",
        batch_size: int = 64,
        pool: str = "cls",
    ) -> Tensor:
        """Pooled states of the ECG encoder, before any projection: what linear probes are trained on.

        Args are those of :meth:`encode_ecg`; ``pool`` is ``cls`` or ``mean``. Returns float32 ``[.., width]``.
        """
        if pool not in ECG_POOLS:
            raise DataError(f"pool must be one of {', '.join(ECG_POOLS)}, not {pool!r}")

        def features(ecg: Tensor, n_samples: Tensor | None) -> Tensor:
            encoded = self.model.ecg_encoder(ecg, n_samples)
            return pool_ecg_states(encoded.states, encoded.padding_mask, pool)

        prepared = _warned(self.prepare(signal, sample_rate, leads, crop, missing_leads))
        return self._run(prepared, features, batch_size)

    def classify(
        self,
        signal: Signal,
        sample_rate: float = SAMPLE_RATE,
        leads: Sequence[str] = LEADS,
        crop: str = "start",
        missing_leads: str = "refuse",
        batch_size: int = 64,
    ) -> tuple[list[str], Tensor]:
        """Class names and probabilities ``[.., C]`` of a fine-tuned classifier. Args are those of :meth:`encode_ecg`.

        Raises:
            DataError: the recording cannot be used, or the model is no classifier.
        """
        prepared = _warned(self.prepare(signal, sample_rate, leads, crop, missing_leads))
        return self.class_names, self.classify_prepared(prepared, batch_size)

    def prepare(
        self,
        signal: Signal,
        sample_rate: float = SAMPLE_RATE,
        leads: Sequence[str] = LEADS,
        crop: str = "start",
        missing_leads: str = "refuse",
        accept_wrong_checksums: bool = False,
    ) -> PreparedECG:
        """:func:`cmelt_plugin.data.prepared_ecg.prepare_ecg`, with leads that the model was not trained on zero."""
        prepared = prepare_ecg(signal, sample_rate, leads, crop, missing_leads, self.leads, accept_wrong_checksums)
        prepared.ecg[:, torch.from_numpy(~lead_keep_mask(self.leads))] = 0.0
        return prepared

    def encode_prepared(self, prepared: PreparedECG, batch_size: int = 64) -> Tensor:
        """:meth:`encode_ecg` for recordings that :meth:`prepare` has prepared."""
        return self._run(prepared, lambda ecg, n_samples: self.model.embed_ecg(ecg, n_samples).mean, batch_size)

    def classify_prepared(self, prepared: PreparedECG, batch_size: int = 64) -> Tensor:
        """Probabilities ``[.., C]``, as :meth:`classify`."""
        if not self.class_names:
            raise DataError(f"{self.source}: not a classifier; use zero_shot() with texts of your classes")

        def probabilities(ecg: Tensor, n_samples: Tensor | None) -> Tensor:
            logits = self.model(ecg, n_samples)["logits"].float()
            return logits.softmax(dim=-1) if self.exclusive else logits.sigmoid()

        return self._run(prepared, probabilities, batch_size)

    @torch.inference_mode()
    def _run(self, prepared: PreparedECG, function: Callable[..., Tensor], batch_size: int) -> Tensor:
        parts = []
        for start in range(0, len(prepared.ecg), max(1, batch_size)):
            part = PreparedECG(*(column[start : start + max(1, batch_size)] for column in prepared[:2]), ())
            n_samples = part.padding
            values = function(part.ecg.to(self.device), None if n_samples is None else n_samples.to(self.device))
            parts.append(values.float().cpu())
        return _ordinary(torch.cat(parts)).reshape(*prepared.shape, -1)

    # -- Texts ---------------------------------------------------------------------------------------------------------

    @property
    def max_text_tokens(self) -> int:
        """Longer texts are cut to so many tokens, as in training."""
        return int((self.cfg.get("task") or {}).get("max_text_tokens") or MAX_TEXT_TOKENS)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embeddings of texts, normalised as reports are: float32 ``[n, D]``, on the CPU; of Gaussians the means.

        Raises:
            DataError: not a list of texts, no tokenizer, or the model is a classifier.
        """
        return self.embed_text(texts).mean

    def embed_text(self, texts: Sequence[str]) -> Embedding:
        """:meth:`encode_text`, as the model's similarity takes them."""
        model = self._contrastive()
        return embed_texts(model, self._token_ids(texts), int(self.tokenizer.pad_token_id), self.device)

    def embed_tokens(self, tokens: TokenTable, index: np.ndarray) -> Embedding:
        """Embeddings of the texts ``index [B]`` of a file of token ids, which needs no tokenizer."""
        texts = [tokens[int(text)] for text in index]
        return embed_texts(self._contrastive(), texts, tokens.info["pad_id"], self.device, self.max_text_tokens)

    def class_embeddings(self, prompts: Prompts, tokens: TokenTable | None = None) -> tuple[list[str], Embedding]:
        """One embedding per class: the model's ensemble of its texts.

        Args:
            prompts: class → texts.
            tokens: the token ids of these very texts, where there is a file of them; None: they are tokenised here.

        Returns:
            The C class names and C embeddings, on the CPU.

        Raises:
            DataError: no class, or a class without a text.
        """
        names = [str(name) for name in prompts]
        lists = [[prompts[name]] if isinstance(prompts[name], str) else list(prompts[name]) for name in prompts]
        empty = [name for name, texts in zip(names, lists) if not texts or not all(str(text).strip() for text in texts)]
        if not names or empty:
            raise DataError(f"class without a text: {', '.join(empty)}" if empty else "no class to compare with")
        model = self._contrastive()
        if tokens is not None and tokens.class_index is not None:
            ids: Sequence[Any] = [tokens[text] for text in range(len(tokens))]
            class_index, pad_id = tokens.class_index, tokens.info["pad_id"]
        else:
            ids = self._token_ids([text for texts in lists for text in texts])
            class_index = np.repeat(np.arange(len(names)), [len(texts) for texts in lists])
            pad_id = int(self.tokenizer.pad_token_id)
        return names, embed_classes(model, ids, class_index, len(names), pad_id, self.device, self.max_text_tokens)

    def _token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise DataError("encode_text takes a list of texts")
        return encode(self.tokenizer, [normalise_report(text) for text in texts], self.max_text_tokens)[0]

    def zero_shot(
        self,
        signal: Signal,
        prompts: str | os.PathLike | Prompts,
        sample_rate: float = SAMPLE_RATE,
        leads: Sequence[str] = LEADS,
        crop: str = "start",
        missing_leads: str = "refuse",
        batch_size: int = 64,
    ) -> tuple[list[str], Tensor]:
        """Similarity of recordings to the texts of each class (paper §4.1.2): rank recordings, or classes, by it.

        Args:
            signal, sample_rate, leads, crop, missing_leads, batch_size: as in :meth:`encode_ecg`.
            prompts: name of a label set (``ptb-xl-super``, ``cpsc2018``, …), path of a JSON file, or class → texts.

        Returns:
            The class names and float32 ``[.., C]``. These are not probabilities; see :meth:`pair_probability`.
        """
        names, classes = self.class_embeddings(read_prompts(prompts))
        prepared = _warned(self.prepare(signal, sample_rate, leads, crop, missing_leads))
        return names, self.compare_prepared(prepared, classes, batch_size)

    def compare_prepared(self, prepared: PreparedECG, classes: Embedding, batch_size: int = 64) -> Tensor:
        """:meth:`zero_shot` for recordings that :meth:`prepare` has prepared and classes that are embedded."""
        model, classes = self._contrastive(), classes.to(self.device)
        return self._run(
            prepared, lambda ecg, n_samples: similarities(model, model.embed_ecg(ecg, n_samples), classes), batch_size
        )

    def pair_probability(self, similarity: Tensor) -> Tensor | None:
        """What the contrastive loss takes for the probability that ECG and text are a pair: σ(scale · s + bias).

        None for a model without learned scale and bias. It is a probability among the pairs of a training batch and not
        calibrated to how often a diagnosis is right.
        """
        if not bool(self._contrastive().cfg.learn_logit_scale):
            return None
        return torch.sigmoid(self.logit_scale * similarity + self.logit_bias)

    # ------------------------------------------------------------------------------------------------------------------

    def _contrastive(self) -> Any:
        if self.is_classifier:
            raise DataError(f"{self.source}: a fine-tuned model, which reads no texts; use classify() or encode_ecg()")
        return self.model


def load_pretrained(
    path: str | os.PathLike,
    tokenizer: str | os.PathLike | None = None,
    device: str | torch.device = "cpu",
    lead_order: Sequence[str] | None = None,
) -> Pretrained:
    """A trained model ready for use, strictly loaded and in eval mode.

    Args:
        path: a checkpoint of a training run (``.pt``), a folder written by ``python -m cmelt_plugin.export``, or the
            weights the authors published (D-BETA; ``.pt``, ``.safetensors`` or a folder with them).
        tokenizer: folder or name of the text encoder's tokenizer where it is not found by itself. Only texts need it.
        device: e.g. ``cuda``.
        lead_order: published weights only: order of the leads they were trained with
            (:func:`cmelt_plugin.models.released.load_released`).

    Raises:
        DataError: nothing there that can be loaded, or weights that do not fit.
    """
    from cmelt_plugin.models.exported import TOKENIZER_FOLDER, WEIGHTS_FILE, is_exported, read_folder
    from cmelt_plugin.models.released import is_released, load_released

    path = Path(path)
    found = None if tokenizer is None else os.fspath(tokenizer)
    folder = path.parent if path.name == WEIGHTS_FILE else path
    if is_exported(folder):
        if found is None and (folder / TOKENIZER_FOLDER).is_dir():
            found = str(folder / TOKENIZER_FOLDER)
        loaded = read_folder(folder)
    elif is_released(path):
        return Pretrained(load_released(path, lead_order), os.fspath(path), found, device)
    elif path.is_dir():
        raise DataError(f"{path}: neither an exported model (config.json, model.safetensors) nor published weights")
    else:
        loaded = load_model(path)
    if lead_order is not None:
        raise DataError(f"{path}: lead_order is for published weights; this model takes leads in the order of this project")
    return Pretrained(loaded, os.fspath(path), found, device)


def read_prompts(prompts: str | os.PathLike | Prompts) -> Prompts:
    """Class → texts from a label set's name, a JSON file, or what is one already.

    Raises:
        DataError: no such label set or file.
    """
    if isinstance(prompts, Mapping):
        return prompts
    from cmelt_plugin.prompts import load_prompts

    return load_prompts(prompts)


def _warned(prepared: PreparedECG) -> PreparedECG:
    """The same, after one warning to the caller's caller about all its doubtful recordings."""
    doubtful = [(number, reasons) for number, reasons in enumerate(prepared.doubts) if reasons]
    if doubtful:
        number, reasons = doubtful[0]
        several = f"{len(doubtful)} of {len(prepared.doubts)} recordings are doubtful, number {number}: "
        which = several if len(prepared.doubts) > 1 else "the recording is doubtful: "
        warnings.warn(which + describe_reasons(reasons), DoubtfulECG, stacklevel=3)
    return prepared


def _check_tokenizer(tokenizer: Any, name: str, fingerprint: str | None, vocab_size: int) -> None:
    if fingerprint is not None and tokenizer_fingerprint(tokenizer) != fingerprint:
        raise DataError(f"tokenizer {name!r} is not the one the model was trained with (their fingerprints differ)")
    if len(tokenizer) > vocab_size:
        raise DataError(f"tokenizer {name!r} has {len(tokenizer)} ids, the model's text encoder {vocab_size}")
    if tokenizer.pad_token_id is None:
        raise DataError(f"tokenizer {name!r} has no padding token")


def _ordinary(tensor: Tensor) -> Tensor:
    """A copy that is no inference tensor, so that it may take part in the user's own training."""
    with torch.inference_mode(False):
        return tensor.clone()
