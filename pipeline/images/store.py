"""The array store: a split's decoded images as one `.npy` file a class, and `index.csv`.

One file a class, so that a stage which trains on one class depends on that class alone, and so that a
split of 10,000 images costs DVC one hash a class instead of one an image.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline import InputError


class Store(NamedTuple):
    """Images of several classes, grouped by class in the order of `classes`.

    Attributes:
        images: (N, H, W, 3) uint8 RGB.
        labels: (N,) int64, index into `classes`.
        files: N names, unique within a class.
        classes: class names.
    """

    images: np.ndarray
    labels: np.ndarray
    files: list[str]
    classes: list[str]


def write_store(
    folder: str | Path,
    images: np.ndarray,
    labels: np.ndarray,
    files: list[str],
    classes: list[str],
    *,
    rows: np.ndarray | None = None,
) -> None:
    """Write a store.

    Args:
        folder: Where; made if absent.
        images: (N, H, W, 3) uint8, or more of them than are written.
        labels: (N,) integers, index into `classes`.
        files: N names.
        classes: Class names; a class without images gets an empty array.
        rows: (N,) places in `images` of those that are written, of which no more than a class is in memory at a time
            where `images` is mapped from a file; None: all, in order.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    labels = np.asarray(labels)
    with open(folder / "index.csv", "w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow(["file", "class"])
        for k, name in enumerate(classes):
            own = np.flatnonzero(labels == k)
            np.save(folder / f"{name}.npy", np.ascontiguousarray(images[own if rows is None else rows[own]]))
            writer.writerows([files[i], name] for i in own)


def load_class(folder: str | Path, name: str, *, mapped: bool = False) -> np.ndarray:
    """One class of a store: (N, H, W, 3) uint8.

    Args:
        folder: The store.
        name: The class.
        mapped: Read pixels from the file when they are asked for, so that a class may be larger than memory.

    Raises:
        InputError: The class has no file in the store.
    """
    path = Path(folder) / f"{name}.npy"
    if not path.is_file():
        raise InputError(
            f"{path}: expected the images of class '{name}', found no such file; "
            "check `classes` in params.yaml and run `dvc repro`."
        )
    return np.load(path, allow_pickle=False, mmap_mode="r" if mapped else None)


def load_store(folder: str | Path, classes: list[str]) -> Store:
    """Read the listed classes of a store; others that lie there are left alone.

    DVC leaves the files of a removed class behind, hence the list rather than the folder's contents.

    Raises:
        InputError: A class has no file in the store, or `index.csv` disagrees with its arrays.
    """
    folder = Path(folder)
    arrays = [load_class(folder, name) for name in classes]
    with open(folder / "index.csv", newline="", encoding="utf-8") as f:
        by_class: dict[str, list[str]] = {name: [] for name in classes}
        for row in csv.DictReader(f):
            if row["class"] in by_class:
                by_class[row["class"]].append(row["file"])
    for name, array in zip(classes, arrays, strict=True):
        if len(array) != len(by_class[name]):
            raise InputError(
                f"{folder / 'index.csv'}: expected {len(array)} rows of class '{name}', "
                f"found {len(by_class[name])}; run `dvc repro --force split`."
            )
    labels = np.repeat(np.arange(len(classes)), [len(a) for a in arrays])
    files = [file for name in classes for file in by_class[name]]
    return Store(np.concatenate(arrays), labels, files, list(classes))
