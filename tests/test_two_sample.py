"""Told apart or not: chance where there is nothing to tell, blur seen, leaves on one side of a fold, bytes the same."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.measure.two_sample import told_apart

CLASSES = ["healthy", "rust"]


def drawn(seed: int, shift: float = 0.0, counts: tuple[int, int] = (60, 40)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], counts)
    return rng.normal(size=(len(labels), 12)) + labels[:, None] + shift * np.eye(12)[0], labels


def asked(real, synthetic, groups=None, **changes) -> dict[str, float]:
    names = [str(i) for i in range(len(real[1]))] if groups is None else groups
    return told_apart(*real, names, *synthetic, CLASSES, **{"extractor": "lite0", **changes})


def test_of_one_distribution_nobody_is_told_and_the_interval_says_so():
    found = [asked(drawn(i), drawn(100 + i, counts=(90, 90)), seed=i) for i in range(40)]
    assert np.mean([of["c2st_lite0"] for of in found]) == pytest.approx(0.5, abs=0.02)
    held = [of["c2st_lite0_lower"] <= 0.5 <= of["c2st_lite0_upper"] for of in found]
    assert np.mean(held) >= 0.85  # the folds' answers hang together a little


def test_what_differs_is_told_by_class():
    real, (features, labels) = drawn(0), drawn(1)
    features = features + np.where(labels[:, None] == 1, 4 * np.eye(12)[0], 0)
    found = asked(real, (features, labels))
    assert found["c2st_lite0/rust"] > 0.9 and found["c2st_lite0_lower/rust"] > 0.8
    assert found["c2st_lite0/healthy"] < 0.8 and found["c2st_lite0/healthy"] < found["c2st_lite0"]


def test_a_leaf_is_not_asked_of_who_has_seen_it():
    """Six photos of each of ten leaves: by the leaf one would know all; no fold knows it."""
    rng = np.random.default_rng(3)
    leaves = np.repeat(np.arange(10), 10)
    features = (rng.normal(size=(10, 12)) * 5)[leaves] + rng.normal(0, 0.1, (100, 12))
    real = features, np.repeat([0, 1], 50)
    synthetic = rng.normal(size=(100, 12)) * 5, real[1]
    by_leaf = asked(real, synthetic, groups=[str(i) for i in leaves])
    apart = asked(real, synthetic)
    assert by_leaf["c2st_lite0"] < apart["c2st_lite0"] - 0.1
    width = {
        name: of["c2st_lite0_upper"] - of["c2st_lite0_lower"] for name, of in (("leaf", by_leaf), ("photo", apart))
    }
    assert width["leaf"] > 1.5 * width["photo"]


def test_as_many_of_each_side_and_small_classes_have_no_figure():
    found = asked(drawn(0, counts=(60, 3)), drawn(1, shift=0.0, counts=(200, 200)))
    assert set(found) == {f"c2st_lite0{end}{of}" for end in ("", "_lower", "_upper") for of in ("", "/healthy")}
    assert asked(drawn(0, counts=(2, 2)), drawn(1)) == {}


def test_blurred_leaves_are_told_by_what_sees_texture():
    """Smooth against noisy pictures of the same means, in features that hold variance."""
    rng = np.random.default_rng(4)

    def seen(images: np.ndarray) -> np.ndarray:
        return np.concatenate([images.mean((1, 2)), images.std((1, 2))], axis=1)

    sharp, other = (rng.normal(120, 30, (100, 16, 16, 3)) for _ in range(2))
    blurred = (other + np.roll(other, 1, 1) + np.roll(other, 1, 2)) / 3
    labels = np.repeat([0, 1], 50)
    assert asked((seen(sharp), labels), (seen(blurred), labels))["c2st_lite0"] > 0.95
    assert asked((seen(sharp), labels), (seen(other), labels))["c2st_lite0"] < 0.65


def test_the_same_every_time():
    assert asked(drawn(0), drawn(1), seed=5) == asked(drawn(0), drawn(1), seed=5)


@pytest.mark.parametrize(("counts", "has_figure"), [((4, 4), False), ((3, 3), False), ((5, 4), True), ((12, 4), True)])
def test_classes_too_small_for_the_folds_have_no_figure_and_no_crash(counts, has_figure):
    assert ("c2st_lite0" in asked(drawn(0, counts=counts), drawn(1, counts=(50, 50)))) == has_figure
