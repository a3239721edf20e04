"""What is refused of a host's learning rate schedule."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cmelt_plugin.errors import DataError
from cmelt_plugin.host.optim import check_schedule


def configuration(updates: int, decay: float, name: str = "tri_stage") -> Any:
    schedule = SimpleNamespace(_name=name, phase_ratio=[0.1, 0.9 - decay, decay])
    return SimpleNamespace(optimization=SimpleNamespace(max_update=updates), lr_scheduler=schedule)


@given(updates=st.integers(1, 200), decay=st.floats(0.01, 0.9))
@example(updates=3, decay=0.3)
def test_the_update_asked_for_is_the_first_that_does(updates: int, decay: float) -> None:
    """The hosts divide by ``int(max_update * phase_ratio[2])``."""
    if int(updates * decay):
        check_schedule(configuration(updates, decay))
        return
    with pytest.raises(DataError, match=rf"^optimization.max_update={updates}: .* at least (\d+) updates") as refusal:
        check_schedule(configuration(updates, decay))
    least = int(str(refusal.value).split("at least ")[1].split()[0])
    assert int((least - 1) * decay) == 0
    check_schedule(configuration(least, decay))


def test_other_schedules_and_fixed_steps_pass() -> None:
    check_schedule(configuration(3, 0.3, name="fixed"))
    check_schedule(configuration(0, 0.3))  # trains by epochs
    steps = configuration(3, 0.3)
    steps.lr_scheduler.phase_ratio = None
    check_schedule(steps)
    with pytest.raises(DataError, match="give decay a share"):
        check_schedule(configuration(3, 0.0))
