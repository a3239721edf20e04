"""What a trained model says about recordings: ``python -m cmelt_plugin.predict``.

A fine-tuned classifier gives probabilities of its classes, a fine-tuned regression its value. A pre-trained model is used
zero-shot: it compares each recording with texts that describe classes (--prompts), or that name values of a measurement
(--teacher, --value-texts). Scores rank recordings and classes; they are not probabilities of a diagnosis. Where embeddings
are Gaussians, values have an interval, and every record the sum of its variances, its uncertainty; figures then show which
parts of the recording add to it. Once it was calibrated on labelled records (evaluation.calibrate), a model gives
probabilities, marks the classes that may be present with a promised recall, and says where it should not be relied on. Records
that cannot be read are reported and skipped; those whose
amplitude, range, limb leads or hum are no ordinary ECG's are predicted and named as doubtful. Not a medical device.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import functools
import json
import logging
import math
import os
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import numpy as np
from tqdm import tqdm

from cmelt_plugin import option_types
from cmelt_plugin.data.files import atomic_path
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.data.plausibility import describe_reasons
from cmelt_plugin.data.prepared_ecg import CROPS, MISSING_LEADS
from cmelt_plugin.data.readers.record_paths import find_records
from cmelt_plugin.errors import DataError, printable
from cmelt_plugin.evaluation.options import add_options
from cmelt_plugin.evaluation.prediction_batches import part_name, prepared_batches
from cmelt_plugin.evaluation.prediction_lines import class_table, json_line, value_table
from cmelt_plugin.evaluation.regress.options import add_value_options
from cmelt_plugin.evaluation.variance_map.methods import FILLS, LEAD, METHODS, ZERO
from cmelt_plugin.intake.windows import BEST, EVERY
from cmelt_plugin.models.inference.answering import Answerer
from cmelt_plugin.models.inference.calibration import CALIBRATION_FILE, calibration_folders, calibration_root
from cmelt_plugin.models.inference.predictor import MEANING, SIMILARITY, VALUE, CalibratedPredictor, Prediction, Predictor
from cmelt_plugin.option_types import command_parser
from cmelt_plugin.weights import DEFAULT, NOTICE, PROMPTS, shipped_folder

if TYPE_CHECKING:
    from cmelt_plugin.evaluation.regress.predictor import ValuePredictor
    from cmelt_plugin.evaluation.variance_map.maps import MapSettings

AnyPredictor = Union[Predictor, CalibratedPredictor, "ValuePredictor"]
EPILOG = """examples:
  python -m cmelt_plugin.predict 00001_hr.hea
  python -m cmelt_plugin.predict --checkpoint finetuned.pt 00001_hr.hea
  python -m cmelt_plugin.predict --checkpoint exported/ --prompts cpsc2018 --format jsonl records/ > scores.jsonl
  python -m cmelt_plugin.predict --checkpoint pretrained.pt --prompts mine.json --figure figures @list.txt
  python -m cmelt_plugin.predict --checkpoint pretrained.pt --teacher teachers/echo-clip --figure figures 00001_hr.hea
