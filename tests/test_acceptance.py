"""The rules of acceptance: thresholds by their guarantee, scores by hand, planted faults rejected, real images not."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline import InputError
from pipeline.measure.acceptance import (
    RULES,
    Examined,
    Judge,
    Threshold,
    acceptance_table,
    balls_around,
    choose_thresholds,
    conformal_threshold,
    distances,
    thumbnails,
)

CLASSES = ["spots", "stripes"]
SHARES = {"agreement": True, "confidence": 0.9, "density": 0.9, "copies": 0.9, "duplicates": 0.9}


def leaves(n: int, label: int, rng: np.random.Generator) -> np.ndarray:
    """(n, 32, 32, 3) uint8: no two alike, and of two kinds."""
    field = rng.normal(size=(n, 8, 8, 3)).repeat(4, axis=1).repeat(4, axis=2)
    return np.clip(128 + 40 * label + 30 * field + rng.normal(0, 4, field.shape), 0, 255).astype(np.uint8)


def examined(images: np.ndarray, label: int, rng: np.random.Generator) -> Examined:
    """As a teacher that knows the classes well: features in one cloud a class, probabilities above one half."""
    p = rng.uniform(0.6, 0.95, len(images))
    probabilities = np.stack([p, 1 - p] if label == 0 else [1 - p, p], axis=1)
    return Examined(probabilities, rng.normal(8.0 * label, 1.0, (len(images), 4)), thumbnails(images))


def joined(*parts: Examined) -> Examined:
    return Examined(*(np.concatenate(of) for of in zip(*parts, strict=True)))


@pytest.fixture(scope="module")
def world():
    """Train and val of two classes, 60 and 40 images each, and thresholds at .9."""
    rng = np.random.default_rng(0)
    images = {(split, k): leaves(n, k, rng) for split, n in (("train", 60), ("val", 40)) for k in (0, 1)}
    parts = {key: examined(of, key[1], rng) for key, of in images.items()}
    train, val = (joined(parts[split, 0], parts[split, 1]) for split in ("train", "val"))
    labels_train, labels_val = np.repeat([0, 1], 60), np.repeat([0, 1], 40)
    thresholds = choose_thresholds(train, labels_train, val, labels_val, CLASSES, SHARES)
    return images, train, labels_train, val, labels_val, thresholds


def judge(world, label: int, *, without: tuple[str, ...] = ()) -> Judge:
    images, train, labels_train, val, labels_val, thresholds = world
    own = {rule: by_class[CLASSES[label]] for rule, by_class in thresholds.items() if rule not in without}
    return Judge(label, train.take(labels_train == label), own)


def rejections(outcomes) -> list[str | None]:
    return [outcome.rejected_by for outcome in outcomes]


@pytest.mark.parametrize(
    ("n", "share", "rank"), [(9, 0.9, 1), (20, 0.9, 2), (8, 0.9, None), (19, 0.95, 1), (3, 0.5, 2)]
)
def test_the_threshold_is_the_stated_rank(n, share, rank):
    scores = np.random.default_rng(n).permutation(np.arange(1.0, n + 1))
    assert conformal_threshold(scores, share) == rank


@pytest.mark.parametrize(("n", "share"), [(9, 0.9), (25, 0.9), (30, 0.7)])
def test_a_further_real_image_passes_as_often_as_stated(n, share):
    """1 - rank / (n + 1), whatever the distribution: between share and share + 1 / (n + 1)."""
    rng = np.random.default_rng(1)
    draws = rng.gamma(0.5, size=(20_000, n + 1))
    passes = np.array([row[-1] >= conformal_threshold(row[:-1], share) for row in draws])
    expected = 1 - int((1 - share) * (n + 1) + 1e-9) / (n + 1)
    assert share <= expected + 1e-12 <= share + 1 / (n + 1) + 1e-9
    assert abs(passes.mean() - expected) < 3.5 * np.sqrt(expected * (1 - expected) / len(draws))


def test_a_class_with_few_val_images_takes_the_threshold_of_all(world):
    images, train, labels_train, val, labels_val, thresholds = world
    few = np.concatenate([np.arange(40), [40, 41, 42]])
    chosen = choose_thresholds(train, labels_train, val.take(few), labels_val[few], CLASSES, SHARES)
    for rule in ("confidence", "density", "copies", "duplicates"):
        assert chosen[rule]["spots"] == thresholds[rule]["spots"]
        assert chosen[rule]["spots"].source == "class" and chosen[rule]["spots"].num_val == 40
        assert chosen[rule]["stripes"].source == "all classes" and chosen[rule]["stripes"].num_val == 43
    p = np.concatenate([val.probabilities[:40, 0], val.probabilities[40:43, 1]])
    assert chosen["confidence"]["stripes"].value == np.sort(p)[3]  # floor(.1 * 44) = 4
    tiny = choose_thresholds(train, labels_train, val.take(few[-3:]), labels_val[few[-3:]], CLASSES, SHARES)
    assert tiny["confidence"]["spots"] == Threshold(val.probabilities[40:43, 1].min(), "all classes", 3)


def test_thresholds_are_those_of_val(world):
    """Val images that are recognised less, lie further out or closer to train lower what must be reached."""
    images, train, labels_train, val, labels_val, thresholds = world
    copies = np.concatenate([images["train", 0][:40], images["train", 1][:40]])
    other = Examined(0.5 + 0.5 * (val.probabilities - 0.5), val.features + 1.5, thumbnails(copies))
    chosen = choose_thresholds(train, labels_train, other, labels_val, CLASSES, SHARES)
    for rule in ("confidence", "density", "copies", "duplicates"):
        for name in CLASSES:
            assert chosen[rule][name].value < thresholds[rule][name].value, rule
    assert chosen["agreement"] == thresholds["agreement"]


def test_the_teacher_s_rules_are_set_on_what_it_recognises(world):
    """Else an image that it takes for another class, sure as it may be, would lower what its own must reach."""
    images, train, labels_train, val, labels_val, thresholds = world
    wrong = val.probabilities.copy()
    wrong[:20] = wrong[:20, ::-1]
    mistaken = val._replace(probabilities=wrong)
    chosen = choose_thresholds(train, labels_train, mistaken, labels_val, CLASSES, SHARES)
    assert chosen["confidence"]["spots"] == Threshold(np.sort(val.probabilities[20:40, 0])[1], "class", 20)
    assert chosen["density"]["spots"].num_val == 20
    assert chosen["copies"] == thresholds["copies"]  # which asks no teacher
    without = choose_thresholds(train, labels_train, mistaken, labels_val, CLASSES, {"confidence": 0.9})
    assert without["confidence"]["spots"].value == np.sort(wrong[:40, 0])[3]
    ignorant = val._replace(probabilities=val.probabilities[:, ::-1])
    with pytest.raises(InputError, match=r"filter_synthetic: .* recognises none of 80 val images"):
        choose_thresholds(train, labels_train, ignorant, labels_val, CLASSES, SHARES)


def test_a_higher_share_is_a_laxer_rule(world):
    images, train, labels_train, val, labels_val, thresholds = world
    lax = choose_thresholds(train, labels_train, val, labels_val, CLASSES, {**SHARES, **dict.fromkeys(RULES[1:], 0.97)})
    for rule in RULES[1:]:
        for name in CLASSES:
            assert lax[rule][name].value < thresholds[rule][name].value, rule


def test_held_out_real_images_pass_as_often_as_stated(world):
    rng = np.random.default_rng(5)
    for label in (0, 1):
        outcomes = judge(world, label)(examined(leaves(400, label, rng), label, rng))
        for rule in RULES:
            reached = world[-1][rule][CLASSES[label]].value
            share = np.mean([outcome.scores[rule] >= reached for outcome in outcomes])
            if rule == "duplicates":  # half of the distance: even of 400 x 400 pairs hardly one is as close
                assert share > 0.97
                continue
            # .9 in expectation over val sets; of this one val set of 40 within .83 to .97
            assert share > 0.83, rule
            assert share < 0.98 or rule == "agreement", rule


def test_little_variety_is_not_repetition(world):
    """Leaves that lie closer together than photos do, but no two of them alike, are kept; what repeats them is not."""
    rng = np.random.default_rng(9)
    images = leaves(60, 0, rng).astype(float)
    images = np.clip(images.mean(axis=0) + 0.65 * (images - images.mean(axis=0)), 0, 255).astype(np.uint8)
    images[40:] = images[:20]
    outcomes = judge(world, 0, without=("confidence", "density", "copies"))(examined(images, 0, rng))
    scores = np.array([outcome.scores["duplicates"] for outcome in outcomes[1:40]])
    as_far_as_copies = world[-1]["copies"]["spots"].value
    assert np.mean(scores < as_far_as_copies) > 0.5  # of what the whole distance would have kept
    found = rejections(outcomes)
    assert found[:40].count("duplicates") <= 1 and found[40:] == ["duplicates"] * 20


def test_planted_faults_are_rejected_each_by_its_rule(world):
    images, train, *_ = world
    rng = np.random.default_rng(6)
    fresh = examined(leaves(50, 0, rng), 0, rng)
    swapped = fresh._replace(probabilities=fresh.probabilities[:, ::-1])
    assert set(rejections(judge(world, 0)(swapped))) == {"agreement"}
    unsure = fresh._replace(probabilities=np.tile([0.51, 0.49], (50, 1)))
    assert set(rejections(judge(world, 0)(unsure))) == {"confidence"}
    elsewhere = fresh._replace(features=fresh.features + 8.0)
    assert set(rejections(judge(world, 0, without=("confidence",))(elsewhere))) == {"density"}
    replayed = images["train", 0][:50, :, ::-1].astype(int) + rng.normal(0, 6, (50, 32, 32, 3))  # mirrored, with noise
    replayed = fresh._replace(thumbnails=thumbnails(np.clip(replayed, 0, 255).astype(np.uint8)))
    lax = ("confidence", "density")
    assert set(rejections(judge(world, 0, without=lax)(replayed))) == {"copies"}
    one = leaves(1, 0, rng).astype(int)
    collapsed = np.clip(one + rng.normal(0, 6, (50, 32, 32, 3)), 0, 255).astype(np.uint8)
    outcomes = judge(world, 0, without=lax)(fresh._replace(thumbnails=thumbnails(collapsed)))
    assert rejections(outcomes) == [None] + ["duplicates"] * 49


def test_what_was_rejected_stands_in_nobodys_way(world):
    rng = np.random.default_rng(7)
    image = examined(leaves(1, 0, rng), 0, rng)._replace(features=np.zeros((1, 4)))
    disagreeing = image._replace(probabilities=np.array([[0.1, 0.9]]))
    accepting = judge(world, 0, without=("confidence", "copies"))
    both = joined(disagreeing, image, image)
    assert rejections(accepting(both)) == ["agreement", None, "duplicates"]


def test_batches_change_nothing(world):
    rng = np.random.default_rng(8)
    images = leaves(60, 0, rng)
    images[10:40:3] = images[0:10]  # duplicates, near and far
    candidates = examined(images, 0, rng)
    whole = judge(world, 0)(candidates)
    assert {"confidence", "duplicates", None} <= set(rejections(whole))
    for size in (1, 7, 16):
        by_batch = judge(world, 0)
        outcomes = [o for i in range(0, 60, size) for o in by_batch(candidates.take(np.arange(i, min(i + size, 60))))]
        assert rejections(outcomes) == rejections(whole)
        for a, b in zip(outcomes, whole, strict=True):
            assert a.scores == pytest.approx(b.scores, abs=1e-5)


def test_balls_on_a_line_by_hand():
    # k = 1: the balls of 0, 1, 3, 10 are [-1, 1], [0, 2], [1, 5], [3, 17]
    train = np.array([[0.0], [1.0], [3.0], [10.0]])
    found = balls_around(train, np.array([[0.5], [1.0], [4.0], [20.0], [-3.0]]), k=1)
    # 20 lies at 10 from 10, whose radius is 7; -3 at 3 from 0, whose radius is 1, and at 13 from 10
    assert found == pytest.approx([2, 3, 2, 0.7, 7 / 13])
    assert balls_around(train[:2], np.array([[0.5]]), k=5) == 2  # two images have one neighbour each


def test_balls_agree_with_plain_loops():
    rng = np.random.default_rng(9)
    train, candidates = rng.normal(size=(30, 6)), rng.normal(0.7, 1.2, size=(40, 6))
    apart = np.linalg.norm(candidates[:, None] - train, axis=2)
    radii = np.array([sorted(np.linalg.norm(train - x, axis=1))[5] for x in train])
    counts = (apart <= radii).sum(axis=1)
    expected = np.where(counts > 0, counts, (radii / apart).max(axis=1))
    assert 0 < (counts == 0).sum() < 40
    assert balls_around(train, candidates) == pytest.approx(expected, abs=1e-9)


def test_distances_of_thumbnails():
    rng = np.random.default_rng(10)
    images = leaves(6, 0, rng)
    small = thumbnails(images)
    assert small[2].reshape(16, 16, 3)[3, 5] == pytest.approx(images[2, 6:8, 10:12].mean(axis=(0, 1)))
    for mirrored in (images, images[:, ::-1], images[:, :, ::-1], images[:, ::-1, ::-1]):
        assert np.diag(distances(thumbnails(mirrored), small)) == pytest.approx(0, abs=1e-4)
    assert distances(small + 9.0, small).diagonal() == pytest.approx(9.0)
    assert distances(small, small[:3]) == pytest.approx(distances(small[:3], small).T)
    assert distances(thumbnails(np.swapaxes(images, 1, 2)), small).min() > 1.0  # turned by 90 degrees: another picture
    with pytest.raises(ValueError, match="multiple of 16"):
        thumbnails(np.zeros((2, 20, 20, 3), np.uint8))


def test_rules_can_be_off(world):
    images, train, labels_train, val, labels_val, _ = world
    off = choose_thresholds(train, labels_train, val, labels_val, CLASSES, {"agreement": False, "density": None})
    assert off == {}
    anything = examined(leaves(3, 0, np.random.default_rng(0)), 1, np.random.default_rng(0))
    assert rejections(Judge(0, train, {})(anything)) == [None, None, None]
    with pytest.raises(ValueError, match="rules must be among"):
        choose_thresholds(train, labels_train, val, labels_val, CLASSES, {"confidense": 0.9})
    single = np.concatenate([np.arange(60), [60]])
    with pytest.raises(InputError, match=r"rules\.density: expected 2 train images .* got 1 of 'stripes'"):
        choose_thresholds(train.take(single), labels_train[single], val, labels_val, CLASSES, SHARES)


def test_the_table_adds_up(world):
    images, train, labels_train, val, labels_val, thresholds = world
    rng = np.random.default_rng(11)
    judged = {name: judge(world, k)(examined(leaves(90, k, rng), k, rng)) for k, name in enumerate(CLASSES)}
    real = {name: judge(world, k, without=("duplicates",))(val.take(labels_val == k)) for k, name in enumerate(CLASSES)}
    rows, figures = acceptance_table(judged, real, thresholds)
    assert [(row["class"], row["rule"]) for row in rows] == [(name, rule) for name in CLASSES for rule in RULES]
    for name in CLASSES:
        own = [row for row in rows if row["class"] == name]
        assert own[0]["seen"] == figures[f"candidates/{name}"] == 90
        assert [row["seen"] for row in own[1:]] == [row["accepted"] for row in own[:-1]]
        accepted = sum(outcome.rejected_by is None for outcome in judged[name])
        assert own[-1]["accepted"] == accepted and figures[f"acceptance/{name}"] == accepted / 90
        assert sum(figures[f"rejected/{rule}/{name}"] for rule in RULES) == 90 - accepted
        assert own[1]["val_seen"] == 40 and own[1]["val_rejected"] == 3  # of ranks 1 to 4 the first three fall short
        assert own[-1]["val_seen"] == own[-1]["val_rejected"] == ""
        passing = sum(outcome.rejected_by is None for outcome in real[name])
        assert figures[f"acceptance_val/{name}"] == passing / 40
