"""Copies of train: planted ones are found, held-out, blurred, mixed and typical images are not, chance is kept."""

from __future__ import annotations

import itertools
from math import comb
from pathlib import Path

import numpy as np
import pytest
from planted import blurred, leaves, mixed, replayed
from scipy.stats import betabinom, mannwhitneyu

from pipeline.images.sample import CLASSES
from pipeline.measure import memorisation
from pipeline.measure.memorisation import (
    Nearest,
    Space,
    feature_space,
    measured_rows,
    memorisation_report,
    nearest,
    pixel_space,
    suspicious,
)
from pipeline.measure.thumbnails import pixel_distances, thumbnails

TRAIN, VAL = leaves({"healthy": 48, "rust": 24, "scab": 16, "blight": 8}, 1), leaves(dict.fromkeys(CLASSES, 10), 2)
NOVEL = leaves(dict.fromkeys(CLASSES, 30), 3)


def project(images: np.ndarray) -> np.ndarray:
    """Features that nothing was fitted to: 24 random directions of the pixels."""
    directions = np.random.default_rng(0).normal(size=(images[0].size, 24))
    return (images.reshape(len(images), -1) / 255) @ directions


def report(images: np.ndarray, labels: np.ndarray, **changes):
    train, val = TRAIN[0], VAL[0]
    groups = changes.pop("groups_train", np.arange(len(train)))
    spaces = {
        "pixel": pixel_space(thumbnails(train), thumbnails(val), thumbnails(images), groups),
        "random": feature_space(project(train), project(val), project(images), groups),
    }
    found = memorisation_report(
        spaces, labels_train=TRAIN[1], labels_val=VAL[1], labels_synthetic=labels, groups_train=groups,
        groups_val=np.arange(len(val)), classes=list(CLASSES), **changes,
    )  # fmt: skip
    return found, spaces


# ------------------------------------------------------------------------------------------- planted sets


def test_a_generator_that_replays_train_is_flagged():
    rows = np.random.default_rng(0).choice(len(TRAIN[0]), 60)
    found, spaces = report(replayed(TRAIN[0][rows], 1), TRAIN[1][rows])
    assert found.metrics["memorisation/flagged"] == 1 and found.metrics["memorisation/p_value"] < 1e-10
    assert found.metrics["memorisation/share_pixel"] > 0.9 > 0.2 > found.metrics["memorisation/share_val_pixel"]
    # A group of train counts half, and no train image calibrates the features
    assert found.metrics["memorisation/held_out_pixel"] == len(VAL[0]) + len(TRAIN[0]) / 2
    assert found.metrics["memorisation/held_out_random"] == len(VAL[0])
    # Turned, mirrored and shifted, and still traced to the very image
    assert (spaces["pixel"].synthetic.index == rows).mean() > 0.95
    assert found.copies.mean() > 0.8
    assert all(row["train"] == rows[row["synthetic"]] for row in suspicious(found, spaces))


def test_some_copies_among_new_leaves_are_flagged_and_named():
    rows = np.random.default_rng(1).choice(len(TRAIN[0]), 20, replace=False)
    images = np.concatenate([replayed(TRAIN[0][rows], 2), NOVEL[0][20:]])
    found, spaces = report(images, np.concatenate([TRAIN[1][rows], NOVEL[1][20:]]))
    assert found.metrics["memorisation/flagged"] == 1
    assert found.copies[:20].sum() >= 18 and found.copies[20:].sum() <= 1
    assert found.metrics["memorisation/copies"] == found.copies.sum()
    top = suspicious(found, spaces, most=10)
    assert len(top) == 10 and all(row["synthetic"] < 20 and row["copy"] == 1 for row in top)
    assert [row["p_value"] for row in top] == sorted(row["p_value"] for row in top)


def test_one_copy_is_named_though_one_can_not_flag_a_set():
    images = NOVEL[0].copy()
    images[5] = replayed(TRAIN[0][7:8], 3, noise=4)[0]
    found, spaces = report(images, NOVEL[1])
    assert np.flatnonzero(found.copies).tolist() == [5] and found.metrics["memorisation/flagged"] == 0
    assert suspicious(found, spaces)[0] | {"synthetic": 5, "train": 7} == suspicious(found, spaces)[0]


