"""Distributions ``cmelt-plugin`` and ``cmelt-inference``: dependencies and what the wheels hold. Tools: pyproject.toml.

``CMELT_HOST=none`` makes the second: the same package without hosts, data preparation and what only these need. It is a
distribution of its own because an extra can add requirements and not take any away: ``pip install cmelt-plugin`` must go on to
bring a host, whose C++ needs a compiler. Both write the package ``cmelt_plugin``; install one of them.
"""

import os
import re
from pathlib import Path

from setuptools import find_namespace_packages, setup

ROOT = Path(__file__).resolve().parent

# The host is chosen by the variable that chooses it at run time (cmelt_plugin/host/choosing.py). fairseq-signals is installed
# from its source repository, so it cannot be named as a dependency; and fairseq must not be installed beside it, since
# both bring a package fairseq_cli and overwrite each other's files.
HOST_REQUIREMENTS = {
    "fairseq": [
        # <0.13, twice: the plugin builds on 0.12's classes and configuration, which promise no stability.
        "fairseq-fixed>=0.12.3.1,<0.13; python_version >= '3.11'",
        # Its omegaconf 2.0 has metadata that only pip < 24.1 accepts; see CONTRIBUTING.md.
        "fairseq>=0.12.2,<0.13; python_version < '3.11'",
    ],
    "fairseq_signals": [
        # <4.56: fairseq-signals imports apply_chunking_to_forward from transformers.modeling_utils, removed there.
        "transformers<4.56",
    ],
    "none": [],
}
HOST = os.environ.get("CMELT_HOST") or "fairseq"
if HOST not in HOST_REQUIREMENTS:
    raise SystemExit(f"CMELT_HOST={HOST!r}: must be one of {', '.join(HOST_REQUIREMENTS)}")

# Lower bounds: release series of the oldest versions tried (Python 3.9). No upper bound without a reason beside it.
REQUIREMENTS = [
    "torch>=2.3",
    "numpy>=1.26",
    "scipy>=1.13",
    "pandas>=2.2.3",
    "pyarrow>=21",
    "scikit-learn>=1.6",
    "joblib>=1.4",  # brings loky's processes
    "wfdb>=4.3",  # writes records and is what ours are compared with; they are read without it
    "soundfile>=0.12",  # WFDB records in FLAC
    "faiss-cpu>=1.13",
    "transformers>=4.36",
    "sentencepiece>=0.2",
    "protobuf",  # transformers reads sentencepiece models through it and does not ask for it
    "tqdm",
    "h5py>=3.10",  # CODE-test and other recordings in HDF5
    "safetensors>=0.4",
    "jinja2>=3.1",  # the pages of evaluation.report and the demo
    "PyYAML",  # values on command lines, grids of examples/ablation
]
# Preparing data on several machines.
CLUSTER = ["dask[distributed]>=2024.8"]
# The corpus of the language stage: near-duplicates, and PubMed's XML read safely.
LANGUAGE = ["datasketch>=1.6", "defusedxml>=0.7"]
# Teacher sidecars from DICOM videos; pydicom 3 needs Python 3.10. Pillow decodes the JPEG that echo videos are packed in.
ECHO = ["pydicom>=3; python_version >= '3.10'", "pillow>=10"]
# Metrics of generated reports. METEOR knows synonyms where NLTK's WordNet has been downloaded.
GENERATION = ["sacrebleu>=2.3", "rouge-score>=0.1.2", "nltk>=3.9"]
# Using models: nothing that needs a compiler.
INFERENCE = ("torch", "numpy", "scipy", "transformers", "safetensors", "tqdm")
# Recordings in HDF5 and DICOM, and records in FLAC, where they are met.
FILES = ["h5py>=3.10", "soundfile>=0.12", *ECHO[:1]]
DEPLOYMENT = {
    "files": FILES,
    "sklearn": ["scikit-learn>=1.6"],
    "onnx": ["onnx>=1.17", "onnxscript>=0.5", "onnxruntime>=1.20"],
    "viz": ["matplotlib>=3.9"],
}
EXTRAS = {
    "cluster": CLUSTER,
    "language": LANGUAGE,
    # Both install a package named faiss, and pip leaves whichever it unpacked last; after installing this extra:
    #   pip uninstall -y faiss-cpu && pip install --force-reinstall --no-deps faiss-gpu
    # ('make gpu' does it). faiss's own GPU wheels (CUDA 12, Python >= 3.10) begin with 1.14.3; older files under that
    # name are another project's and end at Python 3.10.
    "gpu": ["faiss-gpu>=1.14.3; python_version >= '3.10'"],
    **DEPLOYMENT,
    "generation": GENERATION,
    "echo": ECHO,
    # ruff <0.18: rules and formatting change between its minor versions, and 'make test' checks both.
    # mypy <2.5, pandas-stubs <3.2: so do the faults mypy finds and the types of pandas. Both need a newer Python than
    # fairseq-signals has; 'make' takes 3.11 or 3.12.
    "dev": [
        *("pytest>=8", "pytest-xdist>=3.5", "hypothesis>=6.141", "ruff>=0.17,<0.18", *CLUSTER, *LANGUAGE, *GENERATION, *ECHO),
        *("mypy>=2.4,<2.5; python_version >= '3.11'", "pandas-stubs>=3.1,<3.2; python_version >= '3.11'"),
    ],
}


