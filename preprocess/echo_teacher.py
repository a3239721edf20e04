"""A teacher sidecar: what a frozen encoder makes of echo videos, once, so that training needs neither videos nor the encoder.

Exactly one source:
  --embeddings TABLE   embeddings of frames, one .npy file [frames, D] a video; columns path, study_id, subject_id and, if there
                       are, video_id, acquisition_datetime
  --videos TABLE       DICOM files, same columns, embedded here by --encoder
  --echo-root DIR      MIMIC-IV-ECHO's own list of videos, embedded here by --encoder
  --synthetic N        N made-up studies, to try things out

Encoders are models of open_clip or timm that you have installed, with weights that you are allowed to use. Frames are turned to
RGB, cut to the ultrasound region and resized by area; stills are left out. What cannot be used is listed in rejected.tsv. A
killed run goes on where it was when the command is given again. An open_clip model embeds texts on ejection fractions, too.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from cmelt_plugin import option_types
from cmelt_plugin.data.directory.replacing import directory_lock
from cmelt_plugin.data.readers.contract import Rejected, check_file, reader
from cmelt_plugin.data.readers.dicom_library import import_pydicom
from cmelt_plugin.data.store.npy_files import read_npy
from cmelt_plugin.data.teacher import (
    EPS,
    TeacherEntry,
    TeacherPrompts,
    entry_of_frames,
    entry_of_videos,
    open_teacher,
    write_teacher,
)
from cmelt_plugin.data.teacher.prompts import read_prompts
from cmelt_plugin.data.teacher.reading import META_FILE
from cmelt_plugin.errors import DataError
from preprocess.echo.dicom_videos import read_video
from preprocess.echo.encoders import FrameEncoder, load_encoder
from preprocess.echo.outcomes import Blocks, Outcome, ahead, entries_of
from preprocess.echo.rows import STUDY, VIDEO
from preprocess.echo.video_lists import Video, list_mimic_videos, list_videos
from preprocess.synthetic_ecg.echo.echo_frames import GROUP, draw_prompts, draw_study

SYNTHETIC = "synthetic"
# The wordings on which EchoCLIP's ejection fractions were published (Christensen et al., Nat Med 2024).
TEMPLATES = ("THE LEFT VENTRICULAR EJECTION FRACTION IS ESTIMATED TO BE {value}% ", "LV EJECTION FRACTION IS {value}%. ")
EXAMPLE = """examples:
  python preprocess/echo_teacher.py --echo-root /data/mimic-iv-echo-1.0 --encoder open_clip:hf-hub:OWNER/MODEL \\
      --device cuda --dest teachers/mimic-echo
  python preprocess/echo_teacher.py --embeddings data/synthetic/echo/embeddings.csv --encoder synthetic \\
      --prompts data/synthetic/echo/prompts.npz --dest teachers/synthetic
