"""What a frozen text encoder makes of every report of a manifest directory, computed once for all epochs.

Writes reports.<encoder>.npy with its description, where <encoder> names the encoder's weights and the pooling. Training of a
system whose text encoder is frozen reads it with task.texts=cached. A killed run goes on where it stopped.
"""

from __future__ import annotations

from cmelt_plugin.cli import run

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cmelt_plugin import option_types
from cmelt_plugin.data.text.padding import MAX_TEXT_TOKENS, pad
from cmelt_plugin.data.text.report_embeddings import load_report_embeddings, make_report_embeddings, vectors_path
from cmelt_plugin.data.text.token_files import open_token_file

EXAMPLE = """example:
  python preprocess/report_embeddings.py --manifest manifests/mimic-iv-ecg --text-encoder ncbi/MedCPT-Query-Encoder
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    from cmelt_plugin.modules.text_encoder import TEXT_POOLS  # late: it loads torch

    result = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--manifest", type=Path, required=True, help="manifest directory with token ids of its reports")
    result.add_argument("--text-encoder", required=True, help="folder or name, as model.text_encoder")
    result.add_argument("--pool", choices=TEXT_POOLS, default="first", help="as model.text_pool (first)")
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    arguments = parser().parse_args(argv)
    import torch

    from cmelt_plugin.modules.text_encoder import TextEncoder, describe_text_encoder

    name = arguments.text_encoder
    encoder = TextEncoder(describe_text_encoder(name), name, pooler=arguments.pool == "pooler").eval()
    tokens = open_token_file(arguments.manifest, "reports", arguments.tokenizer, vocab_size=encoder.vocab_size)
    fingerprint, limit = encoder.pooled_fingerprint(arguments.pool), arguments.max_tokens
    path = vectors_path(arguments.manifest, fingerprint)
    if path.is_file() and not arguments.overwrite:
        found = load_report_embeddings(arguments.manifest, tokens, fingerprint, limit)
        print(f"{path}: up to date, {len(found):,} reports, {found.width} numbers each")
        return 0
    device = arguments.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder.to(device)

    @torch.inference_mode()
    def embed(texts: Sequence[np.ndarray]) -> np.ndarray:
        ids, padding = (torch.from_numpy(array).to(device) for array in pad(texts, tokens.info["pad_id"], limit))
        return encoder.pool(ids, padding, arguments.pool).float().cpu().numpy()

    lengths = tokens.lengths()
    print(
        f"{len(tokens):,} reports of {lengths.mean():.1f} tokens on average, at most {lengths.max()}; "
        f"{int((lengths > limit).sum()):,} are cut to {limit}"
    )
    make_report_embeddings(arguments.manifest, tokens, embed, fingerprint, limit, arguments.batch)
    found = load_report_embeddings(arguments.manifest, tokens, fingerprint, limit)
    print(f"{path}: {len(found):,} reports, {found.width} numbers each, {path.stat().st_size / 1e6:,.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
