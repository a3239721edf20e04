"""Variances for a frozen model of points, trained on its own pairs of recordings and reports.

The model's means, and so its zero-shot scores and retrieval, stay as they are bit by bit; a small head on the pooled features
of recordings and one on the embeddings of reports learn variances: from the likelihood of each other's means
(``likelihood``), from the match loss of PCME++ (``pcmepp``), or from that with the inclusions of ProLIP (``prolip``). Written
beside the model; other evaluation commands take them by --variances. Whether they are worth anything, `evaluation.confidence`
and `evaluation.uncertainty` say.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cmelt_plugin import option_types
from cmelt_plugin.data.directory.manifest import Manifest
from cmelt_plugin.data.directory.training_data import training_fingerprint
from cmelt_plugin.data.leads import LEADS
from cmelt_plugin.errors import DataError
from cmelt_plugin.evaluation.embedding.encoder import SplitEncoder
from cmelt_plugin.evaluation.embedding.features import FEATURES
from cmelt_plugin.evaluation.embedding.kinds import silent_embedding
from cmelt_plugin.evaluation.embedding.pairs import embed_reports, open_pairs
from cmelt_plugin.evaluation.embedding.passes import evaluating, over_records
from cmelt_plugin.evaluation.options import OPTIONS, add_options, load_text_model, typed_command
from cmelt_plugin.evaluation.uncertainty.disturbances import without_leads
from cmelt_plugin.evaluation.variance_head.train import LIKELIHOOD, LOSSES, PROLIP, HeadSettings, Pairs, train_heads
from cmelt_plugin.models.inference.pretrained import Pretrained
from cmelt_plugin.models.inference.variances import variances_folder, write_variances
from cmelt_plugin.option_types import command_parser
from cmelt_plugin.weights import shipped_folder

EXAMPLE = """example:
  python -m cmelt_plugin.evaluation.variance_head --checkpoint checkpoints/mine/checkpoint_best.pt \\
      --manifest manifests/mimic-iv-ecg
"""
FEWEST_LOST, MOST_LOST = 3, 9
"""Leads that recordings lose in ``prolip``, of twelve."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = command_parser("cmelt_plugin.evaluation.variance_head", __doc__, EXAMPLE)
    changes: dict[str, dict[str, Any]] = {
        "manifest": {"nargs": None, "help": "manifest directory with reports"},
        "split": {"default": "train", "help": "split to train on (train)"},
        "seed": {"help": "of weights, order and lost leads (0)"},
    }
    left_out = ("results", "bootstrap", "model-name", "variances")
    add_options(result, [name for name in OPTIONS if name not in left_out], changes)
    default = HeadSettings()
    result.add_argument("--valid", default="valid", metavar="SPLIT", help="split that chooses the epoch (valid)")
    result.add_argument("--loss", choices=LOSSES, default=LIKELIHOOD, help="what variances are learned from (likelihood)")
    result.add_argument("--hidden", type=option_types.count, default=default.hidden, help=f"width of heads ({default.hidden})")
    result.add_argument("--epochs", type=option_types.count, default=default.epochs, help=f"({default.epochs})")
    result.add_argument(
        "--learning-rate", type=option_types.positive_number, default=default.learning_rate, help=f"({default.learning_rate:g})"
    )
    result.add_argument("--dest", type=Path, help="folder to write to (beside the model)")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code.

    Raises:
        DataError: the model has variances of its own or reads no texts, or a split has no reports.
    """
    args = parser().parse_args(argv)
    command = typed_command("cmelt_plugin.evaluation.variance_head", argv)
    manifests = [Manifest.open(args.manifest, split) for split in (args.split, args.valid)]
    pretrained = load_text_model(args)
    if silent_embedding(pretrained).log_variance is not None:
        raise DataError(f"{args.checkpoint}: this model's embeddings are Gaussians already; it needs no head")
    encoder = SplitEncoder(pretrained.model, args.cache, args.batch_size, args.workers, args.device, args.bf16)
    train, valid = (_pairs(pretrained, encoder, manifest, args) for manifest in manifests)
    settings = HeadSettings(args.loss, args.hidden, args.epochs, learning_rate=args.learning_rate, seed=args.seed)
    found = train_heads(train, valid, settings)
    facts = {
        **settings._asdict(),
        "epoch": found.epoch,
        "valid_loss": found.loss,
        "valid_loss_of_one_variance": found.constant_loss,
        "scale": found.scale,
        "shift": found.shift,
        "training_data": training_fingerprint(str(args.manifest), args.split),
        "command": command,
    }
    dest = args.dest or variances_folder(shipped_folder(args.checkpoint) or args.checkpoint)
    folder = write_variances(dest, found.heads, pretrained.model, facts)
    with torch.no_grad():
        sums = found.heads.ecg(valid.features).exp().sum(dim=1)
    print(f"{args.manifest}/{args.split}: {len(train.report)} pairs; {args.valid}: {len(valid.report)}")
    print(f"loss of a pair on {args.valid}: {found.loss:.5f} (epoch {found.epoch})", end="")
    print(f"; the same variances for all: {found.constant_loss:.5f}")
    print(f"uncertainty of recordings: {float(sums.mean()):.4g} ± {float(sums.std()):.4g}")
    if float(sums.std()) <= 1e-3 * float(sums.mean()):
        print("It is the same for all recordings: the variances have collapsed and say nothing.")
    print(f"written: {folder}")
    return 0


def _pairs(pretrained: Pretrained, encoder: SplitEncoder, manifest: Manifest, args: argparse.Namespace) -> Pairs:
    """What heads are trained on; recordings without some leads take a pass of their own."""
    pairs = open_pairs(manifest)
    rows = torch.from_numpy(pairs.rows)
    text = embed_reports(pretrained, manifest.directory, pairs.report_id, encoder.cache, args.tokenizer is None)
    fewer = None
    if args.loss == PROLIP and manifest.split == args.split:
        fewer = torch.from_numpy(_features_of_fewer_leads(encoder, manifest, args.seed))[rows]
    return Pairs(
        torch.from_numpy(encoder.features(manifest))[rows],
        fewer,
        encoder.embeddings(manifest).mean[rows],
        text.mean,
        torch.from_numpy(pairs.report),
    )


def _features_of_fewer_leads(encoder: SplitEncoder, manifest: Manifest, seed: int) -> np.ndarray:
    """Pooled features ``[N, W]`` of records each of which lacks some leads, drawn from the seed and its row."""
    next_row = 0

    def encode(ecg: Tensor, n_samples: Tensor | None) -> dict[str, Tensor]:
        nonlocal next_row
        generators = [np.random.default_rng([seed, row]) for row in range(next_row, next_row + len(ecg))]
        next_row += len(ecg)
        order = torch.from_numpy(np.stack([generator.permutation(len(LEADS)) for generator in generators])).to(ecg.device)
        counts = [int(generator.integers(FEWEST_LOST, MOST_LOST + 1)) for generator in generators]
        fewer = torch.cat([without_leads(ecg[i : i + 1], order[i : i + 1], count) for i, count in enumerate(counts)])
        return {FEATURES: encoder.model.ecg_features(fewer, n_samples)}

    with evaluating(encoder.model, encoder.device):
        options = (encoder.batch_size, encoder.device, encoder.workers, encoder.bf16)
        return over_records(encode, manifest, *options)[FEATURES]


if __name__ == "__main__":
    sys.exit(run(main))
