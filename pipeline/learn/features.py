"""Features of a trained classifier: what its last layer sees."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.learn.trained import PREDICT_BATCH, to_pixels


@torch.no_grad()
def penultimate_features(model: nn.Module, images: np.ndarray) -> np.ndarray:
    """What goes into the last layer, in eval mode; maps are averaged over their pixels.

    Args:
        model: A torchvision classifier of `build_classifier`, or of `train_classifier`: its last linear layer
            or convolution is the one that gives the logits.
        images: (N, H, W, 3) uint8.

    Returns:
        (N, F) float32.

    Raises:
        ValueError: No images, or no such layer.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    if not layers or not len(images):
        raise ValueError(f"model and images must not be empty. Got {len(layers)} layers, {len(images)} images.")
    seen: list[Tensor] = []

    def keep(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        features = inputs[0]
        seen.append((features.mean(dim=(2, 3)) if features.ndim == 4 else features).float().cpu())

    training = model.training
    model.eval()
    handle = layers[-1].register_forward_pre_hook(keep)
    try:
        device = next(model.parameters()).device
        for i in range(0, len(images), PREDICT_BATCH):
            model(to_pixels(images[i : i + PREDICT_BATCH], device))
    finally:
        handle.remove()
        model.train(training)
    return torch.cat(seen).numpy()
