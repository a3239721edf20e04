"""Configurations that hold the options of several systems, so that one task or model serves them all without naming any."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, NamedTuple


class Option(NamedTuple):
    """A field of a configuration, as hydra reads it."""

    name: str
    type: Any
    default: Any
    help: str


def options_of(config: type) -> list[Option]:
    """The fields of a dataclass whose defaults are plain values."""
    return [Option(one.name, one.type, one.default, str(one.metadata.get("help", ""))) for one in dataclasses.fields(config)]


def with_options(config: type, options: Iterable[Option], name: str, module: str) -> Any:
    """A subclass of the dataclass ``config`` with further fields.

    Args:
        config: what all systems share.
        options: of all systems; one that several have alike is one field.
        name: of the new class.
        module: where it stands under that name, by which it is pickled.

    Raises:
        ValueError: two systems have an option of one name and another type or default.
    """
    fields: dict[str, Option] = {}
    for option in options:
        known = fields.setdefault(option.name, option)
        if (known.type, known.default) != (option.type, option.default):
            raise ValueError(f"{name}: two systems mean different things by the option {option.name}")
    new = [
        (option.name, option.type, dataclasses.field(default=option.default, metadata={"help": option.help}))
        for option in fields.values()
    ]
    namespace = {"__module__": module, "__doc__": config.__doc__}
    return dataclasses.make_dataclass(name, new, bases=(config,), namespace=namespace)
