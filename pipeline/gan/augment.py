"""Differentiable augmentation of what D sees, in D's and in G's step (DiffAugment, Zhao et al. 2020).

With a few hundred leaves D learns them by heart; augmenting reals and fakes alike keeps it from doing so
without teaching G to draw augmented leaves. Each operation is applied to each image with probability p, which
is fixed, or steered by how far D has come to know the reals (ADA, Karras et al. 2020). Below 1 some of what D
sees is as it is, which is what keeps augmentations from leaking into the samples (section 2.2 there).

Each operation draws its random parameters first and then applies them, so that a step's augmentation is set
by its generator alone. An image left out gets the parameters that change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import pad

from pipeline.gan.draws import Draws

CUTOUT_SHARE = 0.5  # side of the erased square over the image's, section 3.1 of Zhao et al.
SHIFT_SHARE = 0.125  # largest shift over the image's side
ADA_INTERVAL = 4  # steps between adjustments of p, section 3.1 of Karras et al.


def _chosen(draws: Draws, p: torch.Tensor) -> torch.Tensor:
    """(N,) bool: which images an operation is applied to."""
    return draws.uniform() < p


def color(images: torch.Tensor, draws: Draws, p: torch.Tensor) -> torch.Tensor:
    """Brightness +-0.5, saturation x[0, 2], contrast x[0.5, 1.5]."""
    strength = [draws.uniform(*bounds) for bounds in ((-0.5, 0.5), (-1.0, 1.0), (-0.5, 0.5))]
    chosen = _chosen(draws, p)
    brightness, saturation, contrast = ((s * chosen)[:, None, None, None].to(images.dtype) for s in strength)
    images = images + brightness
    grey = images.mean(dim=1, keepdim=True)  # (N, 1, H, W)
    images = torch.addcmul(images, images - grey, saturation)  # grey + (1 + saturation) (x - grey)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)  # (N, 1, 1, 1)
    return torch.addcmul(images, images - mean, contrast)


def translation(images: torch.Tensor, draws: Draws, p: torch.Tensor) -> torch.Tensor:
    """Shift by up to an eighth of the side in x and y; what comes in is zero (grey)."""
    n, _, height, width = images.shape
    reach_y, reach_x = int(height * SHIFT_SHARE + 0.5), int(width * SHIFT_SHARE + 0.5)
    shift_y, shift_x = draws.integers(-reach_y, reach_y + 1), draws.integers(-reach_x, reach_x + 1)
    chosen = _chosen(draws, p)
    shift_y, shift_x = (shift_y * chosen)[:, None], (shift_x * chosen)[:, None]  # (N, 1)
    rows = torch.arange(height, device=images.device)[None] - shift_y + reach_y  # (N, H) in the padded image
    columns = torch.arange(width, device=images.device)[None] - shift_x + reach_x  # (N, W)
    padded = pad(images, (reach_x, reach_x, reach_y, reach_y)).permute(0, 2, 3, 1)  # (N, H+, W+, C)
    batch = torch.arange(n, device=images.device)[:, None, None]
    return padded[batch, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def cutout(images: torch.Tensor, draws: Draws, p: torch.Tensor) -> torch.Tensor:
    """Erase (to grey) one square of half the side, its centre anywhere in the image."""
    _, _, height, width = images.shape
    half_y, half_x = int(height * CUTOUT_SHARE) // 2, int(width * CUTOUT_SHARE) // 2
    centre_y, centre_x = draws.integers(0, height)[:, None], draws.integers(0, width)[:, None]  # (N, 1)
    rows = torch.arange(height, device=images.device)[None] - centre_y  # (N, H)
    columns = torch.arange(width, device=images.device)[None] - centre_x  # (N, W)
    in_y = (rows >= -half_y) & (rows < half_y) & _chosen(draws, p)[:, None]
    in_x = (columns >= -half_x) & (columns < half_x)
    erased = in_y[:, None, :, None] & in_x[:, None, None, :]  # (N, 1, H, W)
    return images.masked_fill(erased, 0.0)


AUGMENTATIONS = {"color": color, "translation": translation, "cutout": cutout}


def augment(images: torch.Tensor, policy: Sequence[str], draws: Draws, p: torch.Tensor) -> torch.Tensor:
    """Apply the named operations in order.

    Args:
        images: (N, C, H, W) float in [-1, 1].
        policy: Names from `AUGMENTATIONS`; empty for none.
        draws: At this step's stream.
        p: () in [0, 1]: probability of each operation, for each image.
    """
    for name in policy:
        images = AUGMENTATIONS[name](images, draws, p)
    return images


def adapt(
    p: torch.Tensor, sign: torch.Tensor, *, target: float, images: int, ada_kimg: float, most: float = 1.0
) -> None:
    """Move p, in place, towards where the mean sign of D's logits on reals is `target`.

    An overfitting D is sure of its reals: their logits' mean sign r_t goes to 1 (Karras et al. 2020, section
    3.1). No host synchronisation.

    Args:
        p: () in [0, most].
        sign: () mean of sign(D(real)) since the last adjustment, -1 to 1.
        target: Of r_t; 0.6 in the paper.
        images: Shown since the last adjustment.
        ada_kimg: Thousands of images in which p can go from 0 to 1.
        most: Where p ends.
    """
    p.add_(torch.sign(sign - target) * (images / (ada_kimg * 1000))).clamp_(0.0, most)
