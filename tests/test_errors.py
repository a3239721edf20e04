"""The one line a user reads of an exception."""

from __future__ import annotations

import errno

import pytest
import torch

from cmelt_plugin.errors import DataError, explanation, printable


class Refusing(torch.utils.data.Dataset):
    """Raises what it was given, in a worker of a DataLoader."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        raise self.error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (DataError("a.tsv: row 3: no number"), "a.tsv: row 3: no number"),
        (DataError("first\n  second\r\nthird"), "first second third"),
        (DataError("record \x1b[31mred\x07 \ud800"), r"record \x1b[31mred\x07 \ud800"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a.pt"), "a.pt: No such file or directory"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (MemoryError(), "not enough memory; fewer"),
        (MemoryError("Unable to allocate 3 GiB"), "not enough memory (Unable to allocate 3 GiB); fewer"),
        (RuntimeError("could not create a primitive"), "not enough memory (could not create a primitive"),
        (FloatingPointError("Minimum loss scale reached"), "the training diverged: Minimum loss scale reached"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "not enough memory (DefaultCPUAllocator"),
        (
            ModuleNotFoundError("No module named 'pyarrow.csv'", name="pyarrow.csv"),
            "pyarrow is not installed; training, evaluation and preparation need the distribution cmelt-plugin, "
            "what uses models an extra of cmelt-inference (docs/deployment.md)",
        ),
        (ModuleNotFoundError("No module named 'cmelt_plugin.x'", name="cmelt_plugin.x"), None),
        (RuntimeError("shapes differ"), None),
        (KeyError("name"), None),
    ],
)
def test_one_line(error: Exception, expected: str | None) -> None:
    text = explanation(error)
    if expected is None:
        assert text is None
    elif expected.startswith("not enough memory"):
        assert text is not None and text.startswith(expected) and "\n" not in text
    else:
        assert text == expected


@pytest.mark.parametrize(
    "error", [DataError("shard.npy: row 7: damaged\nmend it"), OSError(errno.EIO, "Input/output error", "x")]
)
def test_the_worker_of_a_dataloader_adds_no_traceback(error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        list(torch.utils.data.DataLoader(Refusing(error), num_workers=1))
    assert "Traceback" in str(raised.value)  # torch's way to hand it on
    expected = "shard.npy: row 7: damaged mend it" if isinstance(error, DataError) else "[Errno 5] Input/output error: 'x'"
    assert explanation(raised.value) == expected


def test_names_that_are_text_stay_as_they_are() -> None:
    name = "Büroklammer/Ä 心電図 😀 100 %.hea"
    assert printable(name) == name
