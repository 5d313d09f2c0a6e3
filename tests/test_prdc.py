"""Precision, recall, density, coverage: by hand, by expectation, by plain loops, by symmetry."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.measure.prdc import coverage, prdc


def points(*places: float) -> np.ndarray:
    return np.array(places, dtype=np.float64)[:, None]


def by_loops(real: np.ndarray, fake: np.ndarray, k: int) -> dict[str, float]:
    """The definitions, pair by pair."""

    def radii(x: np.ndarray) -> list[float]:
        return [
            sorted(np.linalg.norm(a - b) for j, b in enumerate(x) if j != i)[min(k, len(x) - 1) - 1]
            for i, a in enumerate(x)
        ]

    r_real, r_fake = radii(real), radii(fake)
    in_real = [[np.linalg.norm(f - r) <= radius for r, radius in zip(real, r_real, strict=True)] for f in fake]
    in_fake = [[np.linalg.norm(f - r) <= radius for f, radius in zip(fake, r_fake, strict=True)] for r in real]
    return {
        "precision": np.mean([any(row) for row in in_real]),
        "recall": np.mean([any(row) for row in in_fake]),
        "density": np.sum(in_real) / (min(k, len(real) - 1) * len(fake)),
        "coverage": np.mean([any(column) for column in zip(*in_real, strict=True)]),
    }


def test_points_on_a_line_by_hand():
    # k = 1: radii of 0, 1, 3, 10 are 1, 1, 2, 7, so the balls are [-1, 1], [0, 2], [1, 5], [3, 17];
    # radii of -0.5, 0.5, 30 are 1, 1, 29.5: [-1.5, 0.5], [-0.5, 1.5], [0.5, 59.5]
    figures = prdc(points(0, 1, 3, 10), points(-0.5, 0.5, 30), k=1)
    # -0.5 lies in one real ball, 0.5 in two, 30 in none; 0 in two fake balls, 1 in two, 3 and 10 in the last
    assert figures == pytest.approx({"precision": 2 / 3, "recall": 1.0, "density": 3 / 3, "coverage": 2 / 4})
    # k = 2: the radii of the real ones are 3, 2, 3, 9: [-3, 3], [-1, 3], [0, 6], [1, 19]
    assert prdc(points(0, 1, 3, 10), points(-0.5, 0.5, 30), k=2) == pytest.approx(
        {"precision": 2 / 3, "recall": 1.0, "density": (2 + 3) / (2 * 3), "coverage": 3 / 4}
    )


def test_a_point_on_the_ball_is_inside():
    assert prdc(points(0.1, 0.4), points(0.7, 9.0), k=1)["precision"] == 0.5


@pytest.mark.parametrize("k", [1, 3, 5])
def test_identical_sets(k):
    x = np.random.default_rng(0).normal(size=(40, 12)).astype(np.float32)
    assert prdc(x, x, k=k) == pytest.approx({"precision": 1, "recall": 1, "density": (k + 1) / k, "coverage": 1})


def test_sets_far_apart():
    rng = np.random.default_rng(1)
    figures = prdc(rng.normal(size=(30, 6)), rng.normal(100.0, 1.0, size=(20, 6)))
    assert figures == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}


def test_each_quality_by_itself():
    """Copies of one real image look real and cover nothing; real ones among noise cover all and look unreal."""
    rng = np.random.default_rng(2)
    real = rng.normal(size=(60, 4))
    collapsed = prdc(real, real[0] + 1e-3 * rng.normal(size=(60, 4)))
    assert collapsed["precision"] == 1 and collapsed["coverage"] < 0.3 and collapsed["recall"] < 0.1
    noisy = prdc(real, np.concatenate([real, rng.normal(50.0, 1.0, size=(60, 4))]))
    assert noisy["precision"] == 0.5 and noisy["coverage"] == 1 and noisy["recall"] == 1


@pytest.mark.parametrize(("n", "m", "k"), [(25, 18, 5), (9, 30, 3), (4, 3, 5), (2, 2, 1)])
def test_against_plain_loops(n, m, k):
    rng = np.random.default_rng(n)
    real, fake = rng.normal(size=(n, 5)), rng.normal(0.5, 1.2, size=(m, 5))
    assert prdc(real, fake, k=k) == pytest.approx(by_loops(real, fake, k), abs=1e-12)
    assert coverage(real, fake, k=k) == pytest.approx(by_loops(real, fake, k)["coverage"], abs=1e-12)


def test_expectation_on_one_distribution():
    """Density 1 and coverage 1 - (N-1)…(N-k) / (M+N-1)…(M+N-k), whatever the distribution."""
    n, m, k = 20, 12, 3
    rng = np.random.default_rng(3)
    values = [prdc(rng.gamma(2.0, size=(n, 2)), rng.gamma(2.0, size=(m, 2)), k=k) for _ in range(600)]
    i = np.arange(1, k + 1)
    expected = {"density": 1.0, "coverage": 1 - np.prod(n - i) / np.prod(m + n - i)}
    for name, value in expected.items():
        found = np.array([v[name] for v in values])
        assert abs(found.mean() - value) < 3.5 * found.std() / np.sqrt(len(found)), name


def test_swapped_sets_swap_precision_and_recall():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(40, 3)), rng.normal(1.0, 0.5, size=(25, 3))
    there, back = prdc(x, y), prdc(y, x)
    assert there["precision"] == back["recall"] != there["recall"] == back["precision"]


def with_copies(seed: int, offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Eight real images are one, and fake ones are copies of real ones: distances that are exactly the radius."""
    rng = np.random.default_rng(seed)
    dim = [300, 576][seed % 2]
    real = offset + rng.normal(size=(37, dim))
    real[5:12] = real[4]
    return real, np.concatenate([real[:9], offset + rng.normal(size=(20, dim))])


