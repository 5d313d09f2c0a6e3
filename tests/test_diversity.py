"""Collapse and mixed-up labels: planted ones are found; held-out, blurred and well-labelled images are not."""

from __future__ import annotations

import numpy as np
import pytest
from planted import blurred, leaves, replayed
from scipy.stats import fisher_exact

from pipeline.images.sample import CLASSES
from pipeline.measure import diversity
from pipeline.measure.diversity import diversity_report
from pipeline.measure.generator_faults import Side, generator_faults
from pipeline.measure.label_swap import _fisher, label_swaps
from pipeline.measure.thumbnails import thumbnails

TRAIN, VAL = leaves({"healthy": 40, "rust": 24, "scab": 16, "blight": 10}, 1), leaves(dict.fromkeys(CLASSES, 8), 2)
NOVEL = leaves(dict.fromkeys(CLASSES, 20), 3)


def features(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)[:, ::7] / 255


def report(images: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None) -> dict[str, float]:
    sets = (TRAIN[0], VAL[0], images)
    return diversity_report(
        {"random": tuple(features(x) for x in sets)}, *(thumbnails(x) for x in sets), labels_train=TRAIN[1],
        labels_val=VAL[1], labels_synthetic=labels, groups_train=np.arange(len(TRAIN[0])) if groups is None else groups,
        classes=list(CLASSES),
    )  # fmt: skip


def collapsed(metrics: dict[str, float]) -> list[str]:
    return [name for name in CLASSES if metrics.get(f"collapsed/{name}")]


# ------------------------------------------------------------------------------------------- collapse


def test_one_picture_is_a_collapse_with_noise_or_with_shifts():
    images = NOVEL[0].copy()
    rust = np.flatnonzero(NOVEL[1] == 1)
    noise = np.random.default_rng(0).normal(0, 10, images[rust].shape)
    images[rust] = np.clip(images[rust[0]] + noise, 0, 255).astype(np.uint8)
    metrics = report(images, NOVEL[1])
    assert collapsed(metrics) == ["rust"] and metrics["spread_pixel/rust"] < 0.1 and metrics["spread_random/rust"] < 0.4
    images[rust] = replayed(np.repeat(NOVEL[0][rust[:1]], len(rust), 0), 1)
    metrics = report(images, NOVEL[1])
    assert collapsed(metrics) == ["rust"] and metrics["duplicates/rust"] == 1.0


def test_a_handful_of_pictures_is_a_collapse_that_spread_does_not_see():
    rows = np.concatenate([np.resize(np.flatnonzero(NOVEL[1] == k)[:4], 20) for k in range(4)])
    metrics = report(replayed(NOVEL[0][rows], 2, noise=6), NOVEL[1])
    assert collapsed(metrics) == list(CLASSES)
    assert min(metrics[f"spread_pixel/{name}"] for name in CLASSES) > 0.5


@pytest.mark.parametrize("seed", range(4, 10))
def test_held_out_and_blurred_leaves_have_not_collapsed(seed):
    images, labels = leaves({"healthy": 20, "rust": 12, "scab": 6, "blight": 4}, seed)
    for shown in (images, blurred(images, 4)):
        metrics = report(shown, labels)
        assert collapsed(metrics) == []
        assert max(metrics[f"duplicates/{name}"] for name in CLASSES) < 0.3


def test_spread_is_a_ratio_of_standard_deviations():
    metrics = report(NOVEL[0], NOVEL[1])
    small = [thumbnails(x) for x in (TRAIN[0], NOVEL[0], VAL[0])]
    std = [
        np.sqrt(x[y == 2].var(axis=0, ddof=1).sum()) for x, y in zip(small, (TRAIN[1], NOVEL[1], VAL[1]), strict=True)
    ]
    assert metrics["spread_pixel/scab"] == pytest.approx(std[1] / std[0], rel=1e-5)
    assert metrics["spread_val_pixel/scab"] == pytest.approx(std[2] / std[0], rel=1e-5)


def test_duplicates_expected_of_real_images_at_the_same_count():
    near = np.zeros((5, 5), bool)
    near[0, 1] = near[1, 0] = True
    # Images 0 and 1 have a partner among 4 others; of 5 drawn with return, 4 others miss it with (3/4)^4
    assert diversity._expected(near, 5) == pytest.approx(2 / 5 * (1 - 0.75**4))
    assert diversity._expected(near, 1) == 0


