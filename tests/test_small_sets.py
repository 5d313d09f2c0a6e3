"""The benches of few photos: sides share no leaf, a stopped grid goes on, intervals and regrets are right."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench import checkpoints, usefulness
from bench.small_sets import LEAST_TEST, VAL, Rows, joined, sides, synthetic_store, t_interval
from pipeline.images.store import Store

LABELS = np.repeat([0, 1], [60, 200])
LEAVES = [f"{label}-{i // 4}" for i, label in enumerate(LABELS)]  # four photos of each


def test_sides_share_no_leaf_and_hold_what_was_asked_for_of_each_class():
    rows = sides(LABELS, LEAVES, photos=25, seed=3)
    assert sorted(np.concatenate(list(rows.values()))) == list(range(260))
    leaves = {side: {LEAVES[i] for i in of} for side, of in rows.items()}
    assert not leaves["train"] & leaves["val"] and not (leaves["train"] | leaves["val"]) & leaves["test"]
    assert [np.bincount(LABELS[rows[side]]).tolist() for side in ("train", "val")] == [[24, 24], [8, 8]]


def test_a_class_with_few_photos_trains_on_fewer_and_keeps_some_for_test():
    rows = sides(LABELS, [str(i) for i in range(260)], photos=100, seed=0)
    assert np.bincount(LABELS[rows["train"]]).tolist() == [60 - VAL - LEAST_TEST, 100]
    assert np.bincount(LABELS[rows["test"]]).tolist() == [LEAST_TEST, 200 - 100 - VAL]


def test_splits_differ_by_seed_and_a_larger_train_side_holds_the_smaller():
    singles = [str(i) for i in range(260)]
    small, large, other = (sides(LABELS, singles, photos=n, seed=s)["train"] for n, s in ((10, 0), (25, 0), (10, 1)))
    assert set(small) < set(large) and set(small) != set(other)


def test_what_is_finished_is_not_done_again_and_a_torn_row_is(tmp_path):
    path = tmp_path / "rows.csv"
    rows = Rows(path, ("set", "photos"), ("macro_f1",))
    assert rows.done() == set()
    rows.add({"set": "tea", "photos": 10, "macro_f1": 0.5})
    rows.add({"set": "tea", "photos": 25, "macro_f1": 0.6})
    with open(path, "a") as f:
        f.write("apple,10")  # killed while it wrote
    again = Rows(path, ("set", "photos"), ("macro_f1",))
    assert again.done() == {("tea", "10"), ("tea", "25")}
    again.add({"set": "apple", "photos": 10, "macro_f1": 0.7})
    assert path.read_text() == "set,photos,macro_f1\ntea,10,0.5\ntea,25,0.6\napple,10,0.7\n"


def test_student_s_interval_is_scipy_s_and_one_value_has_none():
    from scipy import stats

    values = [0.1, 0.3, 0.2, 0.5]
    expected = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert t_interval(values) == pytest.approx((np.mean(values), *expected))
    mean, lower, upper = t_interval([0.4])
    assert mean == 0.4 and math.isnan(lower) and math.isnan(upper)


def test_synthetic_images_stand_behind_the_photos_under_their_own_class():
    photos = Store(np.zeros((3, 100, 100, 3), np.uint8), np.array([0, 0, 1]), ["a", "b", "c"], ["rust", "scab"])
    made = np.stack([np.full((2, 64, 64, 3), 50 * (k + 1), np.uint8) for k in range(2)])
    both = joined(photos, synthetic_store(made, photos.classes, 100))
    assert both.labels.tolist() == [0, 0, 1, 0, 0, 1, 1] and len(set(both.files)) == 7
    assert both.images[:, 50, 50, 0].tolist() == [0, 0, 0, 50, 50, 100, 100]


def test_a_plan_cut_short_has_every_count_set_and_arm_of_a_round():
    cells = list(usefulness.plan(["tea", "apple"], judges=["probe", "scratch"]))
    assert len(set(cells)) == len(cells) == 2 * len(usefulness.ROUNDS) * 4 * 2 * 4
    first = cells[:32]
    assert {(c.photos, c.set, c.arm) for c in first} == {(c.photos, c.set, c.arm) for c in cells}
    assert {(c.judge, c.split, c.gan_seed) for c in first} == {("probe", 0, 0)}
    assert {c.split for c in cells[:96]} == {0, 1, 2} and {c.gan_seed for c in cells[:96]} == {0, 1}


def test_gains_are_taken_within_a_split_a_gan_and_a_judge():
    def row(split, judge, arm, score):
        named = dict(zip(usefulness.KEY, ("tea", "10", str(split), "0", judge, arm), strict=True))
        return named | {"macro_f1": str(score), "classes": "2", "train_photos": "18", "train_groups": "4"}

    scores = usefulness.summed_up([
        row(0, "probe", "classic", 0.5), row(0, "probe", "classic + synthetic", 0.6),
        row(1, "probe", "classic", 0.9), row(1, "probe", "classic + synthetic", 0.8),
        row(2, "probe", "classic + synthetic", 0.1), row(0, "scratch", "classic", 0.0),
    ])  # fmt: skip
    found = scores["tea", 10, "probe", "classic + synthetic"]
    assert found.gains == pytest.approx([0.1, -0.1]) and found.macro_f1 == [0.6, 0.8, 0.1]
    assert (found.photos, found.groups) == (9, 2)


def test_the_coarse_grid_of_checkpoints_comes_first():
    places = checkpoints.order(30)
    assert sorted(places) == list(range(30)) and places[:8] == [29, 25, 21, 17, 13, 9, 5, 1]


def test_a_criterion_s_regret_is_what_its_choice_lacks_and_ties_are_shared():
    worth = np.array([0.1, 0.5, 0.3])
    assert checkpoints.regret(np.array([1, 2, 3]), worth) == pytest.approx(-0.2)
    assert checkpoints.regret(np.array([0, 2, 2]), worth) == pytest.approx(-0.1)
    assert checkpoints.regret(worth, worth) == 0


def test_less_of_a_distance_is_better_and_missing_checkpoints_are_left_out():
    rng = np.random.default_rng(0)
    quality = np.linspace(0, 1, 30)
    figures = {
        "kimg": np.arange(30.0), "synthetic_only": quality, "kid_lite0": -quality, "probe_accuracy": np.ones(30),
        "coverage_lite0": rng.permutation(quality), "kid_shipped": np.where(np.arange(30) == 4, np.nan, -quality),
    }  # fmt: skip
    found = checkpoints.held_against(figures, "synthetic_only")
    assert found["kid_lite0"]["spearman"] == pytest.approx(1) and found["kid_lite0"]["regret"] == 0
    assert found["any"]["checkpoints"] == 29 and found["any"]["regret"] < -0.4
    assert math.isnan(found["probe_accuracy"]["spearman"]) and math.isnan(found["probe_accuracy"]["lower"])
    lower, upper = (found["coverage_lite0"][end] for end in ("lower", "upper"))
    assert lower < 0 < upper and upper - lower > 0.4


def test_a_handful_of_checkpoints_has_no_interval():
    four = np.arange(4.0)
    assert np.isnan(checkpoints.block_interval(four, four, seed=0)).all()
    many = np.arange(30.0)
    assert checkpoints.block_interval(many, many, seed=0) == pytest.approx((1, 1))


def test_rank_correlations_are_scipy_s():
    from scipy import stats

    x, y = np.random.default_rng(1).integers(0, 6, (2, 5, 20))  # with ties
    expected = [stats.spearmanr(a, b).statistic for a, b in zip(x, y, strict=True)]
    assert checkpoints.rank_correlation(x, y) == pytest.approx(expected)


def test_rows_of_figures_become_columns_in_the_order_of_the_training():
    rows = [
        {"set": "tea", "kimg": kimg, "figure": figure, "value": value}
        for kimg, figure, value in (("10.0", "kid_lite0", "3"), ("2.0", "kid_lite0", "1"), ("2.0", "scratch_only", "4"))
    ]
    found = checkpoints.by_checkpoint(rows)["tea"]
    assert found["kimg"].tolist() == [2, 10] and found["kid_lite0"].tolist() == [1, 3]
    assert found["scratch_only"][0] == 4 and np.isnan(found["scratch_only"][1])


def test_gains_of_all_numbers_of_photos_together():
    def of(*gains: float) -> usefulness.Scores:
        return usefulness.Scores([0.5] * len(gains), list(gains), 10, 10)

    arm = "classic + synthetic"
    scores = {("tea", 10, "probe", arm): of(-0.02, 0.04), ("tea", 50, "probe", arm): of(-0.02),
              ("tea", 10, "probe", "classic"): of(0.0), ("tea", 10, "scratch", arm): of()}  # fmt: skip
    _, _, *rows = usefulness.pooled(scores)
    assert len(rows) == 1 and rows[0].startswith("| tea | probe | classic + synthetic | 3 | 2 | +.000 (-.086 to +.086)")
