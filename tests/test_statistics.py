"""Scores against a slow reference; intervals: coverage under no effect, pairing, groups, planted effects."""

from __future__ import annotations

import time

import numpy as np
import pytest

from bench.coverage import CLASSES as CLASS_NAMES
from bench.coverage import Setting, coverage
from pipeline.measure import statistics
from pipeline.measure.statistics import METRICS, OF_A_CLASS, Interval, compare_arms, confusion, score, score_confusion

CLASSES = ["healthy", "rust", "blight", "rare"]


def simulate(
    rng: np.random.Generator,
    counts: tuple[int, ...] = (26, 13, 6, 3),
    num_seeds: int = 5,
    arms: tuple[str, ...] = ("real", "synthetic"),
    boost: dict[str, float] | None = None,
    seed_sd: float = 0.3,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Predictions of arms that share the images' difficulty; each seed leans to some classes of its own.

    Returns (N,) labels and arm → (num_seeds, N) predictions; `boost` makes an arm better.
    """
    k = len(counts)
    labels = np.repeat(np.arange(k), counts)
    n = len(labels)
    difficulty = rng.normal(size=(n, k))
    predicted = {}
    for arm in arms:
        logits = difficulty + seed_sd * rng.normal(size=(num_seeds, 1, k))
        logits = logits + 0.5 * rng.normal(size=(n, k)) + rng.gumbel(size=(num_seeds, n, k))
        logits[:, np.arange(n), labels] += 1.5 + (boost or {}).get(arm, 0.0)
        predicted[arm] = logits.argmax(-1)
    return labels, predicted


def test_scores_equal_sklearn():
    sklearn = pytest.importorskip("sklearn.metrics")
    labels, predicted = simulate(np.random.default_rng(0), num_seeds=3)
    ours = score(labels, predicted["real"], 4)
    assert ours["recall"].shape == ours["f1"].shape == (3, 4)
    for s, p in enumerate(predicted["real"]):
        assert np.array_equal(confusion(labels, p, 4), sklearn.confusion_matrix(labels, p, labels=range(4)))
        assert ours["accuracy"][s] == pytest.approx(sklearn.accuracy_score(labels, p))
        assert ours["balanced_accuracy"][s] == pytest.approx(sklearn.balanced_accuracy_score(labels, p))
        assert ours["macro_f1"][s] == pytest.approx(
            sklearn.f1_score(labels, p, average="macro", labels=range(4), zero_division=0)
        )
        for name in ("recall", "f1", "precision"):
            theirs = getattr(sklearn, f"{name}_score")(labels, p, average=None, labels=range(4), zero_division=0)
            assert ours[name][s] == pytest.approx(theirs)


def test_class_without_images_has_no_recall_and_no_weight():
    s = score([0, 0, 1, 1], [0, 0, 1, 0], 3)
    assert np.isnan(s["recall"][2]) and np.isnan(s["f1"][2]) and s["precision"][2] == 0
    assert s["balanced_accuracy"] == pytest.approx(0.75)
    assert s["macro_f1"] == pytest.approx((4 / 5 + 2 / 3) / 2)


def test_means_are_plain_means_over_seeds():
    labels, predicted = simulate(np.random.default_rng(1))
    result = compare_arms(labels, predicted, classes=CLASSES, resamples=200)
    plain = {arm: score(labels, p, 4) for arm, p in predicted.items()}
    for name in METRICS:
        means = {arm: float(s[name].mean()) for arm, s in plain.items()}
        assert result["real"].metrics[name].mean == pytest.approx(means["real"])
        difference = result["synthetic"].differences["real"][name].mean
        assert difference == pytest.approx(means["synthetic"] - means["real"])
    interval = result["real"].metrics["recall/rare"]
    assert (interval.n_test, interval.n_seeds) == (48, 5)
    assert 0 <= interval.lower <= interval.mean <= interval.upper <= 1
    assert "real" not in result["real"].differences and "classic" not in result["real"].differences


def holds(share: float, nominal: float, n: int) -> bool:
    """Whether n experiments are likely (to 2.6 standard errors, 99%) where between -2 and +2 points are allowed."""
    room = 2.6 * np.sqrt(nominal * (1 - nominal) / n)
    return nominal - 0.02 - room <= share <= nominal + 0.02 + room


@pytest.mark.parametrize(
    "setting",
    [
        Setting(48, "imbalanced", 5, 1, "small"),
        Setting(48, "balanced", 3, 3, "large"),
        Setting(150, "imbalanced", 3, 3, "small"),
    ],
)
def test_intervals_hold_the_truth_as_often_as_they_say(setting):
    """The larger run is bench/coverage.py; 48 images with 3 photos a leaf covered 87% before classes had their dof."""
    n = 120
    for effect in (0.0, 0.7):
        held = coverage(setting, n, resamples=300, effect=effect)
        for metric in ("macro_f1", "balanced_accuracy"):
            assert holds(held["difference"][metric], 0.95, n), (effect, metric)
            assert holds(held["score"][metric], 0.95, n), (effect, metric)
        for name in (f"{of}/{c}" for of in OF_A_CLASS for c in CLASS_NAMES):
            # a few images give few possible values, so recall may be held too often
            assert held["difference"][name] >= 0.93 - 2.6 * np.sqrt(0.95 * 0.05 / n), (effect, name)


@pytest.mark.parametrize("metric", OF_A_CLASS)
def test_a_class_is_held_where_three_trainings_differ_much(metric):
    """Each class by its own two degrees of freedom was held 90 to 91% of the time here, whose 2,400 are known to .7."""
    held = [
        coverage(Setting(150, "balanced", 3, group, "large"), 300, resamples=200, effect=0.0)["difference"]
        for group in (1, 3)
    ]
    shares = [of[f"{metric}/{name}"] for of in held for name in CLASS_NAMES]
    assert np.mean(shares) >= 0.93 and np.mean(shares) <= 0.97
    assert min(shares) >= 0.95 - 0.02 - 2.6 * np.sqrt(0.95 * 0.05 / 300)


def test_a_class_of_one_leaf_is_not_certain():
    """Nine images, one leaf: before, its figures passed for fixed, and the intervals of means for narrow."""
    labels = np.repeat([0, 1, 2], [20, 10, 9])
    predicted = np.tile(np.where(np.random.default_rng(0).random(39) < 0.6, labels, (labels + 1) % 3), (5, 1))
    leaves = [f"{i}" if i < 30 else "one" for i in range(39)]
    args = {"classes": ["a", "b", "c"], "resamples": 500}
    alone = compare_arms(labels, {"real": predicted}, groups=leaves, **args)["real"].metrics
    apart = compare_arms(labels, {"real": predicted}, **args)["real"].metrics
    assert alone["recall/c"].half_width > apart["recall/c"].half_width
    for name in ("recall/c", "f1/c"):
        assert alone[name].standard_error > 2 * apart[name].standard_error
    assert alone["balanced_accuracy"].standard_error > 1.5 * apart["balanced_accuracy"].standard_error


def test_a_loan_of_images_holds_the_interaction_once():
    """A single leaf's V_seeds is of its own seeds and of chance, and what it borrows from other leaves holds chance."""
    rng = np.random.default_rng(3)
    labels = np.repeat([0, 1, 2], [40, 40, 1])
    predicted = np.where(rng.random((5, 81)) < 0.5, labels, (labels + 1) % 3)  # chance alone, for every seed anew
    predicted[:, -1] = [2, 0, 2, 0, 2]
    of = compare_arms(labels, {"real": predicted}, classes=["a", "b", "c"])["real"].metrics["recall/c"]
    assert of.standard_error == pytest.approx(np.sqrt(0.25 / 5), rel=0.15)  # counted twice: 1.4 times as much


def test_what_macro_f1_gains_with_a_class():
    """By turning all wrong images of a class right, few at a time."""
    labels = np.repeat([0, 1], [300, 300])
    predicted = np.where(np.arange(600) % 3 < 2, labels, 1 - labels)[None]
    slope = statistics._f1_slope(labels, predicted, 2)
    right = predicted[0].copy()
    right[np.flatnonzero((labels == 0) & (right != 0))[:3]] = 0
    before, after = score(labels, predicted[0], 2), score(labels, right, 2)
    own = (after["macro_f1"] - before["macro_f1"]) / (after["recall"][0] - before["recall"][0])
    # the other class gains too, by the claims that it loses
    assert slope[0] == pytest.approx((2 - 2 / 3) / 2 / 2) and slope[0] < own < 2 * slope[0]


def test_degrees_of_freedom_are_those_of_the_class_that_varies():
    """All arms agree on the common class; what is unsure are three images of the rare one."""
    labels = np.repeat([0, 1], [80, 3])
    predicted = np.tile(labels, (5, 1))
    other = predicted.copy()
    other[:, 80] = 0
    d = compare_arms(labels, {"real": other, "synthetic": predicted}, classes=["a", "b"])["synthetic"]
    for name in ("balanced_accuracy", "recall/b"):
        assert d.differences["real"][name].dof == pytest.approx(2, abs=0.2)
        assert d.differences["real"][name].lower < 0  # one image more is no proof


def test_linearised_influence_is_the_derivative():
    """By raising an image's weight a little; the share of each class in the degrees of freedom rests on it."""
    labels, predicted = simulate(np.random.default_rng(10), (6, 5, 4, 3), num_seeds=2, arms=("real",))
    own, step = predicted["real"], 1e-5

    def scores(weights):
        one_hot = np.eye(4)[own] * weights[:, None]  # (S, N, K)
        matrices = np.stack([[one_hot[s][labels == k].sum(0) for k in range(4)] for s in range(2)])
        of = score_confusion(matrices)
        return np.concatenate([[of[m].mean() for m in METRICS], *(of[m].mean(0) for m in OF_A_CLASS)])

    found = statistics._influence(labels, own, 4)
    for i in range(len(labels)):
        up, down = np.ones(len(labels)), np.ones(len(labels))
        up[i] += step
        down[i] -= step
        assert found[i] == pytest.approx((scores(up) - scores(down)) / (2 * step), abs=1e-7)


def test_p_and_interval_say_the_same():
    labels, predicted = simulate(np.random.default_rng(11), boost={"synthetic": 0.6})
    d = compare_arms(labels, predicted, classes=CLASSES)["synthetic"].differences["real"]["macro_f1"]
    at_p = d.at(1 - d.p)
    assert min(abs(at_p.lower), abs(at_p.upper)) == pytest.approx(0, abs=1e-9)
    assert d.at(0.95).lower == pytest.approx(d.lower) and d.at(0.99).half_width > d.half_width
    assert Interval(0.0, 0.0, 0.0, 10, 3, 0.0).p == 1.0 and Interval(0.5, 0.5, 0.5, 10, 3, 0.0).p == 0.0
    given = Interval(0.1, 0.0, 0.2, 10, 3)  # without a standard error: taken for a normal interval of 95%
    assert given.p == pytest.approx(0.05) and given.at(0.95)[:3] == pytest.approx(given[:3])


def by_seed(recalls: dict[str, tuple[float, ...]], number: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Labels and (seeds, N) predictions with so many right of each class; the same images are hard for every seed."""
    labels = np.repeat(np.arange(len(recalls)), number)
    right = np.concatenate([np.arange(number) < np.array(of)[:, None] * number for of in recalls.values()], axis=1)
    return labels, np.where(right, labels, (labels + 1) % len(recalls))


def test_a_class_whose_seeds_agree_by_luck_is_told_by_the_others():
    """Three seeds with the same recall of d, and very different ones of a, b and c: d's would not stay so."""
    level, others = (0.6, 0.6, 0.6), {"a": (0.3, 0.6, 0.9), "b": (0.9, 0.6, 0.3), "c": (0.6, 0.9, 0.3)}
    args = {"classes": ["a", "b", "c", "d"], "resamples": 2000}

    def of_d(recalls):
        labels, predicted = by_seed(recalls | {"d": level})
        return compare_arms(labels, {"real": predicted}, **args)["real"].metrics["recall/d"]

    calm, moved = of_d(dict.fromkeys(others, level)), of_d(others)
    images = np.sqrt(0.6 * 0.4 / 39)
    assert calm.standard_error == pytest.approx(images, rel=0.05)
    # four of six degrees of freedom are the others', by whose word a class varies as they do on average
    expected = np.sqrt(images**2 + 4 / 6 * (3 * 0.03 / 4))
    assert moved.standard_error == pytest.approx(expected, rel=0.1)
    assert 5 < moved.dof < 39


def test_a_class_whose_seeds_differ_most_keeps_its_variance():
    """Moderated downwards, it would be held far too seldom."""
    level = (0.6, 0.6, 0.6)
    labels, predicted = by_seed({"a": (0.3, 0.6, 0.9), "b": level, "c": level, "d": level})
    of = compare_arms(labels, {"real": predicted}, classes=["a", "b", "c", "d"])["real"].metrics["recall/a"]
    assert of.standard_error > 0.95 * np.std([0.3, 0.6, 0.9], ddof=1) / np.sqrt(3)
    assert of.dof < 4


def test_tails_of_a_recall_allow_for_the_seeds():
    """Verdicts on several classes use wider intervals, whose tails few seeds know little of."""
    labels, predicted = simulate(np.random.default_rng(14), (40, 40, 40, 40), num_seeds=3, seed_sd=0.1)
    d = compare_arms(labels, predicted, classes=CLASSES)["synthetic"].differences["real"]
    for share in (d[f"{of}/{name}"] for of in OF_A_CLASS for name in CLASSES):
        assert share.tail_dof <= share.dof and share.at(0.95)[:3] == pytest.approx(share[:3])
        assert share.at(0.99).half_width >= share._replace(tail_dof=None).at(0.99).half_width
    assert any(d[f"recall/{name}"].tail_dof < 0.5 * d[f"recall/{name}"].dof for name in CLASSES)
    assert d["macro_f1"].tail_dof is None


def test_no_sum_is_known_worse_than_its_least_certain_part():
    """Three seeds have two degrees of freedom; one would make a 99% interval of recall the whole of [-1, 1]."""
    least = []
    for trial in range(20):
        labels, predicted = simulate(np.random.default_rng([15, trial]), (20, 20, 20, 4), num_seeds=3, seed_sd=0.5)
        d = compare_arms(labels, predicted, classes=CLASSES, resamples=200)["synthetic"].differences["real"]
        least += [min(d[f"recall/{name}"].dof, d[f"recall/{name}"].tail_dof) for name in CLASSES]
    assert min(least) == pytest.approx(2, abs=1e-9)


def test_detectable_difference_is_found_in_four_of_five():
    """Normal differences with a known standard error, whose t interval is asked."""
    rng = np.random.default_rng(12)
    for dof in (4, 30):
        error = 0.02 * np.sqrt(rng.chisquare(dof, 20000) / dof)
        typical = Interval(0, 0, 0, 100, 5, 0.02, dof).detectable(0.95)
        means = rng.normal(typical, 0.02, 20000)
        found = [Interval(m, 0, 0, 100, 5, e, dof).p < 0.05 for m, e in zip(means, error, strict=True)]
        assert np.mean(found) == pytest.approx(0.8, abs=0.05)
    wide, narrow = Interval(0, 0, 0, 100, 5, 0.04, 9), Interval(0, 0, 0, 100, 5, 0.02, 9)
    assert wide.detectable() == pytest.approx(2 * narrow.detectable())
    assert narrow.detectable() > (narrow.at(0.95)).half_width  # what would merely be significant is found half the time


def test_further_pairs_and_figures():
    labels, predicted = simulate(np.random.default_rng(13), arms=("real", "balanced", "classic", "masked"))
    figures = {arm: {"brier": np.abs(p - labels).astype(float)} for arm, p in predicted.items()}
    result = compare_arms(
        labels, predicted, classes=CLASSES, references=("real",), pairs=[("classic", "masked"), ("gone", "real")],
        per_image=figures, resamples=200,
    )  # fmt: skip
    assert set(result["classic"].differences) == {"real", "masked"} and set(result["balanced"].differences) == {"real"}
    of = result["classic"]
    assert of.metrics["brier"].mean == pytest.approx(figures["classic"]["brier"].mean())
    assert of.metrics["brier"].lower < of.metrics["brier"].mean < of.metrics["brier"].upper
    assert of.differences["masked"]["brier"].mean == pytest.approx(
        figures["classic"]["brier"].mean() - figures["masked"]["brier"].mean()
    )


def test_identical_arms_differ_by_exactly_nothing():
    labels, predicted = simulate(np.random.default_rng(3), arms=("real",))
    result = compare_arms(labels, predicted | {"synthetic": predicted["real"].copy()}, classes=CLASSES)
    for d in result["synthetic"].differences["real"].values():
        assert (d.mean, d.lower, d.upper) == (0.0, 0.0, 0.0)
    assert result["synthetic"].metrics == result["real"].metrics


def test_planted_improvement_is_found_and_pairing_narrows_its_interval():
    labels, predicted = simulate(np.random.default_rng(4), (60, 40, 30, 20), boost={"synthetic": 1.0})
    paired = compare_arms(labels, predicted, classes=CLASSES)["synthetic"].differences["real"]["macro_f1"]
    assert paired.lower > 0
    alone = [compare_arms(labels, {a: p}, classes=CLASSES)[a].metrics["macro_f1"] for a, p in predicted.items()]
    assert paired.half_width < np.hypot(*(i.half_width for i in alone))


def test_more_images_and_more_seeds_narrow_the_interval():
    def half_width(counts, num_seeds):
        labels, predicted = simulate(np.random.default_rng(5), counts, num_seeds, seed_sd=0.6)
        return compare_arms(labels, predicted, classes=CLASSES, resamples=500)["real"].metrics["macro_f1"].half_width

    assert half_width((160,) * 4, 5) < 0.75 * half_width((20,) * 4, 5)
    assert half_width((160,) * 4, 20) < half_width((160,) * 4, 3)


def test_groups_are_drawn_as_units():
    """Eight copies of every image are no new evidence: with their groups given the interval stays as it was."""
    labels, predicted = simulate(np.random.default_rng(6), (30, 20, 10, 8), num_seeds=20)
    copies = {a: np.repeat(p, 8, axis=1) for a, p in predicted.items()}
    groups = [f"leaf{i}" for i in np.repeat(np.arange(len(labels)), 8)]
    args = {"classes": CLASSES, "resamples": 1000}

    def half_width(y, p, g=None):
        return compare_arms(y, p, groups=g, **args)["synthetic"].differences["real"]["macro_f1"].half_width

    once = half_width(labels, predicted)
    assert half_width(np.repeat(labels, 8), copies, groups) == pytest.approx(once, rel=1e-6)
    assert half_width(np.repeat(labels, 8), copies) < 0.8 * once


def test_arms_with_other_seeds_are_resampled_independently():
    """Where a seed leaves its mark on both arms alike, pairing by seed is what cancels it."""
    rng = np.random.default_rng(7)
    labels, predicted = simulate(rng, (80, 60, 40, 40), arms=("real",), seed_sd=1.5)
    flipped = np.where(rng.random((5, 220)) < 0.1, 0, predicted["real"])
    twice = predicted | {"synthetic": flipped}
    same = {"real": [0, 1, 2, 3, 4], "synthetic": [0, 1, 2, 3, 4]}
    other = {"real": [0, 1, 2, 3, 4], "synthetic": [5, 6, 7, 8, 9]}

    def half_width(seeds):
        result = compare_arms(labels, twice, classes=CLASSES, seeds=seeds)
        return result["synthetic"].differences["real"]["macro_f1"].half_width

    assert half_width(other) > 2 * half_width(same)


def test_draws_depend_on_the_seed_and_nothing_else():
    labels, predicted = simulate(np.random.default_rng(8))
    first = compare_arms(labels, predicted, classes=CLASSES, resamples=100, seed=1)
    assert first == compare_arms(labels, predicted, classes=CLASSES, resamples=100, seed=1)
    assert first != compare_arms(labels, predicted, classes=CLASSES, resamples=100, seed=2)
    alone = compare_arms(labels, {"real": predicted["real"]}, classes=CLASSES, resamples=100, seed=1)
    assert alone["real"].metrics == first["real"].metrics  # other arms do not move an arm's interval


def test_one_seed_and_single_image_classes_do_not_break():
    result = compare_arms([0, 1, 1], {"real": [[0, 1, 0]]}, classes=["a", "b"], resamples=50)
    assert result["real"].metrics["accuracy"].n_seeds == 1
    found = result["real"].metrics["recall/a"]
    assert found.mean == found.upper == 1.0 and found.lower < 0.5  # one image right is not certainty


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="real"):
        compare_arms([0, 1], {"real": [[0, 1, 1]]}, classes=["a", "b"])
    with pytest.raises(ValueError, match="seeds"):
        compare_arms([0, 1], {"real": [[0, 1]]}, classes=["a", "b"], seeds={"real": [1, 2]})


def test_ten_arms_five_seeds_two_hundred_images_take_seconds():
    labels, predicted = simulate(np.random.default_rng(9), (20,) * 10, arms=(*"abcdefgh", "real", "classic"))
    start = time.perf_counter()
    compare_arms(labels, predicted, classes=[str(i) for i in range(10)], resamples=2000)
    assert time.perf_counter() - start < 15
