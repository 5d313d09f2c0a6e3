"""Sample grids and the film of a training, as files people open."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

CELL_PX = 64  # smallest side of a cell, so that a 32-px sample can still be seen
GAP_PX = 2


def grid(images: np.ndarray, columns: int) -> Image.Image:
    """Lay (N, H, W, 3) uint8 images out in rows of `columns`, small ones enlarged by a whole factor."""
    side = images.shape[1]
    factor = max(1, CELL_PX // side)
    images = images.repeat(factor, axis=1).repeat(factor, axis=2)
    step = side * factor + GAP_PX
    rows = -(-len(images) // columns)
    canvas = np.full((rows * step + GAP_PX, columns * step + GAP_PX, 3), 255, np.uint8)
    for k, image in enumerate(images):
        y, x = GAP_PX + k // columns * step, GAP_PX + k % columns * step
        canvas[y : y + side * factor, x : x + side * factor] = image
    return Image.fromarray(canvas)


def save_film(frames: list[Path], path: Path, *, milliseconds: int = 250, hold: int = 8) -> None:
    """An endless GIF of the grids in order; the last one stays on `hold` times as long."""
    pictures = [Image.open(frame).convert("P", palette=Image.Palette.ADAPTIVE) for frame in frames]
    durations = [milliseconds] * (len(pictures) - 1) + [milliseconds * hold]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=durations, loop=0)
