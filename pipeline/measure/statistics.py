"""Scores of several arms on the same test images, and what they are worth: intervals by resampling.

Two things vary when an experiment is done again: the test images and the training seeds. They are crossed
(every seed predicts every image), so both are resampled, hierarchically and paired: one draw of images and
one draw of seeds serves all arms, so that what the arms share cancels in their differences.

Images are drawn class by class, so that no class vanishes, and in whole groups (photos of one leaf) where
groups are given. From n units n - 1 are drawn (Rao and Wu 1988, "Resampling inference with complex survey
data", section 3): with the usual n draws the variance comes out too small by (n - 1) / n, which is a fifth
for five seeds or five test images.

Resampling both factors at once counts the variance of their interaction thrice (Owen 2007, "The pigeonhole
bootstrap", theorem 3), resampling one at a time counts it once in each. So the three are all made, and

    V = V_images + max(V_seeds - V_shared, 0),   V_shared = V_both - V_images - V_seeds

estimates the true variance; V_shared is the interaction's. The interval takes its shape (skewness) from the
joint resamples, its width from V, and Student's t for the few seeds (Welch and Satterthwaite's degrees of
freedom).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri, stdtrit

METRICS = ("accuracy", "balanced_accuracy", "macro_f1")
REFERENCES = ("real", "balanced", "classic")


class Interval(NamedTuple):
    """A metric or a difference of two, with its confidence interval.

    Attributes:
        mean: Over seeds, on all test images.
        lower: Of the interval.
        upper: Of the interval.
        n_test: Test images.
        n_seeds: Training seeds; with 1 the interval says nothing about training again.
    """

    mean: float
    lower: float
    upper: float
    n_test: int
    n_seeds: int

    @property
    def half_width(self) -> float:
        """Half the interval's width."""
        return (self.upper - self.lower) / 2


class ArmStatistics(NamedTuple):
    """What is known of one arm.

    Attributes:
        metrics: name → interval; names are `METRICS` and `recall/<class>`.
        differences: reference arm → name → interval of (this arm - reference).
    """

    metrics: dict[str, Interval]
    differences: dict[str, dict[str, Interval]]


def confusion(labels: ArrayLike, predicted: ArrayLike, num_classes: int) -> np.ndarray:
    """Confusion matrices: (..., K, K) counts, true class by predicted class.

    Args:
        labels: (N,) true classes.
        predicted: (..., N) predicted classes, e.g. (seeds, N).
        num_classes: K.
    """
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    lead = predicted.shape[:-1]
    cell = labels * num_classes + predicted.reshape(-1, len(labels))  # (P, N)
    cell = cell + np.arange(len(cell))[:, None] * num_classes**2
    counts = np.bincount(cell.ravel(), minlength=int(np.prod(lead, dtype=int)) * num_classes**2)
    return counts.reshape(*lead, num_classes, num_classes)


def score_confusion(matrices: np.ndarray) -> dict[str, np.ndarray]:
    """`score` from (..., K, K) confusion matrices, which may hold fractional weights."""
    hits = np.diagonal(matrices, axis1=-2, axis2=-1)  # (..., K)
    true, claimed = matrices.sum(-1), matrices.sum(-2)
    present = true > 0
    count = present.sum(-1)
    recall = np.divide(hits, true, out=np.full(hits.shape, np.nan), where=present)
    f1 = np.divide(2 * hits, true + claimed, out=np.zeros(hits.shape), where=present)  # 2 TP / (2 TP + FP + FN)
    return {
        "accuracy": hits.sum(-1) / true.sum(-1),
        "balanced_accuracy": np.where(present, recall, 0).sum(-1) / count,
        "macro_f1": f1.sum(-1) / count,
        "recall": recall,
    }


