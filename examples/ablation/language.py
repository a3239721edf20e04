"""What the language stage buys: a text encoder before and after it, on reports that it has not read.

Makes a corpus of a manifest directory's training reports, trains examples/language/heart_lm_tiny.yaml on it, exports the model,
and measures encoder by encoder, and word statistics beside them: perplexity and accuracy on masked words of held-out reports,
whether the nearest report has the same labels, and the negatives that N3S (farthest) finds with it. With --systems these are
pre-trained and evaluated with both encoders (examples/ablation/systems.py). What is done is done: run it again after an
interruption and it goes on. Without --manifest the records are synthetic.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import systems
from steps import REPOSITORY, Command, host_command, needs_cpu_switch, run_commands
from system_runs import cohort
from text_measures import held_out_reports, in_common, labels_of_reports, masked_words, nearest, negatives

from cmelt_plugin import option_types
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.directory.own_files import LABELS_FILE, REPORTS_FILE
from cmelt_plugin.data.files import write_json
from cmelt_plugin.data.text.reports import Reports, read_reports
from cmelt_plugin.errors import DataError
from cmelt_plugin.tables import DASH, markdown
from preprocess.text.text_embedding import TFIDF, load_embedder

BEFORE, AFTER = "before", "after"
EXAMPLES = 6  # statements whose neighbours are shown
EXAMPLE = """examples:
  python examples/ablation/language.py --dest language
  python examples/ablation/language.py --dest language --systems cmelt merl --seeds 3
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--dest", type=Path, required=True, help="folder for everything")
    result.add_argument(
        "--manifest", type=Path, help="manifest directory with reports, labels, and a BERT in tokenizer/ (synthetic)"
    )
    result.add_argument("--records", type=option_types.count, default=8000, help="size of the synthetic cohort (8000)")
    result.add_argument(
        "--noise", type=option_types.non_negative_number, default=0.3, help="noise of the synthetic recordings, 1 = usual (0.3)"
    )
    result.add_argument("--language", nargs="*", default=[], help="further settings of the language stage, key=value")
    result.add_argument("--systems", nargs="+", default=[], metavar="NAME", help="systems to pre-train with both encoders")
    result.add_argument("--seeds", type=option_types.count, default=3, help="seeds per system (3)")
    result.add_argument("--updates", type=option_types.count, help="updates of the systems' training (those of their files)")
    return result


def language_stage(dest: Path, manifest: Path, settings: Sequence[str]) -> list[Command]:
    """From a manifest directory to an exported language model, ``DEST/after``."""
    corpus, checkpoint = dest / "corpus", dest / "language" / "checkpoint_best.pt"
    encoder = manifest / "tokenizer"

    def preprocess(name: str, output: Path, *options: object) -> Command:
        return Command(output.name, [sys.executable, str(REPOSITORY / "preprocess" / f"{name}.py"), *map(str, options)], output)

    of_manifest = ["--manifest", manifest, "--accept-labelled", "--valid-share", 0.1]
    fixed = [f"task.data={corpus}", f"model.text_encoder={encoder}", f"checkpoint.save_dir={checkpoint.parent}"]
    place = ["--config-dir", str(REPOSITORY / "examples" / "language"), "--config-name", "heart_lm_tiny"]
    on_cpu = ["common.cpu=true"] if needs_cpu_switch() else []
    words = [sys.executable, "-m", "cmelt_plugin.export", "--checkpoint", str(checkpoint), "--dest", str(dest / AFTER)]
    return [
        preprocess("text_corpus", corpus, "--dest", corpus, *of_manifest),
        preprocess("tokenizer", corpus / "train.bert.npz", "--corpus", corpus, "--tokenizer", encoder, "--tag", "bert"),
        Command("language", [*host_command("fairseq-hydra-train"), *place, *on_cpu, *fixed, *settings], checkpoint),
        Command("export", [*words, "--overwrite"], dest / AFTER),
    ]


def mine_negatives(dest: Path, manifest: Path, encoders: dict[str, str]) -> None:
    """Negatives of the training split by each encoder, in a folder of their own: the manifest directory keeps its own."""
    steps = []
    for stage, encoder in encoders.items():
        folder = dest / "negatives" / stage
        folder.mkdir(parents=True, exist_ok=True)
        for name in (REPORTS_FILE, "train.tsv", "train.meta.parquet"):
            shutil.copyfile(manifest / name, folder / name)
        words = ["--manifest", folder, "--embedder", encoder, "--strategy", "farthest", "--device", "cpu"]
        command = [sys.executable, str(REPOSITORY / "preprocess" / "n3s.py"), *map(str, words)]
        steps.append(Command(f"n3s-{stage}", command, folder / "train.n3s.json"))
    run_commands(steps, dest)


