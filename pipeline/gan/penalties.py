"""What D pays beside its loss: R1, the gradient penalty of WGAN-GP, LeCam.

A penalty has a weight and says at which steps it is due; the training loop adds what is due and knows no
names. A new one is a class in the table, and its settings arguments of `build_penalties`.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from pipeline.gan.distributed import average


class DStep(NamedTuple):
    """What one step of D has seen.

    Attributes:
        reals: (N, C, H, W) float32, augmented, as D saw them.
        fakes: (N, C, H, W) float32, the same, without gradient to G.
        real_labels: (N,) int64.
        fake_labels: (N,) int64.
        real_logits: (N,) float32.
        fake_logits: (N,) float32.
        rows: (N,) float32 uniform in [0, 1], for a penalty that draws.
    """

    reals: Tensor
    fakes: Tensor
    real_labels: Tensor
    fake_labels: Tensor
    real_logits: Tensor
    fake_logits: Tensor
    rows: Tensor


class Penalty(Protocol):
    def due(self, step: int, images_seen: int) -> bool:
        """Whether D pays it in this step."""

    def __call__(self, D: nn.Module, seen: DStep) -> Tensor:
        """The weighted penalty, a scalar. D in float32: second derivatives in bfloat16 are too coarse."""

    def state(self) -> dict[str, Tensor]:
        """Tensors that a resumed training needs, changed in place."""


def squared_gradient(D: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """(N,) squared norms of the gradient of D's logit with respect to the image."""
    images = images.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(D(images, labels).sum(), images, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3))


class R1:
    """Mean squared gradient of D at real images (Mescheder et al. 2018, eq. 9).

    Taken "lazily", every `interval` steps at that many times its weight (Karras et al. 2020, appendix B).
    """

    def __init__(self, gamma: float, interval: int):
        self.gamma, self.interval = gamma, interval

    def due(self, step: int, images_seen: int) -> bool:
        return step % self.interval == 0

    def __call__(self, D: nn.Module, seen: DStep) -> Tensor:
        squared = squared_gradient(D, seen.reals, seen.real_labels)
        return squared.mean() * (self.gamma / 2 * self.interval)  # gamma / 2 E ||dD/dx||^2

    def state(self) -> dict[str, Tensor]:
        return {}


class GradientPenalty:
    """Pulls D's gradient to norm 1 between reals and fakes (Gulrajani et al. 2017, eq. 3)."""

    def __init__(self, weight: float):
        self.weight = weight

    def due(self, step: int, images_seen: int) -> bool:
        return True

    def __call__(self, D: nn.Module, seen: DStep) -> Tensor:
        between = torch.lerp(seen.fakes, seen.reals, seen.rows[:, None, None, None])  # (N, C, H, W)
        norm = (squared_gradient(D, between, seen.real_labels) + 1e-12).sqrt()
        return (norm - 1).square().mean() * self.weight  # lambda E (||dD/dx|| - 1)^2

    def state(self) -> dict[str, Tensor]:
        return {}


class LeCam:
    """Keeps D's logits near their running means of the other side (Tseng et al. 2021, section 3.2).

    The one-sided form that the authors train with: a logit pays only beyond the other side's mean.
    """

    def __init__(self, weight: float, decay: float, from_kimg: float, device: str):
        self.weight, self.decay, self.from_kimg = weight, decay, from_kimg
        self.real_mean = torch.zeros((), device=device)
        self.fake_mean = torch.zeros((), device=device)

    def due(self, step: int, images_seen: int) -> bool:
        return images_seen >= 1000 * self.from_kimg

    def __call__(self, D: nn.Module, seen: DStep) -> Tensor:
        with torch.no_grad():
            self.real_mean.lerp_(average(seen.real_logits.mean()), 1 - self.decay)
            self.fake_mean.lerp_(average(seen.fake_logits.mean()), 1 - self.decay)
        # E relu(D(x) - a_F)^2 + E relu(a_R - D(G(z)))^2
        real = relu(seen.real_logits - self.fake_mean).square().mean()
        fake = relu(self.real_mean - seen.fake_logits).square().mean()
        return (real + fake) * self.weight

    def state(self) -> dict[str, Tensor]:
        return {"real_mean": self.real_mean, "fake_mean": self.fake_mean}


LECAM_DECAY = 0.99  # of the running means, a step


def build_penalties(
    *,
    r1_gamma: float,
    r1_interval: int,
    gradient_penalty: float,
    lecam: float,
    lecam_from_kimg: float,
    device: str,
) -> dict[str, Penalty]:
    """Those of a weight above 0."""
    table: dict[str, tuple[float, Penalty]] = {
        "r1": (r1_gamma, R1(r1_gamma, r1_interval)),
        "gradient_penalty": (gradient_penalty, GradientPenalty(gradient_penalty)),
        "lecam": (lecam, LeCam(lecam, LECAM_DECAY, lecam_from_kimg, device)),
    }
    return {name: penalty for name, (weight, penalty) in table.items() if weight > 0}
