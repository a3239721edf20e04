"""Where a model looks for the sentences of reports: the table, and some recordings."""

from __future__ import annotations

from cmelt_plugin.evaluation.ground.examples import read_examples
from cmelt_plugin.evaluation.ground.tables import grounding_table
from cmelt_plugin.evaluation.report.blocks import Block, Paragraph, Picture, Section, Table
from cmelt_plugin.evaluation.report.descriptions import data_set_name, heading
from cmelt_plugin.evaluation.result_files import StoredResult


def grounding_section(stored: StoredResult) -> Section | None:
    """What one result of the kind ``grounding`` says; None for other kinds.

    Raises:
        DataError: the examples beside it are damaged.
    """
    result = stored.result
    if result.kind != "grounding":
        return None
    table = grounding_table([(data_set_name(result), result)])
    blocks: list[Block] = [Table(table.head, table.rows, numeric=range(2, len(table.head)))]
    blocks += [Paragraph(note) for note in result.notes]
    for example in read_examples(stored):
        sentences = "; ".join(sentence.text for sentence in example.sentences)
        description = f"the recording {example.record_id} and where the model looks for: {sentences}"
        caption = "Black: where the finding of the sentence lies. Recordings with most such sentences, whatever the model does."
        blocks.append(Picture(example.figure(), description, caption, wide=True))
    return Section(heading(result), blocks)
