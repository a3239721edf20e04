"""Class texts for zero-shot classification: the JSON files beside this module, or a file of the user's.

A file in full form keeps a class's name, abbreviations and descriptions apart (docs/prompts.md); the short form is
``{"class": ["text", ...]}``. Whatever the form, classes keep the order of the file, which for ours is the order of the
label columns.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from cmelt_plugin.errors import DataError

FOLDER = Path(__file__).resolve().parent
LABEL_SETS = (
    "ptb-xl-super",
    "ptb-xl-sub",
    "ptb-xl-form",
    "ptb-xl-rhythm",
    "ptb-xl-all",
    "cpsc2018",
    "csn",
    "cinc2021",
    "code",
    "lvef",
    "echonext",
)
KINDS = ("name", "abbreviation", "description", "all")
OWN = "own"  # kind of a user's texts, which serve every kind
FIELD = {"abbreviation": "abbreviations", "description": "descriptions"}
FIELDS = ("name", "abbreviations", "descriptions", "snomed", "absent")


def label_sets() -> list[str]:
    """Names of the label sets whose class texts come with the package."""
    return list(LABEL_SETS)


def class_names(label_set: str) -> list[str]:
    """Classes of one of our label sets, in canonical order: the column names of its labels.

    Raises:
        DataError: there is no such label set.
    """
    if label_set not in LABEL_SETS:
        raise DataError(f"{label_set}: no such label set; known are {', '.join(LABEL_SETS)}")
    return list(_classes(_read(FOLDER / f"{label_set}.json"), FOLDER / f"{label_set}.json"))


def load_prompts(label_set_or_path: str | os.PathLike, kind: str = "description") -> dict[str, list[str]]:
    """Texts of every class, for one embedding per class averaged over its texts.

    Args:
        label_set_or_path: one of :func:`label_sets`, or a JSON file in full or short form.
        kind: ``name``, ``abbreviation``, ``description``, or ``all`` = the three in this order without repeats. The
            texts of a file in short form serve every kind.

    Returns:
        class → its texts, one or more, in the order of the file.

    Raises:
        DataError: neither a label set nor a file, a malformed file, or a class without a text of this kind.
    """
    if kind not in KINDS:
        raise DataError(f"kind of class text {kind!r}: must be one of {', '.join(KINDS)}")
    path = _find(label_set_or_path)
    texts = {}
    for name, entry in _classes(_read(path), path).items():
        texts[name] = _texts(entry, kind)
        if not texts[name]:
            raise DataError(f'{path}: class {name} has no {kind}; add "{FIELD[kind]}": ["text", ...] or ask for another kind')
    return texts


def class_titles(label_set_or_path: str | os.PathLike) -> dict[str, str]:
    """class → its name in words; empty for a file in short form, which has none.

    Raises:
        DataError: as :func:`load_prompts`.
    """
    path = _find(label_set_or_path)
    classes = _classes(_read(path), path).items()
    return {name: entry["name"] for name, entry in classes if isinstance(entry, dict)}


def absence_texts(label_set_or_path: str | os.PathLike) -> dict[str, list[str]]:
    """What is said of records that do not have a class, for the classes of which anything is: class → one text or more.

    A model that reads over negations cannot tell these by the class's own texts; the difference of both scores can.

    Args:
        label_set_or_path: as in :func:`load_prompts`; files in short form say nothing of absence.

    Raises:
        DataError: neither a label set nor a file, or a malformed file.
    """
    path = _find(label_set_or_path)
    classes = _classes(_read(path), path).items()
    return {name: entry["absent"] for name, entry in classes if isinstance(entry, dict) and entry["absent"]}


def kind_of(label_set_or_path: str | os.PathLike, kind: str = "description") -> str:
    """``kind`` where a source tells names from descriptions; ``own`` where its texts serve every kind.

    Raises:
        DataError: neither a label set nor a file, or it is not JSON.
    """
    value = _read(_find(label_set_or_path))
    return kind if isinstance(value, dict) and isinstance(value.get("classes"), dict) else OWN


def _find(label_set_or_path: str | os.PathLike) -> Path:
    if label_set_or_path in LABEL_SETS:
        return FOLDER / f"{label_set_or_path}.json"
    path = Path(label_set_or_path)
    if not path.is_file():
        raise DataError(
            f"{label_set_or_path}: neither a JSON file nor a label set of this package; known are {', '.join(LABEL_SETS)}"
        )
    return path


def _read(path: Path) -> Any:
    """The file's JSON value; unlike :func:`json.loads`, a name given twice in one object is an error, not a loss."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(f"{path}: {twice} occurs twice; give all its texts in one list")
        return value

    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits, and lists nested too deep
        raise DataError(f"{path}: not a JSON file in UTF-8 ({error})") from None


def _classes(value: Any, path: Path) -> dict[str, Any]:
    """Checked entries of either form: class → list of texts (short form) or class → object of ``FIELDS`` (full form)."""
    if not isinstance(value, dict) or not value:
        raise DataError(
            f'{path}: expected an object {{"class": ["text", ...]}}, or one with "classes" in full form (docs/prompts.md)'
        )
    full = isinstance(value.get("classes"), dict)
    classes = value["classes"] if full else value
    if not classes:
        raise DataError(f"{path}: holds no class")
    return {name: _full(entry, name, path) if full else _list(entry, "texts", name, path) for name, entry in classes.items()}


def _full(entry: Any, name: str, path: Path) -> dict[str, Any]:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not entry["name"].strip():
        raise DataError(f'{path}: class {name} must be an object with a "name", as {{"name": "atrial fibrillation", ...}}')
    unknown = sorted(set(entry) - set(FIELDS))
    if unknown:
        raise DataError(f"{path}: class {name} has {', '.join(unknown)}; known are {', '.join(FIELDS)}")
    lists = {field: _list(entry.get(field, []), field, name, path, empty=True) for field in FIELDS[1:]}
    return {"name": entry["name"], **lists}


def _list(value: Any, what: str, name: str, path: Path, empty: bool = False) -> list[str]:
    """A list of texts; a single text counts as a list of one."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) and text.strip() for text in texts):
        raise DataError(f'{path}: class {name}: {what} must be a list of texts, ["text", ...], none of them empty')
    if not texts and not empty:
        raise DataError(f"{path}: class {name} has no text")
    return list(texts)


def _texts(entry: Any, kind: str) -> list[str]:
    if isinstance(entry, list):
        return entry
    if kind == "name":
        return [entry["name"]]
    if kind == "all":
        return list(dict.fromkeys([entry["name"], *entry["abbreviations"], *entry["descriptions"]]))
    return entry[FIELD[kind]]
