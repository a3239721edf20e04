"""The source of a few classes and functions, with all that they need of this package and nothing else.

A folder with code for ``AutoModel`` holds the model's own files, not a second writing of them: from the modules of this package
those definitions are taken, as they stand, that can be reached from the wanted ones; each module becomes one file, and its
imports from this package become relative ones. Files lie in one folder, as transformers loads them.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from cmelt_plugin.errors import DataError
from cmelt_plugin.version import __version__

PACKAGE = "cmelt_plugin"
_IMPORT = re.compile(rf"\bfrom {PACKAGE}\.([\w.]+) import\b")


def excerpts(wanted: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Names of files, without suffix, and their source.

    Args:
        wanted: modules of this package and a name of each.

    Raises:
        DataError: something is needed that is not bound by a definition, an assignment or an import from its module.
    """
    needed: dict[str, set[str]] = {}
    waiting = list(wanted)
    while waiting:
        name, definition = waiting.pop()
        names = needed.setdefault(name, set())
        if definition not in names:
            names.add(definition)
            waiting += _module(name).needs(definition)
    return {file_name(name): _module(name).excerpt(names) for name, names in sorted(needed.items())}


def file_name(module: str) -> str:
    """``cmelt_plugin.modules.ecg.resnet1d`` → ``modules_ecg_resnet1d``."""
    return module[len(PACKAGE) + 1 :].replace(".", "_")


def first_definition(source: str) -> str:
    """A name that an excerpt binds."""
    return next(name for statement in ast.parse(source).body for name in _bound(statement))


@functools.cache
def _module(name: str) -> _Module:
    return _Module(name)


class _Module:
    """The source of a module: which statement binds each of its names."""

    def __init__(self, name: str) -> None:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise DataError(f"{name}: its source is needed and not installed")
        self.name = name
        self.text = Path(spec.origin).read_text(encoding="utf-8")
        self.lines = self.text.splitlines()
        self.body = ast.parse(self.text).body
        self.bound: dict[str, ast.stmt] = {}
        self.imported: dict[str, tuple[ast.Import | ast.ImportFrom, ast.alias]] = {}
        for statement in self.body:
            if isinstance(statement, (ast.Import, ast.ImportFrom)):
                for alias in statement.names:
                    self.imported[alias.asname or alias.name.partition(".")[0]] = statement, alias
            else:
                for bound in _bound(statement):
                    if bound in self.bound:
                        raise DataError(f"{name}: {bound} is bound twice")
                    self.bound[bound] = statement

    def needs(self, name: str) -> list[tuple[str, str]]:
        """Modules and names of this package that a definition uses when it runs."""
        statement = self.bound.get(name)
        if statement is None:
            found = self.imported.get(name)
            own = [] if found is None else _own(found[0], found[1])
            if not own:
                raise DataError(f"{self.name}: {name} is no definition there")
            return own
        needed = [pair for node in _run(statement) for pair in _late(node)]
        for used in _names(_run(statement)):
            if used in self.bound and used != name:
                needed.append((self.name, used))
            elif used in self.imported:
                needed += _own(*self.imported[used])
        return needed

    def excerpt(self, names: set[str]) -> str:
        """The source with these definitions alone."""
        kept = [statement for statement in self.body if names & set(_bound(statement))]
        run = {used for statement in kept for used in _names(_run(statement))}
        written = {used for statement in kept for used in _names(ast.walk(statement))}
        imports = []
        for statement in self.body:
            if not isinstance(statement, (ast.Import, ast.ImportFrom)) or _is_future(statement):
                continue
            own = any(_own(statement, alias) for alias in statement.names)
            used = run if own else written  # what is named in annotations alone is no reason for a file
            aliases = [alias for alias in statement.names if (alias.asname or alias.name.partition(".")[0]) in used]
            if aliases:
                part = ast.Import(aliases)
                if isinstance(statement, ast.ImportFrom):
                    part = ast.ImportFrom(statement.module, aliases, statement.level)  # type: ignore[assignment]
                imports.append(_relative(ast.unparse(part)))
        for name in names & set(self.imported):  # handed on by a module that another imports them from
            imports += [_relative(ast.unparse(self.imported[name][0]))] if name not in run else []
        origin = f"# From {self.name}, version {__version__}. MIT License, see LICENSE."
        parts = ["\n".join([origin, "", "from __future__ import annotations", "", *imports])]
        parts += [_relative("\n".join(self.lines[slice(*self._span(statement))])) for statement in kept]
        return "\n\n\n".join(part.strip("\n") for part in parts) + "\n"

    def _span(self, statement: ast.stmt) -> tuple[int, int]:
        """First and last line, with the comment above and the text below that describes a constant."""
        first = min([statement.lineno, *(node.lineno for node in getattr(statement, "decorator_list", []))]) - 1
        while first and self.lines[first - 1].startswith("#"):
            first -= 1
        following = self.body[self.body.index(statement) + 1 :][:1]
        described = isinstance(statement, (ast.Assign, ast.AnnAssign)) and following and _is_text(following[0])
        return first, (following[0] if described else statement).end_lineno or statement.lineno


def _bound(statement: ast.stmt) -> list[str]:
    """Names that a statement of a module binds; of imports none."""
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        return [statement.name]
    if isinstance(statement, ast.Assign):
        return [node.id for target in statement.targets for node in ast.walk(target) if isinstance(node, ast.Name)]
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return [statement.target.id]
    return []


def _run(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but annotations, which no module here evaluates (``from __future__ import annotations``)."""
    yield node
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _run(child)


def _names(nodes: Iterable[ast.AST]) -> set[str]:
    return {node.id for node in nodes if isinstance(node, ast.Name)}


def _late(node: ast.AST) -> list[tuple[str, str]]:
    """What an import inside a function needs of this package."""
    return [pair for alias in node.names for pair in _own(node, alias)] if isinstance(node, ast.ImportFrom) else []


def _own(statement: ast.Import | ast.ImportFrom, alias: ast.alias) -> list[tuple[str, str]]:
    if isinstance(statement, ast.ImportFrom):
        module = statement.module or ""
        if module.startswith(f"{PACKAGE}."):
            return [(module, alias.name)]
        whole = module == PACKAGE
    else:
        whole = alias.name.split(".")[0] == PACKAGE
    if whole:
        raise DataError(f"the module {alias.name} is imported as a whole; import names from it")
    return []


def _relative(source: str) -> str:
    return _IMPORT.sub(lambda match: f"from .{match[1].replace('.', '_')} import", source)


def _is_future(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.ImportFrom) and statement.module == "__future__"


def _is_text(statement: ast.stmt) -> bool:
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)
