"""Has the generator made new leaves, or copied train? Its images beside held-out real ones, which can't be copies.

For every image x, with d₁ the distance to its nearest train image, the copy score is

    s(x) = d₁ / mean of the distances to the nearest images of the K = 5 next nearest groups

where a group is what shows one leaf. A copy has one train image far nearer than all others, s near 0; any other image
has a s near 1, in dense and sparse regions alike. The distance d₁ itself, which copying tests compare as a rule
(Meehan, Chaudhuri, Dasgupta 2020, "A non-parametric test to detect data-copying in generative models", section 3), is
reported but decides nothing: smooth or typical images lie nearer to every train image without copying any.

Held-out images calibrate the score. In feature space they are val. In pixel space, which nothing was fitted to, each
train image measured against the rest of train without its own group is one more, but a group of train counts half: two
near duplicates in train owe their low scores to one distance. Classes with fewer than 20 such units share theirs with
the next larger ones. With G units, s₍ⱼ₎ the j-th least of their scores, and n synthetic images that are held-out images
in all but name, the number of these below s₍ⱼ₎ is beta-binomial with parameters (j, G + 1 - j), since s₍ⱼ₎ cuts off a
share that is Beta(j, G + 1 - j) whatever the scores' distribution. Two such counts are tested, for copies that are many
or clear: at j = floor(0.05 (G + 1)) and at j = 1. The flag is set by these p-values alone, of the whole set and of each
class, corrected for all of them and for the spaces. They assume that held-out groups are drawn like one another, and
that synthetic images are drawn independently. Those of a class that has nearly collapsed are not: they are one image
many times, whose one score would count for all. So only the first of a class's images with the same nearest train image
is counted.

A single image's p-value is (1 + G F(s)) / (G + 1), F the distribution of held-out scores, weighed by unit
(conformal; for groups see Lee, Barber, Willett 2023, "Distribution-free inference with hierarchical data", section 3).
Below the least held-out score it goes on as a power, (s / s₍₁₎)^m / (G + 1): the share of images within a small radius
r goes as r^m, m the dimension of the set (Levina and Bickel 2004, "Maximum likelihood estimation of intrinsic
dimension", section 2). m is Hill's estimate on the lowest tenth of the held-out scores, less two standard errors. What
Benjamini and Hochberg's step-up then picks is named a copy (on conformal p-values: Bates et al. 2023, "Testing for
outliers with conformal p-values", section 2). The power is an assumption: leaves that were photographed twice without
a group that says so break it, so a named image is one to look at, and no flag by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.special import betaln, gammaln

from pipeline.measure.thumbnails import pixel_distances

K = 5
MIN_UNITS = 20  # held-out ones for a class to be measured by its own: the 0.05 quantile needs 19
TAIL = 0.1  # of the held-out scores, for the exponent
MIN_TAIL = 10  # scores; with fewer the p-value does not go on below the least
BLOCK = 1024
ROUNDING = 1e-9  # of p-values that are fractions: 2 / 40 is no more than 0.05
# Synthetic by train images in pixel space; some 40 s of a core. Of more, an even share of each class is measured.
MAX_PAIRS = 4_000_000


class Nearest(NamedTuple):
    """Nearest train images of Q images.

    Attributes:
        index: (Q,) int64, which train image.
        distance: (Q,) float64, to it.
        score: (Q,) float64, the copy score of the module's head, 0 to 1.
    """

    index: np.ndarray
    distance: np.ndarray
    score: np.ndarray


class Space(NamedTuple):
    """One space that images are compared in.

    Attributes:
        synthetic: Of the synthetic images.
        val: Of the val images.
        train: Of train images without their own group, where they calibrate too, else None.
        train_rows: Which train images these are.
    """

    synthetic: Nearest
    val: Nearest
    train: Nearest | None = None
    train_rows: np.ndarray | None = None


class Memorisation(NamedTuple):
    """What `memorisation_report` finds.

    Attributes:
        metrics: Flat, not rounded.
        p_values: (M,) of each synthetic image, over all spaces.
        copies: (M,) bool, those named as copies.
        space_p_values: Space → (M,).
    """

    metrics: dict[str, float]
    p_values: np.ndarray
    copies: np.ndarray
    space_p_values: dict[str, np.ndarray]


def nearest(distances: np.ndarray, groups: np.ndarray, *, own: np.ndarray | None = None) -> Nearest:
    """Nearest references and copy scores.

    Args:
        distances: (Q, R) of each query to each reference, 0 or more.
        groups: (R,) integer group of each reference.
        own: (Q,) group of each query: its references are passed over. None: none are.

    Raises:
        ValueError: The references of other groups are of fewer than two groups, so that there is nothing to
            compare a distance with.
    """
    ids, inverse = np.unique(np.asarray(groups), return_inverse=True)
    if len(ids) < (2 if own is None else 3):
        raise ValueError(f"groups must be of 2 groups beside a query's own, or more. Got {len(ids)} in all instead.")
    by_group = np.argsort(inverse, kind="stable")
    starts = np.searchsorted(inverse[by_group], np.arange(len(ids)))
    index, score = np.empty(len(distances), np.int64), np.empty(len(distances))
    distance = np.empty(len(distances))
    for start in range(0, len(distances), BLOCK):
        rows = slice(start, start + BLOCK)
        block = np.array(distances[rows], dtype=np.float64)
        if own is not None:
            block[np.asarray(own)[rows, None] == np.asarray(groups)] = np.inf
        index[rows] = block.argmin(axis=1)
        of_groups = np.minimum.reduceat(block[:, by_group], starts, axis=1)  # (B, groups): the nearest of each
        first = np.sort(np.partition(of_groups, min(K, len(ids) - 1), axis=1)[:, : K + 1], axis=1)
        distance[rows] = first[:, 0]
        others = np.where(np.isfinite(first[:, 1:]), first[:, 1:], np.nan)
        mean = np.nanmean(others, axis=1)
        # On top of a train image is a copy of it, though it be on top of several
        score[rows] = np.divide(first[:, 0], mean, out=np.zeros(len(block)), where=mean > 0)
    return Nearest(index, distance, score)


def feature_space(
    features_train: np.ndarray, features_val: np.ndarray, features_synthetic: np.ndarray, groups_train: np.ndarray
) -> Space:
    """Nearest train images by Euclidean distance between features, (N, D) each.

    Val alone calibrates: the extractor may have been fitted to train, and then train images lie unlike others.
    """
    train = np.asarray(features_train, dtype=np.float64)
    centre = train.mean(axis=0)  # distances stay, rounding is least
    train = train - centre

    def of(features: np.ndarray) -> Nearest:
        x = np.asarray(features, dtype=np.float64) - centre
        blocks = [nearest(_euclidean(x[i : i + BLOCK], train), groups_train) for i in range(0, len(x), BLOCK)]
        return _joined(blocks)

    return Space(of(features_synthetic), of(features_val))


def pixel_space(
    thumbnails_train: np.ndarray, thumbnails_val: np.ndarray, thumbnails_synthetic: np.ndarray, groups_train: np.ndarray
) -> Space:
    """Nearest train images by `pixel_distances`, of thumbnails; val and train both calibrate.

    Its cost goes with synthetic by train images, hence `measured_rows`; of train as many calibrate as are synthetic,
    spread evenly, but 1,000 at least.
    """
    groups_train = np.asarray(groups_train)

    def of(small: np.ndarray, own: np.ndarray | None = None) -> Nearest:
        blocks = []
        for i in range(0, len(small), BLOCK):
            part = None if own is None else own[i : i + BLOCK]
            blocks.append(nearest(pixel_distances(small[i : i + BLOCK], thumbnails_train), groups_train, own=part))
        return _joined(blocks)

    every = -(-len(thumbnails_train) // max(1000, len(thumbnails_synthetic)))
    rows = np.arange(0, len(thumbnails_train), every)
    calibrating = of(thumbnails_train[rows], groups_train[rows]) if len(np.unique(groups_train)) > 2 else None
    return Space(of(thumbnails_synthetic), of(thumbnails_val), calibrating, rows)


def _euclidean(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    squared = np.square(x).sum(axis=1)[:, None] + np.square(y).sum(axis=1) - 2.0 * (x @ y.T)
    return np.sqrt(np.maximum(squared, 0))


def _joined(blocks: list[Nearest]) -> Nearest:
    if not blocks:
        return Nearest(np.empty(0, np.int64), np.empty(0), np.empty(0))
    return Nearest(*(np.concatenate(parts) for parts in zip(*blocks, strict=True)))


class _Held(NamedTuple):
    """Held-out images: score, class, group and the group's weight in units, (N,) each."""

    scores: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    weights: np.ndarray

    def of(self, rows: np.ndarray) -> _Held:
        return _Held(*(column[rows] for column in self))


