"""p values without assumptions on the shape of anything, and what many of them at once are worth.

If two arms were equally good, nothing would change if their predictions on a leaf changed places. So they are
swapped, group by group, in all ways or in many, and p is the share of ways that differ at least as much as what was
seen (Fisher 1935, "The design of experiments", section 21). A group (photos of one leaf) is swapped as a whole and
with all its seeds, for neither photos of one leaf nor seeds on one leaf are independent of each other.

That answers for these very trainings on other leaves. How far other seeds would differ, swapping images cannot know,
and swapping whole seeds cannot either: three seeds give no p below 2 / 2³ = 0.25. So the verdicts rest on the
intervals of `statistics`, which know of both, and these p stand beside them as a check.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from pipeline.measure.statistics import independent_units, score_confusion

EXACT_UNITS = 12  # up to 2^12 ways are all tried
BLOCK = 2**22  # matrix cells held at a time


def swap_test(
    labels: ArrayLike,
    predicted: ArrayLike,
    other: ArrayLike,
    *,
    num_classes: int,
    groups: Sequence[str] | None = None,
    metric: str = "macro_f1",
    draws: int = 2000,
    seed: int = 0,
) -> float:
    """Two-sided p of no difference between two arms, by swapping their predictions on whole groups.

    All ways of swapping where the arms differ on 12 groups or fewer, random ones otherwise; then p is
    (1 + ways as extreme) / (1 + draws), never 0 (Phipson and Smyth 2010, "Permutation p-values should never be
    zero"). The seeds are taken as they are.

    Args:
        labels: (N,) true classes.
        predicted: (S, N) predicted classes of one arm.
        other: (S, N) of the other.
        num_classes: K.
        groups: N names; images of one class with one name are swapped together. `None`: each by itself.
        metric: Of `statistics.METRICS`; mean over seeds.
        draws: Random ways of swapping.
        seed: Of the draws.
    """
    labels, predicted, other = np.asarray(labels), np.asarray(predicted), np.asarray(other)
    unit_of = _numbered(labels, groups, num_classes)
    seeds = len(predicted)
    cells = seeds * num_classes**2
    gap = np.zeros((unit_of.max() + 1, cells), dtype=np.float32)
    both = np.zeros(cells, dtype=np.float32)
    for s in range(seeds):
        start = s * num_classes**2 + labels * num_classes
        np.add.at(gap, (unit_of, start + predicted[s]), 1)
        np.add.at(gap, (unit_of, start + other[s]), -1)
        np.add.at(both, start + predicted[s], 1)
        np.add.at(both, start + other[s], 1)
    gap = gap[np.any(gap != 0, axis=1)]
    if len(gap) == 0:
        return 1.0

    def statistic(signs: np.ndarray) -> np.ndarray:
        swapped = (signs @ gap).astype(np.float64)
        first, second = (
            score_confusion(((both + side * swapped) / 2).reshape(len(signs), seeds, num_classes, num_classes))[metric]
            for side in (1, -1)
        )
        return first.mean(1) - second.mean(1)

    seen = abs(statistic(np.ones((1, len(gap)), dtype=np.float32))[0]) - 1e-9  # equal ones differ by rounding
    if len(gap) <= EXACT_UNITS:
        ways = np.arange(2 ** len(gap))
        signs = 1 - 2 * ((ways[:, None] >> np.arange(len(gap))) & 1)
        return float(_share(statistic, signs.astype(np.float32), seen, cells))
    signs = np.random.default_rng([seed, 0x5A9]).integers(0, 2, size=(draws, len(gap)), dtype=np.int8)
    return float((1 + draws * _share(statistic, (1 - 2 * signs).astype(np.float32), seen, cells)) / (1 + draws))


def exact_swap_test(differences: ArrayLike) -> float:
    """Two-sided p of no difference in a sum of whole numbers, one a group, over all ways to flip their signs.

    The distribution of the sum is made by convolution, so no number of groups is too many. With one image a group
    and differences -1, 0, 1 it is McNemar's exact test (1947); with sums over a group's images and seeds, the test of
    accuracy.

    Args:
        differences: (U,) whole numbers: right answers of one arm less those of the other.
    """
    steps = np.abs(np.asarray(differences, dtype=int))
    steps = steps[steps > 0]
    seen, reach = abs(int(np.sum(differences))), int(steps.sum())
    chances = np.zeros(2 * reach + 1)
    chances[reach] = 1.0  # of a sum of 0
    for step in steps:
        chances = 0.5 * (np.roll(chances, step) + np.roll(chances, -step))  # the ends are still empty: no wrapping
    sums = np.abs(np.arange(-reach, reach + 1))
    return float(min(chances[sums >= seen].sum(), 1.0))


def accuracy_test(
    labels: ArrayLike,
    predicted: ArrayLike,
    other: ArrayLike,
    *,
    num_classes: int,
    groups: Sequence[str] | None = None,
) -> float:
    """Exact p of no difference in accuracy, all seeds of a group swapped together. Arguments as of `swap_test`."""
    labels = np.asarray(labels)
    gained = (np.asarray(predicted) == labels).sum(0) - (np.asarray(other) == labels).sum(0)
    return exact_swap_test(np.bincount(_numbered(labels, groups, num_classes), weights=gained).round().astype(int))


def mcnemar(
    labels: ArrayLike,
    probabilities: ArrayLike,
    other: ArrayLike,
    *,
    groups: Sequence[str] | None = None,
) -> float:
    """McNemar's exact p on one answer an image and arm: the class of highest mean probability over the seeds.

    The test knows no seeds, so they vote first. Photos of one leaf are summed before signs are flipped; where every
    image is its own group this is the plain test.

    Args:
        labels: (N,) true classes.
        probabilities: (S, N, K) of one arm.
        other: (S, N, K) of the other.
        groups: As of `swap_test`.
    """
    votes = [np.asarray(p).mean(0).argmax(-1)[None] for p in (probabilities, other)]
    return accuracy_test(labels, *votes, num_classes=np.shape(probabilities)[-1], groups=groups)


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """p values of several questions, adjusted so that any false finding among them is as rare as for one question.

    Holm 1979, "A simple sequentially rejective multiple test procedure": the smallest of m is multiplied by m, the
    next by m - 1, …, none below the one before it. Valid whatever the dependence between them.

    Args:
        p: question → p.
    """
    adjusted, least = {}, 0.0
    for i, name in enumerate(sorted(p, key=lambda key: p[key])):
        least = max(least, min((len(p) - i) * p[name], 1.0))
        adjusted[name] = least
    return {name: adjusted[name] for name in p}


def _numbered(labels: np.ndarray, groups: Sequence[str] | None, num_classes: int) -> np.ndarray:
    """(N,) number of each image's (class, group)."""
    within = independent_units(labels, groups, num_classes)
    return np.unique(labels * (within.max(initial=0) + 1) + within, return_inverse=True)[1]


def _share(statistic, signs: np.ndarray, seen: float, cells: int) -> float:
    size = max(BLOCK // cells, 1)
    return sum((np.abs(statistic(signs[i : i + size])) >= seen).sum() for i in range(0, len(signs), size)) / len(signs)
