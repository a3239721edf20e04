"""Which phrases stand for findings in the reports of a manifest directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from cmelt_plugin.data.directory.own_files import LABELS_FILE, PROMPTS_FILE
from cmelt_plugin.data.text.mentions import Vocabulary
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.zero_shot.class_texts import read_label_set
from cmelt_plugin.prompts import label_sets, load_prompts

FINDINGS_OPTION: dict[str, Any] = {
    "help": "class texts by which findings are recognised: one of our label sets, or a JSON file (the directory's own)",
}
"""``--findings`` of the commands that read findings from reports."""


class FindingTexts(NamedTuple):
    """A vocabulary, and the label set or file it comes from."""

    vocabulary: Vocabulary
    source: str


def open_finding_texts(directory: Path, findings: str | None = None) -> FindingTexts:
    """The vocabulary of a manifest directory's findings.

    Taken from ``findings`` where given, else from our texts of the directory's label set, else from its prompts.json. Of texts
    that keep names, abbreviations and descriptions apart all are used.

    Raises:
        DataError: no class texts to be found.
    """
    own_file = directory / PROMPTS_FILE
    label_set = read_label_set(directory) if (directory / LABELS_FILE).is_file() else ""
    source = findings or (label_set if label_set in label_sets() else str(own_file))
    if findings is None and source == str(own_file) and not own_file.is_file():
        raise DataError(
            f"{directory}: no class texts by which findings could be recognised; name one of our label sets "
            f"({', '.join(label_sets())}) or a JSON file with --findings"
        )
    return FindingTexts(Vocabulary(load_prompts(source, "all")), source)
