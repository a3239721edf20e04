"""That a model was not trained on the records it is calibrated or tested on, as far as its file says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cmelt_plugin.data.directory.manifest import available_splits
from cmelt_plugin.data.directory.subjects import in_both
from cmelt_plugin.data.directory.training_data import same_records, training_fingerprint
from cmelt_plugin.errors import DataError


class Training(NamedTuple):
    """One training that a model went through.

    Attributes:
        source: what to name in messages: "x.pt", "what x.pt began with".
        data: :func:`training_fingerprint` of its records; None: nothing is known.
        directory: where they lay then; "" where that is not known.
    """

    source: str
    data: Mapping[str, Any] | None
    directory: str = ""


def check_unseen(directory: str | Path, split: str, training: Training) -> str:
    """Refuse a split that training saw, or that shares records or subjects with the split that it saw.

    Args:
        directory: manifest directory.
        split: to be used.
        training: of the model.

    Returns:
        A sentence on what could not be checked; "" where everything was.

    Raises:
        DataError: training saw the split, or some of its records or subjects; or a file of the splits is damaged.
    """
    source, data = training.source, training.data
    if not data or not data.get("order"):
        return f"{source} does not say what it was trained on: that it never saw these records is for you to know."
    remedy = "calibrate on records that training did not see, such as the validation split"
    if same_records(training_fingerprint(str(directory), split), data):
        raise DataError(f"{directory}/{split}: {source} was trained on these records; {remedy}")
    seen = [(Path(directory), other) for other in available_splits(directory)]
    seen = [place for place in seen if _is(place, data)]
    home = (Path(training.directory), str(data.get("split")))
    if training.directory and not seen and _is(home, data):
        seen = [home]
    for place, other in seen:
        shared = in_both(Path(directory), split, place, other)
        if shared:
            where = other if place == Path(directory) else f"{place}/{other}"
            found = f"{shared.many} are in {where}, too, which {source} was trained on (one of them: {shared.one})"
            raise DataError(f"{directory}/{split}: {found}; {remedy}")
    if not seen:
        return (
            f"The training data of {source} cannot be recognised in {directory}: that no subject is in both is for you to know."
        )
    return ""


def _is(place: tuple[Path, str], data: Mapping[str, Any]) -> bool:
    directory, split = place
    if not all((directory / f"{split}.{ending}").is_file() for ending in ("tsv", "meta.parquet")):
        return False
    return same_records(training_fingerprint(str(directory), split), data)
