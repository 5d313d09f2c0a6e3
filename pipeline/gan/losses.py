"""Adversarial losses by name. Logits in, one scalar out; a new loss is a new pair in the table."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, softplus


class DiscriminatorLoss(Protocol):
    def __call__(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor: ...


class GeneratorLoss(Protocol):
    def __call__(self, fake_logits: Tensor) -> Tensor: ...


class Loss(NamedTuple):
    """What D and what G minimise."""

    D: DiscriminatorLoss
    G: GeneratorLoss


def nonsaturating_D(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Binary cross-entropy on logits (Goodfellow et al. 2014, eq. 1)."""
    # -log sigmoid(real) - log(1 - sigmoid(fake))
    return softplus(-real_logits).mean() + softplus(fake_logits).mean()


def nonsaturating_G(fake_logits: Tensor) -> Tensor:
    """The non-saturating form (Goodfellow et al. 2014, section 3)."""
    return softplus(-fake_logits).mean()  # -log sigmoid(fake)


def hinge_D(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Lim and Ye 2017, eq. 6; Miyato et al. 2018, eq. 16."""
    return relu(1 - real_logits).mean() + relu(1 + fake_logits).mean()


def hinge_G(fake_logits: Tensor) -> Tensor:
    """Miyato et al. 2018, eq. 17."""
    return -fake_logits.mean()


LOSSES = {
    "nonsaturating": Loss(nonsaturating_D, nonsaturating_G),
    "hinge": Loss(hinge_D, hinge_G),
}


def r1_penalty(D: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Mean squared gradient of D at real images (Mescheder et al. 2018, eq. 9), before its factor gamma / 2.

    Args:
        D: In float32: second derivatives in bfloat16 are too coarse.
        images: (N, C, H, W) float32, as D sees them (augmented).
        labels: (N,) int64.
    """
    images = images.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(D(images, labels).sum(), images, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean()  # E ||dD/dx||^2
