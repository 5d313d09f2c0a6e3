"""The class-conditional DCGAN (Radford et al. 2015), from 8 to 256 px.

Transposed convolutions up from 4x4 and strided convolutions down to 4x4, as in the paper. How the label
enters G and D, and whether D has spectral norm (Miyato et al. 2018), are choices; the defaults are those that
hold on hundreds of images instead of hundreds of thousands: conditional batch norm in G (Dumoulin et al.
2017) and a projection of the label in D (Miyato and Koyama 2018).
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.utils import parametrizations

from pipeline import InputError
from pipeline.gan.batch_norm import ConditionalBatchNorm2d, UnconditionalBatchNorm2d
from pipeline.gan.conditioning import ConcatenatedEmbedding, LabelChannel, LabelEmbedding, Unlabelled

RESOLUTIONS = (8, 16, 32, 64, 128, 256)
MAX_CHANNELS = 512


class GConditioning(NamedTuple):
    """Where a label enters G: behind z, as a channel of the 4x4 map, in the batch norms."""

    z: type[nn.Module]
    map: type[nn.Module]
    norm: type[nn.Module]


# name in params.yaml -> the parts
G_CONDITIONINGS = {
    "none": GConditioning(Unlabelled, Unlabelled, UnconditionalBatchNorm2d),
    "embedding": GConditioning(ConcatenatedEmbedding, Unlabelled, UnconditionalBatchNorm2d),
    "concat": GConditioning(Unlabelled, LabelChannel, UnconditionalBatchNorm2d),
    "batch_norm": GConditioning(Unlabelled, Unlabelled, ConditionalBatchNorm2d),
}


class NoProjection(nn.Module):
    """Adds nothing to the logit."""

    def __init__(self, num_classes: int, channels: int, transitional: bool):
        super().__init__()

    def forward(self, features: torch.Tensor, labels: torch.Tensor) -> float:
        """Returns 0."""
        return 0.0


class Projection(nn.Module):
    """<embed(y), phi(x)>, Miyato and Koyama 2018, eq. 3."""

    def __init__(self, num_classes: int, channels: int, transitional: bool):
        super().__init__()
        self.embed = LabelEmbedding(num_classes, channels, transitional)

    def forward(self, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Args: features (N, C, 4, 4). Returns (N,)."""
        pooled = features.sum(dim=(2, 3))  # (N, C)
        return (self.embed(labels) * pooled).sum(dim=1)


class DConditioning(NamedTuple):
    """Where a label enters D: as a channel of the image, in the logit."""

    image: type[nn.Module]
    logit: type[nn.Module]


# name in params.yaml -> the parts
D_CONDITIONINGS = {
    "none": DConditioning(Unlabelled, NoProjection),
    "concat": DConditioning(LabelChannel, NoProjection),
    "projection": DConditioning(Unlabelled, Projection),
}


