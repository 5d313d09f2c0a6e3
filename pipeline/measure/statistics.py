"""Scores of several arms on the same test images, and what they are worth: intervals by resampling.

Two things vary when an experiment is done again: the test images and the training seeds. They are crossed
(every seed predicts every image), so both are resampled, hierarchically and paired: one draw of images and
one draw of seeds serves all arms, so that what the arms share cancels in their differences.

Images are drawn class by class, so that no class vanishes, and in whole groups (photos of one leaf) where
groups are given. From n units n - 1 are drawn (Rao and Wu 1988, "Resampling inference with complex survey
data", section 3): with the usual n draws the variance comes out too small by (n - 1) / n, which is a fifth
for five seeds or five test images. A class with a single unit cannot be resampled; it gets the variance between
units that the other classes have, for otherwise its figure would pass for certain, and their interaction too.

Resampling both factors at once counts the variance of their interaction thrice (Owen 2007, "The pigeonhole
bootstrap", theorem 3), resampling one at a time counts it once in each. So the three are all made, and

    V = V_images + max(V_seeds - V_shared, 0),   V_shared = V_both - V_images - V_seeds

estimates the variance; V_shared is the interaction's, which is in V_images already. The literature on readers and
cases in radiology has the same layout and the same sum (Obuchowski and Rockette 1995; Hillis 2007, "A comparison of
denominator degrees of freedom methods for multiple observer ROC analysis").

From three or five seeds V_seeds has two or four degrees of freedom: it often comes out near nothing by luck, and the
interval is then too narrow. But every class was scored by the same seeds, so V_seeds is moderated: what the other
classes say counts as much as `PRIOR_DOF` further degrees of freedom (Smyth 2004, "Linear models and empirical Bayes
methods for assessing differential expression in microarray experiments", section 3; the prior's degrees of freedom are
set instead of estimated, since a handful of classes do not tell them). What they say is the analysis of variance of
seeds by classes: seeds vary all together, and by class, each in units of p (1 - p), by which a leaning in logits
moves a share of p. Unlike there the variance may only rise: a class on which trainings differ more than on others
keeps its own, for moderated it would be too narrow. How far out the tails of a recall or a class's F1 reach is known
worse still, so its intervals of more than 95%, which verdicts on several classes need, take the degrees of freedom with
all of V_seeds as the seeds' part, though no fewer than the least certain part has by itself. How often all this holds
is in bench/results/coverage.json.

The interval is Student's t around the mean over seeds, with Satterthwaite's degrees of freedom: those of the seeds,
and those of each class by itself, because macro-F1 gives the three images of a rare class as much weight as the
eighty of a common one, and its uncertainty then rests on two degrees of freedom and not on the number of all images.
A score from 0 to 1 of one arm has Wilson's interval at the effective number of images (Korn and Graubard 1998,
"Confidence intervals for proportions with small expected number of positive counts estimated from survey data"), so
that eight right out of eight is not called certain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit

from pipeline import REFERENCES

METRICS = ("accuracy", "balanced_accuracy", "macro_f1")
OF_A_CLASS = ("recall", "f1")  # with intervals; in this order in every array of metrics
PRIOR_DOF = 4  # what the other classes' seeds are worth beside a class's own
POWER = 0.8


class Interval(NamedTuple):
    """A metric or a difference of two, with its confidence interval.

    Attributes:
        mean: Over seeds, on all test images.
        lower: Of the interval.
        upper: Of the interval.
        n_test: Test images.
        n_seeds: Training seeds; with 1 the interval says nothing about training again.
        standard_error: Of the mean, over test images and seeds. NaN: not given; then the interval is taken for a
            normal one of 95%.
        dof: Degrees of freedom of the standard error.
        tail_dof: Those of an interval of more than 95%; `None`: the same.
    """

    mean: float
    lower: float
    upper: float
    n_test: int
    n_seeds: int
    standard_error: float = float("nan")
    dof: float = float("inf")
    tail_dof: float | None = None

    @property
    def half_width(self) -> float:
        """Half the interval's width."""
        return (self.upper - self.lower) / 2

    @property
    def _error(self) -> float:
        return self.half_width / _t(0.975, np.inf) if np.isnan(self.standard_error) else self.standard_error

    @property
    def p(self) -> float:
        """Two-sided, of no difference; below 1 - c exactly where the interval of confidence c leaves 0 out.

        With `tail_dof` so for c up to 95%.
        """
        if self._error == 0:
            return float(self.mean == 0)
        return float(2 * stdtr(min(self.dof, 1e9), -abs(self.mean) / self._error))

    def at(self, confidence: float) -> Interval:
        """The same difference with an interval of another confidence."""
        reach = _t(0.5 + confidence / 2, self._dof_at(confidence)) * self._error
        return self._replace(lower=max(self.mean - reach, -1.0), upper=min(self.mean + reach, 1.0))

    def detectable(self, confidence: float = 0.95) -> float:
        """The smallest true difference that would leave 0 outside its interval in four of five experiments like this.

        (t_(1-α/2) + t_0.8) standard errors (Cohen 1988, "Statistical power analysis", chapter 2, with the
        experiment's own standard error): 1.4 times the half-width where degrees of freedom are many.
        """
        dof = self._dof_at(confidence)
        return float((_t(0.5 + confidence / 2, dof) + _t(POWER, dof)) * self._error)

    def _dof_at(self, confidence: float) -> float:
        return self.dof if self.tail_dof is None or confidence < 0.95 + 1e-9 else self.tail_dof