"""
LONGEST_FILE_NAME = 200  # bytes; file systems allow 255, and a temporary name is longer


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = command_parser("cmelt_plugin.predict", __doc__, EPILOG)
    names = (
        "ECG file of any format that is read (docs/formats.md); of WFDB records also pattern or folder; or @FILE with one path "
        "a line; names that begin with - or @: ./NAME"
    )
    result.add_argument("records", nargs="+", metavar="RECORD", help=names)
    result.add_argument(
        "--checkpoint",
        default=DEFAULT,
        help=f"checkpoint, exported folder, or the authors' weights ({DEFAULT}: the model that comes with the package)",
    )
    result.add_argument(
        "--prompts", help=f"classes of a pre-trained model: label set or JSON file (with --checkpoint {DEFAULT}: {PROMPTS})"
    )
    add_value_options(result)
    result.add_argument("--prompt-kind", default="description", help="name, abbreviation, description (default) or all")
    result.add_argument("--tokenizer", help="folder or name, where the model's own is not found")
    result.add_argument("--lead-order", help="authors' weights only: standard or mimic-iv-ecg")
    add_options(result, ["score", "variances"])
    result.add_argument(
        "--calibration",
        metavar="CLASSES|DIR",
        help="answer as calibrated for this label set, or by a folder that calibrate wrote (--dest); none: scores as they are "
        "(without texts the only one beside the model)",
    )
    result.add_argument(
        "--probe", metavar="FILE.npz", help="answer by a calibrated linear probe on the checkpoint (--save-probe)"
    )
    result.add_argument("--format", choices=("table", "jsonl"), default="table", help="jsonl: one object a record (table)")
    result.add_argument(
        "--top", type=option_types.natural, default=5, metavar="N", help="classes a record shows in the table; 0: all (5)"
    )
    result.add_argument("--figure", type=Path, metavar="DIR", help="also write a PNG per record: the ECG and its scores")
    result.add_argument(
        "--map",
        choices=(*METHODS, "none"),
        default=LEAD,
        help="uncertainty in figures: by hiding each second of each lead, of all leads, or by the model's tokens (lead)",
    )
    result.add_argument(
        "--map-window", type=option_types.positive_number, default=1.0, metavar="S", help="seconds that are hidden (1.0)"
    )
    result.add_argument(
        "--map-hop", type=option_types.positive_number, default=0.25, metavar="S", help="seconds from window to window (0.25)"
    )
    result.add_argument("--map-fill", choices=FILLS, default=ZERO, help="what stands in a hidden window (zero)")
    result.add_argument(
        "--crop",
        choices=(*CROPS, BEST, EVERY),
        default="start",
        help=f"which 10 s of longer recordings (start); {BEST}: of the highest quality index; {EVERY}: every 10 s, one by one",
    )
    result.add_argument(
        "--missing-leads", choices=MISSING_LEADS, default="refuse", help="zero: accept records without all leads"
    )
    result.add_argument("--accept-wrong-checksums", action="store_true", help="accept WFDB records that fail their checksums")
    result.add_argument("--batch-size", type=option_types.count, default=16, help="records at once (16)")
    result.add_argument("--device", default="cpu", help="e.g. cuda (cpu)")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 where at least one record was predicted, else 1."""
    arguments = parser().parse_args(argv)
    # Before the host is imported, which would otherwise print every library's messages.
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    if arguments.accept_wrong_checksums and arguments.crop not in CROPS:
        raise DataError(f"--accept-wrong-checksums: checksums are of whole records; leave --crop {arguments.crop} out")
    records = find_records(arguments.records)
    calibrated = _is_calibrated(arguments)
    if shipped_folder(arguments.checkpoint) is not None:
        print(NOTICE, file=sys.stderr)
        if not calibrated and arguments.prompts is None and arguments.teacher is None and arguments.value_texts is None:
            arguments.prompts = PROMPTS
    predictor = _predictor(arguments, calibrated)
    asked = predictor.names[0] if predictor.kind == VALUE else f"{len(predictor.names)} classes; scores"
    meaning = predictor.meaning if isinstance(predictor, CalibratedPredictor) else MEANING[predictor.kind]
    print(f"{arguments.checkpoint}: {asked}: {meaning}", file=sys.stderr)
    titles = _titles(predictor, arguments)
    write = _writer(predictor, records, arguments, titles)
    figure_names = _figure_names(records)
    maps = _maps(predictor, arguments)
    failed: list[tuple[str, str]] = []
    doubtful: list[tuple[str, str]] = []
    reasons: Counter[str] = Counter()
    abstained: Counter[str] = Counter()
    done = unanswered = 0
    prepare = functools.partial(
        predictor.pretrained.prepare,
        missing_leads=arguments.missing_leads,
        accept_wrong_checksums=arguments.accept_wrong_checksums,
    )
    with tqdm(total=len(records), desc="records", unit="record", file=sys.stderr, disable=len(records) < 2) as progress:
        for batch in prepared_batches(records, prepare, arguments.crop, arguments.batch_size):
            unreadable = batch.unreadable
            if batch.records:
                predictions = predictor.predict(batch.records, batch.prepared, arguments.batch_size)
                for prediction, begins in zip(predictions, batch.begins):
                    prediction = prediction._replace(begins=begins)
                    name = part_name(prediction.record, begins)
                    if not _is_finite(prediction):  # NaN is no JSON, and no score
                        unreadable.append((name, "the model's scores for it are not finite (NaN or infinite)"))
                        continue
                    done += 1
                    write(prediction)
                    if prediction.answer is not None and prediction.answer.abstention:
                        unanswered += 1
                        abstained.update(reason.code for reason in prediction.answer.abstention)
                    if prediction.doubts:
                        doubtful.append((name, describe_reasons(prediction.doubts)))
                        reasons.update(reason.code for reason in prediction.doubts)
                    if arguments.figure is not None:
                        figure = arguments.figure / figure_names[prediction.record]
                        if arguments.crop == EVERY and begins is not None:
                            figure = figure.with_suffix("") / f"{begins:g}s.png"
                        _write_figure(figure, predictor, prediction, maps, titles)
            for record, reason in unreadable:
                if arguments.format == "jsonl":
                    _print(json.dumps({"record": record, "error": reason}, ensure_ascii=False))
            failed += unreadable
            progress.update(batch.finished)
    for record, reason in failed:
        print(printable(f"skipped {record}: {reason}"), file=sys.stderr)
    for record, reason in doubtful:
        print(printable(f"warning: {record} is doubtful: {reason}"), file=sys.stderr)
    note = f", {len(doubtful)} doubtful ({_counted(reasons)})" if doubtful else ""
    note += f", {unanswered} not to be relied on ({_counted(abstained)})" if unanswered else ""
    what = "windows predicted" if arguments.crop == EVERY else "predicted"
    print(f"{len(records)} records: {done} {what}, {len(failed)} skipped{note}", file=sys.stderr)
    return 0 if done else 1


