"""Trainings that did not get far enough to be ranked are called so, beside the verdict."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from sklearn.metrics import f1_score
from test_page import ARMS, CLASSES, SEEDS, write_arm, write_manifest

from pipeline import InputError
from pipeline.measure.guessing import guessing_macro_f1
from pipeline.measure.learned import Course, why_untrained
from pipeline.measure.statistics import Interval
from pipeline.report.comparison import compare_predictions
from pipeline.report.evidence import Sources
from pipeline.report.learning_section import learning_section, training_sentences
from pipeline.report.results import read_course


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


LOOKS = (20, 40, 60, 80)


def course(*f1: float, fit: float | None = 0.95, steps: int = 80, is_augmented: bool = False) -> Course:
    return Course({seed: np.column_stack([LOOKS, f1]) for seed in (0, 1)}, fit, steps, is_augmented)


FLAT, RISING_STILL = (0.5, 0.7, 0.7, 0.7), (0.3, 0.4, 0.5, 0.7)


@pytest.mark.parametrize(
    ("of", "score_of", "said"),
    [
        (course(*FLAT), score(0.7, 0.6), None),
        (course(*FLAT, fit=0.54), score(0.7, 0.6), "54% of its own training images right after 80 steps"),
        (course(*RISING_STILL), score(0.7, 0.6), None),  # knows its images: more steps would move val by chance
        (course(*FLAT, fit=0.54, is_augmented=True), score(0.7, 0.6), None),  # hard to learn by heart, and done
        (course(*RISING_STILL, fit=0.54, is_augmented=True), score(0.7, 0.6), "rising after 80 steps, by 0.200 in the"),
        (course(*RISING_STILL, fit=None), score(0.7, 0.6), "still rising"),  # an SGAN's
        (course(*FLAT, fit=None), score(0.7, 0.6), None),
        (course(*FLAT, fit=0.54, steps=0), score(0.7, 0.6), None),  # a fit has no steps too few
        (course(*FLAT), score(0.41, 0.25), "macro-F1 0.410 [0.250, 0.570], and guessing has 0.250"),
        (course(*FLAT, steps=0), score(0.41, 0.25), "guessing has 0.250"),
        (course(*FLAT), score(0.41, 0.26), None),
    ],
)
def test_what_shows_that_an_arm_has_not_learned(of, score_of, said):
    why = why_untrained(of, score_of, guessing=0.25, of_real_images=True)
    assert why is None if said is None else said in why


def test_who_knows_synthetic_images_by_heart_and_guesses_on_real_ones_has_learned():
    asked = {"guessing": 0.25, "of_real_images": False}
    assert why_untrained(course(*FLAT), score(0.3, 0.2), **asked) is None
    assert "guessing" in why_untrained(course(*FLAT, fit=0.6), score(0.3, 0.2), **asked)


def test_the_warning_names_all_of_them_and_what_comes_first():
    assert training_sentences({}, steps=80) == []
    (said,) = training_sentences({"real": "a", "synthetic": "b"}, steps=80)
    assert said == (
        "Not learned, and so without a say: `real`: a; `synthetic`: b. What comes first: longer trainings "
        "(`train_classifier.steps`)."
    )
    assert "another network" in training_sentences({"real": "a"}, steps=0)[0]


def compared(folder, fits: dict[str, float]):
    for i, (arm, strength) in enumerate(ARMS.items()):
        write_arm(folder / "classifier" / arm, 3 * strength, i, fit=fits.get(arm, 0.97))
    write_manifest(folder / "manifest.csv")
    metrics = compare_predictions(
        {arm: folder / "classifier" / arm for arm in ARMS}, {}, out_dir=folder / "out", classes=CLASSES,
        manifest=folder / "manifest.csv", sources=Sources(augmented=["classic", "synthetic_classic"]), resamples=50,
    )  # fmt: skip
    return metrics, folder / "out"


def test_page_verdict_and_metrics_say_so(tmp_path):
    metrics, out = compared(tmp_path, {"real": 0.54})
    expected = 0.54 + 0.01 * np.mean(SEEDS)
    assert metrics["real/train_accuracy"] == pytest.approx(expected, abs=1e-6)
    assert metrics["real/train_accuracy"] == json.loads((out / "metrics.json").read_text())["real/train_accuracy"]
    lines = (out / "verdict.txt").read_text().splitlines()
    assert lines[2].startswith(f"Not learned, and so without a say: `real`: {expected:.0%} of its own training images")
    html = (out / "report.html").read_text()
    assert html.count("Not learned") == 3  # among what is weak, with the verdict in figures, and above the curves
    assert f"<td>{expected:.0%}</td>" in html and html.count("<td>no</td>") == 1
    metrics, out = compared(tmp_path / "long", {})
    assert "Not learned" not in (out / "report.html").read_text()


def test_an_arm_that_has_not_learned_has_no_say(tmp_path):
    """It is no control, no candidate and no advice; without the matched control there is no verdict."""
    metrics, out = compared(tmp_path / "control", {"real": 0.54})
    assert metrics["verdict/not_trained"] == 0
    lead, verdict = (out / "verdict.txt").read_text().splitlines()[:2]
    assert "of the controls `balanced` and `classic`" in verdict and "as they are" not in lead
    metrics, out = compared(tmp_path / "matched", {"synthetic_classic": 0.97, "balanced": 0.5, "synthetic": 0.5})
    assert "`synthetic_classic`" in (out / "verdict.txt").read_text().splitlines()[1]  # the other candidate is silent
    metrics, out = compared(tmp_path / "none", {"synthetic": 0.5, "balanced": 0.5, "synthetic_classic": 0.5})
    assert metrics["verdict/not_trained"] == 0  # augmented images are hard, and its val rises no more
    assert "`synthetic_classic`" in (out / "verdict.txt").read_text().splitlines()[1]


def test_where_nobody_has_learned_there_is_no_verdict_and_no_advice(tmp_path):
    for i, arm in enumerate(ARMS):
        write_arm(tmp_path / "classifier" / arm, 0.0, i, fit=0.5)
    write_manifest(tmp_path / "manifest.csv")
    metrics = compare_predictions(
        {arm: tmp_path / "classifier" / arm for arm in ARMS}, {}, out_dir=tmp_path / "out", classes=CLASSES,
        manifest=tmp_path / "manifest.csv", resamples=50,
    )  # fmt: skip
    assert metrics["verdict/not_trained"] == 1
    lead, verdict, *_ = (tmp_path / "out" / "verdict.txt").read_text().splitlines()
    assert (
        lead.startswith("No advice yet") and "no verdict, for what would have to be compared has not learned" in verdict
    )
    assert "not trained: no verdict" in (tmp_path / "out" / "report.html").read_text()


def test_a_course_is_read_by_method_and_seed(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("seed,step,val_macro_f1,train_accuracy\n0,5,0.1,0.2\n0,10,0.2,0.6\n1,5,0.1,0.3\n1,10,0.4,0.8\n")
    own = read_course(path, steps=10, is_augmented=False)
    assert own.fit == pytest.approx(0.7) and own.rise == pytest.approx(0.2)  # of the last looks
    path.write_text("method,seed,step,val_macro_f1\na,0,5,0.1\nb,0,5,0.3\n")
    own = read_course(path, steps=5, is_augmented=True, method="b")
    assert own.fit is None and own.curves[0].tolist() == [[5, 0.3]] and own.rise == 0
    with pytest.raises(InputError, match="rows of the method 'c'"):
        read_course(path, steps=5, is_augmented=True, method="c")
    pixel = tmp_path / "a.png"
    pixel.write_bytes(b"x")
    assert "<table>" not in learning_section([], plot=pixel, courses={"a": own}, untrained={}, guessing=0.2)
