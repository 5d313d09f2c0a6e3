"""What one change of recipe does: arms that differ by one thing, and the size of a difference in words people use."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

# effect → (arm with it, arm without it); the two differ by nothing else.
EFFECTS = {
    "synthetic_images": ("synthetic", "balanced"),
    "synthetic_images_beside_classic": ("synthetic_classic", "classic"),
    "filtering": ("filtered", "synthetic"),
    "filtering_beside_classic": ("filtered_classic", "synthetic_classic"),
    "classic_augmentation": ("classic", "balanced"),
    "stronger_augmentation": ("strong", "classic"),
    "more_than_flips": ("classic", "flips"),
    "more_work": ("classic_long", "classic"),
    "balancing": ("balanced", "real"),
    "background": ("classic", "classic_masked"),
    "resolution": ("classic", "classic_small"),
}
EFFECT_WORDS = {
    "synthetic_images": "adding synthetic images",
    "synthetic_images_beside_classic": "adding synthetic images to classic augmentation",
    "filtering": "filtering the synthetic images",
    "filtering_beside_classic": "filtering them, beside classic augmentation",
    "classic_augmentation": "classic augmentation (flips, crops, colour)",
    "stronger_augmentation": "augmenting more strongly",
    "more_than_flips": "turning, cropping and recolouring beside flips",
    "more_work": "more work on the photos, as a GAN takes too: views or steps",
    "balancing": "drawing the classes equally often",
    "background": "leaving the background in the picture",
    "resolution": "training on the photos at their own resolution, not the GAN's",
}


class Change(NamedTuple):
    """How the answers of one arm differ from those of another, over all seeds.

    Attributes:
        gained: Of 100 test images, those that only the first arm gets right (mean over seeds).
        lost: Those that only the second gets right. gained - lost is the difference in accuracy, in points.
        cohen_h: 2 asin √a - 2 asin √b of the accuracies a and b (Cohen 1988, "Statistical power analysis", chapter
            6): 0.2 is called small, 0.5 medium, 0.8 large. Unlike a difference in points it counts the step from 98 to
            99% for more than that from 50 to 51%; unlike a p value it does not grow with the number of images.
    """

    gained: float
    lost: float
    cohen_h: float


def effects_among(arms: ArrayLike) -> dict[str, tuple[str, str]]:
    """The entries of `EFFECTS` of which both arms are there."""
    there = set(arms)
    return {name: pair for name, pair in EFFECTS.items() if there.issuperset(pair)}


def describe_change(labels: ArrayLike, predicted: ArrayLike, other: ArrayLike) -> Change:
    """Compare two arms answer by answer.

    Args:
        labels: (N,) true classes.
        predicted: (S, N) predicted classes of the first arm.
        other: (S, N) of the second, by the same seeds.
    """
    first, second = np.asarray(predicted) == np.asarray(labels), np.asarray(other) == np.asarray(labels)
    angles = [2 * np.arcsin(np.sqrt(right.mean())) for right in (first, second)]
    return Change(
        float(100 * (first & ~second).mean()), float(100 * (second & ~first).mean()), float(angles[0] - angles[1])
    )
