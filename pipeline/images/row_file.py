"""A `.npy` file that is filled a few rows at a time, by any number of threads and processes.

It takes no more memory than those rows. Written through the file and not through a memory map: on a full
disk a write raises OSError, where a map would end the process with SIGBUS.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np


class RowFile:
    """An array on disk; byte for byte what `np.save` would write.

    Args:
        path: The file. Whoever writes to it must agree on shape and dtype.
        shape: Of the whole array.
        dtype: Of the whole array.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: type):
        self.path, self.shape, self.dtype = path, shape, np.dtype(dtype)
        header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": shape}
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(buffer, header)
        self._header = buffer.getvalue()
        self._row_bytes = self.dtype.itemsize * int(np.prod(shape[1:]))

    def create(self) -> None:
        """Make the file, all zeros; by one process, before the others write."""
        with open(self.path, "wb") as f:
            f.write(self._header)
            f.truncate(len(self._header) + self.shape[0] * self._row_bytes)

    def write(self, first: int, rows: np.ndarray) -> None:
        """Fill `rows` in from row `first` on."""
        if rows.dtype != self.dtype or rows.shape[1:] != self.shape[1:] or first + len(rows) > self.shape[0]:
            raise ValueError(f"{self.path}: expected {self.dtype} rows of {self.shape}, got {rows.dtype} {rows.shape}")
        with open(self.path, "r+b") as f:
            f.seek(len(self._header) + first * self._row_bytes)
            f.write(np.ascontiguousarray(rows).data)

    def read(self) -> np.ndarray:
        """The array, mapped and not loaded."""
        return np.load(self.path, mmap_mode="r", allow_pickle=False)
