"""Synthetic images that show the very points of a real photo: copies that are turned, zoomed, mirrored or cut out.

Distances of pixels and of features grow with every degree by which a copy is turned; the matcher that finds photos of
one leaf (`keypoints`) looks for points and for how they lie to each other. Real photos of other leaves show how often
it errs: those of train are held against train without their own leaf, those of val against train.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from pipeline.images.keypoints import find_keypoints, matches

MOST_SYNTHETIC = 400  # that are looked at, an even share of each class; six seconds of a core with as many photos
FALSE_ALARMS = 0.01


class TurnedCopies(NamedTuple):
    """What `turned_copies` finds.

    Attributes:
        metrics: `turned/n_synthetic` that were looked at, `turned/synthetic` of them that match a photo;
            `turned/n_real` and `turned/real`, the same of real photos and other leaves; `turned/p_value`, Fisher's
            exact test that no more of the synthetic ones match; and `turned/flagged`, 0 or 1.
        pairs: Row of the synthetic image, row of the photo (train first, then val), and points that agree; the surest
            first, a synthetic image once.
    """

    metrics: dict[str, float]
    pairs: list[tuple[int, int, int]]


def turned_copies(
    train: np.ndarray,
    groups: Sequence[Any] | np.ndarray,
    val: np.ndarray,
    synthetic: np.ndarray,
    labels: np.ndarray,
) -> TurnedCopies:
    """Hold synthetic images against photos of train and val, by keypoints.

    Args:
        train: (N, H, W, 3) uint8.
        groups: N names of leaves.
        val: (V, H, W, 3) uint8; leaves of its own.
        synthetic: (M, H, W, 3) uint8.
        labels: (M,) of the synthetic ones.
    """
    from scipy.stats import fisher_exact

    step = max(1, -(-len(labels) // MOST_SYNTHETIC))
    rows = np.sort(np.concatenate([np.flatnonzero(labels == k)[::step] for k in np.unique(labels)]))
    photos = [find_keypoints(Image.fromarray(image)) for image in (*train, *val)]
    drawn = [find_keypoints(Image.fromarray(synthetic[row])) for row in rows]
    leaf = [*groups, *(("of val", i) for i in range(len(val)))]
    of_real: set[int] = set()
    for pair in matches(photos, references=len(train)):
        if pair.a < len(train) and leaf[pair.a] != leaf[pair.b]:
            of_real |= {pair.a, pair.b} if pair.b < len(train) else {pair.b}
    best: dict[int, tuple[int, int]] = {}
    for pair in matches([*photos, *drawn], references=len(photos)):
        if pair.a < len(photos) <= pair.b:
            own = best.get(pair.b, (0, 0))
            best[pair.b] = max(own, (pair.points, pair.a))
    found, n, m = len(best), len(drawn), len(photos)
    p = fisher_exact([[found, n - found], [len(of_real), m - len(of_real)]], alternative="greater").pvalue
    metrics = {"n_synthetic": n, "synthetic": found, "n_real": m, "real": len(of_real), "p_value": p}
    metrics["flagged"] = p <= FALSE_ALARMS
    pairs = [(int(rows[b - len(photos)]), a, points) for b, (points, a) in best.items()]
    pairs.sort(key=lambda pair: (-pair[2], pair[0]))
    return TurnedCopies({f"turned/{key}": float(value) for key, value in metrics.items()}, pairs)
