"""A model as a folder with code of its own, for ``AutoModel.from_pretrained(folder, trust_remote_code=True)``.

Whoever opens it needs torch, transformers and scipy, and nothing of this package: the code in it is the ECG side of the model
as :mod:`cmelt_plugin.automodel.excerpts` cuts it out of this package. Texts are not read there; those of classes are embedded
when the folder is written.
"""

from __future__ import annotations

import dataclasses
import json
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from torch import Tensor

from cmelt_plugin import registry
from cmelt_plugin.automodel.excerpts import excerpts, file_name, first_definition
from cmelt_plugin.data.files import write_json, write_texts
from cmelt_plugin.errors import DataError
from cmelt_plugin.models.files.exported import CONFIG_FILE, WEIGHTS_FILE, distinct_tensors, read_config, without_paths
from cmelt_plugin.models.files.released import is_released
from cmelt_plugin.models.inference.predictor import MEANING, PROBABILITY, Predictor
from cmelt_plugin.serialization.safetensors_files import write_safetensors
from cmelt_plugin.version import __version__

EXTRACTOR_FILE = "preprocessor_config.json"
LICENCE_FILE = "LICENSE"
MODEL_TYPE = "cmelt-ecg"
ENTRIES = {
    "AutoConfig": ("configuration_ecg", "cmelt_plugin.automodel.configuration", "ECGConfig"),
    "AutoFeatureExtractor": ("feature_extraction_ecg", "cmelt_plugin.automodel.feature_extraction", "ECGFeatureExtractor"),
    "AutoModel": ("modeling_ecg", "cmelt_plugin.automodel.modeling", "ECGAutoModel"),
}
"""What transformers opens → the file it looks into, and where in this package that comes from."""
DISTRIBUTIONS = ("cmelt-inference", "cmelt-plugin")
MOST_LISTED = 50
ENTRY = """# Written by cmelt_plugin {version}. MIT License, see LICENSE.

from typing import TYPE_CHECKING

from .{module} import {definition}

if TYPE_CHECKING:  # older versions of transformers take those files along that the first one names, and no others
{names}

__all__ = ["{definition}"]
"""
SUBCLASS = """
from .{module} import {side}


class {name}({base}):
    side = {side}
"""
CARD = """---
library_name: "transformers"
license: {quoted}
tags: ["ecg", "electrocardiogram", {system}]
---
# {name}

The ECG side of {title}, {parameters:.1f} million weights, for transformers: plain PyTorch, nothing of what trained it.

```python
from transformers import AutoFeatureExtractor, AutoModel

model = AutoModel.from_pretrained("path/of/this/folder", trust_remote_code=True)
extractor = AutoFeatureExtractor.from_pretrained("path/of/this/folder", trust_remote_code=True)
output = model(**extractor(signal, sample_rate=400, leads=["I", "II", ...]))  # [leads, samples] in mV
output.features, output.embedding{use}
```

Input: millivolts, leads {leads}, in any order, at any rate.
The extractor resamples, cuts and pads; filters and normalisation ({normalisation}) are the model's.
Needs torch, transformers and scipy.
{classes}
Research only, not a medical device. Nothing here has been evaluated for diagnosis or treatment.

Weights: {licence}. Code: MIT (LICENSE). {paper}.
{note}"""


def write_automodel(
    folder: Path, pretrained: Any, prompts: Any = None, name: str | None = None, licence: str = "other"
) -> list[Path]:
    """Write weights, configuration, code, licence and model card.

    Args:
        folder: where to; what was written there before is replaced.
        pretrained: from ``load_pretrained``.
        prompts: of a model that reads texts, class → texts: it also scores these classes.
        name: title of the card; None: the folder's.
        licence: of the weights.

    Raises:
        DataError: the model has no ECG side that stands alone, or variances that were not part of its training.
    """
    if pretrained.variances:
        raise DataError(f"{pretrained.source}: the variances of {pretrained.variances} stay there; open the model without them")
    predictor = Predictor(pretrained, prompts) if pretrained.is_classifier or prompts is not None else None
    settings = dataclasses.asdict(pretrained.model.cfg)
    system = registry.systems().get(pretrained.cfg["model"]["_name"])
    if system is None and pretrained.is_classifier:
        system = registry.system_of_encoder(settings.get("encoder"))
    if system is None or system.ecg_side is None:
        raise DataError(
            f"{pretrained.source}: the ECG side of {pretrained.cfg['model']['_name']} does not stand alone; try --format onnx"
        )
    module, side = system.ecg_side.split(":")
    values, tensors = _classes(predictor)
    contract = pretrained.model.signal
    signal = {
        "leads": list(contract.leads),
        "leads_read": list(pretrained.leads),
        "sample_rate": contract.sample_rate,
        "n_samples": contract.n_samples,
    }
    pool = getattr(pretrained.model.cfg, "pool", None) or pretrained.model.pools[0]
    values.update(settings=_portable(settings), pool=pool, signal=signal)
    weights = _weights(registry.imported(system.ecg_side), pretrained, values["settings"])
    class_name = f"{side}Model"
    sources = excerpts([(module, side), *((where, definition) for _, where, definition in ENTRIES.values())])
    files = {f"{file}.py": text for file, text in sources.items()}
    names = "\n".join(f"    from .{file} import {first_definition(text)}  # noqa: F401" for file, text in sources.items())
    for file, where, definition in ENTRIES.values():
        entry = {"version": __version__, "module": file_name(where), "definition": definition, "names": names}
        files[f"{file}.py"] = ENTRY.format(**entry)
    modeling, _, base = ENTRIES["AutoModel"]
    files[f"{modeling}.py"] += SUBCLASS.format(module=file_name(module), side=side, name=class_name, base=base)
    files[LICENCE_FILE] = licence_text()
    files["README.md"] = _card(pretrained, system, weights, values, name or folder.resolve().name, licence)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_FILE).unlink(missing_ok=True)  # written last: a folder that has it is whole
    for old in folder.glob("*.py"):
        old.unlink()
    write_texts(folder, files)
    write_safetensors(folder / WEIGHTS_FILE, {**weights, **tensors})
    places = {kind: f"{file}.{definition}" for kind, (file, _, definition) in ENTRIES.items()}
    places["AutoModel"] = f"{modeling}.{class_name}"
    extractor = places["AutoFeatureExtractor"]
    write_json(
        folder / EXTRACTOR_FILE,
        {
            **signal,
            "feature_extractor_type": extractor.partition(".")[2],
            "auto_map": {"AutoFeatureExtractor": extractor, "AutoProcessor": extractor},
        },
    )
    described = {"model_type": MODEL_TYPE, "architectures": [class_name], "auto_map": places, "torch_dtype": "float32"}
    write_json(folder / CONFIG_FILE, {**described, **values})
    return [folder / file for file in (*files, WEIGHTS_FILE, EXTRACTOR_FILE, CONFIG_FILE)]


