"""Classic augmentation of the downstream classifier: named policies of albumentations transforms.

`Compose(seed=s)` of albumentations 2.0.8 gives every transform the same seed, so that, for instance, both
flips always fire together. Here each transform gets a stream of its own, spawned from (seed, purpose, index):
an augmented image depends on that key alone, not on the images drawn before it.
"""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from pipeline import InputError
from pipeline.images.seeding import seed_sequence

if TYPE_CHECKING:
    from albumentations import BasicTransform


class Policy:
    """A list of transforms, applied one after another, each with its own random stream."""

    def __init__(self, transforms: list[BasicTransform]) -> None:
        self.transforms = transforms

    def __call__(self, image: np.ndarray, seed: int, *index: int) -> np.ndarray:
        """Augment one image.

        Args:
            image: (H, W, 3) uint8 RGB; left as it is.
            seed: Seed of the run.
            *index: Where the draw stands in the run, such as (step, place in the batch).

        Returns:
            (H, W, 3) uint8, the same bytes for the same image, seed and index.
        """
        streams = seed_sequence(seed, "augment", *index).spawn(len(self.transforms))
        for transform, stream in zip(self.transforms, streams, strict=True):
            transform.set_random_state(np.random.default_rng(stream), random.Random(int(stream.generate_state(1)[0])))
            image = transform(image=image)["image"]
        return image


def none_policy(img_resolution: int) -> list[BasicTransform]:
    """Nothing: the images as they are."""
    return []


def flips_policy(img_resolution: int) -> list[BasicTransform]:
    """What changes nothing that a leaf's photograph could mean: a leaf has no up or down."""
    import albumentations as A

    return [A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)]


def classic_policy(img_resolution: int) -> list[BasicTransform]:
    """What a practitioner would do to leaf photographs without a GAN.

    Its colour tells the disease, hence hue and saturation move
    only a little. All is mild, so that some hundred steps suffice to learn from it: a strong policy would lose
    to none for want of steps, and be too easy a rival for synthetic images. Borders are mirrored: black
    corners would say by how much it was turned.
    """
    import albumentations as A
    import cv2

    size = (img_resolution, img_resolution)
    return [
        *flips_policy(img_resolution),
        A.Affine(
            rotate=(-20, 20),
            scale=(0.9, 1.1),
            translate_percent=(-0.05, 0.05),
            border_mode=cv2.BORDER_REFLECT_101,
            p=0.4,
        ),
        A.RandomResizedCrop(size=size, scale=(0.8, 1.0), ratio=(0.9, 1.11), p=0.3),
        A.RandomBrightnessContrast(brightness_limit=0.1, contrast_limit=0.1, p=0.4),
        A.HueSaturationValue(hue_shift_limit=3, sat_shift_limit=10, val_shift_limit=0, p=0.2),
        A.GaussianBlur(blur_limit=(3, 3), sigma_limit=(0.3, 0.8), p=0.05),
        A.GaussNoise(std_range=(0.005, 0.02), p=0.05),
        A.CoarseDropout(num_holes_range=(1, 1), hole_height_range=(0.1, 0.2), hole_width_range=(0.1, 0.2), p=0.1),
    ]


def strong_policy(img_resolution: int) -> list[BasicTransform]:
    """As `classic_policy`, but further and more often, as where photographs are few and trainings long.

    Hue still moves little, for the colour of a lesion tells the disease.
    """
    import albumentations as A
    import cv2

    size = (img_resolution, img_resolution)
    return [
        *flips_policy(img_resolution),
        A.Affine(
            rotate=(-45, 45),
            scale=(0.8, 1.2),
            translate_percent=(-0.1, 0.1),
            border_mode=cv2.BORDER_REFLECT_101,
            p=0.7,
        ),
        A.RandomResizedCrop(size=size, scale=(0.5, 1.0), ratio=(0.8, 1.25), p=0.7),
        A.RandomBrightnessContrast(brightness_limit=0.25, contrast_limit=0.25, p=0.7),
        A.HueSaturationValue(hue_shift_limit=5, sat_shift_limit=25, val_shift_limit=0, p=0.5),
        A.GaussianBlur(blur_limit=(3, 3), sigma_limit=(0.3, 0.8), p=0.1),
        A.GaussNoise(std_range=(0.005, 0.03), p=0.1),
        A.CoarseDropout(num_holes_range=(1, 3), hole_height_range=(0.1, 0.2), hole_width_range=(0.1, 0.2), p=0.3),
    ]


# name in params.yaml -> the function that lists its transforms for a resolution
POLICIES: dict[str, Callable[[int], list[BasicTransform]]] = {
    "none": none_policy,
    "flips": flips_policy,
    "classic": classic_policy,
    "strong": strong_policy,
}


def build_policy(name: str, img_resolution: int) -> Policy:
    """The policy of a name.

    Args:
        name: A key of POLICIES.
        img_resolution: Side of the square images that go in and come out, pixels.

    Raises:
        InputError: No such policy.
    """
    if name not in POLICIES:
        raise InputError(f"augment: expected one of {sorted(POLICIES)}, found '{name}'; mend it in params.yaml.")
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # no request over the network at import
    with warnings.catch_warnings():
        # a misspelled argument of a transform is a mere warning, and the default is used in its place
        warnings.simplefilter("error", UserWarning)
        return Policy(POLICIES[name](img_resolution))
