"""Every metric of docs/synthetic-model.md: a model that was trained on synthetic recordings alone, asked about real ones.

Zero-shot classification by the model and by encoders of random weights, with leads in millivolts and standardised, with all
leads and with few; linear probes on parts of the labels, also of the model after more pre-training on real reports; classifiers
that start from its encoder or from random weights. What is done is done: run it again after an interruption, it goes on. Data
sets that are not below --real are left out, and named. Writes DEST/proof.md (tables), DEST/proof.json and, with --pictures, two
PNG files.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from cmelt_plugin import option_types
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.files.exported import is_exported
from cmelt_plugin.weights import DEFAULT, shipped_folder

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # examples/ is not installed

from examples.ablation.steps import REPOSITORY, Command, run_commands  # noqa: E402
from examples.synthetic_model import proof_steps  # noqa: E402
from examples.synthetic_model.proof_pictures import draw  # noqa: E402
from examples.synthetic_model.proof_results import collect, write_summary  # noqa: E402
from examples.synthetic_model.proof_tables import tables  # noqa: E402

PARTS = ("zero-shot", "probes", "fine-tuning")
EXAMPLE = """example:
  python examples/synthetic_model/proof.py --real /data --checkpoint checkpoints/cmelt_synthetic/checkpoint_last.pt \\
      --tokenizer manifests/synthetic/tokenizer --dest proof --pictures docs/images
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument(
        "--real", type=Path, required=True, help="folder that holds ptb-xl/, cpsc2018/ with splits/icbeb/, cinc2021/, code15/"
    )
    result.add_argument("--dest", type=Path, required=True, help="folder for everything")
    result.add_argument("--checkpoint", default=DEFAULT, help="the model (the one that comes with the package)")
    result.add_argument("--tokenizer", type=Path, help="folder of its tokenizer (beside the model)")
    result.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure (everything)")
    result.add_argument("--seeds", type=option_types.count, default=5, help="of whatever is drawn at random (5)")
    result.add_argument("--baselines-only", action="store_true", help="only what needs no --checkpoint, without tables")
    result.add_argument("--pictures", type=Path, help="folder for PNG files")
    return result


def probe_steps(args: argparse.Namespace, checkpoint: str) -> list[Command]:
    """Linear probes of every encoder."""
    checkpoints = {name: str(proof_steps.encoder(args.dest, name)) for name in proof_steps.untrained(args.seeds)}
    if not args.baselines_only:
        checkpoints[proof_steps.MODEL] = checkpoint
        if proof_steps.encoder(args.dest, proof_steps.CONTINUED).is_file():
            checkpoints[proof_steps.CONTINUED] = str(proof_steps.encoder(args.dest, proof_steps.CONTINUED))
    steps = []
    for name, path in checkpoints.items():
        out = args.dest / "results" / "probes" / name
        words = ["--checkpoint", path, "--ptb-xl", args.real / "ptb-xl", "--manifests", args.dest / "manifests"]
        words += ["--results", out, "--seeds", args.seeds]
        program = REPOSITORY / "examples" / "synthetic_model" / "probes.py"
        steps.append(Command(f"probes-{name}", [sys.executable, *map(str, [program, *words])], out / "choice.json"))
    return steps


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    args = parser().parse_args(argv)
    args.real, args.dest = args.real.resolve(), args.dest.resolve()
    folder = shipped_folder(args.checkpoint)
    checkpoint = Path(args.checkpoint).resolve() if folder is None else folder
    if not checkpoint.exists() and not args.baselines_only:
        raise DataError(f"{checkpoint}: no such checkpoint or folder")
    tokenizer = args.tokenizer
    if tokenizer is None and is_exported(checkpoint):
        tokenizer = proof_steps.text_encoder_folder(checkpoint, args.dest)
    if tokenizer is None or not tokenizer.is_dir():
        raise DataError(
            f"{tokenizer or checkpoint}: no tokenizer; --tokenizer names the folder that the model was trained with"
        )
    tokenizer = tokenizer.resolve()

    def perform(title: str, steps: Sequence[Command], wanted: Callable[[str], bool] = lambda name: True) -> None:
        for step in tqdm([step for step in steps if wanted(step.name)], desc=title, unit="command"):
            run_commands([step], args.dest)

    def wanted(name: str) -> bool:
        return proof_steps.UNTRAINED in name or not args.baselines_only

    data = proof_steps.data_steps(args.real, args.dest)
    perform("recordings", data.steps)
    if not (args.dest / "manifests" / "ptb-xl" / "manifest.json").is_file():
        raise DataError(f"{args.real}: no ptb-xl/; without it there is nothing to compare with")
    encoders = proof_steps.encoder_steps(args.dest, tokenizer, checkpoint, args.seeds)
    perform("encoders", encoders.steps, lambda name: wanted(name) or name == "tokens")
    if "zero-shot" in args.parts:
        perform("zero-shot", proof_steps.zero_shot_steps(args.dest, str(checkpoint), args.seeds), wanted)
    if "probes" in args.parts:
        perform("probes", probe_steps(args, str(checkpoint)), wanted)
    if "fine-tuning" in args.parts:
        perform("fine-tuning", proof_steps.finetuning_steps(args.dest, str(checkpoint), args.seeds), wanted)
    if args.baselines_only:
        return 0
    proof = collect(args.real, args.dest, args.seeds)
    write_summary(args.dest / "proof.json", proof)
    text = tables(proof) + "".join(f"\nLeft out: {name} ({reason}).\n" for name, reason in [*data.missing, *encoders.missing])
    (args.dest / "proof.md").write_text(text, encoding="utf-8")
    print(text)
    if args.pictures is not None:
        draw(proof, args.pictures)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
