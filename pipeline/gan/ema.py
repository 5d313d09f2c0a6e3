"""The running average of G's weights, which is what is scored and exported."""

from __future__ import annotations

import torch
from torch import nn


def ema_beta(images_seen: int, batch_size: int, half_life_kimg: float, rampup: float | None) -> float:
    """Share of the average that stays, in a step (Karras et al. 2020, "Analyzing and improving", appendix B).

    Args:
        images_seen: Including this step's.
        batch_size: Images of this step.
        half_life_kimg: Thousands of images after which a weight counts half.
        rampup: The half-life is at most this share of the images seen, so that the start is soon forgotten;
            None for no ramp.
    """
    half_life = half_life_kimg * 1000
    if rampup is not None:
        half_life = min(half_life, images_seen * rampup)
    return 0.5 ** (batch_size / max(half_life, 1e-8))  # 2^(-batch / half-life)


@torch.no_grad()
def average_weights(G_ema: nn.Module, G: nn.Module, beta: float) -> None:
    """Move the average by one step; running statistics and other buffers are copied."""
    torch._foreach_lerp_(list(G_ema.parameters()), list(G.parameters()), 1 - beta)
    for averaged, current in zip(G_ema.buffers(), G.buffers(), strict=True):
        averaged.copy_(current)
