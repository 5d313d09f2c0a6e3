"""A judge that has seen the world: a frozen pretrained network, and a multinomial logistic regression on its features.

With few photos a class this tells more than a network trained on them alone, and costs one forward pass an image
instead of a training; transfer is the bar that synthetic images are held against (arXiv 2208.12613). The strength of
the regression is chosen on val.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline import InputError
from pipeline.features.colours import Colours
from pipeline.features.looks import Looks
from pipeline.images.store import Store
from pipeline.learn.batches import check_stores
from pipeline.learn.classifier_model import build_classifier
from pipeline.learn.device import reproducible, seed_layers
from pipeline.learn.metrics import evaluate_predictions
from pipeline.learn.trained import Trained, log_loss

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # C of scikit-learn: the inverse of the penalty on standardised features
USUAL_STRENGTH = 1e-2  # where val is to choose nothing: the best or next to it on tea and on the rendered sample
MOST_ITERATIONS = 2000
TOLERANCE = 1e-4  # a hundredth of it moves no third digit of macro-F1, for three times the time


class Probe(nn.Module):
    """A classifier like any other: (N, 3, H, W) uint8 pixels to (N, K) float64 logits.

    Args:
        looks: At pictures.
        weight: (K, F).
        bias: (K,).
        device: Where logits are computed.
    """

    def __init__(self, looks: Looks | Colours, weight: np.ndarray, bias: np.ndarray, device: str) -> None:
        super().__init__()
        self.looks, self.keeps = looks, True  # what it was shown, for the next who shows it
        self.last = nn.Linear(weight.shape[1], len(weight), dtype=torch.float64, device=device)
        with torch.no_grad():
            self.last.weight.copy_(torch.from_numpy(weight))
            self.last.bias.copy_(torch.from_numpy(bias))

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits."""
        features = self.looks.at(pixels.permute(0, 2, 3, 1).cpu().numpy(), keep=self.keeps)
        return self.last(torch.from_numpy(features).to(self.last.weight))


def train_probe(
    train: Store,
    val: Store,
    *,
    model: str,
    weights: str,
    input_size: int | None,
    seeds: list[int],
    views: int,
    sampling: str = "natural",
    augment: str = "none",
    device: str = "cpu",
    report: Callable[[dict[str, float], int], None] | None = None,
    looks_dir: str | Path | None = None,
    method: str = "",
    strengths: Sequence[float] = STRENGTHS,
) -> list[Trained]:
    """Fit one probe a seed; of each, the strength with the best macro-F1 on val is kept.

    Seeds differ in the augmented views alone: without augmentation all give the same probe.

    Args:
        train: The arm's images.
        val: Real images to choose the strength on.
        model: Name of a classifier, see `build_classifier`.
        weights: Its weights; a network that has seen nothing is no judge.
        input_size: Side that the network sees, pixels; smaller images are enlarged to it. None: the images' own.
        seeds: One probe each.
        views: Augmented views of each train image, beside the image itself; none with `augment: none`.
        sampling: natural, or balanced: classes weigh the same.
        augment: Name of a policy of `images/transforms.py`.
        device: cpu or cuda.
        report: Called with the figures of a strength and its place in `strengths`, from 1.
        looks_dir: Where features are kept for the next set, stage or run; None: in memory alone.
        method: Name of this set among several in one stage; "": it is the only one.
        strengths: To choose from; of a single one val chooses nothing, and what is said of val is said of strangers.

    Returns:
        One `Trained` a seed, in the order of `seeds`; `step` is the place of the strength in `strengths`, and no
        optimiser made a step.

    Raises:
        InputError: Bad names, weights or images.
    """
    network = {"model": model, "weights": weights, "input_size": input_size, "device": device}
    looks = frozen_looks(train, **network, looks_dir=looks_dir, name=method)
    recipe = {
        "sampling": sampling,
        "augment": augment,
        "device": device,
        "report": report,
        "method": method,
        "strengths": strengths,
    }
    return fit_probes(train, val, looks=looks, seeds=seeds, views=views, **recipe)


def frozen_looks(
    train: Store,
    *,
    model: str,
    weights: str,
    input_size: int | None,
    device: str = "cpu",
    looks_dir: str | Path | None = None,
    name: str = "",
) -> Looks:
    """The features of a pretrained network.

    Args:
        train: Images of the size and the classes that there are.
        model: See `train_probe`, as those that follow.
        weights: See there.
        input_size: See there.
        device: See there.
        looks_dir: See there.
        name: For the progress bar.

    Raises:
        InputError: Bad names, weights or sizes.
    """
    of_images = {"num_classes": len(train.classes), "img_resolution": train.images.shape[1]}
    looks = _looks(model, weights, input_size, device, looks_dir, **of_images)
    looks.name = name
    return looks


