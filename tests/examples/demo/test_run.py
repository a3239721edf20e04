"""The demo, with few records and updates, through every command it shows."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from hosts import REPOSITORY, environment

pytest.importorskip("fairseq", reason="fairseq is not installed; run 'make install'")
pytest.importorskip("matplotlib", reason="figures need the extra 'viz'")

from examples.demo.page import PARTS  # noqa: E402
from examples.demo.systems import SYSTEMS  # noqa: E402

STEPS = ("synthetic", "records", "labels", "tokenizer", "n3s", "train", "validate")


def demo(dest, *options):
    """Run the demo beside ``dest``; return exit code and output."""
    arguments = [sys.executable, str(REPOSITORY / "examples" / "demo" / "run.py"), "--dest", str(dest), *options]
    done = subprocess.run(
        arguments,
        cwd=dest.parent,
        env=environment("fairseq", PATH=os.environ["PATH"]),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    return done.returncode, done.stdout


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    dest = tmp_path_factory.mktemp("demo") / "demo"
    code, output = demo(dest, "--quick")
    assert code == 0, output
    return dest, output


def test_every_step_ran_and_was_shown(first):
    dest, output = first
    for number, name in enumerate(STEPS, start=1):
        assert f"[{number}/8]" in output
        assert json.loads((dest / "logs" / f"{name}.done.json").read_text())["command"]
    assert "--dest demo/cohort" in output and "task.data=$PWD/demo/manifest" in output
    assert str(dest / "report.html") in output
    assert "MISSED" not in output  # --quick has no bars


def test_every_system_has_a_configuration_and_a_part_of_the_page():
    assert set(PARTS) == set(SYSTEMS)
    for system in SYSTEMS.values():
        for name in (system.configuration, system.larger):
            assert (REPOSITORY / "examples" / "pretrain" / f"{name}.yaml").is_file()
        assert {"macro_auc", "recall_over_chance"} <= set(system.bars)


def test_another_system_has_its_own_part_and_no_negatives(first, tmp_path):
    """On the data of the first demo, as if they had been made here."""
    name, own = "melp", ["<h2>Written reports</h2>", "written by the model", "Next word of the report"]
    dest = tmp_path / "demo"
    shutil.copytree(first[0], dest, ignore=shutil.ignore_patterns("checkpoints", "report.html"))
    for path in (*dest.glob("logs/train.*"), *dest.glob("logs/validate.*")):
        path.unlink()
    for path in (dest / "demo.json", *dest.glob("logs/*.json")):
        text = path.read_text(encoding="utf-8").replace('"cmelt"', f'"{name}"')
        path.write_text(text.replace(str(first[0]), str(dest)), encoding="utf-8")
    code, output = demo(dest, "--quick", "--system", name)
    assert code == 0, output
    assert output.count("done before") == 4 and "n3s" not in output and f"--config-name {name}_tiny" in output
    html = (dest / "report.html").read_text(encoding="utf-8")
    assert f"<title>{SYSTEMS[name].title} demo" in html and f"{name}_base" in html
    for text in (*own, "ncbi/MedCPT-Query-Encoder"):
        assert text in html
    for heading in ("Negative reports (N3S)", "Masked ECG modelling"):
        assert heading not in html


def test_the_page_shows_every_section(first):
    dest, output = first
    html = (dest / "report.html").read_text(encoding="utf-8")
    for heading in ("Result", "Commands", "Data", "Negative reports (N3S)", "Training", "Masked ECG modelling",
                    "ECGs and reports", "Zero-shot classification", "Your own data"):  # fmt: skip
        assert f"<h2>{heading}</h2>" in html
    assert "The recordings are synthetic" in html
    assert "preprocess/n3s.py" in html
    assert html.count("<svg") >= 12
    assert not re.search(r'(src|href)="http', html)


def test_a_second_run_reuses_everything_and_a_lost_model_is_trained_again(first):
    dest, _ = first
    before = {name: (dest / "logs" / f"{name}.done.json").read_text() for name in STEPS}
    (dest / "report.html").unlink()
    shutil.rmtree(dest / "checkpoints")
    code, output = demo(dest, "--quick")
    assert code == 0, output
    after = {name: (dest / "logs" / f"{name}.done.json").read_text() for name in STEPS}
    assert [name for name in STEPS if before[name] != after[name]] == ["train", "validate"]
    assert output.count("done before") == 5
    assert (dest / "report.html").is_file()


def test_other_settings_in_the_same_folder_are_refused(first):
    dest, _ = first
    code, output = demo(dest, "--quick", "--seed", "2")
    assert code == 1
    assert "other settings" in output and "Traceback" not in output


def test_a_folder_that_is_not_a_demo_is_left_alone(tmp_path):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "thesis.txt").write_text("precious")
    code, output = demo(tmp_path / "demo", "--quick")
    assert code == 1
    assert "not a demo" in output and "Traceback" not in output


def test_a_failing_step_shows_the_end_of_its_output(tmp_path):
    dest = tmp_path / "demo"
    code, output = demo(dest, "--quick", "--noise", "50")
    assert code == 1
    assert "step 'synthetic' failed" in output and "between 0 and 20" in output and "Traceback" not in output
