"""Scores of labels: by hand, classes counted equally, small classes left out."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.measure.label_scores import classification_accuracy_score, label_agreement

CLASSES = ["healthy", "rust", "rare"]


def test_label_agreement_counts_classes_equally_and_leaves_out_absent_ones():
    probabilities = np.array([[0.9, 0.1, 0.0]] * 3 + [[0.2, 0.3, 0.5]])
    metrics = label_agreement(probabilities, np.array([0, 0, 0, 1]), CLASSES)
    assert metrics == {"label_agreement": 0.5, "label_agreement/healthy": 1.0, "label_agreement/rust": 0.0}


def sure_of(*classes: int) -> np.ndarray:
    return np.eye(3)[list(classes)]


def test_classification_accuracy_score_by_hand():
    labels = np.array([0] * 8 + [1] * 4 + [2] * 2)
    said = sure_of(*[0] * 6, 1, 1, *[1, 1, 1, 0], 2, 0)
    metrics = classification_accuracy_score(said, labels, CLASSES, probabilities_real=sure_of(*labels))
    # F1: healthy 2*6/(8+8), rust 2*3/(4+5), rare 2*1/(2+1)
    f1 = np.mean([12 / 16, 6 / 9, 2 / 3])
    assert metrics == pytest.approx(
        {
            "cas": np.mean([6 / 8, 3 / 4, 1 / 2]),  # rare counts overall, and has too few images for a figure
            "cas/healthy": 0.75, "cas/rust": 0.75,
            "cas_macro_f1": f1, "cas_macro_f1_real": 1.0,
        }
    )  # fmt: skip


def test_its_reference_is_the_agreement_on_val():
    """With the classifier of real images in its place the score is `label_agreement_val`, class by class."""
    rng = np.random.default_rng(0)
    labels, said = rng.integers(3, size=60), rng.dirichlet(np.ones(3), size=60)
    score = classification_accuracy_score(said, labels, CLASSES, probabilities_real=said)
    agreement = label_agreement(said, labels, CLASSES, probabilities_val=said, labels_val=labels)
    for suffix in ("", *(f"/{name}" for name in CLASSES)):
        assert score[f"cas{suffix}"] == agreement[f"label_agreement_val{suffix}"]
    assert score["cas_macro_f1"] == score["cas_macro_f1_real"]


def test_one_class_for_everything_is_no_better_than_chance():
    labels = np.array([0] * 40 + [1] * 5 + [2] * 5)
    metrics = classification_accuracy_score(sure_of(*[0] * 50), labels, CLASSES, probabilities_real=sure_of(*labels))
    assert metrics["cas"] == pytest.approx(1 / 3) and metrics["cas_macro_f1"] < 1 / 3
