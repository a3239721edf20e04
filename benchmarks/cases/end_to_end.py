"""Training from the disk to the update through ``fairseq-hydra-train``, on a synthetic manifest; how long the device waits.

On a GPU: ``examples/pretrain/SYSTEM_base.yaml`` in bf16 (``common.bf16``), 128 pairs, a text encoder of Flan-T5-base's size
with random weights, data loaded by all but two cores; 300 updates after a warm-up, extrapolated to the paper's 300,000. On a
CPU a dry run of ``SYSTEM_tiny.yaml``.

``waiting`` is the time the trainer is blocked on the next batch. ``GPU idle`` is the time the GPU had nothing to do while the
next batch was awaited, on its own time line; ``GPU busy`` the share of time in which it ran at least one kernel or copy. All
updates lie in one epoch, whose records share 8,192 rows (1 GB, in the page cache): a colder or slower disk is not measured.

Physical limit: the step alone, measured by ``step``; waiting and host work come on top.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import systems
from benchmarks.cases.training_run import PROFILED
from benchmarks.harness import material
from benchmarks.harness.machine import REPOSITORY, usable_cores
from benchmarks.harness.options import Options
from benchmarks.harness.outcome import HIGHER, LOWER, Outcome
from benchmarks.harness.timing import figure_of

PAPER_UPDATES = 300_000


def run(options: Options) -> Outcome:
    """See the module's docstring."""
    warmup, timed = (2, 4) if options.quick else (50, 300) if options.on_gpu else (10, 40)
    batch, stored = (4, 64) if options.quick else (128, 8192) if options.on_gpu else (32, 1024)
    updates = warmup + timed + PROFILED + 2
    records = batch * updates  # one epoch: starting the next one would count otherwise
    runs = []
    with options.temporary() as folder:
        data = folder / "manifest"
        encoder = ("base", 32128) if options.on_gpu else ("tiny", None)
        splits = ("train", "valid")
        text = material.write_manifest(
            data, records, min(2000, records), splits, encoder=encoder[0], vocab_size=encoder[1], stored=stored
        )
        arguments = training_arguments(options, data, text.folder, folder, batch, updates)
        for _ in range(options.rounds or (2 if options.on_gpu else 1)):
            runs.append(train(arguments, folder / "clock.json", warmup, timed, options))
    outcome = summarise(runs, batch, options.on_gpu, systems.find(options.model).title)
    outcome.settings = {"batch": batch, "records": records, "device": options.device, "quick": options.quick}
    return outcome


def summarise(runs: list[dict[str, Any]], batch: int, on_gpu: bool, title: str) -> Outcome:
    """Figures from what the clocks of some trainings say; ``title`` is the system's."""
    rate = [answer["updates"] / answer["seconds"] for answer in runs]
    waiting = [100 * answer["waiting"] / answer["seconds"] for answer in runs]
    outcome = Outcome(
        figures=[
            figure_of("updates", rate, "1/s", HIGHER),
            figure_of("pairs", [batch * value for value in rate], "pairs/s", HIGHER),
            figure_of(f"{PAPER_UPDATES:,} updates", [PAPER_UPDATES / value / 3600 for value in rate], "h", LOWER),
            figure_of("waiting for data", waiting, "%", LOWER),
        ],
        checks=[f"{runs[0]['updates']} updates of {batch} pairs were timed, all in one epoch"],
    )
    if on_gpu:
        idle = [100 * answer["gpu_idle"] / answer["seconds"] for answer in runs]
        outcome.figures.append(figure_of("GPU idle for want of data", idle, "%", LOWER))
        outcome.figures.append(figure_of("peak", [answer["peak_bytes"] / 1e9 for answer in runs], "GB", LOWER))
        busy = [100 * answer["busy"] for answer in runs if answer["busy"] is not None]
        if busy:
            outcome.figures.append(figure_of("GPU busy", busy, "%", HIGHER))
    else:
        outcome.notes.append(f"a dry run of a tiny model: it shows that the measurement works, not how fast {title} trains")
    return outcome


def training_arguments(options: Options, data: Path, text_encoder: Path, folder: Path, batch: int, updates: int) -> list[str]:
    """Hydra arguments of the training."""
    workers = 0 if options.quick else max(1, min(12, usable_cores() - 2)) if options.on_gpu else 1
    system = systems.find(options.model)
    name = f"{system.name}_base" if options.on_gpu else f"{system.name}_tiny"
    from cmelt_plugin import host

    # fairseq looks for a GPU unless told not to; fairseq-signals has no such keys and takes what is there.
    precision = [] if host.IS_SIGNALS else ["common.bf16=true"] if options.on_gpu else ["common.cpu=true"]
    return [
        *("--config-dir", str(REPOSITORY / "examples" / "pretrain"), "--config-name", name),
        f"task.data={data}",
        f"model.text_encoder={text_encoder}",
        f"checkpoint.save_dir={folder / 'checkpoints'}",
        *("checkpoint.no_save=true", "dataset.disable_validation=true"),
        f"dataset.batch_size={batch}",
        f"dataset.num_workers={workers}",
        f"optimization.max_update={updates}",
        f"common.log_interval={max(2, updates // 4)}",
        f"hydra.run.dir={folder}",
        *precision,
        *(system.quick_overrides if options.quick else ()),
    ]


def train(arguments: list[str], path: Path, warmup: int, timed: int, options: Options) -> dict[str, Any]:
    """One training in a process of its own; what its clock says.

    Raises:
        RuntimeError: it failed; the message holds the end of its output.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "HF_HUB_OFFLINE": "1",
        "OMP_WAIT_POLICY": "passive",
    }
    if not options.on_gpu:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    command = [sys.executable, "-m", "benchmarks.cases.training_run", str(path), str(warmup), str(timed), *arguments]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=path.parent, timeout=1800
    )
    if done.returncode != 0 or not path.is_file():
        raise RuntimeError(f"training failed:\n{done.stdout[-4000:]}")
    answer = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()
    if answer["updates"] != timed:
        raise AssertionError(f"{answer['updates']} updates were timed instead of {timed}")
    return answer
