"""preprocess/tokenizer.py: trained T5 and local WordPiece tokenizers, sidecars, and what it refuses."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from report_texts import make_reports, write_directory

from cmelt_plugin.data.files import read_json, write_json
from cmelt_plugin.data.text.reports import write_reports
from cmelt_plugin.data.text.tokens import TokenTable
from cmelt_plugin.errors import DataError
from cmelt_plugin.huggingface import import_transformers
from preprocess import tokenizer as command
from preprocess.text.hf_tokenizer import encode, load_tokenizer, mask_id, short_name, special_ids, tokenizer_fingerprint
from preprocess.text.t5_folder import train_sentencepiece
from tests.preprocess.packing.test_swap import killed_at, visible

TRAIN = ["--train-vocab", "200", "--encoder", "tiny"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A manifest directory with 300 reports, prompts, and a trained tokenizer with its sidecars. Not to be changed."""
    directory = tmp_path_factory.mktemp("trained")
    write_directory(directory, 300)
    write_json(directory / "labels.json", {"label_set": "x", "names": ["AFIB", "NORM"]})
    write_json(directory / "prompts.json", {"NORM": ["Normal EKG."], "AFIB": ["atrial fibrillation", "AFib!"]})
    assert command.main(["--manifest", str(directory), *TRAIN]) == 0
    return directory


@pytest.fixture
def directory(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "d"))


@pytest.fixture(scope="module")
def wordpiece(tmp_path_factory) -> Path:
    """A BERT-style tokenizer folder."""
    folder = tmp_path_factory.mktemp("bert")
    words = sorted({word for text in make_reports(300) for word in text.split()})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": len(vocabulary)}))
    return folder


def test_trained_folder_loads_as_t5_and_its_sidecar_agrees(trained: Path) -> None:
    tokenizer = load_tokenizer(str(trained / "tokenizer"))
    texts = make_reports(300)
    table = TokenTable.load(trained / "reports.tokenizer.npz", trained / "reports.parquet")
    assert "T5" in type(tokenizer).__name__
    assert len(table) == 300
    for index, text in enumerate(texts):
        ids = table[index].tolist()
        assert ids == tokenizer(text)["input_ids"]
        assert ids[-1] == tokenizer.eos_token_id == 1
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
    info = table.info
    assert info["mask_id"] == tokenizer.convert_tokens_to_ids("<extra_id_0>") == len(tokenizer) - 1
    assert info["pad_id"] == 0 and info["vocab_size"] == len(tokenizer) and info["tokenizer"] == "tokenizer"
    assert set(range(len(tokenizer) - 100, len(tokenizer))) | {0, 1, 2} == set(info["special_ids"])
    assert info["fingerprint"] == tokenizer_fingerprint(tokenizer)


def test_sentencepiece_model_gives_the_same_ids_as_tokenizer_json(trained: Path) -> None:
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_file=str(trained / "tokenizer" / "spiece.model"))
    tokenizer = load_tokenizer(str(trained / "tokenizer"))
    for text in make_reports(300):
        assert [*processor.encode(text), 1] == tokenizer(text)["input_ids"]


def test_encoder_loads_and_matches_the_tokenizer(trained: Path) -> None:
    model = import_transformers().T5EncoderModel.from_pretrained(trained / "tokenizer")
    vocab_size = TokenTable.load(trained / "reports.tokenizer.npz").info["vocab_size"]
    assert model.get_input_embeddings().weight.shape == (vocab_size, 64)
    assert model.config.is_gated_act and len(model.encoder.block) == 2


def test_training_again_gives_the_same_folder(trained: Path, tmp_path: Path) -> None:
    shutil.copy(trained / "reports.parquet", tmp_path)
    command.main(["--manifest", str(tmp_path), *TRAIN, "--dest", str(tmp_path / "other")])
    for name in ("spiece.model", "tokenizer.json", "model.safetensors"):
        assert (tmp_path / "other" / name).read_bytes() == (trained / "tokenizer" / name).read_bytes()
    there = TokenTable.load(tmp_path / "reports.other.npz").info
    assert there["fingerprint"] == TokenTable.load(trained / "reports.tokenizer.npz").info["fingerprint"]


