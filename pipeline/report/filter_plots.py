"""The pictures of the filter's section: what each rule turned away, and images that passed beside some that did not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from pipeline.report.class_labels import class_labels
from pipeline.report.plots import INK, MUTED, STYLE, _save
from pipeline.report.table import read_rows

EXAMPLES = 8  # a class and side: as many rejected ones as the stage keeps
ACCEPTED = "#0b6b4b"
RULE_COLORS = {
    "agreement": "#d55e00",
    "confidence": "#e69f00",
    "density": "#56b4e9",
    "copies": "#cc79a7",
    "duplicates": "#9a9a9a",
}
RULE_LABELS = {
    "agreement": "taken for another class",
    "confidence": "recognised too unsurely",
    "density": "far from train images",
    "copies": "too like a train image",
    "duplicates": "too like an accepted one",
}


def draw_filter(
    out_dir: str | Path, filter_dir: str | Path, filtered_dir: str | Path, classes: Sequence[str]
) -> dict[str, Path]:
    """Both pictures from what `filter_synthetic` leaves.

    Args:
        out_dir: Gets `filter_funnel.png` and `filter_examples.png`.
        filter_dir: Its log, `results/filter`.
        filtered_dir: The accepted images, `data/filtered`.
        classes: All class names.

    Returns:
        `funnel` and `examples` to the files; nothing where filtering is off.
    """
    filter_dir, filtered_dir, out_dir = Path(filter_dir), Path(filtered_dir), Path(out_dir)
    rows = read_rows(filter_dir / "acceptance.csv")
    if not rows:
        return {}
    candidates, real = funnel_counts(rows)
    accepted: dict[str, list[np.ndarray]] = {name: [] for name in candidates}
    rejected: dict[str, list[tuple[str, np.ndarray]]] = {name: [] for name in candidates}
    for row in read_rows(filter_dir / "candidates.csv"):
        name, rule, file = row["class"], row["rejected_by"], f"{row['class']}_seed{int(row['seed']):06d}.png"
        images = (rejected if rule else accepted)[name]
        path = (filter_dir / "rejected" if rule else filtered_dir) / name / file
        if len(images) < EXAMPLES:
            with Image.open(path) as opened:
                image = np.asarray(opened)
            images.append((rule, image) if rule else image)
    pictures = {name: out_dir / f"filter_{name}.png" for name in ("funnel", "examples")}
    labels = class_labels(classes)
    draw_funnel(pictures["funnel"], candidates, real, labels)
    draw_examples(pictures["examples"], accepted, rejected, labels)
    return pictures


def funnel_counts(rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, int]]]:
    """Rows of `acceptance.csv` as class → `accepted` or rule → number: of the candidates, and of real val images."""
    candidates: dict[str, dict[str, int]] = {}
    real: dict[str, dict[str, int]] = {}
    for row in rows:
        of, of_val = candidates.setdefault(row["class"], {}), real.setdefault(row["class"], {})
        of[row["rule"]], of["accepted"] = int(row["rejected"]), int(row["accepted"])
        if row["val_seen"] != "":
            of_val[row["rule"]] = int(row["val_rejected"])
            of_val["accepted"] = int(row["val_seen"]) - int(row["val_rejected"])
    return candidates, real


def draw_funnel(
    path: str | Path,
    candidates: Mapping[str, Mapping[str, int]],
    real: Mapping[str, Mapping[str, int]],
    labels: Mapping[str, str],
) -> None:
    """A bar a class: the share of candidates accepted and turned away by each rule; below it real val images.

    Args:
        path: A .png.
        candidates: class → `accepted` or rule → candidates.
        real: The same of real val images.
        labels: class → what stands for it.
    """
    classes = list(candidates)
    parts = ["accepted", *(rule for rule in RULE_LABELS if any(rule in of for of in candidates.values()))]
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        fig = Figure(figsize=(9.2, 0.9 + 0.62 * len(classes)), layout="constrained")
        ax = fig.subplots()
        ticks, names = [], []
        for row, name in enumerate(classes):
            bars = ((0.0, 0.34, candidates[name], "synthetic"), (0.36, 0.24, real[name], "real val"))
            for offset, height, of, kind in bars:
                total, left, y = sum(of.values()), 0.0, row + offset
                for part in parts:
                    share = of.get(part, 0) / max(total, 1)
                    color = ACCEPTED if part == "accepted" else RULE_COLORS[part]
                    label = RULE_LABELS.get(part, part) if (row, kind) == (0, "synthetic") else None
                    ax.barh(y, share, height, left=left, color=color, label=label, linewidth=0)
                    left += share
                ax.text(1.01, y, f"{of.get('accepted', 0)} of {total}", va="center", fontsize=8, color=MUTED)
                ticks.append(y)
                names.append(labels[name] if kind == "synthetic" else kind)
        ax.set_yticks(ticks, names)
        for tick, kind in zip(ax.get_yticklabels(), names, strict=True):
            tick.set_color(MUTED if kind == "real val" else INK)
            tick.set_fontsize(8 if kind == "real val" else 9.5)
        ax.invert_yaxis()
        ax.set_xlim(0, 1)
        ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
        ax.spines["left"].set_visible(False)
        fig.legend(loc="outside upper left", ncols=3, fontsize=8.5, handlelength=1, columnspacing=1.4)
        _save(fig, path)


def draw_examples(
    path: str | Path,
    accepted: Mapping[str, Sequence[np.ndarray]],
    rejected: Mapping[str, Sequence[tuple[str, np.ndarray]]],
    labels: Mapping[str, str],
    *,
    columns: int = EXAMPLES,
) -> None:
    """The first accepted and the first rejected candidates, a row a class, never picked; a colour names the rule.

    Args:
        path: A .png.
        accepted: class → (H, W, 3) uint8 images.
        rejected: class → (rule, image).
        labels: class → what stands for it.
        columns: Images a side; a class with fewer shows those it has.
    """
    classes = list(accepted)
    rules = [
        rule for rule in RULE_LABELS if any(rule == of for pairs in rejected.values() for of, _ in pairs[:columns])
    ]
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        fig = Figure(figsize=(2.2 + 1.12 * columns, 0.75 + 0.66 * len(classes)))
        height = fig.get_figheight()
        grid = fig.add_gridspec(
            len(classes), 2 * columns + 1, left=0.13, right=0.995, top=1 - 0.3 / height, bottom=0.4 / height,
            wspace=0.12, hspace=0.08, width_ratios=[1] * columns + [0.3] + [1] * columns,
        )  # fmt: skip
        for row, name in enumerate(classes):
            shown = [(None, image) for image in accepted[name][:columns]]
            for first, pairs in ((0, shown), (columns + 1, rejected[name][:columns])):
                for column in range(columns):
                    ax = fig.add_subplot(grid[row, first + column])
                    ax.set_xticks([])
                    ax.set_yticks([])
                    ax.spines[:].set_visible(False)
                    if column < len(pairs):
                        rule, image = pairs[column]
                        ax.imshow(image, interpolation="nearest")
                        if rule is not None:
                            ax.spines[:].set(visible=True, color=RULE_COLORS[rule], linewidth=2.2)
                    if row == column == 0:
                        ax.set_title("rejected" if first else "accepted", pad=5)
                    if first == column == 0:
                        ax.text(-0.15, 0.5, labels[name], transform=ax.transAxes, ha="right", va="center")
        handles = [Patch(color=RULE_COLORS[rule], label=RULE_LABELS[rule]) for rule in rules]
        if handles:
            fig.legend(handles=handles, loc="lower right", ncols=len(handles), fontsize=8.5, handlelength=1)
        _save(fig, path)
