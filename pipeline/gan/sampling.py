"""Images from a generator, each named by (seed, class, index) and the same whatever it is drawn with."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from pipeline.gan.networks import Discriminator, Generator
from pipeline.images.seeding import torch_generator

BATCH = 16  # always full: convolution kernels are chosen by batch size, and another kernel rounds otherwise


def latents(seed: int, class_name: str, indices: list[int], z_dim: int) -> torch.Tensor:
    """(len(indices), z_dim) float32 ~ N(0, 1); row i depends on indices[i] alone."""
    rows = [torch.randn(z_dim, generator=torch_generator(seed, f"latents:{class_name}", i)) for i in indices]
    return torch.stack(rows)


def to_uint8(images: torch.Tensor) -> np.ndarray:
    """(N, 3, H, W) float in [-1, 1] to (N, H, W, 3) uint8."""
    scaled = (images.float() * 127.5 + 128).clamp(0, 255).to(torch.uint8)
    return scaled.permute(0, 2, 3, 1).cpu().numpy()


def to_float(images: torch.Tensor) -> torch.Tensor:
    """(N, 3, H, W) uint8 to float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


@torch.no_grad()
def sample(
    G: Generator,
    label: int,
    class_name: str,
    indices: list[int],
    *,
    seed: int,
    truncation: float = 1.0,
    D: Discriminator | None = None,
    device: str = "cpu",
) -> Iterator[tuple[int, np.ndarray, float]]:
    """Draw images of one class.

    Args:
        G: In eval mode, on `device`.
        label: The class as G counts it.
        class_name: The class as the latents' stream is named.
        indices: Which images of the class.
        seed: Of the whole set.
        truncation: Factor on z; below 1 trades variety for typical leaves.
        D: If given, also scores each image.
        device: Where G and D are.

    Yields:
        (index, (H, W, 3) uint8 image, D's logit or NaN), in the order of `indices`.
    """
    for start in range(0, len(indices), BATCH):
        wanted = indices[start : start + BATCH]
        padded = wanted + wanted[-1:] * (BATCH - len(wanted))
        z = latents(seed, class_name, padded, G.z_dim).to(device) * truncation
        labels = torch.full((BATCH,), label, device=device)
        images = to_uint8(G(z, labels))
        logits = np.full(BATCH, np.nan)
        if D is not None:  # scored as written: after rounding to 8 bits
            again = to_float(torch.from_numpy(images).permute(0, 3, 1, 2).to(device))
            logits = D(again, labels).float().cpu().numpy()
        for index, image, logit in zip(wanted, images, logits, strict=False):
            yield index, image, float(logit)
