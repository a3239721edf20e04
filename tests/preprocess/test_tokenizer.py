"""preprocess/tokenizer.py: trained T5 and local WordPiece tokenizers, sidecars, and what it refuses."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from report_texts import make_reports, write_directory, write_format_1, write_wordpiece

from cmelt_plugin.data.files import fingerprint, read_json, write_json
from cmelt_plugin.data.text.reports import write_reports
from cmelt_plugin.data.text.tokenizer import encode
from cmelt_plugin.data.text.tokens import TokenTable
from cmelt_plugin.errors import DataError
from cmelt_plugin.huggingface import import_transformers
from preprocess import tokenizer as command
from preprocess.text.bert_folder import train_wordpiece, write_tokenizer
from preprocess.text.families import FAMILIES
from preprocess.text.hf_tokenizer import load_tokenizer, mask_id, short_name, special_ids, tokenizer_fingerprint
from preprocess.text.t5_folder import train_sentencepiece
from tests.preprocess.packing.test_swap import killed_at, visible

TRAIN = ["--train-vocab", "200", "--encoder", "tiny"]
BERT = [*TRAIN, "--family", "bert"]


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
    return write_wordpiece(tmp_path_factory.mktemp("bert"), make_reports(300))


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
        assert [table[index][start:stop].tolist() for start, stop in table.spans(index)] == [ids[:-1]]
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


def test_a_trained_bert_masks_and_embeds(tmp_path: Path, capsys) -> None:
    texts = write_directory(tmp_path, 300)
    command.main(["--manifest", str(tmp_path), *BERT])
    assert "tiny BERT encoder with random weights" in capsys.readouterr().out
    tokenizer = load_tokenizer(str(tmp_path / "tokenizer"))
    table = TokenTable.load(tmp_path / "reports.tokenizer.npz", tmp_path / "reports.parquet")
    assert (table.info["pad_id"], table.info["mask_id"], table.info["special_ids"]) == (0, 4, [0, 1, 2, 3, 4])
    pieces = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    assert "rhythm" in pieces and any(piece.startswith("##") for piece in pieces) and len(pieces) <= 200
    for index, text in enumerate(texts[:50]):
        ids = table[index].tolist()
        assert ids == tokenizer(text)["input_ids"] and (ids[0], ids[-1]) == (2, 3)
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
        assert table.spans(index).tolist() == [[1, len(ids) - 1]]
    model = import_transformers().AutoModel.from_pretrained(tmp_path / "tokenizer")
    assert model.config.model_type == "bert" and model.get_input_embeddings().weight.shape == (len(tokenizer), 64)


def test_training_a_bert_again_gives_the_same_folder(tmp_path: Path) -> None:
    """The library's own numbering of characters changes from one training to the next, also within a process."""
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        write_directory(folder, 300)
        command.main(["--manifest", str(folder), *BERT])
    names = {path.name for path in (folders[0] / "tokenizer").iterdir()}
    assert names == {*FAMILIES["bert"].files, "training.json"}
    for name in names:
        assert (folders[0] / "tokenizer" / name).read_bytes() == (folders[1] / "tokenizer" / name).read_bytes()


def test_a_folder_of_one_family_is_not_taken_for_the_others(directory: Path, tmp_path: Path, capsys) -> None:
    with pytest.raises(DataError, match="holds something else"):
        command.main(["--manifest", str(directory), *BERT])
    assert command.main(["--manifest", str(directory), *BERT, "--overwrite"]) == 0
    assert not (directory / "tokenizer" / "spiece.model").exists()
    assert load_tokenizer(str(directory / "tokenizer")).mask_token == "[MASK]"
    with pytest.raises(DataError, match="holds something else"):
        command.main(["--manifest", str(directory), *TRAIN])
    capsys.readouterr()
    assert command.main(["--manifest", str(directory), *BERT]) == 0
    assert capsys.readouterr().out.count("up to date") == 3


def test_a_bert_vocabulary_holds_every_character(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="vocabulary of 20 on 50 reports"):
        train_wordpiece(make_reports(50), 20)
    with pytest.raises(DataError, match="no report text"):
        train_wordpiece([""], 50)
    pieces = train_wordpiece(["größer mögl. größer", "groß"], 60)
    assert {"größer", "ö", "##ö", "."} < set(pieces) and "##m" not in pieces
    write_tokenizer(tmp_path, pieces)
    tokenizer = load_tokenizer(str(tmp_path))
    assert tokenizer.tokenize("GRÖSSER größer, mögl.")[-2:] == ["mögl", "."]
    assert tokenizer.tokenize("größer") == ["größer"]


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
        patch.setitem(command.FAMILIES, "t5", command.FAMILIES["t5"]._replace(write_encoder=fail))
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
    assert operation >= 3  # two kills at least; transformers 5 renames more files than 4


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


def test_tables_and_tokenizers_made_for_format_1_are_taken_up(tmp_path: Path, capsys) -> None:
    """The same command that made them adds the places of statements; the ids stay, and nothing is trained again."""
    texts = write_directory(tmp_path, 40)
    source = write_format_1(tmp_path, texts, np.ones(40))
    command.main(["--manifest", str(tmp_path), *TRAIN])
    table = TokenTable.load(tmp_path / "reports.tokenizer.npz")
    info = {key: value for key, value in table.info.items() if key != "statements_fingerprint"}
    former = {**info, "format": 1, "source_fingerprint": fingerprint(source)}
    TokenTable(np.array(table.ids), table.offsets, former).save(tmp_path / "reports.tokenizer.npz")
    plan = read_json(tmp_path / "tokenizer" / "training.json")
    write_json(tmp_path / "tokenizer" / "training.json", {**plan, "reports_fingerprint": fingerprint(source)})
    statements = [text.split(" ", 1) if " " in text else [text] for text in texts]
    write_reports(tmp_path, texts, np.ones(40), statements)
    capsys.readouterr()
    command.main(["--manifest", str(tmp_path), *TRAIN])
    out = capsys.readouterr().out
    assert f"{tmp_path / 'tokenizer'}: up to date" in out and "made again, for the statements of the reports" in out
    new = TokenTable.load(tmp_path / "reports.tokenizer.npz", source, statements=True)
    assert new.ids.tolist() == table.ids.tolist() and new.info["format"] == 2
    tokenizer = load_tokenizer(str(tmp_path / "tokenizer"))
    for index, parts in enumerate(statements):
        assert [tokenizer.decode(new[index][start:stop]) for start, stop in new.spans(index)] == parts
    command.main(["--manifest", str(tmp_path), *TRAIN])
    assert "reports.tokenizer.npz: up to date" in capsys.readouterr().out


def test_tokenizers_that_cannot_say_where_statements_are(trained: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    shutil.copy(trained / "reports.parquet", tmp_path)
    slow = load_tokenizer(str(trained / "tokenizer"))
    monkeypatch.setattr(type(slow), "is_fast", property(lambda _: False))
    command.main(["--manifest", str(tmp_path), "--tokenizer", str(trained / "tokenizer")])
    assert "does not say which characters a token stands for" in capsys.readouterr().out
    table = TokenTable.load(tmp_path / "reports.tokenizer.npz", tmp_path / "reports.parquet")
    expected = TokenTable.load(trained / "reports.tokenizer.npz")
    assert table.statements is None and table.ids.tolist() == expected.ids.tolist()
    assert table.spans(7).tolist() == expected.spans(7).tolist()
