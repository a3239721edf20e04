"""A tokenizer's files put beside the model that needs them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from cmelt_plugin.data.text.tokenizer import load_tokenizer, tokenizer_fingerprint
from cmelt_plugin.errors import DataError

# What tokenizers of Hugging Face consist of; a text encoder's weights may lie in the same folder.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
)


def copy_tokenizer(tokenizer: Any, source: Path, dest: Path) -> None:
    """Put the files of a tokenizer into a folder that is there.

    Args:
        tokenizer: as loaded.
        source: its folder, or anything else for one that came by its name.
        dest: where to.

    Raises:
        DataError: what its folder holds is not the whole tokenizer.
    """
    with tempfile.TemporaryDirectory(prefix=".tokenizer.", dir=dest.parent) as temporary:
        files = [source / name for name in TOKENIZER_FILES if (source / name).is_file()] if source.is_dir() else []
        if files:  # as they are: other versions of transformers may read them
            for file in files:
                shutil.copyfile(file, Path(temporary) / file.name)
        else:
            tokenizer.save_pretrained(temporary)
        if tokenizer_fingerprint(load_tokenizer(temporary)) != tokenizer_fingerprint(tokenizer):
            raise DataError(
                f"tokenizer {source}: what its folder holds is not all it needs; save it with save_pretrained first"
            )
        for file in Path(temporary).iterdir():
            shutil.copyfile(file, dest / file.name)
