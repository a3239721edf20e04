"""What an installation brings: the wheel holds every module and data file, and its metadata name what is imported."""

from __future__ import annotations

import ast
import email
import email.message
import importlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("setuptools", minversion="64", reason="older setuptools has no build_editable")

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = ("cmelt_plugin", "preprocess", "hydra_plugins")
WEIGHTS = REPOSITORY / "cmelt_plugin" / "weights"
SOURCES = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "examples", *PACKAGES)

# Distributions whose import name differs from their own.
DISTRIBUTIONS = {
    "sklearn": "scikit-learn",
    "faiss": "faiss-cpu",
    "distributed": "dask",
    "rouge_score": "rouge-score",
    "yaml": "pyyaml",
}
# What the hosts bring: fairseq is the host itself; hydra and omegaconf must be the versions it asks for.
FROM_HOST = {"fairseq", "fairseq_cli", "fairseq_signals", "hydra", "omegaconf"}
# Brought by a declared dependency that cannot do without it: transformers.
TRANSITIVE = {"safetensors", "huggingface_hub", "tokenizers"}


# Files of the models that come with the package.
MODELS = {
    path.relative_to(REPOSITORY).as_posix() for path in WEIGHTS.glob("*/**/*") if path.is_file() and path.suffix != ".pyc"
}


def copy_sources(folder: Path) -> Path:
    """A copy to build in: setuptools leaves build/ behind, and would put stale files found there into the wheel."""
    for name in SOURCES:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "outputs"))
        elif source.is_file():
            shutil.copy(source, folder / name)
    return folder


def build(sources: Path, hook: str, environment: dict[str, str] | None = None) -> zipfile.ZipFile:
    """What :func:`built` makes, where that is a wheel."""
    return zipfile.ZipFile(built(sources, hook, environment))


def built(sources: Path, hook: str, environment: dict[str, str] | None = None) -> Path:
    """Call a hook of the build backend (build_wheel, build_editable, build_sdist) as pip does, without a network."""
    code = f"import sys; from setuptools import build_meta; print(build_meta.{hook}(sys.argv[1]))"
    target = sources / "wheels"
    target.mkdir(exist_ok=True)
    variables = {key: value for key, value in os.environ.items() if key != "CMELT_HOST"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(target)],
        cwd=sources,
        env={**variables, **(environment or {})},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return target / done.stdout.split()[-1]


def metadata(wheel: zipfile.ZipFile) -> email.message.Message:
    name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(wheel.read(name))


def required(wheel: zipfile.ZipFile) -> dict[str, str]:
    """Distribution name -> the whole requirement, extras included."""
    lines = metadata(wheel).get_all("Requires-Dist")
    return {re.match(r"[\w.-]+", line).group().lower(): line for line in lines}


def entry_points(wheel: zipfile.ZipFile) -> str:
    return "".join(wheel.read(name).decode() for name in wheel.namelist() if name.endswith("/entry_points.txt"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return build(copy_sources(tmp_path_factory.mktemp("sources")), "build_wheel")


def test_wheel_holds_every_module_and_data_file(wheel: zipfile.ZipFile) -> None:
    expected = MODELS | {
        path.relative_to(REPOSITORY).as_posix()
        for package in PACKAGES
        for path in (REPOSITORY / package).rglob("*")
        if path.suffix in (".py", ".json", ".html", ".css") and "__pycache__" not in path.parts
    }
    assert {"cmelt_plugin/weights/synthetic/model.safetensors", "cmelt_plugin/weights/synthetic/README.md"} <= MODELS
    assert {"cmelt_plugin/__init__.py", "hydra_plugins/cmelt_plugin/__init__.py", "preprocess/__init__.py"} <= expected
    shipped = {name for name in wheel.namelist() if name.startswith(tuple(f"{package}/" for package in PACKAGES))}
    assert shipped == expected


def test_hydra_plugins_stays_a_namespace_package(wheel: zipfile.ZipFile) -> None:
    """An __init__.py there would hide the plugins of every other distribution."""
    assert not (REPOSITORY / "hydra_plugins" / "__init__.py").exists()
    assert "hydra_plugins/__init__.py" not in wheel.namelist()


def test_wheel_brings_the_examples(wheel: zipfile.ZipFile) -> None:
    expected = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "examples").rglob("*.yaml")}
    marker = ".data/data/share/cmelt_plugin/"
    assert {name.split(marker)[1] for name in wheel.namelist() if marker in name} == expected


def test_source_distribution_holds_the_models(tmp_path: Path) -> None:
    with tarfile.open(built(copy_sources(tmp_path), "build_sdist")) as archive:
        assert MODELS <= {name.partition("/")[2] for name in archive.getnames()}


