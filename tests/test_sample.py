"""The rendered sample: same bytes, addressed images, imbalanced folders, lesions that grow, no background shortcut."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import InputError
from pipeline.images.groups import fingerprint, near_duplicates
from pipeline.images.sample import CLASSES, render_leaf, render_sample
from pipeline.measure.shortcut import border_color_score

COUNTS = {"healthy": 4, "rust": 3, "scab": 2, "blight": 1}


def digests(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_files_are_named_counted_and_sized(tmp_path):
    render_sample(tmp_path, img_resolution=48, class_counts=COUNTS, seed=1)
    names = [f"{name}/{name}_{k:03d}.png" for name, count in COUNTS.items() for k in range(count)]
    assert sorted(digests(tmp_path)) == sorted(names)
    for name in names:
        with Image.open(tmp_path / name) as image:
            assert image.size == (48, 48) and image.mode == "RGB"


def test_same_arguments_same_bytes_and_other_seed_other_bytes(tmp_path):
    for folder, seed in [("a", 1), ("b", 1), ("c", 2)]:
        render_sample(tmp_path / folder, img_resolution=32, class_counts=COUNTS, seed=seed)
    a, b, c = (digests(tmp_path / folder) for folder in "abc")
    assert a == b
    assert not set(a.values()) & set(c.values())
    assert len(set(a.values())) == len(a), "two leaves are the same picture"


def test_an_image_depends_on_seed_class_and_index_alone(tmp_path):
    render_sample(tmp_path / "all", img_resolution=32, class_counts=COUNTS, seed=1)
    render_sample(tmp_path / "one", img_resolution=32, class_counts={"scab": 2}, seed=1)
    name = "scab/scab_001.png"
    assert (tmp_path / "all" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    with Image.open(tmp_path / "all" / name) as image:
        assert np.array_equal(np.asarray(image), render_leaf("scab", 1, img_resolution=32, seed=1))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"class_counts": {"mildew": 3}}, "mildew"),
        ({"class_counts": {"rust": 0}}, "class_counts.rust"),
        ({"img_resolution": 4}, "img_resolution"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(tmp_path, changes, words):
    arguments = {"img_resolution": 32, "class_counts": COUNTS, "seed": 1} | changes
    with pytest.raises(InputError, match=words):
        render_sample(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def many() -> tuple[np.ndarray, np.ndarray]:
    """80 leaves a class at 32 px."""
    images = [render_leaf(name, k, img_resolution=32, seed=7) for name in CLASSES for k in range(80)]
    return np.stack(images), np.repeat(np.arange(len(CLASSES)), 80)


def test_the_background_tells_nothing_of_the_class(many):
    score = border_color_score(*many, seed=0)
    # 320 fair guesses at 1/4 have a standard deviation of 0.024
    assert score["balanced_accuracy"] < 0.25 + 3 * 0.024


def test_diseased_leaves_lose_green_and_in_different_ways(many):
    images, labels = many
    centre = images[:, 6:26, 9:23].astype(float).reshape(len(images), -1, 3)
    redness = (centre[..., 0] - centre[..., 1]).clip(0).mean(axis=1)  # red over green: pustules, tan tissue
    darkness = (centre.max(axis=2) < 70).mean(axis=1)  # black blotches
    by_class = {name: labels == k for k, name in enumerate(CLASSES)}
    assert redness[by_class["rust"]].mean() > 1.5 * redness[by_class["healthy"]].mean()
    assert redness[by_class["blight"]].mean() > 1.5 * redness[by_class["healthy"]].mean()
    assert darkness[by_class["scab"]].mean() > 1.3 * darkness[by_class["rust"]].mean()


def test_no_two_leaves_are_taken_for_near_duplicates():
    """A hundred healthy ones, which have the least to tell them apart."""
    prints = [fingerprint(Image.fromarray(render_leaf("healthy", k, img_resolution=64, seed=42))) for k in range(100)]
    hashes = np.array([p.dhashes for p in prints], np.uint64)
    assert near_duplicates(hashes, np.stack([p.thumbnail for p in prints]), 10) == []
