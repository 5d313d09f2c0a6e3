from __future__ import annotations

import warnings

import numpy as np
import pytest

from pipeline import InputError
from pipeline.images import transforms
from pipeline.images.transforms import POLICIES, Policy, build_policy


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)


def test_none_changes_nothing(image):
    assert np.array_equal(build_policy("none", 24)(image, 0, 1, 2), image)


def test_classic_keeps_shape_and_type_and_changes_pixels(image):
    before = image.copy()
    drawn = [build_policy("classic", 24)(image, 0, 1, i) for i in range(20)]
    assert all(out.shape == (24, 24, 3) and out.dtype == np.uint8 for out in drawn)
    assert len({out.tobytes() for out in drawn}) > 15
    assert np.array_equal(image, before)


def test_same_key_same_bytes_whatever_was_drawn_before(image):
    policy = build_policy("classic", 24)
    forwards = [policy(image, 7, 3, i).tobytes() for i in range(12)]
    backwards = [policy(image, 7, 3, i).tobytes() for i in reversed(range(12))][::-1]
    alone = build_policy("classic", 24)(image, 7, 3, 5).tobytes()
    assert forwards == backwards
    assert alone == forwards[5]
    assert policy(image, 8, 3, 5).tobytes() != alone


def test_transforms_draw_independently():
    # Compose(seed=...) of albumentations fires all of these together: 2 patterns of 8
    import albumentations as A

    policy = Policy([A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5), A.InvertImg(p=0.5)])
    image = np.zeros((2, 2, 3), dtype=np.uint8)
    image[0, 1], image[1, 0], image[1, 1] = 1, 2, 3  # the four flips are four pictures
    counts = {}
    for i in range(400):
        pattern = policy(image, 0, i).tobytes()
        counts[pattern] = counts.get(pattern, 0) + 1
    assert len(counts) == 8
    assert min(counts.values()) > 25  # 50 expected of each


def test_flips_are_all_four_and_nothing_else():
    policy = build_policy("flips", 16)
    image = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
    mirrored = {out.tobytes() for a in (image, image[::-1]) for out in (a, a[:, ::-1])}
    assert {policy(image, 0, i).tobytes() for i in range(60)} == mirrored


def test_each_policy_changes_more_than_the_one_before():
    ramp = np.linspace(0, 255, 32).astype(np.uint8)
    image = np.stack([np.tile(ramp, (32, 1)), np.tile(ramp[:, None], (1, 32)), np.full((32, 32), 90, np.uint8)], -1)

    def change(name: str) -> float:
        """From the mirrored image that is nearest."""
        ways = [out for a in (image, image[::-1]) for out in (a, a[:, ::-1])]
        drawn = [build_policy(name, 32)(image, 3, i).astype(int) for i in range(40)]
        return float(np.mean([min(np.abs(out - way).mean() for way in ways) for out in drawn]))

    none, flips, classic, strong = (change(name) for name in ("none", "flips", "classic", "strong"))
    assert none == flips == 0 < classic and strong > 2 * classic


def test_misspelled_argument_is_an_error(monkeypatch):
    def misspelled(img_resolution: int):
        import albumentations as A

        return [A.HorizontalFlip(probability=1.0)]

    monkeypatch.setitem(transforms.POLICIES, "misspelled", misspelled)
    with pytest.raises((UserWarning, TypeError)):
        build_policy("misspelled", 16)


def test_building_leaves_warnings_as_they_were():
    before = list(warnings.filters)
    build_policy("classic", 16)
    assert warnings.filters == before


def test_unknown_policy_is_named():
    with pytest.raises(InputError, match="classical"):
        build_policy("classical", 16)
    assert sorted(POLICIES) == ["classic", "flips", "none", "strong"]
