"""What a frozen text encoder makes of every report of a manifest directory, computed once for all epochs.

Writes reports.<encoder>.npy with its description, where <encoder> names the encoder's weights and what is taken of its states:
one vector a report, or with --system what that system's frozen layers make of it. Training reads it with task.texts=cached. A
killed run goes on where it stopped.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple

import numpy as np
import yaml

from cmelt_plugin import option_types, registry
from cmelt_plugin.data.text.padding import MAX_TEXT_TOKENS, pad
from cmelt_plugin.data.text.report_embeddings import (
    PRECISIONS,
    load_report_embeddings,
    make_report_embeddings,
    vectors_path,
)
from cmelt_plugin.data.text.token_files import open_token_file
from cmelt_plugin.errors import DataError

EXAMPLE = """examples:
  python preprocess/report_embeddings.py --manifest manifests/mimic-iv-ecg --text-encoder ncbi/MedCPT-Query-Encoder
  python preprocess/report_embeddings.py --manifest manifests/mimic-iv-ecg --text-encoder ncbi/MedCPT-Query-Encoder \\
      --system melp --set text_free_layers=6 --max-tokens 128
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    from cmelt_plugin.modules.text.text_encoder import TEXT_POOLS  # late: it loads torch

    result = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--manifest", type=Path, required=True, help="manifest directory with token ids of its reports")
    result.add_argument("--text-encoder", required=True, help="folder or name, as model.text_encoder")
    result.add_argument("--pool", choices=TEXT_POOLS, default="first", help="as model.text_pool (first); not with --system")
    result.add_argument("--system", choices=caching_systems(), help="what this system keeps, not one vector a report")
    result.add_argument(
        "--set", nargs="+", default=[], metavar="NAME=VALUE", help="with --system: settings of its model, as in training"
    )
    result.add_argument(
        "--precision", choices=PRECISIONS, default="float32", help="of the file (float32; float16 takes half of the disk)"
    )
    result.add_argument("--tokenizer", metavar="TAG", help="of reports.TAG.npz, where there are several")
    result.add_argument(
        "--max-tokens",
        type=option_types.count,
        default=MAX_TEXT_TOKENS,
        help=f"longer reports are cut, as task.max_text_tokens ({MAX_TEXT_TOKENS})",
    )
    result.add_argument("--batch", type=option_types.count, default=64, help="reports at a time (64)")
    result.add_argument("--device", default="auto", help="cpu, cuda, or auto")
    result.add_argument("--overwrite", action="store_true", help="compute again what is there already")
    return result


class Kept(NamedTuple):
    """What is computed of reports.

    Attributes:
        model: the module that computes it, in eval mode.
        compute: ids ``[B, L]``, padding ``[B, L]`` → ``[B, W]`` or ``[B, N, W]``.
        fingerprint: of that.
        added_tokens: as :func:`cmelt_plugin.data.text.report_embeddings.load_report_embeddings` has it.
        vocab_size: tokens the text encoder knows.
    """

    model: Any
    compute: Callable[..., Any]
    fingerprint: str
    added_tokens: int | None
    vocab_size: int


def caching_systems() -> list[str]:
    """Systems that know ``task.texts=cached``."""
    options = {name: dataclasses.fields(system.inputs_class().Options) for name, system in registry.systems().items()}
    return sorted(name for name, fields in options.items() if any(one.name == "texts" for one in fields))


def pooled(text_encoder: str, pool: str) -> Kept:
    """One vector a report, whatever the system."""
    from cmelt_plugin.modules.text.text_encoder import TextEncoder, describe_text_encoder

    encoder = TextEncoder(describe_text_encoder(text_encoder), text_encoder, pooler=pool == "pooler").eval()
    fingerprint = encoder.pooled_fingerprint(pool)
    return Kept(encoder, lambda ids, padding: encoder.pool(ids, padding, pool), fingerprint, None, encoder.vocab_size)


def of_system(name: str, text_encoder: str, settings: Sequence[str]) -> Kept:
    """What a system keeps.

    Args:
        name: registered name.
        text_encoder: as ``model.text_encoder``.
        settings: ``NAME=VALUE`` of its model.

    Raises:
        DataError: it has no such setting, or its text encoder trains.
    """
    system = registry.systems()[name]
    known = {one.name for one in dataclasses.fields(system.config_class())}
    given = dict(setting.partition("=")[::2] for setting in settings)
    unknown = sorted(set(given) - known)
    if unknown:
        raise DataError(f"--set {', '.join(unknown)}: {name} has no such setting")
    values = {key: yaml.safe_load(value) for key, value in given.items()}
    cfg = system.config_class()(**{**values, "text_encoder": text_encoder})
    system.model_class().prepare_config(cfg)
    model = system.model_class().build_model(cfg).eval()
    if not model.text_is_cacheable:
        raise DataError(f"--system {name}: with these settings what its text encoder makes of a report changes in training")
    return Kept(model, model.cacheable_text, model.text_fingerprint(), model.cached_tokens, model.vocab_size)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    arguments = parser().parse_args(argv)
    import torch

    name, limit = arguments.text_encoder, arguments.max_tokens
    kept = of_system(arguments.system, name, arguments.set) if arguments.system else pooled(name, arguments.pool)
    tokens = open_token_file(arguments.manifest, "reports", arguments.tokenizer, vocab_size=kept.vocab_size)
    identity = tokens, kept.fingerprint, limit, kept.added_tokens
    path = vectors_path(arguments.manifest, kept.fingerprint)
    if path.is_file() and not arguments.overwrite:
        found = load_report_embeddings(arguments.manifest, *identity)
        print(f"{path}: up to date, {len(found):,} reports, {found.width} numbers each")
        return 0
    device = arguments.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    kept.model.to(device)

    @torch.inference_mode()
    def embed(texts: Sequence[np.ndarray]) -> np.ndarray:
        ids, padding = (torch.from_numpy(array).to(device) for array in pad(texts, tokens.info["pad_id"], limit))
        return kept.compute(ids, padding).float().cpu().numpy()

    lengths = tokens.lengths()
    print(
        f"{len(tokens):,} reports of {lengths.mean():.1f} tokens on average, at most {lengths.max()}; "
        f"{int((lengths > limit).sum()):,} are cut to {limit}"
    )
    make_report_embeddings(
        arguments.manifest,
        tokens,
        embed,
        kept.fingerprint,
        limit,
        arguments.batch,
        kept.added_tokens,
        arguments.precision,
    )
    found = load_report_embeddings(arguments.manifest, *identity)
    each = "each" if kept.added_tokens is None else "for each token"
    print(f"{path}: {len(found):,} reports, {found.width} numbers {each}, {path.stat().st_size / 1e6:,.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
