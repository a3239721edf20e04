"""The command that compares systems: what it runs, and the table it makes of result folders."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hosts import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "examples" / "ablation"))
import systems as comparison  # noqa: E402
from system_runs import FRACTIONS, Variant, commands, tiny_configuration, writes_reports  # noqa: E402
from system_table import tabulate  # noqa: E402

from cmelt_plugin import registry  # noqa: E402
from cmelt_plugin.data.files import write_json  # noqa: E402
from cmelt_plugin.errors import DataError  # noqa: E402
from cmelt_plugin.evaluation.result_files import Result, write_result  # noqa: E402


def arguments(dest: Path, *more: str):
    parsed = comparison.parser().parse_args(["--dest", str(dest), "--manifest", str(dest / "m"), "--updates", "7", *more])
    parsed.dest, parsed.manifest = parsed.dest.resolve(), parsed.manifest.resolve()
    return parsed


def test_every_system_is_trained_and_evaluated_alike(tmp_path) -> None:
    given = arguments(tmp_path, "--supervised", "merl")
    assert [tiny_configuration(name).stem for name in ("echoing_ecg", "merl")] == ["echoing_tiny", "merl_tiny"]
    plans = {name: commands(Variant(name, name), 2, given) for name in registry.systems()}
    for name, steps in plans.items():
        words = [" ".join(step.words) for step in steps]
        assert (
            f"--config-name {tiny_configuration(name).stem} " in words[0]
            and "common.seed=2" in words[0]
            and words[0].endswith("max_update=7")
        )
        common = ["pretrain", "zero_shot", "retrieval", "linear_probe", "untrained", "untrained_probe"]
        assert [step.name for step in steps] == common + (["supervised", "classify"] if name == "merl" else [])
        assert all("checkpoint_last.pt" in line for line in words[1:4]) and "optimization.lr=[0.0]" in words[4]
        # Nothing of a test set decides which checkpoint is evaluated.
        assert all("dataset.disable_validation=true" in words[index] for index in (0, 4))


def test_a_variant_is_pretrained_by_its_own_settings_and_fine_tuned_on_a_share(tmp_path) -> None:
    given = arguments(tmp_path, "--supervised", "merl", "--finetune", "0.1")
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "labels.json").touch()
    own = [step.name for step in commands(Variant("merl", "merl"), 1, given)]
    few = ["finetuned", "classify_finetuned"]
    assert own[3:6] == ["linear_probe", *few] and own[-2:] == ["supervised_few", "classify_few"]
    steps = {step.name: " ".join(step.words) for step in commands(Variant("x", "merl", ("model.y=1",)), 1, given)}
    assert list(steps) == own[:6] and "model.y=1" in steps["pretrain"] and "--config-name merl_tiny" in steps["pretrain"]
    assert "task.fraction=0.1" in steps["finetuned"] and "x/seed1/pretrain/checkpoint_last.pt" in steps["finetuned"]
    writers = [name for name in registry.systems() if writes_reports(name)]
    for name in writers:
        assert "generation" in [step.name for step in commands(Variant(name, name), 1, given)]
    assert "merl" not in writers and writers
    for words in (["x"], ["x", "merl"], ["x", "merl", "y"]):
        with pytest.raises(DataError, match="must be a name, a system, and settings"):
            comparison.main(["--dest", str(tmp_path), "--variant", *words])


def test_the_table_has_means_over_seeds_and_the_chance(tmp_path) -> None:
    given = arguments(tmp_path, "--seeds", "2")

    def result(folder: Path, kind: str, metrics: dict[str, float], **settings: float) -> None:
        write_result(folder, Result(kind, "m", "c", "d", "", "test", 4, 4, settings=settings, metrics=metrics))

    for seed, auc in ((1, 0.6), (2, 0.8)):
        folder = tmp_path / "merl" / f"seed{seed}"
        result(folder / "results" / "zero_shot" / "x", "zero_shot", {"macro_auc": auc})
        recalls = {
            "ecg_to_text_r10": 0.5,
            "ecg_to_text_r10_chance": 0.25,
            "text_to_ecg_r10": 0.4,
            "text_to_ecg_r10_chance": 0.2,
        }
        result(folder / "results" / "retrieval" / "x", "retrieval", recalls)
        for kind in ("linear_probe", "untrained_probe"):
            for fraction in FRACTIONS:
                result(folder / "results" / kind / f"{fraction}", "linear_probe", {"macro_auc": auc - 0.1}, fraction=fraction)
        write_json(folder / "logs" / "pretrain.done.json", {"seconds": 10 * seed})
    lines = tabulate([Variant("merl", "merl")], lambda system: "7", given).splitlines()
    assert lines[2] == "| merl | 7 | 15 | 70.0 ± 14.1 | 50.0 ± 0.0 | 40.0 ± 0.0 | 60.0 ± 14.1 | 60.0 ± 14.1 | 60.0 ± 14.1 |"
    assert lines[3].startswith("| merl, random weights | 0 | – | – | – | – | 60.0 ± 14.1 |")
    assert lines[-1] == "Chance of R@10: 25.0 % ECG → text, 20.0 % text → ECG."
    assert (tmp_path / "table.md").read_text(encoding="utf-8").splitlines() == lines
    result(folder / "results" / "classify_finetuned" / "x", "finetune", {"macro_auc": 0.9})
    facts = {"fact_f1": 0.5, "fact_f1|nearest": 0.6, "fact_f1|most_frequent": 0.1}
    result(folder / "results" / "generation" / "x", "generation", facts)
    more = arguments(tmp_path, "--seeds", "2", "--finetune", "0.1")
    wider = tabulate([Variant("merl", "merl")], lambda system: "7", more).splitlines()
    assert wider[0].endswith("| fine-tuned, 10 % | reports written, F1 of findings | the nearest recording's |")
    assert wider[2].endswith("| 90.0 | 50.0 | 60.0 |") and wider[-1].endswith("10.0 %.")


def test_what_cannot_be_compared_is_refused(tmp_path) -> None:
    there_is = ", ".join(sorted(registry.systems()))
    with pytest.raises(DataError, match=f"no ..._tiny.yaml trains other; there is {there_is}"):
        comparison.main(["--dest", str(tmp_path), "--systems", "other"])
    with pytest.raises(DataError, match="--updates 3: in the last 30 % .* cmelt_tiny falls, .* give at least 4"):
        comparison.main(["--dest", str(tmp_path), "--updates", "3"])
    comparison.check_updates(["cmelt", "merl"], 4)
    (tmp_path / "m").mkdir()
    with pytest.raises(DataError, match="no reports.parquet"):
        comparison.main(["--dest", str(tmp_path), "--manifest", str(tmp_path / "m")])
