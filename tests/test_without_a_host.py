"""Using a trained model needs no host: none is installed, or none is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hosts import REPOSITORY, environment
from pretrained_files import random_ecg, write_record
from tiny import TINY_MODEL, tiny_model, tiny_t5_config

from cmelt_plugin import load_pretrained
from cmelt_plugin.models.files.exported import write_folder

# What takes long to import and is not needed to open a model and embed a recording of the right rate.
HEAVY = (
    "dask", "datasets", "faiss", "fairseq", "fairseq_cli", "fairseq_signals", "h5py", "hydra", "joblib", "matplotlib",
    "omegaconf", "pandas", "ray", "scipy.signal", "sklearn", "transformers", "wfdb",
)  # fmt: skip

BLOCKED = """
import sys

class NoHost:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("fairseq", "fairseq_cli", "fairseq_signals", "hydra", "omegaconf"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NoHost())
# Nor what the distribution for inference does not bring.
for name in ("dask", "datasets", "faiss", "joblib", "pandas", "pyarrow", "sentencepiece", "sklearn", "wfdb"):
    sys.modules[name] = None
"""


def ask(script: str, *arguments: str) -> str:
    """What a script prints in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *arguments],
        env=environment("fairseq"),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    settings = {"_name": "cmelt", **TINY_MODEL, "text_encoder_config": tiny_t5_config()}
    return write_folder(tmp_path_factory.mktemp("exported"), tiny_model(), {"model": settings, "task": {}}, {})


def recording() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(12, 5000)).astype(np.float32) * 0.3


def test_loading_a_model_imports_nothing_heavy() -> None:
    script = "import sys\nfrom cmelt_plugin import load_pretrained\nprint(*sys.modules)"
    loaded = set(ask(script).split())
    assert {"torch", "cmelt_plugin.models.inference.pretrained"} <= loaded
    assert loaded.isdisjoint(HEAVY)


def test_an_exported_model_embeds_a_recording_where_no_host_is_installed(folder: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "ecg.npy", recording())
    script = BLOCKED + (
        "import numpy as np\n"
        "from cmelt_plugin import load_pretrained\n"
        "model = load_pretrained(sys.argv[1])\n"
        "print(model.encode_ecg(np.load(sys.argv[2])).tolist())\n"
        "try:\n"
        "    import cmelt_plugin.host\n"
        "except ImportError:\n"
        "    print('no host')\n"
    )
    numbers, host = ask(script, str(folder), str(tmp_path / "ecg.npy")).splitlines()[-2:]
    assert host == "no host"
    with pytest.warns(match="doubtful"):
        expected = load_pretrained(folder).encode_ecg(recording())
    torch.testing.assert_close(torch.tensor(json.loads(numbers)), expected, rtol=0, atol=1e-6)


def test_the_model_of_the_package_predicts_where_no_host_is_installed(tmp_path: Path) -> None:
    record = str(write_record(tmp_path, "r", random_ecg()))
    script = BLOCKED + (
        "from cmelt_plugin.predict import main\n"
        "import cmelt_plugin.evaluation.embedding.teacher_items, cmelt_plugin.evaluation.regress.predictor  # of values\n"
        "sys.exit(main(['--format', 'jsonl', '--figure', sys.argv[2], sys.argv[1]]))\n"
    )
    scores = json.loads(ask(script, record, str(tmp_path / "figures")))["scores"]
    assert (tmp_path / "figures" / "r.png").is_file()
    names, similarity = load_pretrained("synthetic").zero_shot(record, "ptb-xl-all")
    assert scores == pytest.approx(dict(zip(names, similarity.tolist())), abs=2e-6)


def test_an_exported_model_stays_without_the_host_that_is_installed(folder: Path) -> None:
    script = "import sys\nfrom cmelt_plugin import load_pretrained\nload_pretrained(sys.argv[1])\nprint(*sys.modules)"
    loaded = set(ask(script, str(folder)).split())
    assert loaded.isdisjoint({"fairseq", "fairseq_cli", "fairseq_signals", "hydra", "omegaconf", "cmelt_plugin.host"})
