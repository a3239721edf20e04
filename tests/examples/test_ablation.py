import argparse
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny import token_table, write_manifest

from tests.evaluation.example_results import write_example

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "examples" / "ablation"))

import run as ablation  # noqa: E402
from ablation_grid import Grid, Variant, grid_names, read_grid  # noqa: E402
from tiny_encoders import write_tiny_encoder  # noqa: E402

from cmelt_plugin.errors import DataError  # noqa: E402
from cmelt_plugin.evaluation.classify import parser as classify_parser  # noqa: E402
from cmelt_plugin.evaluation.report.published import published_tables  # noqa: E402
from cmelt_plugin.evaluation.result_files import read_results  # noqa: E402
from cmelt_plugin.evaluation.zero_shot.__main__ import parser as zero_shot_parser  # noqa: E402


def arguments(tmp_path, **changes):
    values = {
        "dest": tmp_path / "ablation",
        "manifest": tmp_path / "manifest",
        "downstream": [tmp_path / "super"],
        "config": "cmelt_tiny",
        "tasks": list(ablation.TASKS),
        "fraction": 0.01,
        "seeds": 2,
        "split": "test",
        "leads": None,
        "classes": [],
        "bootstrap": 1000,
        "pretrain": ["optimization.max_update=2"],
        "finetune_config": "ptb_xl_super",
        "finetune": [],
    }
    return argparse.Namespace(**{**values, **changes})


# Questions of ours, of which no paper has a table.
OWN_GRIDS = ("amplitude", "masked_modelling", "swapped_pairs", "synthetic", "uncertainty")


@pytest.mark.parametrize("name", OWN_GRIDS)
def test_grids_of_our_own_are_grids(name):
    variants = read_grid(name).variants
    assert len({tuple(variant.overrides) for variant in variants}) == len(variants) > 1


@pytest.mark.parametrize("tiny", [False, True])
@pytest.mark.parametrize("name", sorted(set(grid_names()) - set(OWN_GRIDS)))
def test_every_row_of_the_papers_table_is_there(name, tiny):
    grid = read_grid(name, tiny)
    table = next(table for table in published_tables() if table.grid == name)
    assert grid.table == table.number
    if not tiny:
        assert [variant.name for variant in grid.variants] == [row.method for row in table.rows]
        for variant, row in zip(grid.variants, table.rows):
            assert variant.zero_shot == (row.values[-1] is not None)


def test_components_switch_off_one_after_the_other():
    full, no_n3s, no_siglep, none = read_grid("components").variants
    assert full.overrides == []
    assert set(no_n3s.overrides) < set(no_siglep.overrides)
    assert "task.negatives=random" in no_n3s.overrides and "criterion.siglep_weight=0" in no_siglep.overrides
    assert none.overrides == no_siglep.overrides and none.text_encoder != full.text_encoder


def test_zero_shot_is_one_command_for_all_sets(tmp_path):
    options = arguments(tmp_path, downstream=[tmp_path / "super", tmp_path / "form"], split="train", bootstrap=0)
    options.tasks, options.leads = ["zero_shot", "finetune"], ["12", "I+II"]
    (tmp_path / "manifest").mkdir()
    _, zero_shot, *_, classify = ablation.commands(Variant("whole", "whole", "t5"), 1, options, "folder")
    assert zero_shot.name == "zero_shot-super-form"
    parsed = zero_shot_parser().parse_args(zero_shot.words[3:])
    assert (parsed.split, parsed.thresholds_from, parsed.bootstrap) == ("train", "none", 0)
    assert parsed.manifest == options.downstream and parsed.compare_leads == ["12", "I+II"]
    parsed = classify_parser().parse_args(classify.words[3:])
    assert (parsed.split, parsed.valid, parsed.bootstrap) == ("train", "none", 0)


def test_malformed_grids_are_refused(tmp_path):
    with pytest.raises(DataError, match="components"):
        read_grid("nothing")
    path = tmp_path / "mine.yaml"
    path.write_text("table: '6'\nbase: b\ntext_encoder: t\nvariants: [{name: a, slug: a, overide: []}]")
    with pytest.raises(DataError, match="unknown overide"):
        read_grid(str(path))
    path.write_text("table: '6'\nbase: b\ntext_encoder: t\nvariants: [{name: a, slug: a/b}]")
    with pytest.raises(DataError, match="slug"):
        read_grid(str(path))
    path.write_text("table: '6'\nbase: b\ntext_encoder: t\nvariants: [{name: a, slug: a}, {name: b, slug: a}]")
    with pytest.raises(DataError, match="same slug"):
        read_grid(str(path))
    path.write_text("variants: 3")
    with pytest.raises(DataError, match="malformed"):
        read_grid(str(path))


def test_commands_follow_from_the_variant(tmp_path):
    (tmp_path / "manifest").mkdir()
    variant = Variant("Flan-T5", "x", "google/flan-t5-base", ["criterion.siglep_weight=0"], zero_shot=False)
    steps = ablation.commands(variant, 2, arguments(tmp_path), "folder")
    assert [step.name for step in steps] == ["pretrain", "linear_probe-super", "finetune-super", "classify-super"]
    pretrain = steps[0].words
    assert {"criterion.siglep_weight=0", "common.seed=2", "model.text_encoder=folder", "optimization.max_update=2"} < set(
        pretrain
    )
    assert str(steps[0].output) in steps[1].words  # the probe reads what was pre-trained
    assert f"model.pretrained={steps[0].output}" in steps[2].words
    assert str(steps[2].output) in steps[3].words


