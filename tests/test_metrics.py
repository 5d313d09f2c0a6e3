"""Figures of a classifier, held against scikit-learn to the last digit."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, recall_score

from pipeline.learn.metrics import evaluate_predictions


@pytest.mark.parametrize("seed", range(20))
def test_they_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    num_classes, images = int(rng.integers(2, 8)), int(rng.integers(1, 60))  # classes without images, or guesses, too
    labels, probabilities = rng.integers(0, num_classes, images), rng.random((images, num_classes))
    predicted, all_of = probabilities.argmax(axis=1), list(range(num_classes))
    recall = recall_score(labels, predicted, labels=all_of, average=None, zero_division=0)
    assert evaluate_predictions(labels, probabilities, [str(k) for k in all_of]) == {
        "accuracy": accuracy_score(labels, predicted),
        "balanced_accuracy": recall[np.bincount(labels, minlength=num_classes) > 0].mean(),
        "macro_f1": f1_score(labels, predicted, labels=all_of, average="macro", zero_division=0),
        **{f"recall/{k}": recall[k] for k in all_of},
    }
