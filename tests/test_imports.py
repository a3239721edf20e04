"""The floors of the house: nothing imports upwards or in a circle, and only ``host/`` knows a host.

Imports count wherever they stand: at the head of a file, inside a function, under ``TYPE_CHECKING``.
"""

from __future__ import annotations

import pytest
from imports import circles, import_graph, imported_names, importers, reachable

from cmelt_plugin import registry

# From the ground up. A module imports its own package and what lies on lower floors, nothing of its neighbours.
FLOORS = (
    ("cmelt_plugin.errors", "cmelt_plugin.version", "cmelt_plugin.joined_config"),
    ("cmelt_plugin.registry",),
    ("cmelt_plugin.cli", "cmelt_plugin.option_types", "cmelt_plugin.tables"),
    ("cmelt_plugin.serialization",),
    ("cmelt_plugin.host",),
    ("cmelt_plugin.huggingface",),
    ("cmelt_plugin.losses",),
    ("cmelt_plugin.data", "cmelt_plugin.modules", "cmelt_plugin.optim"),
    ("cmelt_plugin.criterions", "cmelt_plugin.intake", "cmelt_plugin.prompts", "cmelt_plugin.weights"),
    ("cmelt_plugin.models",),
    ("cmelt_plugin.automodel",),
    ("cmelt_plugin.evaluation",),
    ("cmelt_plugin.tasks",),
    ("cmelt_plugin.convert", "cmelt_plugin.export", "cmelt_plugin.predict", "cmelt_plugin.sklearn", "cmelt_plugin.verify"),
    ("cmelt_plugin",),
    ("preprocess", "hydra_plugins"),
    ("benchmarks",),
)
# (importing module, imported module): why it is so still.
UPWARDS: dict[tuple[str, str], str] = {}
# What a host trains or what stands between a host and the rest.
HOSTED = (
    "cmelt_plugin.host",
    "cmelt_plugin.optim",
    "cmelt_plugin.criterions",
    "cmelt_plugin.tasks",
    "cmelt_plugin.models.host_registration",
    "cmelt_plugin.data.batches",
    "benchmarks",
    *(path.partition(":")[0] for system in registry.systems().values() for path in system.criterions.values()),
)


@pytest.fixture(scope="module")
def graph() -> dict[str, frozenset[str]]:
    return import_graph()


def inside(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def home(module: str) -> tuple[int, str]:
    """Floor of a module and the entry it belongs to, which is the longest that fits."""
    fitting = [(len(entry), floor, entry) for floor, row in enumerate(FLOORS) for entry in row if inside(module, entry)]
    _, floor, entry = max(fitting)
    return floor, entry


def test_no_module_imports_itself_by_a_detour(graph) -> None:
    assert circles(graph) == []


def test_folders_of_commands_know_each_other_in_one_direction(graph) -> None:
    """``preprocess`` and ``benchmarks`` have no floors of their own; their folders make no circles either."""

    def folder(module: str) -> str:
        parts = module.split(".")
        return ".".join(parts[:2]) if parts[0] in ("preprocess", "benchmarks") else parts[0]

    folders: dict[str, set[str]] = {folder(module): set() for module in graph}
    for module, targets in graph.items():
        folders[folder(module)] |= {folder(target) for target in targets} - {folder(module)}
    assert folders["preprocess.data_sets"] & set(folders) >= {"preprocess.packing"}
    assert circles({name: frozenset(targets) for name, targets in folders.items()}) == []


def test_every_package_has_a_floor(graph) -> None:
    lost = [module for module in graph if home(module)[1] == "cmelt_plugin" and module != "cmelt_plugin"]
    assert lost == [], "name its floor in FLOORS"
    entries = {entry for row in FLOORS for entry in row}
    assert entries == {home(module)[1] for module in graph}


def test_nothing_imports_upwards(graph) -> None:
    found = {
        (module, imported)
        for module, targets in graph.items()
        for imported in targets
        if home(imported)[1] != home(module)[1] and home(imported)[0] >= home(module)[0]
    }
    assert found == set(UPWARDS)


def test_a_system_is_named_in_its_own_folders_alone(graph) -> None:
    """That of the package, and the one that says how benchmarks measure it."""
    for name, system in registry.systems().items():
        own = (system.model.rsplit(".", 1)[0], f"benchmarks.systems.{name}")
        found = {
            (module, imported)
            for module, targets in graph.items()
            for imported in targets
            for folder in own
            if inside(imported, folder) and not any(inside(module, folder) for folder in own)
        }
        assert found == set(), name


def test_only_host_imports_a_host() -> None:
    """Benchmarks start a host's own commands, as users do."""
    importing = importers({"fairseq", "fairseq_cli", "fairseq_signals"})
    assert any(inside(module, "cmelt_plugin.host") for module in importing)
    assert [module for module in importing if not (inside(module, "cmelt_plugin.host") or inside(module, "benchmarks"))] == []


def test_models_are_opened_without_a_host(graph) -> None:
    importing = {module for module, targets in graph.items() if any(inside(name, "cmelt_plugin.host") for name in targets)}
    assert {module for module in importing if not any(inside(module, entry) for entry in HOSTED)} == set()
    pretrained = "cmelt_plugin.models.inference.pretrained"
    for start in (pretrained, "cmelt_plugin.predict", "cmelt_plugin.export", "cmelt_plugin.verify"):
        needed = reachable(graph, start)
        assert len(needed) > 10
        assert {module for module in needed if inside(module, "cmelt_plugin.host")} == set(), start


def test_the_walk_sees_every_kind_of_import() -> None:
    source = """
import a.b
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from c import d
def function():
    from e.f import g as h
    importlib.import_module("i.j")
"""
    assert {"a.b", "c.d", "e.f.g", "i.j"} <= set(imported_names(source))
    with pytest.raises(ValueError, match="line 1: a relative import"):
        list(imported_names("from . import a"))
    walk = {"a": frozenset({"b"}), "b": frozenset({"c", "d"}), "c": frozenset({"a"}), "d": frozenset()}
    assert circles(walk) == [["a", "b", "c"]]
    assert reachable(walk, "d") == {"d"}
