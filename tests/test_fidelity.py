"""Fidelity: closed forms, symmetries, floors at equal counts, planted faults."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.measure.fidelity import (
    fidelity_report,
    frechet_distance,
    kernel_distance,
    kernel_subset_size,
    nearest_k,
    squared_mmd,
)
from pipeline.measure.label_scores import label_agreement
from pipeline.measure.prdc import prdc


def with_moments(mean: np.ndarray, cov: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """(n, D) features whose sample mean and unbiased covariance are exactly these."""
    x = rng.normal(size=(n, len(mean)))
    x -= x.mean(axis=0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T
    return x @ np.linalg.cholesky(cov).T + mean


def test_frechet_closed_form_for_commuting_covariances():
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    a, b = rng.uniform(0.5, 3.0, 6), rng.uniform(0.5, 3.0, 6)
    shift = rng.normal(size=6)
    x = with_moments(np.zeros(6), rotation * a @ rotation.T, 50, rng)
    y = with_moments(shift, rotation * b @ rotation.T, 80, rng)
    expected = shift @ shift + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)


def test_frechet_equals_matrix_square_root():
    linalg = pytest.importorskip("scipy.linalg")
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(200, 12)), rng.gamma(2.0, size=(150, 12))
    s1, s2 = np.cov(x.T), np.cov(y.T)
    root = linalg.sqrtm(s1 @ s2).real
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(s1 + s2 - 2 * root)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-8)


def test_frechet_with_fewer_images_than_features():
    """Zero on itself, symmetric, and unchanged by features that are always zero."""
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(10, 64)), rng.normal(1.0, 2.0, size=(7, 64))
    assert frechet_distance(x, x) == pytest.approx(0.0, abs=1e-9)
    assert frechet_distance(x, y) == pytest.approx(frechet_distance(y, x), rel=1e-9)
    padded = [np.hstack([f, np.zeros((len(f), 200))]) for f in (x, y)]
    assert frechet_distance(*padded) == pytest.approx(frechet_distance(x, y), rel=1e-9)
    assert frechet_distance(x, y[rng.permutation(7)]) == pytest.approx(frechet_distance(x, y), rel=1e-9)


def test_frechet_refuses_what_has_no_covariance():
    with pytest.raises(ValueError, match="2 or more"):
        frechet_distance(np.zeros((1, 3)), np.zeros((5, 3)))
    with pytest.raises(ValueError, match="one length"):
        frechet_distance(np.ones((5, 3)), np.ones((5, 4)))


def test_kernel_distance_against_plain_loops():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(6, 4)), rng.normal(0.5, 1.0, size=(6, 4))

    def k(a, b):
        return (a @ b / 4 + 1) ** 3

    pairs = [(i, j) for i in range(6) for j in range(6) if i != j]
    within = sum(k(x[i], x[j]) + k(y[i], y[j]) for i, j in pairs) / 30
    between = np.mean([k(a, b) for a in x for b in y])
    expected = within - 2 * between
    assert kernel_distance(x, y, subset_size=1000, num_subsets=3, seed=0) == pytest.approx(expected, rel=1e-9)
    assert kernel_distance(y, x, subset_size=6) == pytest.approx(expected, rel=1e-9)


def test_kernel_distance_is_unbiased():
    """Mean about 0 under no difference at any size, with negative values among them."""
    rng = np.random.default_rng(4)
    for n in (5, 40):
        values = [kernel_distance(rng.normal(size=(n, 3)), rng.normal(size=(n, 3)), seed=0) for _ in range(400)]
        assert min(values) < 0
        assert abs(np.mean(values)) < 3.5 * np.std(values) / np.sqrt(400)


def test_kernel_distance_subsets():
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(60, 5)), rng.normal(0.7, 1.0, size=(50, 5))
    assert kernel_subset_size(60, 50, 1000) == 50
    whole = _full_mmd(x[:50], y)
    few = kernel_distance(x[:50], y, subset_size=20, num_subsets=400, seed=1)
    assert few == pytest.approx(whole, rel=0.1)  # subsets average to the whole
    args = {"subset_size": 20, "num_subsets": 3}
    assert kernel_distance(x, y, seed=1, **args) == kernel_distance(x, y, seed=1, **args)
    assert kernel_distance(x, y, seed=1, **args) != kernel_distance(x, y, seed=2, **args)


def _full_mmd(x: np.ndarray, y: np.ndarray) -> float:
    return kernel_distance(x, y, subset_size=len(x), num_subsets=1, seed=0)


def test_blocks_change_nothing():
    """Also with blocks that do not divide the sets."""
    rng = np.random.default_rng(12)
    x, y = rng.normal(size=(53, 6)), rng.normal(0.5, 1.0, size=(37, 6))
    for block_size in (1, 7, 36, 53):
        assert squared_mmd(x, y, block_size=block_size) == pytest.approx(squared_mmd(x, y), rel=1e-12)


CLASSES = ["healthy", "rust", "rare"]


def leaves(counts: list[int], rng: np.random.Generator, spread: float = 1.0, shift: int = 0):
    """Features around one centre a class, 4 units apart; `shift` moves each class to another's centre."""
    labels = np.repeat(np.arange(len(counts)), counts)
    centres = 4.0 * np.eye(len(counts), 8)
    return centres[(labels + shift) % len(counts)] + spread * rng.normal(size=(len(labels), 8)), labels


