"""Networks of the semi-supervised GAN: the CIFAR-10 ones of Salimans et al. 2016 (appendix), made narrow.

D has weight normalisation (Salimans & Kingma 2016) and no batch normalisation, so its averaged weights can be
used as they are, and batches of labelled, unlabelled and generated images do not mix.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

SMALLEST = 4  # side of G's first map, pixels


class Discriminator(nn.Module):
    """K class logits, the logit of "generated" fixed at 0.

    Args:
        num_classes: K.
        channels: Of the first convolution; doubled with each halving of the resolution.
        dropout: Probability, after each halving of the resolution.
        input_noise: Standard deviation of Gaussian noise on the images, in training.
    """

    def __init__(self, num_classes: int, *, channels: int, dropout: float, input_noise: float = 0.0) -> None:
        super().__init__()
        self.input_noise = input_noise
        c = channels

        def conv(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> list[nn.Module]:
            layer = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2)
            nn.init.kaiming_normal_(layer.weight, a=0.2)  # keeps the signal's scale without batch normalisation
            return [weight_norm(layer), nn.LeakyReLU(0.2)]

        self.body = nn.Sequential(
            *conv(3, c),
            *conv(c, 2 * c, stride=2),
            nn.Dropout(dropout),
            *conv(2 * c, 2 * c),
            *conv(2 * c, 4 * c, stride=2),
            nn.Dropout(dropout),
            *conv(4 * c, 4 * c),
            *conv(4 * c, 4 * c, size=1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.head = weight_norm(nn.Linear(4 * c, num_classes))

    def features(self, images: Tensor) -> Tensor:
        """(N, 3, R, R) in [-1, 1] to (N, 4 * channels): what feature matching compares."""
        if self.training and self.input_noise > 0:
            images = images + self.input_noise * torch.randn_like(images)
        return self.body(images)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, R, R) in [-1, 1] to (N, K) logits."""
        return self.head(self.features(images))


class Generator(nn.Module):
    """Uniform noise to images; it only serves D, and is no generator for export.

    Args:
        z_dim: Length of the noise.
        img_resolution: 4 times a power of two, pixels.
        channels: Of the last map before the image; doubled with each halving of the resolution.
    """

    def __init__(self, z_dim: int, img_resolution: int, *, channels: int) -> None:
        super().__init__()
        doublings = (img_resolution // SMALLEST).bit_length() - 1
        if SMALLEST * 2**doublings != img_resolution or doublings < 1:
            raise ValueError(f"img_resolution must be 8, 16, 32, 64, ... Got {img_resolution} instead.")
        self.z_dim = z_dim
        c = channels * 2 ** (doublings - 1)
        layers = [
            nn.Linear(z_dim, c * SMALLEST**2, bias=False),
            nn.Unflatten(1, (c, SMALLEST, SMALLEST)),
            nn.BatchNorm2d(c),
            nn.ReLU(),
        ]
        for _ in range(doublings - 1):
            layers += [nn.ConvTranspose2d(c, c // 2, 4, 2, 1, bias=False), nn.BatchNorm2d(c // 2), nn.ReLU()]
            c //= 2
        layers += [weight_norm(nn.ConvTranspose2d(c, 3, 4, 2, 1)), nn.Tanh()]
        self.layers = nn.Sequential(*layers)

    def draw_z(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, z_dim) uniform in [0, 1), as in the paper; on the CPU."""
        return torch.rand(count, self.z_dim, generator=generator)

    def forward(self, z: Tensor) -> Tensor:
        """(N, z_dim) to (N, 3, img_resolution, img_resolution) in [-1, 1]."""
        return self.layers(z)


class FeatureDiscriminator(nn.Module):
    """K class logits of a feature vector, the logit of "generated" fixed at 0.

    Args:
        num_features: F.
        num_classes: K.
        units: Of its hidden layer.
        dropout: Probability, of the hidden layer.
        input_noise: Standard deviation of Gaussian noise on the vectors, in training.
    """

    def __init__(
        self, num_features: int, num_classes: int, *, units: int, dropout: float, input_noise: float = 0.0
    ) -> None:
        super().__init__()
        self.input_noise = input_noise
        hidden = nn.Linear(num_features, units)
        nn.init.kaiming_normal_(hidden.weight, a=0.2)
        self.body = nn.Sequential(weight_norm(hidden), nn.LeakyReLU(0.2), nn.Dropout(dropout))
        self.head = weight_norm(nn.Linear(units, num_classes))

    def features(self, vectors: Tensor) -> Tensor:
        """(N, F) of mean 0 and deviation 1 to (N, units): what feature matching compares."""
        if self.training and self.input_noise > 0:
            vectors = vectors + self.input_noise * torch.randn_like(vectors)
        return self.body(vectors)

    def forward(self, vectors: Tensor) -> Tensor:
        """(N, F) of mean 0 and deviation 1 to (N, K) logits."""
        return self.head(self.features(vectors))


class FeatureGenerator(nn.Module):
    """Uniform noise to feature vectors.

    Args:
        z_dim: Length of the noise.
        num_features: F.
        units: Of its hidden layers.
    """

    def __init__(self, z_dim: int, num_features: int, *, units: int) -> None:
        super().__init__()
        self.z_dim = z_dim
        self.layers = nn.Sequential(
            nn.Linear(z_dim, units, bias=False),
            nn.BatchNorm1d(units),
            nn.ReLU(),
            nn.Linear(units, units, bias=False),
            nn.BatchNorm1d(units),
            nn.ReLU(),
            weight_norm(nn.Linear(units, num_features)),
        )

    def draw_z(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, z_dim) uniform in [0, 1); on the CPU."""
        return torch.rand(count, self.z_dim, generator=generator)

    def forward(self, z: Tensor) -> Tensor:
        """(N, z_dim) to (N, F)."""
        return self.layers(z)
