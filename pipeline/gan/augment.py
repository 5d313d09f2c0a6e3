"""Differentiable augmentation of what D sees, in D's and in G's step (DiffAugment, Zhao et al. 2020).

With a few hundred leaves D learns them by heart; augmenting reals and fakes alike keeps it from doing so
without teaching G to draw augmented leaves. Each operation draws its random parameters first and then
applies them, so that a step's augmentation is set by its generator alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import pad

CUTOUT_SHARE = 0.5  # side of the erased square over the image's, section 3.1 of the paper
SHIFT_SHARE = 0.125  # largest shift over the image's side


def _uniform(images: torch.Tensor, rng: torch.Generator, low: float, high: float) -> torch.Tensor:
    """(N, 1, 1, 1) draws, one an image."""
    draws = torch.rand(len(images), 1, 1, 1, generator=rng, device=images.device, dtype=torch.float32)
    return (low + (high - low) * draws).to(images.dtype)


def color(images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Brightness +-0.5, saturation x[0, 2], contrast x[0.5, 1.5]."""
    brightness = _uniform(images, rng, -0.5, 0.5)
    saturation = _uniform(images, rng, 0.0, 2.0)
    contrast = _uniform(images, rng, 0.5, 1.5)
    images = images + brightness
    grey = images.mean(dim=1, keepdim=True)  # (N, 1, H, W)
    images = (images - grey) * saturation + grey
    mean = images.mean(dim=(1, 2, 3), keepdim=True)  # (N, 1, 1, 1)
    return (images - mean) * contrast + mean


def translation(images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Shift by up to an eighth of the side in x and y; what comes in is zero (grey)."""
    n, _, height, width = images.shape
    reach_y, reach_x = int(height * SHIFT_SHARE + 0.5), int(width * SHIFT_SHARE + 0.5)
    device = images.device
    shift_y = torch.randint(-reach_y, reach_y + 1, (n, 1), generator=rng, device=device)
    shift_x = torch.randint(-reach_x, reach_x + 1, (n, 1), generator=rng, device=device)
    rows = torch.arange(height, device=device)[None] - shift_y + reach_y  # (N, H) in the padded image
    columns = torch.arange(width, device=device)[None] - shift_x + reach_x  # (N, W)
    padded = pad(images, (reach_x, reach_x, reach_y, reach_y)).permute(0, 2, 3, 1)  # (N, H+, W+, C)
    batch = torch.arange(n, device=device)[:, None, None]
    return padded[batch, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def cutout(images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Erase (to grey) one square of half the side, its centre anywhere in the image."""
    n, _, height, width = images.shape
    device = images.device
    half_y, half_x = int(height * CUTOUT_SHARE) // 2, int(width * CUTOUT_SHARE) // 2
    centre_y = torch.randint(0, height, (n, 1), generator=rng, device=device)
    centre_x = torch.randint(0, width, (n, 1), generator=rng, device=device)
    rows = torch.arange(height, device=device)[None] - centre_y  # (N, H)
    columns = torch.arange(width, device=device)[None] - centre_x  # (N, W)
    in_y = (rows >= -half_y) & (rows < half_y)
    in_x = (columns >= -half_x) & (columns < half_x)
    erased = in_y[:, None, :, None] & in_x[:, None, None, :]  # (N, 1, H, W)
    return images.masked_fill(erased, 0.0)


AUGMENTATIONS = {"color": color, "translation": translation, "cutout": cutout}


def augment(images: torch.Tensor, policy: Sequence[str], rng: torch.Generator) -> torch.Tensor:
    """Apply the named operations in order.

    Args:
        images: (N, C, H, W) float in [-1, 1].
        policy: Names from `AUGMENTATIONS`; empty for none.
        rng: Set to this step's stream, on the images' device.
    """
    for name in policy:
        images = AUGMENTATIONS[name](images, rng)
    return images
