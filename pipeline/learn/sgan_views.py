"""Views: how D sees an unlabelled image while its averaged self sees it as it is, and both have to agree.

That a turned or moved image keeps its class is knowledge that costs no label (Sajjadi et al. 2016, "Regularization
with stochastic transformations and perturbations for deep semi-supervised learning", section 2; Xie et al. 2020,
"Unsupervised data augmentation for consistency training", section 2; with a GAN beside it Zhang et al. 2020,
"Consistency regularization for GANs", section 2). Views are taken of the small images that the networks see, a whole
batch at once: the classifier's policies in `images/transforms.py` take some milliseconds an image.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

View = Callable[[Tensor, np.random.Generator], Tensor]


def as_it_is(images: Tensor, rng: np.random.Generator) -> Tensor:
    """The images themselves."""
    return images


def moved(
    images: Tensor, rng: np.random.Generator, *, turn: float, scale: float, shift: float, border: str = "reflection"
) -> Tensor:
    """Each image turned, scaled and shifted by numbers of its own.

    Args:
        images: (B, 3, R, R) in [-1, 1].
        rng: Where the numbers are drawn.
        turn: Largest angle, degrees, either way.
        scale: Largest change of size, as a share, either way.
        shift: Largest shift in x and in y, as a share of the side, either way.
        border: What comes in from outside: "reflection" of the image, or "zeros", which is black (-1).

    Returns:
        (B, 3, R, R), interpolated in a line.
    """
    count = len(images)
    angle = np.deg2rad(rng.uniform(-turn, turn, count))
    size = rng.uniform(1 - scale, 1 + scale, count)
    x, y = 2 * rng.uniform(-shift, shift, (2, count))  # grid_sample's side is 2 long
    cos, sin = np.cos(angle) / size, np.sin(angle) / size
    theta = np.stack([np.stack([cos, -sin, x], axis=1), np.stack([sin, cos, y], axis=1)], axis=1)  # (B, 2, 3)
    grid = F.affine_grid(torch.from_numpy(theta).to(images), list(images.shape), align_corners=False)
    return F.grid_sample(images + 1, grid, padding_mode=border, align_corners=False) - 1


def recoloured(
    images: Tensor, rng: np.random.Generator, *, brightness: float, contrast: float, saturation: float
) -> Tensor:
    """Each image somewhat brighter or darker, of more or less contrast and colour.

    Args:
        images: (B, 3, R, R) in [-1, 1].
        rng: Where the numbers are drawn.
        brightness: Largest change of all pixels, as a share of their range, either way.
        contrast: Largest change of the distance from the image's mean, as a share, either way.
        saturation: Largest change of the distance from a pixel's own grey, as a share, either way.

    Returns:
        (B, 3, R, R), clipped to [-1, 1].
    """

    def drawn(reach: float) -> Tensor:
        return torch.from_numpy(rng.uniform(-reach, reach, (len(images), 1, 1, 1))).to(images)

    images = images + 2 * drawn(brightness)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = mean + (1 + drawn(contrast)) * (images - mean)
    grey = images.mean(dim=1, keepdim=True)
    return (grey + (1 + drawn(saturation)) * (images - grey)).clamp(-1, 1)


def leaf(images: Tensor, rng: np.random.Generator) -> Tensor:
    """What leaves no doubt of a leaf's disease: the classifier's classic policy, at the networks' resolution.

    Hue stays: it tells the disease. What enters from outside is mirrored, since black corners would tell the turn.
    """
    images = moved(images, rng, turn=20, scale=0.15, shift=0.08)
    return recoloured(images, rng, brightness=0.1, contrast=0.15, saturation=0.15)


# name in params.yaml -> what D sees of an unlabelled image
VIEWS: dict[str, View] = {"none": as_it_is, "leaf": leaf}
