"""Features of a trained classifier: what its last layer sees."""

from __future__ import annotations

import threading

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.features.pixels import PREDICT_BATCH, to_pixels


class Opened:
    """A classifier in eval mode that tells what goes into its last layer beside what comes out of it.

    Use as a context; its mode before is restored. Inside it several threads may look at a time.

    Args:
        model: A classifier of torchvision's or timm's behind a `PixelInput`: its last linear layer or convolution is
            the one that gives the logits.

    Raises:
        ValueError: It has no such layer.
    """

    def __init__(self, model: nn.Module):
        layers = [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
        if not layers:
            raise ValueError("model must have a linear layer or a convolution. Got none.")
        self.model, self._last = model, layers[-1]
        self._seen = threading.local()

    def __enter__(self) -> Opened:
        self._training = self.model.training
        self.model.eval()
        self._handle = self._last.register_forward_pre_hook(self._keep)
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.remove()
        self.model.train(self._training)

    def _keep(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._seen.inputs = inputs[0]

    @torch.no_grad()
    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the last layer sees, maps averaged over their pixels, and what it says.

        Args:
            images: (N, H, W, 3) uint8, N of 1 or more.

        Returns:
            (N, F) float32 features and (N, K) float64 probabilities.
        """
        if not len(images):
            raise ValueError("images must be one or more. Got none instead.")
        device = next(self.model.parameters()).device
        features, logits = [], []
        for i in range(0, len(images), PREDICT_BATCH):
            logits.append(self.model(to_pixels(images[i : i + PREDICT_BATCH], device)).double().cpu())
            inputs = self._seen.inputs
            features.append((inputs.mean(dim=(2, 3)) if inputs.ndim == 4 else inputs).float().cpu())
        return torch.cat(features).numpy(), torch.cat(logits).softmax(dim=1).numpy()


def penultimate_features(model: nn.Module, images: np.ndarray) -> np.ndarray:
    """What goes into the last layer, see `Opened`.

    Args:
        model: As of `Opened`.
        images: (N, H, W, 3) uint8.

    Returns:
        (N, F) float32.

    Raises:
        ValueError: No images, or no such layer.
    """
    with Opened(model) as look:
        return look(images)[0]
