"""Figures of a classifier on one split, as scikit-learn computes them.

Without it, whose import takes 2 s of processor time.
"""

from __future__ import annotations

import numpy as np


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
    predicted = probabilities.argmax(axis=1)
    right = np.bincount(labels[labels == predicted], minlength=len(classes))
    images, guesses = (np.bincount(of, minlength=len(classes)) for of in (labels, predicted))
    recall = right / np.maximum(images, 1)
    f1 = 2 * right / np.maximum(images + guesses, 1)  # 2 TP / (2 TP + FN + FP)
    figures = {
        "accuracy": right.sum() / len(labels),
        "balanced_accuracy": recall[images > 0].mean(),
        "macro_f1": f1.mean(),
    }
    figures |= {f"recall/{name}": recall[k] for k, name in enumerate(classes)}
    return {name: float(value) for name, value in figures.items()}
