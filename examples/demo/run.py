"""From nothing to a validated model in minutes, on two CPU cores: synthetic cohort → training → diagnosis by texts.

Runs the very commands one types for one's own data, printing each, and ends with DEST/report.html. Interrupted, it goes on
where it stopped. The recordings are synthetic: this shows that the software learns, not how well it diagnoses patients. With
--real the model that was trained also reads real ones: PTB-XL, or a folder of WFDB records.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cmelt_plugin import option_types
from cmelt_plugin.data.files import read_json, write_json
from cmelt_plugin.data.readers.record_paths import find_records
from cmelt_plugin.errors import DataError

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # examples/ is not installed

from examples.demo.commands import TEST, is_ptb_xl, steps  # noqa: E402
from examples.demo.running import run_step, shown  # noqa: E402
from examples.demo.systems import SYSTEMS  # noqa: E402

EXAMPLE = """examples:
  python examples/demo/run.py --dest demo
  python examples/demo/run.py --dest demo --real /data/ptb-xl
  python examples/demo/run.py --system cmelt --dest demo-cmelt
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--dest", type=Path, default=Path("demo"), help="folder for everything (demo)")
    result.add_argument("--system", choices=SYSTEMS, default="merl", help="what is trained (merl: it learns fastest)")
    result.add_argument("--records", type=option_types.count, default=8000, help="size of the synthetic cohort (8000)")
    result.add_argument(
        "--noise", type=option_types.non_negative_number, default=1.0, help="noise of the synthetic recordings, 1 = usual (1)"
    )
    result.add_argument("--updates", type=option_types.count, help="training updates (those of the configuration)")
    result.add_argument("--seed", type=option_types.seed, default=1, help="of cohort and training (1)")
    result.add_argument(
        "--real",
        type=Path,
        metavar="FOLDER",
        help="last, let the model read real recordings: a folder laid out as PTB-XL, or of WFDB records; may be given later",
    )
    result.add_argument("--quick", action="store_true", help="a few records and updates, no bars: does everything run at all?")
    return result


def check_settings(dest: Path, arguments: argparse.Namespace) -> None:
    """Refuse to mix two demos in one folder.

    Raises:
        DataError: the folder belongs to a demo with other settings, or to something else.
    """
    names = ("system", "records", "noise", "updates", "seed", "quick")
    settings = {name: getattr(arguments, name) for name in names}
    path = dest / "demo.json"
    if path.is_file():
        found = read_json(path)
        if found != settings:
            found = json.dumps(found)
            raise DataError(f"{dest}: holds a demo with other settings ({found}); choose another --dest or delete it")
    elif dest.is_dir() and any(dest.iterdir()):
        raise DataError(f"{dest}: not empty and not a demo; choose another --dest")
    else:
        write_json(path, settings)
    (dest / "logs").mkdir(exist_ok=True)


def check_real(folder: Path) -> None:
    """Refuse a folder without recordings before anything is trained.

    Raises:
        DataError: it is none, or holds neither PTB-XL nor WFDB records.
    """
    if not folder.is_dir():
        raise DataError(f"--real {folder}: no such folder")
    if not is_ptb_xl(folder):
        find_records([str(folder)])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; exit code 1 when a metric misses its bar."""
    arguments = parser().parse_args(argv)
    if arguments.records < 100:
        raise DataError(f"--records {arguments.records}: at least 100, or some split stays empty")
    system = SYSTEMS[arguments.system]
    if arguments.real is not None:
        check_real(arguments.real)
    dest = arguments.dest.resolve()
    check_settings(dest, arguments)
    start = time.monotonic()
    todo = steps(arguments, dest)
    again = False
    for number, step in enumerate(todo, start=1):
        again = run_step(step, number, len(todo) + 1, dest, again, system.shown)
    if arguments.real is None:
        print("\nno real recordings read: --real FOLDER names some, now or after this run", flush=True)
    print(f"\n[{len(todo) + 1}/{len(todo) + 1}] metrics and page", flush=True)
    from examples.demo.page import write_page  # late: it loads torch

    commands = [shown(step.command) for step in todo]
    metrics = write_page(dest, commands, TEST, arguments.system, {} if arguments.quick else system.bars, arguments.real)
    print(f"\n{time.monotonic() - start:.0f} s in this run\n")
    for metric in metrics:
        bar = f"{'at most' if metric.is_error else 'bar'} {metric.bar:.3f}" if metric.bar is not None else ""
        verdict = bar and f"{bar}: " + ("reached" if metric.passed else "MISSED")
        print(f"  {metric.name:52s} {metric.value:.3f}  {verdict}")
    print(f"\nPage: {dest / 'report.html'}")
    print(f"Your own data: the commands above with your folder in place of {dest / 'cohort'}; README.md has them in ten lines.")
    return 0 if all(metric.passed for metric in metrics) else 1


if __name__ == "__main__":
    sys.exit(run(main))