class _Scale:
    """Held-out scores of some classes, each group weighing 1, or 1/2 in train."""

    def __init__(self, members: np.ndarray, held: _Held, exponent: float):
        self.members = members
        self._names, inverse, sizes = np.unique(held.groups, return_inverse=True, return_counts=True)
        weights = held.weights / sizes[inverse]
        self.units = float(weights.sum())
        order = np.argsort(held.scores, kind="stable")
        self._scores, self._groups, self._weights = held.scores[order], inverse[order], weights[order]
        self._below = np.concatenate([[0.0], np.cumsum(self._weights)])  # units up to each score
        self._exponent = exponent

    def p_values(self, scores: np.ndarray) -> np.ndarray:
        p = (1 + self._below[np.searchsorted(self._scores, scores, side="right")]) / (self.units + 1)
        least = self._scores[0]
        under = scores < least
        p[under] *= (scores[under] / least) ** self._exponent
        return p

    def is_low_without_own(self, scores: np.ndarray, groups: np.ndarray, rank: int) -> np.ndarray:
        """Which held-out scores of the scale are below the `rank`-th of its other groups."""
        below = self._below[np.searchsorted(self._scores, scores, side="right")]
        own = np.searchsorted(self._names, groups)
        of_own = [
            self._weights[(self._groups == g) & (self._scores <= s)].sum() for s, g in zip(scores, own, strict=True)
        ]
        return below - of_own <= rank - 1 + ROUNDING

    def rank(self, alpha: float) -> int:
        """j of the module's head; 1 where there are too few groups for `alpha`, whose level is then higher."""
        return max(1, int(np.floor(alpha * (self.units + 1) + ROUNDING)))

    def is_low(self, p_values: np.ndarray, rank: int) -> np.ndarray:
        """Whose score is below the `rank`-th held-out one."""
        return p_values <= rank / (self.units + 1) + ROUNDING


