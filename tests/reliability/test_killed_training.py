"""SIGKILL at random moments of a training that writes checkpoints all the time: resumed, it ends with the same weights."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from hosts import HOSTS, environment, host_python, train_command
from tiny import write_manifest, write_text_encoder

SCRIPT = Path(__file__).with_name("training_kills.py")
KILLS = 4  # per training
OPTIONS = (
    "optimization.max_update=12",
    "dataset.disable_validation=true",
    "checkpoint.save_interval_updates=2",
    "checkpoint.keep_interval_updates=2",
)


@pytest.mark.parametrize("name", HOSTS)
def test_a_killed_training_ends_with_the_weights_of_one_that_was_not(name: str, battery, tmp_path: Path) -> None:
    python = host_python(name)
    data, encoder = write_manifest(tmp_path / "m", n_records=60), write_text_encoder(tmp_path / "t5")
    command = train_command(name, data, encoder, tmp_path, *OPTIONS)
    arguments = [word for word in command[command.index("--config-dir") :] if not word.startswith("checkpoint.save_dir")]
    attacks = battery(f"kills of a training ({name})", inputs=1, long=64)
    chains = [str(attacks.indices.start), str(len(attacks.indices)), str(KILLS)]
    process = subprocess.Popen(
        [python, str(SCRIPT), str(tmp_path), *chains, "--", *arguments],
        env=environment(name, TOKENIZERS_PARALLELISM="false"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        again = json.loads(next(line for line in process.stdout if line.startswith("{")))
        assert "failed" not in again, again["failed"]
        assert again["same"], f"the command of a finished training trained on: {again['said']}"
        for attack in attacks:
            with attack:
                result = json.loads(next(line for line in process.stdout if line.startswith("{")))
                attack.weight = max(result["kills"], 1)
                assert result["code"] == 0, result["said"]
                attack.expect(result["same"], f"other weights after {result['kills']} kills")
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