def _counted(codes: Counter[str]) -> str:
    return ", ".join(f"{code} {count}" for code, count in sorted(codes.items()))


def _is_calibrated(arguments: argparse.Namespace) -> bool:
    """Whether the model shall answer as it was calibrated: where that is asked for, or texts are not and it was."""
    if arguments.calibration is not None:
        return arguments.calibration != "none"
    if arguments.probe is not None:
        return True
    if any(texts is not None for texts in (arguments.prompts, arguments.teacher, arguments.value_texts)):
        return False
    return bool(calibration_folders(calibration_root(arguments.checkpoint, None, arguments.variances)))


def _answerer(pretrained: Any, arguments: argparse.Namespace) -> Answerer:
    chosen = arguments.calibration
    if chosen is None or not os.path.isdir(chosen):
        return Answerer(pretrained, chosen, None, arguments.probe)
    folder = Path(chosen)
    one = (folder / CALIBRATION_FILE).is_file()
    return Answerer(pretrained, folder.name if one else None, folder.parent if one else folder, arguments.probe)


def _predictor(arguments: argparse.Namespace, calibrated: bool) -> AnyPredictor:
    from cmelt_plugin.models.inference.pretrained import load_pretrained

    try:
        pretrained = load_pretrained(
            arguments.checkpoint,
            arguments.tokenizer,
            arguments.device,
            arguments.lead_order,
            arguments.score,
            arguments.variances,
        )
    except RuntimeError as error:  # torch knows which devices there are
        raise DataError(f"--device {arguments.device}: {str(error).splitlines()[0]}") from None
    by_values = arguments.teacher is not None or arguments.value_texts is not None
    if calibrated:
        if by_values or arguments.prompts is not None:
            raise DataError("--calibration: has classes of its own; leave --prompts, --teacher and --value-texts out")
        return CalibratedPredictor(_answerer(pretrained, arguments))
    if arguments.probe is not None:
        raise DataError("--probe: answers as it was calibrated; leave --calibration none out")
    if (by_values or pretrained.measurement) and arguments.prompts is not None:
        raise DataError("--prompts: classes and values are asked for apart; leave out one of them")
    if pretrained.measurement and by_values:
        raise DataError(f"{arguments.checkpoint}: estimates {pretrained.measurement} by itself; leave texts out")
    if pretrained.measurement or by_values:
        return _value_predictor(pretrained, arguments)
    prompts = arguments.prompts
    if prompts is not None and not pretrained.is_classifier:
        from cmelt_plugin.prompts import load_prompts

        prompts = load_prompts(prompts, arguments.prompt_kind)
    return Predictor(pretrained, prompts)


def _value_predictor(pretrained: Any, arguments: argparse.Namespace) -> ValuePredictor:
    # Late: most predictions are of classes.
    from cmelt_plugin.evaluation.embedding.teacher_items import open_teacher_of
    from cmelt_plugin.evaluation.regress.candidates import own_candidates, teacher_candidates
    from cmelt_plugin.evaluation.regress.predictor import ValuePredictor

    candidates = None
    if arguments.teacher is not None:
        candidates = teacher_candidates(open_teacher_of(pretrained, arguments.teacher), arguments.measurement)
    elif arguments.value_texts is not None:
        candidates = own_candidates(pretrained, arguments.value_texts)
    return ValuePredictor(pretrained, candidates, arguments.samples)


