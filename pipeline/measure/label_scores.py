"""Whether synthetic images carry their class: a classifier of one side, asked about the other.

The classification accuracy score (Ravuri & Vinyals 2019, "Classification accuracy score for conditional
generative models", section 3) trains on synthetic images and asks about real ones; its reverse, here called
label agreement, trains on real ones and asks about synthetic ones. Both stand beside what the classifier of
real images manages on real ones. Real images are those of val, never of test.
"""

from __future__ import annotations

import numpy as np

from pipeline.measure.fidelity import MIN_VAL_IMAGES
from pipeline.measure.statistics import score


def label_agreement(
    probabilities: np.ndarray,
    labels: np.ndarray,
    classes: list[str],
    *,
    probabilities_val: np.ndarray | None = None,
    labels_val: np.ndarray | None = None,
) -> dict[str, float]:
    """Share of synthetic images that a classifier, trained on real train images only, gives their own label.

    This is the reverse of the classification accuracy score, and has no second name.

    Args:
        probabilities: (M, K) for the synthetic images.
        labels: (M,) the classes they were made for, index into `classes`.
        classes: K names.
        probabilities_val: (V, K) the same classifier's on val: what it manages on real leaves.
        labels_val: (V,).

    Returns:
        `label_agreement` and `label_agreement/<class>`; with val also `label_agreement_val` and
        `label_agreement_val/<class>`. The overall figure is the mean of the classes', so that a balanced
        synthetic set and an imbalanced val set stand side by side. A class without images is left out.
    """
    metrics = _shares(probabilities, labels, classes, "label_agreement")
    if probabilities_val is not None and labels_val is not None:
        metrics |= _shares(probabilities_val, labels_val, classes, "label_agreement_val")
    return metrics


def classification_accuracy_score(
    probabilities: np.ndarray, labels: np.ndarray, classes: list[str], *, probabilities_real: np.ndarray
) -> dict[str, float]:
    """What a classifier that has seen synthetic images alone knows of real ones.

    Where both classifiers chose their checkpoint on the val images that they are asked about here, both figures are a
    little high; probes of a fixed strength choose nothing. Either way the comparison is fair, and the arms' figures on
    test are the ones to quote.

    Args:
        probabilities: (V, K) on val, of the classifier trained on the synthetic images.
        labels: (V,) index into `classes`.
        classes: K names.
        probabilities_real: (V, K) on val, of a classifier of the same recipe and seed trained on real train images.

    Returns:
        `cas`, the mean over classes of `cas/<class>`, the share of the class's val images that are recognised
        (recall); the reference beside it is `label_agreement_val` (see `label_agreement`), which is the same
        figure of the classifier of real images. `cas_macro_f1` and `cas_macro_f1_real`: both classifiers'
        macro-F1. A class with fewer than `MIN_VAL_IMAGES` val images has no figure of its own.
    """
    metrics = _shares(probabilities, labels, classes, "cas", least=MIN_VAL_IMAGES)
    for name, p in (("cas_macro_f1", probabilities), ("cas_macro_f1_real", probabilities_real)):
        metrics[name] = float(score(labels, np.asarray(p).argmax(axis=1), len(classes))["macro_f1"])
    return metrics


def _shares(
    probabilities: np.ndarray, labels: np.ndarray, classes: list[str], name: str, *, least: int = 1
) -> dict[str, float]:
    """Recall by class where it has at least so many images, and the mean over all that have any."""
    labels = np.asarray(labels)
    hits = np.asarray(probabilities).argmax(axis=1) == labels
    by_class = {c: hits[labels == k] for k, c in enumerate(classes) if (labels == k).any()}
    overall = {name: float(np.mean([h.mean() for h in by_class.values()]))} if by_class else {}
    return overall | {f"{name}/{c}": float(h.mean()) for c, h in by_class.items() if len(h) >= least}
