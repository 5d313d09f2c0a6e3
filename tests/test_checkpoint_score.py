"""The number that chooses a checkpoint: by hand, unbiased, and blind to nothing that matters."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.measure.checkpoint_score import checkpoint_score
from pipeline.measure.fidelity import kernel_distance, squared_mmd
from pipeline.measure.prdc import prdc

CLASSES = ["healthy", "rust", "rare"]


def leaves(counts: list[int], seed: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Features around one centre a class, 4 units apart, all moved by `shift`."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    return 4.0 * np.eye(3, 8)[labels] + shift + rng.normal(size=(len(labels), 8)), labels


def test_by_hand():
    """One feature, so the kernel is (xy + 1)³; val 0, 1 and synthetic 1, 2, 0."""
    within_val = (0 * 1 + 1) ** 3
    within_fake = (2 * (2 + 1) ** 3 + 2 * 1 + 2 * 1) / 6  # pairs 1-2, 1-0, 2-0, in both orders
    between = (1 + 1 + 1 + 2**3 + 3**3 + 1) / 6
    expected = within_val + within_fake - 2 * between
    val, fake = np.array([[0.0], [1.0]]), np.array([[1.0], [2.0], [0.0]])
    scores = checkpoint_score(val, np.zeros(2, int), fake, np.zeros(3, int), ["rust"])
    assert scores == pytest.approx({"kid": expected, "kid/rust": expected, "coverage": 1.0, "coverage/rust": 1.0})


def test_unequal_sizes_against_plain_loops_and_the_mean_over_subsets():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 4)), rng.normal(0.5, 1.0, size=(9, 4))

    def k(a, b):
        return (a @ b / 4 + 1) ** 3

    def within(z):
        return np.mean([k(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j])

    expected = within(x) + within(y) - 2 * np.mean([k(a, b) for a in x for b in y])
    assert squared_mmd(x, y) == pytest.approx(expected, rel=1e-12)
    assert squared_mmd(y, x) == pytest.approx(expected, rel=1e-12)
    subsets = kernel_distance(x, y, subset_size=5, num_subsets=20000)
    assert subsets == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(("n", "m"), [(2, 2), (2, 9), (3, 40)])
def test_unbiased_on_a_handful_of_images(n, m):
    rng = np.random.default_rng(n * m)

    def score() -> float:
        val, fake = rng.normal(size=(n, 3)), rng.normal(size=(m, 3))
        return checkpoint_score(val, np.zeros(n, int), fake, np.zeros(m, int), ["rust"])["kid"]

    values = [score() for _ in range(3000)]
    assert min(values) < 0
    assert abs(np.mean(values)) < 3.5 * np.std(values) / np.sqrt(len(values))


def test_a_shift_scores_worse():
    val = leaves([20, 10, 4], 1)
    same, shifted = (checkpoint_score(*val, *leaves([30, 30, 30], 2, s), CLASSES) for s in (0.0, 1.0))
    for suffix in ("", "/healthy", "/rust", "/rare"):
        assert shifted[f"kid{suffix}"] > same[f"kid{suffix}"]
    assert shifted["coverage"] < same["coverage"]


def test_swapped_labels_score_worse_though_the_images_are_the_same():
    val, (features, labels) = leaves([12, 12, 12], 3), leaves([30, 30, 30], 4)
    right = checkpoint_score(*val, features, labels, CLASSES)
    wrong = checkpoint_score(*val, features, (labels + 1) % 3, CLASSES)
    assert wrong["kid"] > 5 * abs(right["kid"]) and wrong["coverage"] < 0.5 * right["coverage"]


def test_classes_count_equally_and_each_is_scored_by_its_own_images():
    val, fake = leaves([40, 10, 4], 5), leaves([10, 20, 60], 6, 0.3)
    scores = checkpoint_score(*val, *fake, CLASSES)
    for metric in ("kid", "coverage"):
        assert scores[metric] == pytest.approx(np.mean([scores[f"{metric}/{name}"] for name in CLASSES]))
    rust = val[0][val[1] == 1], fake[0][fake[1] == 1]
    assert scores["kid/rust"] == squared_mmd(*rust)
    assert scores["coverage/rust"] == prdc(*rust, k=5)["coverage"] != prdc(*rust[::-1], k=5)["coverage"]


def test_the_same_again_in_any_order():
    val, fake = leaves([30, 10, 4], 7), leaves([200, 20, 20], 8)
    scores = checkpoint_score(*val, *fake, CLASSES)
    assert checkpoint_score(*val, *fake, CLASSES) == scores
    order = np.random.default_rng(0).permutation(len(fake[1]))
    assert checkpoint_score(*val, fake[0][order], fake[1][order], CLASSES) == pytest.approx(scores, rel=1e-9)


def test_classes_without_images_are_left_out():
    val, fake = leaves([6, 1, 5], 9), leaves([8, 8, 0], 10)
    scores = checkpoint_score(*val, *fake, CLASSES)
    assert set(scores) == {"kid", "kid/healthy", "coverage", "coverage/healthy"}
    assert scores["kid"] == scores["kid/healthy"]
    assert checkpoint_score(*leaves([6, 1, 0], 9), *leaves([1, 8, 8], 10), CLASSES) == {}
    nothing = np.zeros((0, 8)), np.zeros(0, int)
    assert checkpoint_score(*val, *nothing, CLASSES) == {}


def test_one_class_alone_scores_as_it_does_among_others():
    val, fake = leaves([8, 8, 8], 11), leaves([16, 16, 16], 12)
    among = checkpoint_score(*val, *fake, CLASSES)
    alone = checkpoint_score(val[0][8:16], np.zeros(8, int), fake[0][16:32], np.zeros(16, int), ["rust"])
    assert alone["kid"] == alone["kid/rust"] == among["kid/rust"]
    assert alone["coverage"] == among["coverage/rust"]


def test_wrong_shapes_are_refused():
    val = leaves([4, 4, 4], 13)
    with pytest.raises(ValueError, match=r"\(N,\)"):
        checkpoint_score(*val, val[0], val[1][:-1], CLASSES)
    with pytest.raises(ValueError, match="one length"):
        checkpoint_score(*val, val[0][:, :5], val[1], CLASSES)
