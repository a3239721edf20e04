"""Files of safetensors."""

from __future__ import annotations

import stat
from pathlib import Path

import torch

from cmelt_plugin.serialization.safetensors_files import read_safetensors, write_safetensors


def test_weights_are_as_readable_as_any_new_file(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "a.safetensors", {"weight": torch.ones(3)})
    (tmp_path / "plain").touch()
    assert torch.equal(read_safetensors(tmp_path / "a.safetensors")["weight"], torch.ones(3))
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1 and len(list(tmp_path.iterdir())) == 2
