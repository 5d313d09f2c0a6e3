"""Pictures of what may have been copied: nearest train images beside synthetic ones, and how near all of them are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from pipeline.report.class_labels import class_labels
from pipeline.report.plots import MUTED, STYLE, _save

SPACES = {"pixel": "by pixels", "leaf": "by a leaf classifier", "lite0": "by a pretrained network"}
SYNTHETIC, HELD_OUT, ALARM = "#e69f00", "#0072b2", "#a32a1c"


def draw_copy_scores(path: str | Path, distances: Sequence[Mapping[str, str]]) -> None:
    """Copy scores of synthetic and held-out images, a panel a space.

    Args:
        path: A .png.
        distances: Rows of distances.csv.
    """
    spaces = list(dict.fromkeys(row["space"] for row in distances))
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(9.2, 2.9), layout="constrained")
        axes = np.atleast_1d(fig.subplots(1, len(spaces), sharex=True))
        edges = np.linspace(0, 1, 41)
        for ax, space in zip(axes, spaces, strict=True):
            rows = [row for row in distances if row["space"] == space]
            synthetic = np.array([float(row["score"]) for row in rows if row["set"] == "synthetic"])
            held = np.array([float(row["score"]) for row in rows if row["set"] != "synthetic"])
            for scores, color, label, fill in [
                (held, HELD_OUT, f"{len(held)} held-out real", False),
                (synthetic, SYNTHETIC, f"{len(synthetic)} synthetic", True),
            ]:
                shares = np.histogram(np.clip(scores, 0, 1), edges)[0] / max(len(scores), 1)
                ax.stairs(shares, edges, fill=fill, color=color, alpha=0.55 if fill else 1, linewidth=1.6, label=label)
            ax.grid(axis="x", visible=False)
            ax.set_title(SPACES.get(space, f"by {space}"))
            ax.set_xlabel("copy score: ← copy · as far as others →")
            ax.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1, decimals=0))
            ax.legend(loc="upper left", fontsize=8.5)
        axes[0].set_ylabel("share of images")
        _save(fig, path)


def draw_closest_pairs(
    path: str | Path,
    nearest: Sequence[Mapping[str, str]],
    synthetic: Mapping[tuple[str, str], np.ndarray],
    train: Mapping[tuple[str, str], np.ndarray],
    *,
    most: int = 12,
    columns: int = 4,
) -> None:
    """The likeliest copies, each beside its nearest train image.

    Args:
        path: A .png.
        nearest: Rows of nearest.csv.
        synthetic: (class, file) → (H, W, 3) uint8.
        train: The same of train.
        most: Pairs to draw.
        columns: Pairs a row.
    """
    shown = nearest[:most]
    classes = dict.fromkeys(name for name, _ in (*train, *synthetic))  # train holds all, in order
    alone, beside = (class_labels(classes, length, lines=1) for length in (26, 13))
    rows = max(1, -(-len(shown) // columns))
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        fig = Figure(figsize=(9.2, 0.1 + 1.42 * rows))
        grid = fig.subplots(rows, columns, squeeze=False)
        fig.subplots_adjust(left=0.005, right=0.995, top=1 - 0.3 / fig.get_figheight(), bottom=0.01, hspace=0.24)
        for ax in grid.ravel():
            ax.set_axis_off()
        for ax, row in zip(grid.ravel(), shown, strict=False):
            left, right = synthetic[row["class"], row["file"]], train[row["train_class"], row["train_file"]]
            side = len(left)
            strip = np.full((side, 2 * side + 2, 3), 255, np.uint8)
            strip[:, :side], strip[:, -side:] = left, right
            ax.imshow(strip, interpolation="nearest")
            other = row["train_class"] != row["class"]
            names = f"{beside[row['class']]} | {beside[row['train_class']]}" if other else alone[row["class"]]
            copy, p = int(row["copy"]), float(row["p_value"])
            chance = "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
            ax.set_title(
                f"{names}, {chance}", fontsize=8, pad=3, loc="center",
                color=ALARM if copy else MUTED, weight="bold" if copy else "normal",
            )  # fmt: skip
        _save(fig, path)
