"""Using a trained model on one's own recordings and texts: ``cmelt_plugin.load_pretrained``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Union

import torch
from torch import Tensor

from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.prepared_ecg import PreparedECG, Signal, hide_leads, joined, prepare_ecg, warned
from cmelt_plugin.data.store.record_store import SAMPLE_RATE
from cmelt_plugin.errors import DataError
from cmelt_plugin.intake.front_end import read_any, standard
from cmelt_plugin.intake.recording import Recording
from cmelt_plugin.models.base import Embedding
from cmelt_plugin.models.files.loaded_settings import TARGET_DEVIATION, TARGET_MEAN
from cmelt_plugin.models.files.opening import open_model
from cmelt_plugin.models.inference.calibration import CALIBRATION_FILE, calibration_folders, calibration_root
from cmelt_plugin.models.inference.scoring import choose_score, similarities
from cmelt_plugin.models.inference.text_side import Prompts, TextSide
from cmelt_plugin.models.inference.variances import add_variances

if TYPE_CHECKING:
    from cmelt_plugin.models.inference.answering import Answer

AnySignal = Union[Signal, Recording, Sequence[Recording]]


class Pretrained(TextSide):
    """A trained model with what it takes to feed it recordings and texts. Made by :func:`load_pretrained`.

    Methods that take a recording take what :meth:`prepare` does; rate, leads and the rest by position or by name.

    Attributes:
        variances: folder of the variances that were given to a model of points; "": none were.
    """

    variances: str = ""

    def prepare(
        self,
        signal: AnySignal,
        sample_rate: float = SAMPLE_RATE,
        leads: Sequence[str] = LEADS,
        crop: str = "start",
        missing_leads: str = "refuse",
        accept_wrong_checksums: bool = False,
    ) -> PreparedECG:
        """Recordings as the model takes them; leads that it was not trained on are zero.

        Args:
            signal: ``[.., leads, samples]`` in mV, array or tensor; or the path of an ECG file of any format that is
                read (docs/formats.md), what ``read_ecg``, ``windows`` and ``best_window`` of :mod:`cmelt_plugin.intake` make of
                it, or a list of either; these then give rate, units and leads.
            sample_rate: Hz; other rates than the model's are resampled.
            leads: names of the rows, in any order; arrays are brought to the twelve as files are (docs/formats.md).
            crop: ``start`` (as in training) or ``centre``: which part of a longer recording is used. Shorter ones are
                padded, and the padding is masked.
            missing_leads: ``refuse``, or take missing leads as ``zero``, as lead masking does in training.
            accept_wrong_checksums: use WFDB records whose samples fail the checksums in their header.

        Raises:
            DataError: the recording cannot be used (:func:`cmelt_plugin.data.prepared_ecg.prepare_ecg`).
        """
        if isinstance(signal, (list, tuple)) and signal and all(isinstance(one, Recording) for one in signal):
            options = (crop, missing_leads, accept_wrong_checksums)
            return joined([self.prepare(one, sample_rate, leads, *options) for one in signal])
        contract, reader = self.model.signal, read_any
        given: Any = signal
        if isinstance(signal, Recording):
            recording = standard(signal)._replace(samples=None)
            given, reader = "recording", lambda *_: recording
        prepared = prepare_ecg(
            given, sample_rate, leads, crop, missing_leads, self.leads, accept_wrong_checksums, contract, reader
        )
        hide_leads(prepared, self.leads, contract)
        return prepared

    def encode_ecg(self, signal: AnySignal, *reading: Any, batch_size: int = 64, **options: Any) -> Tensor:
        """Embeddings of recordings: float32 ``[.., D]``, on the CPU; of Gaussians the means.

        Args:
            signal, reading, options: as in :meth:`prepare`.
            batch_size: recordings at a time.

        Raises:
            DataError: the recording cannot be used.

        Warns:
            DoubtfulECG: amplitude, clipping, limb leads or hum are not those of an ordinary ECG; :meth:`prepare` says of
                which recordings and does not warn.
        """
        return self.encode_prepared(warned(self.prepare(signal, *reading, **options)), batch_size)

    def encode_prepared(self, prepared: PreparedECG, batch_size: int = 64) -> Tensor:
        """:meth:`encode_ecg` for recordings that :meth:`prepare` has prepared."""
        return self._run(prepared, lambda ecg, n_samples: self.model.embed_ecg(ecg, n_samples).mean, batch_size)

    def embed_ecg(self, signal: AnySignal, *reading: Any, batch_size: int = 64, **options: Any) -> Embedding:
        """:meth:`encode_ecg` with the variances, where embeddings are Gaussians; shapes ``[B, D]``."""
        return self.embed_prepared(warned(self.prepare(signal, *reading, **options)), batch_size)

    def embed_prepared(self, prepared: PreparedECG, batch_size: int = 64) -> Embedding:
        """:meth:`embed_ecg` for recordings that :meth:`prepare` has prepared."""
        n_parts = 1

        def side_by_side(ecg: Tensor, n_samples: Tensor | None) -> Tensor:
            nonlocal n_parts
            parts = [part for part in self.model.embed_ecg(ecg, n_samples) if part is not None]
            n_parts = len(parts)
            return torch.cat(parts, dim=1)

        values = self._run(prepared, side_by_side, batch_size).reshape(len(prepared.ecg), -1)
        return Embedding(*values.chunk(n_parts, dim=1))

    def ecg_features(
        self, signal: AnySignal, *reading: Any, batch_size: int = 64, pool: str | None = None, **options: Any
    ) -> Tensor:
        """Pooled states of the ECG encoder, before any projection: what linear probes are trained on.

        Args are those of :meth:`encode_ecg`; ``pool`` is one of the model's pools, None: the first of them. Returns float32
        ``[.., width]``.
        """
        return self.features_prepared(warned(self.prepare(signal, *reading, **options)), batch_size, pool)

    def features_prepared(self, prepared: PreparedECG, batch_size: int = 64, pool: str | None = None) -> Tensor:
        """:meth:`ecg_features` for recordings that :meth:`prepare` has prepared."""
        pools = tuple(self.model.pools)
        if pool not in (None, *pools):
            raise DataError(f"pool must be one of {', '.join(pools)}, not {pool!r}")
        return self._run(prepared, lambda ecg, n_samples: self.model.ecg_features(ecg, n_samples, pool or pools[0]), batch_size)

    def classify(self, signal: AnySignal, *reading: Any, batch_size: int = 64, **options: Any) -> tuple[list[str], Tensor]:
        """Class names and probabilities ``[.., C]`` of a fine-tuned classifier. Args are those of :meth:`encode_ecg`.

        Raises:
            DataError: the recording cannot be used, or the model is no classifier.
        """
        prepared = warned(self.prepare(signal, *reading, **options))
        return self.class_names, self.classify_prepared(prepared, batch_size)

    def classify_prepared(self, prepared: PreparedECG, batch_size: int = 64) -> Tensor:
        """Probabilities ``[.., C]``, as :meth:`classify`."""
        if not self.class_names:
            other = "estimate()" if self.measurement else "zero_shot() with texts of your classes"
            raise DataError(f"{self.source}: not a classifier; use {other}")

        def probabilities(ecg: Tensor, n_samples: Tensor | None) -> Tensor:
            logits = self.model(ecg, n_samples)["logits"].float()
            return logits.softmax(dim=-1) if self.exclusive else logits.sigmoid()

        return self._run(prepared, probabilities, batch_size)

    def outputs_prepared(self, prepared: PreparedECG, batch_size: int = 64) -> tuple[Tensor, Tensor]:
        """Logits ``[B, C]`` of a fine-tuned classifier and the features ``[B, D]`` that they are made of."""
        width = self.model.cfg.num_classes

        def side_by_side(ecg: Tensor, n_samples: Tensor | None) -> Tensor:
            out = self.model(ecg, n_samples)
            return torch.cat([out["logits"].float(), out["features"].float()], dim=1)

        values = self._run(prepared, side_by_side, batch_size).reshape(len(prepared.ecg), -1)
        return values[:, :width], values[:, width:]

    def answer(
        self,
        signal: AnySignal,
        *reading: Any,
        classes: str | None = None,
        calibration: str | os.PathLike | None = None,
        probe: str | os.PathLike | None = None,
        batch_size: int = 64,
        **options: Any,
    ) -> Answer | list[Answer]:
        """What the model says once it was calibrated (``python -m cmelt_plugin.evaluation.calibrate``).

        Args:
            signal, reading, options: as in :meth:`prepare`.
            classes: which calibration, where the model has several: its label set, or the name of its folder.
            calibration: folder of the calibrations; None: beside the model, or what was put on it.
            probe: file of a linear probe on the model, whose classes are asked for.
            batch_size: recordings at a time.

        Returns:
            Probabilities, the classes that may be present, and why the answer should not be relied on, if so; a list
            where ``signal`` is more than one recording.

        Raises:
            DataError: the recording cannot be used, or there is no calibration of this model with these weights.
        """
        from cmelt_plugin.models.inference.answering import Answerer

        prepared = warned(self.prepare(signal, *reading, **options))
        known = self.__dict__.setdefault("_answerers", {})
        key = classes, *(None if path is None else os.fspath(path) for path in (calibration, probe))
        # Embedding the classes' texts takes longer than a recording does; a calibration may be written again meanwhile.
        files = self._calibration_files(*key[1:])
        if key not in known or known[key][0] != files:
            known[key] = files, Answerer(self, *key)
        answers = known[key][1].answer_prepared(prepared, batch_size)
        return answers[0] if prepared.shape == () else answers

    def _calibration_files(self, root: str | None, probe: str | None) -> list[tuple[str, int, int, int]]:
        """Path, inode, size and time of what answers are made with: the calibrations in a folder, and a probe."""
        folder = calibration_root(self.source, probe, self.variances) if root is None else Path(root)
        paths = [one / CALIBRATION_FILE for one in calibration_folders(folder)] + ([] if probe is None else [Path(probe)])
        found = []
        for path in paths:
            try:
                state = os.stat(path)
            except FileNotFoundError:  # just being written again
                continue
            found.append((str(path), state.st_ino, state.st_size, state.st_mtime_ns))
        return found

    def estimate(self, signal: AnySignal, *reading: Any, batch_size: int = 64, **options: Any) -> tuple[str, Tensor]:
        """What a fine-tuned regression estimates, and its values ``[..]``. Args are those of :meth:`encode_ecg`.

        Raises:
            DataError: the recording cannot be used, or the model is no regression.
        """
        prepared = warned(self.prepare(signal, *reading, **options))
        return self.measurement, self.estimate_prepared(prepared, batch_size)

    def estimate_prepared(self, prepared: PreparedECG, batch_size: int = 64) -> Tensor:
        """Values ``[..]``, as :meth:`estimate`."""
        if not self.measurement:
            raise DataError(f"{self.source}: not fine-tuned for regression (task cmelt_regression)")
        mean, deviation = self.task_state[TARGET_MEAN], self.task_state[TARGET_DEVIATION]
        outputs = self._run(prepared, lambda ecg, n_samples: self.model(ecg, n_samples)["logits"].float(), batch_size)
        return mean + deviation * outputs.squeeze(-1)

    def zero_shot(
        self, signal: AnySignal, prompts: str | os.PathLike | Prompts, *reading: Any, batch_size: int = 64, **options: Any
    ) -> tuple[list[str], Tensor]:
        """Similarity of recordings to the texts of each class (paper §4.1.2): rank recordings, or classes, by it.

        Args:
            signal, reading, options: as in :meth:`prepare`.
            prompts: name of a label set (``ptb-xl-super``, ``cpsc2018``, …), path of a JSON file, or class → texts.
            batch_size: recordings at a time.

        Returns:
            The class names and float32 ``[.., C]``. These are not probabilities; see :meth:`pair_probability`.
        """
        names, classes = self.class_embeddings(read_prompts(prompts))
        prepared = warned(self.prepare(signal, *reading, **options))
        return names, self.compare_prepared(prepared, classes, batch_size)

    def compare_prepared(self, prepared: PreparedECG, classes: Embedding, batch_size: int = 64) -> Tensor:
        """:meth:`zero_shot` for recordings that :meth:`prepare` has prepared and classes that are embedded."""
        model, classes = self.text_model, classes.to(self.device)
        return self._run(
            prepared, lambda ecg, n_samples: similarities(model, model.embed_ecg(ecg, n_samples), classes), batch_size
        )

    def pair_probability(self, similarity: Tensor) -> Tensor | None:
        """What training takes for the probability that ECG and text are a pair; None for a model that has no such thing.

        It is a probability among the pairs of a training batch and not calibrated to how often a diagnosis is right.
        """
        return self.text_model.match_probability(similarity)

    @torch.inference_mode()
    def _run(self, prepared: PreparedECG, function: Callable[..., Tensor], batch_size: int) -> Tensor:
        parts = []
        for start in range(0, len(prepared.ecg), max(1, batch_size)):
            rows = slice(start, start + max(1, batch_size))
            part = PreparedECG(prepared.ecg[rows], prepared.n_samples[rows], ())
            n_samples = part.padding
            values = function(part.ecg.to(self.device), None if n_samples is None else n_samples.to(self.device))
            parts.append(values.float().cpu())
        return _ordinary(torch.cat(parts)).reshape(*prepared.shape, -1)


def load_pretrained(
    path: str | os.PathLike,
    tokenizer: str | os.PathLike | None = None,
    device: str | torch.device = "cpu",
    lead_order: str | Sequence[str] | None = None,
    score: str | None = None,
    variances: str | os.PathLike | None = None,
) -> Pretrained:
    """A trained model ready for use, strictly loaded and in eval mode.

    Args:
        path: a checkpoint of a training run (``.pt``), a folder written by ``python -m cmelt_plugin.export``, the
            weights that a system's authors published (``.pt``, ``.safetensors`` or a folder with them), or ``synthetic``:
            the model that comes with the package (docs/synthetic-model.md), trained on no patient.
        tokenizer: folder or name of the text encoder's tokenizer where it is not found by itself. Only texts need it.
        device: e.g. ``cuda``.
        lead_order: published weights only: order of the leads they were trained with
            (:func:`cmelt_plugin.models.files.released.load_released`).
        score: how ECG and text are compared where the model knows several ways (C-MELT: ``cosine``, ``product``); None: as
            its configuration says.
        variances: folder of variances for a model whose embeddings are points (``python -m
            cmelt_plugin.evaluation.variance_head``); means and similarities stay as they are.

    Raises:
        DataError: nothing there that can be loaded, or weights or variances that do not fit.
    """
    loaded, beside = open_model(path, lead_order)
    if score is not None:
        choose_score(loaded.model, score, os.fspath(path))
    pretrained = Pretrained(loaded, os.fspath(path), beside if tokenizer is None else os.fspath(tokenizer), device)
    if variances is not None:
        pretrained.model = add_variances(pretrained.model, variances).to(pretrained.device).eval()
        pretrained.variances = os.fspath(variances)
    return pretrained


def read_prompts(prompts: str | os.PathLike | Prompts) -> Prompts:
    """Class → texts from a label set's name, a JSON file, or what is one already.

    Raises:
        DataError: no such label set or file.
    """
    if isinstance(prompts, Mapping):
        return prompts
    from cmelt_plugin.prompts import load_prompts

    return load_prompts(os.fspath(prompts))


def _ordinary(tensor: Tensor) -> Tensor:
    """A copy that is no inference tensor, so that it may take part in the user's own training."""
    with torch.inference_mode(False):
        return tensor.clone()
