"""The command, and its variances in other commands."""

import pytest
from labelled_sets import write_checkpoint, write_tokenizer

from cmelt_plugin.data.files import read_json
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.options import load_text_model
from cmelt_plugin.evaluation.uncertainty.__main__ import main as uncertainty
from cmelt_plugin.evaluation.uncertainty.__main__ import parser as uncertainty_parser
from cmelt_plugin.evaluation.variance_head.__main__ import main
from tests.support.tiny import write_manifest


def test_heads_are_written_and_used(tmp_path, capsys) -> None:
    checkpoint = write_checkpoint(tmp_path / "c.pt", write_tokenizer(tmp_path))
    directory = write_manifest(tmp_path / "m", n_records=16, splits=("train", "valid"))
    (directory / "reports.tiny.npz").unlink()  # of another tokenizer
    fixed = ["--checkpoint", checkpoint, "--manifest", directory]
    assert main([str(value) for value in (*fixed, "--epochs", 2, "--hidden", 4, "--loss", "prolip")]) == 0
    out = capsys.readouterr().out
    assert "16 pairs; valid: 16" in out and "the same variances for all" in out
    facts = read_json(tmp_path / "c.variances" / "variances.json")["facts"]
    assert facts["loss"] == "prolip" and facts["training_data"]["records"] == 16 and facts["valid_loss"] > 0

    arguments = [
        *fixed,
        "--variances",
        tmp_path / "c.variances",
        "--split",
        "valid",
        "--results",
        tmp_path / "r",
        "--bootstrap",
        0,
    ]
    assert uncertainty([str(value) for value in (*arguments, "--snr", "--lost", 3)]) == 0
    assert "lost leads" in capsys.readouterr().out
    with pytest.raises(DataError, match="points"):
        uncertainty([str(value) for value in (*fixed, "--split", "valid", "--results", tmp_path / "r")])
    parsed = uncertainty_parser().parse_args([str(value) for value in arguments])
    assert load_text_model(parsed).model.cfg is not None
