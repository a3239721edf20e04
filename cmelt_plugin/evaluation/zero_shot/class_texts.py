"""Which texts stand for the classes of a labelled manifest directory, and their embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from cmelt_plugin.data.directory.own_files import LABELS_FILE, PROMPTS_FILE
from cmelt_plugin.data.files import read_object
from cmelt_plugin.data.text.prompt_copies import UNKNOWN, copied_kind
from cmelt_plugin.data.text.token_files import find_token_file
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.base import Embedding
from cmelt_plugin.models.inference.pretrained import Pretrained
from cmelt_plugin.models.inference.scoring import similarities
from cmelt_plugin.prompts import KINDS, OWN, absence_texts, kind_of, label_sets, load_prompts


class ClassTexts(NamedTuple):
    """Texts of the C classes of a label set.

    Attributes:
        texts: class → texts, in the order of the labels' columns.
        kind: ``name``, ``abbreviation``, ``description`` or ``all``; ``own`` for a user's; ``unknown`` where a copy of
            ours does not say (:mod:`cmelt_plugin.data.text.prompt_copies`).
        source: label set or file they come from.
        absent: class → texts on records without it, for the classes that have such texts.
    """

    texts: dict[str, list[str]]
    kind: str
    source: str
    absent: dict[str, list[str]] = {}


def read_label_set(directory: Path) -> str:
    """Name of the label set of a manifest directory, "" where it has none.

    Raises:
        DataError: there is no ``labels.json``.
    """
    path = directory / LABELS_FILE
    if not path.is_file():
        raise DataError(f"{path}: no such file; labels come from the data set's command of preprocess/ or preprocess/labels.py")
    return str(read_object(path).get("label_set") or "")


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
    own_kind = kind_of(source, kind or "description")
    if own_kind != OWN:
        kind = own_kind
    elif kind is not None:
        raise DataError(
            f"{source}: does not tell names from descriptions; leave out the kind of text, or give a file in full form "
            "with --prompts (docs/prompts.md)"
        )
    texts = load_prompts(source, kind or "description")
    if kind is None:
        kind = copied_kind(directory) if source == str(own_file) else OWN
        if kind == UNKNOWN and not ours:
            kind = OWN  # of a label set that is none of ours, so are its texts
    missing = [name for name in names if name not in texts]
    if missing:
        raise DataError(f"{source}: no text for the class {', '.join(missing)}")
    # A copy of ours has no place for the texts of absence.
    absent = absence_texts(label_set if source == str(own_file) and kind in KINDS and ours else source)
    return ClassTexts({name: texts[name] for name in names}, kind, source, {n: absent[n] for n in names if n in absent})


class ClassEmbeddings(NamedTuple):
    """What the C classes are compared with.

    Attributes:
        present: C embeddings of the classes' texts.
        absent: K embeddings of texts on their absence; None: no class has any.
        contrasted: int64 ``[K]``, the classes that have.
    """

    present: Embedding
    absent: Embedding | None
    contrasted: np.ndarray

    def scores(self, model: Any, ecg: Embedding, device: str | torch.device | None = None) -> np.ndarray:
        """float32 ``[N, C]``: similarity to a class's texts, less that to texts on its absence where there are any."""
        result = similarities(model, ecg, self.present, device).numpy()
        if self.absent is not None:
            result[:, self.contrasted] -= similarities(model, ecg, self.absent, device).numpy()
        return result


def embed_class_texts(
    pretrained: Pretrained, directory: Path, chosen: ClassTexts, use_token_files: bool = True
) -> ClassEmbeddings:
    """Embeddings of the classes, on the CPU: the model's ensemble of each one's texts, and of those on its absence.

    The texts of the directory's own prompts.json are taken from ``prompts.TAG.npz`` where preprocess/tokenizer.py has
    written it with the model's tokenizer; then no tokenizer is needed. Any other text is tokenised here.

    Args:
        pretrained: the model.
        directory: manifest directory.
        chosen: what :func:`choose_class_texts` found.
        use_token_files: False: always tokenise.

    Raises:
        DataError: the token file is stale, or the tokenizer cannot be found.
    """
    tokens = None
    if use_token_files and chosen.source == str(directory / PROMPTS_FILE):
        tokens = find_token_file(directory, "prompts", pretrained.task_state.get("tokenizer_fingerprint"))
    present = pretrained.class_embeddings(chosen.texts, tokens)[1]
    absent = pretrained.class_embeddings(chosen.absent)[1] if chosen.absent else None
    columns = [column for column, name in enumerate(chosen.texts) if name in chosen.absent]
    return ClassEmbeddings(present, absent, np.array(columns, dtype=np.int64))
