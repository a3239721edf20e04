"""PTB-XL's label sets: from the statements of each record (``scp_codes``) to the columns super, sub, form, rhythm, all.

``scp_codes`` is a Python dict in text, ``{"NORM": 100.0, "SR": 0.0}``: statement and likelihood in per cent, where 0
means that no likelihood was given, as for every form and rhythm statement. As in the data set's benchmark (Strodthoff,
Wagner, Schaeffter, Samek 2021) a statement counts whatever its likelihood, and a record belongs to a task when it has at
least one label of it. ``scp_statements.csv`` says which statements are diagnostic (with class and subclass), form or
rhythm; four are diagnostic and form at once.

How this was checked: on 500 real records the labels of super and form equal those of the published split files, cell by
cell, which they do not when only likelihoods above 0 count. In folds 9 and 10 of the whole of version 1.0.1, the super
and form labels equal the rows of the published files in their order, except for 10 + 5 and 3 + 2 records that version
1.0.3 no longer has. Sub files have the records of the super files, because a statement with a class has a subclass. For
rhythm the rule gives 2,109 and 2,103 records of version 1.0.1 in folds 9 and 10; 9 and 5 fewer are published.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cmelt_plugin.errors import DataError
from cmelt_plugin.prompts import class_names
from preprocess.data_sets.source import read_csv

TASKS = ("super", "sub", "form", "rhythm", "all")
STATEMENTS_FILE = "scp_statements.csv"
STATEMENT_COLUMNS = ("diagnostic", "form", "rhythm", "diagnostic_class", "diagnostic_subclass")

# task → statement → class; only statements that belong to the task
Statements = Mapping[str, Mapping[str, str]]


def label_set_of(task: str) -> str:
    """Name of a task's label set: ``ptb-xl-super``."""
    return f"ptb-xl-{task}"


def read_statements(path: Path) -> dict[str, dict[str, str]]:
    """Read ``scp_statements.csv``: which class each statement has in each of :data:`TASKS`.

    Classes bear the names of the label sets, that is without the underscores which pad short codes in the file
    (``_AVB``, ``STD_``); those of ``all`` are the statements themselves.

    Raises:
        DataError: the file or a column is missing, a statement occurs twice, a flag is not 1 or empty, a diagnostic
            statement has no class, or a class is not in the label set.
    """
    # The first column has no name in the file of PTB-XL.
    expected = f"{STATEMENTS_FILE} of PTB-XL: one row per statement, its code first"
    table = read_csv(path, STATEMENT_COLUMNS, expected, also=r"|Unnamed: 0|code|scp_code|statement")
    others = table.drop(columns=list(STATEMENT_COLUMNS))
    if others.shape[1] != 1:
        raise DataError(f"{path}: no column of codes; expected {expected}")
    codes = others.iloc[:, 0].tolist()
    known = {task: {name.strip("_"): name for name in class_names(label_set_of(task))} for task in TASKS}
    statements: dict[str, dict[str, str]] = {task: {} for task in TASKS}

    def add(task: str, code: str, name: str) -> None:
        if name.strip("_") not in known[task]:
            raise DataError(f"{path}, statement {code}: {name or 'nothing'!r} is not a class of {label_set_of(task)}")
        statements[task][code] = known[task][name.strip("_")]

    for code, *values in zip(codes, *(table[column] for column in STATEMENT_COLUMNS)):
        row = dict(zip(STATEMENT_COLUMNS, values))
        if not code or code in statements["all"]:
            raise DataError(f"{path}: statement {code!r} " + ("occurs twice" if code else "has no code"))
        flags = {kind: _flag(row[kind], path, code, kind) for kind in ("diagnostic", "form", "rhythm")}
        add("all", code, code)
        if flags["diagnostic"]:
            add("super", code, row["diagnostic_class"])
            add("sub", code, row["diagnostic_subclass"])
        for kind in ("form", "rhythm"):
            if flags[kind]:
                add(kind, code, code)
    return statements


def parse_codes(text: str) -> dict[str, float]:
    """Parse one cell of the column ``scp_codes``.

    Raises:
        ValueError: not a dict of texts and numbers.
    """
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise ValueError(f"{text[:80]!r} is not a dict as {{'NORM': 100.0, 'SR': 0.0}}") from None
    if not isinstance(value, dict) or not all(
        isinstance(code, str) and isinstance(likelihood, (int, float)) and not isinstance(likelihood, bool)
        for code, likelihood in value.items()
    ):
        raise ValueError(f"{text[:80]!r} is not a dict of statements and likelihoods as {{'NORM': 100.0, 'SR': 0.0}}")
    return value


def label_matrix(codes: Sequence[Mapping[str, float]], statements: Statements, task: str) -> np.ndarray:
    """Labels of one task.

    Args:
        codes: statements and likelihoods of n records; every statement counts, whatever its likelihood.
        statements: from :func:`read_statements`.
        task: one of :data:`TASKS`.

    Returns:
        float32 [n, C], 1 = present, 0 = absent, columns in the order of ``class_names(label_set_of(task))``. Rows
        without a 1 are records that do not belong to the task.

    Raises:
        KeyError: a statement that ``scp_statements.csv`` does not list.
    """
    column = {name: number for number, name in enumerate(class_names(label_set_of(task)))}
    values = np.zeros((len(codes), len(column)), dtype=np.float32)
    for row, record in enumerate(codes):
        for code in record:
            if code not in statements["all"]:
                raise KeyError(code)
            if code in statements[task]:
                values[row, column[statements[task][code]]] = 1
    return values


def parse_all_codes(ids: Sequence[str], texts: Sequence[str], statements: Statements, path: Path) -> list[dict[str, float]]:
    """:func:`parse_codes` of every record, with errors that name file and record.

    Raises:
        DataError: a cell is malformed, or has a statement that ``scp_statements.csv`` does not list.
    """
    codes = []
    for ecg_id, text in zip(ids, texts):
        try:
            codes.append(parse_codes(text))
        except ValueError as error:
            raise DataError(f"{path}, ecg_id {ecg_id}, column scp_codes: {error}") from None
        unknown = [code for code in codes[-1] if code not in statements["all"]]
        if unknown:
            raise DataError(
                f"{path}, ecg_id {ecg_id}: no statement {', '.join(unknown)} in {STATEMENTS_FILE}; "
                "both files must come from the same version of PTB-XL"
            )
    return codes


def _flag(text: str, path: Path, code: str, column: str) -> bool:
    if text in ("1", "1.0"):
        return True
    if text in ("", "0", "0.0"):
        return False
    raise DataError(f"{path}, statement {code}, column {column}: {text!r} is not 1 or empty")
