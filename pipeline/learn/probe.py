"""A judge that has seen the world: a frozen pretrained network, and a multinomial logistic regression on its features.

With few photos a class this tells more than a network trained on them alone, and costs one forward pass an image
instead of a training; transfer is the bar that synthetic images are held against (arXiv 2208.12613). The strength of
the regression is chosen on val. What comes out is a classifier like any other: the network with the regression as its
last layer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from pipeline import InputError
from pipeline.images.store import Store
from pipeline.images.transforms import build_policy
from pipeline.learn.batches import check_stores
from pipeline.learn.classifier_model import build_classifier
from pipeline.learn.device import reproducible, seed_layers
from pipeline.learn.features import penultimate_features
from pipeline.learn.metrics import evaluate_predictions
from pipeline.learn.trained import PREDICT_BATCH, Trained, log_loss
from pipeline.resume import TrainingState, fingerprint

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # C of scikit-learn: the inverse of the penalty on standardised features
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
        report: Called with the figures of a strength and its place in STRENGTHS, from 1.
        state_dir: Where features are kept that a killed stage had computed; None: nowhere.
        method: Name of this set among several in one stage; "": it is the only one.

    Returns:
        One `Trained` a seed, in the order of `seeds`; `step` is the place of the strength in STRENGTHS, and no
        optimiser made a step.

    Raises:
        InputError: Bad names, weights or images; a network whose last layer is not linear.
        Interrupted: Ctrl-C or SIGTERM came, and the features are saved in `state_dir`.
    """
    check_stores(train, val)
    img_resolution, num_classes = train.images.shape[1], len(train.classes)
    network = {"model": model, "weights": weights, "input_size": input_size, "device": device}
    network |= {"num_classes": num_classes, "img_resolution": img_resolution}
    with reproducible():
        looks = frozen_looks(**network, state_dir=state_dir, name=method)
        of_val = looks.at(val.images)
        trained = []
        for seed in seeds:
            images, labels = [train.images], [train.labels]
            if augment != "none" and views > 0:
                every = np.arange(len(train.labels))
                images.append(augmented_images(train.images, every, count=views, augment=augment, seed=seed))
                labels.append(np.tile(train.labels, views))
            features, target = looks.at(np.concatenate(images)), np.concatenate(labels)
            history, step, weight, bias = _best_strength(
                features, target, of_val, val, balanced=sampling == "balanced", report=report, seed=seed
            )
            judge = _network(**network)
            _replace_last(judge, weight, bias)
            trained.append(Trained(seed, judge, history, step, 0, method))
    return trained


def probe_labels(
    train: Store,
    val: Store,
    *,
    rows: Mapping[int, np.ndarray],
    looks: Looks,
    augmented_views: int,
    augment: str = "classic",
    report: Callable[[dict[str, float], int], None] | None = None,
    method: str = "probe",
) -> list[Trained]:
    """`train_probe` on few labelled photos of train, others for every seed.

    Args:
        train: All of train; images and labels of other rows stay unseen.
        val: To choose the strength on.
        rows: Seed to the rows whose labels may be seen.
        looks: The frozen network.
        augmented_views: Of each labelled photo, beside the photo itself.
        augment: Name of their policy.
        report: See `train_probe`, with `method` in front.
        method: Its name among others.

    Returns:
        One `Trained` a seed, whose model takes the features that `looks` gives, float32.
    """
    trained = []
    with reproducible():
        of_val = looks.at(val.images)
        for seed, own in rows.items():
            images = [train.images[own]]
            if augmented_views > 0:
                images.append(augmented_images(train.images, own, count=augmented_views, augment=augment, seed=seed))
            target = np.tile(train.labels[own], 1 + augmented_views)
            history, step, weight, bias = _best_strength(
                looks.at(np.concatenate(images)), target, of_val, val, balanced=False, report=report, seed=seed,
                method=method,
            )  # fmt: skip
            with torch.random.fork_rng():  # of a layer whose weights are replaced
                layer = nn.Linear(weight.shape[1], weight.shape[0]).eval()
            _replace_last(layer, weight, bias)
            trained.append(Trained(seed, layer, history, step, 0, method))
    return trained


def augmented_images(images: np.ndarray, rows: np.ndarray, *, count: int, augment: str, seed: int) -> np.ndarray:
    """(count * rows, H, W, 3) uint8: views of some images, view by view; each is addressed by (seed, view, row)."""
    policy = build_policy(augment, images.shape[1])
    return np.stack([policy(images[row], seed, view, int(row)) for view in range(count) for row in rows])


