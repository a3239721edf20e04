"""A manifest read line by line into Python lists, as fairseq's own data sets do."""

from __future__ import annotations

from pathlib import Path


def read_lines(path: Path) -> tuple[list[str], list[int]]:
    """File names and lengths of a TSV, one Python object per record."""
    names, sizes = [], []
    with open(path, encoding="utf-8") as handle:
        root = handle.readline().strip()
        for line in handle:
            name, size = line.strip().split("\t")
            names.append(f"{root}/{name}")
            sizes.append(int(size))
    return names, sizes