class ArmStatistics(NamedTuple):
    """What is known of one arm.

    Attributes:
        metrics: name → interval; names are `METRICS`, `recall/<class>`, `f1/<class>` and those of `per_image`.
        differences: other arm → name → interval of (this arm - other).
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
        "f1": np.where(present, f1, np.nan),
        "precision": np.divide(hits, claimed, out=np.zeros(hits.shape), where=claimed > 0),
    }


def score(labels: ArrayLike, predicted: ArrayLike, num_classes: int) -> dict[str, np.ndarray]:
    """Accuracy, balanced accuracy (mean recall), macro-F1, and each class's recall, F1 and precision.

    Means over classes are over those with test images; F1 is 0 where nothing is right.

    Args:
        labels: (N,) true classes.
        predicted: (..., N) predicted classes.
        num_classes: K.

    Returns:
        `accuracy`, `balanced_accuracy`, `macro_f1` of shape (...); `recall` and `f1` of shape (..., K), NaN for a
        class without images; `precision` of the same shape, 0 for a class that no image is taken for.
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
    pairs: Sequence[tuple[str, str]] = (),
    per_image: Mapping[str, Mapping[str, ArrayLike]] | None = None,
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
        references: Arms to subtract from every other arm, where present.
        pairs: Further differences, (arm, arm to subtract), where both are present.
        per_image: arm → name → (seeds, N) figures whose mean is a further metric, 0 or more (Brier scores); the same
            names for every arm.
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
    unit_of = independent_units(labels, groups, len(classes))
    units = np.array([unit_of[labels == k].max(initial=-1) + 1 for k in range(len(classes))])
    weights = _image_weights(labels, unit_of, units, resamples, seed)

    seed_weights: dict[tuple[int, ...], np.ndarray] = {}
    replicates: dict[str, _Replicates] = {}
    names: dict[str, tuple[int, ...]] = {}
    extra = list(next(iter(per_image.values()))) if per_image else []
    for arm, p in arrays.items():
        key = tuple(seeds[arm]) if seeds is not None else tuple(range(len(p)))
        if len(key) != len(p):
            raise ValueError(f"seeds[{arm!r}] must name {len(p)} rows. Got {len(key)} names instead.")
        if key not in seed_weights:
            rng = np.random.default_rng([seed, 0x5EED, len(seed_weights)])
            seed_weights[key] = _unit_weights(len(key), resamples, rng) / len(key)  # rows sum to 1
        figures = [np.asarray(per_image[arm][name], dtype=float) for name in extra] if per_image else []
        replicates[arm] = _replicate(labels, p, figures, unit_of, units, weights, seed_weights[key])
        names[arm] = key

    of_a_class = [f"{name}/{c}" for name in OF_A_CLASS for c in classes]
    metric_names = [*METRICS, *of_a_class, *extra]
    is_of_class = np.isin(np.arange(len(metric_names)), len(METRICS) + np.arange(len(of_a_class)))
    shares = _class_shares(labels, len(classes), len(extra))

    def intervals(r: _Replicates, n_seeds: int, is_difference: bool) -> dict[str, Interval]:
        error, dof, tail_dof = _standard_error(r, units, shares, max(n_seeds - 1, 1))
        # As in `Interval.at`, or what is shown were not what is judged by
        within = np.where(is_of_class & (confidence > 0.95 + 1e-9), tail_dof, dof)
        lower, upper = _student(r.point, error, within, confidence)
        if is_difference:
            lower, upper = np.maximum(lower, -1.0), np.minimum(upper, 1.0)
        else:
            proportions = slice(0, len(METRICS) + len(of_a_class))  # the rest are no shares of right answers
            sizes = np.concatenate([np.full(len(METRICS), units.sum()), *[units] * len(OF_A_CLASS)])
            lower, upper = np.maximum(lower, 0.0), np.array(upper)
            lower[proportions], upper[proportions] = _wilson(
                r.point[proportions], error[proportions], within[proportions], sizes, confidence
            )
        return {
            name: Interval(
                *(float(v[i]) for v in (r.point, lower, upper)),
                len(labels),
                n_seeds,
                *(float(v[i]) for v in (error, dof)),
                float(tail_dof[i]) if is_of_class[i] else None,
            )
            for i, name in enumerate(metric_names)
        }

    result = {}
    for arm, own in replicates.items():
        others = [*references, *(b for a, b in pairs if a == arm)]
        result[arm] = ArmStatistics(
            metrics=intervals(own, len(names[arm]), False),
            differences={
                other: intervals(
                    own.minus(replicates[other]),
                    min(len(names[arm]), len(names[other])),
                    True,
                )
                for other in dict.fromkeys(others)
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
        by_class: (K, U, Q) what each unit (group) of a class adds to the metric, linearised, mean over seeds; rows of
            zeros fill up classes with fewer than U units.
        scale: (2, K) p (1 - p) of each class's recall and F1, by which a leaning of the seeds is measured; of a
            difference the root mean square of both arms'.
        f1_slope: (K,) what macro-F1 gains per gain in a class's recall; of a difference the mean of both arms'.
    """

    point: np.ndarray
    images: np.ndarray
    seeds: np.ndarray
    both: np.ndarray
    by_class: np.ndarray
    scale: np.ndarray
    f1_slope: np.ndarray

    def minus(self, other: _Replicates) -> _Replicates:
        """Of the difference."""
        differences = (a - b for a, b in zip(self[:-2], other[:-2], strict=True))
        scale = np.sqrt((self.scale**2 + other.scale**2) / 2)
        return _Replicates(*differences, scale, (self.f1_slope + other.f1_slope) / 2)


def _unit_weights(units: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """(B, units) weights of a Rao-Wu bootstrap, summing to `units`; a single unit stays as it is."""
    if units == 1:
        return np.ones((resamples, 1))
    counts = rng.multinomial(units - 1, np.full(units, 1 / units), size=resamples)
    return counts * (units / (units - 1))


def independent_units(labels: ArrayLike, groups: Sequence[str] | None, num_classes: int) -> np.ndarray:
    """(N,) number of each image's unit within its class: its group there, or the image itself.

    Numbered by first appearance, not by name, so that renaming groups changes nothing. Groups of one name in two
    classes are two units.
    """
    labels = np.asarray(labels)
    unit_of = np.zeros(len(labels), dtype=int)
    for k in range(num_classes):
        rows = np.flatnonzero(labels == k)
        first: dict[str, int] = {}
        names = rows if groups is None else [groups[i] for i in rows]
        unit_of[rows] = [first.setdefault(name, len(first)) for name in names]
    return unit_of


def _image_weights(labels: np.ndarray, unit_of: np.ndarray, units: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """(B, N) weights of the images."""
    weights = np.ones((resamples, len(labels)))
    for k in np.flatnonzero(units):
        rows = np.flatnonzero(labels == k)
        rng = np.random.default_rng([seed, 0x1316, k])
        weights[:, rows] = _unit_weights(int(units[k]), resamples, rng)[:, unit_of[rows]]
    return weights


def _replicate(
    labels: np.ndarray,
    predicted: np.ndarray,
    figures: Sequence[np.ndarray],
    unit_of: np.ndarray,
    units: np.ndarray,
    image_weights: np.ndarray,
    seed_weights: np.ndarray,
) -> _Replicates:
    num_seeds, num_classes = len(predicted), len(units)
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
    influence = _influence(labels, predicted, num_classes)  # (N, Q)
    for of in figures:
        total = image_weights.sum(1, keepdims=True)
        resampled = np.concatenate([resampled, (image_weights @ of.T / total)[..., None]], axis=-1)
        plain = np.concatenate([plain, of.mean(1)[:, None]], axis=-1)
        influence = np.concatenate(
            [influence, ((of - of.mean(1, keepdims=True)).mean(0) / len(labels))[:, None]], axis=-1
        )
    counts = np.bincount(labels, minlength=num_classes)
    of_a_class = slice(len(METRICS), len(METRICS) + len(OF_A_CLASS) * num_classes)
    share = np.nan_to_num(plain[:, of_a_class].mean(0)).reshape(-1, num_classes)
    share = (share * counts + 1) / (counts + 2)  # never 0 or 1, by the rule of succession
    by_class = np.zeros((num_classes, max(units.max(), 1), influence.shape[-1]))
    np.add.at(by_class, (labels, unit_of), influence)
    return _Replicates(
        point=plain.mean(0),
        images=resampled.mean(1),
        seeds=seed_weights @ plain,
        both=np.einsum("bs,bsq->bq", seed_weights, resampled),
        by_class=by_class,
        scale=share * (1 - share),
        f1_slope=_f1_slope(labels, predicted, num_classes),
    )


def _stack(scores: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate(
        [*(scores[name][..., None] for name in METRICS), *(scores[name] for name in OF_A_CLASS)], axis=-1
    )


def _influence(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """(N, Q) derivative of each metric by the image's weight, mean over seeds."""
    matrices = confusion(labels, predicted, num_classes).astype(np.float64)  # (S, K, K)
    scores = score_confusion(matrices)
    true = matrices[0].sum(-1)  # (K,)
    claimed = matrices.sum(-2)  # (S, K)
    present = np.flatnonzero(true)
    is_true = np.eye(num_classes)[labels]  # (N, K)
    total = np.zeros((len(labels), len(METRICS) + len(OF_A_CLASS) * num_classes))
    for s, own in enumerate(predicted):
        hit = (own == labels).astype(np.float64)[:, None]
        is_claimed = np.eye(num_classes)[own]
        f1 = 2 * np.diagonal(matrices[s]) / np.maximum(true + claimed[s], 1)
        recall = np.where(true > 0, scores["recall"][s], 0)
        of_recall = is_true * (hit - recall) / np.maximum(true, 1)
        of_f1 = (2 * hit * is_true - f1 * (is_true + is_claimed)) / np.maximum(true + claimed[s], 1)
        of_accuracy = (hit - scores["accuracy"][s]) / len(labels)
        means = [of_accuracy, of_recall[:, present].mean(1, keepdims=True), of_f1[:, present].mean(1, keepdims=True)]
        total += np.concatenate([*means, of_recall, of_f1], axis=1)
    return total / len(predicted)


def _f1_slope(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """(K,) gain in macro-F1 where the class's wrong images turn right, per gain in its recall; mean over seeds.

    By the class's own F1, 2 TP / (true + claimed), whose TP and claims grow together.
    """
    matrices = confusion(labels, predicted, num_classes)  # (S, K, K)
    true, claimed = matrices[0].sum(-1), matrices.sum(-2)
    both = np.maximum(true + claimed, 1)
    f1 = 2 * np.diagonal(matrices, axis1=1, axis2=2) / both
    return (true * (2 - f1) / both).mean(0) / np.count_nonzero(true)


def _class_shares(labels: np.ndarray, num_classes: int, num_extra: int) -> np.ndarray:
    """(K, Q) weight of each class's recall in each metric; for macro-F1 and a class's F1 about that."""
    counts = np.bincount(labels, minlength=num_classes)
    of_all = counts / counts.sum()
    equal = (counts > 0) / np.count_nonzero(counts)
    return np.column_stack([of_all, equal, equal, *[np.eye(num_classes)] * len(OF_A_CLASS), *[of_all] * num_extra])


def _standard_error(
    r: _Replicates, units: np.ndarray, shares: np.ndarray, seed_dof: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(Q,) standard errors, degrees of freedom, and those of the tails. See the module's docstring for the formula.

    Args:
        r: Of an arm or a difference.
        units: (K,) units of each class.
        shares: (K, Q) weight of each class's recall in each metric.
        seed_dof: Seeds less one.
    """
    images, seeds, both = (x.var(axis=0) for x in (r.images, r.seeds, r.both))
    shared = np.maximum(both - images - seeds, 0.0)

    several = units > 1
    mean = r.by_class.sum(1) / np.maximum(units, 1)[:, None]
    is_unit = (np.arange(r.by_class.shape[1]) < units[:, None])[..., None]
    squares = (np.where(is_unit, r.by_class - mean[:, None], 0.0) ** 2).sum(1)  # (K, Q)
    within = np.maximum(units - 1, 1)[:, None]
    of_class = np.where(several[:, None], squares * units[:, None] / within, 0.0)  # (K, Q) variance from each class

    dof_of_class = np.where(several, units - 1, max(int((units[several] - 1).sum()), 1))[:, None]
    single = units == 1
    if single.any() and several.any():
        recalls = slice(len(METRICS), len(METRICS) + len(units))
        weights = shares.copy()
        weights[:, METRICS.index("macro_f1")] = r.f1_slope
        of_f1 = slice(recalls.stop, recalls.stop + len(units))
        weights[:, of_f1] = np.diag(r.f1_slope * np.count_nonzero(units))
        weights = np.where(single[:, None], weights**2, 0.0)

        def of_one_unit(of_recall: np.ndarray) -> float:
            return ((units - 1) * units * of_recall)[several].sum() / (units - 1)[several].sum()

        borrowed = of_one_unit(np.diagonal(of_class[:, recalls])) * weights
        # V_seeds of such a class holds the interaction of its unit, which the loan holds too
        shared = shared + of_one_unit(shared[recalls]) * weights.sum(0)
        of_class = of_class + borrowed
        images = images + borrowed.sum(0)

    seeds, of_seeds = _moderated(r, seeds, shared, shares, units > 0, seed_dof)
    seeds_alone = np.maximum(seeds - shared, 0.0)
    variance = images + seeds_alone

    # Satterthwaite: dof = V² / sum(V_i² / dof_i); linearised variances share the resampled one among the classes
    total = of_class.sum(0)
    portion = np.divide(of_class, total, out=np.zeros_like(of_class), where=total > 0)
    of_images = ((images * portion) ** 2 / dof_of_class).sum(0)
    alone = np.divide(seeds_alone, seeds, out=np.zeros_like(seeds), where=seeds > 0)
    least = np.minimum(np.where(portion > 0, dof_of_class, np.inf).min(0), seed_dof)  # no sum is known worse
    dof, tail_dof = (
        np.maximum(np.divide(variance**2, spread, out=np.full(len(variance), 1e6), where=spread > 0), least)
        for spread in (of_images + of_seeds * alone**2, of_images + of_seeds)
    )
    return np.sqrt(variance), dof, tail_dof


def _moderated(
    r: _Replicates,
    seeds: np.ndarray,
    shared: np.ndarray,
    shares: np.ndarray,
    present: np.ndarray,
    seed_dof: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The variance between seeds, raised where the other classes say so, and its own uncertainty.

    Seeds' effects on the recalls are taken for a sum of one on all classes and one on each (an analysis of variance,
    seeds by classes), in units of `scale`. A metric that weighs the recalls by w then expects

        (sum w)² max(M, 0) + (sum w² - (sum w)² / K) max(C, 0) + V_shared,

    M the variance of the mean over classes, C that of a class about it, the interaction with images taken off both.
    A class's F1 is told by the F1 of the others: a leaning to a class gives it recall and takes precision, so that its
    F1 moves less.

    Args:
        r: Of an arm or a difference.
        seeds: (Q,) V_seeds as found.
        shared: (Q,) V_shared, with what single units borrow.
        shares: (K, Q) weight of each class's recall in each metric.
        present: (K,) classes with test images.
        seed_dof: Of V_seeds.

    Returns:
        (Q,) variances, never below `seeds`; (Q,) sum of V_i² / dof_i of their two parts, the own and what is added.
    """
    number = int(present.sum())
    own = seeds**2 / seed_dof
    if number < 2:
        return seeds, own
    added = np.zeros(len(seeds))
    first, k = len(METRICS), len(present)
    recalls, f1s = slice(first, first + k), slice(first + k, first + 2 * k)
    # what is moderated, by which classes' figures, in which units
    for told, by, units in ((slice(0, recalls.stop), recalls, r.scale[0]), (f1s, f1s, r.scale[1])):
        scale = units[present]
        covariance = np.cov(r.seeds[:, by][:, present].T, bias=True) / np.outer(scale, scale)
        interaction = float((shared[by][present] / scale**2).mean())
        of_mean = covariance.sum() / number**2
        of_class = (np.trace(covariance) - number * of_mean) / (number - 1)
        weights = shares[present, told] * scale[:, None]
        together = weights.sum(0) ** 2
        prior = (
            together * max(of_mean - interaction / number, 0.0)
            + ((weights**2).sum(0) - together / number) * max(of_class - interaction, 0.0)
            + shared[told]
        )
        # (d0 prior + d own) / (d0 + d), less the own
        added[told] = np.maximum(PRIOR_DOF / (PRIOR_DOF + seed_dof) * (prior - seeds[told]), 0.0)
    added_dof = min(PRIOR_DOF + seed_dof, (number - 1) * seed_dof)
    return seeds + added, own + added**2 / added_dof


def _t(probability: float, dof: ArrayLike) -> np.ndarray:
    return stdtrit(np.minimum(dof, 1e9), probability)


def _student(mean: np.ndarray, error: np.ndarray, dof: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    reach = _t(0.5 + confidence / 2, dof) * error
    return mean - reach, mean + reach


def _wilson(
    mean: np.ndarray, error: np.ndarray, dof: np.ndarray, units: np.ndarray, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's interval of a share at the number of images that would give this standard error, (Q,) ends.

    Where nothing varies (all right, all wrong) that number is the units'.
    """
    t = _t(0.5 + confidence / 2, dof)
    spread = mean * (1 - mean)
    varies = (error > 1e-9) & (spread > 1e-12)
    n = np.divide(spread, error**2, out=np.maximum(units, 1).astype(float), where=varies)
    middle = (mean + t**2 / (2 * n)) / (1 + t**2 / n)
    reach = t / (1 + t**2 / n) * np.sqrt(np.maximum(spread, 0) / n + t**2 / (4 * n**2))
    return np.clip(middle - reach, 0.0, mean), np.clip(middle + reach, mean, 1.0)
