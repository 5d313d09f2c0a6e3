"""The background-shortcut score: closed cases, a slow reference, groups, and the numbers known of two real sets."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.images.background import leaf_mask
from pipeline.images.capture_order import capture_numbers, numbers_restart
from pipeline.measure.shortcut import (
    background_features,
    background_score,
    border_color_score,
    border_colors,
    file_order_score,
    image_size_score,
    neighbour_score,
    shortcut_scores,
)

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


def test_chance_is_told_from_a_shortcut():
    """p is uniform where the class is dealt at random, and least where the points tell it."""
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, 60)
    ps = [neighbour_score(rng.normal(size=(60, 2)), labels, seed=s)["p"] for s in range(40)]
    assert 0.3 < np.mean(ps) < 0.7 and sum(p < 0.05 for p in ps) <= 6
    assert neighbour_score(labels[:, None] + rng.normal(0, 0.1, (60, 1)), labels, seed=0)["p"] == 0.001


def test_few_groups_are_little_evidence_however_many_photos():
    """Six leaves, twenty photos each: neighbours of other leaves agree as often as leaves do, not as photos do."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(6), 20)
    points = np.array([0.0, 1.0, 2.0, 10.0, 11.0, 12.0])[groups][:, None] + rng.normal(0, 0.01, (120, 1))
    labels = np.array([0, 0, 0, 1, 1, 1])[groups]
    together = neighbour_score(points, labels, seed=0)
    apart = neighbour_score(points, labels, groups=groups, seed=0)
    assert together["p"] == 0.001 and apart["accuracy"] == 1.0
    assert apart["p"] == pytest.approx(2 / 20, abs=0.04)  # 2 of the 20 ways to deal 3 + 3


def test_background_is_scored_without_the_leaf():
    """The leaf's colour names the class, the background's does not; then the other way round."""
    rng = np.random.default_rng(4)
    labels = np.repeat([0, 1], 40)
    masks = np.zeros((80, 24, 24), dtype=bool)
    masks[:, 6:18, 6:18] = True
    telling = np.array([[200, 40, 40], [40, 40, 200]])[labels]
    blind = np.full((80, 3), 120)

    def pictures(leaf: np.ndarray, sheet: np.ndarray) -> np.ndarray:
        noise = rng.normal(0, 6, (80, 1, 1, 3)) + rng.normal(0, 3, (80, 24, 24, 3))
        painted = np.where(masks[..., None], leaf[:, None, None], sheet[:, None, None]) + noise
        return np.clip(painted, 0, 255).astype(np.uint8)

    assert background_score(pictures(telling, blind), masks, labels, seed=0)["p"] > 0.02
    assert background_score(pictures(blind, telling), masks, labels, seed=0)["accuracy"] == 1.0
    grown = np.zeros_like(masks)
    grown[:, 4:20, 4:20] = True  # a mask that is 2 px too small is forgiven
    leaf_in = pictures(telling, blind)
    assert (background_features(leaf_in, masks) == background_features(leaf_in, masks & grown)).all()
    full = np.ones_like(masks)
    assert (background_features(leaf_in, full)[:, :9] == 128).all()


def test_sizes_and_orders_that_are_the_class_are_found():
    labels = np.repeat([0, 1], 30)
    sizes = np.array([[640, 480], [480, 640]])[labels]
    assert image_size_score(sizes, labels, seed=0)["accuracy"] == 1.0
    assert image_size_score(np.tile([[640, 480], [480, 640]], (30, 1)), labels, seed=0)["p"] > 0.01
    numbers = np.arange(60.0)
    session = file_order_score(["decimal"] * 60, numbers, labels, seed=0)
    assert session["accuracy"] > 0.95 and session["p"] == 0.001
    turns = file_order_score(["decimal"] * 60, np.random.default_rng(0).permutation(60) * 1.0, labels, seed=0)
    assert turns["p"] > 0.01


def test_numbers_of_two_kinds_are_no_neighbours():
    """Hexadecimal 5 is not near decimal 5: without that, each image's neighbour were of the other class."""
    labels = np.tile([0, 1], 20)
    numbers, kinds = np.repeat(np.arange(20.0), 2), ["hex", "decimal"] * 20
    assert file_order_score(kinds, numbers, labels, seed=0)["accuracy"] == 1.0
    some = numbers.copy()
    some[:10] = np.nan
    assert file_order_score(kinds, some, labels, seed=0)["num_images"] == 30


def test_what_cannot_tell_is_left_out():
    images = framed(np.random.default_rng(0).integers(0, 256, (12, 3)).astype(np.uint8))
    arguments = {"masks": np.zeros((12, 20, 20), dtype=bool), "groups": None, "seed": 0}
    labels = np.tile([0, 1], 6)
    scores = shortcut_scores(images, labels, sizes=[(9, 9)] * 12, order=None, **arguments)
    assert list(scores) == ["border_color", "background"]
    order = (["decimal"] * 12, np.arange(12.0))
    scores = shortcut_scores(images, labels, sizes=[(9, 9)] * 11 + [(9, 8)], order=order, **arguments)
    assert list(scores) == ["border_color", "background", "image_size", "file_order"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tea_sickness", "plantvillage_apple"])
def test_the_background_and_the_session_tell_more_than_the_border(name):
    images, labels, files = read_set(name)
    kinds, numbers = capture_numbers(files)
    assert not numbers_restart(labels, numbers)
    scores = shortcut_scores(
        images, labels, masks=leaf_mask(images), sizes=[(1, 1)] * len(images), order=(kinds, numbers), groups=None,
        seed=0,
    )  # fmt: skip
    accuracies = [scores[name]["accuracy"] for name in ("border_color", "background", "file_order")]
    assert accuracies == sorted(accuracies) and all(score["p"] == 0.001 for score in scores.values())


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