def measure(dest: Path, manifest: Path, encoders: dict[str, str]) -> dict[str, dict[str, float]]:
    """Encoder → metric → value; word statistics predict no words."""
    reports = read_reports(manifest)
    held_out = held_out_reports(manifest)
    texts = [reports.texts[int(report)].as_py() for report in held_out]
    labels = {split: labels_of_reports(manifest, split, len(reports)) for split in ("train", "test")}
    train = Manifest.open(manifest, "train").report_ids()
    counts = np.bincount(train[train >= 0], minlength=len(reports))
    own = labels["test"][held_out]
    found = {}
    for stage, encoder in encoders.items():
        neighbour = nearest(load_embedder(encoder, "cpu")(texts))
        found[stage] = {
            **({} if encoder == TFIDF else masked_words(encoder, texts)),
            "labels_of_nearest": float(in_common(own, own[neighbour]).mean()),
            **negatives(dest / "negatives" / stage, labels["train"], counts),
        }
    pairs, n = in_common(own[:, None, :], own[None, :, :]), len(own)
    chance = float((pairs.sum() - np.trace(pairs)) / (n * (n - 1)))
    found["random pairs"] = {"labels_of_nearest": chance, "held_out_reports": n}
    return found


def table_of(found: dict[str, dict[str, float]]) -> str:
    """The metrics as Markdown."""
    rows = {
        "perplexity of masked words": ("perplexity", 1),
        "masked words predicted rightly, %": ("accuracy", 100),
        "labels in common with the nearest report, %": ("labels_of_nearest", 100),
        "negatives: labels in common with the report, %": ("labels_in_common", 100),
        "negatives: exactly the same labels, %": ("same_labels", 100),
        "negatives: cosine distance from the report": ("mean_distance", 1),
        "random reports: that distance": ("random_mean_distance", 1),
        "negatives: AUC of telling them by the text alone": ("text_only_auc", 1),
    }
    lines = []
    for name, (key, factor) in rows.items():
        values = [one.get(key) for one in found.values()]
        lines.append(
            [name, *(DASH if value is None else f"{factor * value:.{1 if factor == 100 else 3}f}" for value in values)]
        )
    return markdown(["metric", *found], lines)


def neighbours(reports: Reports, counts: np.ndarray, encoders: dict[str, str]) -> str:
    """The nearest other statement of some frequent ones, as Markdown."""
    weights: dict[str, int] = {}
    for report in np.flatnonzero(counts):
        for statement in reports.statements[int(report)].as_py():
            weights[statement] = weights.get(statement, 0) + int(counts[report])
    texts = sorted(weights, key=lambda text: (-weights[text], text))
    step = max(1, len(texts) // (4 * EXAMPLES))
    shown = range(0, step * EXAMPLES, step)
    columns = [nearest(load_embedder(encoder, "cpu")(texts)) for encoder in encoders.values()]
    rows = [[texts[place], *(texts[int(column[place])] for column in columns)] for place in shown]
    return markdown(["statement", *(f"nearest, {stage}" for stage in encoders)], rows)


def compare_systems(arguments: argparse.Namespace, encoders: dict[str, str]) -> str:
    """Systems pre-trained with each encoder, as the tables of examples/ablation/systems.py."""
    tables = []
    for stage, encoder in encoders.items():
        words = ["--dest", arguments.dest / "systems" / stage, "--manifest", arguments.manifest, "--seeds", arguments.seeds]
        words += ["--systems", *arguments.systems, *([] if arguments.updates is None else ["--updates", arguments.updates])]
        systems.main([*map(str, words), "--settings", f"model.text_encoder={encoder}"])
        table = (arguments.dest / "systems" / stage / "table.md").read_text(encoding="utf-8")
        tables.append(f"### Systems, text encoder {stage} the language stage\n\n{table}")
    return "\n".join(tables)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    arguments = parser().parse_args(argv)
    arguments.dest = arguments.dest.resolve()
    if arguments.manifest is None:
        arguments.manifest = arguments.dest / "manifest"
        run_commands(cohort(arguments, "--family", "bert"), arguments.dest)
    arguments.manifest = arguments.manifest.resolve()
    for name in (REPORTS_FILE, LABELS_FILE, "tokenizer"):
        if not (arguments.manifest / name).exists():
            raise DataError(f"{arguments.manifest}: no {name}; encoders are compared on labelled reports, with their tokenizer")
    run_commands(language_stage(arguments.dest, arguments.manifest, arguments.language), arguments.dest)
    encoders = {BEFORE: str(arguments.manifest / "tokenizer"), AFTER: str(arguments.dest / AFTER)}
    compared = {**encoders, TFIDF: TFIDF}
    mine_negatives(arguments.dest, arguments.manifest, compared)
    found: dict[str, Any] = measure(arguments.dest, arguments.manifest, compared)
    write_json(arguments.dest / "measures.json", found)
    reports = read_reports(arguments.manifest)
    test = Manifest.open(arguments.manifest, "test").report_ids()
    parts = [table_of(found), neighbours(reports, np.bincount(test[test >= 0], minlength=len(reports)), compared)]
    if arguments.systems:
        parts.append(compare_systems(arguments, encoders))
    text = "\n".join(parts)
    (arguments.dest / "table.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
