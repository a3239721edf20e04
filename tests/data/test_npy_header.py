"""Headers of ``.npy`` files: what NumPy writes is read alike, and nothing is evaluated."""

from __future__ import annotations

import io

import numpy as np
import pytest

from cmelt_plugin.data.npy_header import LONGEST_HEADER, OtherType, read_header


def header(text: str, version: int = 1) -> io.BytesIO:
    data = text.encode()
    return io.BytesIO(b"\x93NUMPY" + bytes([version, 0]) + len(data).to_bytes(2 if version == 1 else 4, "little") + data)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("dtype", ["<i2", ">f8", "|b1", "|u1", "<c16", "<U12", "|S3", "|O"])
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (2, 3, 4)])
def test_what_numpy_writes_is_read_alike(version, dtype: str, shape: tuple[int, ...]) -> None:
    array = np.zeros(shape, dtype, order="F")
    handle = io.BytesIO(b"before")
    handle.seek(6)
    np.lib.format.write_array(handle, array, version=version, allow_pickle=True)
    handle.seek(6)
    found = read_header(handle)
    fortran = len(shape) > 1 and not array.flags.c_contiguous
    assert (found.shape, found.dtype, found.fortran, found.n_bytes) == (shape, array.dtype, fortran, array.nbytes)
    assert handle.tell() == 6 + found.offset


@pytest.mark.parametrize("order", ["C", "F"])
def test_values_are_in_their_places(order) -> None:
    array = np.arange(24, dtype=">i4").reshape(2, 3, 4)
    handle = io.BytesIO()
    np.save(handle, np.asarray(array, order=order))
    handle.seek(0)
    found = read_header(handle)
    assert np.array_equal(found.array(handle.read()), array)


@pytest.mark.parametrize(
    "text, reason",
    [
        ("{'descr': '<i2', 'fortran_order': False}", "does not say what the values are"),
        ("{'descr': '<i2', 'fortran_order': False, 'shape': (-1, 4), }", "does not say what the values are"),
        ("{'descr': '<i2', 'fortran_order': False, 'shape': (1 2), }", r"shape \(1 2\)"),
        ("{'descr': '<i2', 'fortran_order': False, 'shape': (9223372036854775808,), }", "shape"),
        ("{'descr': '<i99', 'fortran_order': False, 'shape': (3,), }", "type <i99"),
        ("{'descr': '<U0', 'fortran_order': False, 'shape': (3,), }", "type <U0"),
    ],
)
def test_damaged_headers_are_named(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"damaged header: .*{reason}"):
        read_header(header(text))


def test_what_follows_is_not_evaluated_and_long_headers_are_not_read() -> None:
    good = "{'descr': '<i2', 'fortran_order': False, 'shape': (3,), }"
    assert read_header(header(good + "[" * 60000)).shape == (3,)
    with pytest.raises(ValueError, match="65,593 bytes long"):
        read_header(header(good + " " * LONGEST_HEADER, version=2))
    with pytest.raises(ValueError, match="ends too soon"):
        read_header(io.BytesIO(header(good).getvalue()[:40]))


def test_types_that_are_no_plain_values_are_named() -> None:
    handle = io.BytesIO()
    np.save(handle, np.zeros(2, [("a", "<i4"), ("b", "<f8")]))
    handle.seek(0)
    with pytest.raises(OtherType, match=r"\[\('a', '<i4'\)"):
        read_header(handle)
