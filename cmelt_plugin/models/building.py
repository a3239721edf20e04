"""A registered model from plain configuration values and weights, strictly.

A configuration is a few words that can ask for any amount of memory, and weights are what was paid for in bytes. So the model
is first laid out without memory (on PyTorch's ``meta`` device), within what the weights account for, and compared with them.
"""

from __future__ import annotations

import dataclasses
import math
import threading
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cmelt_plugin import registry
from cmelt_plugin.errors import DataError

SHOWN = 5  # differences that a message lists


class _LoadingTask:
    """Stands in for the task: tells the model that its weights are about to be overwritten, and whether it will ever train."""

    loading_checkpoint = True

    def __init__(self, serving: bool = False):
        self.serving = serving


class _WithoutDrawing(TorchFunctionMode):
    """Leaves out random numbers, and dividing them, for what has no memory: PyTorch would import its compiler for that, which
    takes seconds."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in ("normal_", "uniform_", "trunc_normal_"):
            return args[0] if args else kwargs["tensor"]
        if name in ("randn", "rand"):
            return torch.empty(*args, **{key: value for key, value in kwargs.items() if key != "generator"})
        if name in ("div", "__truediv__") and _is_scaled(*args):
            return args[0]
        return func(*args, **kwargs)


def _is_scaled(tensor: Any, number: Any) -> bool:
    return isinstance(number, (int, float)) and isinstance(tensor, Tensor) and tensor.is_meta and tensor.is_floating_point()


def build_from_config(values: dict[str, Any], weights: dict[str, Tensor], source: str, serving: bool = False) -> Any:
    """Build the model that ``values`` describe and fill it with ``weights``.

    Args:
        values: the model's configuration, with its registered name under ``_name``.
        weights: its whole state dict.
        source: what to name in messages.
        serving: the model will not train; it may take parts that cannot.

    Returns:
        The model, in eval mode, on the CPU.

    Raises:
        DataError: an unknown model or setting, or weights that do not fit.
    """
    model_class, cfg = check_fits(values, weights, source, serving)
    return build(model_class, cfg, weights, source, serving)


def build(model_class: Any, cfg: Any, weights: dict[str, Tensor], source: str, serving: bool = False) -> Any:
    """The second half of :func:`build_from_config`, for what :func:`check_fits` has found to fit."""
    with _as_data_error(source):
        model = model_class.build_model(cfg, _LoadingTask(serving))
        model.load_state_dict(weights, strict=True)
    return model.eval()


def build_random(values: dict[str, Any], source: str, seed: int = 0) -> Any:
    """The model that ``values`` describe with the random weights of a seed, in eval mode, on the CPU: it has learnt nothing.

    Args:
        values: the model's configuration, with its registered name under ``_name``.
        source: what to name in messages.
        seed: of the weights; random numbers drawn elsewhere do not change.

    Raises:
        DataError: an unknown model or setting.
    """
    model_class, cfg = _configuration(values, source)
    with _as_data_error(source), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model_class.build_model(cfg, _LoadingTask()).eval()


def check_fits(values: Any, weights: Mapping[str, Any], source: str, serving: bool = False) -> tuple[Any, Any]:
    """Compare a configuration with the names, shapes and kinds of weights, in little memory.

    Args:
        values: the model's configuration, with its registered name under ``_name``.
        weights: name → anything with ``shape`` and ``dtype``.
        source: what to name in messages.
        serving: as of :func:`build_from_config`.

    Returns:
        The model's class and its configuration.

    Raises:
        DataError: an unknown model or setting, a value of another type, or another model than that of the weights.
    """
    model_class, cfg = _configuration(values, source)
    laid_out = dataclasses.replace(cfg, compile=False) if hasattr(cfg, "compile") else dataclasses.replace(cfg)
    with _as_data_error(source), _at_most(2 * len(weights) + 64), torch.device("meta"), _WithoutDrawing():
        expected = model_class.build_model(laid_out, _LoadingTask(serving)).state_dict()
    differences = [f"missing {name}" for name in expected if name not in weights]
    differences += [f"unexpected {name}" for name in weights if name not in expected]
    for name in expected.keys() & weights.keys():
        tensor, wanted = weights[name], expected[name]
        if tuple(tensor.shape) != tuple(wanted.shape):
            differences.append(f"{name} is {tuple(tensor.shape)} and should be {tuple(wanted.shape)}")
        elif tensor.dtype.is_floating_point != wanted.dtype.is_floating_point:
            differences.append(f"{name} is {tensor.dtype} and should be {wanted.dtype}")
    if differences:
        rest = f" and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
        raise DataError(
            f"{source}: the weights do not fit the configuration beside them: {'; '.join(sorted(differences)[:SHOWN])}{rest}"
        )
    return model_class, cfg


def own_settings(state: Any) -> dict[str, Any] | None:
    """The model configuration of a host's checkpoint, where it is one of this plugin's; None for any other."""
    cfg = state.get("cfg") if isinstance(state, dict) else None
    settings = cfg.get("model") if isinstance(cfg, dict) else None
    name = settings.get("_name") if isinstance(settings, dict) else None
    return settings if isinstance(name, str) and name in registry.models() else None


def _configuration(values: Any, source: str) -> tuple[Any, Any]:
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise DataError(f"{source}: its model configuration is no table of names and values")
    values = dict(values)
    name = values.pop("_name", None)
    if not isinstance(name, str):
        raise DataError(f"{source}: its model configuration does not name a model (_name)")
    model = registry.models().get(name)
    if model is None:
        raise DataError(f"{source}: holds a model {name!r}, which this plugin does not know")
    config_class = model.config_class()
    known = {field.name for field in dataclasses.fields(config_class)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise DataError(f"{source}: the model configuration has settings this version does not know: {', '.join(unknown)}")
    types = typing.get_type_hints(config_class)
    for setting, value in values.items():
        if not _is_of(value, types[setting]):
            raise DataError(f"{source}: model.{setting}={str(value)[:80]!r} is not of the type of this setting")
    return model.model_class(), config_class(**values)


def _is_of(value: Any, kind: Any) -> bool:
    """Whether a plain value has the annotated type of a setting: numbers, texts, lists of them, or None where allowed."""
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Union:
        return any(_is_of(value, one) for one in arguments)
    if typing.get_origin(kind) is list:
        return isinstance(value, list) and all(_is_of(item, arguments[0]) for item in value)
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    return kind is Any or type(value) is kind


@contextmanager
def _at_most(count: int) -> Iterator[None]:
    """Stop a model from being made of more than ``count`` parameters in this thread."""
    made, thread = 0, threading.get_ident()

    def counted(module: nn.Module, name: str, parameter: Any) -> None:
        nonlocal made
        if parameter is not None and threading.get_ident() == thread:
            made += 1
            if made > count:
                raise ValueError(f"it asks for more than {count} weights, many more than there are")

    handle = nn.modules.module.register_module_parameter_registration_hook(counted)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _as_data_error(source: str) -> Iterator[None]:
    """Building fails in whatever way the first part that cannot be built does."""
    try:
        yield
    except DataError as error:
        text = str(error)
        raise DataError(text if text.startswith(source) else f"{source}: {text}") from None
    except MemoryError:
        raise DataError(f"{source}: not enough memory for this model") from None
    except Exception as error:
        text = " ".join(str(error).split())[:500] or type(error).__name__
        raise DataError(f"{source}: the weights do not fit the configuration beside them: {text}") from None


def check_checkpoint(tree: dict[str, Any], path: str) -> None:
    """Refuse a checkpoint of this plugin whose configuration describes another model than its weights."""
    settings = own_settings(tree)
    if settings is not None:
        check_fits(settings, tree["model"], path)
