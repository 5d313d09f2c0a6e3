"""Raw pixels to what a network takes: the first step of every classifier and extractor."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

PREDICT_BATCH = 64  # fixed: a convolution's last bits may depend on the batch size


class PixelInput(nn.Module):
    """First layer of every model: raw pixels to what its network was made for.

    Args:
        mean: Three, of [0, 1] pixels.
        std: Three, of [0, 1] pixels.
        input_size: Side to resize to, pixels; None: as they come.
    """

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], input_size: int | None) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))
        self.input_size = input_size

    def extra_repr(self) -> str:
        """What its buffers do not say."""
        return f"input_size={self.input_size}"

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, 3, H, W) uint8 to (N, 3, input_size, input_size) float32."""
        images = pixels.float() / 255
        if self.input_size is not None and images.shape[-2:] != (self.input_size, self.input_size):
            images = F.interpolate(images, (self.input_size, self.input_size), mode="bilinear", antialias=True)
        return (images - self.mean) / self.std


def to_pixels(images: np.ndarray, device: str | torch.device) -> Tensor:
    """(N, H, W, 3) uint8 array to a (N, 3, H, W) uint8 tensor.

    The memory stays as it lies, which is torch's channels_last: the faster format on CPUs.
    """
    return torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2)
