"""Reading the grids of this folder: one YAML file per table of the paper."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cmelt_plugin.errors import DataError

FOLDER = Path(__file__).resolve().parent
_KEYS = {"name", "slug", "overrides", "tiny_overrides", "tiny_name", "text_encoder", "zero_shot"}


@dataclass(frozen=True)
class Variant:
    """A row of a table.

    Attributes:
        name: as the table calls it.
        slug: name of its folder.
        text_encoder: Hugging Face name, or a folder.
        overrides: settings of the host's command.
        zero_shot: whether the variant can classify from texts at all.
    """

    name: str
    slug: str
    text_encoder: str
    overrides: list[str] = field(default_factory=list)
    zero_shot: bool = True


@dataclass(frozen=True)
class Grid:
    """The rows of a table and the configuration they change."""

    name: str
    table: str
    base: str
    variants: list[Variant]


def grid_names() -> list[str]:
    """The grids there are."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_grid(name_or_path: str, tiny: bool = False) -> Grid:
    """Read a grid of this folder, or one's own file in the same form.

    Args:
        name_or_path: e.g. ``components``, or the path of a YAML file.
        tiny: take ``tiny_overrides`` and ``tiny_name`` where a variant has them.

    Raises:
        DataError: there is no such grid, or it is malformed; the message names the file and the variant.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = FOLDER / f"{name_or_path}.yaml"
    if not path.is_file():
        raise DataError(f"{name_or_path}: no such grid; there are {', '.join(grid_names())}, or give a YAML file")
    try:
        values: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        variants = [_variant(path, entry, values["text_encoder"], tiny) for entry in values["variants"]]
        grid = Grid(path.stem, str(values["table"]), values["base"], variants)
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise DataError(f"{path}: malformed ({error!r}); compare it with {FOLDER / 'components.yaml'}") from None
    slugs = [variant.slug for variant in grid.variants]
    if len(set(slugs)) < len(slugs):
        raise DataError(f"{path}: two variants have the same slug")
    return grid


def _variant(path: Path, entry: dict[str, Any], text_encoder: str, tiny: bool) -> Variant:
    unknown = sorted(set(entry) - _KEYS)
    if unknown:
        raise DataError(
            f"{path}, variant {entry.get('name')!r}: unknown {', '.join(unknown)}; known: {', '.join(sorted(_KEYS))}"
        )
    if not re.fullmatch(r"[\w.-]+", str(entry["slug"])):
        raise DataError(f"{path}, variant {entry['name']!r}: slug {entry['slug']!r} must be letters, digits, '-', '_' or '.'")
    overrides = entry.get("overrides", [])
    name = entry["name"]
    if tiny:
        overrides, name = entry.get("tiny_overrides", overrides), entry.get("tiny_name", name)
    return Variant(name, entry["slug"], entry.get("text_encoder", text_encoder), list(overrides), entry.get("zero_shot", True))
