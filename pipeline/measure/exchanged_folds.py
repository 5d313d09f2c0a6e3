"""Fréchet and kernel distance with what chance does to them: real leaves exchanged between train and val, many times.

A floor from a single val of forty images is itself a matter of luck. Here all real photos are pooled, and again and
again as many as val has are taken out, leaves whole, and held against the rest; so are as many synthetic images. Where
the generator is perfect, both come out alike, and

    p = (1 + folds that are as far from the rest as the synthetic images) / (1 + folds)

is a permutation test of that (Phipson and Smyth 2010, "Permutation p-values should never be zero"). The synthetic
images' mean over draws is held against single folds, which varies less than one draw would: p is rather too large.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipeline.measure.fidelity import MIN_VAL_IMAGES, frechet_name

NUM_FOLDS = 39  # with which p can reach .025
MOST_IMAGES = 2000  # of a side; of more a part, drawn at random
RANGE = (2.5, 97.5)  # percent of folds, of which the page gives the ends


class _Products(NamedTuple):
    """Of real features with each other, real with synthetic, synthetic with each other; every distance follows."""

    real: np.ndarray
    cross: np.ndarray
    synthetic: np.ndarray


def exchanged_folds(
    features_real: np.ndarray,
    labels_real: np.ndarray,
    groups: Sequence[str],
    features_synthetic: np.ndarray,
    labels_synthetic: np.ndarray,
    classes: Sequence[str],
    *,
    fold_counts: Sequence[int],
    extractor: str,
    seed: int = 0,
    num_folds: int = NUM_FOLDS,
) -> dict[str, float]:
    """Distances of synthetic images and of real folds to the remaining real images, over all classes and for each.

    Args:
        features_real: (N, D) of train and val.
        labels_real: (N,) index into `classes`.
        groups: N names of leaves; photos of one are never on both sides.
        features_synthetic: (M, D).
        labels_synthetic: (M,).
        classes: Class names.
        fold_counts: Images of each class in a fold: as many as val has.
        extractor: Names the metrics, see `fidelity.frechet_name`.
        seed: Of the draws.
        num_folds: How often.

    Returns:
        Of `fd_<extractor>` and `kid_<extractor>`, over all classes and `…/<class>`: `…_drawn`, the synthetic images'
        mean over draws of a fold's size, with `…_drawn_lower` and `…_drawn_upper`, where 95% of the draws lie;
        `…_fold`, `…_fold_lower` and `…_fold_upper`, the same of real folds; and `…_p`. A class of which a fold, or what
        it leaves, has fewer than `MIN_VAL_IMAGES` images has none.
    """
    rng = np.random.default_rng([seed, 0xF01D])
    real, fake = (np.asarray(f, dtype=np.float64) for f in (features_real, features_synthetic))
    labels_real, labels_synthetic = np.asarray(labels_real), np.asarray(labels_synthetic)
    fake_rows = _at_most(MOST_IMAGES, labels_synthetic, rng)
    fake, labels_synthetic = fake[fake_rows], labels_synthetic[fake_rows]
    real_rows = _at_most(MOST_IMAGES, labels_real, rng)
    share = len(real_rows) / max(len(real), 1)
    real, labels_real = real[real_rows], labels_real[real_rows]
    names = np.asarray(groups, dtype=object)[real_rows]
    products = _Products(real @ real.T, real @ fake.T, fake @ fake.T)
    found: dict[str, float] = {}
    for suffix, chosen in [("", range(len(classes))), *((f"/{name}", [k]) for k, name in enumerate(classes))]:
        counts = {
            k: min(int(fold_counts[k] * share), int((labels_synthetic == k).sum())) for k in chosen if fold_counts[k]
        }
        if not counts:  # val has no image of the class
            continue
        rows = {k: np.flatnonzero(labels_real == k) for k in counts}
        figures: dict[str, list[tuple[float, float]]] = {}
        for _ in range(num_folds):
            parts = [draw_fold(rows[k], names, n, rng) for k, n in counts.items()]
            fold, rest = (np.concatenate([part[side] for part in parts]) for side in (0, 1))
            drawn = np.concatenate(
                [rng.choice(np.flatnonzero(labels_synthetic == k), n, replace=False) for k, n in counts.items()]
            )
            if min(len(fold), len(rest)) < MIN_VAL_IMAGES:
                break
            for name, pair in _distances(products, rest, fold, drawn, real.shape[1], extractor).items():
                figures.setdefault(name, []).append(pair)
        for name, pairs in figures.items():
            of_fold, of_drawn = np.array(pairs).T
            for end, values in (("_drawn", of_drawn), ("_fold", of_fold)):
                lower, upper = np.percentile(values, RANGE)
                found |= {f"{name}{end}{suffix}": float(values.mean()), f"{name}{end}_lower{suffix}": float(lower)}
                found[f"{name}{end}_upper{suffix}"] = float(upper)
            found[f"{name}_p{suffix}"] = float(1 + (of_fold >= of_drawn.mean()).sum()) / (1 + len(pairs))
    return found


def draw_fold(
    rows: np.ndarray, groups: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """About `count` of these rows, whole groups, and the rows of all other groups.

    Of the last group only so many photos are taken as are wanted still; its others are on neither side.
    """
    of_group: dict[str, list[int]] = {}
    for row in rows:
        of_group.setdefault(groups[row], []).append(int(row))
    names, taken = list(of_group), []
    order = rng.permutation(len(names))
    used = 0
    while len(taken) < count and used < len(order):
        own = of_group[names[order[used]]]
        taken += [own[i] for i in rng.permutation(len(own))[: count - len(taken)]]
        used += 1
    rest = [row for i in order[used:] for row in of_group[names[i]]]
    return np.array(sorted(taken), dtype=int), np.array(sorted(rest), dtype=int)


def _at_most(most: int, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """All rows, or so many of them drawn at random."""
    every = np.arange(len(labels))
    return every if len(every) <= most else np.sort(rng.choice(every, most, replace=False))


def _distances(
    products: _Products, rest: np.ndarray, fold: np.ndarray, drawn: np.ndarray, dim: int, extractor: str
) -> dict[str, tuple[float, float]]:
    """Name to the distance of the fold and that of the synthetic draw, both to the rest."""
    of_rest = products.real[np.ix_(rest, rest)]
    sides = (
        (products.real[np.ix_(rest, fold)], products.real[np.ix_(fold, fold)]),
        (products.cross[np.ix_(rest, drawn)], products.synthetic[np.ix_(drawn, drawn)]),
    )
    frechet = tuple(frechet_of_products(of_rest, between, own) for between, own in sides)
    kernel = tuple(_mmd_of_products(of_rest, between, own, dim) for between, own in sides)
    return {frechet_name(extractor): frechet, f"kid_{extractor}": kernel}


def frechet_of_products(a: np.ndarray, between: np.ndarray, b: np.ndarray) -> float:
    """`fidelity.frechet_distance` from the inner products of features alone.

    Args:
        a: (N, N) of the first set.
        between: (N, M).
        b: (M, M) of the second.
    """
    n, m = between.shape
    means = a.mean() + b.mean() - 2 * between.mean()
    spread = sum((np.trace(own) - len(own) * own.mean()) / (len(own) - 1) for own in (a, b))
    centred = between - between.mean(axis=0) - between.mean(axis=1, keepdims=True) + between.mean()
    cross = np.linalg.svd(centred, compute_uv=False).sum() / math.sqrt((n - 1) * (m - 1))
    return float(max(means + spread - 2 * cross, 0.0))


def _mmd_of_products(a: np.ndarray, between: np.ndarray, b: np.ndarray, dim: int) -> float:
    """`fidelity.squared_mmd` from the same."""
    a, between, b = ((of / dim + 1.0) ** 3 for of in (a, between, b))
    within = sum((of.sum() - np.trace(of)) / (len(of) * (len(of) - 1)) for of in (a, b))
    return float(within - 2 * between.mean())
