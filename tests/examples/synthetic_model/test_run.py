"""The recipe of the model that comes with the package, with few records and updates."""

from __future__ import annotations

import shlex
import subprocess
from types import SimpleNamespace

import pytest
from hosts import REPOSITORY, outcome

pytest.importorskip("fairseq", reason="fairseq is not installed; run 'make install'")

from cmelt_plugin.errors import DataError  # noqa: E402
from cmelt_plugin.models.files.integrity import verify_model  # noqa: E402
from examples.synthetic_model import run as recipe  # noqa: E402


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Folder of data and checkpoints, and that of the model; the commands run in forks of a process with their imports."""
    folder = tmp_path_factory.mktemp("recipe")

    def forked(command, **_):
        code, printed = outcome(command, "fairseq", folder)
        assert code == 0, printed[-6000:]
        return SimpleNamespace(returncode=code)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "run", forked)
        patch.setattr(recipe, "QUICK_RECORDS", 120)
        assert recipe.main(["--quick", "--dest", str(folder / "dest"), "--model", str(folder / "model")]) == 0
    return folder


def test_it_makes_a_folder_with_its_card(made) -> None:
    assert verify_model(made / "model") == []
    card = (made / "model" / "README.md").read_text(encoding="utf-8")
    assert "| data set | python preprocess/synthetic.py --records 120 --seed 1 --prevalence balanced |" in card
    assert f"| updates | {recipe.QUICK_UPDATES} |" in card and str(made) not in card
    command = next(line for line in card.splitlines() if line.strip().startswith("fairseq-hydra-train"))
    assert "--config-name cmelt_synthetic" in shlex.join(shlex.split(command))


def test_what_is_there_is_left_and_training_goes_on_where_it_ended(made, monkeypatch, capsys) -> None:
    called = []

    def run(command, **_):
        called.append(command)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(recipe, "QUICK_RECORDS", 120)
    arguments = ["--quick", "--dest", str(made / "dest"), "--model", str(made / "model")]
    assert recipe.main(arguments) == 0
    assert capsys.readouterr().out.count("there already") == 5 and [command[2] for command in called] == ["cmelt_plugin.export"]
    called.clear()
    with pytest.raises(DataError, match="the training ended before 9 updates"):
        recipe.main([*arguments, "--updates", "9"])
    assert [command[2] for command in called] == ["fairseq_cli.hydra_train"] and "optimization.max_update=9" in called[0]


def test_a_command_that_fails_ends_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=3))
    with pytest.raises(DataError, match="exit code 3; running it all again goes on from here"):
        recipe.main(["--quick", "--dest", str(tmp_path), "--model", str(tmp_path / "model")])


@pytest.mark.parametrize("option", [["--quick"], ["--updates", "9"]])
def test_no_other_model_takes_the_place_of_the_packages(option, tmp_path) -> None:
    with pytest.raises(DataError, match="give --model a folder of its own"):
        recipe.main([*option, "--dest", str(tmp_path)])


def test_make_types_it() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    assert "examples/synthetic_model/run.py --dest synthetic-model" in makefile
