"""Distribution shift: which classes of one label set stand for which of another (paper Table 11, §A.1).

A probe trained on a *source* label set is tested on a *target* set, on the classes the two share. Where a source class
matches several target classes, paper and predecessors do not say what counts as positive. Two rules are offered:

- ``union`` (what is reported): per source class; positive = any of its target classes is present.
- ``target``: per target class; its score is the largest among the source classes that match it.

A zero-shot model has no source: it is scored on the target's matched classes with the target's own texts, which is how
the published zero-shot rows came about (those with every class matched equal plain zero-shot).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cmelt_plugin.errors import DataError

RULES = ("union", "target")

# Table 11, codes as printed, apart from CLBBS, a misprint for CLBBB. STDD (ST drop down) under CD is the table's.
_TABLE: dict[tuple[str, str], dict[str, list[str]]] = {
    ("ptb-xl-super", "cpsc2018"): {
        "NORM": ["NORM"],
        "CD": ["1AVB", "CRBBB", "CLBBB"],
        "STTC": ["STE", "STD"],
    },
    ("ptb-xl-super", "csn"): {
        "HYP": ["RVH", "LVH"],
        "NORM": ["SR"],
        "CD": ["2AVB", "2AVB1", "1AVB", "AVB", "LBBB", "RBBB", "STDD"],
        "MI": ["MI"],
        "STTC": ["STTC", "STE", "TWO", "STTU", "QTIE", "TWC"],
    },
    ("cpsc2018", "csn"): {
        "AFIB": ["AFIB"],
        "VPC": ["VPB"],
        "NORM": ["SR"],
        "1AVB": ["1AVB"],
        "CRBBB": ["RBBB"],
        "STE": ["STE"],
        "PAC": ["APB"],
        "CLBBB": ["LBBB"],
        "STD": ["STE", "STTC", "STTU", "STDD"],
    },
}
# Columns of Table 4, in its order.
PAIRS = (
    ("ptb-xl-super", "cpsc2018"),
    ("ptb-xl-super", "csn"),
    ("cpsc2018", "ptb-xl-super"),
    ("cpsc2018", "csn"),
    ("csn", "ptb-xl-super"),
    ("csn", "cpsc2018"),
)


def shift_classes(source_label_set: str, target_label_set: str) -> list[tuple[str, list[str]]]:
    """Source classes that have a match, each with its target classes (Table 11; inverted for the reverse directions).

    Raises:
        DataError: the table does not connect the two label sets.
    """
    forward = _TABLE.get((source_label_set, target_label_set))
    if forward is not None:
        return [(name, list(targets)) for name, targets in forward.items()]
    backward = _TABLE.get((target_label_set, source_label_set))
    if backward is None:
        known = "; ".join(f"{source} → {target}" for source, target in PAIRS)
        raise DataError(f"no class mapping from {source_label_set} to {target_label_set}; there is one for {known}")
    inverted: dict[str, list[str]] = {}
    for target, sources in backward.items():
        for source in sources:
            inverted.setdefault(source, []).append(target)
    return list(inverted.items())


def matched_targets(source_label_set: str, target_label_set: str) -> list[str]:
    """Target classes that some source class matches, each once: what a zero-shot model is scored on.

    Raises:
        DataError: as :func:`shift_classes`.
    """
    return list(dict.fromkeys(name for _, targets in shift_classes(source_label_set, target_label_set) for name in targets))


def shift_labels(
    source_label_set: str,
    target_label_set: str,
    target_labels: np.ndarray,
    target_names: Sequence[str],
    rule: str = "union",
) -> tuple[np.ndarray, list[str]]:
    """Labels of the target's records in terms of the matched classes.

    Args:
        source_label_set, target_label_set: names as in :data:`PAIRS`.
        target_labels: ``[N, C]`` 1/0, NaN = unknown.
        target_names: the C classes of the target, by which columns are found.
        rule: ``union``, per source class, or ``target``, per target class.

    Returns:
        float32 ``[N, K]`` and the K classes: source classes under ``union``, target classes under ``target``. In a
        union one positive makes a positive; without one, an unknown makes an unknown.

    Raises:
        DataError: no mapping, a mapped class is missing from ``target_names``, or no such rule.
    """
    target_labels = np.asarray(target_labels, dtype=np.float32)
    matches = _matches(source_label_set, target_label_set, rule)
    if rule == "target":
        matches = [(name, [name]) for name, _ in matches]
    wanted = [name for _, targets in matches for name in targets]
    position = _positions(wanted, target_names, target_label_set)
    # max of 1/0/NaN: NumPy's maximum carries NaN through, so a positive beside an unknown is restored.
    columns = []
    for _, targets in matches:
        part = target_labels[:, [position[name] for name in targets]]
        columns.append(np.where((part > 0.5).any(axis=1), np.float32(1), part.max(axis=1)))
    return np.stack(columns, axis=1), [name for name, _ in matches]


def shift_scores(
    source_label_set: str,
    target_label_set: str,
    source_scores: np.ndarray,
    source_names: Sequence[str],
    rule: str = "union",
) -> tuple[np.ndarray, list[str]]:
    """Scores of a classifier of the source's classes, column by column what :func:`shift_labels` returns.

    Args:
        source_scores: ``[N, C]`` logits or probabilities.
        source_names: the C classes of the source, by which columns are found.
        source_label_set, target_label_set, rule: as :func:`shift_labels`.

    Returns:
        ``[N, K]`` and the K classes.

    Raises:
        DataError: as :func:`shift_labels`, for ``source_names``.
    """
    source_scores = np.asarray(source_scores)
    matches = _matches(source_label_set, target_label_set, rule)
    if rule == "union":
        matches = [(name, [name]) for name, _ in matches]
    position = _positions([name for _, sources in matches for name in sources], source_names, source_label_set)
    columns = [source_scores[:, [position[name] for name in sources]].max(axis=1) for _, sources in matches]
    return np.stack(columns, axis=1), [name for name, _ in matches]


def _matches(source: str, target: str, rule: str) -> list[tuple[str, list[str]]]:
    """``union``: source class → its targets; ``target``: target class → its sources."""
    if rule not in RULES:
        raise DataError(f"rule {rule!r} is not one of {', '.join(RULES)}")
    pairs = shift_classes(source, target)
    if rule == "union":
        return pairs
    return [
        (name, [source_name for source_name, targets in pairs if name in targets]) for name in matched_targets(source, target)
    ]


def _positions(wanted: Sequence[str], names: Sequence[str], label_set: str) -> dict[str, int]:
    position = {name: column for column, name in enumerate(names)}
    missing = sorted(set(wanted) - set(position))
    if missing:
        raise DataError(f"the classes of {label_set} lack {', '.join(missing)}, which the mapping needs")
    return position