"""


def parser() -> argparse.ArgumentParser:
    """Command line."""
    arguments = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = arguments.add_mutually_exclusive_group(required=True)
    source.add_argument("--embeddings", type=Path, metavar="TABLE", help="table of files with embeddings of frames")
    source.add_argument("--videos", type=Path, metavar="TABLE", help="table of DICOM files")
    source.add_argument("--echo-root", type=Path, metavar="DIR", help="folder of MIMIC-IV-ECHO")
    source.add_argument("--synthetic", type=option_types.count, metavar="N", help="number of made-up studies")
    arguments.add_argument("--dest", type=Path, required=True, help="sidecar to write")
    arguments.add_argument("--root", type=Path, help="folder that paths of the table count from (default: the table's)")
    arguments.add_argument("--level", choices=(STUDY, VIDEO), default=STUDY, help="what a row is of (default: study)")
    arguments.add_argument("--encoder", help="open_clip:MODEL or timm:MODEL; with --embeddings the name of what made them")
    arguments.add_argument("--weights", type=Path, help="weights of the encoder, where its name stands for none")
    arguments.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1, ...")
    arguments.add_argument("--batch-size", type=option_types.count, default=64, help="frames at once (default: 64)")
    arguments.add_argument("--jobs", type=option_types.count, default=min(8, os.cpu_count() or 1), help="threads that decode")
    arguments.add_argument("--frame-stride", type=option_types.count, default=1, help="every how many frames (default: 1)")
    arguments.add_argument("--channel-order", choices=("RGB", "BGR"), help="of colours as the encoder gets them (default: RGB)")
    arguments.add_argument("--view-filter", default="", help="which views the list holds, for the record (default: all)")
    arguments.add_argument("--keep-frames", action="store_true", help="also keep embeddings of frames, as float16")
    arguments.add_argument("--prompts", type=Path, help="prompts.npz to take along")
    arguments.add_argument(
        "--prompt-template",
        action="append",
        help="text with {value} for an ejection fraction of 0 to 100; may be repeated (default: EchoCLIP's two)",
    )
    arguments.add_argument("--limit", type=option_types.count, help="only the first LIMIT videos")
    arguments.add_argument("--seed", type=option_types.seed, default=1, help="of --synthetic (default: 1)")
    arguments.add_argument("--overwrite", action="store_true", help="replace a sidecar that is there already")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Write the sidecar.

    Raises:
        DataError: options that do not fit, tables that cannot be read, an encoder that cannot be loaded, or nothing to write.
    """
    args = parser().parse_args(argv)
    if (args.dest / META_FILE).is_file() and not args.overwrite:
        raise DataError(f"{args.dest}: is a sidecar already; choose another folder or give --overwrite")
    rejected: list[tuple[str, str, str]] = []
    about: dict[str, Any] = {"level": args.level, "view_filter": args.view_filter}
    work = args.dest.resolve().with_name(f".{args.dest.resolve().name}.work")
    if args.synthetic is not None:
        entries = _synthetic(args.synthetic, args.seed, args.level, args.keep_frames)
        about |= {"encoder": SYNTHETIC, "prompts": draw_prompts(args.seed)}
    elif args.embeddings is not None:
        if not args.encoder:
            raise DataError("--embeddings: give the name of the encoder that made them with --encoder")
        videos = list_videos(args.embeddings)[: args.limit]
        outcome = partial(_embedded, root=args.root or args.embeddings.parent, keep_frames=args.keep_frames)
        entries = entries_of(tqdm(videos, unit="video", desc="embeddings"), outcome, args.level == STUDY, rejected, EPS)
        about |= {"encoder": args.encoder, "channel_order": args.channel_order or "", "frame_stride": args.frame_stride}
        about["prompts"] = None if args.prompts is None else read_prompts(args.prompts)
    else:
        import_pydicom()  # says at once what is missing
        videos = list_videos(args.videos) if args.videos else list_mimic_videos(args.echo_root)
        root = args.root or (args.videos.parent if args.videos else args.echo_root)
        encoder = _encoder(args)
        order = args.channel_order or "RGB"
        with directory_lock(work):
            about |= {"encoder": encoder.name, "weights_sha256": encoder.weights_sha256, "channel_order": order}
            about["frame_stride"] = args.frame_stride
            blocks = Blocks(work, {**about, "size": list(encoder.size), "frames": args.keep_frames, "level": ""})
            about["prompts"] = _prompts(args, encoder)
            embed_videos(videos[: args.limit], root, encoder, blocks, args.frame_stride, order, args.jobs, args.keep_frames)
        entries = entries_of(videos[: args.limit], partial(_known, blocks=blocks), args.level == STUDY, rejected, EPS)
    write_teacher(args.dest, entries, rejected=rejected, **about)
    shutil.rmtree(work, ignore_errors=True)
    _summarise(args.dest, rejected)
    return 0


def embed_videos(
    videos: Sequence[Video],
    root: Path,
    encoder: FrameEncoder,
    blocks: Blocks,
    stride: int,
    channel_order: str,
    jobs: int,
    keep_frames: bool,
) -> None:
    """Embed all videos that have no outcome yet.

    Args:
        videos: the list.
        root: folder that their paths count from.
        encoder: of frames.
        blocks: where outcomes are kept.
        stride: every how many frames one is taken.
        channel_order: ``RGB`` or ``BGR``, how the encoder gets colours.
        jobs: threads that decode.
        keep_frames: also keep embeddings of frames.
    """
    left = [video for video in tqdm(videos, unit="video", desc="looking for earlier work") if blocks.load(video) is None]
    if len(left) < len(videos):
        print(f"going on where an earlier run stopped: {len(left):,} of {len(videos):,} videos are left", file=sys.stderr)

    def decode(video: Video) -> np.ndarray:
        return read_video(str(root / video.path), stride, encoder.size)

    for video, frames in tqdm(ahead(decode, left, jobs), total=len(left), unit="video", desc=encoder.name):
        if isinstance(frames, Rejected):
            blocks.save(video, str(frames))
            continue
        embedded = encoder.frames(frames[..., ::-1] if channel_order == "BGR" else frames)
        blocks.save(video, _entry(video, embedded, keep_frames))