def test_one_class_that_is_copied_among_others_is_flagged():
    rust = np.random.default_rng(2).choice(np.flatnonzero(TRAIN[1] == 1), 20, replace=False)
    images = NOVEL[0].copy()
    images[np.flatnonzero(NOVEL[1] == 1)[:20]] = replayed(TRAIN[0][rust], 5)
    found, _ = report(images, NOVEL[1])
    flags = {key for key, value in found.metrics.items() if "flagged" in key and value}
    assert flags == {"memorisation/flagged", "memorisation/flagged/rust"}
    assert found.metrics["memorisation/p_value"] <= 8 * found.metrics["memorisation/p_value/rust"] + 1e-12


TYPICAL = np.stack([TRAIN[0][TRAIN[1] == k].mean(axis=0) for k in range(4)])[NOVEL[1]]
INNOCENT = {
    "new leaves": NOVEL[0],
    "blurred new leaves": blurred(NOVEL[0], 3),
    "very blurred": blurred(NOVEL[0], 12),
    "mixes of new leaves": mixed(NOVEL[0], NOVEL[1], 0),
    "halfway to the class mean": (0.5 * NOVEL[0] + 0.5 * TYPICAL).astype(np.uint8),
    "the class mean and noise": np.clip(TYPICAL + np.random.default_rng(0).normal(0, 8, TYPICAL.shape), 0, 255).astype(
        np.uint8
    ),
    "little more than the class mean": (0.25 * NOVEL[0] + 0.75 * TYPICAL).astype(np.uint8),
}


@pytest.mark.parametrize("name", INNOCENT)
def test_smooth_or_typical_images_are_no_copies(name):
    found, _ = report(INNOCENT[name], NOVEL[1])
    assert found.metrics["memorisation/flagged"] == 0 and found.metrics["memorisation/copies"] == 0, found.metrics


def test_the_distance_alone_would_be_fooled():
    """Why the score decides: typical images lie nearer to train than held-out ones, as far as copies would."""
    found, spaces = report(INNOCENT["halfway to the class mean"], NOVEL[1])
    assert found.metrics["memorisation/distance_pixel"] < 0.9
    by_rank = mannwhitneyu(spaces["pixel"].synthetic.distance, spaces["pixel"].val.distance, alternative="less")
    assert by_rank.pvalue < 1e-4 and found.metrics["memorisation/flagged"] == 0


def test_two_photos_of_one_leaf_do_not_hide_a_copy():
    """A leaf with two photos in train: the second is passed over only where a group says so."""
    twice = np.concatenate([TRAIN[0][:8], TRAIN[0][:8]])
    distances = pixel_distances(thumbnails(replayed(TRAIN[0][:8], 4)), thumbnails(np.concatenate([twice, TRAIN[0]])))
    groups = np.r_[:8, :8, : len(TRAIN[0])]
    assert nearest(distances, groups).score.max() < 0.6
    assert nearest(distances, np.arange(len(groups))).score.min() > nearest(distances, groups).score.max() / 2


# ------------------------------------------------------------------------------------------- calibration