def score(labels: ArrayLike, predicted: ArrayLike, num_classes: int) -> dict[str, np.ndarray]:
    """Accuracy, balanced accuracy (mean recall), macro-F1 and recall.

    Means over classes are over those with test images; F1 is 0 where nothing is right.

    Args:
        labels: (N,) true classes.
        predicted: (..., N) predicted classes.
        num_classes: K.

    Returns:
        `accuracy`, `balanced_accuracy`, `macro_f1` of shape (...), and `recall` of shape (..., K), NaN for a
        class without images.
    """
    return score_confusion(confusion(labels, predicted, num_classes))


def compare_arms(
    labels: ArrayLike,
    predicted: Mapping[str, ArrayLike],
    *,
    classes: Sequence[str],
    seeds: Mapping[str, Sequence[int]] | None = None,
    groups: Sequence[str] | None = None,
    references: Sequence[str] = REFERENCES,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, ArmStatistics]:
    """Intervals of every metric of every arm, and of its difference to every reference arm.

    Args:
        labels: (N,) true classes of the test images.
        predicted: arm → (seeds, N) predicted classes.
        classes: K names.
        seeds: arm → its seeds, in the order of its rows. Arms with the same seeds share the draws of seeds,
            others are resampled independently. `None`: rows 0, 1, … are the seeds.
        groups: N group names; images of one group are drawn together, within their class. `None`: every
            image by itself.
        references: Arms to subtract, where present.
        resamples: Bootstrap resamples.
        confidence: Of the intervals, e.g. 0.95.
        seed: Of the draws.

    Returns:
        arm → statistics, in the order of `predicted`.

    Raises:
        ValueError: Shapes disagree.
    """
    labels = np.asarray(labels)
    arrays = {arm: np.asarray(p) for arm, p in predicted.items()}
    for arm, p in arrays.items():
        if p.ndim != 2 or p.shape[1] != len(labels):
            raise ValueError(f"predicted[{arm!r}] must be (seeds, {len(labels)}). Got {p.shape} instead.")
    weights, units = _image_weights(labels, groups, len(classes), resamples, seed)

    seed_weights: dict[tuple[int, ...], np.ndarray] = {}
    replicates: dict[str, _Replicates] = {}
    names: dict[str, tuple[int, ...]] = {}
    for arm, p in arrays.items():
        key = tuple(seeds[arm]) if seeds is not None else tuple(range(len(p)))
        if len(key) != len(p):
            raise ValueError(f"seeds[{arm!r}] must name {len(p)} rows. Got {len(key)} names instead.")
        if key not in seed_weights:
            rng = np.random.default_rng([seed, 0x5EED, len(seed_weights)])
            seed_weights[key] = _unit_weights(len(key), resamples, rng) / len(key)  # rows sum to 1
        replicates[arm] = _replicate(labels, p, len(classes), weights, seed_weights[key])
        names[arm] = key

    metric_names = [*METRICS, *(f"recall/{c}" for c in classes)]
    # A recall rests on the units of its class alone, the other metrics on all of them.
    within = np.maximum(units - 1, 1)
    image_dof = np.concatenate([np.full(len(METRICS), within[units > 0].sum()), within])

    def intervals(r: _Replicates, n_seeds: int, bounds: tuple[float, float]) -> dict[str, Interval]:
        seed_dof = max(n_seeds - 1, 1)
        lower, upper = _interval(r, confidence, image_dof, seed_dof, bounds)
        return {
            name: Interval(float(r.point[i]), float(lower[i]), float(upper[i]), len(labels), n_seeds)
            for i, name in enumerate(metric_names)
        }

    result = {}
    for arm, own in replicates.items():
        result[arm] = ArmStatistics(
            metrics=intervals(own, len(names[arm]), (0.0, 1.0)),
            differences={
                other: intervals(
                    _Replicates(*(a - b for a, b in zip(own, replicates[other], strict=True))),
                    min(len(names[arm]), len(names[other])),
                    (-1.0, 1.0),
                )
                for other in references
                if other in replicates and other != arm
            },
        )
    return result