def frozen_looks(
    *,
    model: str,
    weights: str,
    input_size: int | None,
    num_classes: int,
    img_resolution: int,
    device: str = "cpu",
    state_dir: str | Path | None = None,
    name: str = "",
) -> Looks:
    """The features of a pretrained network.

    Args:
        model: See `train_probe`, like those that follow.
        weights: See there.
        input_size: See there.
        num_classes: K; the last layer is not looked at.
        img_resolution: Side of the photos, pixels.
        device: cpu or cuda.
        state_dir: Of the stage; None: nothing is kept.
        name: For the progress bar.
    """
    frozen = _network(model, weights, input_size, num_classes, img_resolution, device)
    return Looks(frozen, state_dir, [model, weights, input_size, img_resolution, device], name=name)


class Looks:
    """Features of a frozen network, each picture's computed once, and kept where a stage is killed.

    Several sets of one stage hold the same photos, and seeds the same images without augmentation.

    Args:
        network: Of `build_classifier`, in eval mode.
        state_dir: Of the stage; None: nothing is kept.
        identity: What the features depend on beside the pixels.
        name: For the progress bar.
    """

    _kept: dict[str, dict[bytes, np.ndarray]] = {}  # noqa: RUF012 - of this process, by fingerprint

    def __init__(self, network: nn.Module, state_dir: str | Path | None, identity: Sequence, *, name: str):
        self.network, self.name = network, name
        self.key = fingerprint([], {"features of": list(identity)})
        self.rows = self._kept.setdefault(self.key, {})
        self.place = None if state_dir is None else Path(state_dir) / "features"
        self.stage = None if state_dir is None else Path(state_dir).name

    def at(self, images: np.ndarray) -> np.ndarray:
        """(N, H, W, 3) uint8 to (N, F) float64."""
        keys = [hashlib.sha256(image.tobytes()).digest() for image in images]
        with TrainingState(self.place, self.key, name=self.stage) as state:
            if not self.rows and (saved := state.load()) is not None:
                self.rows |= zip(map(bytes.fromhex, saved["keys"]), saved["features"].numpy(), strict=True)
                print(f"{state.name}: going on from {saved['position']}", flush=True)
            unseen = {key: i for i, key in reversed(list(enumerate(keys))) if key not in self.rows}
            waiting = sorted(unseen.values())
            blocks = range(0, len(waiting), PREDICT_BATCH)
            for start in tqdm(blocks, f"features {self.name}".strip(), disable=None, leave=False):
                rows = waiting[start : start + PREDICT_BATCH]
                # Always a whole batch: a convolution's last bits may depend on its size
                padded = np.concatenate([images[rows], images[rows[-1:]].repeat(PREDICT_BATCH - len(rows), axis=0)])
                features = penultimate_features(self.network, padded)[: len(rows)]
                self.rows |= {keys[i]: row for i, row in zip(rows, features, strict=True)}
                if state.due():
                    state.save(
                        {"keys": [key.hex() for key in self.rows],
                         "features": torch.from_numpy(np.stack(list(self.rows.values())))},
                        f"{len(self.rows)} pictures looked at",
                    )  # fmt: skip
        return np.stack([self.rows[key] for key in keys]).astype(np.float64)


def _network(
    model: str, weights: str, input_size: int | None, num_classes: int, img_resolution: int, device: str
) -> nn.Module:
    with torch.random.fork_rng():
        seed_layers(0, "initial weights")  # of the last layer, which is replaced
        built = build_classifier(
            model, num_classes=num_classes, weights=weights, input_size=input_size, img_resolution=img_resolution
        )
    return built.to(device).eval()


def _best_strength(
    features: np.ndarray,
    target: np.ndarray,
    of_val: np.ndarray,
    val: Store,
    *,
    balanced: bool,
    report: Callable[[dict[str, float], int], None] | None,
    seed: int,
    method: str = "",
) -> tuple[list[dict[str, float]], int, np.ndarray, np.ndarray]:
    """History, and of the strength that is best on val: its place from 1, weights (K, F) and bias (K,)."""
    history, best = [], None
    for step, strength in enumerate(STRENGTHS, 1):
        weight, bias = _regression(features, target, len(val.classes), strength, balanced=balanced)
        of_train, probabilities = (_softmax(x @ weight.T + bias) for x in (features, of_val))
        row = {"step": step, "train_loss": log_loss(target, of_train)}
        row["train_accuracy"] = float((of_train.argmax(axis=1) == target).mean())
        row["val_loss"] = log_loss(val.labels, probabilities)
        row["val_macro_f1"] = evaluate_predictions(val.labels, probabilities, val.classes)["macro_f1"]
        history.append(row)
        if report is not None:
            of = f"{method}/" if method else ""
            report({f"{of}{k}/seed_{seed}": v for k, v in row.items() if k != "step"}, step)
        key = (row["val_macro_f1"], -row["val_loss"])
        if best is None or key > best[0]:
            best = key, step, weight, bias
    assert best is not None
    return history, *best[1:]


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
