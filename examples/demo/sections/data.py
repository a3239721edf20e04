"""What a manifest directory holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cmelt_plugin.data.files import read_json
from cmelt_plugin.evaluation.report.blocks import Section, Table


def data_section(directory: Path) -> Section:
    """Records in, out and rejected, splits and reports of a manifest directory."""
    manifest = read_json(directory / "manifest.json")
    counts = manifest["counts"]
    rejected = counts["rejected"]
    rows: list[list[Any]] = [
        ["records read", counts["in"]],
        ["records packed", counts["out"]],
        ["records rejected", f"{sum(rejected.values())}" + "".join(f"; {code}: {n}" for code, n in rejected.items())],
        ["unique reports", manifest["reports"]],
    ]
    rows += [[f"records in split {name}", count] for name, count in manifest["splits"].items()]
    return Section("Data", [Table(["", "number"], rows, numeric=[1])])