def test_token_ids_are_chosen_by_the_text_encoders_name(tmp_path):
    manifest = write_manifest(tmp_path / "manifest")
    variant = Variant("Bert", "x", "google-bert/bert-base-uncased")
    (manifest / "reports.bert-base-uncased.npz").write_bytes(b"")
    words = ablation.commands(variant, 1, arguments(tmp_path), "folder")[0].words
    assert "task.tokenizer=bert-base-uncased" in words
    with pytest.raises(DataError, match="tokenizer.py --tokenizer ncbi/MedCPT"):
        ablation.commands(Variant("m", "m", "ncbi/MedCPT-Query-Encoder"), 1, arguments(tmp_path), "folder")


def test_steps_are_run_once_and_again_when_they_change(tmp_path):
    out = tmp_path / "out"
    write = "import sys, pathlib; p = pathlib.Path(sys.argv[1]); p.write_text(p.read_text() + 'x' if p.exists() else 'x')"
    step = ablation.Command("one", [sys.executable, "-c", write, str(out)], out)
    assert ablation.run_commands([step], tmp_path) == 1
    assert ablation.run_commands([step], tmp_path) == 0
    assert out.read_text() == "x"
    out.unlink()
    assert ablation.run_commands([step], tmp_path) == 1  # its output is gone
    changed = step._replace(words=[*step.words, "more"])
    assert ablation.run_commands([changed], tmp_path) == 1
    failing = ablation.Command("two", [sys.executable, "-c", "raise SystemExit('the reason')"], out)
    with pytest.raises(DataError, match="the reason"):
        ablation.run_commands([failing], tmp_path)


def test_the_table_gives_mean_and_spread_over_seeds(tmp_path):
    options = arguments(tmp_path, tasks=["zero_shot", "linear_probe"])
    values = {1: 0.70, 2: 0.80}
    for seed, value in values.items():
        place = options.dest / "full" / f"seed{seed}" / "results" / "zero_shot" / "super"
        write_example(place, metrics={"macro_auc": value})
    grid = Grid("components", "6", "cmelt_base", [Variant("Flan-T5 + Siglep + N3S", "full", "t5")])
    table = ablation.tabulate(grid, options)
    spread = 100 * np.std(list(values.values()), ddof=1)
    assert f"| Flan-T5 + Siglep + N3S | 75.00 ± {spread:.2f} | – |" in table
    stored = read_results([options.dest / "results"])
    assert len(stored) == 1
    result = stored[0].result
    assert result.metrics["score"] == pytest.approx(0.75) and result.settings["grid"] == "components"
    assert result.n_records == 120 and result.notes == ["seed 1: 70.00", "seed 2: 80.00"]


def test_the_second_table_has_sets_leads_and_classes_of_their_own(tmp_path):
    names = ["super", "form"]
    options = arguments(tmp_path, tasks=["zero_shot"], downstream=[tmp_path / name for name in names])
    options.leads, options.classes = ["12", "I+II"], ["HYP", "unknown"]
    values = {"zero_shot/{}-12-leads": 0.9, "zero_shot/{}-2-leads": 0.8}
    for seed, name, (folder, value) in itertools.product((1, 2), names, values.items()):
        place = options.dest / "whole" / f"seed{seed}" / "results" / folder.format(name)
        auc = value - (0.1 if name == "form" else 0)
        write_example(place, metrics={"macro_auc": auc}, per_class={"HYP": {"auc": auc + 0.05}} if name == "form" else {})
    variants = [Variant("whole", "whole", "t5"), Variant("not run", "none", "t5")]
    first, second = ablation.tabulate(Grid("mine", "mine", "cmelt_base", variants), options).split("\n\n")
    assert "| whole | 85.00 ± 0.00 |" in first and "| not run | – |" in first  # of all leads alone
    head, _, whole, none = ([cell.strip() for cell in line.strip("|").split("|")] for line in second.strip().splitlines())
    shown = dict(zip(head, whole))
    expected = {"super, 12-leads": 90, "super, 2-leads": 80, "form, 12-leads": 80, "HYP (form, 12-leads)": 85}
    expected.update({"form, 2-leads": 70, "HYP (form, 2-leads)": 75})
    assert shown.pop("variant") == "whole" and shown == {name: f"{value}.00 ± 0.00" for name, value in expected.items()}
    assert set(none[1:]) == {"–"}
    result = next(stored.result for stored in read_results([options.dest / "results"]))
    assert result.n_records == 240  # two sets


@pytest.mark.parametrize("name", ["google/flan-t5-base", "google-bert/bert-base-uncased", "microsoft/deberta-base"])
def test_tiny_encoders_take_the_manifests_tokens(tmp_path, name):
    import torch

    from cmelt_plugin.modules.text.text_encoder import TextEncoder, describe_text_encoder

    tokens = token_table([[5, 6, 7]])
    folder = write_tiny_encoder(name, tokens, tmp_path / "encoder")
    encoder = TextEncoder(describe_text_encoder(str(folder)), str(folder))
    assert encoder.vocab_size == tokens.info["vocab_size"]
    states = encoder(torch.from_numpy(tokens[0].astype(np.int64))[None], torch.zeros(1, 4, dtype=torch.bool))
    assert states.shape == (1, 4, encoder.dim) and torch.isfinite(states).all()
    assert write_tiny_encoder(name, tokens, folder) == folder  # kept


def test_other_architectures_are_refused(tmp_path):
    with pytest.raises(DataError, match="no tiny encoder"):
        write_tiny_encoder("gpt2", token_table([[5]]), tmp_path / "x")