def _exponent(scores: np.ndarray, groups: np.ndarray) -> float:
    """Hill's estimate of the power of the lower tail, less two standard errors; 0 where there is no telling."""
    ids, inverse = np.unique(groups, return_inverse=True)
    least = np.full(len(ids), np.inf)
    np.minimum.at(least, inverse, scores)  # one a group
    least = np.sort(least)
    count = max(MIN_TAIL, int(TAIL * len(least)))
    if len(least) <= 2 * MIN_TAIL or least[0] <= 0:
        return 0.0
    mean = np.log(least[count] / least[:count]).mean()
    return float(max(0.0, (1 - 2 / np.sqrt(count)) / mean)) if mean > 0 else 0.0


def _strata(held: _Held, num_classes: int) -> np.ndarray:
    """Which classes share their held-out images: (num_classes,) int64.

    The class with the fewest units joins that with the next fewest until all have `MIN_UNITS`, or are one.
    """
    weight = dict(zip(held.groups, held.weights, strict=True))
    units = [sum(weight[g] for g in set(held.groups[held.labels == k])) for k in range(num_classes)]
    sets = [([k], units[k]) for k in range(num_classes)]
    while len(sets) > 1:
        sets.sort(key=lambda s: (s[1], s[0]))
        if sets[0][1] >= MIN_UNITS:
            break
        sets[:2] = [(sorted(sets[0][0] + sets[1][0]), sets[0][1] + sets[1][1])]
    stratum = np.empty(num_classes, dtype=np.int64)
    for i, (members, _) in enumerate(sorted(sets)):
        stratum[members] = i
    return stratum


def _count_distribution(n: int, j: int, units: float) -> np.ndarray:
    """Beta-binomial probabilities of 0…n held-out images below the j-th of `units` held-out scores."""
    k, a, b = np.arange(n + 1), j, units + 1 - j
    choose = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return np.exp(choose + betaln(k + a, n - k + b) - betaln(a, b))