def is_automodel(folder: Path) -> bool:
    """Whether a folder was written by :func:`write_automodel`."""
    path = folder / CONFIG_FILE
    values = read_config(path) if path.is_file() else None
    return isinstance(values, dict) and values.get("model_type") == MODEL_TYPE


def licence_text() -> str:
    """The licence of this package, as it was installed, or as it lies beside the package.

    Raises:
        DataError: it lies in neither place.
    """
    beside = Path(__file__).resolve().parents[2] / LICENCE_FILE
    if beside.is_file():
        return beside.read_text(encoding="utf-8")
    for distribution in DISTRIBUTIONS:
        try:
            files = metadata.files(distribution) or []
        except metadata.PackageNotFoundError:
            continue
        for file in files:
            if file.name == LICENCE_FILE:
                return Path(str(file.locate())).read_text(encoding="utf-8")
    raise DataError(f"{LICENCE_FILE} of this package is not where it was installed; install it again")


def _weights(side: Any, pretrained: Any, settings: dict[str, Any]) -> dict[str, Tensor]:
    """Weights of the ECG side, or of a classifier's encoder and layer, as the folder's model names them."""
    state = pretrained.model.state_dict()
    if pretrained.is_classifier:
        kept = {key: tensor for key, tensor in state.items() if key.startswith(("ecg_encoder.", "head."))}
    else:
        kept = {key: state[key] for key in side(SimpleNamespace(**settings)).state_dict()}
    tensors = distinct_tensors(kept)[0]
    return {f"ecg.{key}": tensor.float() if tensor.is_floating_point() else tensor for key, tensor in tensors.items()}


def _classes(predictor: Predictor | None) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Entries of the configuration about classes, and their embeddings."""
    if predictor is None:
        return {}, {}
    names = list(predictor.names)
    values: dict[str, Any] = {
        "classes": names,
        "scores": predictor.kind,
        "id2label": {str(index): name for index, name in enumerate(names)},
        "label2id": {name: index for index, name in enumerate(names)},
    }
    if predictor.kind == PROBABILITY:
        return {**values, "exclusive": predictor.pretrained.exclusive}, {}
    assert predictor.classes is not None
    mean, log_variance = predictor.classes
    tensors = {"class_means": mean.contiguous()}
    if log_variance is not None:
        tensors["class_log_variances"] = log_variance.contiguous()
    return {**values, "class_width": mean.shape[1], "gaussian_classes": log_variance is not None}, tensors


def _portable(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings without those of the text side and of the machine the model was trained on."""
    return without_paths({key: value for key, value in settings.items() if not key.startswith("text_") and key != "pretrained"})


def _card(
    pretrained: Any, system: registry.System, weights: dict[str, Tensor], values: dict[str, Any], name: str, licence: str
) -> str:
    card, classes, released = system.system_card(), values.get("classes", []), is_released(pretrained.source)
    listed = ", ".join(str(one) for one in classes[:MOST_LISTED]) + (", …" if len(classes) > MOST_LISTED else "")
    return CARD.format(
        quoted=json.dumps(licence),
        licence=licence,
        system=json.dumps(card.tags[0]),
        name=name,
        title=card.name,
        parameters=sum(tensor.numel() for tensor in weights.values()) / 1e6,
        use='\nmodel.classify(signal, sample_rate=400, leads=["I", "II", ...])' if classes else "",
        leads=", ".join(pretrained.leads),
        normalisation=pretrained.model.signal.normalisation,
        classes=f"\nScores are {MEANING[values['scores']]}. {len(classes)} classes: {listed}\n" if classes else "",
        paper=card.release if released else card.paper,
        note=f"\n{card.release_note}\n" if released else "",
    )
