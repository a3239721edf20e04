"""Every number of a run that can be compared, in ``numbers.json`` of the working directory.

Run by the interpreter of the run's own host, for checkpoints and token files are read with its libraries. A section that
cannot be collected holds the error in its place.
"""

from __future__ import annotations

import hashlib
import json
import platform
import traceback
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

import cmelt_plugin

TEXTS = ["Sinus rhythm. Normal ECG", "atrial fibrillation with rapid ventricular response", "left bundle branch block"]
FEW = 4  # of what there is much of, so much is kept beside the hash of all
PACKAGES = ("numpy", "pyarrow", "scikit-learn", "tokenizers", "transformers")
RESULT_FIELDS = (
    *("kind", "data_set", "label_set", "split", "n_records", "n_subjects"),
    *("metrics", "intervals", "spread", "per_class", "excluded"),
)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def array_hash(array: np.ndarray) -> str:
    """Of type, shape and content."""
    return sha256(f"{array.dtype.str} {array.shape} ".encode() + np.ascontiguousarray(array).tobytes())


def values_hash(values: Any) -> str:
    return sha256(json.dumps(values, sort_keys=True).encode())


def weights_hash(state: Mapping[str, torch.Tensor]) -> str:
    """Of all tensors, by name."""
    return values_hash([(name, array_hash(state[name].numpy())) for name in sorted(state)])


def environment() -> dict[str, Any]:
    """What decides the last bits of a result."""
    processor = platform.processor()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
        known = dict(line.replace("\t", "").split(":", 1) for line in lines if ":" in line)
        processor = " ".join(known.get(key, "").strip() for key in ("model name", "cpu family", "model", "stepping"))
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = ""
    return {
        "cpu": processor,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **packages,
    }


def prepared_files() -> dict[str, Any]:
    """Content of what preprocessing wrote; parquet and npz by column, for their bytes depend on the libraries."""
    folder = Path("manifest")
    found: dict[str, Any] = {}
    for path in sorted([*folder.glob("*.tsv"), *folder.glob("records-*.npy")]):
        found[path.name] = sha256(path.read_bytes())
    for path in sorted(set(folder.glob("*.npy")) - set(folder.glob("records-*.npy"))):
        found[path.name] = array_hash(np.load(path))
    for path in sorted(folder.glob("*.parquet")):
        table = pq.read_table(path)
        found[path.name] = {name: values_hash(str(table[name].to_pylist())) for name in table.column_names}
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as arrays:
            found[path.name] = {name: array_hash(arrays[name]) for name in arrays.files if name != "info"}
            info = json.loads(arrays["info"].tobytes())
        info.pop("source_fingerprint")  # of the bytes of a parquet file
        info.pop("format")
        found[path.name]["info"] = info
    for name in ("labels.json", "prompts.json"):
        found[name] = json.loads((folder / name).read_text(encoding="utf-8"))
    return found


def training(folder: str, first: int = 1) -> dict[str, Any]:
    """Of a training that left a checkpoint after every update: all that it logged, unrounded, and its last weights."""
    updates, validation = {}, {}
    for path in Path(folder).glob("*.pt"):
        state = torch.load(path, map_location="cpu", weights_only=False)
        update = int(state["optimizer_history"][-1]["num_updates"])
        if update < first:
            continue
        meters = state["extra_state"]["metrics"]
        # Not those named "default", which the hosts no longer fill after resuming.
        updates[str(update)] = {
            key: number(values["val"]) for _, key, kind, values in meters["train"] if kind == "AverageMeter"
        }
        # Sums over all validations so far: their last value would be that of the last batch.
        validation[str(update)] = {
            key: number(values["sum"]) for _, key, kind, values in meters["valid"] if kind == "AverageMeter"
        }
    last = cmelt_plugin.load_pretrained(Path(folder) / "checkpoint_last.pt").model.state_dict()
    # A norm, to be compared where hashes cannot be.
    norm = torch.cat([last[name].double().flatten() for name in sorted(last)]).norm().item()
    return {"updates": updates, "validation_sums": validation, "weights_hash": weights_hash(last), "norm": norm}


def number(value: Any) -> Any:
    return value.item() if torch.is_tensor(value) else value