@lru_cache(maxsize=1)  # all sets of a stage are looked at through one network
def _looks(
    model: str, weights: str, input_size: int | None, device: str, looks_dir: str | Path | None, **of_images: int
) -> Looks:
    with reproducible():
        seed_layers(0, "initial weights")  # of the last layer, which nobody looks at
        network = build_classifier(model, weights=weights, input_size=input_size, **of_images)
        return Looks(network.to(device), looks_dir)


def probe_labels(
    train: Store, val: Store, *, rows: Mapping[int, np.ndarray], looks: Looks, views: int, **settings: Any
) -> list[Trained]:
    """Probes of few labelled images, others for each seed.

    Args:
        train: All of train.
        val: See `train_probe`.
        rows: Seed to the rows of train that are fitted.
        looks: Of `frozen_looks`.
        views: See `train_probe`.
        settings: Further arguments of `fit_probes`.
    """
    trained = []
    for seed, own in rows.items():
        few = Store(train.images[own], train.labels[own], [train.files[i] for i in own], train.classes)
        trained += fit_probes(few, val, looks=looks, seeds=[seed], views=views, **settings)
    return trained


def fit_probes(
    train: Store,
    val: Store,
    *,
    looks: Looks | Colours,
    seeds: list[int],
    views: int,
    sampling: str = "natural",
    augment: str = "none",
    device: str = "cpu",
    report: Callable[[dict[str, float], int], None] | None = None,
    method: str = "",
    strengths: Sequence[float] = STRENGTHS,
) -> list[Trained]:
    """`train_probe` by a network that is there already."""
    check_stores(train, val)
    num_classes, balanced = len(train.classes), sampling == "balanced"
    with reproducible():
        plain, of_val = looks.at(train.images), looks.at(val.images)
        trained: list[Trained] = []
        for seed in seeds:
            if trained and augment == "none":  # nothing to draw
                trained.append(trained[0]._replace(seed=seed))
                continue
            turns = [looks.augmented(train.images, augment, seed, view) for view in range(views)]
            features = np.concatenate([plain, *(turns if augment != "none" else [])])
            target = np.tile(train.labels, len(features) // len(plain))
            history, best = [], None
            for step, strength in enumerate(strengths, 1):
                weight, bias = _regression(features, target, num_classes, strength, balanced=balanced)
                of_train, probabilities = (_softmax(x @ weight.T + bias) for x in (features, of_val))
                row = {"step": step, "train_loss": log_loss(target, of_train)}
                row["train_accuracy"] = float((of_train.argmax(axis=1) == target).mean())
                row["val_loss"] = log_loss(val.labels, probabilities)
                row["val_macro_f1"] = evaluate_predictions(val.labels, probabilities, val.classes)["macro_f1"]
                history.append(row)
                if report is not None:
                    report({f"{k}/seed_{seed}": v for k, v in row.items() if k != "step"}, step)
                key = (row["val_macro_f1"], -row["val_loss"])
                if best is None or key > best[0]:
                    best = key, step, weight, bias
            assert best is not None
            trained.append(Trained(seed, Probe(looks, best[2], best[3], device), history, best[1], 0, method))
    return trained


def _regression(
    features: np.ndarray, labels: np.ndarray, num_classes: int, strength: float, *, balanced: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (K, F) and bias (K,) on features as they are; the penalty is on standardised ones."""
    from sklearn.linear_model import LogisticRegression

    mean, deviation = features.mean(axis=0), features.std(axis=0)
    deviation = np.where(deviation > 1e-8, deviation, 1.0)
    regression = LogisticRegression(
        C=strength, class_weight="balanced" if balanced else None, max_iter=MOST_ITERATIONS, tol=TOLERANCE
    ).fit((features - mean) / deviation, labels)
    weight, bias = regression.coef_.astype(np.float64), regression.intercept_.astype(np.float64)
    if len(weight) == 1:  # two classes: one logit z is the softmax of (-z/2, z/2)
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    if len(weight) != num_classes:
        raise InputError(f"train: expected images of {num_classes} classes, found {len(weight)}; check `classes`.")
    weight = weight / deviation
    return weight, bias - weight @ mean


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
