"""Classes whose synthetic images show another class: the generator has mixed up its labels.

A classifier of real train images, the judge, names the class of each synthetic image. Class c is called swapped with
class d where more of its synthetic images are taken for d than for c, and the judge can't be blamed: on real val
images of c it does not do so, and the difference between both is beyond chance.
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln


def label_swaps(
    probabilities: np.ndarray,
    labels: np.ndarray,
    probabilities_val: np.ndarray,
    labels_val: np.ndarray,
    classes: list[str],
    *,
    alpha: float = 0.05,
) -> dict[str, float]:
    """Which classes' synthetic images are recognised as another class.

    Args:
        probabilities: (M, K) of the judge, for the synthetic images.
        labels: (M,) classes that they were made for, index into `classes`.
        probabilities_val: (V, K) of the judge, for val.
        labels_val: (V,).
        classes: K names.
        alpha: Rate of false alarms over all classes, by Fisher's exact test of d against c, synthetic against val,
            corrected for the K - 1 others of K classes.

    Returns:
        For each class with synthetic images `recognised/<class>`, the share taken for their own class,
        `mistaken/<class>`, that taken for the other class most often named, `mistaken_for/<class>`, its index, and
        `label_swapped/<class>`, 0 or 1. The last is 0 where val has too few images for any evidence.
    """
    counts, counts_val = (
        _named(np.asarray(p), np.asarray(y), len(classes))
        for p, y in ((probabilities, labels), (probabilities_val, labels_val))
    )
    pairs = max(len(classes) * (len(classes) - 1), 1)
    metrics: dict[str, float] = {}
    for k, name in enumerate(classes):
        if not counts[k].sum():
            continue
        others = np.where(np.arange(len(classes)) == k, -1, counts[k])
        other = int(others.argmax())
        metrics[f"recognised/{name}"] = float(counts[k, k] / counts[k].sum())
        if other == k:  # the only class
            continue
        metrics[f"mistaken/{name}"] = float(counts[k, other] / counts[k].sum())
        metrics[f"mistaken_for/{name}"] = float(other)
        swapped = (
            counts[k, other] > counts[k, k]
            and counts_val[k, other] < counts_val[k, k]
            and _fisher(counts[k, other], counts[k, k], counts_val[k, other], counts_val[k, k]) * pairs <= alpha
        )
        metrics[f"label_swapped/{name}"] = float(swapped)
    return metrics


def _named(probabilities: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """(K, K) counts: made for, by taken for."""
    cell = labels.astype(np.int64) * num_classes + probabilities.reshape(-1, num_classes).argmax(axis=1)
    return np.bincount(cell, minlength=num_classes**2).reshape(num_classes, num_classes)


def _fisher(a: int, b: int, c: int, d: int) -> float:
    """One-sided p-value of a : b being above c : d, with all margins given (hypergeometric)."""
    n, drawn, marked = a + b + c + d, a + b, a + c
    x = np.arange(a, min(drawn, marked) + 1)

    def choose(top: int, bottom: np.ndarray | int) -> np.ndarray:
        return gammaln(top + 1) - gammaln(bottom + 1) - gammaln(top - bottom + 1)

    return float(min(1.0, np.exp(choose(marked, x) + choose(n - marked, drawn - x) - choose(n, drawn)).sum()))
