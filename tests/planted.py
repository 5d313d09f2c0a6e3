"""Generators with a known fault, and sets without one, on rendered leaves."""

from __future__ import annotations

import numpy as np

from pipeline.images.sample import CLASSES, render_leaf

SIDE = 32


def leaves(counts: dict[str, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rendered leaves, (N, 32, 32, 3) uint8, and their labels."""
    images = [
        render_leaf(name, k, img_resolution=SIDE, seed=seed) for name, count in counts.items() for k in range(count)
    ]
    return np.stack(images), np.repeat([CLASSES.index(name) for name in counts], list(counts.values()))


def replayed(images: np.ndarray, seed: int, *, noise: float = 10, shift: int = 3) -> np.ndarray:
    """Turned, mirrored, shifted, exposed anew and noised."""
    rng = np.random.default_rng(seed)
    out = []
    for image in images:
        image = np.rot90(image, rng.integers(4))[:, :: rng.choice([-1, 1])]
        y, x = rng.integers(0, 2 * shift + 1, 2)
        image = np.pad(image, ((shift, shift), (shift, shift), (0, 0)), mode="reflect")[y : y + SIDE, x : x + SIDE]
        out.append(image * rng.uniform(0.9, 1.1) + rng.normal(0, noise, image.shape))
    return np.clip(out, 0, 255).astype(np.uint8)


def blurred(images: np.ndarray, times: int) -> np.ndarray:
    """Smoothed as an early generator's are."""
    x = images.astype(np.float32)
    for _ in range(times):
        for axis in (1, 2):
            x = (np.roll(x, 1, axis) + 2 * x + np.roll(x, -1, axis)) / 4
    return x.astype(np.uint8)


def mixed(images: np.ndarray, labels: np.ndarray, seed: int, *, parts: int = 3) -> np.ndarray:
    """Each a convex mix of several images of its class."""
    rng = np.random.default_rng(seed)
    out = []
    for label in labels:
        rows = rng.choice(np.flatnonzero(labels == label), parts, replace=False)
        out.append(np.tensordot(rng.dirichlet([2.0] * parts), images[rows].astype(float), 1))
    return np.stack(out).astype(np.uint8)
