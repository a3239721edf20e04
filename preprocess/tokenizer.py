"""Token ids of a manifest directory's reports and class texts, with any Hugging Face tokenizer or one trained here.

Writes ``reports.TAG.npz`` where there are reports and ``prompts.TAG.npz`` where there is a ``prompts.json``. Training and
validation read these and need no tokenizer. With ``--train-vocab`` a T5 or BERT tokenizer is trained on the reports first and
saved with an encoder of random weights, for sites without access to pre-trained ones. With ``--corpus`` the ids are those of
a corpus of preprocess/text_corpus.py: ``train.TAG.npz`` and ``valid.TAG.npz``.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import glob
import secrets
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from cmelt_plugin import option_types
from cmelt_plugin.data.directory.class_labels import read_class_names
from cmelt_plugin.data.directory.own_files import LABELS_FILE
from cmelt_plugin.data.directory.replacing import LOCK_SECONDS, directory_lock, list_again
from cmelt_plugin.data.files import fingerprint, read_object, write_json
from cmelt_plugin.data.text.report_fingerprints import known_fingerprints
from cmelt_plugin.data.text.reports import REPORTS_FILE, normalise_report, read_reports
from cmelt_plugin.data.text.statement_spans import StatementTable
from cmelt_plugin.data.text.tokenizer import encode, encode_statements
from cmelt_plugin.data.text.tokens import FORMAT, TokenTable
from cmelt_plugin.errors import DataError
from preprocess.corpus.token_ids import tokenise_corpus
from preprocess.text.families import ENCODERS, FAMILIES, FILES
from preprocess.text.hf_tokenizer import load_tokenizer, mask_id, short_name, special_ids, tokenizer_fingerprint

BATCH = 2048
TRAINING_FILE = "training.json"
EXAMPLE = """example:
  python preprocess/tokenizer.py --manifest manifests/mimic-iv-ecg --tokenizer google/flan-t5-base
  python preprocess/tokenizer.py --manifest manifests/ptb-xl --train-vocab 4000 --encoder small
  python preprocess/tokenizer.py --corpus corpora/heart --tokenizer ncbi/MedCPT-Query-Encoder
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    place = result.add_mutually_exclusive_group(required=True)
    place.add_argument("--manifest", type=Path, help="manifest directory")
    place.add_argument("--corpus", type=Path, help="corpus folder")
    source = result.add_mutually_exclusive_group(required=True)
    source.add_argument("--tokenizer", help="folder or name for AutoTokenizer.from_pretrained")
    source.add_argument(
        "--train-vocab", type=option_types.count, metavar="N", help="train a tokenizer of up to N pieces instead"
    )
    result.add_argument("--family", choices=FAMILIES, default="t5", help="kind of that tokenizer and of its encoder (t5)")
    result.add_argument("--encoder", choices=ENCODERS, default="base", help="size of the encoder (base)")
    result.add_argument("--dest", type=Path, help="folder for both (MANIFEST/tokenizer)")
    result.add_argument("--seed", type=option_types.seed, default=1, help="of the encoder's weights (1)")
    result.add_argument("--max-tokens", type=option_types.count, default=256, help="longer texts are cut (256)")
    result.add_argument("--tag", help="names the files written (last part of the tokenizer's folder or name)")
    result.add_argument("--overwrite", action="store_true", help="replace what other settings or reports have left")
    return result


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    arguments = parser().parse_args(argv)
    if arguments.max_tokens < 3:
        raise DataError(f"--max-tokens {arguments.max_tokens}: at least 3 are needed")
    if arguments.corpus is not None:
        return _tokenise_corpus(arguments)
    prompts_path = arguments.manifest / "prompts.json"
    # Labelled test sets often have no reports: then class texts are all there is to do.
    without_reports = prompts_path.is_file() and not (arguments.manifest / REPORTS_FILE).is_file()
    reports = None if without_reports else read_reports(arguments.manifest)
    if not reports and not prompts_path.is_file():
        raise DataError(
            f"{arguments.manifest}: neither reports ({REPORTS_FILE} is empty) nor class texts ({prompts_path.name})"
        )
    if not reports and arguments.train_vocab is not None:
        raise DataError(f"{arguments.manifest}: no reports to train a tokenizer on; give the model's own with --tokenizer")
    name = arguments.tokenizer
    if arguments.train_vocab is not None:
        name = str(_train(arguments, reports))
    tag = short_name(arguments.tag or name)
    tokenizer = load_tokenizer(name)
    info = {"format": FORMAT, **describe(tokenizer, name), "max_tokens": arguments.max_tokens}
    print(f"tokenizer {info['tokenizer']}: {info['vocab_size']} ids, padding {info['pad_id']}, mask {info['mask_id']}")

    if reports:
        statements = reports.statements.to_pylist() if tokenizer.is_fast else None
        source = {"source_fingerprint": reports.fingerprint}
        if statements is None:
            print(f"tokenizer {info['tokenizer']}: does not say which characters a token stands for; no places of statements")
        else:
            source["statements_fingerprint"] = reports.statements_fingerprint
        known = known_fingerprints(reports.path)
        _write(arguments, f"reports.{tag}.npz", tokenizer, {**info, **source}, reports.texts.to_pylist(), known, statements)
    else:
        print(f"{arguments.manifest}: no reports")
    if prompts_path.is_file():
        names = read_class_names(arguments.manifest)
        prompts, class_index = _read_prompts(prompts_path, names)
        known = (fingerprint(prompts_path),)
        described = {**info, "source_fingerprint": known[0], "class_names": names}
        _write(arguments, f"prompts.{tag}.npz", tokenizer, described, prompts, known, class_index=class_index)
    return 0


