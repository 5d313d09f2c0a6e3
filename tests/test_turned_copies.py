"""Copies that are turned and zoomed are found by their points; new leaves, and leaves photographed twice, are not."""

import numpy as np
import pytest
from PIL import Image

from pipeline.images.sample import render_leaf
from pipeline.images.turned_copies import turned_copies

CLASSES = ("healthy", "rust", "scab", "blight")
FILES = 40


def leaf(i: int) -> np.ndarray:
    return render_leaf(CLASSES[i % 4], i, img_resolution=128, seed=5)


def turned(image: np.ndarray, degrees: float) -> np.ndarray:
    """And zoomed in by a fifth."""
    large = Image.fromarray(image).rotate(degrees, Image.Resampling.BICUBIC).resize((154, 154))
    return np.asarray(large.crop((13, 13, 141, 141)))


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    return np.stack([leaf(i) for i in range(FILES + 60)])


def asked(photos: np.ndarray, synthetic: np.ndarray, groups=None):
    train, val = photos[:FILES], photos[FILES : FILES + 20]
    labels = np.arange(len(synthetic)) % 4
    return turned_copies(train, range(FILES) if groups is None else groups, val, synthetic, labels)


def test_new_leaves_are_not_copies(photos):
    found = asked(photos, photos[FILES + 20 :])
    assert found.metrics["turned/flagged"] == 0 and found.metrics["turned/p_value"] > 0.05
    assert found.metrics["turned/n_synthetic"] == 40 and found.metrics["turned/n_real"] == 60


@pytest.mark.parametrize("first", [0, FILES])  # of train, of val
def test_turned_and_zoomed_copies_are_found_and_named(photos, first):
    synthetic = photos[FILES + 20 :].copy()
    copied = range(0, 36, 3)
    for n, row in enumerate(copied):
        synthetic[row] = turned(photos[first + n], 37 + 20 * n)
    found = asked(photos, synthetic)
    assert found.metrics["turned/flagged"] == 1 and found.metrics["turned/p_value"] < 1e-3
    named = {row: photo for row, photo, _ in found.pairs}
    right = [named.get(row) == first + n for n, row in enumerate(copied)]
    assert np.mean(right) > 0.8
    assert [points for *_, points in found.pairs] == sorted((points for *_, points in found.pairs), reverse=True)


def test_photos_of_one_leaf_are_no_measure_of_chance_and_those_of_unknown_leaves_are(photos):
    """A train set in which each leaf stands twice, turned: as one group nothing matches, as strangers nearly all."""
    twice = np.stack([image for i in range(FILES // 2) for image in (photos[i], turned(photos[i], 25))])
    world = np.concatenate([twice, photos[FILES:]])
    as_one = asked(world, photos[FILES + 20 :], groups=[i // 2 for i in range(FILES)])
    as_strangers = asked(world, photos[FILES + 20 :])
    assert as_one.metrics["turned/real"] <= 2 and as_strangers.metrics["turned/real"] > 30
    copies = np.stack([turned(photos[i % 20], 80 + i) for i in range(40)])
    assert asked(world, copies, groups=[i // 2 for i in range(FILES)]).metrics["turned/flagged"] == 1