def memorisation_report(
    spaces: Mapping[str, Space],
    *,
    labels_train: np.ndarray,
    labels_val: np.ndarray,
    labels_synthetic: np.ndarray,
    groups_train: np.ndarray,
    groups_val: np.ndarray,
    classes: list[str],
    alpha: float = 0.05,
) -> Memorisation:
    """Copies among the synthetic images, tested space by space and together.

    Args:
        spaces: Name → nearest train images in it.
        labels_train: (T,) index into `classes`.
        labels_val: (V,).
        labels_synthetic: (M,).
        groups_train: (T,) group names or numbers: images of one show one leaf.
        groups_val: (V,), no group of train among them.
        classes: Names.
        alpha: Rate of false alarms of the flag; also the share of held-out images below the higher threshold, and the
            share of named images that may be wrong.

    Returns:
        Metrics, `[/class]` meaning overall and for each class:

        `memorisation/flagged[/class]`, 1 where there are copies; `memorisation/p_value`, corrected for all tests,
        spaces and classes, which flags the set at alpha or less; `memorisation/p_value/<class>`, corrected for tests
        and spaces alone (the class's flag is corrected for the classes); `memorisation/copies[/class]`, images named;
        for each space `memorisation/share_<space>[/class]`, the share of synthetic images below s₍ⱼ₎, beside
        `…/share_val_<space>[/class]`, that of val images, each measured by the other groups, and
        `…/share_expected_<space>[/class]`, of held-out images in all; `memorisation/distance_<space>[/class]`, median
        d₁ of synthetic images over that of val images (below 1 is nearer to train);
        `memorisation/n_synthetic[/class]`, `…/n_val[/class]`, and `…/held_out_<space>`, units that calibrate.
        A figure that would be of no images is left out.

    Raises:
        ValueError: No space, or none with a held-out image.
    """
    labels_synthetic, labels_val = np.asarray(labels_synthetic), np.asarray(labels_val)
    scales = {
        name: _scales(space, np.asarray(labels_train), labels_val, groups_train, groups_val, len(classes))
        for name, space in spaces.items()
    }
    names = [name for name in spaces if scales[name]]
    if not names or not len(labels_synthetic):
        raise ValueError(
            "spaces must have held-out images, and labels_synthetic be of 1 image or more. "
            f"Got {len(names)} such spaces and {len(labels_synthetic)} images instead."
        )
    members = {"": np.ones(len(classes), dtype=bool)}
    members |= {f"/{name}": np.arange(len(classes)) == k for k, name in enumerate(classes)}
    metrics: dict[str, float] = {}
    by_space: dict[str, np.ndarray] = {}
    found: dict[str, list[float]] = {suffix: [] for suffix in members}
    for name in names:
        synthetic, val = spaces[name].synthetic.score, spaces[name].val.score
        p_values = np.empty(len(synthetic))
        low, lowest = np.zeros(len(synthetic), dtype=bool), np.zeros(len(synthetic), dtype=bool)
        low_val = np.zeros(len(val), dtype=bool)
        for scale in scales[name]:
            rows = np.isin(labels_synthetic, scale.members)
            p_values[rows] = scale.p_values(synthetic[rows])
            low[rows] = scale.is_low(p_values[rows], scale.rank(alpha))
            lowest[rows] = scale.is_low(p_values[rows], 1)
            rows = np.isin(labels_val, scale.members)
            low_val[rows] = scale.is_low_without_own(val[rows], _of_val(groups_val)[rows], scale.rank(alpha))
        by_space[name] = p_values
        counted = np.zeros(len(synthetic), dtype=bool)
        where = np.stack([labels_synthetic, spaces[name].synthetic.index])
        counted[np.unique(where, axis=1, return_index=True)[1]] = True
        metrics[f"memorisation/held_out_{name}"] = float(sum(scale.units for scale in scales[name]))
        for suffix, chosen in members.items():
            own, own_val = chosen[labels_synthetic], chosen[labels_val]
            if not own.any():
                continue
            first = own & counted
            sizes = [int(np.isin(labels_synthetic[first], scale.members).sum()) for scale in scales[name]]
            ranks = [scale.rank(alpha) for scale in scales[name]]
            found[suffix].append(_as_many(low[first].sum(), sizes, ranks, scales[name]))
            found[suffix].append(_as_many(lowest[first].sum(), sizes, [1] * len(sizes), scales[name]))
            expected = sum(
                np.isin(labels_synthetic[own], scale.members).mean() * rank / (scale.units + 1)
                for scale, rank in zip(scales[name], ranks, strict=True)
            )
            metrics[f"memorisation/share_{name}{suffix}"] = float(low[own].mean())
            metrics[f"memorisation/share_expected_{name}{suffix}"] = float(expected)
            if own_val.any():
                metrics[f"memorisation/share_val_{name}{suffix}"] = float(low_val[own_val].mean())
                of_val = np.median(spaces[name].val.distance[own_val])
                if of_val > 0:
                    ratio = np.median(spaces[name].synthetic.distance[own]) / of_val
                    metrics[f"memorisation/distance_{name}{suffix}"] = float(ratio)
    p_images = np.minimum(1.0, len(names) * np.min([by_space[name] for name in names], axis=0))
    copies = _step_up(p_images, alpha)
    for suffix, chosen in members.items():
        own = chosen[labels_synthetic]
        metrics[f"memorisation/n_synthetic{suffix}"] = float(own.sum())
        metrics[f"memorisation/n_val{suffix}"] = float(chosen[labels_val].sum())
        metrics[f"memorisation/copies{suffix}"] = float(copies[own].sum())
        if own.any():
            metrics[f"memorisation/p_value{suffix}"] = min(1.0, len(found[suffix]) * min(found[suffix]))
    # Each class may have a generator of its own, which alone copies: the set's p-value is that of any class as well
    of_classes = {c: metrics[key] for c in classes if (key := f"memorisation/p_value/{c}") in metrics}
    looks = 1 if len(classes) == 1 else 2
    for name, p in of_classes.items():
        metrics[f"memorisation/flagged/{name}"] = float(looks * len(of_classes) * p <= alpha)
    least = min(metrics["memorisation/p_value"], len(of_classes) * min(of_classes.values()))
    metrics["memorisation/p_value"] = min(1.0, looks * least)
    metrics["memorisation/flagged"] = float(metrics["memorisation/p_value"] <= alpha)
    return Memorisation(metrics, p_images, copies, by_space)


