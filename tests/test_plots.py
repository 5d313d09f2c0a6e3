"""Pictures: the same bytes every time, telling arms apart, no trace left in matplotlib's settings."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
from PIL import Image

from pipeline.measure.statistics import Interval
from pipeline.report import plots

ARMS = ["real", "balanced", "classic", "synthetic", "synthetic_classic", "synthetic_only"]
CLASSES = ["healthy", "rust", "brown_blight", "a-class-with-a-name-that-goes-on-and-on"]


def interval(mean: float) -> Interval:
    return Interval(mean, max(mean - 0.1, -1), min(mean + 0.08, 1), 50, 5)


def scores(shift: float = 0.0) -> dict[str, Interval]:
    return {arm: interval(0.4 + 0.07 * i + shift) for i, arm in enumerate(ARMS)}


def draw_all(folder) -> dict[str, bytes]:
    differences = {c: {a: interval(0.1) for a in ARMS if a != c} for c in ("real", "classic")}
    plots.draw_arms(folder / "arms.png", scores(), differences)
    by_class = {arm: {c: interval(0.6) for c in CLASSES} for arm in ARMS}
    plots.draw_classes(folder / "classes.png", by_class, dict.fromkeys(CLASSES, 10))
    plots.draw_confusion(folder / "confusion.png", np.arange(16).reshape(4, 4), CLASSES, title="classic")
    curve = np.array([[50, 0.3], [100, 0.5], [150, 0.6]])
    plots.draw_learning_curves(folder / "curves.png", {arm: {0: curve, 1: curve * [1, 1.1]} for arm in ARMS})
    budgets = {m: {b: interval(0.5) for b in ("5", "10", "all")} for m in ("supervised", "sgan")}
    plots.draw_label_budgets(folder / "budgets.png", budgets)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_same_bytes_whatever_the_settings_outside(tmp_path):
    before = dict(matplotlib.rcParams)
    first = draw_all(tmp_path / "a")
    assert dict(matplotlib.rcParams) == before
    with matplotlib.rc_context({"figure.facecolor": "red", "font.size": 30, "axes.grid": False}):
        second = draw_all(tmp_path / "b")
    assert len(first) == 5
    for name in first:
        assert Image.open(tmp_path / "a" / name).info.keys() == {"dpi"}  # no software, no date
    # Settings that the style names do not leak in from outside.
    assert first["confusion.png"] == second["confusion.png"]
    assert draw_all(tmp_path / "c") == first


def test_a_picture_shows_its_data(tmp_path):
    plots.draw_arms(tmp_path / "a.png", scores(), {})
    plots.draw_arms(tmp_path / "b.png", scores(0.05), {})
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()
    plots.draw_confusion(tmp_path / "c.png", np.diag([5, 5, 5, 5]), CLASSES, title="x")
    plots.draw_confusion(tmp_path / "d.png", np.diag([5, 5, 5, 5])[::-1], CLASSES, title="x")
    assert (tmp_path / "c.png").read_bytes() != (tmp_path / "d.png").read_bytes()


def test_arms_have_colours_of_their_own_and_synthetic_ones_another_marker():
    names = [*ARMS, "mine", "other"]
    assert len({plots.arm_color(arm, names) for arm in names}) == len(names)
    assert plots.arm_color("mine", names) == plots.arm_color("mine", ["mine"])
    assert [plots.arm_marker(a) for a in ("real", "classic", "synthetic_only", "sgan")] == [
        "o",
        "o",
        "D",
        "D",
    ]


@pytest.mark.parametrize("num_classes", [1, 38])
def test_any_number_of_classes(tmp_path, num_classes):
    classes = [f"class_{i}" for i in range(num_classes)]
    scores = {arm: {c: interval(0.5) for c in classes} for arm in ARMS}
    plots.draw_classes(tmp_path / "classes.png", scores, dict.fromkeys(classes, 3))
    plots.draw_confusion(tmp_path / "confusion.png", np.zeros((num_classes, num_classes)), classes, title="real")
    for name in ("classes", "confusion"):
        with Image.open(tmp_path / f"{name}.png") as image:
            assert max(image.size) < 2500


def test_seeds_evaluated_at_different_steps_are_averaged_where_they_meet(tmp_path):
    curves = {"real": {0: np.array([[1, 0.1], [2, 0.2]]), 1: np.array([[2, 0.4], [3, 0.5]])}, "classic": {}}
    curves["classic"] = {0: np.array([[1, 0.3]]), 1: np.array([[2, 0.3]])}  # meet nowhere: not drawn
    plots.draw_learning_curves(tmp_path / "curves.png", curves)
    assert (tmp_path / "curves.png").stat().st_size > 0


def _scores(**means: float) -> dict[str, Interval]:
    return {arm: Interval(mean, mean - 0.03, mean + 0.03, 60, 3) for arm, mean in means.items()}


@pytest.mark.parametrize(
    ("scores", "far"),
    [
        (_scores(real=0.9, balanced=0.91, classic=0.93, synthetic_only=0.05), ["synthetic_only"]),
        (_scores(real=0.1, balanced=0.11, classic=0.13, synthetic=0.9), ["synthetic"]),
        (_scores(real=0.9, balanced=0.91, classic=0.93, synthetic_only=0.75), []),
        (_scores(real=0.9, classic=0.93, classic_small=0.83, synthetic_only=0.46), ["synthetic_only"]),
        (_scores(real=0.9, balanced=0.91, synthetic_only=0.05, synthetic=0.1), []),  # two of them are a scale
        (_scores(real=0.9, synthetic_only=0.05), []),
    ],
)
def test_an_arm_far_from_all_others_does_not_take_their_scale(scores, far, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "_save", lambda fig, path: drawn.append(fig))
    plots.draw_arms(tmp_path / "arms.png", scores, {"real": _scores(synthetic_only=-0.85) | _scores(classic=0.01)})
    lower, upper = drawn[0].axes[0].get_xlim()
    at_the_edge = [text.get_text() for text in drawn[0].axes[0].texts]
    assert len(at_the_edge) == len(far) and (upper - lower < 0.2) == bool(far)
    for arm, text in zip(far, at_the_edge, strict=True):
        assert f"{scores[arm].mean:.2f}" in text and text.startswith("◂") == (scores[arm].mean < 0.5)
