"""What the SGAN's networks look at: small images, or the features that a frozen pretrained network has of photos.

On ten labels a class a frozen network that has seen a million pictures tells more than any that these photos alone have
trained, so what unlabelled photos add to its features is the question that a user has (bench/results). A GAN of feature
vectors is no generator of leaves at all, and need not be.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.features.looks import Looks
from pipeline.features.pixels import PixelInput, to_pixels
from pipeline.images.seeding import numpy_rng
from pipeline.images.store import Store
from pipeline.images.transforms import Policy, build_policy
from pipeline.learn.sgan_networks import Discriminator, FeatureDiscriminator, FeatureGenerator, Generator
from pipeline.learn.sgan_views import VIEWS, View

FLIPS = {"vertical": 2, "horizontal": 3}  # name in params.yaml -> dim of (B, 3, R, R) that is turned round


class Pixels(NamedTuple):
    """Small images, mirrored as they are drawn and augmented anew in every batch."""

    images: Tensor  # (N, 3, R, R) float32 in [-1, 1]: all of train
    pixels: np.ndarray  # (N, H, W, 3) uint8: the same as the classic policy takes them
    scale: nn.Module  # (B, 3, H, W) uint8 to (B, 3, R, R) in [-1, 1]
    policy: Policy
    flips: tuple[int, ...]  # dims of (B, 3, R, R) along which half of the images are mirrored
    view: View  # what D sees of unlabelled images
    channels: int

    @classmethod
    def of(cls, train: Store, *, img_resolution: int, channels: int, flips, views: str, augment: str, device) -> Pixels:
        """From photos; see `train_sgan`."""
        scale = PixelInput((0.5,) * 3, (0.5,) * 3, img_resolution).to(device)  # pixels to [-1, 1]
        chunks = np.array_split(train.images, len(train.labels) // 64 + 1)  # as floats at full size they fill memory
        images = torch.cat([scale(to_pixels(chunk, device)) for chunk in chunks])
        policy = build_policy(augment, train.images.shape[1])
        return cls(images, train.images, scale, policy, tuple(FLIPS[flip] for flip in flips), VIEWS[views], channels)

    @property
    def reals(self) -> Tensor:
        """All of train as the networks see it, one an image: what they are drawn from, and where they lie."""
        return self.images

    @property
    def front(self) -> nn.Module:
        """From photos to what D takes."""
        return self.scale

    def drawn(self, rows: np.ndarray, rng: np.random.Generator) -> Tensor:
        """(B, 3, R, R), mirrored at random."""
        images = self.images[torch.from_numpy(rows).to(self.images.device)]
        for dim in self.flips:
            flipped = torch.from_numpy(rng.random(len(rows)) < 0.5).to(images.device)
            images = torch.where(flipped[:, None, None, None], images.flip(dim), images)
        return images

    def classic(self, rows: np.ndarray, seed: int, step: int, *kind: int) -> Tensor:
        """(B, 3, R, R), augmented at full size by the policy."""
        batch = np.stack([self.policy(self.pixels[row], seed, step, i, *kind) for i, row in enumerate(rows)])
        return self.scale(to_pixels(batch, self.images.device))

    def discriminator(self, num_classes: int, *, dropout: float, input_noise: float) -> nn.Module:
        """D, its weights from torch's global generator."""
        return Discriminator(num_classes, channels=self.channels, dropout=dropout, input_noise=input_noise)

    def generator(self, z_dim: int) -> nn.Module:
        """G, likewise."""
        return Generator(z_dim, self.images.shape[-1], channels=self.channels)