def _tokenise_corpus(arguments: argparse.Namespace) -> int:
    name = arguments.tokenizer
    if name is None:
        raise DataError("--corpus needs --tokenizer: that of the model whose training goes on, or one trained on reports")
    tokenizer = load_tokenizer(name)
    tokenise_corpus(
        arguments.corpus, short_name(arguments.tag or name), tokenizer, describe(tokenizer, name), arguments.overwrite
    )
    return 0


def describe(tokenizer: Any, name: str) -> dict[str, Any]:
    """What token files say of the tokenizer that made them.

    Raises:
        DataError: it has no padding token, or none for masked words.
    """
    if tokenizer.pad_token_id is None:
        raise DataError(f"tokenizer {name}: no padding token; set one and save it with save_pretrained")
    return {
        "tokenizer": Path(name).name if Path(name).is_dir() else name,
        "fingerprint": tokenizer_fingerprint(tokenizer),
        "vocab_size": max(len(tokenizer), max(tokenizer.get_vocab().values()) + 1),
        "pad_id": int(tokenizer.pad_token_id),
        "mask_id": mask_id(tokenizer),
        "special_ids": special_ids(tokenizer),
    }


def _write(
    arguments: argparse.Namespace,
    file_name: str,
    tokenizer: Any,
    info: dict[str, Any],
    texts: list[str],
    known: Sequence[str],
    statements: list[list[str]] | None = None,
    class_index: np.ndarray | None = None,
) -> None:
    """Write one token table unless a matching one is there, and print what it holds.

    Args:
        arguments: the command's.
        file_name: of the table.
        tokenizer: fast, where ``statements`` are given.
        info: description of the table.
        texts: what to encode.
        known: fingerprints by which a table that is there may name these texts.
        statements: of each text.
        class_index: class of each text.
    """
    path = arguments.manifest / file_name
    if path.exists() and not arguments.overwrite:
        found = TokenTable.load(path).info
        if not _is_of_same_texts(found, info, known):
            raise DataError(f"{path}: made with another tokenizer, other texts or settings; --overwrite replaces it")
        if found.get("statements_fingerprint") == info.get("statements_fingerprint"):
            list_again(arguments.manifest, [file_name])
            print(f"{path}: up to date")
            return
        print(f"{path}: made again, for the statements of the reports; the ids stay")
    rows: list[np.ndarray] = []
    spans: list[np.ndarray] = []
    n_cut = 0
    for start in tqdm(range(0, len(texts), BATCH), desc=file_name, unit="batch", disable=len(texts) <= BATCH):
        batch = slice(start, start + BATCH)
        if statements is None:
            ids, cut = encode(tokenizer, texts[batch], info["max_tokens"])
        else:
            ids, found_spans, cut = encode_statements(tokenizer, statements[batch], info["max_tokens"])
            spans += found_spans
        rows += [np.asarray(row, dtype=np.int32) for row in ids]
        n_cut += cut
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    flat = np.concatenate([np.empty(0, dtype=np.int32), *rows])
    places = None if statements is None else StatementTable.of_rows(spans)
    TokenTable(flat, np.concatenate([[0], np.cumsum(lengths)]), info, class_index, places).save(path)
    ordinary = flat[~np.isin(flat, [index for index in info["special_ids"] if index != tokenizer.unk_token_id])]
    unknown = float(np.mean(ordinary == tokenizer.unk_token_id)) if len(ordinary) else 0.0
    print(
        f"{path}: {len(texts)} texts, {lengths.mean() if len(lengths) else 0:.1f} tokens on average, "
        f"{lengths.max() if len(lengths) else 0} at most, {n_cut} cut at {info['max_tokens']}, {unknown:.3%} unknown tokens"
        + ("" if places is None else f", {len(places.spans)} statements")
    )


def _is_of_same_texts(found: dict[str, Any], info: dict[str, Any], known: Sequence[str]) -> bool:
    """Whether a table has the ids that would be written: all is the same but the format, and how it names the texts."""
    skipped = {"format", "source_fingerprint", "statements_fingerprint"}
    if "class_names" not in found:  # tables made before they kept them
        skipped.add("class_names")
    same = all(found.get(key) == info.get(key) for key in {*found, *info} - skipped)
    return same and found["source_fingerprint"] in known


