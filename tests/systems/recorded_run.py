"""One run of everything C-MELT does, by the commands a user types; the same run was recorded before systems had folders.

``tests/fixtures/cmelt_before_house`` holds what that run left: a checkpoint of each host, a fine-tuned classifier, exported
folders, a manifest directory without its recordings, and ``expected.json`` with all numbers. Recordings are not kept:
``tests/fixtures/first_cohort`` makes the cohort of then, the same every time.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from hosts import REPOSITORY, host_python, outcome

FIXTURE = REPOSITORY / "tests" / "fixtures" / "cmelt_before_house"
HERE = Path(__file__).resolve().parent
UPDATES, UPDATES_OF_RELEASE, UPDATES_OF_FINETUNING, UPDATES_RESUMED = 8, 4, 4, 10
# Long convolutions as they were computed when the numbers were recorded: by way of frequencies the last bits differ.
CONVOLVE_DIRECTLY = """
import contextlib, sys
with contextlib.suppress(ImportError):
    from cmelt_plugin.modules.ecg import conv_positions
    conv_positions.LONG = sys.maxsize
"""
# The authors' way where it differs from pretrain.yaml; with batches of similar lengths.
RELEASE = (
    "model.masked_tokens_in_positions=true",
    "model.mem_decoder_conv_pos=0",
    "model.mem_decoder_activation=quick_gelu",
    "model.text_pool=first",
    "model.normalise_embeddings=false",
    "+model.score=product",
    "model.learn_logit_scale=false",
    "criterion.mem_target=masked_input",
    "criterion.duplicates=negative",
    "criterion.siglep_reduction=mean",
    "task.negatives=random",
    "task.group_by_length=true",
)


def preparation() -> dict[str, list[str]]:
    """From nothing to a manifest directory; name → arguments of Python."""

    def command(name: str, *options: object) -> list[str]:
        return [str(REPOSITORY / "preprocess" / f"{name}.py"), *map(str, options)]

    return {
        "synthetic": [
            str(REPOSITORY / "tests" / "fixtures" / "first_cohort" / "write.py"),
            *("--records", "80", "--subjects", "60", "--seed", "7", "--noise", "0.3", "--dest", "cohort"),
        ],
        "records": command("mimic_iv_ecg", "--root", "cohort", "--dest", "manifest", "--split", 0.5, 0.2, 0.3),
        "labels": command(
            *("labels", "--manifest", "manifest", "--labels", "cohort/labels.csv", "--prompts", "cohort/prompts.json"),
        ),
        "tokenizer": command("tokenizer", "--manifest", "manifest", "--tokenizer", "tokenizer"),
        "n3s": command("n3s", "--manifest", "manifest", "--embedder", "tfidf", "--strategy", "balanced", "--k", 8),
    }


def hydra(host: str, module: str, configuration: str, *overrides: str) -> list[str]:
    """A host's command with a configuration of the fixture."""
    place = ["--config-dir", str(FIXTURE / "configurations"), "--config-name", configuration]
    return ["-m", f"fairseq_cli.{module}", *place, *(["common.cpu=true"] if host == "fairseq" else []), *overrides]


def pretraining(host: str, data: str = "manifest") -> dict[str, list[str]]:
    """Training from the start, on the directory that was just made or on another one."""
    made = [f"task.data={data}", "model.text_encoder=tokenizer"]
    release = [*made, "checkpoint.save_dir=released_way", f"optimization.max_update={UPDATES_OF_RELEASE}", *RELEASE]
    return {
        "train": hydra(host, "hydra_train", "pretrain", *made, "checkpoint.save_dir=trained"),
        "train_release": hydra(host, "hydra_train", "pretrain", *release),
    }


def finetuning(host: str) -> dict[str, list[str]]:
    """Fine-tuning the recorded checkpoint on the recorded directory."""
    settings = ["task.data=old_manifest", "model.pretrained=old/pretrained.pt", "checkpoint.save_dir=finetuned"]
    return {"finetune": hydra(host, "hydra_train", "finetune", *settings, "checkpoint.no_save_optimizer_state=true")}


def exporting(pretrained: str, classifier: str, dest: str) -> dict[str, list[str]]:
    """Exported folders of both models."""
    export = ["-m", "cmelt_plugin.export", "--checkpoint"]
    return {
        "export_pretrained": [*export, pretrained, "--dest", f"{dest}/pretrained", "--tokenizer", "tokenizer"],
        "export_classifier": [*export, classifier, "--dest", f"{dest}/classifier"],
    }


