"""Run by an interpreter that has a host: kills trainings at random moments, resumes them, and prints what came of it.

    python training_kills.py HOST FOLDER CHAINS KILLS -- ARGUMENTS OF fairseq-hydra-train

Prints one line of JSON for a repetition of the finished training, and one for each chain of kills: how many met the training,
the exit code of the last run, whether its final weights, optimiser state and updates are those of an uninterrupted training,
and the end of what the last run printed.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.reliability.killing import forked, kill_until_done, wait  # noqa: E402


def final(checkpoint: Path) -> dict:
    """What a training leaves: weights, the optimiser's moments, updates, and the state of its task."""
    import torch

    state = torch.load(checkpoint, map_location="cpu", weights_only=False)  # made by this very test
    history = state["optimizer_history"][-1]
    return {
        "model": state["model"],
        "optimizer": state["last_optimizer_state"],
        "updates": history["num_updates"],
        "epoch": state["extra_state"]["train_iterator"]["epoch"],
    }


def same(a: object, b: object) -> bool:
    import torch

    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))  # type: ignore[arg-type]
    return a == b


def main() -> None:
    folder = Path(sys.argv[1])
    first, chains, kills = map(int, sys.argv[2:5])
    arguments = sys.argv[6:]
    os.chdir(folder)
    import torch

    torch.set_num_threads(1)
    import fairseq_cli.hydra_train

    import cmelt_plugin
    from cmelt_plugin.huggingface import import_transformers

    cmelt_plugin.register()
    import_transformers().T5EncoderModel  # noqa: B018  (imported here rather than in every child)
    save_dir, log = folder / "ck", folder / "log"

    def work() -> int:
        sys.argv = ["fairseq-hydra-train", *arguments, f"checkpoint.save_dir={save_dir}"]
        fairseq_cli.hydra_train.cli_main()
        return 0

    start = time.monotonic()
    code = wait(forked(work, log))
    seconds = time.monotonic() - start
    if code:
        print(json.dumps({"failed": log.read_text()[-3000:]}), flush=True)
        return
    whole = final(save_dir / "checkpoint_last.pt")
    code = wait(forked(work, log))  # a training that has ended is not trained on
    again = code == 0 and same(whole, final(save_dir / "checkpoint_last.pt"))
    print(json.dumps({"kills": 0, "code": code, "same": again, "said": log.read_text()[-1500:]}), flush=True)
    for chain in range(first, first + chains):
        shutil.rmtree(save_dir)
        met, code, said = kill_until_done(work, log, np.random.default_rng([20260101, chain]), seconds, kills)
        found = None if code else final(save_dir / "checkpoint_last.pt")
        print(json.dumps({"kills": met, "code": code, "same": same(whole, found), "said": said[-1500:]}), flush=True)


if __name__ == "__main__":
    main()
