"""Leaf and background apart, so that a classifier can be shown the one without the other.

GrabCut (Rother, Kolmogorov, Blake 2004, "GrabCut: interactive foreground extraction using iterated graph cuts"), its
colour models seeded by the picture's border: what is coloured like most of the border is background, what lies well
away from it may be leaf. It sees colours with lightness halved and chroma doubled, since a shadow on the sheet differs
from the sheet in lightness alone.

It is no botanist: where the leaf fills the picture, or has the colour of what it lies on, it fails. A mask of nearly
nothing or nearly all is not believed, and an ellipse in the middle of the picture stands for it: most leaves lie
there, and the border, where backgrounds differ most, does not.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from pipeline import InputError
from pipeline.images.store import Store

GREY = 128  # what is painted over
RIM = 1  # px, see `mask`
LEAST, MOST = 0.03, 0.90  # share of the picture that a leaf can take
MAX_SIDE = 64  # px in which the leaf is looked for
_FRAME = 0.06  # width of the border, as a share of the side
LIGHTNESS = 0.2  # a shadow on the sheet differs from it in lightness, and hardly in colour
_ITERATIONS = 4
# Of the largest piece: smaller pieces are crumbs, and at the picture's edge rather the end of the sheet
_SMALL, _SMALL_AT_EDGE = 0.15, 0.6
_ELLIPSE = 0.38  # half axes, as a share of the sides


def leaf_mask(images: np.ndarray) -> np.ndarray:
    """Which pixels are leaf.

    Args:
        images: (N, H, W, 3) uint8 RGB.

    Returns:
        (N, H, W) bool; each image's depends on it alone.
    """
    return find_leaves(images)[0]


def find_leaves(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`leaf_mask`, and (N,) bool: whether the leaf was found, or the ellipse stands for it."""
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise ValueError(f"images must be (N, H, W, 3) uint8. Got {images.shape} {images.dtype} instead.")
    masks = np.zeros(images.shape[:3], dtype=bool)
    found = np.zeros(len(images), dtype=bool)

    def one(i: int) -> None:
        mask = _grab_cut(images[i])
        found[i] = LEAST <= mask.mean() <= MOST
        masks[i] = mask if found[i] else _ellipse(*mask.shape)

    with ThreadPoolExecutor(max(1, min(8, os.cpu_count() or 1))) as pool:
        list(pool.map(one, range(len(images))))
    return masks, found


def keep(images: np.ndarray) -> np.ndarray:
    """The images as they are."""
    return images


def mask(images: np.ndarray) -> np.ndarray:
    """The leaf alone: the background in neutral grey, and the leaf's rim, in whose pixels both are mixed."""
    import cv2

    return np.where(_each(cv2.erode, leaf_mask(images))[..., None], images, np.uint8(GREY))


def only(images: np.ndarray) -> np.ndarray:
    """The background alone: the leaf in neutral grey, and a rim around it; its outline is left to be seen."""
    import cv2

    return np.where(_each(cv2.dilate, leaf_mask(images))[..., None], np.uint8(GREY), images)


# name in params.yaml -> what is done to (N, H, W, 3) uint8 images
BACKGROUNDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"keep": keep, "mask": mask, "only": only}


def with_background(store: Store, background: str) -> Store:
    """A store whose images are treated as BACKGROUNDS says.

    Raises:
        InputError: No such name.
    """
    if background not in BACKGROUNDS:
        raise InputError(
            f"background: expected one of {', '.join(BACKGROUNDS)}, found '{background}'; mend it in params.yaml."
        )
    return store._replace(images=BACKGROUNDS[background](store.images))


def _each(morphology: Callable, masks: np.ndarray) -> np.ndarray:
    """Each mask shrunk or grown by RIM pixels, the picture's edge no rim: (N, H, W) bool."""
    kernel = np.ones((2 * RIM + 1, 2 * RIM + 1), np.uint8)
    return np.array([morphology(m.astype(np.uint8), kernel) for m in masks], dtype=bool).reshape(masks.shape)


def _grab_cut(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 to (H, W) bool, of any size, also empty or full."""
    import cv2

    height, width = image.shape[:2]
    scale = min(1.0, MAX_SIDE / max(height, width))
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if (width, height) != size else image
    colours = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float32) - [0, 128, 128]
    colours *= [LIGHTNESS, 2.0, 2.0]

    frame = np.zeros(size[::-1], dtype=bool)
    thickness = max(1, round(_FRAME * min(size)))
    frame[:thickness] = frame[-thickness:] = frame[:, :thickness] = frame[:, -thickness:] = True
    border = colours[frame]
    middle = np.median(border, axis=0)
    spread = np.maximum(1.4826 * np.median(np.abs(border - middle), axis=0), [4.0, 3.0, 3.0])
    away = np.sqrt((((colours - middle) / spread) ** 2).sum(axis=2))  # deviations from the border's usual colour

    seeds = np.full(size[::-1], cv2.GC_PR_BGD, np.uint8)
    seeds[away > 5] = cv2.GC_PR_FGD
    seeds[frame & (away <= 5)] = cv2.GC_BGD
    if not (seeds == cv2.GC_PR_FGD).any() or not (seeds == cv2.GC_BGD).any():
        return np.zeros((height, width), dtype=bool)
    shown = np.clip(colours + np.array([0, 128, 128]), 0, 255).astype(np.uint8)
    cv2.setRNGSeed(0)  # this thread's: k-means, which GrabCut begins with, would go on from the picture before
    cv2.grabCut(shown, seeds, None, np.zeros((1, 65)), np.zeros((1, 65)), _ITERATIONS, cv2.GC_INIT_WITH_MASK)
    leaf = np.isin(seeds, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    leaf = _whole(cv2.morphologyEx(leaf, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)))
    return cv2.resize(leaf, (width, height), interpolation=cv2.INTER_NEAREST) > 0


def _whole(leaf: np.ndarray) -> np.ndarray:
    """The large pieces, their holes filled: a lesion may be as pale as the sheet."""
    import cv2

    _, pieces, stats, _ = cv2.connectedComponentsWithStats(leaf, connectivity=4)
    areas = stats[1:, cv2.CC_STAT_AREA]
    if len(areas) == 0:
        return leaf
    at_edge = np.isin(np.arange(1, len(stats)), np.concatenate([pieces[[0, -1]].ravel(), pieces[:, [0, -1]].ravel()]))
    enough = areas >= np.where(at_edge, _SMALL_AT_EDGE, _SMALL) * areas.max()
    kept = np.isin(pieces, 1 + np.flatnonzero(enough)).astype(np.uint8)
    outlines, _ = cv2.findContours(kept, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.zeros_like(kept), outlines, -1, 1, cv2.FILLED)


def _ellipse(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return ((x - (width - 1) / 2) / (_ELLIPSE * width)) ** 2 + ((y - (height - 1) / 2) / (_ELLIPSE * height)) ** 2 <= 1