def test_prompts_are_normalised_and_carry_their_class(trained: Path) -> None:
    table = TokenTable.load(trained / "prompts.tokenizer.npz", trained / "prompts.json")
    tokenizer = load_tokenizer(str(trained / "tokenizer"))
    texts = [tokenizer.decode(table[index], skip_special_tokens=True) for index in range(len(table))]
    assert texts == ["atrial fibrillation", "afib", "normal ecg"]
    assert table.class_index.tolist() == [0, 0, 1]


def test_wordpiece_tokenizer_has_its_own_mask(wordpiece: Path, directory: Path) -> None:
    assert command.main(["--manifest", str(directory), "--tokenizer", str(wordpiece), "--tag", "my bert"]) == 0
    table = TokenTable.load(directory / "reports.my-bert.npz", directory / "reports.parquet")
    assert (table.info["pad_id"], table.info["mask_id"]) == (0, 4)
    assert table.info["special_ids"] == [0, 1, 2, 3, 4]
    assert table[0][0] == 2 and table[0][-1] == 3


def test_cut_reports_keep_their_last_special_token_and_are_counted(trained: Path, wordpiece: Path) -> None:
    for folder, last in ((trained / "tokenizer", 1), (wordpiece, 3)):
        tokenizer = load_tokenizer(str(folder))
        whole, none = encode(tokenizer, make_reports(50), 256)
        cut, count = encode(tokenizer, make_reports(50), 6)
        assert none == 0 and count == sum(len(row) > 6 for row in whole) > 0
        for before, after in zip(whole, cut):
            assert after == (before if len(before) <= 6 else [*before[:5], last])


def test_summary_counts_cut_and_unknown(wordpiece: Path, tmp_path: Path, capsys) -> None:
    write_reports(tmp_path, ["sinus xyzzy", "sinus sinus sinus sinus sinus sinus"], [1, 1])
    command.main(["--manifest", str(tmp_path), "--tokenizer", str(wordpiece), "--tag", "b", "--max-tokens", "6"])
    out = capsys.readouterr().out
    assert "2 texts, 5.0 tokens on average, 6 at most, 1 cut at 6, 16.667% unknown tokens" in out


def test_running_again_is_up_to_date_and_other_settings_need_overwrite(directory: Path, capsys) -> None:
    base = ["--manifest", str(directory), *TRAIN]
    capsys.readouterr()
    assert command.main(base) == 0
    assert capsys.readouterr().out.count("up to date") == 3
    with pytest.raises(DataError, match="overwrite"):
        command.main([*base, "--max-tokens", "8"])
    with pytest.raises(DataError, match="holds something else"):
        command.main(["--manifest", str(directory), "--train-vocab", "150", "--encoder", "tiny"])
    assert command.main([*base, "--max-tokens", "8", "--overwrite"]) == 0
    assert TokenTable.load(directory / "reports.tokenizer.npz").lengths().max() == 8


def test_new_reports_make_the_old_sidecar_stale(directory: Path) -> None:
    write_reports(directory, make_reports(10), np.ones(10))
    with pytest.raises(DataError, match="stale"):
        TokenTable.load(directory / "reports.tokenizer.npz", directory / "reports.parquet")
    arguments = ["--manifest", str(directory), "--tokenizer", str(directory / "tokenizer")]
    with pytest.raises(DataError, match="overwrite"):
        command.main(arguments)
    assert command.main([*arguments, "--overwrite"]) == 0
    assert len(TokenTable.load(directory / "reports.tokenizer.npz", directory / "reports.parquet")) == 10