class _Replicates(NamedTuple):
    """All metrics of an arm (or a difference of two arms), resampled in three ways; Q metrics, B resamples.

    Attributes:
        point: (Q,) on the data as they are.
        images: (B, Q) images resampled, all seeds.
        seeds: (B, Q) seeds resampled, all images.
        both: (B, Q) both resampled.
    """

    point: np.ndarray
    images: np.ndarray
    seeds: np.ndarray
    both: np.ndarray


def _unit_weights(units: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """(B, units) weights of a Rao-Wu bootstrap, summing to `units`; a single unit stays as it is."""
    if units == 1:
        return np.ones((resamples, 1))
    counts = rng.multinomial(units - 1, np.full(units, 1 / units), size=resamples)
    return counts * (units / (units - 1))


def _image_weights(
    labels: np.ndarray, groups: Sequence[str] | None, num_classes: int, resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """(B, N) weights of the images, and (K,) the number of units drawn from in each class."""
    weights = np.ones((resamples, len(labels)))
    num_units = np.zeros(num_classes, dtype=int)
    for k in range(num_classes):
        rows = np.flatnonzero(labels == k)
        if len(rows) == 0:
            continue
        unit_of = np.arange(len(rows))
        if groups is not None:
            # By first appearance, not by name, so that renaming groups does not change the draws.
            first: dict[str, int] = {}
            unit_of = np.array([first.setdefault(groups[i], len(first)) for i in rows])
        units = num_units[k] = int(unit_of.max()) + 1
        rng = np.random.default_rng([seed, 0x1316, k])
        weights[:, rows] = _unit_weights(units, resamples, rng)[:, unit_of]
    return weights, num_units


def _replicate(
    labels: np.ndarray,
    predicted: np.ndarray,
    num_classes: int,
    image_weights: np.ndarray,
    seed_weights: np.ndarray,
) -> _Replicates:
    num_seeds = len(predicted)
    matrices = np.zeros((len(image_weights), num_seeds, num_classes, num_classes))
    for k in range(num_classes):
        rows = np.flatnonzero(labels == k)
        if len(rows) == 0:
            continue
        one_hot = predicted[:, rows, None] == np.arange(num_classes)  # (S, n, K)
        flat = one_hot.transpose(1, 0, 2).reshape(len(rows), -1).astype(np.float64)
        matrices[:, :, k] = (image_weights[:, rows] @ flat).reshape(-1, num_seeds, num_classes)
    resampled = _stack(score_confusion(matrices))  # (B, S, Q)
    plain = _stack(score(labels, predicted, num_classes))  # (S, Q)
    return _Replicates(
        point=plain.mean(0),
        images=resampled.mean(1),
        seeds=seed_weights @ plain,
        both=np.einsum("bs,bsq->bq", seed_weights, resampled),
    )


def _stack(scores: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([*(scores[name][..., None] for name in METRICS), scores["recall"]], axis=-1)


def _interval(
    r: _Replicates, confidence: float, image_dof: np.ndarray, seed_dof: int, bounds: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends, (Q,) each. See the module's docstring for the formula."""
    images, seeds, both = (x.var(axis=0) for x in (r.images, r.seeds, r.both))
    shared = np.maximum(both - images - seeds, 0.0)
    seeds_alone = np.maximum(seeds - shared, 0.0)
    variance = images + seeds_alone

    # Welch-Satterthwaite: dof = V² / sum(V_i² / dof_i)
    spread = images**2 / image_dof + seeds_alone**2 / seed_dof
    dof = np.divide(variance**2, spread, out=np.full(len(variance), 1e6), where=spread > 0)
    widen = stdtrit(dof, 0.5 + confidence / 2) / ndtri(0.5 + confidence / 2)  # Student's t over normal

    scale = np.sqrt(np.divide(variance, both, out=np.zeros(len(variance)), where=both > 0)) * widen
    tail = (1 - confidence) / 2
    low, high = np.quantile(r.both, [tail, 1 - tail], axis=0) - r.both.mean(axis=0)
    return np.clip(r.point + scale * low, *bounds), np.clip(r.point + scale * high, *bounds)
