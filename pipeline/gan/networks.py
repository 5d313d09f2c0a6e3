"""The class-conditional DCGAN (Radford et al. 2015) at 32, 64, 128 or 256 px.

Transposed convolutions up from 4x4 and strided convolutions down to 4x4, as in the paper, with the
upgrades that hold on hundreds of images instead of hundreds of thousands: conditional batch norm in G
(Dumoulin et al. 2017), spectral norm in D (Miyato et al. 2018) and a projection of the label in D
(Miyato and Koyama 2018).
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from pipeline import InputError

RESOLUTIONS = (32, 64, 128, 256)
MAX_CHANNELS = 512


def channels_at(resolution: int, img_resolution: int, base_channels: int) -> int:
    """Feature channels at one resolution: doubled with each halving, as in the DCGAN paper's Figure 1."""
    return min(base_channels * (img_resolution // 2) // resolution, MAX_CHANNELS)


def _check_resolution(img_resolution: int) -> None:
    if img_resolution not in RESOLUTIONS:
        raise InputError(
            f"split.img_resolution: expected one of {RESOLUTIONS} for the GAN, got {img_resolution}; "
            "set it in params.yaml."
        )


class ConditionalBatchNorm2d(nn.Module):
    """Batch norm whose gain and bias are looked up by class (Dumoulin et al. 2017, eq. 4)."""

    def __init__(self, num_features: int, num_classes: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(num_features, affine=False)
        self.gain = nn.Embedding(num_classes, num_features)
        self.bias = nn.Embedding(num_classes, num_features)
        nn.init.ones_(self.gain.weight)
        nn.init.zeros_(self.bias.weight)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        gain = self.gain(labels)[:, :, None, None]  # (N, C, 1, 1)
        bias = self.bias(labels)[:, :, None, None]  # (N, C, 1, 1)
        return self.norm(x) * gain + bias


class Generator(nn.Module):
    """z and a label to an image.

    Args:
        z_dim: Length of the latent vector.
        num_classes: How many classes the labels name.
        img_resolution: Side of the square image: 32, 64, 128 or 256 px.
        base_channels: Channels of the last hidden layer (ngf in the paper's code).
        img_channels: 3 for RGB.
    """

    def __init__(self, *, z_dim: int, num_classes: int, img_resolution: int, base_channels: int, img_channels: int = 3):
        super().__init__()
        _check_resolution(img_resolution)
        self.z_dim, self.num_classes, self.img_resolution = z_dim, num_classes, img_resolution
        resolutions = [4 * 2**i for i in range(int(math.log2(img_resolution // 4)))]  # 4, 8, … img_resolution/2
        widths = [channels_at(r, img_resolution, base_channels) for r in resolutions]
        self.convs = nn.ModuleList([nn.ConvTranspose2d(z_dim, widths[0], 4, bias=False)])  # 1x1 -> 4x4
        for w_in, w_out in itertools.pairwise(widths):
            self.convs.append(nn.ConvTranspose2d(w_in, w_out, 4, 2, 1, bias=False))
        self.norms = nn.ModuleList([ConditionalBatchNorm2d(w, num_classes) for w in widths])
        self.to_rgb = nn.ConvTranspose2d(widths[-1], img_channels, 4, 2, 1)
        self.apply(_init_generator)

    def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Args: z (N, z_dim) float32 ~ N(0, 1); labels (N,) int64. Returns (N, 3, R, R) in [-1, 1]."""
        x = z[:, :, None, None]  # (N, z_dim, 1, 1)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = torch.relu(norm(conv(x), labels))  # (N, C, r, r)
        return torch.tanh(self.to_rgb(x))


class Discriminator(nn.Module):
    """An image and a label to one logit: real rises, fake falls.

    Args:
        num_classes: How many classes the labels name.
        img_resolution: Side of the square image: 32, 64, 128 or 256 px.
        base_channels: Channels of the first layer (ndf in the paper's code).
        img_channels: 3 for RGB.
    """

    def __init__(self, *, num_classes: int, img_resolution: int, base_channels: int, img_channels: int = 3):
        super().__init__()
        _check_resolution(img_resolution)
        resolutions = [img_resolution // 2**i for i in range(1, int(math.log2(img_resolution // 4)) + 1)]
        widths = [channels_at(r, img_resolution, base_channels) for r in resolutions]  # img_resolution/2 … 4
        self.convs = nn.ModuleList(
            spectral_norm(nn.Conv2d(w_in, w_out, 4, 2, 1))
            for w_in, w_out in zip([img_channels, *widths[:-1]], widths, strict=True)
        )
        self.to_logit = spectral_norm(nn.Conv2d(widths[-1], 1, 4))  # 4x4 -> 1x1
        self.embed = spectral_norm(nn.Embedding(num_classes, widths[-1]))
        self.apply(_init_discriminator)

    def forward(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Args: images (N, 3, R, R) in [-1, 1]; labels (N,) int64. Returns (N,) logits."""
        x = images
        for conv in self.convs:
            x = nn.functional.leaky_relu(conv(x), 0.2)  # (N, C, r, r)
        pooled = x.mean(dim=(2, 3))  # (N, C); a sum would let the projection outweigh the logit 16 times
        projection = (self.embed(labels) * pooled).sum(dim=1)  # <embed(y), phi(x)>, Miyato and Koyama eq. 3
        return self.to_logit(x).flatten() + projection


def _init_generator(module: nn.Module) -> None:
    """Weights ~ N(0, 0.02), DCGAN section 4."""
    if isinstance(module, nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)


def _init_discriminator(module: nn.Module) -> None:
    """Orthogonal weights, as cGANs with spectral norm use (Brock et al. 2019, appendix B).

    Spectral norm divides the weight by its largest singular value. From N(0, 0.02) that value is so small
    that Adam's first steps turn the weight over, and D stays at chance for thousands of images.
    """
    if isinstance(module, nn.Conv2d):
        nn.init.orthogonal_(module.parametrizations.weight.original)
