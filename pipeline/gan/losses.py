"""Adversarial losses by name. Logits in, one scalar out; a new loss is a new pair in the table."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor
from torch.nn.functional import relu, softplus


class DiscriminatorLoss(Protocol):
    def __call__(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor: ...


class GeneratorLoss(Protocol):
    def __call__(self, fake_logits: Tensor) -> Tensor: ...


class Loss(NamedTuple):
    """What D and what G minimise, and the logit by which D tells real (above) from fake."""

    D: DiscriminatorLoss
    G: GeneratorLoss
    boundary: float


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


def least_squares_D(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Targets 1 for real and 0 for fake (Mao et al. 2017, eq. 9)."""
    return ((real_logits - 1).square().mean() + fake_logits.square().mean()) / 2


def least_squares_G(fake_logits: Tensor) -> Tensor:
    """Mao et al. 2017, eq. 9."""
    return (fake_logits - 1).square().mean() / 2


def wasserstein_D(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Arjovsky et al. 2017, algorithm 1; to be used with a gradient penalty (Gulrajani et al. 2017)."""
    return fake_logits.mean() - real_logits.mean()


def critic_G(fake_logits: Tensor) -> Tensor:
    """Of hinge (Miyato et al. 2018, eq. 17) and Wasserstein (Arjovsky et al. 2017, algorithm 1)."""
    return -fake_logits.mean()


LOSSES = {
    "nonsaturating": Loss(nonsaturating_D, nonsaturating_G, 0.0),
    "hinge": Loss(hinge_D, critic_G, 0.0),
    "least_squares": Loss(least_squares_D, least_squares_G, 0.5),
    "wasserstein": Loss(wasserstein_D, critic_G, 0.0),
}
