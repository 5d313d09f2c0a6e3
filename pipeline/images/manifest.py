"""The groups of a split's images, from its manifest: photos of one leaf, which are no evidence for each other."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from pipeline import InputError
from pipeline.images.store import Store


def groups_of(store: Store, manifest: str | Path, side: str) -> np.ndarray:
    """The group of each image of a store: (N,) str.

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
