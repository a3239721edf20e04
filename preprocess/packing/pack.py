"""From a table of records to a manifest directory: the part that is the same for every data set.

A data set's command builds the table (:mod:`preprocess.data_sets.source`) and calls :func:`pack`, which checks, packs, splits
and writes everything described in ``manifests/README.md``, and can be killed and run again at any moment.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Callable

import pyarrow as pa

from cmelt_plugin import option_types
from cmelt_plugin.data.directory.replacing import directory_lock
from cmelt_plugin.data.directory.split_meta import OPTIONAL_SCHEMA
from cmelt_plugin.data.files import atomic_path, read_json
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.readers.contract import Recording, with_reading
from cmelt_plugin.data.readers.wfdb_records import read_wfdb
from cmelt_plugin.data.store.record_store import N_SAMPLES, ROW_BYTES, SAMPLE_RATE, RecordStore
from cmelt_plugin.errors import DataError
from preprocess.packing.blocks import WORK_FOLDER, Block, pack_blocks
from preprocess.packing.destination import claim, refuse_overlap
from preprocess.packing.duplicates import Earlier, find_earlier
from preprocess.packing.engines import add_engine_arguments, engine_from
from preprocess.packing.finish import MANIFEST_FILE, REJECTED_FILE, finish, print_summary
from preprocess.packing.missing_leads import lead_notes
from preprocess.packing.options import PackingOptions
from preprocess.packing.recording import KEEP, LIST, REJECT, SignalOptions
from preprocess.packing.records import RECORDS_SCHEMA, SOURCE_COLUMN
from preprocess.packing.splits import DEFAULT_FRACTIONS
from preprocess.packing.statements import update_statements
from preprocess.packing.swap import remove_products, remove_work, swap_in

SECONDS = N_SAMPLES / SAMPLE_RATE  # of a packed recording
_NOT_IN_PLAN = ("jobs", "backend", "scheduler", "overwrite")  # what has no influence on the files


def add_arguments(parser: argparse.ArgumentParser, splits: bool = True) -> None:
    """Add the options every packing command has; ``splits`` for data sets that come without splits of their own."""
    parser.add_argument("--root", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--dest", type=Path, required=True, help="manifest directory to write")
    parser.add_argument("--jobs", type=option_types.count, default=os.cpu_count() or 1, help="processes (default: all cores)")
    add_engine_arguments(parser)
    parser.add_argument("--limit", type=option_types.count, help="only the first LIMIT records")
    parser.add_argument(
        "--rows-per-shard", type=option_types.count, default=4096, help="input records per shard (default 4096)"
    )
    parser.add_argument(
        "--min-seconds", type=option_types.non_negative_number, default=5.0, help="reject shorter recordings (default 5)"
    )
    parser.add_argument(
        "--allow-flat-leads", type=option_types.natural, default=0, help="constant leads tolerated (default 0; 11 with labels)"
    )
    parser.add_argument(
        "--implausible",
        choices=(KEEP, REJECT, LIST),
        default=LIST,
        help="recordings with doubtful amplitude, clipping, limb leads or hum: keep and count them, keep them and list them in "
        "implausible.tsv (default), or reject them",
    )
    parser.add_argument("--allow-no-report", action="store_true", help="keep records without report text")
    parser.add_argument("--accept-wrong-checksums", action="store_true", help="accept WFDB records that fail their checksums")
    parser.add_argument(
        "--standardise-leads",
        action="store_true",
        help="each lead with mean 0 and variance 1 in place of millivolts, as some data sets are published",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what --dest holds")
    if splits:
        add_split_arguments(parser, DEFAULT_FRACTIONS, "split by subject", "shares of subjects (default: %(default)s)")


def add_split_arguments(parser: argparse.ArgumentParser, shares: Sequence[float], seeded: str, help_: str) -> None:
    """Add ``--seed``, of what ``seeded`` says, and ``--split`` with the defaults ``shares``."""
    parser.add_argument("--seed", type=int, default=1, help=f"seed of the {seeded} (default 1)")
    parser.add_argument(
        "--split",
        type=option_types.non_negative_number,
        nargs=3,
        default=shares,
        metavar=("TRAIN", "VALID", "TEST"),
        help=help_,
    )


def options_from(args: argparse.Namespace) -> PackingOptions:
    """Options from parsed arguments.

    Raises:
        DataError: the shares of the splits are not a division of 1, a number is out of range, ``--scheduler`` does not fit
            ``--backend``, or the folders of the command overlap.
    """
    refuse_overlap(args)
    fractions = tuple(getattr(args, "split", DEFAULT_FRACTIONS))
    if not (min(fractions) >= 0 and abs(sum(fractions) - 1) <= 1e-6):
        raise DataError(f"--split {' '.join(map(str, fractions))}: the shares must not be negative and must add up to 1")
    if not 0 <= args.min_seconds <= SECONDS:
        raise DataError(f"--min-seconds {args.min_seconds:g}: must be between 0 and {SECONDS:g}")
    if not 0 <= args.allow_flat_leads <= len(LEADS):
        raise DataError(f"--allow-flat-leads {args.allow_flat_leads}: must be between 0 and {len(LEADS)}")
    engine = engine_from(args)
    return PackingOptions(
        jobs=engine.jobs,
        backend=engine.backend,
        scheduler=engine.scheduler,
        overwrite=args.overwrite,
        rows_per_shard=args.rows_per_shard,
        seed=getattr(args, "seed", 1),
        fractions=fractions,
        require_report=not args.allow_no_report,
        signal=SignalOptions(
            min_seconds=args.min_seconds,
            allow_flat_leads=args.allow_flat_leads,
            crop=getattr(args, "crop", SignalOptions.crop),
            missing_leads=getattr(args, "missing_leads", REJECT),
            implausible=args.implausible,
            accept_wrong_checksums=args.accept_wrong_checksums,
            standardise_leads=args.standardise_leads,
        ),
    )


def pack(
    records: pa.Table,
    root: Path,
    dest: Path,
    options: PackingOptions,
    *,
    data_set: str,
    command: str,
    notes: Sequence[str] = (),
    reader: Callable[[str], Recording] = read_wfdb,
    extend: Callable[[Path], None] = lambda folder: None,
) -> int:
    """Pack all records, write the manifest directory and print a summary; return the exit code.

    Until everything is done, an older content of ``dest`` stays as it is.

    Args:
        records: table of ``RECORDS_SCHEMA`` in the order of the source.
        root: folder the paths in ``records`` are relative to.
        dest: manifest directory, made where missing.
        options: what to accept and how to pack.
        data_set: name written to the meta files.
        command: the command that runs, for ``manifest.json``.
        notes: sentences about the data for ``manifest.json``.
        reader: picklable callable from a path to a :class:`~preprocess.packing.recording.Recording`: a top-level function, a
            partial of one, or an object whose ``repr`` names its settings.
        extend: adds files to the folder before it takes the place of ``dest``, or to ``dest`` when that was complete already.

    Raises:
        DataError: ``dest`` holds something else, is in use by another run, ``records`` is empty, or none can be used.
        OSError: ``dest`` cannot be written.
    """
    if len(records) == 0:
        raise DataError(f"{root}: no records listed")
    plan = {
        "data_set": data_set,
        "records": records_fingerprint(records),
        "reader": _reader_name(reader),
        **{key: value for key, value in asdict(options).items() if key not in _NOT_IN_PLAN},
    }
    plan["fractions"] = list(plan["fractions"])
    for name in ("missing_leads", "implausible", "accept_wrong_checksums", "standardise_leads"):
        if plan["signal"][name] == getattr(SignalOptions, name):  # directories made before the option existed stay valid
            del plan["signal"][name]
    work = dest / WORK_FOLDER
    with directory_lock(dest):
        if claim(dest, plan, options.overwrite):
            manifest = read_json(dest / MANIFEST_FILE)
            store = RecordStore(dest)
            store.check(range(len(store.files)))
            print_summary(dest, manifest)
            update_statements(dest, records)
            print(f"{dest} was complete already; nothing to do (--overwrite packs it again)")
            extend(dest)
            return 0
        blocks = _blocks(records, root, work, options, reader)
        _warn_about_space(dest, blocks)
        pack_blocks(blocks, options.engine, len(records))
        if options.signal.missing_leads != REJECT:
            notes = [*notes, *lead_notes(block.shard_path for block in blocks)]
        remove_products(work)
        manifest = finish(records, blocks, work, plan, options, command=command, notes=notes)
        if manifest["counts"]["out"] == 0:
            print_summary(dest, manifest)
            raise DataError(f"{dest}: no record could be used; {_keep_reasons(dest)} says why")
        extend(work)
        swap_in(dest)
    print_summary(dest, manifest)
    return 0


def _keep_reasons(dest: Path) -> Path:
    """Leave nothing of a packing that came to nothing but rejected.tsv, outside of a directory that is finished."""
    work = dest / WORK_FOLDER
    reasons = (work / REJECTED_FILE).read_bytes()
    remove_work(work)
    destination = (work if (dest / MANIFEST_FILE).exists() else dest) / REJECTED_FILE
    with atomic_path(destination) as temporary:
        temporary.write_bytes(reasons)
    return destination


def _reader_name(reader: Callable[[str], Recording]) -> str:
    """What identifies a reader and its settings from one run to the next."""
    if isinstance(reader, functools.partial):
        settings = [*map(repr, reader.args), *(f"{key}={value!r}" for key, value in sorted(reader.keywords.items()))]
        return f"{_reader_name(reader.func)}({', '.join(settings)})"
    return getattr(reader, "__name__", None) or repr(reader)


def records_fingerprint(records: pa.Table) -> str:
    """``sha256:`` and the digest of a table of records.

    Without the sources, which directories made before had not, unless these say which records have an echocardiogram.
    """
    echo = [name for name in OPTIONAL_SCHEMA.names if name in records.column_names]
    names = [*RECORDS_SCHEMA.names, *echo, *([SOURCE_COLUMN] if echo and SOURCE_COLUMN in records.column_names else [])]
    digest = hashlib.sha256()
    for batch in records.select(names).combine_chunks().to_batches(max_chunksize=65536):
        digest.update(batch.serialize())
    return "sha256:" + digest.hexdigest()


def _blocks(
    records: pa.Table, root: Path, work: Path, options: PackingOptions, reader: Callable[[str], Recording]
) -> list[Block]:
    paths = records["path"].to_pylist()
    reasons = [""] * len(paths)
    if options.require_report:
        reasons = ["" if text else "report: no report text" for text in records["report"].to_pylist()]
    earlier = find_earlier(records["record_id"].to_pylist(), reasons)
    size = options.rows_per_shard
    if options.engine.remote:  # workers have working directories of their own
        root, work = root.absolute(), work.absolute()
    return [
        Block(
            number=number,
            start=start,
            paths=paths[start : start + size],
            reasons=reasons[start : start + size],
            root=str(root),
            work=str(work),
            reader=with_reading(reader, options.signal.reading),
            options=options.signal,
            **_earlier_in(range(start, min(start + size, len(paths))), earlier, paths),
        )
        for number, start in enumerate(range(0, len(paths), size))
    ]


def _earlier_in(numbers: range, earlier: Earlier, paths: Sequence[str]) -> dict[str, Any]:
    """What a block has to know of records before it that have the ids of its own."""
    earlier_here = {number: earlier[number] for number in numbers if number in earlier} if earlier else {}
    lists = {id(others): others for others in earlier_here.values()}  # records of one id share theirs
    outside = {other: paths[other] for others in lists.values() for other in others if other < numbers.start}
    return {"earlier": earlier_here, "earlier_paths": outside}


def _warn_about_space(dest: Path, blocks: Sequence[Block]) -> None:
    needed = sum(len(block.paths) for block in blocks if not block.is_done()) * ROW_BYTES
    free = shutil.disk_usage(dest).free
    if needed > free:
        old = "; what is there now is kept until then" if (dest / MANIFEST_FILE).is_file() else ""
        print(f"warning: {dest}: up to {needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free{old}", file=sys.stderr)
