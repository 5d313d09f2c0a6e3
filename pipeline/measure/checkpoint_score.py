"""How good a GAN's checkpoint is, by which the one to keep is chosen on val: per class, then the mean over classes.

Per class, because pooled sets can be equal while every label is wrong; the mean over classes, because rare
classes are what the synthetic images are for. Every image is used and nothing is drawn, so that two checkpoints
differ by their images alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from pipeline.measure.fidelity import squared_mmd
from pipeline.measure.prdc import coverage

MIN_IMAGES = 2  # of val and synthetic: the unbiased distance takes its means over pairs of different images
NEAREST_K = 5  # for coverage


def checkpoint_score(
    features_val: np.ndarray,
    labels_val: np.ndarray,
    features_fake: np.ndarray,
    labels_fake: np.ndarray,
    classes: list[str],
) -> dict[str, float]:
    """Kernel distance and coverage between val and the synthetic images, class by class.

    Args:
        features_val: (V, D).
        labels_val: (V,) index into `classes`.
        features_fake: (M, D), of the same extractor.
        labels_fake: (M,) the classes they were made for.
        classes: Class names; a single one will do.

    Returns:
        `kid/<class>`, the unbiased squared kernel distance of `squared_mmd` on all images of the class, and
        `coverage/<class>`, the share of its val images near a synthetic one (see `prdc`; k is 5, or all other
        val images of the class where fewer). `kid`, to be minimised, and `coverage` are the means over these
        classes. A class with fewer than 2 val or 2 synthetic images is left out; where that leaves none, so
        are the means.

        `kid` is unbiased at any counts: its expectation is 0 where both come from one distribution, and a
        single value may be negative.

    Raises:
        ValueError: Labels that are not one an image, or features of different length.
    """
    val, fake = (_checked(f, y) for f, y in ((features_val, labels_val), (features_fake, labels_fake)))
    if val[0].shape[1] != fake[0].shape[1]:
        raise ValueError(f"features must be of one length. Got {val[0].shape[1]} and {fake[0].shape[1]} instead.")
    scores: dict[str, dict[str, float]] = {"kid": {}, "coverage": {}}
    for k, name in enumerate(classes):
        real, synthetic = val[0][val[1] == k], fake[0][fake[1] == k]
        if min(len(real), len(synthetic)) < MIN_IMAGES:
            continue
        scores["kid"][name] = squared_mmd(real, synthetic)
        scores["coverage"][name] = coverage(real, synthetic, k=NEAREST_K)
    metrics: dict[str, float] = {}
    for metric, by_class in scores.items():
        if by_class:
            metrics[metric] = float(np.mean(list(by_class.values())))
        metrics |= {f"{metric}/{name}": value for name, value in by_class.items()}
    return metrics


class CheckpointScorer:
    """What a training calls with its samples; the features of val are taken once.

    Args:
        extract: (N, H, W, 3) uint8 to (N, D) features.
        val: Class name to its (V, H, W, 3) uint8 images.
    """

    def __init__(self, extract: Callable[[np.ndarray], np.ndarray], val: Mapping[str, np.ndarray]):
        self.extract = extract
        self.classes = [name for name, images in val.items() if len(images)]
        self.val = self._features(val) if self.classes else None

    def __call__(self, drawn: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Class name to (n, H, W, 3) uint8 samples, to the figures of `checkpoint_score`; none without val."""
        return {} if self.val is None else checkpoint_score(*self.val, *self._features(drawn), self.classes)

    def _features(self, images: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """(N, D) features and (N,) labels of all classes together: one pass of full batches."""
        counts = [len(images[name]) for name in self.classes]
        features = self.extract(np.concatenate([images[name] for name in self.classes]))
        return features, np.repeat(np.arange(len(counts)), counts)


def _checked(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    features, labels = np.asarray(features, dtype=np.float64), np.asarray(labels)
    if features.ndim != 2 or labels.shape != (len(features),):
        raise ValueError(
            f"features and labels must be (N, D) and (N,). Got shapes {features.shape} and {labels.shape} instead."
        )
    return features, labels
