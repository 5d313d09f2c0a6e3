"""What is said of synthetic images' worth: from the table's rows alone, at the nearest count, and honest without."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline import usefulness
from pipeline.budget import of_photos
from pipeline.measure.statistics import compare_arms
from pipeline.params import load_params
from pipeline.usefulness import TABLE, detectable, what_can_show, what_to_expect

HERE = Path(__file__).parents[1]
PARAMS = of_photos(load_params(HERE / "params.yaml"))  # .64 of the photos train
HEAD = "set,photos,split,gan_seed,judge,arm,macro_f1,kimg\n"
ROWS = [
    "tea,10,0,0,probe,classic,0.60,", "tea,10,0,0,probe,classic + synthetic,0.55,8",
    "apple,10,0,0,probe,classic,0.70,", "apple,10,0,0,probe,classic + synthetic,0.71,8",
    "tea,50,0,0,probe,classic,0.80,", "tea,50,0,0,probe,classic + synthetic,0.81,8",
    "tea,50,1,1,probe,classic,0.84,", "tea,50,1,1,probe,classic + synthetic,0.87,8",
    "tea,50,2,0,probe,classic,0.10,",  # its other half is not there yet
    "tea,50,0,0,scratch,classic,0.20,", "tea,50,0,0,scratch,classic + synthetic,0.30,8",
]  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / TABLE
    place.parent.mkdir(parents=True)
    place.write_text(HEAD + "\n".join(ROWS) + "\n")
    return tmp_path


def test_the_nearest_count_is_told_with_the_range_over_sets(root):
    said = what_to_expect(root, {"a": 20, "b": 20, "c": 900}, PARAMS)
    assert said == (
        "About 11 photos a class will train here. With 10 a class, on 2 public leaf sets (1 GAN each), a frozen "
        "pretrained classifier with classic augmentation reached .60 to .70 macro-F1; images of a GAN that had "
        "trained for 8 kimg changed it by -.05 to +.01 (bench/results/usefulness.csv)."
    )


def test_pairs_of_one_split_and_gan_are_compared_and_halves_left_out(root):
    said = what_to_expect(root, {"a": 400, "b": 500}, PARAMS)
    assert "About 252 photos" in said and "With 50 a class, on 1 public leaf set (2 GANs each)," in said
    assert "reached .82 macro-F1" in said and "changed it by +.02 (" in said


@pytest.mark.parametrize("content", [None, "", HEAD, "a,b\n1,2\n", HEAD + "tea,10,0,0,probe,classic,much,\n"])
def test_without_figures_it_says_so(root, content):
    (root / TABLE).unlink() if content is None else (root / TABLE).write_text(content)
    assert "is not known here" in what_to_expect(root, {"a": 40}, PARAMS)


def test_the_committed_table_is_one_that_can_be_told():
    said = what_to_expect(HERE, {"a": 40, "b": 40}, PARAMS)
    assert "With 25 a class, on 2 public leaf sets" in said


@pytest.mark.parametrize("counts", [(60, 60, 60), (90, 40, 20)])
def test_what_a_run_can_show_is_what_finished_runs_say(counts, monkeypatch):
    """Two recipes of nine in ten right that differ in as many answers as assumed, no seed better than another."""
    monkeypatch.setattr(usefulness, "SEED_SD", 0.0)
    labels, said = np.repeat(np.arange(3), counts), []
    for trial in range(40):
        rng = np.random.default_rng([1, trial])
        hard = rng.random(len(labels)) < 0.1
        differs = rng.random(len(labels)) < usefulness.DISAGREEMENT
        wrong = {"real": hard, "classic": np.where(differs, ~hard, hard)}
        told = {arm: np.where(of, (labels + rng.integers(1, 3, len(labels))) % 3, labels) for arm, of in wrong.items()}
        arms = {arm: np.tile(of, (3, 1)) for arm, of in told.items()}
        found = compare_arms(labels, arms, classes=["a", "b", "c"], resamples=200)["classic"].differences["real"]
        said.append(found["macro_f1"].detectable())
    assert detectable(counts, 3) == pytest.approx(np.median(said), rel=0.15)


def test_what_would_show_a_smaller_difference_is_named(root, monkeypatch):
    counts = {"a": 100, "b": 50, "rare": 20}
    said = what_can_show(root, counts, PARAMS, gans=1)
    assert f"a difference of {detectable([30, 15, 6], 3):.3f}".replace("0.", ".") in said and "(6 of rare)" in said
    assert f"Twice as many test photos would show {detectable([60, 30, 12], 3):.3f}".replace("0.", ".") in said
    # the table's GANs of one split: none has two
    assert "GAN to GAN" not in said
    monkeypatch.setattr(usefulness, "SEED_SD", 0.2)
    assert "6 seeds instead of 3" in what_can_show(root, counts, PARAMS, gans=1)


def test_the_gans_own_luck_is_that_between_gans_of_one_split(root):
    rows = ["tea,10,0,1,probe,classic,0.60,", "tea,10,0,1,probe,classic + synthetic,0.61,8"]  # +.01, the other's -.05
    (root / TABLE).write_text(HEAD + "\n".join([*ROWS, *rows]) + "\n")
    assert "differed by .042 from GAN to GAN" in what_can_show(root, {"a": 50, "b": 50}, PARAMS, gans=1)


def test_a_set_whose_test_photos_decide_nothing_is_told_so():
    said = what_can_show(HERE, {"a": 6, "b": 6}, PARAMS, gans=1)
    assert "About 4 photos will test, and of fewer than 6 nothing is told" in said and "would show" not in said