def validation_log() -> dict[str, float]:
    """The values ``fairseq-hydra-validate`` printed."""
    lines = [line for line in Path("logs/validate.log").read_text(encoding="utf-8").splitlines() if '"test_loss"' in line]
    printed = json.loads(lines[-1][lines[-1].index("{") :])
    return {key: float(value) for key, value in printed.items() if key.startswith("test_") and not key.endswith("wall")}


def evaluations() -> dict[str, Any]:
    """Content of every ``result.json`` and the scores beside it, by folder."""
    found = {}
    for path in sorted(Path("results").rglob("result.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        entry = {name: result[name] for name in RESULT_FIELDS}
        if (path.parent / "scores.npz").is_file():
            with np.load(path.parent / "scores.npz") as arrays:
                entry["scores"] = arrays["scores"][:FEW].astype(np.float64).tolist()
                entry["scores_hash"] = array_hash(arrays["scores"])
                entry["labels"] = array_hash(arrays["labels"])
                entry["columns"] = [[str(value) for value in arrays[name]] for name in ("record_id", "subject_id", "names")]
        found[path.parent.relative_to("results").as_posix()] = entry
    return found


def predictions() -> list[dict[str, Any]]:
    """What ``predict`` printed of the first records."""
    lines = Path("logs/predict.log").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")][:FEW]


def loaded() -> dict[str, Any]:
    """What ``load_pretrained`` makes of the recorded files and of those just exported from them."""
    warnings.simplefilter("ignore", UserWarning)
    records = sorted(path.with_suffix("") for path in Path("cohort/files").rglob("*.hea"))[:3]
    time = np.arange(7 * 250) / 250
    short = 0.5 * np.sin(np.outer(np.arange(1, 13), time)).astype(np.float32)
    found: dict[str, Any] = {}
    for name in ("old/pretrained.pt", "old/exported/pretrained", "exported/pretrained"):
        model = cmelt_plugin.load_pretrained(name, tokenizer="tokenizer" if name.endswith(".pt") else None)
        found[name] = {
            "weights": weights_hash(model.model.state_dict()),
            "ecg": model.encode_ecg([str(record) for record in records]).tolist(),
            "short_ecg": model.encode_ecg(short, sample_rate=250).tolist(),
            "features_cls": model.ecg_features([str(record) for record in records]).tolist(),
            "features_mean": model.ecg_features([str(record) for record in records], pool="mean").tolist(),
            "text": model.encode_text(TEXTS).tolist(),
            "zero_shot": model.zero_shot([str(record) for record in records], "ptb-xl-super")[1].tolist(),
            "scale_and_bias": [model.logit_scale, model.logit_bias],
        }
    for name in ("old/classifier.pt", "old/exported/classifier", "exported/classifier"):
        model = cmelt_plugin.load_pretrained(name)
        names, probabilities = model.classify([str(record) for record in records])
        found[name] = {
            "weights": weights_hash(model.model.state_dict()),
            "names": names,
            "thresholds": model.thresholds,
            "probabilities": probabilities.tolist(),
        }
    for kind in ("pretrained", "classifier"):
        folder = Path("exported", kind)
        found[f"files of exported/{kind}"] = {path.relative_to(folder).as_posix(): "" for path in folder.rglob("*.*")}
    return found


def differences_from_checkpoints() -> dict[str, float]:
    """Largest difference of a weight between what was trained now and the recorded checkpoint, by training."""
    found = {}
    for name, dest in (("old/pretrained.pt", "trained"), ("old/classifier.pt", "finetuned")):
        old = cmelt_plugin.load_pretrained(name).model.state_dict()
        new = cmelt_plugin.load_pretrained(f"{dest}/checkpoint_last.pt").model.state_dict()
        found[dest] = max(float((new[key].double() - old[key].double()).abs().max()) for key in old)
    return found


def main() -> None:
    sections: dict[str, Callable[[], Any]] = {
        "environment": environment,
        "prepared_files": prepared_files,
        "training": lambda: training("trained"),
        "training_release": lambda: training("released_way"),
        "resumed": lambda: training("resumed", first=9),
        "finetuning": lambda: training("finetuned"),
        "validation": validation_log,
        "evaluations": evaluations,
        "predictions": predictions,
        "loaded": loaded,
        "weight_differences": differences_from_checkpoints,
    }
    found = {}
    for name, section in sections.items():
        try:
            found[name] = section()
        except Exception:
            found[name] = {"error": traceback.format_exc()}
    Path("numbers.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
