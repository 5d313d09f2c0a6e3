"""Arrays written row by row: the bytes of `np.save`, in any order, and a full disk that is noticed."""

import os
from pathlib import Path

import numpy as np
import pytest

from pipeline.images.row_file import RowFile


@pytest.mark.parametrize(("shape", "dtype"), [((10, 4, 3, 3), np.uint8), ((10,), np.float32)])
def test_rows_in_any_order_give_the_bytes_of_np_save(tmp_path, shape, dtype):
    whole = np.random.default_rng(0).integers(0, 255, shape).astype(dtype)
    np.save(tmp_path / "whole.npy", whole)
    RowFile(tmp_path / "rows.npy", shape, dtype).create()
    for first, last in [(7, 10), (0, 3), (3, 7)]:
        RowFile(tmp_path / "rows.npy", shape, dtype).write(first, whole[first:last])  # as another process would
    rows = RowFile(tmp_path / "rows.npy", shape, dtype)
    assert (tmp_path / "rows.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
    assert np.array_equal(rows.read(), whole)


def test_rows_need_not_lie_side_by_side(tmp_path):
    planes = np.random.default_rng(0).integers(0, 255, (2, 3, 4, 4), dtype=np.uint8)
    rows = RowFile(tmp_path / "rows.npy", (2, 4, 4, 3), np.uint8)
    rows.create()
    rows.write(0, planes.transpose(0, 2, 3, 1))
    rows.write(2, planes.transpose(0, 2, 3, 1)[:0])  # none at all
    assert np.array_equal(np.load(tmp_path / "rows.npy"), planes.transpose(0, 2, 3, 1))


@pytest.mark.parametrize(
    ("first", "rows"),
    [(9, np.zeros((2, 3), np.uint8)), (0, np.zeros((2, 3), np.int64)), (0, np.zeros((2, 4), np.uint8))],
    ids=["beyond the end", "another dtype", "another shape"],
)
def test_rows_that_do_not_fit_are_refused(tmp_path, first, rows):
    file = RowFile(tmp_path / "rows.npy", (10, 3), np.uint8)
    file.create()
    before = file.path.read_bytes()
    with pytest.raises(ValueError, match="expected uint8 rows"):
        file.write(first, rows)
    assert file.path.read_bytes() == before


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_a_full_disk_is_an_error():
    with pytest.raises(OSError, match="No space left"):
        RowFile(Path("/dev/full"), (10, 3), np.uint8).write(0, np.zeros((10, 3), np.uint8))
