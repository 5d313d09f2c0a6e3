"""Calibration: by hand, against scikit-learn, and the floor that honest probabilities do not get below."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.measure.calibration import brier, calibration_floor, expected_calibration_error, reliability


def stated(rng: np.random.Generator, n: int, sharper: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn by true probabilities, and what is said of them: the truth, or sharper than it."""
    logits = 1.5 * rng.normal(size=(n, 4))
    true = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    labels = (rng.random((n, 1)) > true.cumsum(-1)).sum(-1)
    said = np.exp(sharper * logits)
    return labels, said / said.sum(-1, keepdims=True)


def test_brier_by_hand_and_by_sklearn():
    assert brier([0, 1], [[0.8, 0.2], [0.8, 0.2]]) == pytest.approx([2 * 0.2**2, 2 * 0.8**2])
    assert brier([0], [[1.0, 0.0]]) == [0.0] and brier([1], [[1.0, 0.0]]) == [2.0]
    metrics = pytest.importorskip("sklearn.metrics")
    labels, p = stated(np.random.default_rng(0), 200)
    expected = metrics.brier_score_loss(labels, p, labels=range(4), scale_by_half=False)
    assert brier(labels, p).mean() == pytest.approx(expected)
    assert brier(labels, np.stack([p, p])).shape == (2, 200)


def test_error_by_hand():
    """Ten images in two bins: 60% said and 2 of 5 right; 90% said and 5 of 5 right."""
    p = np.array([[0.6, 0.4]] * 5 + [[0.9, 0.1]] * 5)
    labels = np.array([0, 0, 1, 1, 1, 0, 0, 0, 0, 0])
    r = reliability(labels, p)
    assert r.confidence == pytest.approx([0.6, 0.9]) and r.accuracy == pytest.approx([0.4, 1.0])
    assert list(r.count) == [5, 5]
    assert expected_calibration_error(labels, p) == pytest.approx((0.2 + 0.1) / 2)
    assert expected_calibration_error(labels, np.stack([p, p[::-1]])) == pytest.approx(
        (expected_calibration_error(labels, p) + expected_calibration_error(labels, p[::-1])) / 2
    )


def test_bins_are_those_of_sklearn():
    calibration = pytest.importorskip("sklearn.calibration")
    labels, p = stated(np.random.default_rng(1), 500)
    r = reliability(labels, p, bins=10)
    right = p.argmax(-1) == labels
    accuracy, confidence = calibration.calibration_curve(right, p.max(-1), n_bins=10, strategy="quantile")
    assert r.confidence == pytest.approx(confidence, abs=2e-3) and r.accuracy == pytest.approx(accuracy, abs=0.021)


def test_honest_probabilities_come_out_at_the_floor_and_boasting_above_it():
    rng = np.random.default_rng(2)
    honest, boasting, floors = [], [], []
    for i in range(60):
        labels, p = stated(rng, 60)
        honest.append(expected_calibration_error(labels, p))
        floors.append(calibration_floor(p, draws=50, seed=i))
        labels, p = stated(rng, 60, sharper=3.0)
        boasting.append(expected_calibration_error(labels, p) - calibration_floor(p, draws=50, seed=i))
    error = np.std(np.array(honest) - floors) / np.sqrt(60)
    assert np.mean(floors) > 0.05  # so an error of 0.05 on 60 images is nothing
    assert np.mean(honest) == pytest.approx(np.mean(floors), abs=3 * error)
    assert np.mean(boasting) > 0.08


def test_floor_falls_with_images_and_depends_on_nothing_else():
    _, p = stated(np.random.default_rng(3), 2000)
    assert calibration_floor(p) < 0.5 * calibration_floor(p[:100])
    assert calibration_floor(p[:50], seed=4) == calibration_floor(p[:50], seed=4)
    assert calibration_floor(np.tile([1.0, 0.0], (30, 1))) == 0.0


def test_few_images_have_few_bins():
    labels, p = stated(np.random.default_rng(4), 7)
    assert len(reliability(labels, p).count) == 1
    assert 0 <= expected_calibration_error(labels, p) <= 1
