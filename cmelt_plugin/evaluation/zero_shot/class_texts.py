"""Which texts stand for the classes of a labelled manifest directory, and their embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cmelt_plugin.data.directory.manifest import LABELS_FILE
from cmelt_plugin.data.files import read_json
from cmelt_plugin.data.text.tokens import TokenTable
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.zero_shot.class_embeddings import class_embeddings, cut_texts
from cmelt_plugin.models.pretrained import MAX_TEXT_TOKENS
from cmelt_plugin.prompts import KINDS, label_sets, load_prompts

PROMPTS_FILE = "prompts.json"
OWN = "own"  # kind of texts that are none of ours


class ClassTexts(NamedTuple):
    """Texts of the C classes of a label set.

    Attributes:
        texts: class → texts, in the order of the labels' columns.
        kind: ``name``, ``abbreviation``, ``description``, ``all``, or ``own`` for a user's.
        source: label set or file they come from.
    """

    texts: dict[str, list[str]]
    kind: str
    source: str


def read_label_set(directory: Path) -> str:
    """Name of the label set of a manifest directory, "" where it has none.

    Raises:
        DataError: there is no ``labels.json``.
    """
    path = directory / LABELS_FILE
    if not path.is_file():
        raise DataError(f"{path}: no such file; labels come from the data set's command of preprocess/ or preprocess/labels.py")
    values = read_json(path)
    return str(values.get("label_set") or "") if isinstance(values, dict) else ""


def choose_class_texts(
    directory: Path, names: list[str], kind: str | None = None, prompts: str | Path | None = None
) -> ClassTexts:
    """Texts of exactly the classes ``names``.

    Taken from ``prompts`` where given; else, where a ``kind`` is asked for, from our texts of the directory's label set;
    else from the directory's prompts.json; else our descriptions of its label set.

    Args:
        directory: manifest directory.
        names: the classes, in order.
        kind: one of ``prompts.KINDS``, or None.
        prompts: a label set of ours or a JSON file.

    Raises:
        DataError: no texts to be found, or a class without one.
    """
    label_set = read_label_set(directory)
    own_file = directory / PROMPTS_FILE
    ours = label_set in label_sets()
    if prompts is not None:
        source = str(prompts)
    elif own_file.is_file() and (kind is None or not ours):
        source = str(own_file)
    elif ours:
        source = label_set
    else:
        raise DataError(
            f"{directory}: no class texts: {PROMPTS_FILE} is missing and {label_set or 'its label set'} is none of ours "
            f"({', '.join(label_sets())}); give a JSON file with --prompts"
        )
    if _has_kinds(source):
        kind = kind or "description"
        texts = load_prompts(source, kind)
    elif kind is not None:
        raise DataError(
            f"{source}: does not tell names from descriptions; leave out the kind of text, or give a file in full form "
            "with --prompts (docs/prompts.md)"
        )
    else:
        texts = load_prompts(source)
        kind = _kind_of(texts, label_set, names) if ours else OWN
    missing = [name for name in names if name not in texts]
    if missing:
        raise DataError(f"{source}: no text for the class {', '.join(missing)}")
    return ClassTexts({name: texts[name] for name in names}, kind, source)


def _has_kinds(source: str) -> bool:
    """Whether names and descriptions are told apart there: our label sets, and files in full form."""
    if source in label_sets():
        return True
    if not Path(source).is_file():
        return True  # load_prompts says what is wrong
    values: Any = read_json(source)
    return isinstance(values, dict) and isinstance(values.get("classes"), dict)


def _kind_of(texts: dict[str, list[str]], label_set: str, names: list[str]) -> str:
    """The kind of our texts that a directory holds a copy of; ``own`` for others."""
    for kind in ("description", *(kind for kind in KINDS if kind != "description")):
        try:
            known = load_prompts(label_set, kind)
        except DataError:  # a class of ours without, say, an abbreviation
            continue
        if all(texts.get(name) == known.get(name) for name in names):
            return kind
    return OWN


def embed_class_texts(pretrained: Any, directory: Path, chosen: ClassTexts, use_token_files: bool = True) -> np.ndarray:
    """One direction per class, float32 ``[C, D]``, unit norm: the mean over its texts.

    The texts of the directory's own prompts.json are taken from ``prompts.TAG.npz`` where preprocess/tokenizer.py has
    written it with the model's tokenizer; then no tokenizer is needed. Any other text is tokenised here.

    Args:
        pretrained: a ``cmelt_plugin.models.pretrained.Pretrained`` model.
        directory: manifest directory.
        chosen: what :func:`choose_class_texts` found.
        use_token_files: False: always tokenise.

    Raises:
        DataError: the token file is stale, or the tokenizer cannot be found.
    """
    own_file = directory / PROMPTS_FILE
    if use_token_files and chosen.source == str(own_file):
        table = _token_file(directory, pretrained.task_state.get("tokenizer_fingerprint"))
        if table is not None:
            limit = int((pretrained.cfg.get("task") or {}).get("max_text_tokens") or MAX_TEXT_TOKENS)
            tokens = cut_texts(table, limit)
            return class_embeddings(pretrained.model, tokens, len(chosen.texts), pretrained.device).cpu().numpy()
    return pretrained.class_embeddings(chosen.texts)[1].numpy()


def _token_file(directory: Path, fingerprint: str | None) -> TokenTable | None:
    """The class texts' token ids that the model's tokenizer made, where there are any."""
    for path in sorted(directory.glob("prompts.*.npz")):
        table = TokenTable.load(path)
        if fingerprint is not None and table.info["fingerprint"] == fingerprint:
            return TokenTable.load(path, directory / PROMPTS_FILE)
    return None
