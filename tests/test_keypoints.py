"""Photos of one leaf by keypoints: planted copies are found, other leaves and a shared bench are not."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from pipeline.images import keypoints as kp
from pipeline.images.groups import fingerprint, near_duplicates, with_keypoints
from pipeline.images.listing import list_class
from pipeline.images.sample import render_leaf

CLASSES = ("healthy", "rust", "scab", "blight")


def leaf(k: int, side: int = 128) -> Image.Image:
    return Image.fromarray(render_leaf(CLASSES[k % 4], k, img_resolution=side, seed=3))


@pytest.fixture(scope="module")
def leaves() -> list[Image.Image]:
    return [leaf(k) for k in range(24)]


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "turned by a quarter": lambda im: im.transpose(Image.Transpose.ROTATE_90),
    "turned by 25 degrees": lambda im: im.rotate(25, Image.Resampling.BILINEAR),
    "mirrored": ImageOps.mirror,
    "mirrored, turned and brighter": lambda im: ImageEnhance.Brightness(ImageOps.flip(im).rotate(-15)).enhance(1.2),
    "cropped": lambda im: im.crop((12, 4, 116, 108)),
    "darker": lambda im: ImageEnhance.Brightness(im).enhance(0.7),
    "smaller": lambda im: im.resize((96, 96)),
}


def found(pictures: list[Image.Image]) -> dict[tuple[int, int], kp.Match]:
    return {(m.a, m.b): m for m in kp.matches([kp.find_keypoints(p) for p in pictures])}


@pytest.mark.parametrize("kind", COPIES)
def test_copies_are_found_and_nothing_else(leaves, kind):
    chosen = range(0, 24, 4)
    pairs = found([*leaves, *(COPIES[kind](leaves[k]) for k in chosen)])
    assert set(pairs) == {(k, 24 + i) for i, k in enumerate(chosen)}
    assert all(pair.mirrored == ("mirrored" in kind) for pair in pairs.values())


def test_a_mirrored_pictures_descriptors_are_the_pictures_in_another_order(leaves):
    """Against detection in the mirror image itself."""
    plain, mirror = kp.find_keypoints(leaves[2]), kp.find_keypoints(ImageOps.mirror(leaves[2]))
    places = plain.places * [-1, 1] + [127, 0]
    apart = np.linalg.norm(places[:, None] - mirror.places[None], axis=2)
    a, b = np.nonzero(apart < 0.5)
    x, y = plain.descriptors[a][:, kp._MIRRORED].astype(float), mirror.descriptors[b].astype(float)
    cosines = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    unmirrored = plain.descriptors[a].astype(float)
    others = (unmirrored * y).sum(1) / np.linalg.norm(unmirrored, axis=1) / np.linalg.norm(y, axis=1)
    assert len(a) >= 15 and np.median(cosines) > 0.95 > np.median(others)


def test_leaves_on_one_bench_are_not_one_leaf():
    """The grain of the bench agrees point by point; the leaves on it do not."""
    rng = np.random.default_rng(0)
    cells = Image.fromarray(rng.integers(60, 200, (32, 32, 3), dtype=np.uint8))
    bench = np.asarray(cells.resize((128, 128), Image.Resampling.BICUBIC)).astype(float)
    y, x = np.mgrid[:128, :128]
    pictures = []
    for k in range(20):
        turn = rng.uniform(0, np.pi)
        u, v = np.cos(turn) * (x - 64) + np.sin(turn) * (y - 64), np.cos(turn) * (y - 64) - np.sin(turn) * (x - 64)
        inside = ((u / 55) ** 2 + (v / rng.uniform(25, 35)) ** 2 < 1)[..., None]
        blade = np.asarray(leaf(k).resize((256, 256)).crop((64, 64, 192, 192)))
        noisy = np.where(inside, blade, bench) + rng.normal(0, 3, (128, 128, 3))
        pictures.append(Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)))
    prints = [kp.find_keypoints(p) for p in pictures]
    assert len(kp.matches(prints)) <= 2
    # and without a look at what lies between the points they would be
    limit, kp.MAX_RESIDUE = kp.MAX_RESIDUE, np.inf
    try:
        assert len(kp.matches(prints)) > 20
    finally:
        kp.MAX_RESIDUE = limit


def test_same_pairs_whatever_the_order_and_the_block(leaves, monkeypatch):
    prints = [kp.find_keypoints(p) for p in [*leaves[:10], *(p.rotate(20) for p in leaves[:5])]]
    first = kp.matches(prints)
    assert first == kp.matches(prints) and len(first) == 5
    monkeypatch.setattr(kp, "_BLOCK", 3)
    assert first == kp.matches(prints)
    order = np.random.default_rng(0).permutation(len(prints))
    place = {int(k): i for i, k in enumerate(order)}
    turned = kp.matches([prints[k] for k in order])
    assert {frozenset((int(order[m.a]), int(order[m.b]))) for m in turned} == {frozenset((m.a, m.b)) for m in first}
    assert len(place) == len(prints)


def test_pictures_without_points():
    blank = [kp.find_keypoints(Image.new("RGB", size, "white")) for size in [(8, 8), (64, 64), (300, 20)]]
    assert [len(p.places) for p in blank] == [0, 0, 0]
    assert kp.matches(blank) == [] and kp.matches([]) == [] and kp.propose(blank[:1]) == []


def read_set(root: Path, name: str) -> tuple[list[Image.Image], list[str]]:
    folder = root / "../shared/data" / name
    if not folder.is_dir():
        pytest.skip(f"../shared/data/{name} is absent")
    sources = [s for p in sorted(folder.iterdir()) if p.is_dir() for s in list_class(folder, p, 0)[0]]
    return [Image.open(s.path).convert("RGB") for s in sources], [s.file for s in sources]


@pytest.mark.slow
def test_apple_leaves_are_not_merged_and_every_planted_copy_is_found(root: Path) -> None:
    pictures, files = read_set(root, "plantvillage_apple")
    with open(root / "../shared/data/plantvillage_apple/leaf_groups.csv", newline="", encoding="utf-8") as f:
        leaf_of = {row["file"]: row["leaf_id"] for row in csv.DictReader(f)}
    n = len(pictures)
    chosen = np.random.default_rng(0).choice(n, 5 * len(COPIES), replace=False).reshape(len(COPIES), 5)
    copies = {
        (int(k), n + 5 * row + i): name
        for row, (name, own) in enumerate(zip(COPIES, chosen, strict=True))
        for i, k in enumerate(own)
    }
    prints = [fingerprint(p) for p in pictures]
    prints += [fingerprint(COPIES[name](pictures[k].resize((128, 128)))) for (k, _), name in copies.items()]
    hashes, thumbnails = np.array([p.dhashes for p in prints], np.uint64), np.stack([p.thumbnail for p in prints])
    pairs = with_keypoints(
        near_duplicates(hashes, thumbnails, 10), kp.matches([p.keypoints for p in prints]), hashes, thumbnails
    )
    pairs = {(p.a, p.b) for p in pairs}
    assert len(set(copies) - pairs) <= 1
    among = [(a, b) for a, b in pairs if b < n]
    other_leaf = [(files[a], files[b]) for a, b in among if leaf_of[files[a]] != leaf_of[files[b]]]
    # the three that the csv separates show one leaf, as anyone can see: all hold the same photo
    assert len(among) >= 90 and all(any("JR_FrgE.S 2920" in file for file in pair) for pair in other_leaf)


@pytest.mark.slow
def test_tea_leaves_photographed_again_are_found_and_classes_stay_apart(root: Path) -> None:
    pictures, files = read_set(root, "tea_sickness")
    classes = [file.partition("/")[0] for file in files]
    pairs = kp.matches([kp.find_keypoints(p) for p in pictures])
    assert 150 <= len(pairs) <= 260
    assert all(classes[m.a] == classes[m.b] for m in pairs)
