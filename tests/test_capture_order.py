"""What file names tell: running numbers, patterns of leaves, and photos of one leaf in a row."""

from __future__ import annotations

import re

import numpy as np
import pytest

from pipeline.images.capture_order import (
    NAME_PATTERNS,
    capture_numbers,
    group_hints,
    name_pattern,
    numbers_restart,
    turn_tolerant_features,
)


def one_class(n: int) -> np.ndarray:
    return np.zeros(n, dtype=int)


def test_numbers_of_cameras_and_phones():
    uuid = "8a8f8dd2-a938-4288-a8ec-56ef0aaa2d4f"
    names = ["a/IMG_20220503_142632.jpg", "IMG_20220503_142732.jpg", f"{uuid}___FREC_Scab 2947.jpg"]
    names += ["DSC0012 (edited).jpg", f"{uuid}.jpg", "leaf.png"]
    kinds, numbers = capture_numbers(names)
    assert kinds == ["time", "time", "decimal", "decimal", "", ""]
    assert numbers[1] - numbers[0] == 60 and numbers[2:4].tolist() == [2947, 12] and np.isnan(numbers[4:]).all()
    assert capture_numbers(["IMG_20229903_142632.jpg"])[0] == ["decimal"]  # no such month


def test_hexadecimal_counters_are_known_by_their_company():
    names = [f"thumb_{i:x}.jpg" for i in range(1, 40)]
    kinds, numbers = capture_numbers(names)
    assert set(kinds) == {"hex"} and numbers.tolist() == list(range(1, 40))
    assert set(capture_numbers([f"thumb_{i}.jpg" for i in range(1, 40)])[0]) == {"decimal"}


def test_lists_that_start_anew_in_each_class_are_no_order_of_capture():
    labels = np.repeat([0, 1], 20)
    assert numbers_restart(labels, np.tile(np.arange(20.0), 2))
    assert not numbers_restart(labels, np.arange(1.0, 41.0))
    assert not numbers_restart(labels, np.full(40, np.nan))


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("a number in brackets behind the leaf's name", [f"leaf{i} ({k}).jpg" for i in range(20) for k in (1, 2, 3)]),
        ("a number behind the leaf's name", [f"IMG_{i:04d}_{k}.jpg" for i in range(20) for k in range(3)]),
        ("a number behind the leaf's name", [f"IMG_{i:04d}{k}.jpg" for i in range(20) for k in ("", "-1")]),
        ("a letter behind the leaf's number", [f"tree3-{i}{k}.jpg" for i in range(20) for k in "abc"]),
        ("a folder for each leaf", [f"leaf {i}/{k}.jpg" for i in range(20) for k in range(3)]),
    ],
)
def test_leaves_in_names_are_found_and_the_pattern_groups_them(what, names):
    found = name_pattern(names, one_class(len(names)))
    assert found["what"] == what and found["groups"] == 20 and found["images"] == len(names)
    pattern = re.compile(found["pattern"])
    stems = {pattern.search(n if "/" in found["pattern"] else n.rpartition("/")[2]).group(1) for n in names}
    assert len(stems) == 20 and all(p in NAME_PATTERNS.values() for p in [found["pattern"]])


@pytest.mark.parametrize(
    "names",
    [
        [f"healthy_{i:03d}.png" for i in range(100)],
        [f"healthy ({i}).jpg" for i in range(1, 100)],
        [f"healthy_{i}.jpg" for i in range(1, 100)],
        [f"IMG_20220503_14{i // 60:02d}{i % 60:02d}.jpg" for i in range(100)],
        [f"thumb_{i:x}.jpg" for i in range(1, 200)],
        [f"scan_2022-{m:02d}-{d:02d}.jpg" for m in range(1, 9) for d in range(11, 28)],
        [f"IMG_{i:04d}.jpg" for i in range(100)] + ["IMG_0003_1.jpg", "IMG_0007_1.jpg"],
        [f"plot{k}_{i}.jpg" for k in "abcd" for i in range(1, 11)],
        [f"plot{k}_{i}.jpg" for k in "abcdefgh" for i in range(1, 41)],
    ],
    ids=["list", "brackets", "short", "time", "hex", "dates", "two copies", "four plots", "large plots"],
)
def test_mere_numbering_is_no_pattern_of_leaves(names):
    assert name_pattern(names, one_class(len(names))) is None


def test_stems_that_span_classes_are_not_leaves():
    names = [f"img{i}_{k}.jpg" for k in (1, 2) for i in range(30)]
    assert name_pattern(names, one_class(60)) is not None
    assert name_pattern(names, np.repeat([0, 1], 30)) is None


def thumbnails(looks: np.ndarray, seed: int = 0, noise: float = 8.0) -> np.ndarray:
    """Plain discs of given looks (N, 3) on grey, with noise in colour from photo to photo."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :32] - 15.5
    disc = (np.hypot(x, y) < 11)[None, ..., None]
    colours = looks + rng.normal(0, noise, looks.shape)
    pictures = np.where(disc, colours[:, None, None], 128) + rng.normal(0, 4, (len(looks), 32, 32, 3))
    return np.clip(pictures, 0, 255).astype(np.uint8)


def hints(pictures: np.ndarray, order: np.ndarray | None = None, groups: np.ndarray | None = None) -> dict:
    n = len(pictures)
    numbers = np.arange(n) if order is None else order
    names = [f"IMG_{1000 + i}.jpg" for i in numbers]
    return group_hints(names, one_class(n), ["rust"], pictures, groups=groups, seed=1)


def test_several_photos_of_each_leaf_in_a_row_are_noticed():
    looks = np.random.default_rng(1).uniform(40, 200, (40, 3)).repeat(3, axis=0)
    found = hints(thumbnails(looks))
    assert found["capture_order"]["rust"]["alike"] and found["capture_order"]["rust"]["p"] == 1 / 2000
    assert "`rust`" in found["sentences"][0] and "split.groups_csv" in found["sentences"][0]
    # the same photos, numbered in another order: nothing to see
    shuffled = hints(thumbnails(looks), np.random.default_rng(2).permutation(120))
    assert not shuffled["capture_order"]["rust"]["alike"] and shuffled["sentences"] == []
    # and where groups are given, nothing is asked for
    assert hints(thumbnails(looks), groups=np.arange(120))["sentences"] == []


def test_a_slow_drift_of_light_is_no_leaf_twice():
    light = np.linspace(60, 180, 150)[:, None] * np.ones(3)
    looks = light + np.random.default_rng(3).normal(0, 15, (150, 3))
    assert not hints(thumbnails(looks))["capture_order"]["rust"]["alike"]


def test_chance_is_seldom_taken_for_leaves():
    alarms = [
        hints(thumbnails(np.random.default_rng(s).uniform(60, 180, (40, 3)), s))["capture_order"]["rust"]["alike"]
        for s in range(20)
    ]
    assert sum(alarms) <= 3  # 1 in 20 is expected


def test_features_do_not_change_when_a_picture_is_turned_or_mirrored():
    pictures = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    turned = pictures.copy()
    turned[3] = np.rot90(pictures[3])
    turned[4] = pictures[4][:, ::-1]
    assert np.allclose(turn_tolerant_features(pictures), turn_tolerant_features(turned))
    turned[5] = np.roll(pictures[5], 8, axis=0)
    assert not np.allclose(turn_tolerant_features(pictures), turn_tolerant_features(turned))
