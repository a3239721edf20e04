"""That a model was not trained on the records it is calibrated or tested on, as far as its file says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cmelt_plugin.data.directory.manifest import available_splits
from cmelt_plugin.data.directory.split_meta import read_meta_column
from cmelt_plugin.data.directory.training_data import training_fingerprint
from cmelt_plugin.errors import DataError


def check_unseen(directory: str | Path, split: str, training: Mapping[str, Any] | None, source: str) -> str:
    """Refuse a split that training saw, or that shares records or subjects with the split that it saw.

    Args:
        directory: manifest directory.
        split: to be used.
        training: what the model's file says of its training data (:func:`training_fingerprint`); None: nothing.
        source: what to name in messages.

    Returns:
        A sentence on what could not be checked; "" where everything was.

    Raises:
        DataError: training saw the split, or some of its records or subjects.
    """
    if not training or not training.get("order"):
        return f"{source} does not say what it was trained on: that it never saw these records is for you to know."
    remedy = "calibrate on records that training did not see, such as the validation split"
    if _same(training_fingerprint(str(directory), split), training):
        raise DataError(f"{directory}/{split}: {source} was trained on these records; {remedy}")
    seen = [other for other in available_splits(directory) if _same(training_fingerprint(str(directory), other), training)]
    for other in seen:
        for column, what in (("record_id", "records"), ("subject_id", "subjects")):
            own, trained = (set(read_meta_column(directory, name, column).to_pylist()) - {"", None} for name in (split, other))
            if own & trained:
                shared = f"{len(own & trained)} {what} are in {other}, too"
                raise DataError(f"{directory}/{split}: {shared}, which {source} was trained on; {remedy}")
    if not seen:
        return f"The training data of {source} are not in {directory}: that no subject is in both is for you to know."
    return ""


def _same(own: Mapping[str, Any], training: Mapping[str, Any]) -> bool:
    return any(own.get(name) is not None and own[name] == training.get(name) for name in ("order", "meta"))