def _scales(
    space: Space,
    labels_train: np.ndarray,
    labels_val: np.ndarray,
    groups_train: np.ndarray,
    groups_val: np.ndarray,
    num_classes: int,
) -> list[_Scale]:
    """Held-out scores of a space by stratum; none where nothing is held out."""
    held = _Held(space.val.score, labels_val, _of_val(groups_val), np.ones(len(labels_val)))
    if space.train is not None and space.train_rows is not None:
        rows = space.train_rows
        groups = np.asarray(groups_train).astype(str)[rows]
        of_train = _Held(space.train.score, labels_train[rows], groups, np.full(len(rows), 0.5))
        held = _Held(*(np.concatenate(columns) for columns in zip(held, of_train, strict=True)))
    if not len(held.scores):
        return []
    exponent = _exponent(held.scores, held.groups)
    stratum = _strata(held, num_classes)
    return [
        _Scale(np.flatnonzero(stratum == s), held.of(stratum[held.labels] == s), exponent) for s in np.unique(stratum)
    ]


def _of_val(groups: np.ndarray) -> np.ndarray:
    """Names that no group of train has, were both numbered from 0."""
    return np.char.add("val\n", np.asarray(groups).astype(str))


def _as_many(count: int, sizes: list[int], ranks: list[int], scales: list[_Scale]) -> float:
    """Probability that `sizes` held-out images have `count` or more below the given ranks of the scales."""
    total = np.ones(1)
    for n, rank, scale in zip(sizes, ranks, scales, strict=True):
        total = np.convolve(total, _count_distribution(n, rank, scale.units))
    return float(min(1.0, total[int(count) :].sum()))


def _step_up(p: np.ndarray, rate: float) -> np.ndarray:
    """Benjamini and Hochberg's choice at a false discovery rate: (M,) bool."""
    order = np.argsort(p, kind="stable")
    passed = np.flatnonzero(p[order] * len(p) <= rate * np.arange(1, len(p) + 1))
    chosen = np.zeros(len(p), dtype=bool)
    if len(passed):
        chosen[order[: passed[-1] + 1]] = True
    return chosen


def measured_rows(labels_synthetic: np.ndarray, num_train: int) -> np.ndarray:
    """Which synthetic images are measured: all, or an even share of each class where pixels would take hours.

    Args:
        labels_synthetic: (M,).
        num_train: Train images, each to be compared with each.
    """
    labels = np.asarray(labels_synthetic)
    step = max(1, -(-len(labels) * num_train // MAX_PAIRS))
    return np.sort(np.concatenate([np.flatnonzero(labels == k)[::step] for k in np.unique(labels)]))


def suspicious(report: Memorisation, spaces: Mapping[str, Space], *, most: int = 20) -> list[dict[str, float | int]]:
    """The images likeliest to be copies, most suspicious first; the closest ones where nothing is suspicious.

    Returns:
        Rows of `synthetic` and `train` (indices), `p_value`, `copy` (0 or 1), and for each space
        `distance_<space>`, `score_<space>` to that space's nearest train image; `train` is the nearest in the space
        with the lower p-value.
    """
    names = list(report.space_p_values)
    least_score = np.min([spaces[name].synthetic.score for name in names], axis=0)
    order = np.lexsort((least_score, report.p_values))[:most]
    rows: list[dict[str, float | int]] = []
    for i in order:
        closest = min(names, key=lambda name: (report.space_p_values[name][i], spaces[name].synthetic.score[i]))
        row = {
            "synthetic": int(i),
            "train": int(spaces[closest].synthetic.index[i]),
            "p_value": float(report.p_values[i]),
            "copy": int(report.copies[i]),
        }
        for name in names:
            row[f"distance_{name}"] = float(spaces[name].synthetic.distance[i])
            row[f"score_{name}"] = float(spaces[name].synthetic.score[i])
        rows.append(row)
    return rows
