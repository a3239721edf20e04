"""The exported folder, and every system reading it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from corpora import write_bert, write_corpus, write_language_checkpoint

from cmelt_plugin import export, registry
from cmelt_plugin.data.files import read_json
from cmelt_plugin.data.text.tokenizer import load_tokenizer, tokenizer_fingerprint
from cmelt_plugin.errors import DataError
from cmelt_plugin.modules.text.masked_text_encoder import MaskedTextEncoder
from cmelt_plugin.modules.text.text_encoder import TextEncoder, describe_text_encoder
from preprocess.text.text_embedding import EncoderEmbedder
from tests.systems.cases import CASES, values_of

STATE = {
    "optimizer_history": [{"num_updates": 70}],
    "extra_state": {"best": 1.5, "val_loss": 1.6, "train_iterator": {"epoch": 3}},
}
TEXT = torch.tensor([[2, 9, 14, 11, 3], [2, 14, 3, 0, 0]])


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """``bert``, ``corpus``, ``lm.pt`` trained on it as far as the file says, and ``folder``, exported from that."""
    root = tmp_path_factory.mktemp("language")
    write_corpus(root / "corpus", write_bert(root / "bert"))
    model = write_language_checkpoint(root / "lm.pt", root / "bert", root / "corpus", **STATE)
    torch.save(model.state_dict(), root / "weights.pt")
    assert main(root, "folder", "--name", "Heart", "--licence", "mit") == 0
    return root


def main(root: Path, dest: str, *more: str) -> int:
    return export.main(["--checkpoint", str(root / "lm.pt"), "--dest", str(root / dest), *more])


def test_the_folder_holds_the_model_its_tokenizer_and_what_is_known_of_it(place: Path) -> None:
    folder = str(place / "folder")
    again = MaskedTextEncoder(describe_text_encoder(folder), folder).eval()
    weights = torch.load(place / "weights.pt")
    assert not again.head_is_new
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, weights[f"text_encoder.{name}"]), name
    first, second = (load_tokenizer(str(place / name)) for name in ("bert", "folder"))
    assert tokenizer_fingerprint(first) == tokenizer_fingerprint(second)  # token ids of manifest directories stay valid
    about = read_json(place / "folder" / "language_model.json")
    assert about["began_as"] == "bert" and about["training"]["updates"] == 70 and about["validation_perplexity"] == 4.4817
    assert about["corpus"]["splits"]["valid"]["documents"] == 8
    assert str(place) not in "".join(path.read_text() for path in (place / "folder").glob("*.json"))
    card = (place / "folder" / "README.md").read_text()
    assert card.startswith("---\n") and "# Heart\n" in card and 'license: "mit"' in card and "| 4.4817 |" in card


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_system_takes_the_folder(place: Path, name: str) -> None:
    """``model.text_encoder=``: its text encoder is the language model's, weight by weight."""
    case = CASES[name]
    if case.text_encoder is None:
        pytest.skip("reads no texts")
    system = registry.systems()[case.system]
    values = {
        **values_of(case),
        "text_encoder": str(place / "folder"),
        "text_encoder_pretrained": True,
        case.text_encoder: None,
    }
    cfg = system.config_class()(**values)
    system.model_class().prepare_config(cfg)  # as a host does before it builds a model
    model = system.model_class().build_model(cfg)
    weights = torch.load(place / "weights.pt")
    for key, tensor in model.text_encoder.model.state_dict().items():
        assert torch.equal(tensor, weights[f"text_encoder.model.bert.{key}"]), key
    assert model.vocab_size == 120
    assert torch.isfinite(model.eval().embed_text(TEXT, TEXT == 0).mean).all()


def test_a_pooler_that_was_never_trained_is_refused(place: Path) -> None:
    folder = str(place / "folder")
    with pytest.raises(DataError, match="missing or of another size: .*pooler"):
        TextEncoder(describe_text_encoder(folder), folder, pooler=True)


def test_negatives_can_be_searched_with_it(place: Path) -> None:
    """An encoder without a pooler has the same fingerprint every time, and its vectors are those of its states."""
    first, second = (EncoderEmbedder(str(place / "folder"), "cpu") for _ in range(2))
    assert first.fingerprint == second.fingerprint
    assert first.fingerprint != EncoderEmbedder(str(place / "bert"), "cpu").fingerprint
    assert first.model.pooler is None
    vectors = first(["sinus rhythm", "atrial fibrillation"])
    encoder = TextEncoder(describe_text_encoder(str(place / "folder")), str(place / "folder")).eval()
    ids = torch.tensor([first.tokenizer("sinus rhythm")["input_ids"]])
    with torch.no_grad():
        expected = torch.nn.functional.normalize(encoder.pool(ids, None, "mean"), dim=-1)
    torch.testing.assert_close(torch.from_numpy(vectors[:1]), expected, rtol=0, atol=1e-5)


def test_only_an_exported_folder_is_replaced(place: Path) -> None:
    with pytest.raises(DataError, match="--overwrite replaces it"):
        main(place, "folder")
    before = (place / "folder" / "model.safetensors").read_bytes()
    assert main(place, "folder", "--overwrite") == 0
    assert (place / "folder" / "model.safetensors").read_bytes() == before
    with pytest.raises(DataError, match="not an exported language model"):
        main(place, "bert", "--overwrite")
    with pytest.raises(DataError, match="is a file"):
        main(place, "lm.pt")
    assert not list(place.glob(".folder.*"))


def test_another_tokenizer_is_refused(place: Path, tmp_path: Path) -> None:
    other = write_bert(tmp_path / "other", ["sinus rhythm", "normal ecg"], vocab_size=50)
    with pytest.raises(DataError, match="is not the one the model was trained with"):
        main(place, "elsewhere", "--tokenizer", str(other))
    assert not (place / "elsewhere").exists()
    assert main(place, "elsewhere", "--tokenizer", str(place / "bert")) == 0
    assert json.loads((place / "elsewhere" / "config.json").read_text())["architectures"] == ["BertForMaskedLM"]
