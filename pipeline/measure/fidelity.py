"""How close the synthetic images are to the real ones, as distances between features.

Fréchet distance (Heusel et al. 2017, "GANs trained by a two time-scale update rule", section 4) and kernel
distance (Binkowski et al. 2018, "Demystifying MMD GANs", section 4), each beside a real-against-real floor:
held-out val images against train, at the same sample count and the same class mix as the synthetic images
that are measured against train. Without the floor neither number says anything on a few hundred images,
since both depend on the sample count. Also the share of synthetic images that an independent classifier
recognises as the class they were made for.

A figure below its floor is no praise: held-out leaves differ from train by themselves, so images that come
closer to train than those do may be copies of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

# A covariance of three images is no covariance: below this many val images a class gets no figures of its own.
MIN_VAL_IMAGES = 4


class _Gaussian(NamedTuple):
    """Mean and covariance of features, the covariance as a factor: cov = factor.T @ factor.

    Attributes:
        mean: (D,) float64.
        factor: (min(N, D), D) float64.
    """

    mean: np.ndarray
    factor: np.ndarray


def _gaussian(features: np.ndarray) -> _Gaussian:
    features = np.asarray(features, dtype=np.float64)
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"features must be (N, D) with N of 2 or more. Got shape {features.shape} instead.")
    mean = features.mean(axis=0)
    centred = (features - mean) / np.sqrt(len(features) - 1)  # (N, D): covariance = centred.T @ centred
    if len(centred) > centred.shape[1]:
        centred = np.linalg.qr(centred, mode="r")  # (D, D) with the same covariance
    return _Gaussian(mean, centred)


def _frechet(a: _Gaussian, b: _Gaussian) -> float:
    # tr (S1 S2)^1/2 = sum of singular values of A1 A2^T where S = A^T A, so no square root of a singular
    # D x D matrix is ever taken: valid for fewer images than features.
    cross = np.linalg.svd(a.factor @ b.factor.T, compute_uv=False).sum()
    spread = np.square(a.factor).sum() + np.square(b.factor).sum()  # tr S1 + tr S2
    distance = np.square(a.mean - b.mean).sum() + spread - 2.0 * cross
    return float(max(distance, 0.0))  # rounding may leave -1e-12


def frechet_distance(features_real: np.ndarray, features_fake: np.ndarray) -> float:
    """Fréchet distance between Gaussians fitted to two sets of features.

    d² = |m1 - m2|² + tr(S1 + S2 - 2 (S1 S2)^1/2), with the unbiased covariances (divided by N - 1).
    It is called FID only on Inception features; elsewhere `fd_<extractor>`.

    Args:
        features_real: (N, D), any N of 2 or more, also N < D.
        features_fake: (M, D), the same.

    Returns:
        The distance, 0 or more, in squared units of the features. Biased upwards on few images: compare it
        only at equal sample counts.

    Raises:
        ValueError: Fewer than two images, or features of different length.
    """
    a, b = _gaussian(features_real), _gaussian(features_fake)
    if len(a.mean) != len(b.mean):
        raise ValueError(f"features must be of one length. Got {len(a.mean)} and {len(b.mean)} instead.")
    return _frechet(a, b)


def kernel_subset_size(n: int, m: int, subset_size: int) -> int:
    """The subset size that `kernel_distance` really uses: `subset_size`, or all images where fewer."""
    return min(subset_size, n, m)


def kernel_distance(
    features_real: np.ndarray,
    features_fake: np.ndarray,
    *,
    subset_size: int = 1000,
    num_subsets: int = 50,
    seed: int = 0,
) -> float:
    """Unbiased squared maximum mean discrepancy with the cubic kernel (x·y / D + 1)³, known as KID.

    The mean over random subsets of both sets (Binkowski et al. 2018, section 4). Unbiased: its expectation
    does not depend on the sample count, is 0 where both sets come from one distribution, and a single
    value may then be negative.

    Args:
        features_real: (N, D), N of 2 or more.
        features_fake: (M, D), M of 2 or more.
        subset_size: Images drawn from each set for one estimate; all of the smaller set where it has fewer
            (see `kernel_subset_size`).
        num_subsets: Estimates to average; one suffices, and only one is made, where the subsets are the
            whole of both sets.
        seed: Of the draws.

    Raises:
        ValueError: Fewer than two images in a set, or features of different length.
    """
    x = np.asarray(features_real, dtype=np.float64)
    y = np.asarray(features_fake, dtype=np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"features must be (N, D) and (M, D). Got shapes {x.shape} and {y.shape} instead.")
    size = kernel_subset_size(len(x), len(y), subset_size)
    if size < 2:
        raise ValueError(f"subsets must hold 2 images or more. Got {size} instead.")
    if size == len(x) == len(y):
        return squared_mmd(x, y)
    rng = np.random.default_rng([seed, 0x51D])
    draws = [
        squared_mmd(x[rng.choice(len(x), size, replace=False)], y[rng.choice(len(y), size, replace=False)])
        for _ in range(num_subsets)
    ]
    return float(np.mean(draws))


def squared_mmd(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased squared maximum mean discrepancy of two whole sets, with the cubic kernel of `kernel_distance`.

    mean k(x, x') over x ≠ x' + mean k(y, y') over y ≠ y' - 2 mean k(x, y) (Gretton et al. 2012, "A kernel
    two-sample test", equation 3).

    Args:
        x: (N, D) float64, N of 2 or more.
        y: (M, D) float64, M of 2 or more, not necessarily N.
    """
    dim = x.shape[1]
    k_xx = (x @ x.T / dim + 1.0) ** 3
    k_yy = (y @ y.T / dim + 1.0) ** 3
    k_xy = (x @ y.T / dim + 1.0) ** 3
    within_x, within_y = ((k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (k_xx, k_yy))
    return float(within_x + within_y - 2.0 * k_xy.mean())


def fidelity_report(
    features_train: np.ndarray,
    labels_train: np.ndarray,
    features_val: np.ndarray,
    labels_val: np.ndarray,
    features_synthetic: np.ndarray,
    labels_synthetic: np.ndarray,
    classes: list[str],
    *,
    extractor: str = "leaf",
    seed: int = 0,
    num_draws: int = 5,
    subset_size: int = 1000,
    num_subsets: int = 50,
) -> dict[str, float]:
    """Distances of the synthetic images to train, each beside that of the val images to train.

    For every draw and class, n_c = min(val images, synthetic images) images are taken from either side, so
    that both are measured at the same count and, over all classes together, with the class mix of val:
    synthetic sets are balanced where real ones are not, and that difference is not one of fidelity. Where
    val has no more images than synthetic, the floor is that of all val images.

    Args:
        features_train: (N, D).
        labels_train: (N,) index into `classes`.
        features_val: (V, D).
        labels_val: (V,).
        features_synthetic: (M, D).
        labels_synthetic: (M,).
        classes: Class names.
        extractor: Names the metrics, e.g. `fd_leaf`.
        seed: Of the draws.
        num_draws: Draws to average.
        subset_size: For `kernel_distance`; adapted to the counts, the size used is reported.
        num_subsets: For `kernel_distance`.

    Returns:
        Flat metrics, not rounded: `fd_<extractor>`, `fd_<extractor>_floor`, `kid_<extractor>`,
        `kid_<extractor>_floor`, each over all classes and `…/<class>`; `n/train`, `n/val`, `n/synthetic` (all
        there are), `n/scored` (drawn each time), the same `/<class>`; `kid_subset_size`, also `/<class>`.
        A class with fewer than `MIN_VAL_IMAGES` drawn has no distances of its own and is named by
        `left_out/<class>` = its number of val images; it still counts overall.

    Raises:
        ValueError: Fewer than two images in a set.
    """
    train, val, fake = (
        (np.asarray(f, dtype=np.float64), np.asarray(y))
        for f, y in (
            (features_train, labels_train),
            (features_val, labels_val),
            (features_synthetic, labels_synthetic),
        )
    )
    kernel = {"subset_size": subset_size, "num_subsets": num_subsets}
    metrics: dict[str, float] = {}

    def measure(chosen: Iterable[int], suffix: str, index: int) -> None:
        rows = [[np.flatnonzero(y == k) for k in chosen] for _, y in (train, val, fake)]
        counts = [min(len(v), len(f)) for v, f in zip(rows[1], rows[2], strict=True)]
        for name, of_set in zip(("train", "val", "synthetic"), rows, strict=True):
            metrics[f"n/{name}{suffix}"] = float(sum(map(len, of_set)))
        metrics[f"n/scored{suffix}"] = float(sum(counts))
        if suffix and sum(counts) < MIN_VAL_IMAGES:
            metrics[f"left_out{suffix}"] = float(sum(map(len, rows[1])))
            return
        reference = train[0][np.concatenate(rows[0])]
        gaussian = _gaussian(reference)
        metrics[f"kid_subset_size{suffix}"] = float(kernel_subset_size(len(reference), sum(counts), subset_size))
        rng = np.random.default_rng([seed, 0xF1D, index])

        def distances(features: np.ndarray, of_set: list[np.ndarray]) -> tuple[float, float]:
            """Mean over the draws: (Fréchet, kernel)."""
            whole = all(len(r) == n for r, n in zip(of_set, counts, strict=True))
            results = []
            for draw in range(1 if whole else num_draws):
                picked = [rng.choice(r, n, replace=False) for r, n in zip(of_set, counts, strict=True)]
                sample = features[np.sort(np.concatenate(picked))]
                results.append(
                    (
                        _frechet(gaussian, _gaussian(sample)),
                        kernel_distance(reference, sample, seed=seed + draw, **kernel),
                    )
                )
            frechet, kid = np.mean(results, axis=0)
            return float(frechet), float(kid)

        fd, kid = distances(fake[0], rows[2])
        fd_floor, kid_floor = distances(val[0], rows[1])
        metrics[f"fd_{extractor}{suffix}"] = fd
        metrics[f"fd_{extractor}_floor{suffix}"] = fd_floor
        metrics[f"kid_{extractor}{suffix}"] = kid
        metrics[f"kid_{extractor}_floor{suffix}"] = kid_floor

    measure(range(len(classes)), "", 0)
    for k, name in enumerate(classes):
        measure([k], f"/{name}", k + 1)
    return metrics


def label_agreement(
    probabilities: np.ndarray,
    labels: np.ndarray,
    classes: list[str],
    *,
    probabilities_val: np.ndarray | None = None,
    labels_val: np.ndarray | None = None,
) -> dict[str, float]:
    """Share of synthetic images that a classifier, trained on real train images only, gives their own label.

    Args:
        probabilities: (M, K) for the synthetic images.
        labels: (M,) the classes they were made for, index into `classes`.
        classes: K names.
        probabilities_val: (V, K) the same classifier's on val: what it manages on real leaves.
        labels_val: (V,).

    Returns:
        `label_agreement` and `label_agreement/<class>`; with val also `label_agreement_val` and
        `label_agreement_val/<class>`. The overall figure is the mean of the classes', so that a balanced
        synthetic set and an imbalanced val set stand side by side. A class without images is left out.
    """

    def shares(p: np.ndarray, y: np.ndarray, name: str) -> dict[str, float]:
        y = np.asarray(y)
        hits = np.asarray(p).argmax(axis=1) == y
        by_class = {c: float(hits[y == k].mean()) for k, c in enumerate(classes) if (y == k).any()}
        overall = {name: float(np.mean(list(by_class.values())))} if by_class else {}
        return overall | {f"{name}/{c}": share for c, share in by_class.items()}

    metrics = shares(probabilities, labels, "label_agreement")
    if probabilities_val is not None and labels_val is not None:
        metrics |= shares(probabilities_val, labels_val, "label_agreement_val")
    return metrics
