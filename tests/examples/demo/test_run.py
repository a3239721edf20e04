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
from examples.demo.run import parser  # noqa: E402
from examples.demo.systems import SYSTEMS  # noqa: E402
from preprocess.synthetic_ecg.layouts.ptb_xl_layout import write_ptb_xl_layout  # noqa: E402

STEPS = ("synthetic", "records", "labels", "tokenizer", "train", "validate")


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
        assert f"[{number}/7]" in output
        assert json.loads((dest / "logs" / f"{name}.done.json").read_text())["command"]
    assert "--dest demo/cohort" in output and "task.data=$PWD/demo/manifest" in output
    assert str(dest / "report.html") in output
    assert "MISSED" not in output  # --quick has no bars
    assert "--prevalence balanced" in output and "--real FOLDER" in output
    assert "more lines in demo/logs/labels.log" in output and output.count("present,") < 30


def test_every_system_has_a_configuration_and_a_part_of_the_page():
    assert set(PARTS) == set(SYSTEMS)
    for system in SYSTEMS.values():
        for name in (system.configuration, system.larger):
            assert (REPOSITORY / "examples" / "pretrain" / f"{name}.yaml").is_file()
        assert system.bars


def test_what_is_trained_by_default_has_the_bars_of_all_findings():
    bars = SYSTEMS[parser().parse_args([]).system].bars
    assert bars["macro_auc"] >= 0.92 and min(bars["auc_LVH"], bars["auc_LVOLT"]) >= 0.80


def test_cmelt_has_its_own_part_and_reads_recordings_without_labels(first, tmp_path):
    """On the data of the first demo."""
    root = tmp_path / "clinic"
    root.mkdir()
    records = sorted((first[0] / "cohort" / "files").rglob("*.hea"))[:3]
    for path in records:
        for suffix in (".hea", ".dat"):
            shutil.copy(path.with_suffix(suffix), root)
    (root / "broken.hea").write_text("nonsense")
    output, html = other_system(first, tmp_path / "demo", "cmelt", "--real", str(root))
    assert "preprocess/n3s.py" in html
    for heading in ("Negative reports (N3S)", "Masked ECG modelling", "Real recordings"):
        assert f"<h2>{heading}</h2>" in html
    assert "Written reports" not in html
    assert "4 records: 3 predicted, 1 skipped" in output and '"scores"' not in output
    assert "3 recordings in" in html and all(path.stem in html for path in records)


def test_melp_has_its_own_part(first, tmp_path):
    """On the data of the first demo."""
    _, html = other_system(first, tmp_path / "demo", "melp")
    for text in ("<h2>Written reports</h2>", "written by the model", "Next word of the report"):
        assert text in html
    for heading in ("Negative reports (N3S)", "Masked ECG modelling", "Real recordings"):
        assert heading not in html


def other_system(first, dest, name, *options):
    """Output and page of the demo of a system that learns from reports alone, on the data of the first one."""
    shutil.copytree(first[0], dest, ignore=shutil.ignore_patterns("checkpoints", "report.html"))
    for path in (*dest.glob("logs/train.*"), *dest.glob("logs/validate.*")):
        path.unlink()
    for path in (dest / "demo.json", *dest.glob("logs/*.json")):
        text = path.read_text(encoding="utf-8").replace('"merl"', f'"{name}"')
        path.write_text(text.replace(str(first[0]), str(dest)), encoding="utf-8")
    code, output = demo(dest, "--quick", "--system", name, *options)
    assert code == 0, output
    assert output.count("done before") == 4 and f"--config-name {name}_tiny" in output
    assert "model.amplitude_embedding=true" in output
    html = (dest / "report.html").read_text(encoding="utf-8")
    for text in (f"<title>{SYSTEMS[name].title} demo", f"{name}_base", SYSTEMS[name].text_encoder, "No class was trained"):
        assert text in html
    return output, html


def test_the_page_shows_every_section(first):
    dest, output = first
    html = (dest / "report.html").read_text(encoding="utf-8")
    for heading in ("Result", "Commands", "Data", "Training", "ECGs and reports", "Classification by class texts",
                    "Your own data"):  # fmt: skip
        assert f"<h2>{heading}</h2>" in html
    for heading in ("Negative reports (N3S)", "Masked ECG modelling", "Real recordings"):
        assert f"<h2>{heading}</h2>" not in html
    assert "The recordings are synthetic" in html and "learnt from the labels" in html
    assert "ECG against the texts of its classes" in html
    assert html.count("<svg") >= 9
    assert not re.search(r'(src|href)="http', html)


@pytest.mark.parametrize(("name", "said"), [("nowhere", "no such folder"), ("empty", "no WFDB record there")])
def test_a_folder_without_recordings_is_refused_before_anything_is_trained(tmp_path, name, said):
    (tmp_path / "empty").mkdir()
    code, output = demo(tmp_path / "demo", "--quick", "--real", str(tmp_path / name))
    assert code == 1 and said in output and "Traceback" not in output
    assert not (tmp_path / "demo").exists()


def test_a_second_run_trains_a_lost_model_again_and_reads_ptb_xl(first, tmp_path):
    dest, _ = first
    root = tmp_path / "ptb-xl"
    write_ptb_xl_layout(root, 60, seed=3)
    shutil.rmtree(root / "records500")
    before = {name: (dest / "logs" / f"{name}.done.json").read_text() for name in STEPS}
    (dest / "report.html").unlink()
    shutil.rmtree(dest / "checkpoints")
    code, output = demo(dest, "--quick", "--real", str(root))
    assert code == 0, output
    after = {name: (dest / "logs" / f"{name}.done.json").read_text() for name in STEPS}
    assert [name for name in STEPS if before[name] != after[name]] == ["train", "validate"]
    assert output.count("done before") == 4
    assert "preprocess/ptb_xl.py --task all" in output and "--rate 100" in output
    assert "real recordings, PTB-XL's superclasses, macro AUC" in output and "MISSED" not in output
    html = (dest / "report.html").read_text(encoding="utf-8")
    for text in ("<h2>Real recordings</h2>", "60 recordings of", "random weights", "superclasses", "rhythm"):
        assert text in html


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
