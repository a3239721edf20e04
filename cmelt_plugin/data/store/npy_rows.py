"""An ``.npy`` file that grows row by row, of which one row is held in memory."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np


class NpyRows:
    """Appends rows of one shape and type to a file open for writing.

    Args:
        handle: the file, empty.
        dtype: of the values.
        row_shape: of a row; ``()`` for single values.
    """

    def __init__(self, handle: BinaryIO, dtype: np.dtype | type | str, row_shape: tuple[int, ...] = ()) -> None:
        self.rows = 0
        self._handle = handle
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._row_shape = row_shape
        self._write_header()

    def append(self, row: np.ndarray) -> int:
        """Add a row ``[*row_shape]`` and return its number."""
        return self.extend(row[None])

    def extend(self, rows: np.ndarray) -> int:
        """Add ``rows [n, *row_shape]``, cast to the file's type, and return the number of the first."""
        if rows.shape[1:] != self._row_shape:
            raise ValueError(f"expected rows {self._row_shape}, got {rows.shape[1:]}")
        self._handle.write(np.ascontiguousarray(rows, dtype=self._dtype).data)
        self.rows += len(rows)
        return self.rows - len(rows)

    def finish(self) -> None:
        """Put the final row count into the header."""
        self._handle.seek(0)
        self._write_header()

    def _write_header(self) -> None:
        # NumPy leaves room in headers for the first axis to grow, so the final row count fits where the first header stood.
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": (self.rows, *self._row_shape)}
        np.lib.format.write_array_header_1_0(self._handle, header)
