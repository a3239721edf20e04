"""Systems side by side: the same records, updates and evaluations for each, with several seeds.

Every system is trained by its smallest configuration, examples/pretrain/…_tiny.yaml, and evaluated by zero-shot
classification, retrieval, linear probes, the reports it writes where it does, and where asked for fine-tuned. Its encoder with
random weights is probed, too, and where asked for trained on labels alone. What is done is done: run it again after an
interruption and it goes on. Without --manifest the records are synthetic, and the table says how fast systems learn what is in
those, not how well they diagnose patients.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from steps import run_commands
from system_runs import Variant, cohort, commands, tiny_configuration
from system_table import tabulate

from cmelt_plugin import option_types, registry
from cmelt_plugin.data.directory.own_files import LABELS_FILE, REPORTS_FILE
from cmelt_plugin.errors import DataError

EXAMPLE = """examples:
  python examples/ablation/systems.py --dest systems
  python examples/ablation/systems.py --dest systems-ptb-xl --manifest manifests/ptb-xl --downstream manifests/ptb-xl-super \
      --updates 1000
  python examples/ablation/systems.py --dest systems --systems melp --finetune 0.1 --supervised melp \
      --variant melp-gloria melp criterion.local=gloria model.learn_beat_scale=false
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--dest", type=Path, required=True, help="folder for everything")
    result.add_argument(
        "--manifest", type=Path, help="manifest directory to pre-train on, with reports and a tokenizer/ folder (synthetic)"
    )
    result.add_argument(
        "--downstream", type=Path, help="manifest directory with labels and class texts to evaluate on (the same)"
    )
    result.add_argument("--records", type=option_types.count, default=8000, help="size of the synthetic cohort (8000)")
    result.add_argument(
        "--noise", type=option_types.non_negative_number, default=0.3, help="noise of the synthetic recordings, 1 = usual (0.3)"
    )
    result.add_argument("--systems", nargs="+", metavar="NAME", help="systems to compare (all that have a configuration)")
    result.add_argument(
        "--variant",
        nargs="+",
        action="append",
        default=[],
        metavar=("NAME", "SYSTEM"),
        help="one more row: its name, a system, and settings of pre-training in which it differs, key=value",
    )
    result.add_argument(
        "--finetune", type=option_types.share, metavar="SHARE", help="fine-tune encoders on this share of the labels (not)"
    )
    result.add_argument("--finetune-updates", type=option_types.count, default=200, help="updates of that training (200)")
    result.add_argument(
        "--supervised", nargs="+", default=[], metavar="NAME", help="systems whose encoder learns the labels alone"
    )
    result.add_argument("--epochs", type=option_types.count, default=5, help="of that training (5)")
    result.add_argument("--seeds", type=option_types.count, default=3, help="seeds per system (3)")
    result.add_argument("--updates", type=option_types.count, help="updates of every training (those of the configurations)")
    result.add_argument("--settings", nargs="*", default=[], help="further settings of pre-training, key=value")
    return result


def _variant(words: Sequence[str]) -> Variant:
    if len(words) < 3 or not all("=" in word for word in words[2:]):
        raise DataError(f"--variant {' '.join(words)}: must be a name, a system, and settings in which it differs, key=value")
    return Variant(words[0], words[1], tuple(words[2:]))


def _configuration(system: str) -> dict[str, Any]:
    path = tiny_configuration(system)
    assert path is not None
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def configured_updates(system: str) -> int:
    """Updates that a system's smallest configuration trains."""
    updates: int = _configuration(system)["optimization"]["max_update"]
    return updates


def check_updates(systems: Sequence[str], updates: int) -> None:
    """The hosts divide by the number of updates in which the learning rate falls.

    Raises:
        DataError: of ``updates`` there would be none.
    """
    for system in systems:
        last = (_configuration(system)["lr_scheduler"].get("phase_ratio") or [1.0])[-1]
        if int(updates * last) < 1:
            raise DataError(
                f"--updates {updates}: in the last {100 * last:g} % of the updates the learning rate of {system}_tiny falls, "
                f"which would be none; give at least {math.ceil(1 / last)}"
            )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    arguments = parser().parse_args(argv)
    known = [name for name in sorted(registry.systems()) if tiny_configuration(name) is not None]
    variants = [Variant(name, name) for name in arguments.systems or known]
    variants += [_variant(words) for words in arguments.variant]
    systems = {variant.system for variant in variants}
    unknown = sorted({*systems, *arguments.supervised} - set(known))
    if unknown:
        raise DataError(f"no ..._tiny.yaml trains {', '.join(unknown)}; there is {', '.join(known)}")
    if arguments.updates is not None:
        check_updates(sorted(systems), arguments.updates)
    arguments.dest = arguments.dest.resolve()
    if arguments.manifest is None:
        arguments.manifest = arguments.dest / "manifest"
        run_commands(cohort(arguments), arguments.dest)
    arguments.manifest = arguments.manifest.resolve()
    arguments.downstream = (arguments.downstream or arguments.manifest).resolve()
    for folder, name in (
        (arguments.manifest, REPORTS_FILE),
        (arguments.manifest, "tokenizer"),
        (arguments.downstream, LABELS_FILE),
    ):
        if not (folder / name).exists():
            raise DataError(f"{folder}: no {name}; systems learn from reports and are compared on labels")
    for seed in range(1, arguments.seeds + 1):
        for variant in variants:
            print(f"{variant.name}, seed {seed}", flush=True)
            run_commands(commands(variant, seed, arguments), arguments.dest / variant.name / f"seed{seed}")
    print(tabulate(variants, lambda system: str(arguments.updates or configured_updates(system)), arguments))
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
