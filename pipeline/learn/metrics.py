"""Figures of a classifier on one split, by scikit-learn."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import accuracy_score, f1_score, recall_score


def evaluate_predictions(labels: np.ndarray, probabilities: np.ndarray, classes: list[str]) -> dict[str, float]:
    """Accuracy, balanced accuracy, macro-F1 and each class's recall, all from 0 to 1.

    All K classes count, also one that is never predicted: left out, it would raise the macro-F1 of a
    classifier that gave it up.

    Args:
        labels: (N,) class indices.
        probabilities: (N, K), columns in the order of `classes`.
        classes: K names.

    Returns:
        accuracy, balanced_accuracy (mean recall of the classes that have images), macro_f1, recall/<class>.

    Raises:
        ValueError: Shapes do not fit each other.
    """
    labels = np.asarray(labels)
    if probabilities.shape != (len(labels), len(classes)):
        raise ValueError(
            f"probabilities must be {(len(labels), len(classes))}: images, classes. Got {probabilities.shape} instead."
        )
    indices = list(range(len(classes)))
    predicted = probabilities.argmax(axis=1)
    recall = recall_score(labels, predicted, labels=indices, average=None, zero_division=0)
    present = np.bincount(labels, minlength=len(classes)) > 0
    figures = {
        "accuracy": accuracy_score(labels, predicted),
        "balanced_accuracy": recall[present].mean(),
        "macro_f1": f1_score(labels, predicted, labels=indices, average="macro", zero_division=0),
    }
    figures |= {f"recall/{name}": recall[k] for k, name in enumerate(classes)}
    return {name: float(value) for name, value in figures.items()}