def test_report_stands_beside_its_floor():
    rng = np.random.default_rng(6)
    train, val = leaves([80, 40, 10], rng), leaves([20, 10, 3], rng)
    good, far = leaves([80, 80, 80], rng), leaves([80, 80, 80], rng, spread=2.5)
    real = fidelity_report(*train, *val, *good, CLASSES, seed=0)
    bad = fidelity_report(*train, *val, *far, CLASSES, seed=0)
    assert bad["fd_leaf"] > 2 * bad["fd_leaf_floor"]
    assert bad["kid_leaf"] > real["kid_leaf"]
    assert bad["fd_leaf_floor"] == real["fd_leaf_floor"]  # the floor knows nothing of the synthetic images
    assert real["n/scored"] == 33 and real["n/synthetic"] == 240 and real["kid_subset_size"] == 33
    assert "fd_leaf/rust" in real and real["n/scored/rust"] == 10
    assert real["left_out/rare"] == 3 and "fd_leaf/rare" not in real and "left_out/rust" not in real


def test_report_uses_equal_counts_when_synthetic_are_fewer():
    rng = np.random.default_rng(7)
    train, val, fake = leaves([60, 60, 60], rng), leaves([30, 30, 30], rng), leaves([8, 8, 8], rng)
    metrics = fidelity_report(*train, *val, *fake, CLASSES, seed=0, extractor="random")
    assert metrics["n/scored"] == 24 and metrics["n/scored/rare"] == 8
    assert metrics["fd_random"] == pytest.approx(metrics["fd_random_floor"], rel=0.35)


def test_report_is_the_same_for_permuted_rows_of_val_and_train():
    rng = np.random.default_rng(8)
    train, val, fake = leaves([40, 20, 8], rng), leaves([10, 6, 4], rng), leaves([10, 6, 4], rng)
    before = fidelity_report(*train, *val, *fake, CLASSES, seed=0, subset_size=10**6)
    orders = [rng.permutation(len(y)) for _, y in (train, val, fake)]
    shuffled = [(f[o], y[o]) for (f, y), o in zip((train, val, fake), orders, strict=True)]
    after = fidelity_report(*shuffled[0], *shuffled[1], *shuffled[2], CLASSES, seed=0, subset_size=10**6)
    for name in ("fd_leaf", "fd_leaf_floor", "fd_leaf/rust"):
        assert after[name] == pytest.approx(before[name], rel=1e-9)


def test_shifted_labels_are_noticed():
    """Synthetic labels off by one: the marginal distance hardly moves, the per-class ones and agreement do."""
    rng = np.random.default_rng(9)
    train, val = leaves([60, 60, 60], rng), leaves([12, 12, 12], rng)
    right, shifted = leaves([60, 60, 60], rng), leaves([60, 60, 60], rng, shift=1)
    good = fidelity_report(*train, *val, *right, CLASSES, seed=0)
    bad = fidelity_report(*train, *val, *shifted, CLASSES, seed=0)
    assert bad["fd_leaf"] < 2 * good["fd_leaf"]
    for name in CLASSES:
        assert bad[f"fd_leaf/{name}"] > 3 * bad[f"fd_leaf_floor/{name}"]

    centres = 4.0 * np.eye(3, 8)

    def classify(f):
        return np.exp(-((f[:, None] - centres) ** 2).sum(-1))

    reference = {"probabilities_val": classify(val[0]), "labels_val": val[1]}
    good = label_agreement(classify(right[0]), right[1], CLASSES, **reference)
    bad = label_agreement(classify(shifted[0]), shifted[1], CLASSES, **reference)
    assert good["label_agreement"] > 0.9 and bad["label_agreement"] < 0.1
    assert good["label_agreement_val"] == bad["label_agreement_val"] > 0.9
    assert set(good) == {
        f"{name}{suffix}"
        for name in ("label_agreement", "label_agreement_val")
        for suffix in ("", "/healthy", "/rust", "/rare")
    }


ALIKE = ("precision", "recall", "density", "coverage")