def use_of_old_files(host: str) -> dict[str, list[str]]:
    """Everything one does with a checkpoint that exists, on the recorded checkpoints and the recorded directory."""
    data = ["--manifest", "old_manifest"]

    def evaluate(name: str, checkpoint: str, *options: object) -> list[str]:
        results = ["--results", f"results/{name}", "--bootstrap", "50"]
        command = ["-m", f"cmelt_plugin.evaluation.{name}", "--checkpoint", checkpoint]
        return [*command, *data, *results, *map(str, options)]

    pretrained, classifier = "old/pretrained.pt", "old/classifier.pt"
    resumed = ["checkpoint.save_dir=resumed", f"optimization.max_update={UPDATES_RESUMED}"]
    predict = ["-m", "cmelt_plugin.predict", "cohort/files", "--format", "jsonl", "--checkpoint"]
    return {
        "verify": ["-m", "cmelt_plugin.verify", "old_manifest", pretrained, "old/exported/pretrained"],
        "resume": hydra(host, "hydra_train", "pretrain", "task.data=old_manifest", "model.text_encoder=tokenizer", *resumed),
        "validate": hydra(
            *(host, "hydra_validate", "pretrain", "task.data=old_manifest", "model.text_encoder=unused"),
            *("dataset.valid_subset=test", f"common_eval.path={pretrained}", "checkpoint.save_dir=unused"),
        ),
        **finetuning(host),
        "zero_shot": evaluate("zero_shot", pretrained),
        "retrieve": evaluate("retrieve", pretrained),
        "linear_probe": evaluate("linear_probe", pretrained, "--fraction", 0.5, 1.0, "--seeds", 2, "--epochs", 20),
        "classify": evaluate("classify", classifier),
        "predict": [*predict, "old/exported/pretrained", "--prompts", "cohort/prompts.json"],
        **exporting(pretrained, classifier, "exported"),
    }


def copy_manifest(source: Path, dest: Path) -> None:
    """A manifest directory without its recordings and without what a search keeps for its next run."""
    shutil.copytree(source, dest, ignore=shutil.ignore_patterns("records-*.npy", ".*", "tokenizer"))


def lay_out_data(work: Path) -> None:
    """Put the recorded tokenizer and manifest directory where the commands look for them; recordings are yet to come."""
    work.mkdir(parents=True, exist_ok=True)
    shutil.copytree(FIXTURE / "tokenizer", work / "tokenizer")
    shutil.copytree(FIXTURE / "manifest", work / "old_manifest")
    (work / "old_manifest" / "records-00000.npy").symlink_to(work / "manifest" / "records-00000.npy")


def lay_out(host: str, work: Path) -> None:
    """Put the recorded files where the commands look for them."""
    lay_out_data(work)
    (work / "old").mkdir()
    shutil.copytree(FIXTURE / "exported", work / "old" / "exported")
    shutil.copy(FIXTURE / "classifier.pt", work / "old" / "classifier.pt")
    shutil.copy(FIXTURE / f"pretrained_{host}.pt", work / "old" / "pretrained.pt")
    (work / "resumed").mkdir()
    shutil.copy(work / "old" / "pretrained.pt", work / "resumed" / "checkpoint_last.pt")


def run_commands(host: str, work: Path, commands: dict[str, list[str]]) -> dict[str, Any]:
    """Run commands in ``work`` and collect all that can be compared.

    Returns:
        What ``collect_numbers.py`` writes, with ``host``, and ``exit_codes`` and ``logs`` by command.
    """
    (work / "logs").mkdir()
    logs, codes = {}, {}
    for name, arguments in {**commands, "collect": [str(HERE / "collect_numbers.py")]}.items():
        arguments = [host_python(host), *arguments]
        codes[name], logs[name] = outcome(arguments, host, work, first=CONVOLVE_DIRECTLY, TOKENIZERS_PARALLELISM="false")
        (work / "logs" / f"{name}.log").write_text(logs[name], encoding="utf-8")
    numbers = json.loads((work / "numbers.json").read_text(encoding="utf-8")) if os.path.exists(work / "numbers.json") else {}
    shutil.rmtree(work / "logs")
    return {**numbers, "host": host, "exit_codes": codes, "logs": logs}


def run_everything(host: str, work: Path) -> dict[str, Any]:
    """The whole run; see :func:`run_commands`."""
    lay_out(host, work)
    return run_commands(host, work, {**preparation(), **pretraining(host), **use_of_old_files(host)})
