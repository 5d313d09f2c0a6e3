"""The pictures of the report, in one style, the same bytes every time.

Colours are Okabe and Ito's (2008, "Color Universal Design"), told apart by colour-blind readers; controls are
cool with round markers, arms with synthetic images warm with diamonds, so that colour is never the only sign.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.measure.statistics import Interval
from pipeline.report.class_labels import FONT, class_labels

INK, MUTED, RULE = "#1f2a24", "#66736b", "#dfe5e1"
ARM_COLORS = {
    "real": "#3b4540",
    "balanced": "#56b4e9",
    "flips": "#7fb3d5",
    "classic": "#0072b2",
    "strong": "#0b3c5d",
    "classic_long": "#2f5d7c",
    "synthetic": "#e69f00",
    "synthetic_classic": "#d55e00",
    "synthetic_only": "#cc79a7",
    "filtered": "#b8a000",
    "filtered_classic": "#8c3a00",
    "sgan": "#d55e00",
    "supervised": "#3b4540",
    "supervised_classic": "#0072b2",
    "probe": "#009e73",
}
SPARE_COLORS = ("#009e73", "#8c6d31", "#7b68a6", "#999999")

STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": [FONT],
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.edgecolor": RULE,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.dpi": 160,
}


def arm_color(arm: str, arms: Sequence[str] = ()) -> str:
    """An arm's colour, the same in every picture; arms that are not in the table get a spare one."""
    if arm in ARM_COLORS:
        return ARM_COLORS[arm]
    others = [a for a in arms if a not in ARM_COLORS]
    return SPARE_COLORS[(others.index(arm) if arm in others else 0) % len(SPARE_COLORS)]


def arm_marker(arm: str) -> str:
    """Diamonds for what saw synthetic images, circles for what did not."""
    return "D" if "synthetic" in arm or "filtered" in arm or arm == "sgan" else "o"


def draw_arms(
    path: str | Path,
    scores: Mapping[str, Interval],
    differences: Mapping[str, Mapping[str, Interval]],
    *,
    confidence: float = 0.95,
) -> None:
    """Macro-F1 of every arm with its interval, and beside it the differences to the controls.

    An arm that lies far from all others, as `synthetic_only` may, is named at the edge: on the others' scale there is
    no room for it, and on its own the others could not be told apart.

    Args:
        path: PNG to write.
        scores: arm → macro-F1.
        differences: control → arm → interval of (arm - control).
        confidence: Of the intervals, for the title.
    """
    arms = list(scores)
    far = _far_from_the_others(scores)
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(9.2, 1.25 + 0.42 * len(arms)), layout="constrained")
        axes = fig.subplots(1, 1 + len(differences), sharey=True, width_ratios=[1.5] + [1] * len(differences))
        axes = np.atleast_1d(axes)
        panels = [("Macro-F1 on test", scores)]
        panels += [(f"minus {control}", of_arm) for control, of_arm in differences.items()]
        for ax, (title, values) in zip(axes, panels, strict=True):
            ax.grid(axis="y", visible=False)
            ax.spines["left"].set_visible(False)
            if ax is not axes[0]:
                ax.axvline(0, color=MUTED, linewidth=1, zorder=1)
            for y, arm in enumerate(arms):
                if arm in values and arm in far:
                    _at_the_edge(ax, values[arm].mean, y, arm, arms, left=scores[arm].mean < far[arm])
                elif arm in values:
                    _interval(ax, values[arm], y, arm, arms)
            ax.set_title(title)
            ax.xaxis.set_major_locator(MaxNLocator(4))
        if len(axes) > 1:
            reach = max(abs(v) for ax in axes[1:] for v in ax.get_xlim())
            for ax in axes[1:]:
                ax.set_xlim(-reach, reach)
        axes[0].set_yticks(range(len(arms)), arms)
        axes[0].set_ylim(len(arms) - 0.4, -0.6)
        fig.supxlabel(
            f"mean over seeds, {confidence:.0%} interval over seeds and test images",
            fontsize=8.5,
            color=MUTED,
        )
        _save(fig, path)


