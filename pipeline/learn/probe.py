"""A judge that has seen the world: a frozen pretrained network, and a multinomial logistic regression on its features.

With few photos a class this tells more than a network trained on them alone, and costs one forward pass an image
instead of a training; transfer is the bar that synthetic images are held against (arXiv 2208.12613). The strength of
the regression is chosen on val. What comes out is a classifier like any other: the network with the regression as its
last layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pipeline import InputError
from pipeline.features.looks import Looks
from pipeline.images.store import Store
from pipeline.images.transforms import build_policy
from pipeline.learn.batches import check_stores
from pipeline.learn.classifier_model import build_classifier
from pipeline.learn.device import reproducible, seed_layers
from pipeline.learn.metrics import evaluate_predictions
from pipeline.learn.trained import Trained, log_loss

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # C of scikit-learn: the inverse of the penalty on standardised features
USUAL_STRENGTH = 1e-2  # where val is to choose nothing: the best or next to it on both sets of bench/judges
MOST_ITERATIONS = 2000


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
    state_dir: str | Path | None = None,
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
        state_dir: Where features are kept that a killed stage had computed; None: nowhere.
        method: Name of this set among several in one stage; "": it is the only one.
        strengths: To choose from; of a single one val chooses nothing, and what is said of val is said of strangers.

    Returns:
        One `Trained` a seed, in the order of `seeds`; `step` is the place of the strength in `strengths`, and no
        optimiser made a step.

    Raises:
        InputError: Bad names, weights or images; a network whose last layer is not linear.
        Interrupted: Ctrl-C or SIGTERM came, and the features are saved in `state_dir`.
    """
    check_stores(train, val)
    img_resolution, num_classes = train.images.shape[1], len(train.classes)
    policy = build_policy(augment, img_resolution)

    def network() -> nn.Module:
        seed_layers(0, "initial weights")  # of the last layer, which is replaced
        built = build_classifier(
            model, num_classes=num_classes, weights=weights, input_size=input_size, img_resolution=img_resolution
        )
        return built.to(device).eval()

    with reproducible():
        frozen = network()
        looks = Looks.of(frozen, model, weights, input_size, device=device, state_dir=state_dir, name=method)
        of_val = looks.at(val.images)
        trained = []
        for seed in seeds:
            images, labels = [train.images], [train.labels]
            for view in range(views if augment != "none" else 0):
                seen = [policy(image, seed, view, i) for i, image in enumerate(train.images)]
                images.append(np.stack(seen))
                labels.append(train.labels)
            features, target = looks.at(np.concatenate(images)), np.concatenate(labels)
            history, best = [], None
            for step, strength in enumerate(strengths, 1):
                weight, bias = _regression(features, target, num_classes, strength, balanced=sampling == "balanced")
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
            judge = network()
            _replace_last(judge, best[2], best[3])
            trained.append(Trained(seed, judge, history, best[1], 0, method))
    return trained


def _regression(
    features: np.ndarray, labels: np.ndarray, num_classes: int, strength: float, *, balanced: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (K, F) and bias (K,) on features as they are; the penalty is on standardised ones."""
    from sklearn.linear_model import LogisticRegression

    mean, deviation = features.mean(axis=0), features.std(axis=0)
    deviation = np.where(deviation > 1e-8, deviation, 1.0)
    regression = LogisticRegression(
        C=strength, class_weight="balanced" if balanced else None, max_iter=MOST_ITERATIONS, tol=1e-6
    ).fit((features - mean) / deviation, labels)
    weight, bias = regression.coef_, regression.intercept_
    if len(weight) == 1:  # two classes: one logit z is the softmax of (-z/2, z/2)
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    if len(weight) != num_classes:
        raise InputError(f"train: expected images of {num_classes} classes, found {len(weight)}; check `classes`.")
    weight = weight / deviation
    return weight, bias - weight @ mean


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _replace_last(model: nn.Module, weight: np.ndarray, bias: np.ndarray) -> None:
    layer = [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1]
    if not isinstance(layer, nn.Linear) or layer.weight.shape != weight.shape or layer.bias is None:
        raise InputError(
            "model: expected one whose last layer is linear for kind: probe, found another; take tf_efficientnet_lite0."
        )
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(bias))
