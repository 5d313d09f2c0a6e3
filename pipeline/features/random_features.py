"""A network that has seen nothing: features that depend on no class, for a GAN that is trained on one alone.

Distances between features of random convolutions tell real from synthetic images surprisingly well (Naeem et
al. 2020, section 3.2), and unlike a trained classifier's they stay what they are when a class is added.
"""

from __future__ import annotations

import torch
import torchvision
from torch import nn

from pipeline.features.pixels import PixelInput
from pipeline.images.seeding import stream_state

SEED = 0  # for ever: another one is another measure


def random_extractor(device: str = "cpu") -> nn.Module:
    """A resnet18 of fixed random weights, in eval mode: (N, 3, H, W) uint8 pixels in, 512 features before its last."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_state(SEED, "random extractor"))
        network = torchvision.models.resnet18(weights=None)
    model = nn.Sequential(PixelInput((0.5,) * 3, (0.5,) * 3, None), network)
    return model.to(device, memory_format=torch.channels_last).eval()
