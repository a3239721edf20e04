"""What a model's file says about its task, checked before anything relies on it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from cmelt_plugin.data.leads import lead_keep_mask
from cmelt_plugin.errors import DataError

PROBLEMS = ("multi_label", "multi_class")
LONGEST_TEXT = 1 << 16  # tokens
LONGEST_NAME = 10_000  # characters
CLASSIFIER = "cmelt_classifier"
TARGET_MEAN, TARGET_DEVIATION = "target_mean", "target_deviation"
"""What a task keeps of a regression: mean and standard deviation of the training records' values."""


def check_settings(cfg: Any, task_state: Any, source: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The configuration of a run and what its task keeps, as two dictionaries.

    Args:
        cfg: ``model`` (checked by :func:`cmelt_plugin.models.building.check_fits`), ``task`` and others, or anything.
        task_state: ``thresholds``, ``tokenizer_fingerprint`` and others, None, or anything.
        source: what to name in messages.

    Raises:
        DataError: one of them, or a value that models are used by, is of another type or out of range.
    """
    if not isinstance(cfg, dict) or not isinstance(cfg.get("model"), dict):
        raise DataError(f"{source}: has no model configuration (entry cfg.model)")
    state = {} if task_state is None else task_state
    task = {} if cfg.get("task") is None else cfg["task"]
    for name, table in (("cfg", cfg), ("cfg.task", task), ("task_state", state)):
        if not isinstance(table, dict) or not all(isinstance(key, str) for key in table):
            raise DataError(f"{source}: its entry {name} is no table of names and values")
    for setting in ("_name", "data", "tokenizer"):
        _check(task.get(setting) is None or _is_text(task[setting]), source, f"task.{setting}", task.get(setting))
    problem, limit, leads = task.get("problem"), task.get("max_text_tokens"), task.get("leads")
    _check(problem is None or problem in PROBLEMS, source, "task.problem", problem)
    _check(limit is None or (type(limit) is int and 1 <= limit <= LONGEST_TEXT), source, "task.max_text_tokens", limit)
    _check(leads is None or _is_texts(leads), source, "task.leads", leads)
    if leads:
        try:
            lead_keep_mask(leads)
        except DataError as error:
            raise DataError(f"{source}: task.leads: {error}") from None
    fingerprint = state.get("tokenizer_fingerprint")
    _check(fingerprint is None or _is_text(fingerprint), source, "tokenizer_fingerprint", fingerprint)
    _check_classes(cfg["model"], state.get("thresholds"), source)
    _check_scale(cfg["model"], state, source)
    return {**cfg, "task": task}, dict(state)


def _check_classes(model: Mapping[str, Any], thresholds: Any, source: str) -> None:
    names: Any = model.get("class_names")
    count = model.get("num_classes")
    if model.get("_name") == CLASSIFIER:
        _check(type(count) is int and count >= 1, source, "model.num_classes", count)
        # A model that identifies people keeps a fingerprint of theirs in place of names.
        _check(_is_texts(names) and len(names) in (1, count), source, "model.class_names", names)
        _check(len(set(names)) == len(names), source, "model.class_names (a class is named twice)", names)
    if thresholds is None:
        return
    _check(isinstance(thresholds, (list, tuple)), source, "thresholds", thresholds)
    for value in thresholds:
        known = value is None or (type(value) in (int, float) and (math.isnan(value) or 0 <= value <= 1))
        _check(known, source, "thresholds (probabilities, or none)", value)
    if model.get("_name") == CLASSIFIER:
        _check(len(thresholds) == count, source, f"thresholds (one for each of {count} classes)", thresholds)


def _check_scale(model: Mapping[str, Any], state: Mapping[str, Any], source: str) -> None:
    """Mean and deviation of a regression's values: both or none, of one output."""
    scale: dict[str, Any] = {name: state.get(name) for name in (TARGET_MEAN, TARGET_DEVIATION)}
    if all(value is None for value in scale.values()):
        return
    for name, value in scale.items():
        _check(type(value) in (int, float) and math.isfinite(value), source, name, value)
    _check(scale[TARGET_DEVIATION] > 0, source, TARGET_DEVIATION, scale[TARGET_DEVIATION])
    _check(model.get("num_classes") == 1, source, "model.num_classes (of a regression)", model.get("num_classes"))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_NAME and "\0" not in value


def _is_texts(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(_is_text(item) for item in value)


def _check(right: bool, source: str, name: str, value: Any) -> None:
    if not right:
        raise DataError(f"{source}: {name} cannot be {str(value)[:80]!r}; the file is damaged or was changed")