@pytest.mark.parametrize("offset", [0.0, 1e7])
def test_copies_lie_in_each_others_balls(offset):
    real, fake = with_copies(0, offset)
    assert prdc(real, fake, k=4) == pytest.approx(by_loops(real, fake, 4), abs=1e-12)


def test_blocks_change_nothing():
    """Rounding depends on the block, and on many seeds no such difference may tip an image over a radius."""
    for seed in range(40):
        real, fake = with_copies(seed)
        whole = prdc(real, fake, k=4)
        for block_size in (1, 2, 7, 36, 37):
            assert prdc(real, fake, k=4, block_size=block_size) == whole, seed
            assert coverage(real, fake, k=4, block_size=block_size) == whole["coverage"], seed


def test_moving_and_scaling_change_nothing():
    rng = np.random.default_rng(6)
    real, fake = rng.normal(size=(30, 8)), rng.normal(0.4, 1.0, size=(30, 8))
    assert prdc(1e3 * real + 5, 1e3 * fake + 5) == prdc(real, fake)


def test_k_is_no_more_than_there_are_neighbours():
    rng = np.random.default_rng(7)
    real, fake = rng.normal(size=(4, 2)), rng.normal(size=(3, 2))
    assert prdc(real, fake, k=50) == pytest.approx(by_loops(real, fake, 50))
    assert coverage(real, fake[:1], k=50) == coverage(real, fake[:1], k=3)


def test_what_has_no_neighbours_is_refused():
    two, one = np.zeros((2, 3)), np.zeros((1, 3))
    for pair in ((one, two), (two, one)):
        with pytest.raises(ValueError, match="or more"):
            prdc(*pair)
    assert coverage(two, one) == 1.0
    with pytest.raises(ValueError, match="or more"):
        coverage(two, np.zeros((0, 3)))
    with pytest.raises(ValueError, match=r"\(N, D\)"):
        prdc(two, np.zeros((2, 4)))
    with pytest.raises(ValueError, match="k must"):
        prdc(two, two, k=0)
