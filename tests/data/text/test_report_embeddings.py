"""Vectors of reports: computed once, resumed, and refused when they are not those of the encoder and the reports at hand."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from tiny import report_tokens, token_table, write_manifest

from cmelt_plugin.data.directory.checksums import CHECKSUMS_FILE
from cmelt_plugin.data.directory.own_files import is_derived, is_part
from cmelt_plugin.data.directory.replacing import write_checksums
from cmelt_plugin.data.text import report_embeddings
from cmelt_plugin.data.text.report_embeddings import load_report_embeddings, make_report_embeddings, vectors_path
from cmelt_plugin.data.text.tokens import TokenTable
from cmelt_plugin.errors import DataError

ENCODER = "sha256:" + "ab" * 32
LIMIT = 256


class Encoder:
    """Sums of ids and their squares; says how many texts it was asked for, and stops where told."""

    def __init__(self, stop_after: int = 10**9):
        self.texts = 0
        self.stop_after = stop_after

    def __call__(self, texts) -> np.ndarray:
        self.texts += len(texts)
        if self.texts > self.stop_after:
            raise KeyboardInterrupt
        return np.array([[text.sum(), np.square(text).sum(), len(text)] for text in texts], dtype=np.float64) / 7


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(report_embeddings, "BLOCK", 5)
    return write_manifest(tmp_path / "manifest", n_reports=12)


@pytest.fixture
def tokens(directory) -> TokenTable:
    return TokenTable.load(directory / "reports.tiny.npz", directory / "reports.parquet")


def make(directory, tokens, embed=None, encoder=ENCODER, **options) -> Path:
    return make_report_embeddings(directory, tokens, embed or Encoder(), encoder, LIMIT, **options)


def test_every_report_has_its_vector(directory, tokens) -> None:
    path = make(directory, tokens, batch_size=2)
    table = load_report_embeddings(directory, tokens, ENCODER, LIMIT)
    assert path.name == "reports.abababababababab.npy"
    assert (len(table), table.width) == (12, 3)
    wanted = [7, 0, 7, 11]
    rows = table.rows(np.array(wanted))
    expected = Encoder()([np.array([*report_tokens(report), 1]) for report in wanted])
    assert rows.dtype == np.float32 and np.array_equal(rows, expected.astype(np.float32))
    assert table.rows(np.array([], dtype=np.int64)).shape == (0, 3)
    for wrong in (-1, 12):
        with pytest.raises(IndexError):
            table.rows(np.array([0, wrong]))
    assert np.array_equal(pickle.loads(pickle.dumps(table)).rows(np.array(wanted)), rows)
    assert not [file for file in directory.iterdir() if file.name.startswith(".")]


def test_a_stopped_run_goes_on_and_gives_the_same_bytes(directory, tokens, tmp_path) -> None:
    other = write_manifest(tmp_path / "other", n_reports=12)
    whole = make(other, tokens).read_bytes()
    encoder = Encoder(stop_after=11)
    with pytest.raises(KeyboardInterrupt):
        make(directory, tokens, encoder)
    assert not vectors_path(directory, ENCODER).exists()
    encoder = Encoder()
    assert make(directory, tokens, encoder).read_bytes() == whole
    assert encoder.texts == 2  # two blocks of five were saved


def test_what_another_encoder_began_is_not_gone_on_with(directory, tokens) -> None:
    with pytest.raises(KeyboardInterrupt):
        make(directory, tokens, Encoder(stop_after=11))
    same_name = ENCODER[:-2] + "00"
    encoder = Encoder()
    make(directory, tokens, encoder, same_name)
    assert encoder.texts == 12
    with pytest.raises(DataError, match="another encoder"):
        load_report_embeddings(directory, tokens, ENCODER, LIMIT)
    load_report_embeddings(directory, tokens, same_name, LIMIT)


def test_stale_missing_and_damaged_vectors_are_refused(directory, tokens) -> None:
    with pytest.raises(DataError, match="no such file"):
        load_report_embeddings(directory, tokens, ENCODER, LIMIT)
    path = make(directory, tokens)
    description = path.with_suffix(".json")
    with pytest.raises(DataError, match="another max_tokens"):
        load_report_embeddings(directory, tokens, ENCODER, 8)
    for key, name in (("source_fingerprint", "reports"), ("fingerprint", "tokenizer")):
        other = token_table([report_tokens(report) for report in range(12)])
        other.info.update({**tokens.info, key: "sha256:other"})
        with pytest.raises(DataError, match=f"another {name}"):
            load_report_embeddings(directory, other, ENCODER, LIMIT)
    good, info = path.read_bytes(), json.loads(description.read_text())
    for damage in (good[:-4], good[:-1] + bytes([good[-1] ^ 1]), b"", good[:40]):
        path.write_bytes(damage)
        with pytest.raises(DataError, match=path.name):
            load_report_embeddings(directory, tokens, ENCODER, LIMIT)
    path.write_bytes(good)
    description.write_text(json.dumps({**info, "shape": [11, 3]}))
    with pytest.raises(DataError, match="12 reports"):
        load_report_embeddings(directory, tokens, ENCODER, LIMIT)
    description.unlink()
    with pytest.raises(DataError, match="no such file"):
        load_report_embeddings(directory, tokens, ENCODER, LIMIT)


def test_vectors_that_are_no_numbers_are_refused(directory, tokens) -> None:
    def broken(texts) -> np.ndarray:
        vectors = Encoder()(texts)
        vectors[[len(text) == 6 for text in texts]] = np.nan
        return vectors

    with pytest.raises(DataError, match="report 2"):
        make(directory, tokens, broken)
    assert not vectors_path(directory, ENCODER).exists()


def test_both_files_are_listed_and_known_as_parts_of_the_directory(directory, tokens) -> None:
    write_checksums(directory, {})
    path = make(directory, tokens)
    listed = json.loads((directory / CHECKSUMS_FILE).read_text())["files"]
    for name in (path.name, path.with_suffix(".json").name):
        assert name in listed and is_part(name) and is_derived(name)
    assert not is_part("reports.other.npy")


# -- States of tokens ----------------------------------------------------------------------------------------------------


class TokenEncoder(Encoder):
    """Of each token its id, its place and the length of its text; one more behind them; rubbish behind that."""

    def __call__(self, texts) -> np.ndarray:
        super().__call__(texts)
        states = np.full((len(texts), max(map(len, texts)) + 1, 3), np.nan)
        for row, text in zip(states, texts):
            row[: len(text)] = np.stack([text, np.arange(len(text)), np.full(len(text), len(text))], axis=1)
            row[len(text)] = -1
        return states


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_every_token_has_its_state(directory, tokens, precision: str) -> None:
    path = make(directory, tokens, TokenEncoder(), batch_size=3, added_tokens=1, precision=precision)
    table = load_report_embeddings(directory, tokens, ENCODER, LIMIT, added_tokens=1)
    assert (len(table), table.width) == (12, 3) and np.load(path).shape == (int(tokens.lengths().sum()) + 12, 3)
    wanted = [7, 0, 11]
    states, lengths = table.states(np.array(wanted)), [len(report_tokens(report)) + 1 for report in wanted]
    assert states.dtype == np.dtype(precision) and states.shape == (3, max(lengths) + 1, 3)
    for found, report, length in zip(states, wanted, lengths):
        assert found[:length].tolist() == [[token, place, length] for place, token in enumerate([*report_tokens(report), 1])]
        assert found[length].tolist() == [-1, -1, -1] and not found[length + 1 :].any()
    assert table.states(np.array([], dtype=np.int64)).shape == (0, 1, 3)
    assert np.array_equal(pickle.loads(pickle.dumps(table)).states(np.array(wanted)), states)


def test_states_of_cut_reports_are_those_of_the_cut_ones(directory, tokens) -> None:
    make_report_embeddings(
        directory, tokens, lambda texts: TokenEncoder()([text[:3] for text in texts]), ENCODER, 3, added_tokens=1
    )
    table = load_report_embeddings(directory, tokens, ENCODER, 3, added_tokens=1)
    assert (np.diff(table.offsets) == np.minimum(tokens.lengths(), 3) + 1).all() and table.states(np.array([7])).shape[1] <= 4


def test_states_are_no_vectors_and_the_other_way_round(directory, tokens) -> None:
    path = make(directory, tokens, TokenEncoder(), added_tokens=1)
    for added in (None, 2):
        with pytest.raises(DataError, match="another added_tokens|holds"):
            load_report_embeddings(directory, tokens, ENCODER, LIMIT, added)
    path.unlink()
    make(directory, tokens)
    with pytest.raises(DataError, match="another added_tokens"):
        load_report_embeddings(directory, tokens, ENCODER, LIMIT, 1)


def test_a_stopped_run_does_not_go_on_in_another_precision(directory, tokens) -> None:
    with pytest.raises(KeyboardInterrupt):
        make(directory, tokens, TokenEncoder(stop_after=11), added_tokens=1)
    encoder = TokenEncoder()
    path = make(directory, tokens, encoder, added_tokens=1, precision="float16")
    assert encoder.texts == 12 and np.load(path).dtype == np.float16


def test_what_a_precision_does_not_hold_is_refused(directory, tokens) -> None:
    with pytest.raises(DataError, match="more than float16 holds for report 0"):
        make(directory, tokens, lambda texts: Encoder()(texts) * 1e5, precision="float16")
