"""Tables that describe images: how they are written, and what other stages ask the split's."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from pipeline import InputError
from pipeline.images.store import Store


def write_csv(path: Path, header: list[str], rows: Iterable[list]) -> None:
    """A table as csv, with line ends that are the same everywhere."""
    with open(path, "w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def class_counts(path: str | Path, split: str, classes: Sequence[str]) -> dict[str, int]:
    """Images of each class on one side of the split.

    Args:
        path: The manifest, with the columns split and class.
        split: train, val or test.
        classes: Names to count.

    Raises:
        InputError: No such file, or it lacks a column.
    """
    try:
        with open(path, newline="", encoding="utf-8") as f:
            found = Counter(row["class"] for row in csv.DictReader(f) if row["split"] == split)
    except (FileNotFoundError, KeyError) as error:
        raise InputError(
            f"{path}: expected the split's manifest with the columns split and class, found none "
            f"({type(error).__name__}: {error}); run `dvc repro`."
        ) from None
    return {name: found[name] for name in classes}


def groups_of(store: Store, manifest: str | Path, side: str) -> np.ndarray:
    """The group of each image of a store, photos of one leaf, which are no evidence for each other: (N,) str.

    Args:
        store: A side of the split.
        manifest: `manifest.csv` of the split.
        side: train or val.

    Raises:
        InputError: The manifest lacks an image of the store.
    """
    groups = {}
    with open(manifest, newline="", encoding="utf-8") as f:
        for row in csv.DictReader(f):
            if row["split"] == side:
                groups[row["class"], Path(row["file"]).name] = row["group"] or row["file"]
    keys = [(store.classes[label], file) for label, file in zip(store.labels, store.files, strict=True)]
    missing = [f"{name}/{file}" for name, file in keys if (name, file) not in groups]
    if missing:
        raise InputError(
            f"{manifest}: expected a row of split {side} for every image of the arrays, found none for '{missing[0]}'; "
            "run `dvc repro --force split`."
        )
    return np.array([groups[key] for key in keys], dtype=str)
