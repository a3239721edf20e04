"""Is everything as it was written? Every byte of a manifest directory, of a checkpoint or of an exported folder.

A manifest directory is compared with its checksums.json, the digests of its shards with store.json, those of a store it
shares with another directory, too; and everything in it is opened. Prints one line for each finding and for each file that
cannot be checked, and ends with exit code 1 where there are findings. --accept lists files of a directory as they are now.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import fnmatch
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from cmelt_plugin.data.directory.checksums import CHECKSUMS_FILE, MANIFEST_FILE, Entry, read_checksums
from cmelt_plugin.data.directory.own_files import STORE_FILE, file_names, is_part
from cmelt_plugin.data.directory.replacing import LOCK_SECONDS, directory_lock, entry_of, write_checksums
from cmelt_plugin.data.directory.verification import check_directory
from cmelt_plugin.data.files import read_object
from cmelt_plugin.errors import DataError

UNCHECKED = "cannot be checked"  # in lines that are no findings
EXAMPLE = """examples:
  python -m cmelt_plugin.verify manifests/ptb-xl
  python -m cmelt_plugin.verify checkpoints/checkpoint_best.pt exported/
  python -m cmelt_plugin.verify manifests/mine --accept train.tsv train.meta.parquet
"""


def accept(directory: Path, patterns: Sequence[str]) -> list[str]:
    """List files of a directory as they are now, or take them off the list where they are gone; return their names.

    Args:
        directory: manifest directory.
        patterns: file names, or patterns such as ``*.tsv``.

    Raises:
        DataError: a pattern matches no file that belongs to a manifest directory.
    """
    with directory_lock(directory, LOCK_SECONDS):
        try:
            files = read_checksums(directory) or {}
        except DataError:
            files = {}
        there = {name for name in file_names(directory) if is_part(name) and name != CHECKSUMS_FILE}
        chosen = set()
        for pattern in patterns:
            matched = {name for name in there | set(files) if fnmatch.fnmatchcase(name, pattern)}
            if not matched and pattern != CHECKSUMS_FILE:
                raise DataError(f"{directory}: holds no file {pattern} that belongs to a manifest directory")
            chosen |= matched
        shards = _digests(directory) if STORE_FILE in there else {}
        for name in tqdm(sorted(chosen), unit="file", desc="listing"):
            if name not in there:
                files.pop(name, None)
            elif name in shards:  # store.json says what it must be; reading it all would say less
                files[name] = Entry((directory / name).stat().st_size, shards[name])
            else:
                files[name] = entry_of(directory / name)
        write_checksums(directory, files)
    return sorted(chosen)


def _digests(directory: Path) -> dict[str, str]:
    shards = read_object(directory / STORE_FILE, checked=False).get("shards")
    found = [shard for shard in shards if isinstance(shard, dict)] if isinstance(shards, list) else []
    return {str(shard.get("file")): str(shard.get("sha256")) for shard in found}


def is_manifest_directory(path: Path) -> bool:
    """Whether a folder is, or was, a manifest directory or a store."""
    return path.is_dir() and (
        any((path / name).is_file() for name in (CHECKSUMS_FILE, STORE_FILE, MANIFEST_FILE)) or any(path.glob("*.meta.parquet"))
    )


def verify(path: Path) -> bool:
    """Check one path, print what there is to say, and return whether it is whole.

    Raises:
        DataError: there is no such file or folder.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if is_manifest_directory(path):
        with tqdm(unit="B", unit_scale=True, desc=str(path)) as bar:
            report = check_directory(path, bar)
        findings, unknown, what = report.findings, report.unchecked, report.summary()
    else:
        from cmelt_plugin.models.files.integrity import verify_model

        with tqdm(unit="B", unit_scale=True, desc=str(path)) as bar:
            lines = verify_model(path, progress=bar.update)
        findings = [line for line in lines if UNCHECKED not in line]
        unknown = [line for line in lines if UNCHECKED in line]
        what = "read whole"
    for line in unknown:
        print(line if UNCHECKED in line else f"{UNCHECKED}: {line}")
    for line in findings:
        print(f"finding: {line}")
    count = "no finding" if not findings else "1 finding" if len(findings) == 1 else f"{len(findings)} findings"
    print(f"{path}: {what}; {count}")
    return not findings


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="manifest directory, checkpoint, exported folder")
    parser.add_argument("--accept", nargs="+", metavar="NAME", help="files of the directory that are as you want them")
    args = parser.parse_args(argv)
    if args.accept:
        if len(args.paths) != 1 or not is_manifest_directory(args.paths[0]):
            raise DataError("--accept: give one manifest directory")
        names = accept(args.paths[0], args.accept)
        print(f"{args.paths[0]}: {len(names)} files listed as they are: {', '.join(names)}")
        return 0
    return 0 if all([verify(path) for path in args.paths]) else 1


if __name__ == "__main__":
    sys.exit(run(main))
