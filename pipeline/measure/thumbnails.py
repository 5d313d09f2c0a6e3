"""How far apart two pictures are to someone who looks for copies: shifted, mirrored, turned or noised, they are one.

Pictures are averaged down to 32 x 32 and smoothed over about four of these pixels, which takes noise away. The middle
three quarters of the one, a pixel in two, are then laid over the other in each of 9 x 9 places (up to an eighth of
the side off the middle, either way) and 8 orientations (mirrored, turned by quarters), every window less its mean
colour, so that exposure and tint do not count. The distance is the least root mean squared difference of all 648.

It does not see through zoom, through turns by other angles, or through a picture put together from parts of several.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

SIDE = 32
SHIFT = 4  # pixels of the thumbnail, either way
STRIDE = 2  # smoothed as they are, neighbours say the same
WINDOW = SIDE - 2 * SHIFT
SMOOTHING = np.array([1, 4, 6, 4, 1]) / 16  # twice: a Gaussian of 1.4 pixels


def thumbnails(images: np.ndarray) -> np.ndarray:
    """(N, H, W, 3) uint8, each side 16 px or more, to (N, 32, 32, 3) float32 in [0, 1], smoothed.

    Raises:
        ValueError: Not such images.
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8 or min(images.shape[1:3]) < 16:
        raise ValueError(
            f"images must be (N, H, W, 3) uint8, 16 px or more. Got {images.shape} {images.dtype} instead."
        )
    rows, columns = (_averaging(side) for side in images.shape[1:3])
    small = np.empty((len(images), SIDE, SIDE, 3), dtype=np.float32)
    for i, image in enumerate(images):  # one at a time: a float copy of a whole set would be large
        across = np.tensordot(columns, image.astype(np.float32) / 255, axes=(1, 1))  # (32, H, 3)
        small[i] = np.tensordot(rows, across, axes=(1, 1))
    return small


def _averaging(side: int) -> np.ndarray:
    """(32, side) float32: each row averages the pixels under one of the thumbnail's, in shares, and smooths."""
    edges = np.arange(SIDE + 1) * side / SIDE
    pixels = np.arange(side)
    shares = np.clip(np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels), 0, None)
    shares *= SIDE / side
    for _ in range(2):
        padded = np.pad(shares, ((2, 2), (0, 0)), mode="edge")
        shares = sum(weight * padded[i : i + SIDE] for i, weight in enumerate(SMOOTHING))
    return shares.astype(np.float32)


def middles(small: np.ndarray) -> np.ndarray:
    """The middle window of each thumbnail, less its mean colour: (N, 32, 32, 3) to (N, 432) float32."""
    return _window(np.asarray(small, dtype=np.float32), SHIFT, SHIFT)


def _window(small: np.ndarray, y: int, x: int) -> np.ndarray:
    cut = small[:, y : y + WINDOW : STRIDE, x : x + WINDOW : STRIDE]
    return (cut - cut.mean(axis=(1, 2), keepdims=True)).reshape(len(small), -1)


def pixel_distances(queries: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Distance of every query to every reference, as the module's head defines it.

    The middle of the query is laid over the reference, not the other way round, so distances within one set are
    not quite symmetric.

    Args:
        queries: (Q, 32, 32, 3) thumbnails.
        references: (R, 32, 32, 3) thumbnails.

    Returns:
        (Q, R) float32, 0 or more, in units of the pixel range.
    """
    middle = middles(queries)
    references = np.asarray(references, dtype=np.float32)
    least = np.full((len(middle), len(references)), np.inf, dtype=np.float32)
    orders, orientations_at = _orientations()
    turned = [middle.reshape(len(middle), -1, 3)[:, order].reshape(len(middle), -1) for order in orders]
    for (y, x), orientations in orientations_at.items():
        window = _window(references, y, x)  # (R, 432)
        # |q - w|² = |q|² + |w|² - 2 q·w, |q|² added at the end
        twice, squares = (-2 * window).T, np.square(window).sum(axis=1)
        for orientation in orientations:
            apart = turned[orientation] @ twice
            apart += squares
            np.minimum(least, apart, out=least)
    least += np.square(middle).sum(axis=1)[:, None]
    return np.sqrt(np.maximum(least, 0) / middle.shape[1])


def _orientations() -> tuple[list[np.ndarray], dict[tuple[int, int], list[int]]]:
    """Turned windows as windows of what is not turned: 100 of these hold all 648, with the query turned instead.

    Returns:
        For each orientation the order in which a query's pixels lie over such a window, and for each upper left corner
        of a window the orientations that it is among.
    """
    orders, orientations_at = [], defaultdict(list)
    pixels = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    facings = [turned[:, ::step] for turned in (np.rot90(pixels, quarter) for quarter in range(4)) for step in (1, -1)]
    for orientation, facing in enumerate(facings):
        orders.append(np.argsort(facing[:WINDOW:STRIDE, :WINDOW:STRIDE], axis=None))
        for y in range(2 * SHIFT + 1):
            for x in range(2 * SHIFT + 1):
                corner = divmod(int(facing[y : y + WINDOW : STRIDE, x : x + WINDOW : STRIDE].min()), SIDE)
                orientations_at[corner].append(orientation)
    return orders, orientations_at
