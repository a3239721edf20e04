"""Zero-shot classification of labelled manifest directories with a pre-trained checkpoint.

The ECG encoder goes over every split once; class texts are embedded once per set. Class texts come from --prompts, else
from the directory's prompts.json, else from the texts of this package for the directory's label set; --prompt-kind asks
for the latter by kind. Each set gives a result folder with its scores below --results, and all of them a table.

F1 and accuracy need thresholds, which are chosen on validation data, never on the split that is evaluated. Where a class has
texts on its absence, its score is the difference of both similarities.

--leads shows the model some leads alone; --compare-leads one set of leads after the other, with a table of what each loses.

--teacher adds scores by the texts of the teacher whose space the embeddings share: mean cosines, as they are and centred, that
is without the mean embedding of the validation data and without that of the texts.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

from cmelt_plugin.data.files import write_texts
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding.encoder import SplitEncoder
from cmelt_plugin.evaluation.embedding.precision import precision_name
from cmelt_plugin.evaluation.embedding.teacher_items import open_teacher_of, prompts_of
from cmelt_plugin.evaluation.labelled_split import folder_names
from cmelt_plugin.evaluation.lead_sets import add_lead_options, chosen_lead_sets, lead_set_name, lead_table
from cmelt_plugin.evaluation.metrics.thresholds import F1, RULES
from cmelt_plugin.evaluation.options import (
    TEXT_MODEL,
    CommandFacts,
    add_options,
    command_facts,
    load_text_model,
    typed_command,
)
from cmelt_plugin.evaluation.result_files import Result
from cmelt_plugin.evaluation.zero_shot.evaluate import (
    shift_sources,
)
from cmelt_plugin.evaluation.zero_shot.sets import evaluate_set, plan_set
from cmelt_plugin.evaluation.zero_shot.tables import (
    class_table,
    prompts_table,
    published_comparisons,
    shift_table,
    summary_table,
)
from cmelt_plugin.evaluation.zero_shot.teacher_texts import teacher_classes
from cmelt_plugin.models.inference.scoring import score_settings
from cmelt_plugin.option_types import command_parser
from cmelt_plugin.prompts import KINDS
from cmelt_plugin.tables import TextTable

EXAMPLE = """example:
  python -m cmelt_plugin.evaluation.zero_shot --checkpoint checkpoints/mine/checkpoint_best.pt \\
      --manifest manifests/ptb-xl-super manifests/cpsc2018 manifests/csn --shift --results results/zero-shot
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = command_parser("cmelt_plugin.evaluation.zero_shot", __doc__, EXAMPLE)
    add_options(result, TEXT_MODEL)
    add_lead_options(result)
    result.add_argument("--prompts", help="class texts: a JSON file, or one of our label sets")
    kinds = result.add_mutually_exclusive_group()
    kinds.add_argument("--prompt-kind", choices=KINDS, help="our texts of this kind (default: as the directory has them)")
    kinds.add_argument("--compare-prompts", nargs="+", choices=KINDS, metavar="KIND", help="several kinds, side by side")
    result.add_argument("--thresholds-from", default="valid", help="split for thresholds, or none (valid)")
    result.add_argument(
        "--thresholds-manifest", type=Path, help="take thresholds from this directory, for sets without validation data"
    )
    result.add_argument(
        "--threshold-rule", choices=RULES, default=F1, help="what thresholds are best by on validation data (f1)"
    )
    result.add_argument("--teacher", type=Path, metavar="DIR", help="teacher sidecar: also by its texts (prompts.npz)")
    result.add_argument("--shift", action="store_true", help="also the class mappings of paper Table 11 (Table 4)")
    result.add_argument("--keep-embeddings", action="store_true", help="write embeddings.npz, for t-SNE")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    args = parser().parse_args(argv)
    lead_sets = chosen_lead_sets(args)
    command = typed_command("cmelt_plugin.evaluation.zero_shot", argv)
    planned = [plan_set(name, directory, args) for name, directory in zip(folder_names(args.manifest), args.manifest)]
    if args.shift and not any(shift_sources(one.test.label_set) for one in planned):
        raise DataError("--shift: none of the manifests has one of the label sets of Table 11: ptb-xl-super, cpsc2018, csn")
    pretrained = load_text_model(args)
    prompts = None
    if args.teacher is not None:
        prompts = prompts_of(open_teacher_of(pretrained, args.teacher))
        if not any(teacher_classes(prompts, one.test.names).names for one in planned):
            groups = ", ".join(sorted(set(prompts.group.tolist())))
            raise DataError(f"--teacher {args.teacher}: has no texts on a class of these sets; groups of its texts: {groups}")
    encoder = SplitEncoder(pretrained.model, args.cache, args.batch_size, device=args.device, bf16=args.bf16)
    settings = {"precision": precision_name(args.bf16), **score_settings(pretrained.model)}
    facts = command_facts(args, command, settings)

    named: list[tuple[str, Result]] = []
    shifted: list[Result] = []
    compared: list[tuple[str, Result]] = []
    for one, leads in itertools.product(planned, lead_sets):
        shown = {} if leads == LEADS else {"leads": list(leads)}
        of_leads = facts._replace(settings={**settings, **shown})
        name = one.name if args.compare_leads is None else f"{one.name}-{lead_set_name(leads)}"
        results, shifts = evaluate_set(one._replace(name=name), pretrained, encoder, of_leads, args, prompts, leads)
        named += [(name, result) for result in results]
        shifted += shifts
        own = _with_kind([(one.name, result) for result in results])
        compared += own + [(f"{one.name}, {shift.settings['source']} → {shift.label_set}", shift) for shift in shifts]
    tables = {"zero_shot": summary_table(_with_kind(named)), "zero_shot_classes": class_table(_with_kind(named))}
    if args.compare_prompts:
        tables["prompts"] = prompts_table(named)
    if args.compare_leads is not None:
        tables["leads"] = lead_table(compared)
    elif shifted:
        tables["shift"] = shift_table(shifted)
    for results in ([result for _, result in named], shifted):
        tables.update({f"paper_table_{name}": table for name, table in published_comparisons(results).items()})
    write_tables(args.results, tables, facts, named)
    for table in tables.values():
        print(f"\n{table.markdown()}", end="")
    print(f"\n{args.results}: {len(named)} results, {len(shifted)} of distribution shift, tables in zero_shot.md and *.csv")
    return 0


def write_tables(folder: Path, tables: dict[str, TextTable], facts: CommandFacts, named: Sequence[tuple[str, Result]]) -> None:
    """Write ``zero_shot.md`` with all tables, and each as CSV."""
    notes = [f"- {name}: {note}" for name, result in _with_kind(named) for note in result.notes]
    lines = [f"# Zero-shot: {facts.model}\n", f"Checkpoint: `{facts.checkpoint}`\n"]
    lines += [table.markdown() for table in tables.values()]
    if facts.bootstrap:
        lines.append(f"low, high: 95 % percentile interval, {facts.bootstrap} resamples of subjects.\n")
    if notes:
        lines.append("\n".join(notes) + "\n")
    lines.append(f"Command: `{facts.command}`\n")
    files = {f"{name}.csv": table.csv() for name, table in tables.items()}
    write_texts(folder, {"zero_shot.md": "\n".join(lines), **files})


def _with_kind(named: Sequence[tuple[str, Result]]) -> list[tuple[str, Result]]:
    """Names told apart by kind of text where a set occurs more than once."""
    names = [name for name, _ in named]
    return [(f"{name} ({result.settings['prompt_kind']})" if names.count(name) > 1 else name, result) for name, result in named]


if __name__ == "__main__":
    sys.exit(run(main))