def draw_classes(path: str | Path, scores: Mapping[str, Mapping[str, Interval]], counts: Mapping[str, int]) -> None:
    """F1 of each class, every arm with its interval.

    Args:
        path: PNG to write.
        scores: arm → class → F1.
        counts: class → test images.
    """
    arms, classes = list(scores), list(counts)
    many = len(classes) > 12  # then without intervals, or the picture would be metres long
    step = 0.0 if many else 0.8 / max(len(arms), 1)
    height = 1.2 + len(classes) * (0.26 if many else 0.16 * len(arms) + 0.2)
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(9.2, height), layout="constrained")
        ax = fig.subplots()
        ax.grid(axis="y", visible=False)
        ax.spines["left"].set_visible(False)
        for row in range(1, len(classes)):
            ax.axhline(row - 0.5, color=RULE, linewidth=0.8)
        for i, arm in enumerate(arms):
            for row, name in enumerate(classes):
                y = row + (i - (len(arms) - 1) / 2) * step
                _interval(ax, scores[arm][name], y, arm, arms, label=arm if row == 0 else None, bar=not many)
        labels = class_labels(classes, lines=1 if many else 3)
        ax.set_yticks(
            range(len(classes)),
            [f"{labels[c]}\n{counts[c]} images" if not many else labels[c] for c in classes],
        )
        ax.set_ylim(len(classes) - 0.5, -0.5)
        ax.set_xlim(-0.02, 1.02)
        fig.legend(loc="outside upper center", ncols=min(len(arms), 6), fontsize=8.5, handletextpad=0.3)
        _save(fig, path)


def draw_confusion(path: str | Path, matrix: np.ndarray, classes: Sequence[str], *, title: str) -> None:
    """A confusion matrix as shares of the true class.

    Args:
        path: PNG to write.
        matrix: (K, K) counts, true by predicted, summed over seeds.
        classes: K names.
        title: Above it.
    """
    k = len(classes)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = min(2.0 + 0.5 * k, 9.0)
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(side, side), layout="constrained")
        ax = fig.subplots()
        ax.grid(visible=False)
        ax.spines[:].set_visible(False)
        ax.imshow(shares, cmap=_leaf_map(), vmin=0, vmax=1)
        if k <= 12:
            for i in range(k):
                for j in range(k):
                    color = "white" if shares[i, j] > 0.55 else INK if shares[i, j] >= 0.005 else "#aab4ae"
                    ax.text(j, i, f"{shares[i, j] * 100:.0f}", ha="center", va="center", color=color, fontsize=9)
        size = 9 if k <= 12 else 6
        labels = list((class_labels(classes, 14) if k <= 12 else class_labels(classes, 26, lines=2)).values())
        ax.set_xticks(range(k), labels, rotation=45, ha="right", fontsize=size)
        ax.set_yticks(range(k), labels, fontsize=size)
        ax.set_xlabel("predicted, % of the true class")
        ax.set_ylabel("true")
        ax.set_title(title)
        _save(fig, path)


def draw_learning_curves(path: str | Path, curves: Mapping[str, Mapping[int, np.ndarray]]) -> None:
    """Macro-F1 on val over the optimiser steps: mean over seeds, and from the worst to the best seed.

    Args:
        path: PNG to write.
        curves: arm → seed → (points, 2) of step and macro-F1.
    """
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(9.2, 3.6), layout="constrained")
        ax = fig.subplots()
        for arm, seeds in curves.items():
            steps = sorted(set.intersection(*({float(s) for s, _ in points} for points in seeds.values())))
            if not steps:
                continue
            values = np.array([[dict(map(tuple, points))[s] for s in steps] for points in seeds.values()])
            color = arm_color(arm, list(curves))
            ax.fill_between(steps, values.min(0), values.max(0), color=color, alpha=0.10, linewidth=0)
            dashes = "--" if arm_marker(arm) == "D" else "-"
            ax.plot(steps, values.mean(0), dashes, color=color, linewidth=1.8, label=arm)
        ax.set_xlabel("optimiser steps")
        ax.set_title("Macro-F1 on val")
        ax.margins(x=0.01)
        fig.legend(loc="outside right center", fontsize=8.5)
        _save(fig, path)


def draw_label_budgets(path: str | Path, scores: Mapping[str, Mapping[str, Interval]]) -> None:
    """Macro-F1 on test over the label budget.

    Args:
        path: PNG to write.
        scores: method (`sgan`, `supervised`, `supervised_classic`, `probe`) → budget → macro-F1.
    """
    budgets = list(dict.fromkeys(b for of in scores.values() for b in of))
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(9.2, 3.4), layout="constrained")
        ax = fig.subplots()
        ax.grid(axis="x", visible=False)
        for i, (method, of_budget) in enumerate(scores.items()):
            x = np.array([budgets.index(b) for b in of_budget]) + (i - (len(scores) - 1) / 2) * 0.06
            mean = np.array([v.mean for v in of_budget.values()])
            ends = np.array([[v.lower, v.upper] for v in of_budget.values()])
            color, dashes = arm_color(method, list(scores)), "--" if arm_marker(method) == "D" else "-"
            ax.vlines(x, ends[:, 0], ends[:, 1], color=color, linewidth=2, alpha=0.75)
            ax.plot(
                x,
                mean,
                dashes,
                color=color,
                linewidth=1.4,
                marker=arm_marker(method),
                markersize=6,
                label=method,
            )
        ax.set_xticks(range(len(budgets)), budgets)
        ax.set_xlim(-0.4, len(budgets) - 0.6)
        ax.set_xlabel("labelled images a class")
        ax.set_title("Macro-F1 on test")
        fig.legend(loc="outside right center", fontsize=8.5)
        _save(fig, path)


