"""Reading manifest.csv of the split."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pipeline import InputError


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