def test_wheel_holds_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.startswith("cmelt_plugin-")} == set(PACKAGES)


def test_editable_installation_is_a_path(tmp_path: Path) -> None:
    """Hydra finds plugins with pkgutil, which does not see packages behind setuptools' import hook."""
    sources = copy_sources(tmp_path)
    editable = build(sources, "build_editable")
    names = [name for name in editable.namelist() if "/" not in name]
    assert len(names) == 1 and names[0].endswith(".pth")
    assert Path(editable.read(names[0]).decode().strip()).resolve() == sources.resolve()


def test_hydra_finds_the_plugin_of_an_unpacked_wheel(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    pytest.importorskip("hydra")
    wheel.extractall(tmp_path)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from hydra.core.plugins import Plugins\n"
        "Plugins.instance()\n"
        "print(sys.modules['hydra_plugins.cmelt_plugin'].__file__, 'cmelt_plugin' in sys.modules)"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found, imported = done.stdout.split()
    assert Path(found).is_relative_to(tmp_path)
    assert imported == "False", "a hydra program without a host must not load the plugin"


def test_default_host_depends_on_the_python_version(wheel: zipfile.ZipFile) -> None:
    requirements = required(wheel)
    assert re.search(r'python_version >= "3.11"', requirements["fairseq-fixed"])
    assert re.search(r'python_version < "3.11"', requirements["fairseq"])


def test_validate_command_is_importable(wheel: zipfile.ZipFile) -> None:
    line = re.search(r"^fairseq-hydra-validate = ([\w.]+):(\w+)$", entry_points(wheel), re.MULTILINE)
    module, function = line.groups()
    assert (module, function) == ("fairseq_cli.hydra_validate", "cli_main")
    pytest.importorskip("fairseq_cli", reason="no host; install fairseq-fixed or fairseq-signals")
    assert callable(getattr(importlib.import_module(module), function))


def test_fairseq_signals_replaces_fairseq(tmp_path: Path) -> None:
    """Both hosts own a package fairseq_cli: a distribution for one must not ask for the other."""
    wheel = build(copy_sources(tmp_path), "build_wheel", {"CMELT_HOST": "fairseq_signals"})
    assert not {"fairseq", "fairseq-fixed"} & set(required(wheel))
    assert "fairseq-hydra-validate" not in entry_points(wheel), "fairseq-signals brings this command itself"


def test_unknown_host_is_refused(tmp_path: Path) -> None:
    sources = copy_sources(tmp_path)
    done = subprocess.run(
        [sys.executable, "setup.py", "--name"],
        cwd=sources,
        env={**os.environ, "CMELT_HOST": "fairsec"},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "CMELT_HOST='fairsec'" in done.stderr


@pytest.mark.skipif(sys.version_info < (3, 10), reason="sys.stdlib_module_names is new in Python 3.10")
def test_every_import_is_declared(wheel: zipfile.ZipFile) -> None:
    declared = set(required(wheel)) | FROM_HOST | TRANSITIVE | set(PACKAGES) | set(sys.stdlib_module_names)
    undeclared = {}
    for package in PACKAGES:
        for path in (REPOSITORY / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and node.level == 0:
                    names = [node.module]
                else:
                    continue
                for top in (name.split(".")[0] for name in names):
                    if DISTRIBUTIONS.get(top, top) not in declared:
                        undeclared.setdefault(top, set()).add(str(path.relative_to(REPOSITORY)))
    assert not undeclared


def test_inference_needs_no_host_and_no_compiler(tmp_path: Path) -> None:
    wheel = build(copy_sources(tmp_path), "build_wheel", {"CMELT_HOST": "none"})
    assert metadata(wheel)["Name"] == "cmelt-inference"
    always = {name for name, line in required(wheel).items() if "extra ==" not in line}
    assert always == {"torch", "numpy", "scipy", "transformers", "safetensors", "tqdm"}
    assert {name.split("/")[0] for name in wheel.namelist() if ".dist-info/" not in name} == {"cmelt_plugin"}
    assert not any(name.endswith("entry_points.txt") for name in wheel.namelist())


def test_commands_of_inference_import_nothing_else() -> None:
    """In a process that lacks what training, evaluation and preparation need."""
    script = (
        "import sys\n"
        "class Lacking:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in sys.argv[1:]:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Lacking())\n"
        "import cmelt_plugin.convert, cmelt_plugin.export, cmelt_plugin.predict, cmelt_plugin.models.inference.pretrained\n"
    )
    lacking = ["pandas", "pyarrow", "sklearn", "faiss", "wfdb", "h5py", "joblib", "soundfile", "pydicom", "dask", *FROM_HOST]
    done = subprocess.run([sys.executable, "-c", script, *lacking], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
