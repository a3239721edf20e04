"""Reliability batteries: many seeded attacks of one kind, counted, and one table of them at the end of a pytest run.

A test asks the fixture ``battery`` for a run and judges every input it tries::

    def test_byte_mutations(battery, tmp_path):
        for attack in battery("byte mutations of a manifest directory", inputs=40, long=6090):
            with attack:
                mutate(folder, attack.random)
                attack.expect(read(folder) == whole, "other labels were read")

A ``DataError`` inside the block is the wanted refusal, and so is whatever ``refusals`` names. ``expect`` with a false condition
is a silent loss, every other exception a traceback. The test fails at the end of the loop when there was one of either.

One attack may count as several (``attack.weight``): a chain of kills is judged once, by what the last run leaves.

``--long`` tries the long number of inputs, ``--input N`` only the N-th one, which a failure names.
"""

from __future__ import annotations

import time
import traceback
import zlib
from collections.abc import Iterator
from types import TracebackType

import numpy as np
import pytest

from cmelt_plugin.errors import DataError

SHOWN = 5  # failures described in full
COLUMNS = ("inputs", "refused", "identical", "lost", "tracebacks")


class Attack:
    """One input: a generator of its own, and the verdict on what became of it.

    ``random`` depends on the battery's name and the input's number only; ``weight`` says how many inputs it counts as.
    """

    def __init__(self, battery: str, index: int, refusals: tuple[type[BaseException], ...]) -> None:
        self.index = index
        self.weight = 1
        self.random = np.random.default_rng([zlib.crc32(battery.encode()), index])
        self.verdict = ""
        self.reason = ""
        self._refusals = refusals

    def refused(self, reason: str) -> None:
        """The input was refused in words a user can read, without an exception: a command's line, a row in rejected.tsv."""
        self._judge("refused", reason)

    def expect(self, identical: bool, otherwise: str) -> None:
        """The input was accepted: with the right result, or else it is lost silently, as ``otherwise`` says."""
        self._judge("identical" if identical else "lost", otherwise)

    def _judge(self, verdict: str, reason: str) -> None:
        # The worst of several verdicts on one input counts.
        if self.verdict in ("lost", "tracebacks"):
            return
        self.verdict, self.reason = verdict, reason

    def __enter__(self) -> Attack:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> bool:
        if isinstance(error, self._refusals):
            if str(error).strip():
                self._judge("refused", str(error))
            else:
                self._judge("lost", f"{type(error).__name__} without a reason")
            return True
        if isinstance(error, (Exception, SystemExit)):
            self._judge("tracebacks", "".join(traceback.format_exception(kind, error, where)))
            return True
        if error is None and not self.verdict:
            self._judge("lost", "the test came to no verdict on this input")
        return False


class Battery:
    """Counts of one battery; iterating over it gives the attacks, and fails the test after the last one."""

    def __init__(self, name: str, indices: range, refusals: tuple[type[BaseException], ...]) -> None:
        self.name = name
        self.complete = False
        # Plain types: pytest-xdist sends them from the worker to the terminal.
        self.counts: dict[str, str | int | float] = {
            "battery": name,
            "seconds": 0.0,
            "slowest": 0.0,
            **dict.fromkeys(COLUMNS, 0),
        }
        self.indices = indices
        self._refusals = refusals

    def __iter__(self) -> Iterator[Attack]:
        start = time.perf_counter()
        failures = []
        for index in self.indices:
            attack = Attack(self.name, index, self._refusals)
            began = time.perf_counter()
            yield attack
            self.counts["inputs"] += attack.weight
            self.counts[attack.verdict] += attack.weight
            ended = time.perf_counter()
            self.counts["seconds"] = ended - start
            self.counts["slowest"] = max(self.counts["slowest"], ended - began)
            if attack.verdict in ("lost", "tracebacks"):
                failures.append(f"input {index}, {attack.verdict}: {attack.reason}")
        self.complete = True
        if failures:
            shown = "\n".join(failures[:SHOWN])
            pytest.fail(f"{self.name}: {len(failures)} of {self.counts['inputs']} inputs\n{shown}", pytrace=False)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("reliability batteries")
    group.addoption("--long", action="store_true", help="try the long number of inputs in every battery")
    group.addoption("--input", type=int, metavar="N", help="try only the N-th input of every battery")


@pytest.fixture
def battery(request: pytest.FixtureRequest) -> Iterator:
    """``battery(name, inputs=40, long=6090, refusals=(DataError,))``: a :class:`Battery` to iterate over."""
    runs = []

    def start(name: str, *, inputs: int, long: int, refusals: tuple[type[BaseException], ...] = (DataError,)) -> Battery:
        indices = range(long if request.config.getoption("--long") else inputs)
        only = request.config.getoption("--input")
        runs.append(Battery(name, indices if only is None else range(only, only + 1), refusals))
        # The counts are filled while the battery runs; the report of the test takes them from here.
        request.node.user_properties.append(("battery", runs[-1].counts))
        return runs[-1]

    yield start
    outcome = getattr(request.node, "battery_outcome", None)
    if outcome == "passed":
        for run in runs:
            assert run.complete, f"{run.name}: the test did not try all inputs"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator:
    report = yield
    if call.when == "call":
        item.battery_outcome = report.outcome
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One table of all batteries of this run, whichever process tried them."""
    rows = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "call":
                for key, counts in report.user_properties:
                    if key == "battery":
                        rows[report.nodeid, counts["battery"]] = counts
    if not rows:
        return
    terminalreporter.section("reliability batteries")
    width = max(len("battery"), *(len(counts["battery"]) for counts in rows.values()))
    names = (*COLUMNS, "seconds", "slowest")
    terminalreporter.write_line("  ".join([f"{'battery':{width}}", *(f"{name:>10}" for name in names)]))
    for _, counts in sorted(rows.items()):
        times = f"{counts['seconds']:>10.1f}", f"{counts['slowest']:>10.3f}"
        cells = [f"{counts['battery']:{width}}", *(f"{counts[name]:>10}" for name in COLUMNS), *times]
        terminalreporter.write_line("  ".join(cells))
