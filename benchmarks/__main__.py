"""Speed and memory of this plugin, side by side with the way released code works.

Every benchmark makes its own data, checks that the contestants give the same results, warms up, and runs them in turn.
Without --quick the CPU suite (all) takes about 20 minutes on two idle cores.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import datetime
import logging
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks import registry, systems
from benchmarks.harness.comparison import compare
from benchmarks.harness.machine import describe_machine, one_line
from benchmarks.harness.options import Options
from benchmarks.harness.outcome import NotMeasured, Report, read_report
from benchmarks.harness.table import README, render, write_into
from cmelt_plugin.errors import DataError
from cmelt_plugin.option_types import command_parser

ALL = "all"
EXAMPLE = """examples:
  python -m benchmarks all --json after.json --compare before.json
  python -m benchmarks step --device cuda --compile --json step.json
  python -m benchmarks --table cpu.json cuda.json      # writes the tables of benchmarks/README.md
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = command_parser("benchmarks", __doc__, EXAMPLE)
    result.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(registry.NAMES)}, or {ALL}")
    result.add_argument("--list", action="store_true", help="name the benchmarks and say what each measures")
    result.add_argument("--device", default="cpu", help="of models and searches, e.g. cuda (cpu)")
    result.add_argument("--model", metavar="SYSTEM", help=f"of {', '.join(systems.known())} ({systems.default()})")
    result.add_argument("--json", type=Path, help="write the results to this file")
    result.add_argument("--compare", type=Path, metavar="OLD", help="compare with an earlier --json; regressions end in code 1")
    result.add_argument("--quick", action="store_true", help="tiny sizes: does everything run? The numbers mean nothing")
    result.add_argument("--full", action="store_true", help="whole tasks where the default extrapolates")
    result.add_argument("--rounds", type=int, help="timed rounds (each benchmark's own number)")
    result.add_argument("--compile", action="store_true", help="also time models through torch.compile")
    result.add_argument("--profile", type=Path, help="step: write where both ways spend their time to this file")
    result.add_argument("--folder", type=Path, help="folder for large temporary files (the system's)")
    result.add_argument("--table", type=Path, nargs="+", metavar="JSON", help="write results into benchmarks/README.md")
    result.add_argument("--readme", type=Path, default=README, help="file that --table writes into (benchmarks/README.md)")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit code 1 when a benchmark failed or became slower than in OLD."""
    arguments = parser().parse_args(argv)
    if arguments.list:
        for name in registry.NAMES:
            print(f"{name:15} {registry.title(name)}")
        return 0
    if arguments.table:
        tables = render([read_report(path) for path in arguments.table])
        write_into(arguments.readme, tables)
        print(f"{tables}\nwritten to {arguments.readme}")
        return 0
    names = chosen(arguments.names)
    if arguments.model is not None:
        systems.find(arguments.model)
    if arguments.rounds is not None and arguments.rounds < 1:
        raise DataError("--rounds must be at least 1")
    old = read_report(arguments.compare) if arguments.compare else None
    options = Options(
        device=available(arguments.device),
        quick=arguments.quick,
        full=arguments.full,
        rounds=arguments.rounds,
        compile=arguments.compile,
        profile=arguments.profile,
        folder=arguments.folder,
        model=arguments.model,
    )
    report = measure_all(names, options, arguments.json)
    if old is not None:
        lines, regressions = compare(old, report)
        print("\n".join(["", *lines]))
        if regressions:
            return 1
    return 1 if report.failures else 0


def chosen(names: Sequence[str]) -> list[str]:
    """Names of the benchmarks to run.

    Raises:
        DataError: none given, or one that does not exist.
    """
    unknown = [name for name in names if name not in (*registry.NAMES, ALL)]
    if unknown or not names:
        what = f"no benchmark {', '.join(unknown)}" if unknown else "name a benchmark"
        raise DataError(f"{what}; there are {', '.join(registry.NAMES)}, and {ALL}")
    return list(registry.NAMES) if ALL in names else list(dict.fromkeys(names))


def available(device: str) -> str:
    """The device, when torch can use it.

    Raises:
        DataError: it cannot.
    """
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise DataError(f"--device {device}: {str(error).splitlines()[0]}") from None
    return device


def measure_all(names: Sequence[str], options: Options, path: Path | None = None) -> Report:
    """Run benchmarks one after the other, print each and keep all; the file is written after every one."""
    machine = describe_machine(options.device)
    settings = {"device": options.device, "quick": options.quick, "full": options.full, "compile": options.compile}
    if options.model is not None:
        settings["model"] = options.model
    report = Report(datetime.datetime.now().astimezone().isoformat(timespec="seconds"), machine, settings)
    print(one_line(machine))
    if not options.quick and machine["load"] > 0.5 * machine["cores"]:
        print(f"warning: the machine is busy (load {machine['load']}); rates will be too low, ratios less so", file=sys.stderr)
    for name in names:
        label = registry.label(name, options)
        try:
            report.outcomes[label] = registry.measure(name, options)
            print(f"\n{report.outcomes[label].text(label)}", flush=True)
        except NotMeasured as reason:
            report.failures[label] = str(reason)
            print(f"\n{label}\n  not measured: {reason}", flush=True)
        except Exception as error:  # the other benchmarks are worth having
            report.failures[label] = f"{type(error).__name__}: {error}"
            print(f"\n{label}\n  failed", flush=True)
            traceback.print_exc()
        if path is not None:
            report.write(path)
    return report


if __name__ == "__main__":
    logging.disable(logging.INFO)  # hosts and libraries tell a lot when they are loaded
    sys.exit(run(main))
