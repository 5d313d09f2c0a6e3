"""pipeline/features/folded.py: what is folded says what it said before."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.features.folded import folded
from pipeline.learn.classifier_model import build_classifier


def trained(name: str) -> nn.Module:
    """A classifier whose batch norms have statistics, scales and shifts of their own."""
    torch.manual_seed(0)
    model = build_classifier(name, num_classes=3, weights=None, input_size=None, img_resolution=64)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean):
                nn.init.uniform_(tensor, 0.5, 1.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval()


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("mobilenet_v3_small", 0),
        ("tf_efficientnet_lite0", 0),  # activations inside the norms, and convolutions that pad by themselves
        ("densenet121", 62),  # norms behind a concatenation
    ],
)
@torch.no_grad()
def test_it_says_the_same_and_leaves_the_original_alone(name: str, left: int) -> None:
    network = trained(name)
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 3, 64, 64), dtype=np.uint8))
    before = network(pixels)
    few = folded(network, pixels[:1])
    torch.testing.assert_close(few(pixels), before, rtol=2e-4, atol=2e-4 * float(before.abs().max()))
    torch.testing.assert_close(network(pixels), before, rtol=0, atol=0)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in few.modules()) == left
    assert not few.training


@torch.no_grad()
def test_a_norm_that_is_used_twice_stays() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.norm = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(self.second(self.norm(self.first(x))))

    network = Twice().eval()
    nn.init.uniform_(network.norm.running_mean, 0.5, 1.5)
    pixels = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(folded(network, pixels)(pixels), network(pixels))


@torch.no_grad()
def test_what_goes_past_the_norm_is_not_lost() -> None:
    class Past(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.conv(x)
            return self.norm(x) + x

    network = Past().eval()
    nn.init.uniform_(network.norm.running_mean, 0.5, 1.5)
    pixels = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(folded(network, pixels)(pixels), network(pixels))
