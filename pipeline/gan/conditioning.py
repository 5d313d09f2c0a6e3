"""How a label enters a network: the parts that the networks are put together from.

Every part is called with the labels, so that a network reads the same whatever its conditioning.
"""

from __future__ import annotations

import torch
from torch import nn

EMBEDDING_DIM = 50  # of a label that is concatenated


class LabelEmbedding(nn.Embedding):
    """A row a class, which can be faded in from the mean of all rows.

    Transitional conditioning (Shahbazi et al. 2022, "Collapse by conditioning", section 4): a conditional GAN
    on little data collapses where an unconditional one trains, so it starts as one, and becomes conditional
    bit by bit.

    Attributes:
        strength: () buffer, only where `transitional`: 0 gives every class the mean row, 1 its own.
    """

    def __init__(self, num_classes: int, dim: int, transitional: bool = False):
        super().__init__(num_classes, dim)
        self.transitional = transitional
        if transitional:  # a buffer: a checkpoint from the middle of the transition keeps its own
            self.register_buffer("strength", torch.ones(()))

    def forward(self, labels: torch.Tensor) -> torch.Tensor:
        """Args: labels (N,) int64. Returns (N, dim)."""
        rows = super().forward(labels)
        if not self.transitional:
            return rows
        return torch.lerp(self.weight.mean(dim=0).expand_as(rows), rows, self.strength)


def set_strength(network: nn.Module, strength: float) -> None:
    """Of every embedding that fades in; no host synchronisation."""
    for module in network.modules():
        if isinstance(module, LabelEmbedding) and module.transitional:
            module.strength.fill_(strength)


def transition_strength(images_seen: int, transition_kimg: tuple[float, float] | None) -> float:
    """0 before the transition, 1 after it, a line in between (Shahbazi et al. 2022, eq. 3)."""
    if transition_kimg is None:
        return 1.0
    begin, end = (1000 * kimg for kimg in transition_kimg)
    return min(max((images_seen - begin) / max(end - begin, 1e-8), 0.0), 1.0)


class Unlabelled(nn.Module):
    """Lets pass what it is given.

    Attributes:
        extra: Channels that it adds.
    """

    extra = 0

    def __init__(self, num_classes: int, resolution: int, transitional: bool):
        super().__init__()

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Returns x."""
        return x


class ConcatenatedEmbedding(nn.Module):
    """z with the label's embedding behind it (Mirza and Osindero 2014, section 3.2)."""

    extra = EMBEDDING_DIM

    def __init__(self, num_classes: int, resolution: int, transitional: bool):
        super().__init__()
        self.embed = LabelEmbedding(num_classes, EMBEDDING_DIM, transitional)

    def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Args: z (N, z_dim). Returns (N, z_dim + EMBEDDING_DIM)."""
        return torch.cat([z, self.embed(labels).to(z.dtype)], dim=1)


class LabelChannel(nn.Module):
    """One more channel, drawn from the label: embedding, then a dense layer to a map of the input's size."""

    extra = 1

    def __init__(self, num_classes: int, resolution: int, transitional: bool):
        super().__init__()
        self.resolution = resolution
        self.embed = LabelEmbedding(num_classes, EMBEDDING_DIM, transitional)
        self.dense = nn.Linear(EMBEDDING_DIM, resolution**2)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Args: x (N, C, r, r). Returns (N, C + 1, r, r)."""
        channel = self.dense(self.embed(labels)).view(-1, 1, self.resolution, self.resolution)  # (N, 1, r, r)
        return torch.cat([x, channel.to(x.dtype)], dim=1)
