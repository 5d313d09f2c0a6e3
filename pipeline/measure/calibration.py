"""Whether a classifier's probabilities mean what they say: of the leaves it calls 80% sure, are 80% right?

Expected calibration error: Naeini et al. 2015, "Obtaining well calibrated probabilities using Bayesian binning",
section 3, here with bins of equal numbers of images (Nguyen and O'Connor 2015, section 3), for equal widths leave
most bins of a small set empty. Brier score: Brier 1950, "Verification of forecasts expressed in terms of
probability", over all classes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

BINS = 10


class Reliability(NamedTuple):
    """Confidence and accuracy by bin, for a diagram; images of all seeds together.

    Attributes:
        confidence: Mean probability of the predicted class.
        accuracy: Share that is right.
        count: Predictions in the bin.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray


def brier(labels: ArrayLike, probabilities: ArrayLike) -> np.ndarray:
    """(..., N) squared distance of the probabilities from the truth, 0 (sure and right) to 2 (sure and wrong).

    Its mean is the Brier score; always saying 1/K scores 1 - 1/K.

    Args:
        labels: (N,) true classes.
        probabilities: (..., N, K).
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    return ((probabilities - np.eye(probabilities.shape[-1])[np.asarray(labels)]) ** 2).sum(-1)


def reliability(labels: ArrayLike, probabilities: ArrayLike, *, bins: int = BINS) -> Reliability:
    """Bins of equal numbers of predictions, from the least to the most confident.

    Args:
        labels: (N,) true classes.
        probabilities: (N, K), or (S, N, K): then all seeds' predictions together.
        bins: At most; never more than a fifth of N, so that a bin holds five images or more.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    right = (probabilities.argmax(-1) == np.asarray(labels)).ravel().astype(np.float64)
    confidence = probabilities.max(-1).ravel()
    return _binned(confidence, right, _num_bins(probabilities.shape[-2], bins))


def expected_calibration_error(labels: ArrayLike, probabilities: ArrayLike, *, bins: int = BINS) -> float:
    """Mean over bins of |accuracy - mean confidence|, weighted by their images; 0 to 1.

    It cannot come out at 0 on few images, even of perfect probabilities, because a share of few right answers is never
    what it should be: see `calibration_floor`.

    Args:
        labels: (N,) true classes.
        probabilities: (N, K), or (S, N, K): then the mean over seeds.
        bins: As of `reliability`.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    of_seed = probabilities if probabilities.ndim == 3 else probabilities[None]
    return float(np.mean([_error(reliability(labels, p, bins=bins)) for p in of_seed]))


def calibration_floor(probabilities: ArrayLike, *, bins: int = BINS, draws: int = 200, seed: int = 0) -> float:
    """Calibration error that these very confidences would show on average if they were true.

    Right and wrong are drawn by the stated confidence (consistency resampling, Bröcker and Smith 2007, "Increasing
    the reliability of reliability diagrams"). An error near the floor is no evidence of miscalibration.

    Args:
        probabilities: (N, K), or (S, N, K): then the mean over seeds.
        bins: As of `reliability`.
        draws: Of right and wrong.
        seed: Of the draws.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    of_seed = probabilities.max(-1)
    of_seed = of_seed if of_seed.ndim == 2 else of_seed[None]
    errors = []
    for s, confidence in enumerate(of_seed):
        confidence = np.sort(confidence)
        right = np.random.default_rng([seed, 0xCA11, s]).random((draws, len(confidence))) < confidence
        num_bins = _num_bins(len(confidence), bins)
        starts = np.cumsum([0, *(len(part) for part in np.array_split(confidence, num_bins)[:-1])])
        gaps = np.add.reduceat(right - confidence, starts, axis=1)  # of a bin: images x (accuracy - confidence)
        errors.append(np.abs(gaps).sum(1).mean() / len(confidence))
    return float(np.mean(errors))


def _num_bins(images: int, bins: int) -> int:
    return max(min(bins, images // 5), 1)


def _binned(confidence: np.ndarray, right: np.ndarray, bins: int) -> Reliability:
    parts = np.array_split(np.argsort(confidence, kind="stable"), bins)
    return Reliability(
        np.array([confidence[part].mean() for part in parts]),
        np.array([right[part].mean() for part in parts]),
        np.array([len(part) for part in parts]),
    )


def _error(r: Reliability) -> float:
    return float((r.count * np.abs(r.accuracy - r.confidence)).sum() / r.count.sum())
