"""Which images make up a training batch: every draw is a function of (seed, step) alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pipeline import InputError
from pipeline.images.seeding import numpy_rng
from pipeline.images.store import Store


def natural_rows(labels: np.ndarray, batch_size: int, rng: np.random.Generator) -> np.ndarray:
    """Every image is as likely: a class comes as often as it has images. (batch_size,) row numbers."""
    return rng.integers(len(labels), size=batch_size)


def balanced_rows(labels: np.ndarray, batch_size: int, rng: np.random.Generator) -> np.ndarray:
    """Every class is as likely, then every image of it: rare images come more often. (batch_size,) rows."""
    by_class = np.argsort(labels, kind="stable")  # rows grouped by class
    counts = np.bincount(labels)
    starts = np.cumsum(counts) - counts
    drawn = rng.choice(np.flatnonzero(counts), size=batch_size)
    return by_class[starts[drawn] + rng.integers(counts[drawn])]


# name in params.yaml -> function of (labels (N,), batch_size, rng)
SAMPLING: dict[str, Callable[[np.ndarray, int, np.random.Generator], np.ndarray]] = {
    "natural": natural_rows,
    "balanced": balanced_rows,
}


def batch_rows(labels: np.ndarray, *, sampling: str, batch_size: int, seed: int, step: int) -> np.ndarray:
    """Rows of the batch of one step, drawn with replacement, so that samplings differ in frequencies alone.

    Args:
        labels: (N,) class indices of the training images.
        sampling: A key of SAMPLING.
        batch_size: Images a batch.
        seed: Seed of the run.
        step: Number of the optimiser step.

    Returns:
        (batch_size,) integers below N.

    Raises:
        InputError: No such sampling.
    """
    if sampling not in SAMPLING:
        raise InputError(f"sampling: expected one of {sorted(SAMPLING)}, found '{sampling}'; mend it in params.yaml.")
    return SAMPLING[sampling](labels, batch_size, numpy_rng(seed, "batch", step))


def check_stores(train: Store, val: Store) -> None:
    """Refuse what nothing can be learnt from.

    Raises:
        InputError: The stores name other classes or another order, a class has no training image, val is
            empty, or the image sizes differ.
    """
    if train.classes != val.classes:
        raise InputError(
            f"classes: expected train and val with the same classes in the same order, found {train.classes} "
            f"and {val.classes}; run `dvc repro --force split`."
        )
    counts = np.bincount(train.labels, minlength=len(train.classes))
    if counts.min() == 0:
        name = train.classes[int(counts.argmin())]
        raise InputError(
            f"train: expected images of every class, found none of '{name}'; "
            "add images of it or take it from `classes` in params.yaml."
        )
    if len(val.labels) == 0:
        raise InputError("val: expected images to choose the checkpoint on, found none; raise split.val_share.")
    if train.images.shape[1:] != val.images.shape[1:]:
        raise InputError(
            f"img_resolution: expected train and val images of one size, found {train.images.shape[1:3]} and "
            f"{val.images.shape[1:3]}; run `dvc repro --force split`."
        )