def test_photos_of_one_leaf_in_train_do_not_loosen_the_threshold():
    """With each train image twice: were the pairs strangers, everything short of a copy would pass as varied."""
    global TRAIN
    kept = TRAIN
    rows = np.repeat(np.concatenate([np.flatnonzero(kept[1] == k) for k in range(4)]), 2)
    rust = np.resize(np.flatnonzero(NOVEL[1] == 1)[:3], 20)
    images = np.concatenate([NOVEL[0][NOVEL[1] != 1], replayed(NOVEL[0][rust], 3, noise=6)])
    labels = np.concatenate([NOVEL[1][NOVEL[1] != 1], np.ones(20, int)])
    try:
        TRAIN = kept[0][rows], kept[1][rows]
        assert collapsed(report(images, labels, groups=np.repeat(np.arange(len(rows) // 2), 2))) == ["rust"]
        assert collapsed(report(images, labels)) == []
    finally:
        TRAIN = kept


def test_too_few_images_are_no_evidence():
    images, labels = np.repeat(NOVEL[0][:1], 3, axis=0), np.zeros(3, np.int64)
    assert report(images, labels)["collapsed/healthy"] == 0
    assert report(np.repeat(images[:1], 4, axis=0), np.zeros(4, np.int64))["collapsed/healthy"] == 1
    one = report(images[:1], labels[:1])
    assert "spread_pixel/healthy" not in one and one["collapsed/healthy"] == 0 and "collapsed/rust" not in one


# ------------------------------------------------------------------------------------------- labels


def judged(confusion: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and labels with these counts, made for by taken for."""
    pairs = [(k, named) for k, row in enumerate(confusion) for named, count in enumerate(row) for _ in range(count)]
    labels, named = np.array(pairs).T
    return np.eye(len(confusion))[named] * 0.6 + 0.1, labels


GOOD = judged([[18, 1, 1], [1, 9, 0], [0, 1, 7]])


def test_swapped_classes_are_flagged_and_named():
    metrics = label_swaps(*judged([[20, 0, 0], [1, 3, 16], [0, 17, 3]]), *GOOD, ["a", "b", "c"])
    assert [metrics[f"label_swapped/{c}"] for c in "abc"] == [0, 1, 1]
    assert metrics["mistaken_for/b"] == 2 and metrics["mistaken/b"] == 0.8 and metrics["recognised/b"] == 0.15


def test_a_judge_who_does_so_to_real_leaves_is_to_blame():
    shown = judged([[20, 0, 0], [1, 3, 16], [0, 3, 17]])
    assert label_swaps(*shown, *judged([[18, 1, 1], [1, 2, 7], [0, 1, 4]]), ["a", "b", "c"])["label_swapped/b"] == 0
    few = judged([[18, 1, 1], [0, 2, 0], [0, 1, 4]])  # and of two val images nobody knows
    assert label_swaps(*judged([[5, 0, 0], [0, 1, 3], [0, 0, 5]]), *few, ["a", "b", "c"])["label_swapped/b"] == 0


def test_labels_that_are_poor_but_not_swapped_are_not_flagged():
    metrics = label_swaps(*judged([[9, 6, 5], [6, 8, 6], [7, 6, 7]]), *GOOD, ["a", "b", "c"])
    assert [metrics[f"label_swapped/{c}"] for c in "abc"] == [0, 0, 0]


def test_val_passed_as_synthetic_is_not_swapped():
    """Two draws from one confusing judge, who takes b for c half of the time: false alarms at most 1 in 20."""
    rates = np.array([[0.8, 0.1, 0.1], [0.1, 0.45, 0.45], [0.2, 0.2, 0.6]])
    rng = np.random.default_rng(0)

    def draw(n: int):
        return judged([rng.multinomial(n, row).tolist() for row in rates])

    alarms = [
        any(value for key, value in label_swaps(*draw(40), *draw(15), ["a", "b", "c"]).items() if "swapped" in key)
        for _ in range(400)
    ]
    assert np.mean(alarms) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


def test_fisher_against_scipy():
    for table in ([16, 3, 0, 9], [5, 5, 5, 5], [1, 0, 0, 1], [3, 9, 7, 2]):
        expected = fisher_exact(np.reshape(table, (2, 2)), alternative="greater").pvalue
        assert _fisher(*table) == pytest.approx(expected)


# ------------------------------------------------------------------------------------------- together


def faults(images: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, **changes):
    def side(of: tuple, letter: str) -> Side:
        return Side(*of, [f"{letter}{i}.png" for i in range(len(of[0]))], {"random": features(of[0])})

    return generator_faults(
        changes.get("train", side(TRAIN, "t")), side(VAL, "v"), side((images, labels), "s"), list(CLASSES),
        probabilities=probabilities, probabilities_val=np.eye(4)[VAL[1]],
    )  # fmt: skip


def test_each_fault_is_found_by_its_own_flag():
    rows = np.concatenate([np.resize(np.flatnonzero(TRAIN[1] == k), 20) for k in range(4)])
    swap = np.array([0, 2, 1, 3])
    good = np.eye(4)[NOVEL[1]]
    sets = {
        "none": (NOVEL[0], NOVEL[1], good),
        "copies": (replayed(TRAIN[0][rows], 5), TRAIN[1][rows], np.eye(4)[TRAIN[1][rows]]),
        "swapped": (NOVEL[0], swap[NOVEL[1]], good),
    }
    found = {name: faults(*of) for name, of in sets.items()}

    def raised(name: str) -> set[str]:
        flags = ("memorisation/flagged", "collapsed/", "label_swapped/")
        return {key for key, value in found[name].metrics.items() if key.startswith(flags) and value}

    assert raised("none") == set()
    assert raised("swapped") == {"label_swapped/rust", "label_swapped/scab"}
    assert "memorisation/flagged" in raised("copies") and not {k for k in raised("copies") if "swapped" in k}
    rows_of = found["copies"].nearest
    assert len(rows_of) == 20 and {row["class"] for row in rows_of} <= set(CLASSES)
    i = int(rows_of[0]["file"][1:-4])
    assert rows_of[0]["train_file"] == f"t{rows[i]}.png" and rows_of[0]["copy"] == 1
    measured = [row for row in found["none"].distances if row["space"] == "pixel"]
    assert {of: sum(row["set"] == of for row in measured) for of in ("synthetic", "val", "train")} == {
        "synthetic": len(NOVEL[0]), "val": len(VAL[0]), "train": len(TRAIN[0])
    }  # fmt: skip


def test_a_train_set_of_two_leaves_says_nothing_of_copies():
    two = Side(TRAIN[0], TRAIN[1], ["x"] * len(TRAIN[0]), {"random": features(TRAIN[0])}, TRAIN[1] % 2)
    found = faults(NOVEL[0], NOVEL[1], np.eye(4)[NOVEL[1]], train=two)
    assert found.nearest == [] and "memorisation/flagged" not in found.metrics
    assert found.metrics["collapsed/healthy"] == 0
