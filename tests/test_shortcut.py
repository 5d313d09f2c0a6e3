"""The background-shortcut score: closed cases, a slow reference, groups, and the numbers known of two real sets."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.measure.shortcut import border_color_score, border_colors

DATA = Path(__file__).parents[1] / "../shared/data"


def framed(colors: np.ndarray, side: int = 20) -> np.ndarray:
    """Images with a plain border of the given colours, (N, 3), and noise inside."""
    images = np.random.default_rng(0).integers(0, 256, (len(colors), side, side, 3), dtype=np.uint8)
    images[:, :2] = images[:, -2:] = colors[:, None, None]
    images[:, :, :2] = images[:, :, -2:] = colors[:, None, None]
    return images


def test_border_color_ignores_the_inside_and_outliers():
    images = framed(np.array([[10, 20, 30]], dtype=np.uint8))
    images[0, 0, :10] = 255
    assert border_colors(images).tolist() == [[10.0, 20.0, 30.0]]


def test_a_background_a_class_is_found_and_a_shared_one_is_not():
    labels = np.repeat([0, 1, 2], [30, 20, 10])
    rng = np.random.default_rng(1)
    own = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200]])[labels] + rng.integers(-9, 9, (60, 3))
    score = border_color_score(framed(own.astype(np.uint8)), labels, seed=0)
    assert score == {
        "accuracy": 1.0,
        "balanced_accuracy": 1.0,
        "majority_share": 0.5,
        "chance_balanced_accuracy": pytest.approx(1 / 3),
        "p": 0.001,
        "num_images": 60.0,
    }
    shared = rng.integers(0, 256, (60, 3)).astype(np.uint8)
    assert border_color_score(framed(shared), labels, seed=0)["balanced_accuracy"] < 0.55


def test_ties_are_broken_by_chance_and_not_by_order():
    """All borders equal: any neighbour will do, so accuracy is near chance and not 1 or 0."""
    labels = np.repeat([0, 1], 500)
    score = border_color_score(np.zeros((1000, 8, 8, 3), dtype=np.uint8), labels, seed=3)
    assert 0.4 < score["accuracy"] < 0.6
    assert score == border_color_score(np.zeros((1000, 8, 8, 3), dtype=np.uint8), labels, seed=3)


def test_same_group_is_no_neighbour():
    """Pairs of one leaf share a colour found nowhere else in their class: without the pair, always wrong."""
    colors = np.array([[0, 0, 0], [0, 0, 1], [0, 0, 4], [0, 0, 5]], dtype=np.uint8)
    labels, groups = np.array([0, 0, 1, 1]), ["a", "a", "b", "b"]
    assert border_color_score(framed(colors), labels, seed=0)["accuracy"] == 1.0
    assert border_color_score(framed(colors), labels, groups=groups, seed=0)["accuracy"] == 0.0
    alone = border_color_score(framed(colors), labels, groups=["a"] * 4, seed=0)
    assert alone["accuracy"] == 0.0, "without a neighbour in another group, a miss"


def test_against_a_slow_reference_over_several_chunks():
    rng = np.random.default_rng(5)
    images = framed(rng.integers(0, 256, (700, 3)).astype(np.uint8), side=8)
    labels, groups = rng.integers(0, 4, 700), rng.integers(0, 300, 700)
    points, hits = border_colors(images), []
    for i in range(700):
        distances = [np.inf if groups[j] == groups[i] else ((points[i] - points[j]) ** 2).sum() for j in range(700)]
        best = min(distances)
        hits.append({labels[j] == labels[i] for j in range(700) if distances[j] == best})
    low, high = (np.mean([want(h) for h in hits]) for want in (all, any))
    assert low <= border_color_score(images, labels, groups=groups, seed=0)["accuracy"] <= high
    assert high - low < 0.01


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (np.zeros((2, 8, 8, 3), dtype=np.uint8), np.zeros(3, dtype=int)),
        (np.zeros((2, 8, 8, 3)), np.zeros(2, dtype=int)),
        (np.zeros((0, 8, 8, 3), dtype=np.uint8), np.zeros(0, dtype=int)),
    ],
)
def test_shapes_are_checked(images, labels):
    with pytest.raises(ValueError, match="must be"):
        border_color_score(images, labels, seed=0)


def read_set(name: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"{name} is not beside the repository")
    files = sorted(p for p in folder.glob("*/*") if p.is_file())
    classes = sorted({p.parent.name for p in files})
    images = np.stack([np.asarray(Image.open(p).convert("RGB")) for p in files])
    labels = np.array([classes.index(p.parent.name) for p in files])
    return images, labels, [p.relative_to(folder).as_posix() for p in files]


def test_tea_sickness_has_a_background_a_class():
    images, labels, _ = read_set("tea_sickness")
    score = border_color_score(images, labels, seed=0)
    assert score["accuracy"] == pytest.approx(0.57, abs=0.02)
    assert score["majority_share"] == pytest.approx(143 / 882)


def test_plantvillage_apple_with_and_without_the_same_leaf():
    images, labels, files = read_set("plantvillage_apple")
    with open(DATA / "plantvillage_apple/leaf_groups.csv", newline="", encoding="utf-8") as f:
        leaf = {row["file"]: row["leaf_id"] for row in csv.DictReader(f)}
    apart = border_color_score(images, labels, groups=[leaf[file] for file in files], seed=0)
    together = border_color_score(images, labels, seed=0)
    assert apart["accuracy"] == pytest.approx(0.69, abs=0.02)
    assert together["accuracy"] > apart["accuracy"]
