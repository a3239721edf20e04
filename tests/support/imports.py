"""Which module of this repository imports which, read from the sources: nothing is imported."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path

from hosts import REPOSITORY

PACKAGES = ("cmelt_plugin", "preprocess", "hydra_plugins", "benchmarks")
Graph = Mapping[str, frozenset[str]]


def sources(root: Path = REPOSITORY) -> dict[str, Path]:
    """Module → file, of the packages."""
    found = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported_names(source: str) -> Iterator[str]:
    """Every ``module`` and ``module.name`` that a source imports: at its head, in functions, for type checkers, by a string.

    Raises:
        ValueError: a relative import, which says nothing of where it leads.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"line {node.lineno}: a relative import")
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module":
            yield from (value.value for value in node.args if isinstance(value, ast.Constant) and isinstance(value.value, str))


@functools.cache
def _names() -> dict[str, set[str]]:
    return {module: set(imported_names(path.read_text(encoding="utf-8"))) for module, path in sources().items()}


def import_graph() -> dict[str, frozenset[str]]:
    """Module → the modules of this repository that it imports."""
    graph = {}
    for module, names in _names().items():
        targets = {name if name in _names() else name.rpartition(".")[0] for name in names}
        graph[module] = frozenset(targets & set(_names())) - {module}
    return graph


def importers(foreign: set[str]) -> set[str]:
    """Modules that import one of these packages, or something in them."""
    return {module for module, names in _names().items() if foreign & {name.split(".")[0] for name in names}}


def circles(graph: Graph) -> list[list[str]]:
    """Groups of modules each of which leads to every other (strongly connected components of two and more)."""
    closure = {module: reachable(graph, module) for module in graph}
    groups = {frozenset(other for other in closure[module] if module in closure[other]) for module in graph}
    return sorted(sorted(group) for group in groups if len(group) > 1)


def reachable(graph: Graph, start: str) -> set[str]:
    """Modules that importing ``start`` may import in the end, ``start`` among them."""
    seen, left = {start}, [start]
    while left:
        new = graph[left.pop()] - seen
        seen |= new
        left.extend(new)
    return seen
