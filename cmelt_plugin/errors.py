"""The one exception users are meant to read, and the one line they read of it.

Commands print its message without a traceback; the message names the file, the row where there is one, and what to do.
"""

from __future__ import annotations

import re

# How torch and oneDNN, in errors of no kind of their own, say that there is no memory.
_NO_MEMORY = re.compile("DefaultCPUAllocator|could not create a (memory|primitive)")

_OWN = ("cmelt_plugin", "preprocess", "hydra_plugins", "benchmarks", "examples")  # a module of these that is missing is a fault


class DataError(Exception):
    """Input that cannot be used: a missing, malformed, stale or contradictory file."""


def printable(text: str) -> str:
    """``text`` in one line: line breaks become blanks, and what a terminal would obey or cannot show its escape."""
    line = re.sub(r"\s*[\r\n]+\s*", " ", text)
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)


def explanation(error: BaseException) -> str | None:
    """What a user reads of an exception, in one line; None for a fault of the program, which keeps its traceback."""
    text = _original(error).strip()
    if isinstance(error, DataError):
        return printable(text)
    if isinstance(error, ModuleNotFoundError) and error.name and error.name.split(".")[0] not in _OWN:
        name = error.name.split(".")[0]
        return printable(
            f"{name} is not installed; training, evaluation and preparation need the distribution cmelt-plugin, "
            "what uses models an extra of cmelt-inference (docs/deployment.md)"
        )
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or _NO_MEMORY.search(text):
        reason = f" ({printable(text)})" if text else ""
        return f"not enough memory{reason}; fewer processes (--jobs, workers) or a smaller batch need less"
    if isinstance(error, FloatingPointError):
        return printable(f"the training diverged: {text or 'a number overflowed'}")
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename is not None else ""
        return printable(f"{place}{error.strerror or text}")
    return None


def _original(error: BaseException) -> str:
    """The message, also where torch's DataLoader put a worker's whole traceback around it."""
    text, kind = str(error), type(error).__name__
    if text.startswith(f"Caught {kind} in "):
        return re.split(rf"^(?:[\w.]+\.)?{kind}(?:: |$)", text, flags=re.MULTILINE)[-1]
    return text