def test_fingerprint_follows_what_the_tokenizer_does(trained: Path, wordpiece: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(trained / "tokenizer", tmp_path / "elsewhere"))
    first = load_tokenizer(str(trained / "tokenizer"))
    expected = tokenizer_fingerprint(first)
    encode(first, make_reports(20), 5)
    assert tokenizer_fingerprint(first) == expected
    assert tokenizer_fingerprint(load_tokenizer(str(copy))) == expected
    content = json.loads((copy / "tokenizer.json").read_text(encoding="utf-8"))
    content["model"]["vocab"][10][0] = "changed"
    (copy / "tokenizer.json").write_text(json.dumps(content))
    assert tokenizer_fingerprint(load_tokenizer(str(copy))) != expected
    assert tokenizer_fingerprint(load_tokenizer(str(wordpiece))) != expected


def test_more_pieces_than_the_corpus_supports_and_fewer_than_it_needs(tmp_path: Path, capsys) -> None:
    write_directory(tmp_path, 20)
    command.main(["--manifest", str(tmp_path), "--train-vocab", "32000", "--encoder", "tiny"])
    size = TokenTable.load(tmp_path / "reports.tokenizer.npz").info["vocab_size"]
    assert 100 < size < 1000
    assert f"{size} ids (32000 pieces asked for" in capsys.readouterr().out
    with pytest.raises(DataError, match="vocabulary of 5 on 20 reports"):
        train_sentencepiece(make_reports(20), 5)
    with pytest.raises(DataError, match="no report text"):
        train_sentencepiece([""], 50)


class NoMask:
    """The part of a tokenizer that decides about the mask, GPT style."""

    mask_token_id = None
    name_or_path = "gpt"

    def get_vocab(self) -> dict[str, int]:
        return {"a": 0}


def test_tokenizers_without_any_mask_are_refused(trained: Path) -> None:
    with pytest.raises(DataError, match="neither a mask token nor"):
        mask_id(NoMask())
    assert 5 not in special_ids(load_tokenizer(str(trained / "tokenizer")))


@pytest.mark.parametrize("prompts", [{"AFIB": ["a"]}, {"AFIB": ["a"], "NORM": []}, {"AFIB": ["a"], "OTHER": ["b"]}])
def test_prompts_that_do_not_match_the_labels_are_refused(directory: Path, prompts) -> None:
    write_json(directory / "prompts.json", prompts)
    with pytest.raises(DataError, match="prompts.json"):
        command.main(["--manifest", str(directory), *TRAIN, "--overwrite"])


@pytest.mark.parametrize("reports", ["missing", "empty"])
def test_a_labelled_directory_without_reports_gets_its_class_texts(trained: Path, tmp_path: Path, reports, capsys) -> None:
    for name in ("labels.json", "prompts.json"):
        shutil.copy(trained / name, tmp_path)
    if reports == "empty":  # what packing a data set without reports leaves
        write_reports(tmp_path, [], [])
    assert command.main(["--manifest", str(tmp_path), "--tokenizer", str(trained / "tokenizer")]) == 0
    assert "no reports" in capsys.readouterr().out
    assert [path.name for path in tmp_path.glob("*.npz")] == ["prompts.tokenizer.npz"]
    expected = TokenTable.load(trained / "prompts.tokenizer.npz")
    got = TokenTable.load(tmp_path / "prompts.tokenizer.npz", tmp_path / "prompts.json")
    assert got.ids.tolist() == expected.ids.tolist() and got.class_index.tolist() == expected.class_index.tolist()
    with pytest.raises(DataError, match="no reports to train a tokenizer on"):
        command.main(["--manifest", str(tmp_path), *TRAIN])
    (tmp_path / "prompts.json").unlink()
    with pytest.raises(DataError, match="reports.parquet"):
        command.main(["--manifest", str(tmp_path), "--tokenizer", str(trained / "tokenizer")])


def test_unloadable_tokenizer_is_one_clear_line(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="cannot be loaded") as caught:
        command.main(["--manifest", str(directory), "--tokenizer", str(tmp_path / "empty")])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("google/flan-t5-base", "flan-t5-base"), ("/a/b c/", "b-c"), ("ä", "tokenizer"), ("x..y/", "x..y")],
)
def test_names_are_made_fit_for_files(name: str, expected: str) -> None:
    assert short_name(name) == expected