def example_files() -> list:
    """The YAML files of examples/, for wheels: they arrive under <prefix>/share/cmelt_plugin/examples."""
    folders = {}
    for path in sorted((ROOT / "examples").rglob("*.yaml")):
        relative = path.relative_to(ROOT)
        folders.setdefault(str(Path("share/cmelt_plugin") / relative.parent), []).append(str(relative))
    return list(folders.items())


# fairseq-fixed ships fairseq_cli.hydra_validate without a command for it; fairseq-signals has both. fairseq 0.12.2, the
# default below Python 3.11, has neither: there the command fails and names the missing module.
SCRIPTS = [] if HOST == "fairseq_signals" else ["fairseq-hydra-validate = fairseq_cli.hydra_validate:cli_main"]

VERSION = (ROOT / "cmelt_plugin" / "version.py").read_text(encoding="utf-8")

DISTRIBUTION = {
    "name": "cmelt-plugin",
    "description": "ECG-text pre-training (C-MELT) as a plugin of fairseq and fairseq-signals",
    "packages": ["cmelt_plugin", "cmelt_plugin.*", "preprocess", "preprocess.*", "hydra_plugins.cmelt_plugin*"],
    "data_files": example_files(),
    "install_requires": REQUIREMENTS + HOST_REQUIREMENTS[HOST],
    "extras_require": EXTRAS,
    "entry_points": {"console_scripts": SCRIPTS},
}
if HOST == "none":
    DISTRIBUTION = {
        "name": "cmelt-inference",
        "description": "Models of ECG and text (C-MELT) without a training framework: files, embeddings, predictions",
        "packages": ["cmelt_plugin", "cmelt_plugin.*"],
        "install_requires": [line for line in REQUIREMENTS if re.match(r"[\w-]+", line).group() in INFERENCE],
        "extras_require": DEPLOYMENT,
    }

setup(
    **{key: value for key, value in DISTRIBUTION.items() if key != "packages"},
    version=re.search(r'^__version__ = "(.+)"$', VERSION, re.MULTILINE).group(1),
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="C-MELT plugin authors",
    license="MIT",
    python_requires=">=3.9",
    # Namespace search: hydra_plugins must not have an __init__.py, and a folder that lacks one is not silently dropped.
    packages=find_namespace_packages(
        include=DISTRIBUTION["packages"],
        exclude=["*.__pycache__", "*.__pycache__.*"],
    ),
    # Said explicitly, so that an editable installation puts this folder itself on sys.path: hydra looks for plugins
    # with pkgutil, which does not see through the import hook that setuptools would otherwise install.
    package_dir={"": "."},
    package_data={
        "": ["*.json", "*.html", "*.css"],
        "cmelt_plugin.weights": ["*/*.safetensors", "*/*.json", "*/*.md", "*/tokenizer/*"],
    },
    zip_safe=False,
    classifiers=[
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Medical Science Apps.",
    ],
)