def splits(images: np.ndarray, groups: np.ndarray, share: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Rows of train, val and "synthetic" ones, groups whole, the last with one image a group."""
    ids = rng.permutation(np.unique(groups))
    ends = [int(share * len(ids)), int((share + 0.15) * len(ids))]
    train, val, rest = (np.flatnonzero(np.isin(groups, part)) for part in np.split(ids, ends))
    return [train, val, rest[np.unique(groups[rest], return_index=True)[1]]]


def false_alarms(images, labels, groups, classes, *, seeds: int, share: float = 0.5) -> dict[str, float]:
    small = thumbnails(images)
    distances, features = pixel_distances(small, small), project(images)
    alarms = {"pixel": 0.0, "random": 0.0, "both": 0.0}
    for seed in range(seeds):
        train, val, rest = splits(images, groups, share, np.random.default_rng(seed))
        of = {
            "pixel": Space(
                nearest(distances[np.ix_(rest, train)], groups[train]),
                nearest(distances[np.ix_(val, train)], groups[train]),
                nearest(distances[np.ix_(train, train)], groups[train], own=groups[train]),
                np.arange(len(train)),
            ),
            "random": feature_space(features[train], features[val], features[rest], groups[train]),
        }
        for name, spaces in {"pixel": {"pixel": of["pixel"]}, "random": {"random": of["random"]}, "both": of}.items():
            found = memorisation_report(
                spaces, labels_train=labels[train], labels_val=labels[val], labels_synthetic=labels[rest],
                groups_train=groups[train], groups_val=groups[val], classes=classes,
            )  # fmt: skip
            alarms[name] += found.metrics["memorisation/flagged"] / seeds
    return alarms


def test_held_out_leaves_passed_as_synthetic_are_not_flagged():
    """Over 200 splits of one set; 0.05 may be exceeded by chance, at most by three standard errors."""
    images, labels = leaves({"healthy": 96, "rust": 48, "scab": 32, "blight": 16}, 5)
    alarms = false_alarms(images, labels, np.arange(len(images)), list(CLASSES), seeds=200)
    assert max(alarms.values()) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200), alarms


def test_photos_of_one_leaf_are_not_counted_as_independent():
    """Three photos a leaf: as wrong as the test would be if they were, it stays quiet when groups are told."""
    images, labels = leaves({"healthy": 60, "rust": 30}, 6)
    groups = np.repeat(np.arange(len(images)), 3)
    images = replayed(images[groups], 7, noise=4)
    alarms = false_alarms(images, labels[groups], groups, ["healthy", "rust"], seeds=100)
    assert max(alarms.values()) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 100), alarms


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tea_sickness", "plantvillage_apple"])
def test_real_leaves_passed_as_synthetic_are_not_flagged(name, tmp_path, root):
    raw = root.parent / "shared/data" / name
    if not raw.is_dir():
        pytest.skip(f"{raw} is not at hand")
    from pipeline.images.manifest import groups_of
    from pipeline.images.split import split_images
    from pipeline.images.store import load_store

    classes = sorted(p.name for p in raw.iterdir() if p.is_dir())
    split_images(
        raw, tmp_path / "split", tmp_path / "arrays", classes=classes, img_resolution=32,
        photo_resolution=32, fit="crop", test_share=0.2,
        val_share=0.2, seed=0, groups_csv="leaf_groups.csv" if (raw / "leaf_groups.csv").exists() else None,
        group_pattern=None, near_duplicate_distance=10, max_pixels=10**8, min_images_per_class=5,
    )  # fmt: skip
    stores = {side: load_store(tmp_path / "arrays" / side, classes) for side in ("train", "val", "test")}
    groups = np.concatenate([groups_of(of, tmp_path / "split/manifest.csv", side) for side, of in stores.items()])
    images = np.concatenate([of.images for of in stores.values()])
    labels = np.concatenate([of.labels for of in stores.values()])
    ids = np.unique(groups, return_inverse=True)[1]
    some = ids % 2 == 0  # half of the groups, for the time it takes
    alarms = false_alarms(images[some], labels[some], ids[some], classes, seeds=100)
    assert max(alarms.values()) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 100), alarms
    rows = np.random.default_rng(0).choice(len(stores["train"].images), 100)
    replay = replayed(stores["train"].images[rows], 1)
    groups_train = groups[: len(stores["train"].images)]
    small = [thumbnails(x) for x in (stores["train"].images, stores["val"].images, replay)]
    found = memorisation_report(
        {"pixel": pixel_space(*small, groups_train)}, labels_train=stores["train"].labels,
        labels_val=stores["val"].labels, labels_synthetic=stores["train"].labels[rows], groups_train=groups_train,
        groups_val=np.arange(len(stores["val"].images)), classes=classes,
    )  # fmt: skip
    assert found.metrics["memorisation/flagged"] == 1


def test_p_values_of_counts_are_beta_binomial():
    assert memorisation._count_distribution(40, 3, 59.0) == pytest.approx(betabinom(40, 3, 57).pmf(np.arange(41)))
    # By hand: that all of 2 new images are below the least of 3 held-out ones, of 5 in random order
    assert memorisation._count_distribution(2, 1, 3.0)[2] == pytest.approx(1 / comb(5, 2))


def test_p_values_by_counting():
    """One image a group: the share of held-out scores at or below, the image itself among them."""
    rng = np.random.default_rng(0)
    held, scores = rng.uniform(0.5, 1, 39), rng.uniform(0.48, 0.7, 20)
    zeros = np.zeros(39, dtype=np.int64)
    space = Space(Nearest(np.arange(20), scores, scores), Nearest(zeros, held, held))
    found = memorisation_report(
        {"x": space}, labels_train=zeros[:1], labels_val=zeros, labels_synthetic=np.zeros(20, np.int64),
        groups_train=zeros[:1], groups_val=np.arange(39), classes=["a"],
    )  # fmt: skip
    expected = [(1 + (held <= s).sum()) / 40 for s in scores]
    low = scores[scores < held.min()]
    counted = scores >= held.min()
    assert found.p_values[counted] == pytest.approx(np.array(expected)[counted])
    assert (found.p_values[~counted] <= 1 / 40).all() and len(low) == (~counted).sum()
    assert found.metrics["memorisation/share_x"] == (scores < np.sort(held)[1]).mean()
    assert found.metrics["memorisation/share_expected_x"] == 2 / 40
    many = betabinom(20, 2, 38).sf((scores < np.sort(held)[1]).sum() - 1)
    clear = betabinom(20, 1, 39).sf((scores < held.min()).sum() - 1)
    assert found.metrics["memorisation/p_value"] == pytest.approx(2 * min(many, clear))
    assert found.metrics["memorisation/p_value"] < 0.5
    # Of val the two images with fewer than two of the others below them
    assert found.metrics["memorisation/share_val_x"] == pytest.approx(2 / 39)


def test_a_group_counts_once_however_many_photos_it_has():
    """30 leaves, the one with the lowest score in 50 photos: as if it were in one."""
    held = np.concatenate([np.full(49, 0.5), np.linspace(0.5, 0.9, 30)])
    groups = np.concatenate([np.zeros(49, np.int64), np.arange(30)])
    scores, zeros = np.array([0.45, 0.502, 0.7]), np.zeros(79, np.int64)
    found = []
    for rows in (slice(None), slice(49, None)):
        space = Space(Nearest(zeros[:3], scores, scores), Nearest(zeros[rows], held[rows], held[rows]))
        found.append(
            memorisation_report(
                {"x": space}, labels_train=zeros[:1], labels_val=zeros[rows], labels_synthetic=zeros[:3],
                groups_train=zeros[:1], groups_val=groups[rows], classes=["a"],
            )
        )  # fmt: skip
    many, one = found
    assert many.p_values == pytest.approx(one.p_values)
    assert many.metrics["memorisation/held_out_x"] == one.metrics["memorisation/held_out_x"] == 30
    assert many.metrics["memorisation/p_value"] == pytest.approx(one.metrics["memorisation/p_value"])


# ------------------------------------------------------------------------------------------- parts


def test_scores_by_plain_loops():
    rng = np.random.default_rng(1)
    distances, groups, own = rng.uniform(size=(12, 30)), rng.integers(0, 9, 30), rng.integers(0, 9, 12)
    for passed_over in (None, own):
        found = nearest(distances, groups, own=passed_over)
        for q in range(12):
            rows = [r for r in range(30) if passed_over is None or groups[r] != own[q]]
            best = min(rows, key=lambda r: distances[q, r])
            by_group = sorted(min(distances[q, r] for r in rows if groups[r] == g) for g in {groups[r] for r in rows})
            assert found.index[q] == best and found.distance[q] == distances[q, best]
            assert found.score[q] == pytest.approx(by_group[0] / np.mean(by_group[1:6]))


def test_an_exact_copy_scores_0_and_equal_distances_1():
    assert nearest(np.array([[0.0, 0.0, 1.0], [2.0, 2.0, 2.0]]), np.arange(3)).score.tolist() == [0.0, 1.0]
    assert nearest(np.zeros((1, 3)), np.arange(3)).score.tolist() == [0.0]
    with pytest.raises(ValueError, match="2 groups"):
        nearest(np.ones((1, 2)), np.zeros(2))


def test_scale_and_offset_of_features_change_nothing():
    rng = np.random.default_rng(2)
    sets = [rng.normal(size=(n, 6)) for n in (30, 10, 12)]
    one = feature_space(*sets, np.arange(30))
    two = feature_space(*(1e3 * x + 5e4 for x in sets), np.arange(30))
    assert one.synthetic.score == pytest.approx(two.synthetic.score, rel=1e-6)
    assert one.train is None, "an extractor may be fitted to train, whose features then calibrate nothing"


def test_small_classes_share_their_held_out_images():
    labels = np.repeat([0, 1, 2, 3], [50, 5, 30, 9])
    held = memorisation._Held(np.ones(94), labels, np.arange(94).astype(str), np.ones(94))
    assert memorisation._strata(held, 4).tolist() == [0, 1, 1, 1]
    held = held._replace(weights=np.full(94, 0.5))  # 25, 2.5, 15 and 4.5 units
    assert memorisation._strata(held, 4).tolist() == [0, 1, 1, 1]
    assert set(memorisation._strata(held.of(np.arange(94) < 10), 4)) == {0}


def test_large_sets_are_measured_in_even_shares(monkeypatch):
    labels = np.repeat([0, 1], [60, 30])
    assert measured_rows(labels, 100).tolist() == list(range(90))
    monkeypatch.setattr(memorisation, "MAX_PAIRS", 3000)
    rows = measured_rows(labels, 100)
    assert len(rows) * 100 <= 3000 and np.bincount(labels[rows]).tolist() == [20, 10]


def test_nothing_held_out_is_an_error_and_no_images_of_a_class_are_left_out():
    found, _ = report(NOVEL[0][:30], NOVEL[1][:30])  # of the first class alone
    assert "memorisation/p_value/healthy" in found.metrics and "memorisation/p_value/rust" not in found.metrics
    assert found.metrics["memorisation/n_synthetic/rust"] == 0
    empty = Nearest(np.empty(0, np.int64), np.empty(0), np.empty(0))
    space = Space(Nearest(np.zeros(1, np.int64), np.ones(1), np.ones(1)), empty)
    none = np.empty(0, np.int64)
    with pytest.raises(ValueError, match="held-out"):
        memorisation_report(
            {"x": space}, labels_train=none, labels_val=none, labels_synthetic=np.zeros(1, np.int64),
            groups_train=none, groups_val=none, classes=["a"],
        )  # fmt: skip


def test_the_same_arrays_give_the_same_report():
    one, two = (report(NOVEL[0][:40], NOVEL[1][:40])[0] for _ in range(2))
    assert one.metrics == two.metrics and (one.p_values == two.p_values).all()


# ------------------------------------------------------------------------------------------- thumbnails


def test_thumbnails_average_what_they_cover():
    flat = np.full((1, 50, 70, 3), 51, np.uint8)
    assert thumbnails(flat) == pytest.approx(np.full((1, 32, 32, 3), 0.2), abs=1e-6)
    images = NOVEL[0][:3]
    assert thumbnails(images.repeat(3, 1).repeat(3, 2)) == pytest.approx(thumbnails(images), abs=1e-6)
    with pytest.raises(ValueError, match="uint8"):
        thumbnails(images.astype(float))


def test_orientation_exposure_and_shift_are_undone():
    small = thumbnails(NOVEL[0][::40])
    strangers = pixel_distances(small, small)[~np.eye(len(small), dtype=bool)].min()
    for quarter, mirror in itertools.product(range(4), (1, -1)):
        turned = np.rot90(small, quarter, axes=(1, 2))[:, :, ::mirror]
        assert np.diag(pixel_distances(turned, small)).max() < 1e-3
        assert np.diag(pixel_distances(turned + 0.1, small)).max() < 1e-3
    for y, x in ((4, -4), (-3, 2), (0, 1)):
        assert np.diag(pixel_distances(np.roll(small, (y, x), axis=(1, 2)), small)).max() < 1e-3 < strangers
    assert np.diag(pixel_distances(np.roll(small, 8, axis=1), small)).min() > 0.01  # further than it looks


def test_distances_by_brute_force():
    rng = np.random.default_rng(3)
    q, r = rng.uniform(size=(2, 32, 32, 3)), rng.uniform(size=(3, 32, 32, 3))

    def cut(x, y, z):
        w = x[y : y + 24 : 2, z : z + 24 : 2]
        return w - w.mean(axis=(0, 1))

    for i, j in itertools.product(range(2), range(3)):
        best = min(
            np.sqrt(np.square(cut(q[i], 4, 4) - cut(np.rot90(r[j], k)[:, ::m], y, x)).mean())
            for k in range(4) for m in (1, -1) for y in range(9) for x in range(9)
        )  # fmt: skip
        assert pixel_distances(q, r)[i, j] == pytest.approx(best, rel=1e-4)


def test_manifest_groups(tmp_path: Path):
    from pipeline import InputError
    from pipeline.images.manifest import groups_of
    from pipeline.images.store import Store

    (tmp_path / "manifest.csv").write_text(
        "file,split,class,group\ntrain/a/x.png,train,a,leaf1\nval/a/x.png,val,a,leaf2\ntrain/b/x.png,train,b,\n"
    )
    store = Store(np.zeros((2, 1, 1, 3), np.uint8), np.array([0, 1]), ["x.png", "x.png"], ["a", "b"])
    assert groups_of(store, tmp_path / "manifest.csv", "train").tolist() == ["leaf1", "train/b/x.png"]
    with pytest.raises(InputError, match=r"b/x\.png"):
        groups_of(store, tmp_path / "manifest.csv", "val")
