"""A trained model as one graph of tensor operations, for programs without this package: ONNX or TorchScript.

A graph takes ``ecg``, float32 ``[B, leads, samples]`` in mV as the model's signal contract says, of any B, and gives

- ``embedding``: of a model that reads texts what :meth:`embed_ecg` gives (of Gaussians the means); else pooled features;
- ``features``: what probes and classifiers read;
- ``scores`` ``[B, C]``: a classifier's probabilities, or zero-shot what is asked of class texts, whose embeddings are baked in.

Beside the graph lies ``signal.json``: what its input must be and what its outputs mean. What the model does to a recording
itself, such as normalisation and decimation, is in the graph.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from cmelt_plugin.data.files import atomic_path, write_json
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.base import Embedding
from cmelt_plugin.models.inference.predictor import MEANING, PAIR, PROBABILITY, Predictor

ONNX, TORCHSCRIPT = "onnx", "torchscript"
FORMATS = (ONNX, TORCHSCRIPT)
FILES = {ONNX: "model.onnx", TORCHSCRIPT: "model.pt"}
INT8_FILE = "model.int8.onnx"
SIGNAL_FILE = "signal.json"
INPUT = "ecg"
OPSET = 18
AGREEMENT = 1e-4
"""How far outputs of a graph may be from the model's own; further off, it is not kept."""
CHECKED = 4  # recordings


class Graph(nn.Module):
    """What is exported: outputs by position, those of :attr:`names`."""

    class_means: Tensor
    class_log_variances: Tensor

    def __init__(self, pretrained: Any, predictor: Predictor | None = None) -> None:
        super().__init__()
        self.model = pretrained.model.float().eval()
        self.reads_text = bool(pretrained.reads_text)
        self.kind = None if predictor is None else predictor.kind
        self.names = ("embedding", "features", *(() if predictor is None else ("scores",)))
        self.exclusive = bool(getattr(pretrained, "exclusive", False))
        classes = None if predictor is None else predictor.classes
        means, log_variances = (None, None) if classes is None else classes
        self.has_variance = log_variances is not None
        self.register_buffer("class_means", torch.zeros(0) if means is None else means)
        self.register_buffer("class_log_variances", torch.zeros(0) if log_variances is None else log_variances)
        self.pool = pretrained.model.pools[0]

    def forward(self, ecg: Tensor) -> tuple[Tensor, ...]:
        features = self.model.ecg_features(ecg, None, None if self.kind == PROBABILITY else self.pool)
        if self.kind == PROBABILITY:
            logits = self.model.head(features)
            return features, features, logits.softmax(dim=-1) if self.exclusive else logits.sigmoid()
        found = self.model.embed_ecg(ecg) if self.reads_text else Embedding(features)
        if self.kind is None:
            return found.mean, features
        classes = Embedding(self.class_means, self.class_log_variances if self.has_variance else None)
        similarity = self.model.similarity(found, classes)
        return found.mean, features, similarity if self.kind != PAIR else self.model.match_probability(similarity)


class Written(NamedTuple):
    """What :func:`write_graph` has written.

    Attributes:
        files: all of them.
        difference: the largest between an output of the graph and the model's own; None: nothing was there to run it.
    """

    files: list[Path]
    difference: float | None