def test_every_figure_has_a_floor_and_its_count():
    rng = np.random.default_rng(10)
    train, val, fake = leaves([80, 40, 10], rng), leaves([24, 10, 3], rng), leaves([80, 80, 80], rng)
    metrics = fidelity_report(*train, *val, *fake, CLASSES, extractor="inception", num_draws=2)
    figures = {"fid", *(f"{name}_inception" for name in ("kid", *ALIKE))}
    for suffix in ("", "/healthy", "/rust"):
        found = {name for name in metrics if name.endswith(suffix) and name.count("/") == suffix.count("/")}
        counts = {f"{name}{suffix}" for name in ("n/train", "n/val", "n/synthetic", "n/scored")}
        wanted = {f"{name}{end}{suffix}" for name in figures for end in ("", "_floor")}
        wanted |= {f"kid_subset_size{suffix}", f"prdc_k{suffix}"}
        assert wanted <= found and counts <= set(metrics)
    assert metrics["prdc_k"] == 5 and metrics["prdc_k/rust"] == 2 == nearest_k(10)
    assert not any(name.endswith("/rare") for name in metrics if not name.startswith(("n/", "left_out")))


def test_real_images_in_the_place_of_synthetic_ones_score_their_floor():
    """On average, whatever the counts: more of them than val, balanced where val is not."""
    worlds = []
    for seed in range(16):
        rng = np.random.default_rng([15, seed])
        train, val, more = leaves([80, 40, 20], rng), leaves([20, 10, 5], rng), leaves([60, 60, 60], rng)
        metrics = fidelity_report(*train, *val, *more, CLASSES, num_draws=3, seed=seed)
        names = [f"{name}_leaf{suffix}" for name in ("fd", "kid", *ALIKE) for suffix in ("", "/healthy")]
        floors = [name.replace("_leaf", "_leaf_floor") for name in names]
        worlds.append([metrics[name] - metrics[floor] for name, floor in zip(names, floors, strict=True)])
    differences = np.array(worlds)
    error = differences.std(axis=0) / np.sqrt(len(worlds))
    for name, difference, e in zip(names, differences.mean(axis=0), error, strict=True):
        assert abs(difference) < 3.5 * e + 1e-9, name


def test_balls_are_measured_at_equal_counts():
    """Then density is 1 and coverage has its closed form (Naeem et al. 2020, section 3.2) for real images; against
    all of train, of which there is more, they would say something else."""
    found, unequal = [], []
    for seed in range(8):
        rng = np.random.default_rng([11, seed])
        train, val = leaves([300, 200, 100], rng), leaves([40, 30, 20], rng)
        metrics = fidelity_report(*train, *val, *val, CLASSES, num_draws=4)
        found.append([metrics["coverage_leaf_floor"], metrics["density_leaf_floor"]])
        unequal.append(prdc(train[0], val[0])["coverage"])
    i = np.arange(1, 6)
    expected = 1 - np.prod(90.0 - i) / np.prod(180.0 - i)
    assert np.mean(found, axis=0) == pytest.approx([expected, 1.0], abs=0.08)
    assert np.mean(unequal) < expected - 0.3


def test_train_and_synthetic_exchanged_exchange_precision_and_recall():
    rng = np.random.default_rng(13)
    a, b, val = leaves([20, 20, 20], rng), leaves([20, 20, 20], rng, spread=2.0), leaves([20, 20, 20], rng)
    there, back = fidelity_report(*a, *val, *b, CLASSES), fidelity_report(*b, *val, *a, CLASSES)
    for suffix in ("", *(f"/{name}" for name in CLASSES)):
        assert there[f"precision_leaf{suffix}"] == back[f"recall_leaf{suffix}"]
        assert there[f"fd_leaf{suffix}"] == pytest.approx(back[f"fd_leaf{suffix}"], rel=1e-9)
        assert there[f"kid_leaf{suffix}"] == pytest.approx(back[f"kid_leaf{suffix}"], rel=1e-9)
    assert there["precision_leaf"] != there["recall_leaf"]


def test_report_tells_unreal_from_monotonous():
    """Noise costs precision, collapse costs recall and coverage, each against its floor."""
    rng = np.random.default_rng(14)
    train, val = leaves([80, 80, 80], rng), leaves([30, 30, 30], rng)
    noisy = fidelity_report(*train, *val, *leaves([80, 80, 80], rng, spread=2.5), CLASSES)
    rows = np.repeat([0, 80, 160], 80)  # of each class one image of train, again and again
    again = train[0][rows] + 0.01 * rng.normal(size=(240, 8))
    collapsed = fidelity_report(*train, *val, again, train[1][rows], CLASSES)
    assert noisy["precision_leaf"] < 0.5 * noisy["precision_leaf_floor"]
    assert collapsed["recall_leaf"] < 0.1 * collapsed["recall_leaf_floor"]
    assert collapsed["coverage_leaf"] < 0.6 * collapsed["coverage_leaf_floor"]
    assert collapsed["precision_leaf"] == pytest.approx(collapsed["precision_leaf_floor"], abs=0.1)
