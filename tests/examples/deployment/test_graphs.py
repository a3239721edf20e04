"""The comparison of graphs with their model, on a tiny one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from labelled_sets import SUPER, write_checkpoint, write_labelled, write_tokenizer
from pretrained_files import write_classifier

from cmelt_plugin import export

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "examples" / "deployment"))
import graphs


def rows(text: str) -> dict[str, list[str]]:
    """Engine → cells of its row."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return {row[0]: row[1:] for row in cells[2:]}


@pytest.mark.parametrize("zero_shot", (True, False))
def test_a_graph_scores_as_its_model(tmp_path: Path, zero_shot: bool, capsys: pytest.CaptureFixture[str]) -> None:
    write_labelled(tmp_path / "m", "ptb-xl-super", SUPER)
    prompts = []
    if zero_shot:
        write_checkpoint(tmp_path / "c.pt", write_tokenizer(tmp_path / "text"))
        prompts = ["--prompts", "ptb-xl-super"]
    else:
        write_classifier(tmp_path / "c.pt", SUPER)
    model = ["--checkpoint", str(tmp_path / "c.pt")]
    assert export.main([*model, "--format", "torchscript", "--dest", str(tmp_path / "graphs"), *prompts]) == 0
    capsys.readouterr()
    options = ["--graphs", str(tmp_path / "graphs"), "--manifest", str(tmp_path / "m"), "--rounds", "1", "--records", "3"]
    assert graphs.main([*model, *options, *prompts]) == 0
    output = capsys.readouterr().out
    assert output.startswith("12 recordings, 5 classes; outputs of the first 3 compared")
    found = rows(output)
    assert list(found) == ["PyTorch", "TorchScript"] and found["TorchScript"][1] == found["PyTorch"][1]
    assert float(found["TorchScript"][0]) < 1e-4 and all(float(cell) > 0 for cell in found["PyTorch"][2:])
