"""A trained model, how it predicts, and how its checkpoint is chosen: on val, never on test."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.features.pixels import PREDICT_BATCH, to_pixels
from pipeline.images.store import Store


@torch.no_grad()
def predict(model: nn.Module, images: np.ndarray) -> np.ndarray:
    """Class probabilities, the model in eval mode; its mode before is restored.

    Args:
        model: From (N, 3, H, W) uint8 pixels to (N, K) logits.
        images: (N, H, W, 3) uint8.

    Returns:
        (N, K) float64, rows summing to 1.
    """
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    logits = [
        model(to_pixels(images[i : i + PREDICT_BATCH], device)).double().cpu()
        for i in range(0, len(images), PREDICT_BATCH)
    ]
    model.train(training)
    if not logits:
        raise ValueError("images must be one or more. Got none instead.")
    return torch.cat(logits).softmax(dim=1).numpy()


def log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean cross-entropy, nats: -log p[label], p no lower than 1e-12."""
    return float(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-12)).mean())


class BestOnVal:
    """Keeps the weights with the highest val macro-F1; of equals, the one with the lowest val loss.

    Attributes:
        step: Step of the kept weights; 0 before the first offer.
    """

    def __init__(self) -> None:
        self.step = 0
        self._key = (-np.inf, -np.inf)
        self._state: dict[str, Tensor] = {}

    def offer(self, step: int, model: nn.Module, val: Store) -> dict[str, float]:
        """Evaluate on val, and keep a copy of the weights if none were better.

        Returns:
            val_loss (nats) and val_macro_f1 (0 to 1).
        """
        from pipeline.learn.metrics import evaluate_predictions  # scikit-learn: a second that GAN stages need not wait

        probabilities = predict(model, val.images)
        loss = log_loss(val.labels, probabilities)
        macro_f1 = evaluate_predictions(val.labels, probabilities, val.classes)["macro_f1"]
        key = (macro_f1, -loss)
        if key > self._key:
            self._key, self.step = key, step
            self._state = copy.deepcopy(model.state_dict())
        return {"val_loss": loss, "val_macro_f1": macro_f1}

    def restore(self, model: nn.Module) -> None:
        """Put the kept weights into the model."""
        model.load_state_dict(self._state)

    def state_dict(self) -> dict[str, Any]:
        """What a killed training needs to go on choosing."""
        return {"step": self.step, "key": self._key, "weights": self._state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.step, self._key, self._state = state["step"], tuple(state["key"]), state["weights"]


class Trained(NamedTuple):
    """One seed's outcome.

    Attributes:
        seed: Its seed.
        model: With the weights chosen on val; (N, 3, H, W) uint8 pixels to (N, K) logits; use `predict`.
        history: A row an evaluation: step, train_loss, val_loss, val_macro_f1, and what else the method has.
        best_step: Step of the chosen weights.
        optimiser_steps: How often the optimiser really stepped.
        method: Name of the method where a stage has more than one, else "".
    """

    seed: int
    model: nn.Module
    history: list[dict[str, float]]
    best_step: int
    optimiser_steps: int
    method: str = ""


def to_state(trained: Trained) -> dict[str, Any]:
    """A finished training as a `TrainingState` holds it, while those of other seeds still run."""
    return trained._asdict() | {"model": trained.model.state_dict()}


def from_state(state: dict[str, Any], model: nn.Module) -> Trained:
    """A finished training out of what `to_state` gave.

    Args:
        state: From `to_state`.
        model: Of the same make; gets the weights, and eval mode.
    """
    model.load_state_dict(state["model"])
    return Trained(**state | {"model": model.eval()})