def channels_at(resolution: int, img_resolution: int, base_channels: int) -> int:
    """Feature channels at one resolution: doubled with each halving, as in the DCGAN paper's Figure 1."""
    return min(base_channels * (img_resolution // 2) // resolution, MAX_CHANNELS)


def _check_resolution(img_resolution: int) -> None:
    if img_resolution not in RESOLUTIONS:
        raise InputError(
            f"split.img_resolution: expected one of {RESOLUTIONS} for the GAN, got {img_resolution}; "
            "set it in params.yaml."
        )


class Generator(nn.Module):
    """z and a label to an image.

    Args:
        z_dim: Length of the latent vector.
        num_classes: How many classes the labels name.
        img_resolution: Side of the square image: a power of two, 8 to 256 px.
        base_channels: Channels of the last hidden layer (ngf in the paper's code).
        conditioning: A name in `G_CONDITIONINGS`.
        transitional: Whether the label can be faded in, see `LabelEmbedding`.
        img_channels: 3 for RGB.
    """

    def __init__(
        self,
        *,
        z_dim: int,
        num_classes: int,
        img_resolution: int,
        base_channels: int,
        conditioning: str = "batch_norm",
        transitional: bool = False,
        img_channels: int = 3,
    ):
        super().__init__()
        _check_resolution(img_resolution)
        self.z_dim, self.num_classes, self.img_resolution = z_dim, num_classes, img_resolution
        resolutions = [4 * 2**i for i in range(int(math.log2(img_resolution // 4)))]  # 4, 8, … img_resolution/2
        widths = [channels_at(r, img_resolution, base_channels) for r in resolutions]
        parts = G_CONDITIONINGS[conditioning]
        self.label_z = parts.z(num_classes, 1, transitional)
        self.label_map = parts.map(num_classes, 4, transitional)
        self.norms = nn.ModuleList([parts.norm(w, num_classes, transitional) for w in widths])
        self.convs = nn.ModuleList([nn.ConvTranspose2d(z_dim + parts.z.extra, widths[0], 4, bias=False)])  # to 4x4
        widths_in = [widths[0] + parts.map.extra, *widths[1:]]
        for w_in, w_out in zip(widths_in, widths[1:], strict=False):
            self.convs.append(nn.ConvTranspose2d(w_in, w_out, 4, 2, 1, bias=False))
        self.to_rgb = nn.ConvTranspose2d(widths_in[-1], img_channels, 4, 2, 1)
        self.apply(_init_generator)

    def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Args: z (N, z_dim) float32 ~ N(0, 1); labels (N,) int64. Returns (N, 3, R, R) in [-1, 1]."""
        z = self.label_z(z, labels)[:, :, None, None]  # (N, z_dim + E, 1, 1)
        x = torch.relu(self.norms[0](self.convs[0](z), labels))  # (N, C, 4, 4)
        x = self.label_map(x, labels)  # (N, C + 1, 4, 4) where the label is a channel
        for conv, norm in zip(self.convs[1:], self.norms[1:], strict=True):
            x = torch.relu(norm(conv(x), labels))  # (N, C, r, r)
        return torch.tanh(self.to_rgb(x))


class Discriminator(nn.Module):
    """An image and a label to one logit: real rises, fake falls.

    Args:
        num_classes: How many classes the labels name.
        img_resolution: Side of the square image: a power of two, 8 to 256 px.
        base_channels: Channels of the first layer (ndf in the paper's code).
        conditioning: A name in `D_CONDITIONINGS`.
        spectral_norm: Every layer's weight divided by its largest singular value.
        transitional: Whether the label can be faded in, see `LabelEmbedding`.
        img_channels: 3 for RGB.

    Attributes:
        convs: From the image down; FreezeD keeps the first of them (Mo et al. 2020).
    """

    def __init__(
        self,
        *,
        num_classes: int,
        img_resolution: int,
        base_channels: int,
        conditioning: str = "projection",
        spectral_norm: bool = True,
        transitional: bool = False,
        img_channels: int = 3,
    ):
        super().__init__()
        _check_resolution(img_resolution)
        resolutions = [img_resolution // 2**i for i in range(1, int(math.log2(img_resolution // 4)) + 1)]
        widths = [channels_at(r, img_resolution, base_channels) for r in resolutions]  # img_resolution/2 … 4
        parts = D_CONDITIONINGS[conditioning]
        self.label_image = parts.image(num_classes, img_resolution, transitional)
        self.convs = nn.ModuleList(
            nn.Conv2d(w_in, w_out, 4, 2, 1)
            for w_in, w_out in itertools.pairwise([img_channels + parts.image.extra, *widths])
        )
        self.to_logit = nn.Conv2d(widths[-1], 1, 4)  # 4x4 -> 1x1
        self.project = parts.logit(num_classes, widths[-1], transitional)
        self.apply(_init_discriminator)
        if spectral_norm:
            for module in list(self.modules()):
                if isinstance(module, nn.Conv2d | nn.Embedding | nn.Linear):
                    parametrizations.spectral_norm(module)

    def forward(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Args: images (N, 3, R, R) in [-1, 1]; labels (N,) int64. Returns (N,) logits."""
        x = self.label_image(images, labels)
        for conv in self.convs:
            x = nn.functional.leaky_relu(conv(x), 0.2, inplace=True)  # (N, C, r, r)
        return self.to_logit(x).flatten() + self.project(x, labels)


def _init_generator(module: nn.Module) -> None:
    """Weights ~ N(0, 0.02), DCGAN section 4."""
    if isinstance(module, nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)


def _init_discriminator(module: nn.Module) -> None:
    """Orthogonal weights, as cGANs with spectral norm use (Brock et al. 2019, appendix B).

    Spectral norm divides the weight by its largest singular value. From N(0, 0.02) that value is so small
    that Adam's first steps turn the weight over, and D stays at chance for thousands of images. An embedding
    from N(0, 1), torch's own start, is so large that they hardly turn it at all, and D is slow to learn what
    a label means.
    """
    if isinstance(module, nn.Conv2d | nn.Embedding):
        nn.init.orthogonal_(module.weight)
