"""Configurations that hold the options of several systems."""

from __future__ import annotations

import dataclasses

import pytest

from cmelt_plugin.joined_config import Option, options_of, with_options


@dataclasses.dataclass
class Shared:
    """What all have."""

    data: str = "here"


@dataclasses.dataclass
class First:
    views: int = dataclasses.field(default=2, metadata={"help": "how many"})
    rate: float = 0.5


def test_fields_of_all_are_fields_of_one() -> None:
    config = with_options(
        Shared,
        [*options_of(First), Option("rate", "float", 0.5, "the same"), Option("k", int, 3, "")],
        "C",
        "cmelt_plugin.joined_config",
    )
    made = config(rate=0.25)
    assert (made.data, made.views, made.rate, made.k) == ("here", 2, 0.25, 3)
    assert config.__dataclass_fields__["views"].metadata["help"] == "how many"
    assert (config.__name__, config.__module__, config.__doc__) == ("C", "cmelt_plugin.joined_config", "What all have.")


@pytest.mark.parametrize("other", [Option("views", "int", 3, ""), Option("views", "float", 2, "")])
def test_one_name_means_one_thing(other: Option) -> None:
    with pytest.raises(ValueError, match="C: two systems mean different things by the option views"):
        with_options(Shared, [*options_of(First), other], "C", "cmelt_plugin.joined_config")