def _read_prompts(prompts_path: Path, names: list[str]) -> tuple[list[str], np.ndarray]:
    """Class texts, normalised as reports are, and the class of each as an index into the names of ``labels.json``."""
    prompts = read_object(prompts_path)
    if set(prompts) != set(names):
        odd = sorted(set(prompts).symmetric_difference(names))
        raise DataError(f"{prompts_path}: classes differ from {LABELS_FILE} in {', '.join(odd[:5])}")
    texts, class_index = [], []
    for index, name in enumerate(names):
        found = prompts[name]
        if not isinstance(found, list) or not found or not all(isinstance(text, str) for text in found):
            raise DataError(f"{prompts_path}: class {name!r} needs a list of at least one text")
        texts += [normalise_report(text) for text in prompts[name]]
        class_index += [index] * len(prompts[name])
    return texts, np.array(class_index, dtype=np.int32)


def _train(arguments: argparse.Namespace, reports: Any) -> Path:
    """Train and save tokenizer and encoder unless the folder holds them already; return the folder."""
    dest, family = arguments.dest or arguments.manifest / "tokenizer", FAMILIES[arguments.family]
    plan = {
        "train_vocab": arguments.train_vocab,
        "encoder": arguments.encoder,
        "seed": arguments.seed,
        "reports_fingerprint": reports.fingerprint,
        **({} if arguments.family == "t5" else {"family": arguments.family}),  # folders of before there were several say none
    }
    if not _is_empty(dest) and not arguments.overwrite:
        trained = read_object(dest / TRAINING_FILE) if (dest / TRAINING_FILE).is_file() else {}
        if trained.get("reports_fingerprint") in known_fingerprints(reports.path):  # by whichever it names them
            trained["reports_fingerprint"] = plan["reports_fingerprint"]
        if any(trained.get(key) != plan.get(key) for key in {*plan, "family"}):
            raise DataError(f"{dest}: holds something else; use it with --tokenizer, or replace it with --overwrite")
        print(f"{dest}: up to date")
        return dest
    if dest.resolve() == arguments.manifest.resolve():
        raise DataError(f"--dest {dest}: is the manifest directory; choose a folder of its own")
    foreign = [name for name in FILES if (dest / name).exists()] if not (dest / TRAINING_FILE).is_file() else []
    if foreign:
        raise DataError(f"{dest}: holds {foreign[0]}, which this command did not write; delete it, or choose another --dest")
    model = family.train(reports.texts.to_pylist(), arguments.train_vocab)
    with directory_lock(dest.parent, LOCK_SECONDS):
        _remove_leftovers(dest)
        temporary = dest.with_name(f".{dest.name}.{secrets.token_hex(4)}")
        temporary.mkdir()
        try:
            vocab_size = family.write_tokenizer(temporary, model)
            parameters = family.write_encoder(temporary, arguments.encoder, vocab_size, arguments.seed)
            written = {**plan, "vocab_size": vocab_size, "parameters": parameters}
            if _is_empty(dest) and not dest.is_symlink():
                write_json(temporary / TRAINING_FILE, written)
                temporary.replace(dest)  # whole, or not there at all, wherever the run is killed
            else:
                write_json(dest / TRAINING_FILE, {"unfinished": plan})  # whose files these are, should the run be killed now
                for file in temporary.iterdir():
                    file.replace(dest / file.name)
                for name in set(FILES) - set(family.files):  # of a tokenizer of another family that was here
                    (dest / name).unlink(missing_ok=True)
                # Last, so that a folder left half written by a killed run is not taken for a finished one.
                write_json(dest / TRAINING_FILE, written)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    print(f"{dest}: {vocab_size} ids ({arguments.train_vocab} pieces asked for{family.added})")
    print(f"{dest}: {arguments.encoder} {family.name} encoder with random weights, {parameters:,} parameters")
    return dest


def _is_empty(folder: Path) -> bool:
    return not folder.exists() or not any(folder.iterdir())


def _remove_leftovers(dest: Path) -> None:
    """Delete what killed runs for the same ``dest`` left; nobody else is at it while we hold the lock."""
    marks = f".{Path(TRAINING_FILE).stem}.????????.tmp.json"
    for folder in dest.parent.glob(f".{glob.escape(dest.name)}.????????"):
        unfinished = [*folder.glob(marks), *folder.glob(".tmp??????")]  # the second is safetensors' own
        own = {*FILES, TRAINING_FILE, *(path.name for path in unfinished)}
        if folder.is_dir() and not folder.is_symlink() and all(path.name in own for path in folder.iterdir()):
            shutil.rmtree(folder)
    for mark in dest.glob(marks):
        mark.unlink()


if __name__ == "__main__":
    sys.exit(run(main))