def _maps(predictor: AnyPredictor, arguments: argparse.Namespace) -> MapSettings | None:
    """How figures show the uncertainty; None: they do not."""
    if arguments.figure is None or arguments.map == "none" or predictor.pretrained.is_classifier:
        return None
    from cmelt_plugin.evaluation.embedding.kinds import silent_embedding
    from cmelt_plugin.evaluation.variance_map.maps import MapSettings, check_maps

    if silent_embedding(predictor.pretrained).log_variance is None:
        return None
    settings = MapSettings(arguments.map, arguments.map_window, arguments.map_hop, arguments.map_fill, arguments.batch_size)
    check_maps(predictor.pretrained, settings)
    return settings


def _titles(predictor: AnyPredictor, arguments: argparse.Namespace) -> dict[str, str]:
    """Names of the classes in words, where their source has any."""
    if arguments.prompts is None or predictor.kind == VALUE or predictor.pretrained.is_classifier:
        return {}
    from cmelt_plugin.prompts import class_titles

    return class_titles(arguments.prompts)


def _writer(
    predictor: AnyPredictor, records: Sequence[str], arguments: argparse.Namespace, titles: dict[str, str]
) -> Callable[[Prediction], None]:
    unit = getattr(predictor, "unit", "")
    if arguments.format == "jsonl":
        return lambda prediction: _print(json_line(prediction, predictor.kind, unit))
    if predictor.kind == VALUE:
        return value_table(predictor.names[0], unit, records, _print)
    return class_table(predictor.names, predictor.kind, records, arguments.top, _print, titles)


def _write_figure(
    path: Path,
    predictor: AnyPredictor,
    prediction: Prediction,
    maps: MapSettings | None,
    titles: dict[str, str],
) -> None:
    """The figure of a record, and beside it the numbers of its variance map."""
    from cmelt_plugin.evaluation.plots.prediction import Shading, prediction_figure, value_figure

    title, shading = f"{part_name(Path(prediction.record).name, prediction.begins)}, {prediction.seconds:.1f} s", None
    if maps is not None:
        from cmelt_plugin.evaluation.variance_map.maps import variance_map

        values = variance_map(predictor.pretrained, prediction.ecg, maps, progress=sys.stderr.isatty())
        shading = Shading(values, maps.meaning)
        with atomic_path(path.with_suffix(".npz")) as temporary:
            np.savez(temporary, map=values, leads=np.array(LEADS), method=np.array(maps.method))
    label = MEANING[predictor.kind]
    if isinstance(predictor, (Predictor, CalibratedPredictor)):
        unit_interval, positive = predictor.kind != SIMILARITY, prediction.positive or ()
        figure = prediction_figure(prediction.ecg, prediction.scores, label, unit_interval, positive, title, shading, titles)
    else:
        ((name, value),) = prediction.scores.items()
        label = f"{name}{f' ({predictor.unit})' if predictor.unit else ''}: {label}"
        figure = value_figure(prediction.ecg, value, prediction.interval, predictor.limits, label, title, shading)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _figure_names(records: Sequence[str]) -> dict[str, str]:
    """Record → name of its figure: the record's, with its folders where records of several folders are drawn.

    No two are the same, also where a file system takes large and small letters, or ``é`` and ``e`` + accent, for one.
    """
    absolute = [os.path.abspath(record) for record in records]
    common = os.path.commonpath([os.path.dirname(path) for path in absolute])
    names: dict[str, str] = {}
    taken: set[str] = set()
    for record, path in zip(records, absolute):
        whole = os.path.relpath(path, common).replace(os.sep, "_")
        stem = name = os.fsencode(whole)[:LONGEST_FILE_NAME].decode(errors="ignore")
        number = 1
        while (key := unicodedata.normalize("NFC", name).casefold()) in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(key)
        names[record] = f"{name}.png"
    return names


def _print(line: str) -> None:
    if sys.stdout.isatty():
        tqdm.write(line, file=sys.stdout)  # clears the progress bar first
    else:
        print(line)


def _is_finite(prediction: Prediction) -> bool:
    values = [*prediction.scores.values(), *(prediction.similarity or {}).values(), *(prediction.interval or ())]
    return all(map(math.isfinite, [*values, prediction.uncertainty or 0.0]))


if __name__ == "__main__":
    sys.exit(run(main))