def embed_prompts(encoder: FrameEncoder, templates: Sequence[str]) -> TeacherPrompts | None:
    """Texts on ejection fractions of 0, 1, …, 100 %, embedded; None where the encoder reads no texts."""
    values = np.arange(101)
    texts = [template.format(value=value) for template in templates for value in values]
    emb = encoder.texts(texts)
    if emb is None:
        return None
    emb = emb / np.linalg.norm(emb, axis=1, keepdims=True)
    return TeacherPrompts(emb, np.tile(values, len(templates)).astype(float), np.array([GROUP] * len(texts)), np.array(texts))


def _encoder(args: argparse.Namespace) -> FrameEncoder:
    if not args.encoder:
        raise DataError("--videos, --echo-root: name the model that embeds frames with --encoder open_clip:MODEL or timm:MODEL")
    return load_encoder(args.encoder, args.weights, args.device, args.batch_size)


def _prompts(args: argparse.Namespace, encoder: FrameEncoder) -> TeacherPrompts | None:
    if args.prompts is not None:
        return read_prompts(args.prompts)
    templates = args.prompt_template or TEMPLATES
    for template in templates:
        if "{value}" not in template or template.replace("{value}", "").count("{"):
            raise DataError(f"--prompt-template {template!r:.80}: must hold {{value}} and no other braces")
    return embed_prompts(encoder, templates)


def _known(video: Video, blocks: Blocks) -> Outcome:
    return blocks.load(video) or "unreadable: its embedding was lost; run again with --overwrite"


def _embedded(video: Video, root: Path, keep_frames: bool) -> Outcome:
    """The outcome of a video whose frames are embedded already."""
    try:
        frames = _read_frames(str(root / video.path))
    except Rejected as error:
        return str(error)
    return _entry(video, frames, keep_frames)


@reader
def _read_frames(path: str) -> np.ndarray:
    check_file(path)
    frames = read_npy(path)
    if frames.ndim != 2 or frames.dtype.kind != "f":
        raise Rejected("shape", f"{frames.dtype} {frames.shape}; expected embeddings [frames, D]")
    return frames


def _entry(video: Video, frames: np.ndarray, keep_frames: bool) -> Outcome:
    try:
        entry = entry_of_frames(video.video_id, frames.astype(np.float64), video.subject_id, video.time, keep_frames)
    except ValueError as error:
        return f"values: {error}"
    return entry if entry.raw_norm else "values: the frames cancel out"


def _synthetic(count: int, seed: int, level: str, keep_frames: bool) -> Iterator[TeacherEntry]:
    for index in tqdm(range(count), unit="study", desc=SYNTHETIC):
        frames, _ = draw_study(seed, index)
        study = str(90_000_000 + index)
        videos = [
            entry_of_frames(f"{study}_{number:04d}", one, str(10_000_000 + index), keep_frames=keep_frames)
            for number, one in enumerate(frames, start=1)
        ]
        if level == STUDY:
            yield entry_of_videos(study, videos)
        else:
            yield from videos


def _summarise(dest: Path, rejected: Sequence[tuple[str, str, str]]) -> None:
    teacher = open_teacher(dest)
    videos, frames = sum(line.n_videos for line in teacher.index), sum(line.n_frames for line in teacher.index)
    rows = f"{len(teacher):,} rows of level {teacher.info['level']}"
    print(f"{dest}: {rows}, {videos:,} videos, {frames:,} frames, {teacher.dim} numbers each")
    for code, count in Counter(reason.partition(":")[0] for _, _, reason in rejected).most_common():
        print(f"  rejected, {code}: {count:,} videos (rejected.tsv)")
    prompts = teacher.prompts()
    print(f"  texts: {0 if prompts is None else len(prompts.value)}")


if __name__ == "__main__":
    sys.exit(run(main))
