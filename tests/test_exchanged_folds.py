"""Distances and their chance: against the plain formulas, for a perfect generator and for others."""

import numpy as np
import pytest

from pipeline.measure.exchanged_folds import NUM_FOLDS, draw_fold, exchanged_folds, frechet_of_products
from pipeline.measure.fidelity import fidelity_report, frechet_distance, squared_mmd

CLASSES = ["rust", "scab"]


def world(rng: np.random.Generator, counts: tuple[int, int], *, photos: int = 2, shift: float = 0.0, dim: int = 12):
    """Features, labels and groups: a leaf has several photos, which look much alike."""
    features, labels, groups = [], [], []
    for k, n in enumerate(counts):
        leaves = rng.normal(size=(-(-n // photos), dim))
        own = np.repeat(leaves, photos, axis=0)[:n] + 0.3 * rng.normal(size=(n, dim)) + 2.0 * k + shift
        features.append(own)
        labels += [k] * n
        groups += [f"{k}/{i // photos}" for i in range(n)]
    return np.concatenate(features), np.array(labels), groups


def asked(rng: np.random.Generator, *, shift: float = 0.0, seed: int = 0, folds: int = NUM_FOLDS) -> dict[str, float]:
    real, labels, groups = world(rng, (90, 50))
    fake, fake_labels, _ = world(rng, (100, 100), photos=1, shift=shift)
    return exchanged_folds(real, labels, groups, fake, fake_labels, CLASSES, fold_counts=(18, 10), extractor="lite0",
                           seed=seed, num_folds=folds)  # fmt: skip


def test_distances_of_products_are_those_of_features():
    rng = np.random.default_rng(0)
    for n, m, dim in ((30, 20, 8), (12, 9, 40)):
        a, b = rng.normal(size=(n, dim)), rng.normal(size=(m, dim)) + 0.4
        assert frechet_of_products(a @ a.T, a @ b.T, b @ b.T) == pytest.approx(frechet_distance(a, b), rel=1e-9)
    real, labels, fake = rng.normal(size=(24, 6)), np.zeros(24, int), rng.normal(size=(8, 6)) + 1
    found = exchanged_folds(real, labels, [str(i) for i in range(24)], fake, np.zeros(8, int), ["rust"],
                            fold_counts=[8], extractor="lite0", num_folds=400)  # fmt: skip
    rest = [rng.permutation(24)[8:] for _ in range(400)]
    wanted = np.mean([squared_mmd(real[rows], fake) for rows in rest])  # all of fake is drawn each time
    assert found["kid_lite0_drawn"] == pytest.approx(wanted, rel=0.05)


def test_photos_of_a_leaf_are_never_on_both_sides():
    rng = np.random.default_rng(1)
    groups = np.array([f"g{i // 3}" for i in range(40)], dtype=object)
    for count in (1, 7, 20):
        fold, rest = draw_fold(np.arange(40), groups, count, rng)
        assert len(fold) == count and not set(groups[fold]) & set(groups[rest])
        assert len(set(fold) | set(rest)) >= 40 - 2


def test_a_perfect_generator_is_not_found_out_more_often_than_by_chance():
    rng = np.random.default_rng(2)
    p = np.array([[(of := asked(rng, seed=i))["fd_lite0_p"], of["kid_lite0_p"], of["kid_lite0_p/scab"]]
                  for i in range(60)])  # fmt: skip
    assert ((p <= 0.05).mean(axis=0) <= 0.10).all()  # 5%, and three standard errors more
    assert (p > 0.5).mean() > 0.3


def test_a_shift_is_found_overall_and_by_class():
    found = asked(np.random.default_rng(3), shift=1.2)
    for name in ("fd_lite0", "kid_lite0"):
        for suffix in ("", "/rust", "/scab"):
            assert found[f"{name}_p{suffix}"] == pytest.approx(1 / (1 + NUM_FOLDS))
            assert found[f"{name}_drawn_lower{suffix}"] > found[f"{name}_fold_upper{suffix}"]


def test_the_floor_varies_less_than_that_of_a_single_val():
    single, folded = [], []
    for i in range(25):
        rng = np.random.default_rng([4, i])
        real, labels, groups = world(rng, (60, 36))
        fake, fake_labels, _ = world(rng, (60, 60), photos=1)
        val = np.r_[0:12, 60:68]
        train = np.setdiff1d(np.arange(96), val)
        single.append(
            fidelity_report(real[train], labels[train], real[val], labels[val], fake, fake_labels, CLASSES,
                            extractor="lite0", num_draws=1, num_subsets=1)["kid_lite0_floor"]
        )  # fmt: skip
        of = exchanged_folds(real, labels, groups, fake, fake_labels, CLASSES, fold_counts=(12, 8), extractor="lite0")
        folded.append(of["kid_lite0_fold"])
    assert np.std(folded) < 0.5 * np.std(single)


def test_a_class_without_val_images_has_no_figures_and_stops_nothing():
    rng = np.random.default_rng(6)
    real, labels, groups = world(rng, (60, 8))
    fake, fake_labels, _ = world(rng, (60, 60), photos=1)
    found = exchanged_folds(
        real, labels, groups, fake, fake_labels, CLASSES, fold_counts=(12, 0), extractor="lite0", num_folds=5
    )
    assert "kid_lite0_p/rust" in found and "kid_lite0_p" in found and "kid_lite0_p/scab" not in found


def test_a_class_of_too_few_images_has_no_figures_of_its_own():
    rng = np.random.default_rng(5)
    real, labels, groups = world(rng, (60, 12))
    fake, fake_labels, _ = world(rng, (60, 60), photos=1)
    found = exchanged_folds(
        real, labels, groups, fake, fake_labels, CLASSES, fold_counts=(12, 3), extractor="lite0", num_folds=5
    )
    assert "kid_lite0_p/rust" in found and "kid_lite0_p" in found and "kid_lite0_p/scab" not in found
    assert not any(np.isnan(value) for value in found.values())
