"""Models that come with the package: folders beside this module, as ``python -m cmelt_plugin.export`` writes them.

They were trained on synthetic recordings alone (docs/synthetic-model.md), so no patient's data is in them and no other licence
than the package's goes with them.
"""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
DEFAULT = "synthetic"
"""What ``python -m cmelt_plugin.predict`` takes where no checkpoint is given."""
SHIPPED = (DEFAULT,)
PROMPTS = "ptb-xl-all"
"""The classes it is asked about where none are given."""
NOTICE = (
    "synthetic: the model that comes with the package. It was trained on synthetic recordings and never saw a patient; "
    "it is not a medical device (docs/synthetic-model.md)."
)


def shipped_folder(name: str | os.PathLike) -> Path | None:
    """The folder of a model that comes with the package; None for any other name. A path of that name is ``./synthetic``."""
    return FOLDER / os.fspath(name) if os.fspath(name) in SHIPPED else None
