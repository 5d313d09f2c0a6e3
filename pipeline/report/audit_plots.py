"""The picture that shows why a background gives a class away: every border's colour, and images without their leaf."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from pipeline.measure.shortcut import border_colors
from pipeline.report.class_labels import class_labels
from pipeline.report.plots import MUTED, STYLE, _save

GREY = 128  # of what is masked

IMAGES_A_CLASS = 4  # shown whole, as leaf alone and as background alone


def draw_backgrounds(
    path: str | Path,
    images: Mapping[str, np.ndarray],
    leaf_masks: Mapping[str, np.ndarray],
    *,
    columns: int = IMAGES_A_CLASS,
) -> None:
    """A row a class: the border colour of every image, dark to light; then images, their leaves, their backgrounds.

    Args:
        path: A .png.
        images: class → (N, H, W, 3) uint8 of train; all give their border's colour, the first are shown.
        leaf_masks: class → (M, H, W) bool of the first M of them, M of `columns` or more where N is.
        columns: Images shown three times: whole, leaf alone, background alone.
    """
    classes = list(images)
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        fig = Figure(figsize=(11.2, 0.5 + 0.66 * len(classes)))
        grid = fig.add_gridspec(
            len(classes),
            4,
            left=0.14,
            right=0.995,
            top=1 - 0.4 / fig.get_figheight(),
            bottom=0.02,
            wspace=0.03,
            hspace=0.10,
        )
        labels = class_labels(classes, 18, lines=2)
        for row, name in enumerate(classes):
            shown = images[name][:columns]
            leaves = leaf_masks[name][: len(shown), ..., None]
            panels = [
                ("border colour of each image", None),
                ("first images of train", shown),
                ("leaf alone (mask)", np.where(leaves, shown, GREY)),
                ("background alone", np.where(leaves, GREY, shown)),
            ]
            for column, (title, pictures) in enumerate(panels):
                ax = fig.add_subplot(grid[row, column])
                if pictures is None:
                    ax.imshow(_swatches(images[name]), interpolation="nearest", aspect="auto")
                    label = f"{labels[name]}\n{len(images[name])} images"
                    ax.text(-0.04, 0.5, label, transform=ax.transAxes, ha="right", va="center", fontsize=8.5)
                else:
                    ax.imshow(_strip(pictures, columns), interpolation="nearest", aspect="auto")
                ax.set_axis_off()
                if row == 0:
                    ax.set_title(title, pad=5, fontsize=9, color=MUTED)
        _save(fig, path)


def _swatches(images: np.ndarray) -> np.ndarray:
    """The border colours by lightness: (1, N, 3) uint8; one white pixel where there are no images."""
    if len(images) == 0:
        return np.full((1, 1, 3), 255, np.uint8)
    colors = border_colors(images)
    return colors[np.argsort(colors @ [0.299, 0.587, 0.114], kind="stable")][None].astype(np.uint8)


def _strip(pictures: np.ndarray, columns: int) -> np.ndarray:
    side = pictures.shape[1]
    strip = np.full((side, columns * (side + 1), 3), 255, np.uint8)
    for k, picture in enumerate(pictures):
        strip[:, k * (side + 1) : k * (side + 1) + side] = picture
    return strip