def write_graph(folder: Path, pretrained: Any, kind: str, prompts: Any = None, int8: bool = False) -> Written:
    """Write the graph of a model and ``signal.json``; what it computes is compared with the model where it can be run.

    Args:
        folder: where to.
        pretrained: from ``load_pretrained``, on the CPU.
        kind: one of :data:`FORMATS`.
        prompts: of a model that reads texts, class → texts: it also scores these classes.
        int8: of ONNX also a file with weights of 8 bits, as onnxruntime's dynamic quantisation makes it.

    Raises:
        DataError: a package is missing, or the graph does not compute what the model does.
    """
    if int8 and kind != ONNX:
        raise DataError("8 bits are for ONNX alone")
    predictor = Predictor(pretrained, prompts) if pretrained.is_classifier or prompts is not None else None
    graph = Graph(pretrained, predictor).eval()
    contract = pretrained.model.signal
    example = example_ecg(CHECKED, len(contract.leads), contract.n_samples)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / FILES[kind]
    with torch.no_grad(), atomic_path(file) as temporary:
        graph(example[:2])  # filters and tables that models make once and keep must not be made while it is traced
        if kind == ONNX:
            _export_onnx(graph, example[:2], temporary)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of sizes that become constants: the batch does not, which is checked
                torch.jit.save(torch.jit.trace(graph, example[:2], check_trace=False), str(temporary))
        difference = _difference(temporary, kind, graph, example)
    if difference is not None and not difference <= AGREEMENT:
        file.unlink()
        raise DataError(f"{file}: its outputs differ by {difference:.2g} from the model's, more than {AGREEMENT:g}")
    files = [file]
    if int8:
        files.append(_quantised(file, folder / INT8_FILE))
    described = {
        "input": {
            "name": INPUT,
            "type": "float32",
            "shape": ["batch", len(contract.leads), contract.n_samples],
            "leads": list(contract.leads),
            "leads_read": list(pretrained.leads),
            "unit": "mV",
            "sample_rate": contract.sample_rate,
        },
        "outputs": list(graph.names),
    }
    if predictor is not None:
        described.update(classes=list(predictor.names), scores=MEANING[predictor.kind])
    write_json(folder / SIGNAL_FILE, described)
    return Written([*files, folder / SIGNAL_FILE], difference)


def example_ecg(count: int, leads: int, samples: int) -> Tensor:
    """Recordings to trace and compare with: a beat a second and noise, ``[count, leads, samples]`` mV, always the same."""
    rng = np.random.default_rng(0)
    time = np.arange(samples) * (10 / samples)
    beats = np.exp(-(((time % 1 - 0.5) / 0.02) ** 2)) * rng.uniform(-1, 1.5, (count, leads, 1))
    return torch.from_numpy((beats + rng.normal(0, 0.05, beats.shape)).astype(np.float32))


def open_graph(file: str | Path, kind: str, threads: int = 0) -> Any:
    """A function of ``ecg`` (array) that gives the outputs of a graph as arrays.

    Args:
        file: of :func:`write_graph`.
        kind: one of :data:`FORMATS`.
        threads: of onnxruntime; 0: as many as it likes.

    Raises:
        DataError: onnxruntime is not installed.
    """
    if kind == TORCHSCRIPT:
        module = torch.jit.load(str(file))

        def run_module(ecg: np.ndarray) -> Sequence[np.ndarray]:
            with torch.no_grad():
                return [output.numpy() for output in module(torch.from_numpy(ecg))]

        return run_module
    onnxruntime = _imported("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return lambda ecg: session.run(None, {INPUT: ecg})


def _export_onnx(graph: Graph, example: Tensor, file: Path) -> None:
    _imported("onnx")
    _imported("onnxscript")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision, which nothing here needs
    batch = torch.export.Dim("batch", min=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph,
            (example,),
            str(file),
            input_names=[INPUT],
            output_names=list(graph.names),
            dynamic_shapes={"ecg": {0: batch}},
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def _difference(file: Path, kind: str, graph: Graph, example: Tensor) -> float | None:
    """The largest difference between outputs, for all of the recordings and for one alone; None without onnxruntime."""
    try:
        run = open_graph(file, kind)
    except DataError:
        return None
    largest = 0.0
    for part in (example, example[:1]):
        for found, expected in zip(run(part.numpy()), graph(part)):
            largest = max(largest, float(np.abs(found - expected.numpy()).max()))
    return largest


def _quantised(source: Path, file: Path) -> Path:
    quantization = _imported("onnxruntime.quantization")
    with atomic_path(file) as temporary:
        quantization.quantize_dynamic(str(source), str(temporary), weight_type=quantization.QuantType.QInt8)
    return file


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise DataError(f"ONNX needs {name.partition('.')[0]}: pip install 'cmelt-inference[onnx]'") from None
