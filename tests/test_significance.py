"""p values: against all ways of swapping by slow code, McNemar's binomial, and how often they err without an effect."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import binomtest

from pipeline.measure.significance import accuracy_test, exact_swap_test, holm, mcnemar, swap_test
from pipeline.measure.statistics import score


def arms(rng: np.random.Generator, n: int = 9, seeds: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    labels = np.sort(rng.integers(0, 3, n))
    return labels, rng.integers(0, 3, (seeds, n)), np.where(rng.random((seeds, n)) < 0.6, labels, 0)


def all_ways(labels, predicted, other, units, metric) -> float:
    """Share of the 2^U ways of swapping whole units that differ at least as much; slow."""

    def gap(a, b):
        return score(labels, a, 3)[metric].mean() - score(labels, b, 3)[metric].mean()

    seen, names = abs(gap(predicted, other)), sorted(set(units))
    extreme = []
    for ways in itertools.product([False, True], repeat=len(names)):
        swapped = np.array([ways[names.index(u)] for u in units])
        a, b = np.where(swapped, other, predicted), np.where(swapped, predicted, other)
        extreme.append(abs(gap(a, b)) >= seen - 1e-12)
    return float(np.mean(extreme))


@pytest.mark.parametrize("grouped", [False, True])
def test_swaps_equal_all_ways_by_slow_code(grouped):
    for i in range(5):
        labels, predicted, other = arms(np.random.default_rng(i))
        groups = [f"g{j // 2}" for j in range(9)] if grouped else None
        units = [(y, g) for y, g in zip(labels, groups or range(9), strict=True)]
        args = (labels, predicted, other)
        for metric in ("macro_f1", "accuracy"):
            expected = all_ways(*args, units, metric)
            assert swap_test(*args, num_classes=3, groups=groups, metric=metric) == pytest.approx(expected)
        assert accuracy_test(*args, num_classes=3, groups=groups) == pytest.approx(expected)


def test_random_swaps_come_near_the_exact_p():
    labels, predicted, other = arms(np.random.default_rng(20), n=60)
    drawn = swap_test(labels, predicted, other, num_classes=3, metric="accuracy", draws=20000)
    exact = accuracy_test(labels, predicted, other, num_classes=3)
    assert drawn == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 20000) + 1e-4)
    assert drawn == swap_test(labels, predicted, other, num_classes=3, metric="accuracy", draws=20000)
    perfect = np.tile(labels, (3, 1))
    assert swap_test(labels, perfect, (perfect + 1) % 3, num_classes=3, draws=99) == pytest.approx(0.01)  # never 0


@pytest.mark.parametrize(("gained", "lost"), [(9, 1), (4, 4), (30, 12), (0, 6), (0, 0)])
def test_one_image_a_group_is_mcnemars_exact_test(gained, lost):
    expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert exact_swap_test([1] * gained + [-1] * lost + [0] * 7) == pytest.approx(expected)


def test_photos_of_one_leaf_are_no_new_evidence():
    one = exact_swap_test([1] * 6)
    assert one == pytest.approx(2 / 2**6)
    labels, right, wrong = np.zeros(12, int), np.zeros((2, 12), int), np.ones((2, 12), int)
    leaves = [f"leaf{i // 2}" for i in range(12)]
    for test in (swap_test, accuracy_test):
        assert test(labels, right, wrong, num_classes=2, groups=leaves) == pytest.approx(one)
        assert test(labels, right, wrong, num_classes=2) == pytest.approx(2 / 2**12)


def test_seeds_vote_by_mean_probability():
    labels = np.zeros(8, int)
    sure, unsure = [0.9, 0.1], [0.4, 0.6]
    voted_right = np.array([[sure] * 8, [unsure] * 8, [unsure] * 8])  # two of three seeds are wrong, the mean is right
    wrong = np.full((3, 8, 2), [0.2, 0.8])
    assert mcnemar(labels, voted_right, wrong) == pytest.approx(2 / 2**8)
    assert mcnemar(labels, wrong, wrong) == 1.0
    assert mcnemar(labels, voted_right, wrong, groups=["a"] * 8) == 1.0  # one leaf proves nothing


def test_without_an_effect_p_is_small_as_seldom_as_it_says():
    """Trainings taken as they are: each arm errs on leaves of its own, the same number on average."""
    rng = np.random.default_rng(3)
    found = {"macro_f1": [], "accuracy": [], "vote": []}
    for i in range(400):
        labels = np.repeat([0, 1, 2], [20, 10, 5])
        groups = [f"{j // 2}" for j in range(35)]
        hard = rng.normal(size=(35, 3))
        leaf = [rng.normal(size=(len(groups) // 2 + 1, 3)) for _ in range(2)]
        p = []
        for own in leaf:
            logits = hard + own[[int(g) for g in groups]] + 0.5 * rng.gumbel(size=(3, 35, 3))
            logits[:, np.arange(35), labels] += 1.5
            p.append(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True))
        answers = [a.argmax(-1) for a in p]
        found["macro_f1"].append(swap_test(labels, *answers, num_classes=3, groups=groups, draws=199, seed=i))
        found["accuracy"].append(accuracy_test(labels, *answers, num_classes=3, groups=groups))
        found["vote"].append(mcnemar(labels, *p, groups=groups))
    for name, values in found.items():
        assert np.mean(np.array(values) <= 0.05) <= 0.05 + 2.6 * np.sqrt(0.05 * 0.95 / 400), name
    assert np.mean(np.array(found["macro_f1"]) <= 0.5) == pytest.approx(0.5, abs=0.08)


def test_holm():
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert adjusted == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert list(adjusted) == ["a", "b", "c", "d"]
    assert holm({"a": 0.7, "b": 0.6}) == {"a": 1.0, "b": 1.0}
    assert holm({"only": 0.03}) == {"only": 0.03} and holm({}) == {}
