"""Excerpts of this package's source: what is wanted with all it needs, as it stands, and nothing else."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from cmelt_plugin.automodel import excerpts as module_under_test
from cmelt_plugin.automodel.excerpts import excerpts, first_definition
from cmelt_plugin.errors import DataError

SOURCES = {
    "cmelt_plugin.left": '''"""Head."""

from __future__ import annotations

import math
import os
from typing import Any

from cmelt_plugin.right import LIMIT as HIGHEST
from cmelt_plugin.right import Heavy, helper

# Why it is so.
FIRST, SECOND = PAIR = (1, 2)
"""What the pair is."""


class Wanted:
    """Text."""

    def give(self, other: Heavy, more: Any = None) -> float:
        from cmelt_plugin.right import late

        return helper(FIRST) + late() + HIGHEST + math.pi


def unwanted() -> str:
    return os.name
''',
    "cmelt_plugin.right": """from __future__ import annotations

LIMIT = 3


class Heavy:
    value = undefined_everywhere


def helper(value):
    return value + _private()


def _private():
    return 10


def late():
    return 100
""",
}


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in SOURCES.items():
        (tmp_path / f"{name.split('.')[1]}.py").write_text(text, encoding="utf-8")
    package = sys.modules["cmelt_plugin"]
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    importlib.invalidate_caches()
    monkeypatch.setattr(module_under_test, "_module", module_under_test._Module)


def test_what_is_needed_comes_along_and_works(sources, tmp_path, monkeypatch) -> None:
    found = excerpts([("cmelt_plugin.left", "Wanted")])
    assert set(found) == {"left", "right"}
    folder = tmp_path / "alone_in_a_folder"
    folder.mkdir()
    (folder / "__init__.py").touch()
    for name, text in found.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    wanted = importlib.import_module("alone_in_a_folder.left").Wanted()
    assert wanted.give(None) == pytest.approx(1 + 10 + 100 + 3 + 3.14159265)
    assert "Heavy" not in found["right"] and "unwanted" not in found["left"] and "import os" not in found["left"]
    assert '# Why it is so.\nFIRST, SECOND = PAIR = (1, 2)\n"""What the pair is."""' in found["left"]
    assert first_definition(found["left"]) == "FIRST"


def test_what_cannot_be_cut_out_is_refused(sources, tmp_path) -> None:
    with pytest.raises(DataError, match="cmelt_plugin.left: nothing is no definition there"):
        excerpts([("cmelt_plugin.left", "nothing")])
    (tmp_path / "left.py").write_text("from cmelt_plugin import registry\n\ndef f():\n    return registry.models()\n")
    with pytest.raises(DataError, match="the module registry is imported as a whole"):
        excerpts([("cmelt_plugin.left", "f")])
    (tmp_path / "left.py").write_text("A = 1\nA = 2\n")
    with pytest.raises(DataError, match="A is bound twice"):
        excerpts([("cmelt_plugin.left", "A")])
