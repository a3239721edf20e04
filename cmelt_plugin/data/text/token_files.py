"""Which of a manifest directory's token files belongs to a tokenizer: ``reports.TAG.npz`` and ``prompts.TAG.npz``."""

from __future__ import annotations

import os
from pathlib import Path

from cmelt_plugin.data.directory.own_files import PROMPTS_FILE, REPORTS_FILE
from cmelt_plugin.data.text.tokens import TokenTable, read_info
from cmelt_plugin.errors import DataError

SOURCES = {"reports": REPORTS_FILE, "prompts": PROMPTS_FILE}
"""Kind of token file → the file whose texts it holds."""


def token_files(directory: str | os.PathLike, kind: str, tag: str | None = None) -> list[Path]:
    """Token files of a kind, sorted; with ``tag`` that one, if it is there."""
    return sorted(Path(directory).glob(f"{kind}.{tag or '*'}.npz"))


def find_token_file(directory: str | os.PathLike, kind: str, fingerprint: str | None) -> TokenTable | None:
    """The token ids that the model's tokenizer made, None where there are none: texts are then to be tokenised.

    Args:
        directory: manifest directory.
        kind: ``reports`` or ``prompts``.
        fingerprint: the tokenizer's; None: unknown, so that no file can be its.

    Raises:
        DataError: a file is damaged, or the one that was found is stale.
    """
    path = _made_by(token_files(directory, kind), fingerprint)
    return None if path is None else TokenTable.load(path, Path(directory) / SOURCES[kind])


def open_token_file(
    directory: str | os.PathLike,
    kind: str,
    tag: str | None = None,
    fingerprint: str | None = None,
    vocab_size: int | None = None,
    statements: bool = False,
) -> TokenTable:
    """The token ids that a model reads, checked against the texts they were made from.

    Args:
        directory: manifest directory.
        kind: ``reports`` or ``prompts``.
        tag: ``KIND.TAG.npz`` is meant; None: the file made by the tokenizer of ``fingerprint``, or the only one.
        fingerprint: that of the model's tokenizer; None: not known yet, as before training.
        vocab_size: tokens that the model's text encoder knows; None: not checked.
        statements: whether the model reads the statements of reports, which must then be those of the reports.

    Raises:
        DataError: no such file, several to choose from, made by another tokenizer, stale, damaged, or with more tokens than
            the text encoder knows.
    """
    directory, source = Path(directory), SOURCES[kind]
    files = token_files(directory, kind, tag)
    if not files:
        name = f"{kind}.{tag or 'TAG'}.npz"
        raise DataError(f"{directory}: no token file {name} for {source}; run preprocess/tokenizer.py --manifest {directory}")
    path = files[0] if len(files) == 1 else _made_by(files, fingerprint)
    if path is None:
        names = ", ".join(file.name for file in files)
        why = "" if fingerprint is None else ", none of them made with the tokenizer the model was trained with"
        raise DataError(f"{directory}: several token files for {source}: {names}{why}; choose one with task.tokenizer=TAG")
    tokens = TokenTable.load(path, directory / source, statements=statements)
    if fingerprint is not None and fingerprint != tokens.info["fingerprint"]:
        raise DataError(
            f"{path} was made with the tokenizer {tokens.info['tokenizer']!r}, which is not the one the model was "
            "trained with; run preprocess/tokenizer.py with that tokenizer"
        )
    if vocab_size is not None and tokens.info["vocab_size"] > vocab_size:
        raise DataError(
            f"{path} has a vocabulary of {tokens.info['vocab_size']} tokens, the text encoder one of {vocab_size}; "
            "use the tokenizer that belongs to the model's text encoder"
        )
    return tokens


def _made_by(files: list[Path], fingerprint: str | None) -> Path | None:
    """The file of a tokenizer; of several, which differ in where they cut texts, the one that cuts last."""
    if fingerprint is None:
        return None
    infos = [(path, read_info(path)) for path in files]
    matches = [(info["max_tokens"], path) for path, info in infos if info["fingerprint"] == fingerprint]
    return max(matches)[1] if matches else None
