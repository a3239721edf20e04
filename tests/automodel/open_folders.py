"""What a user of folders with code does, run alone: ``open_folders.py ECGS.npy RATE FOLDER…`` prints what they give as JSON."""

from __future__ import annotations

import importlib.util
import json
import sys
from typing import Any

ABSENT = ("cmelt_plugin", "preprocess", "fairseq", "fairseq_signals")


class Absent:
    """Packages that are installed here and need not be where a folder is opened."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> None:
        if name.split(".")[0] in ABSENT:
            raise ImportError(f"{name} is not to be imported here")


sys.meta_path.insert(0, Absent())  # type: ignore[arg-type]
try:
    importlib.util.find_spec("torchaudio") and importlib.import_module("torchaudio")
except (OSError, ImportError, RuntimeError):
    sys.modules["torchaudio"] = None  # type: ignore[assignment]  # a build of another torch; transformers imports it if it can

import numpy as np  # noqa: E402
import torch  # noqa: E402
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoProcessor  # noqa: E402

torch.set_num_threads(1)
ecgs, rate = np.load(sys.argv[1]), float(sys.argv[2])
found: dict[str, Any] = {}
for folder in sys.argv[3:]:
    model = AutoModel.from_pretrained(folder, trust_remote_code=True)
    extractor = AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=True)
    assert not model.training and not any(parameter.is_meta for parameter in model.parameters())
    output = model(**extractor(ecgs, sample_rate=rate))
    found[folder] = {key: value.tolist() for key, value in output.items()}
    found[folder]["classified"] = model.classify(ecgs[0], rate) if model.config.classes else None
config = AutoConfig.from_pretrained(sys.argv[3], trust_remote_code=True)
processor = AutoProcessor.from_pretrained(sys.argv[3], trust_remote_code=True)
assert type(processor).__name__ == "ECGFeatureExtractor" and config.signal["sample_rate"] == processor.sample_rate
try:
    processor(ecgs * 1000)
except Exception as error:
    found["refused"] = f"{type(error).__name__}: {error}"
print(json.dumps(found))