class Features(NamedTuple):
    """Feature vectors, of each photo and its mirror images computed once; of labelled ones some augmented views too."""

    vectors: Tensor  # (N, M, F) float32: of all of train, M mirrorings each, of mean 0 and deviation 1 over train
    augmented: Mapping[int, tuple[np.ndarray, Tensor]]  # seed -> labelled rows (L,), ascending, and (L, V, F) vectors
    front: nn.Module  # (B, 3, H, W) uint8 to (B, F) of mean 0 and deviation 1
    units: int
    view: View = VIEWS["none"]

    @classmethod
    def of(
        cls,
        train: Store,
        *,
        looks: Looks,
        rows: Mapping[int, np.ndarray],
        units: int,
        augmented_views: int,
        flips,
        augment: str,
        device,
    ) -> Features:
        """From photos; see `train_sgan`.

        Args:
            rows: Seed to its labelled rows.
        """
        mirrored = [train.images]
        for flip in flips:
            axis = FLIPS[flip] - 1  # of (N, H, W, 3)
            mirrored += [np.ascontiguousarray(np.flip(images, axis)) for images in mirrored]
        plain = looks.at(train.images)
        standardise = Standardise(plain.mean(axis=0), plain.std(axis=0)).to(device)

        def vectors(features: list[np.ndarray]) -> Tensor:
            return torch.stack([standardise(torch.from_numpy(of).to(device)) for of in features], dim=1)

        augmented = {
            seed: (own, vectors([looks.augmented(train.images[own], augment, seed, v) for v in range(augmented_views)]))
            for seed, own in rows.items()
        }
        front = nn.Sequential(Eye(looks), standardise)
        return cls(vectors([looks.at(images) for images in mirrored]), augmented, front, units)

    @property
    def reals(self) -> Tensor:
        """See `Pixels`."""
        return self.vectors

    def drawn(self, rows: np.ndarray, rng: np.random.Generator) -> Tensor:
        """(B, F), of mirrorings at random."""
        return self._at(self.vectors, rows, rng.integers(self.vectors.shape[1], size=len(rows)))

    def classic(self, rows: np.ndarray, seed: int, step: int, *kind: int) -> Tensor:
        """(B, F), of augmented views at random; `rows` are labelled ones."""
        if kind:
            raise ValueError("method must be one whose unlabelled photos are not augmented with space: features.")
        labelled, views = self.augmented[seed]
        chosen = numpy_rng(seed, "augmented view", step).integers(views.shape[1], size=len(rows))
        return self._at(views, np.searchsorted(labelled, rows), chosen)

    def _at(self, vectors: Tensor, rows: np.ndarray, views: np.ndarray) -> Tensor:
        return vectors[torch.from_numpy(rows).to(vectors.device), torch.from_numpy(views).to(vectors.device)]

    def discriminator(self, num_classes: int, *, dropout: float, input_noise: float) -> nn.Module:
        """See `Pixels`."""
        size = self.vectors.shape[-1]
        return FeatureDiscriminator(size, num_classes, units=self.units, dropout=dropout, input_noise=input_noise)

    def generator(self, z_dim: int) -> nn.Module:
        """See `Pixels`."""
        return FeatureGenerator(z_dim, self.vectors.shape[-1], units=self.units)


class Eye(nn.Module):
    """What a frozen network sees, of pictures that it has seen before without another look.

    Args:
        looks: The network.
    """

    def __init__(self, looks: Looks) -> None:
        super().__init__()
        self.looks = looks

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, 3, H, W) uint8 to (N, F) float32."""
        return torch.from_numpy(self.looks.at(pixels.permute(0, 2, 3, 1).cpu().numpy())).to(pixels.device)


class Standardise(nn.Module):
    """Features less their mean, over their deviation.

    Args:
        mean: (F,) of train.
        deviation: (F,); one that is all but 0 divides nothing.
    """

    def __init__(self, mean: np.ndarray, deviation: np.ndarray) -> None:
        super().__init__()
        deviation = np.where(deviation > 1e-8, deviation, 1.0)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("deviation", torch.tensor(deviation, dtype=torch.float32))

    def forward(self, features: Tensor) -> Tensor:
        """(N, F) to (N, F)."""
        return (features - self.mean) / self.deviation