def test_folders_of_killed_runs_are_removed_and_no_others(directory: Path, monkeypatch) -> None:
    left, foreign = directory / ".tokenizer.ab_1cd2e", directory / ".tokenizer.mine1234"
    for folder, name in ((left, "spiece.model"), (foreign, "notes.txt")):
        folder.mkdir()
        (folder / name).touch()
    (left / ".tmpzc6axv").touch()  # of safetensors

    def fail(*arguments):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(command, "write_encoder", fail)
        with pytest.raises(OSError):
            command.main(["--manifest", str(directory), *TRAIN, "--overwrite"])
    assert [path.name for path in directory.glob(".tokenizer.*")] == [foreign.name]


def test_the_same_command_goes_on_wherever_training_was_killed(tmp_path: Path) -> None:
    """A folder that exists is whole; what a killed run was writing is removed by the next."""
    write_directory(tmp_path / "whole", 40)
    command.main(["--manifest", str(tmp_path / "whole"), *TRAIN])
    whole = visible(tmp_path / "whole")
    operation = 1
    while True:
        folder = tmp_path / str(operation)
        write_directory(folder, 40)
        killed = killed_at(operation, functools.partial(command.main, ["--manifest", str(folder), *TRAIN]))
        assert command.main(["--manifest", str(folder), *TRAIN]) == 0
        assert visible(folder) == whole
        assert not list(folder.glob(".tokenizer.*"))
        if not killed:
            break
        operation += 1
    assert operation > 4


def test_class_texts_made_for_another_order_of_the_classes_are_stale(trained: Path, tmp_path: Path) -> None:
    for name in ("labels.json", "prompts.json", "prompts.tokenizer.npz"):
        shutil.copy(trained / name, tmp_path)
    TokenTable.load(tmp_path / "prompts.tokenizer.npz", tmp_path / "prompts.json")
    labels = read_json(tmp_path / "labels.json")
    write_json(tmp_path / "labels.json", {**labels, "names": labels["names"][::-1]})
    with pytest.raises(DataError, match="stale, made for other classes, or another order"):
        TokenTable.load(tmp_path / "prompts.tokenizer.npz", tmp_path / "prompts.json")


def test_token_tables_of_class_texts_made_before_they_knew_the_classes(trained: Path, tmp_path: Path, capsys) -> None:
    for name in ("labels.json", "prompts.json", "prompts.tokenizer.npz"):
        shutil.copy(trained / name, tmp_path)
    table = TokenTable.load(tmp_path / "prompts.tokenizer.npz")
    info = {key: value for key, value in table.info.items() if key != "class_names"}
    TokenTable(np.array(table.ids), table.offsets, info, table.class_index).save(tmp_path / "prompts.tokenizer.npz")
    TokenTable.load(tmp_path / "prompts.tokenizer.npz", tmp_path / "prompts.json")
    command.main(["--manifest", str(tmp_path), "--tokenizer", str(trained / "tokenizer")])
    assert "up to date" in capsys.readouterr().out


def test_other_models_are_not_overwritten(directory: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "model.safetensors").write_text("precious")
    for dest in (mine, directory):
        with pytest.raises(DataError, match="did not write|is the manifest directory"):
            command.main(["--manifest", str(directory), *TRAIN, "--overwrite", "--dest", str(dest)])
    assert (mine / "model.safetensors").read_text() == "precious"


def test_a_run_killed_between_its_files_is_done_again(directory: Path, trained: Path, monkeypatch) -> None:
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        command.main(["--manifest", str(directory), *TRAIN, "--overwrite"])
    monkeypatch.undo()
    with pytest.raises(DataError, match="holds something else"):
        command.main(["--manifest", str(directory), *TRAIN])
    command.main(["--manifest", str(directory), *TRAIN, "--overwrite"])
    for path in (trained / "tokenizer").iterdir():
        assert (directory / "tokenizer" / path.name).read_bytes() == path.read_bytes()
