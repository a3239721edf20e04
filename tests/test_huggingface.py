"""transformers is imported beside a torchaudio that cannot be, and asked without running anything of anybody."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import socket
import sys
from pathlib import Path

import pytest
import torch
from pretrained_files import write_tokenizer_folder
from safetensors.torch import load_file
from tiny import tiny_t5_config

from cmelt_plugin import huggingface
from cmelt_plugin.data.text.tokenizer import load_tokenizer
from cmelt_plugin.errors import DataError
from cmelt_plugin.huggingface import import_transformers
from cmelt_plugin.modules.text.text_encoder import TextEncoder, describe_text_encoder
from preprocess.text.text_embedding import load_embedder

TRANSFORMERS = tuple(map(int, import_transformers().__version__.split(".")[:1]))


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


# -- Folders that bring code along ---------------------------------------------------------------------------------------

CODE = "import pathlib\npathlib.Path({!r}).touch()\nfrom transformers import {} as Mine\n"
AUTO_MAP = {
    "AutoConfig": "mine.Mine",
    "AutoModel": "mine.Mine",
    "AutoTokenizer": ["mine.Mine", None],
}


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A tokenizer and a text encoder as they should be, with Python beside them that would leave a file behind."""
    folder = tmp_path / "folder"
    write_tokenizer_folder(folder)
    encoder = TextEncoder(json.dumps({**json.loads(tiny_t5_config()), "vocab_size": 300}))
    encoder.model.save_pretrained(folder)
    (folder / "mine.py").write_text(CODE.format(str(tmp_path / "touched"), "T5Config"), encoding="utf-8")
    return folder


def change(path: Path, **values) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **values}), encoding="utf-8")


def doors(folder: Path) -> list:
    """Everything that asks transformers for anything."""
    name = str(folder)
    return [
        lambda: load_tokenizer(name),
        lambda: describe_text_encoder(name),
        lambda: TextEncoder(tiny_t5_config(), name),
        lambda: load_embedder(name, "cpu"),
    ]


@pytest.mark.parametrize("answer", ["closed", "yes"])
@pytest.mark.parametrize(
    "values",
    [
        {"auto_map": AUTO_MAP},
        {"auto_map": AUTO_MAP, "model_type": "mine"},
        {"custom_pipelines": {"text": {"impl": "mine.Mine"}}},
        {"_attn_implementation": "someone/kernel"},
        {"attn_implementation": {"": "someone/kernel:fast"}},
        {"nested": {"auto_map": AUTO_MAP}},
    ],
)
def test_code_of_a_folder_is_never_run_nor_asked_about(hostile: Path, values, answer: str, monkeypatch) -> None:
    change(hostile / "config.json", **values)
    change(hostile / "tokenizer_config.json", **values)
    asked = io.StringIO("y\n" * 99)
    if answer == "closed":
        asked.close()
    monkeypatch.setattr("sys.stdin", asked)
    for door in doors(hostile):
        with pytest.raises(DataError, match="code along|only sdpa and eager") as caught:
            door()
        assert "\n" not in str(caught.value).split("\nGive a")[0]
    assert not (hostile.parent / "touched").exists()
    if answer == "yes":
        assert asked.tell() == 0  # nobody read an answer


def test_trust_is_refused_in_words_whatever_is_asked_for(hostile: Path, monkeypatch) -> None:
    """Beside the look at the folder: names of a hub cannot be looked at."""
    import transformers

    seen = []
    monkeypatch.setattr(huggingface, "_check_folder", lambda folder: None)
    for kind in ("AutoTokenizer", "AutoConfig", "T5EncoderModel"):
        ask = getattr(transformers, kind).from_pretrained

        def noted(name, ask=ask, kind=kind, **options):
            seen.append((kind, options["trust_remote_code"]))
            return ask(name, **options)

        monkeypatch.setattr(getattr(transformers, kind), "from_pretrained", noted)
    change(hostile / "config.json", vocab_size=300)
    for door in doors(hostile):
        try:
            door()
        except DataError:
            pass
    assert {kind for kind, _ in seen} == {"AutoTokenizer", "AutoConfig", "T5EncoderModel"}
    assert {trust for _, trust in seen} == {False}


def test_no_other_file_asks_transformers() -> None:
    package = Path(huggingface.__file__).parent
    asking = [
        path.relative_to(package).as_posix() if package in path.parents else path.name
        for path in [*package.rglob("*.py"), *(package.parent / "preprocess").glob("*.py")]
        if re.search(r"\.(from_pretrained|for_model)\(", path.read_text(encoding="utf-8"))
    ]
    # The folders' in lines of a model card.
    assert sorted(asking) == ["automodel/folder.py", "huggingface.py", "models/language/folder.py"]


def test_weights_in_a_pickle_run_nothing(hostile: Path, monkeypatch) -> None:
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(hostile.parent / "touched"),)

    weights = load_file(hostile / "model.safetensors")
    (hostile / "model.safetensors").unlink()
    name, description = str(hostile), describe_text_encoder(str(hostile))
    for safely in {huggingface.TORCH_READS_SAFELY, False}:
        if not safely and TRANSFORMERS >= (5,):
            continue  # which itself refuses pickles on a torch that does not read them safely
        monkeypatch.setattr(huggingface, "TORCH_READS_SAFELY", safely)
        torch.save({**weights, "extra": Payload()}, hostile / "pytorch_model.bin")
        with pytest.raises(DataError):
            TextEncoder(description, name)
        assert not (hostile.parent / "touched").exists()
        torch.save(weights, hostile / "pytorch_model.bin")
        state = TextEncoder(description, name).model.state_dict()
        assert all(torch.equal(state[key], value) for key, value in weights.items())


# -- Names ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["/no/such/folder", "./folder", "~/folder", "a/b/c", "", "C:\\models"])
def test_a_folder_that_is_not_there_is_refused_without_asking_a_hub(name: str, monkeypatch) -> None:
    monkeypatch.setattr(huggingface, "_hub_answers", lambda: pytest.fail("asked"))
    with pytest.raises(DataError, match="no such folder"):
        load_tokenizer(name)


def test_a_hub_that_does_not_answer_ends_in_one_line(monkeypatch) -> None:
    from huggingface_hub import constants

    for proxy in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # nobody listens there
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
        assert not huggingface._hub_answers()
        with pytest.raises(DataError, match="cannot be reached, and it is not in the local cache") as caught:
            load_tokenizer("someone/no-such-tokenizer")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_layers": 10**9}, "num_layers"),
        ({"vocab_size": 10**30}, "vocab_size"),
        ({"num_labels": 10**6}, "num_labels"),
        ({"model_type": None}, "describes no text encoder"),
        ({"model_type": "no such kind"}, "describes no text encoder"),
    ],
)
def test_descriptions_that_make_no_model(values, message: str) -> None:
    with pytest.raises(DataError, match=message):
        huggingface.config_of({**json.loads(tiny_t5_config()), **values}, "text_encoder_config")
