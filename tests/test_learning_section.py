"""Trainings that did not get far enough to be ranked are called so, beside the verdict."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from sklearn.metrics import f1_score
from test_page import ARMS, CLASSES, SEEDS, write_arm, write_manifest

from pipeline.measure.guessing import guessing_macro_f1
from pipeline.measure.statistics import Interval
from pipeline.report.comparison import compare_predictions
from pipeline.report.learning_section import learning_section, training_sentences
from pipeline.report.results import read_fit


def score(mean: float, lower: float) -> Interval:
    return Interval(mean, lower, 2 * mean - lower, 50, 3)


@pytest.mark.parametrize("counts", [{"a": 90, "b": 10}, {"a": 30, "b": 30, "c": 30}, {"a": 8, "b": 4, "c": 2, "d": 0}])
def test_guessing_is_what_two_guessers_score(counts):
    labels = np.concatenate([np.full(200 * n, k) for k, n in enumerate(counts.values())])
    names = sorted(set(labels))
    rng = np.random.default_rng(0)
    constant = f1_score(labels, np.full(len(labels), Counter(labels).most_common(1)[0][0]), labels=names,
                        average="macro", zero_division=0)  # fmt: skip
    uniform = f1_score(labels, rng.choice(names, len(labels)), labels=names, average="macro")
    assert guessing_macro_f1(counts) == pytest.approx(max(constant, uniform), abs=0.01)


def test_no_better_than_guessing_is_said_only_where_no_control_is():
    controls = {arm: score(0.4, 0.2) for arm in ("real", "balanced")}
    (said,) = training_sentences({**controls, "classic": score(0.41, 0.25)}, {}, guessing=0.25, steps=100)
    assert said.startswith("The classifier has not learned these classes: trained on real images, `classic` reaches")
    assert "0.410 [0.250, 0.570], and guessing 0.250" in said
    assert training_sentences({**controls, "classic": score(0.41, 0.26)}, {}, guessing=0.25, steps=100) == []
    # an arm with synthetic images that has learned is no excuse
    learned = {**controls, "synthetic": score(0.9, 0.8)}
    assert len(training_sentences(learned, {}, guessing=0.25, steps=100)) == 1


def test_a_training_cut_short_is_said_by_its_own_images():
    scores = {arm: score(0.7, 0.6) for arm in ("real", "balanced", "classic")}
    short = {"real": 0.7, "balanced": 0.6, "classic": 0.5, "synthetic": 0.99}
    (said,) = training_sentences(scores, short, guessing=0.25, steps=120)
    assert said.startswith("Short trainings: after 120 steps the network has 70% of its own training images right")
    # augmented images are hard to learn by heart, so the plain arms alone decide
    assert training_sentences(scores, short | {"real": 0.95}, guessing=0.25, steps=120) == []
    assert training_sentences(scores, {"classic": 0.5}, guessing=0.25, steps=120) == []


def compared(folder, fit: float):
    for i, (arm, strength) in enumerate(ARMS.items()):
        write_arm(folder / "classifier" / arm, strength, i, fit=fit)
    write_manifest(folder / "manifest.csv")
    metrics = compare_predictions(
        {arm: folder / "classifier" / arm for arm in ARMS}, {}, out_dir=folder / "out", classes=CLASSES,
        manifest=folder / "manifest.csv", resamples=50,
    )  # fmt: skip
    return metrics, folder / "out"


def test_page_verdict_and_metrics_say_so(tmp_path):
    metrics, out = compared(tmp_path, 0.61)
    expected = 0.61 + 0.01 * np.mean(SEEDS)
    assert metrics["real/train_accuracy"] == pytest.approx(expected, abs=1e-6)
    assert metrics["real/train_accuracy"] == json.loads((out / "metrics.json").read_text())["real/train_accuracy"]
    lines = (out / "verdict.txt").read_text().splitlines()
    assert lines[2].startswith(f"Short trainings: after 400 steps the network has {expected:.0%}")
    html = (out / "report.html").read_text()
    assert html.count("Short trainings") == 2  # beside the verdict, and above the curves
    assert f"<td>{expected:.0%}</td>" in html
    metrics, out = compared(tmp_path / "long", 0.95)
    assert "Short trainings" not in (out / "report.html").read_text()


def test_the_last_look_counts_and_old_files_have_none(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("seed,step,val_macro_f1,train_accuracy\n0,5,0.1,0.2\n0,10,0.1,0.6\n1,5,0.1,0.3\n1,10,0.1,0.8\n")
    assert read_fit(path) == pytest.approx(0.7)
    path.write_text("seed,step,val_macro_f1\n0,5,0.1\n")
    assert read_fit(path) is None
    pixel = tmp_path / "a.png"
    pixel.write_bytes(b"x")
    assert "<table>" not in learning_section([], plot=pixel, fit={}, guessing=0.2, steps=5)
