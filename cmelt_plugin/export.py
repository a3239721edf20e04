"""A trained model as a folder for others: ``python -m cmelt_plugin.export``.

Writes model.safetensors, config.json, the tokenizer and a model card (README.md). The folder opens with
``cmelt_plugin.load_pretrained`` and can be uploaded to a model hub as it is. Nothing is uploaded here. A language model
(docs/language.md) becomes a folder of Hugging Face's, which ``model.text_encoder=`` of every system takes.

--format onnx and --format torchscript write the ECG side as one graph instead, for programs without this package, with what its
input must be beside it (docs/deployment.md); --format hf writes a folder with code of its own, for transformers' AutoModel.
--prompts bakes classes in, which are then scored.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import logging
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable

from cmelt_plugin import registry
from cmelt_plugin.data.files import atomic_path, read_object
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.options import add_options
from cmelt_plugin.option_types import command_parser

EPILOG = """examples:
  python -m cmelt_plugin.export --checkpoint checkpoints/base/checkpoint_best.pt --manifest manifests/mimic-iv-ecg --dest base
  python -m cmelt_plugin.export --released sample.pt --lead-order mimic-iv-ecg --tokenizer google/flan-t5-base --dest dbeta
"""
CARD_FILE = "README.md"
PRECISIONS = ("float32", "float16")
FOLDER, HF, GRAPHS = "folder", "hf", ("onnx", "torchscript")
HEAD_SETTINGS = ("encoder", "pool")  # that cards of classifiers list beside the encoder's


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = command_parser("cmelt_plugin.export", __doc__, EPILOG)
    source = result.add_mutually_exclusive_group(required=True)
    source.add_argument("--checkpoint", type=Path, help="checkpoint of a training run, or an exported folder")
    source.add_argument("--released", type=Path, metavar="WEIGHTS", help="weights that a system's authors published")
    result.add_argument("--dest", type=Path, required=True, help="folder to write")
    result.add_argument("--tokenizer", help="folder or name, where the model's own is not found")
    result.add_argument("--lead-order", help="with --released: leads of its training, standard or mimic-iv-ecg")
    add_options(result, ["score"])
    result.add_argument("--manifest", type=Path, help="manifest directory it was trained on, for the model card")
    result.add_argument("--results", type=Path, nargs="+", metavar="DIR", help="results of evaluations, for the model card")
    result.add_argument("--name", help="title of the model card (the folder's name)")
    result.add_argument("--about", type=Path, metavar="FILE", help="Markdown that stands first in the model card")
    result.add_argument("--data-set", metavar="TEXT", help="with --manifest: name of the data in the card (the manifest's)")
    result.add_argument(
        "--licence", default="other", help="licence of the weights as hubs abbreviate it, e.g. cc-by-4.0 (other)"
    )
    result.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="float16: round matrices of weights, half the size (as they are in the checkpoint)",
    )
    result.add_argument(
        "--format",
        choices=(FOLDER, HF, *GRAPHS),
        default=FOLDER,
        help=f"what to write ({FOLDER}: one that load_pretrained opens)",
    )
    result.add_argument("--prompts", metavar="SET|FILE", help="of graphs and hf: class texts, whose scores they give (none)")
    result.add_argument("--int8", action="store_true", help="with --format onnx: also with weights of 8 bits")
    result.add_argument("--overwrite", action="store_true", help="replace a model exported there before")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    arguments = parser().parse_args(argv)
    # Before the host is imported, which would otherwise print every library's messages.
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    import torch

    from cmelt_plugin.models.files.exported import without_paths, write_folder
    from cmelt_plugin.models.files.released import is_released, leads_of_training
    from cmelt_plugin.models.inference.pretrained import load_pretrained

    if arguments.format in GRAPHS:
        return _write_graph(arguments)
    if arguments.int8 or (arguments.prompts is not None and arguments.format != HF):
        raise DataError("--prompts is for --format hf, onnx or torchscript, --int8 for onnx")
    if arguments.format == HF:
        return _write_automodel(arguments)
    exporter = None if arguments.checkpoint is None else _own_exporter(arguments.checkpoint)
    if exporter is not None:
        if arguments.precision is not None:
            raise DataError("--precision: a folder of Hugging Face's keeps the precision of its checkpoint; leave it out")
        options = ("checkpoint", "dest", "tokenizer", "name", "licence", "overwrite")
        exporter(**{name: getattr(arguments, name) for name in options})
        return 0
    source = arguments.checkpoint or arguments.released
    released = is_released(source)
    if released != (arguments.released is not None):
        raise DataError(f"{source}: {'published weights; give them' if released else 'not published weights; give it'} with "
                        f"{'--released' if released else '--checkpoint'}")  # fmt: skip
    _check_destination(arguments.dest, arguments.overwrite)
    about = "" if arguments.about is None else _text(arguments.about)
    model = load_pretrained(source, arguments.tokenizer, lead_order=arguments.lead_order, score=arguments.score)
    if released and model.cfg["model"]["_name"] not in registry.systems():
        raise DataError(f"{source}: the encoder of others, which is opened as it was published; only graphs are made of it")
    arguments.dest.mkdir(parents=True, exist_ok=True)
    # Without it the folder is no exported model; it is written last.
    (arguments.dest / "config.json").unlink(missing_ok=True)
    has_tokenizer = _export_tokenizer(model, arguments)
    card = _card(model, arguments, released, has_tokenizer, about)
    with atomic_path(arguments.dest / CARD_FILE) as temporary:
        temporary.write_text(card, encoding="utf-8")
    cfg = {name: without_paths(model.cfg[name]) for name in ("model", "task") if isinstance(model.cfg.get(name), dict)}
    cfg["model"].update(dict.fromkeys(_of_training_alone(cfg["model"])))
    extra: dict[str, Any] = {"class_names": model.class_names, "leads": list(model.leads)}
    if released:
        extra["leads_of_training"] = list(leads_of_training(source, arguments.lead_order))
    precision = None if arguments.precision is None else getattr(torch, arguments.precision)
    write_folder(arguments.dest, model.model, cfg, model.task_state, extra, precision)
    _export_calibrations(source, arguments.dest, model.model, precision is not None)
    size = sum(file.stat().st_size for file in arguments.dest.rglob("*") if file.is_file())
    print(f"{arguments.dest}: {_parameters(model.model):,} parameters, {size / 1e6:,.1f} MB")
    return 0


def _write_graph(arguments: argparse.Namespace) -> int:
    from cmelt_plugin.models.inference.portable import FILES, write_graph
    from cmelt_plugin.models.inference.pretrained import load_pretrained
    from cmelt_plugin.prompts import load_prompts

    file = arguments.dest / FILES[arguments.format]
    if file.exists() and not arguments.overwrite:
        raise DataError(f"{file}: is there already; --overwrite replaces it")
    source = arguments.checkpoint or arguments.released
    model = load_pretrained(source, arguments.tokenizer, lead_order=arguments.lead_order, score=arguments.score)
    prompts = None if arguments.prompts is None else load_prompts(arguments.prompts)
    written = write_graph(arguments.dest, model, arguments.format, prompts, arguments.int8)
    _leave_calibrations(source, "graphs")
    for file in written.files:
        print(f"{file}: {file.stat().st_size / 1e6:,.1f} MB")
    compared = "not compared, onnxruntime is not installed" if written.difference is None else f"{written.difference:.1g}"
    print(f"largest difference from the model's own outputs: {compared}")
    return 0


def _write_automodel(arguments: argparse.Namespace) -> int:
    from cmelt_plugin.automodel.folder import is_automodel, write_automodel
    from cmelt_plugin.models.inference.pretrained import load_pretrained
    from cmelt_plugin.prompts import load_prompts

    dest = arguments.dest
    if dest.is_dir() and any(dest.iterdir()):
        if not is_automodel(dest):
            raise DataError(f"{dest}: holds something that is no folder of --format hf; choose another --dest")
        if not arguments.overwrite:
            raise DataError(f"{dest}: holds an exported model; --overwrite replaces it")
    source = arguments.checkpoint or arguments.released
    model = load_pretrained(source, arguments.tokenizer, lead_order=arguments.lead_order, score=arguments.score)
    prompts = None if arguments.prompts is None else load_prompts(arguments.prompts)
    files = write_automodel(dest, model, prompts, arguments.name, arguments.licence)
    _leave_calibrations(source, "folders for transformers")
    size = sum(file.stat().st_size for file in files)
    print(f"{dest}: {len(files)} files, {size / 1e6:,.1f} MB")
    return 0


def _own_exporter(path: Path) -> Callable[..., Any] | None:
    """What exports the model of a checkpoint whose folder is another one than that of models of ECGs; None for all others."""
    from cmelt_plugin.models.building import own_settings
    from cmelt_plugin.serialization.checkpoint_files import open_state

    try:
        settings = own_settings(open_state(path).tree) if path.is_file() else None
    except DataError:
        settings = None  # no checkpoint of a host
    exporter = None if settings is None else registry.models()[settings["_name"]].exporter
    return None if exporter is None else registry.imported(exporter)


def _of_training_alone(settings: dict[str, Any]) -> list[str]:
    """Settings of a model that say where its training began, and nothing of what it is."""
    config = registry.models()[settings["_name"]].config_class()
    return [name for name in getattr(config, "initial_weights", ()) if name in settings]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: no text in UTF-8 ({error}); --about takes the path of a Markdown file") from None


def _check_destination(dest: Path, overwrite: bool) -> None:
    from cmelt_plugin.models.files.exported import is_exported

    if dest.is_dir() and any(dest.iterdir()):
        if not is_exported(dest):
            raise DataError(f"{dest}: holds something that is not an exported model; choose another --dest")
        if not overwrite:
            raise DataError(f"{dest}: holds an exported model; --overwrite replaces it")
    elif dest.exists() and not dest.is_dir():
        raise DataError(f"{dest}: is a file; --dest names a folder")


def _export_tokenizer(model: Any, arguments: argparse.Namespace) -> bool:
    """Put the tokenizer into the folder; False where the model has none or it cannot be found."""
    from cmelt_plugin.models.files.exported import TOKENIZER_FOLDER
    from cmelt_plugin.models.files.tokenizer_folder import copy_tokenizer

    if not model.reads_text:
        return False
    try:
        tokenizer = model.tokenizer
    except DataError as error:
        if arguments.tokenizer is not None:
            raise
        print(f"no tokenizer is exported: {error}", file=sys.stderr)
        return False
    dest = arguments.dest / TOKENIZER_FOLDER
    with tempfile.TemporaryDirectory(prefix=f".{TOKENIZER_FOLDER}.", dir=arguments.dest) as temporary:
        whole = Path(temporary) / TOKENIZER_FOLDER
        whole.mkdir()
        copy_tokenizer(tokenizer, Path(model.tokenizer_source or model.cfg["model"]["text_encoder"]), whole)
        shutil.rmtree(dest, ignore_errors=True)
        shutil.copytree(whole, dest)
    return True


def _leave_calibrations(source: Path, what: str) -> None:
    """Say which calibrations of a model are not in what is written."""
    from cmelt_plugin.models.inference.calibration import calibration_folders, calibration_root

    left = [folder.name for folder in calibration_folders(calibration_root(source))]
    if left:
        print(f"calibrations left behind, as {what} give scores alone: {', '.join(left)}", file=sys.stderr)


def _export_calibrations(source: Path, dest: Path, model: Any, rounded: bool) -> None:
    """Let the folder carry what was calibrated of these very weights."""
    from cmelt_plugin.models.files.weights_fingerprint import weights_fingerprint
    from cmelt_plugin.models.inference.calibration import calibration_root, copy_calibrations

    copied, left = copy_calibrations(
        calibration_root(source), calibration_root(dest), "rounded" if rounded else weights_fingerprint(model)
    )
    if copied:
        print(f"calibrations: {', '.join(copied)}")
    if left:
        why = "rounded weights score otherwise" if rounded else "they are of other weights"
        print(f"calibrations left behind, as {why}: {', '.join(left)}; calibrate the folder itself", file=sys.stderr)


def _card(model: Any, arguments: argparse.Namespace, released: bool, has_tokenizer: bool, about: str) -> str:
    from cmelt_plugin.models.files.card import CardFacts, render_card
    from cmelt_plugin.models.files.exported import chosen_score, without_paths
    from cmelt_plugin.models.files.run_facts import run_facts, training_metrics
    from cmelt_plugin.serialization.checkpoint_files import load_checkpoint

    settings = {**model.cfg["model"], **chosen_score(model.model)}
    own = registry.systems().get(settings["_name"])
    whole = own is not None
    system = (own or registry.system_of_encoder(settings.get("encoder"))).system_card()
    shown = [*system.settings, *(() if whole else HEAD_SETTINGS)]
    state: dict[str, Any] = {}
    if arguments.checkpoint is not None and arguments.checkpoint.is_file():
        state = load_checkpoint(arguments.checkpoint, ("cfg", "extra_state", "optimizer_history"))
    facts = CardFacts(
        name=arguments.name or arguments.dest.resolve().name,
        licence=arguments.licence,
        system=system,
        whole=whole,
        parameters={name: _parameters(part) for name, part in model.model.named_children() if _parameters(part)},
        sizes={name: settings[name] for name in shown if settings.get(name) is not None},
        leads=model.leads,
        classes=model.class_names,
        thresholds=model.thresholds,
        measurement=model.measurement,
        text_encoder="" if not model.reads_text else str(without_paths(settings).get("text_encoder") or ""),
        tokenizer=has_tokenizer,
        training=run_facts(state),
        metrics=training_metrics(state),
        data=None if arguments.manifest is None else _data(arguments.manifest, arguments.data_set),
        subjects={} if arguments.manifest is None else _subjects(arguments.manifest),
        results=[] if arguments.results is None else _results(arguments.results),
        released=released,
        about=about,
    )
    return render_card(facts)


def _data(directory: Path, name: str | None) -> dict[str, Any]:
    data = read_object(directory / "manifest.json")
    return data if name is None else {**data, "data_set": name}


def _subjects(directory: Path) -> dict[str, int]:
    from cmelt_plugin.data.directory.manifest import Manifest, available_splits

    counts = {}
    for split in available_splits(directory):
        ids = Manifest.open(directory, split).meta(["subject_id"])["subject_id"].to_pylist()
        counts[split] = len({subject for subject in ids if subject})
    return counts


def _results(folders: Sequence[Path]) -> Sequence[Sequence[str]]:
    from cmelt_plugin.evaluation.result_files import read_results

    rows: list[tuple[str, ...]] = []
    for stored in read_results(folders):
        result = stored.result
        metrics = []
        for name, value in result.metrics.items():
            interval = result.intervals.get(name)
            metrics.append(f"{name} {value:.4f}" + (f" ({interval[0]:.4f}–{interval[1]:.4f})" if interval else ""))
        rows.append((result.kind, result.data_set, result.split, f"{result.n_records:,}", ", ".join(metrics)))
    return rows


def _parameters(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


if __name__ == "__main__":
    sys.exit(run(main))
