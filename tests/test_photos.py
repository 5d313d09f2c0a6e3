"""What a judge is shown: real photos at their own resolution, whatever the GAN's is."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pipeline import InputError
from pipeline.images.decode import fit_square
from pipeline.images.photos import as_seen, load_training_set, resized
from pipeline.images.store import Store, write_store

CLASSES = ["healthy", "rust"]


def store(files: list[str], labels: list[int], side: int, seed: int) -> Store:
    images = np.random.default_rng(seed).integers(0, 256, (len(files), side, side, 3), dtype=np.uint8)
    return Store(images, np.array(labels), files, CLASSES)


@pytest.fixture
def photos() -> Store:
    return store(["b.png", "a.png", "a.png"], [0, 0, 1], 24, 0)


@pytest.fixture
def augmented() -> Store:
    """Real ones in another order, one name in both classes, and a drawn one."""
    return store(["a.png", "b.png", "a.png", "rust_seed000000.png"], [0, 0, 1, 1], 8, 1)


def test_real_photos_are_seen_whole_and_drawn_images_resized(photos, augmented):
    seen = as_seen(augmented, photos, "photo")
    np.testing.assert_array_equal(seen.images[:3], photos.images[[1, 0, 2]])
    np.testing.assert_array_equal(seen.images[3], resized(augmented.images, 24)[3])
    assert seen.files == augmented.files and seen.images.shape == (4, 24, 24, 3)


def test_through_the_gans_resolution_nothing_of_a_photo_is_left_that_a_gan_cannot_draw(photos, augmented):
    seen = as_seen(augmented, photos, "gan")
    np.testing.assert_array_equal(seen.images, resized(augmented.images, 24))


def test_a_store_of_the_photos_size_is_left_as_it_is(photos):
    same = photos._replace(images=photos.images // 2, files=["x.png", "y.png", "z.png"])
    before = same.images.copy()
    assert as_seen(same, photos, "photo").images is not None
    np.testing.assert_array_equal(same.images, before)
    np.testing.assert_array_equal(as_seen(same, photos, "photo").images, before)
    np.testing.assert_array_equal(as_seen(photos._replace(images=before), photos, "photo").images, photos.images)


def test_enlarging_keeps_flat_colours():
    flat = np.full((2, 8, 8, 3), 77, np.uint8)
    assert (resized(flat, 20) == 77).all() and resized(flat, 20).shape == (2, 20, 20, 3)


def test_shrinking_is_that_of_the_split():
    large = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), dtype=np.uint8)
    expected = [fit_square(Image.fromarray(image), img_resolution=16, fit="crop") for image in large]
    np.testing.assert_array_equal(resized(large, 16), expected)


def test_a_training_set_is_read_as_its_arm_asks(photos, augmented, tmp_path):
    for name, of in (("photos", photos), ("augmented", augmented)):
        write_store(tmp_path / name, of.images, of.labels, of.files, of.classes)
    how = {"resolution": "photo", "background": "keep"}
    seen = load_training_set(tmp_path / "augmented", tmp_path / "photos", CLASSES, **how)
    np.testing.assert_array_equal(seen.images, as_seen(augmented, photos, "photo").images)
    masked = load_training_set(tmp_path / "augmented", tmp_path / "photos", CLASSES, **how | {"background": "mask"})
    assert (masked.images != seen.images).any()
    with pytest.raises(InputError, match="resolution: expected one of photo, gan, found 'small'"):
        load_training_set(tmp_path / "augmented", tmp_path / "photos", CLASSES, **how | {"resolution": "small"})