def draw_side_by_side(
    path: str | Path, real: Mapping[str, np.ndarray], synthetic: Mapping[str, np.ndarray], *, columns: int = 8
) -> None:
    """Real images beside synthetic ones, a row a class: the first of each, never picked.

    Args:
        path: A .png.
        real: class → (N, H, W, 3) uint8 of train.
        synthetic: class → the same of the synthetic set.
        columns: Images a side; a class with fewer shows those it has.
    """
    classes = list(real)
    labels = class_labels(classes, 18)
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        fig = Figure(figsize=(2.2 + 1.12 * columns, 0.45 + 0.6 * len(classes)))
        grid = fig.add_gridspec(
            len(classes),
            2,
            left=0.15,
            right=0.995,
            top=1 - 0.36 / fig.get_figheight(),
            bottom=0.02,
            wspace=0.03,
            hspace=0.06,
        )
        for row, name in enumerate(classes):
            for column, (title, images) in enumerate([("real (train)", real[name]), ("synthetic", synthetic[name])]):
                ax = fig.add_subplot(grid[row, column])
                ax.imshow(strip_of(images, columns), interpolation="nearest", aspect="auto")
                ax.set_axis_off()
                if row == 0:
                    ax.set_title(title, pad=5)
                if column == 0:
                    ax.text(-0.02, 0.5, labels[name], transform=ax.transAxes, ha="right", va="center")
        _save(fig, path)


def strip_of(images: np.ndarray, columns: int) -> np.ndarray:
    """The first images side by side, white between and where there are fewer: (H, columns (H + 1), 3) uint8.

    Args:
        images: (N, H, H, 3) uint8.
        columns: Places.
    """
    side = images.shape[1]
    strip = np.full((side, columns * (side + 1), 3), 255, np.uint8)
    for k, image in enumerate(images[:columns]):
        strip[:, k * (side + 1) : k * (side + 1) + side] = image
    return strip


def _interval(ax, value: Interval, y: float, arm: str, arms: Sequence[str], label: str | None = None, bar: bool = True):
    color = arm_color(arm, arms)
    if bar:
        ax.plot([value.lower, value.upper], [y, y], color=color, linewidth=2.2, alpha=0.75, solid_capstyle="round")
    size = 6 if arm_marker(arm) == "D" else 6.5
    ax.plot(
        [value.mean], [y], arm_marker(arm), color=color, markersize=size, markeredgecolor="white",
        markeredgewidth=0.8, label=label, linestyle="none",
    )  # fmt: skip


def _far_from_the_others(scores: Mapping[str, Interval]) -> dict[str, float]:
    """Arm to the middle of the others, where these would have less than two fifths of the width beside it."""
    far: dict[str, float] = {}
    for arm, own in scores.items() if len(scores) > 3 else ():  # of two each would be far from the other
        others = [of for name, of in scores.items() if name != arm]
        lower, upper = min(of.lower for of in others), max(of.upper for of in others)
        if max(lower - own.upper, own.lower - upper) > 1.5 * (upper - lower):
            far[arm] = (lower + upper) / 2
    return far


def _at_the_edge(ax, mean: float, y: float, arm: str, arms: Sequence[str], *, left: bool):
    text, x, side = (f"◂ {mean:.2f}", 0.0, "left") if left else (f"{mean:.2f} ▸", 1.0, "right")
    color, of_axes = arm_color(arm, arms), ax.get_yaxis_transform()
    ax.text(x, y, text, transform=of_axes, ha=side, va="center", color=color, fontsize=9)


def _leaf_map():
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("leaf", ["#f6f8f6", "#b9dcc6", "#4c9f78", "#0b4f3a"])


def _save(fig: Figure, path: str | Path) -> None:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, metadata={"Software": None})  # or matplotlib's version would be in the bytes
