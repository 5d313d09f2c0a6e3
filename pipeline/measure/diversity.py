"""Do the synthetic images of a class differ from each other as much as real ones do? Or has the class collapsed?

Spread is the root mean squared deviation from the class's mean, over that of its train images: 1 is as varied as
train, 0 is one picture. Beside it stands what val images show, which are as varied as train by nature. Spread does not
see a generator that has a handful of pictures and gives each many times over; near duplicates do. Two images of a
class are near duplicates where the distance between them (shifts, mirroring, noise aside: `thumbnails`) is less than
half of what only one in a hundred pairs of real train images of different groups comes below. Half, since smooth images
lie nearer to one another than photos without repeating anything: blurred photos stay above it, replayed ones do not.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipeline.measure.thumbnails import pixel_distances

LEAST_SPREAD = 0.4  # of train's, or of val's where that is less
MOST_DUPLICATES = 0.7  # share of images beyond what real ones show
MIN_IMAGES = 4  # of three images one may by chance be like another
CLOSEST = 0.01  # share of real pairs
NEAR = 0.5  # of the distance that these come below
MIN_PAIRS = 200  # for a class to have a threshold of its own
MAX_IMAGES = 1000  # a class and side, spread evenly: a million pairs


def diversity_report(
    features: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    thumbnails_train: np.ndarray,
    thumbnails_val: np.ndarray,
    thumbnails_synthetic: np.ndarray,
    *,
    labels_train: np.ndarray,
    labels_val: np.ndarray,
    labels_synthetic: np.ndarray,
    groups_train: np.ndarray,
    classes: list[str],
) -> dict[str, float]:
    """Spread and near duplicates of every class, and which classes have collapsed.

    Args:
        features: Extractor → features of train, val and synthetic images, (N, D) each.
        thumbnails_train: (T, 32, 32, 3) of `thumbnails`; their spread is that of `pixel`.
        thumbnails_val: (V, 32, 32, 3).
        thumbnails_synthetic: (M, 32, 32, 3).
        labels_train: (T,) index into `classes`.
        labels_val: (V,).
        labels_synthetic: (M,).
        groups_train: (T,) images of one show one leaf, and are no evidence of what strangers look like.
        classes: Names.

    Returns:
        Flat metrics, not rounded; `<space>` is `pixel` or an extractor:

        `spread_<space>/<class>` over train's, `spread_val_<space>/<class>` the same of val;
        `duplicates/<class>`, the share of synthetic images with a near duplicate among them, beside
        `duplicates_expected/<class>`, that of as many real images; and `collapsed/<class>`: 1 where the pixel spread is
        below 0.4 of the lesser of train's and val's, or the duplicates beyond those expected are over 0.7 of all
        images. Spread of features does not count: an extractor that was fitted to train spreads train as it likes.
        Of fewer than 4 images nothing is said to have collapsed; figures of fewer than 2 are left out.
    """
    labels = [np.asarray(y) for y in (labels_train, labels_val, labels_synthetic)]
    groups = np.asarray(groups_train)
    small = (thumbnails_train, thumbnails_val, thumbnails_synthetic)
    spaces = {"pixel": tuple(np.asarray(t).reshape(len(t), -1) for t in small)} | dict(features)
    rows_of = [[np.flatnonzero(y == k) for k in range(len(classes))] for y in labels]
    real = [_real_pairs(thumbnails_train, groups, _thinned(rows)) for rows in rows_of[0]]
    enough = [pairs[np.isfinite(pairs)] for pairs in real]
    pooled = np.concatenate(enough)

    metrics: dict[str, float] = {}
    for k, name in enumerate(classes):
        train, val, synthetic = (rows[k] for rows in rows_of)
        for space, arrays in spaces.items():
            of_train = _spread(arrays[0][train])
            if not of_train:
                continue
            floor = _spread(arrays[1][val]) if len(val) > 1 else None
            if floor is not None:
                metrics[f"spread_val_{space}/{name}"] = floor / of_train
            if len(synthetic) > 1:
                metrics[f"spread_{space}/{name}"] = _spread(arrays[2][synthetic]) / of_train
        if len(synthetic) > 1 and len(pooled):
            own = thumbnails_synthetic[_thinned(synthetic)]
            limit = NEAR * np.quantile(enough[k] if len(enough[k]) >= MIN_PAIRS else pooled, CLOSEST)
            metrics[f"duplicates/{name}"] = float((_apart(own).min(axis=1) <= limit).mean())
            metrics[f"duplicates_expected/{name}"] = _expected(real[k] <= limit, len(own)) if len(enough[k]) else 0.0
        if len(synthetic):
            seen = is_flat(metrics, name) or is_repeating(metrics, name)
            metrics[f"collapsed/{name}"] = float(len(synthetic) >= MIN_IMAGES and seen)
    return metrics


def is_flat(metrics: Mapping[str, float], name: str) -> bool:
    """Whether a class's pixel spread is a collapse's."""
    least = LEAST_SPREAD * min(1.0, metrics.get(f"spread_val_pixel/{name}", 1.0))
    return metrics.get(f"spread_pixel/{name}", 1.0) < least


def is_repeating(metrics: Mapping[str, float], name: str) -> bool:
    """Whether a class's near duplicates are a collapse's."""
    return metrics.get(f"duplicates/{name}", 0.0) - metrics.get(f"duplicates_expected/{name}", 0.0) > MOST_DUPLICATES


def _thinned(rows: np.ndarray) -> np.ndarray:
    return rows[:: max(1, -(-len(rows) // MAX_IMAGES))]


def _spread(x: np.ndarray) -> float:
    """Root mean squared deviation from the mean, with N - 1: as large in expectation for few images as for many."""
    if len(x) < 2:
        return 0.0
    x = np.asarray(x, dtype=np.float64)
    return float(np.sqrt(np.square(x - x.mean(axis=0)).sum() / (len(x) - 1)))


def _apart(small: np.ndarray) -> np.ndarray:
    """Distances within one set, the lesser of both directions, infinite to itself: (N, N)."""
    distances = pixel_distances(small, small)
    distances = np.minimum(distances, distances.T)
    np.fill_diagonal(distances, np.inf)
    return distances


def _real_pairs(thumbnails_train: np.ndarray, groups: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Distances between real images, infinite within a group: (n, n)."""
    distances = _apart(thumbnails_train[rows])
    distances[groups[rows, None] == groups[rows]] = np.inf
    return distances


def _expected(near: np.ndarray, count: int) -> float:
    """Share of images with a near duplicate in a set of `count`, each other image being near as often as here."""
    chance = near.sum(axis=1) / max(len(near) - 1, 1)
    return float((1 - (1 - chance) ** (count - 1)).mean())
