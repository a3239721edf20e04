"""transformers can be imported beside a torchaudio that cannot."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from cmelt_plugin.huggingface import import_transformers


@pytest.fixture
def torchaudio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a torchaudio of the given source in front of any other; what was loaded comes back afterwards."""
    loaded = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "torchaudio"}

    def forget() -> None:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
            del sys.modules[name]

    def install(source: str) -> None:
        package = tmp_path / "torchaudio"
        package.mkdir()
        (package / "part.py").touch()
        (package / "__init__.py").write_text(source, encoding="utf-8")

    forget()
    monkeypatch.syspath_prepend(str(tmp_path))
    yield install
    forget()
    sys.modules.update(loaded)


@pytest.mark.parametrize("error", ["OSError", "ImportError", "AttributeError", "RuntimeError"])
def test_a_torchaudio_that_cannot_be_loaded_counts_as_absent(torchaudio, error: str) -> None:
    """Undefined symbols are an OSError; torchaudio itself raises RuntimeError for a torch of another CUDA version."""
    torchaudio(f"import torchaudio.part\nraise {error}('built for another torch')\n")
    assert import_transformers().__name__ == "transformers"
    assert sys.modules["torchaudio"] is None
    assert "torchaudio.part" not in sys.modules
    assert importlib.util.find_spec("torchaudio") is None  # how transformers asks
    assert import_transformers().__name__ == "transformers"  # and again


def test_a_healthy_torchaudio_stays(torchaudio) -> None:
    torchaudio("answer = 42\n")
    import_transformers()
    assert sys.modules["torchaudio"].answer == 42


def test_without_torchaudio_nothing_is_put_in_its_place(torchaudio, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "torchaudio" else find_spec(name, *rest)
    )
    import_transformers()
    assert "torchaudio" not in sys.modules
