"""Can synthetic images be told from real ones? A classifier is asked; what it gets right is the distance.

The classifier two-sample test (Lopez-Paz and Oquab 2017, "Revisiting classifier two-sample tests", section 3): where
both sets come from one distribution nobody does better than .5, whatever the number of images, so that no floor is
needed. Unlike distances and neighbours it sees blur: of blurred leaves, whose coverage was as good as real ones', a
regression on means of 8 x 8 pixels knew 97.7%.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from pipeline.measure.fidelity import MIN_VAL_IMAGES
from pipeline.measure.statistics import compare_arms

FOLDS = 5
STRENGTH = 1e-2  # of the regression, C of scikit-learn; nothing is chosen by what is asked
SIDES = ("real", "synthetic")


def told_apart(
    features_real: np.ndarray,
    labels_real: np.ndarray,
    groups_real: Sequence[str],
    features_synthetic: np.ndarray,
    labels_synthetic: np.ndarray,
    classes: Sequence[str],
    *,
    extractor: str,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, float]:
    """Share of images, as many of each side and class, whose side a regression on features names.

    Each image is asked of a regression that has seen four fifths of the others, no photo of its leaf among them; of a
    class, of one that has seen no other class.

    Args:
        features_real: (N, D).
        labels_real: (N,) index into `classes`.
        groups_real: N names; photos of one leaf.
        features_synthetic: (M, D).
        labels_synthetic: (M,).
        classes: Class names.
        extractor: Names the metrics.
        seed: Of which images are drawn, and of the folds.
        confidence: Of the intervals.

    Returns:
        `c2st_<extractor>` with `_lower` and `_upper`, over all and `…/<class>`; empty where there are too few images
        or leaves. A class with fewer than `MIN_VAL_IMAGES` a side, or `FOLDS` leaves, has no figure of its own.
    """
    rng = np.random.default_rng([seed, 0xC257])
    rows: list[tuple[np.ndarray, np.ndarray]] = []
    for k in range(len(classes)):
        of_side = [np.flatnonzero(labels == k) for labels in (labels_real, labels_synthetic)]
        count = min(map(len, of_side))
        real, synthetic = (np.sort(rng.choice(own, count, replace=False)) for own in of_side)
        rows.append((real, synthetic))
    real, synthetic = (np.concatenate(own) for own in zip(*rows, strict=True))
    groups = [f"leaf {groups_real[i]}" for i in real] + [f"synthetic {i}" for i in synthetic]
    features = np.concatenate([features_real[real], features_synthetic[synthetic]]).astype(np.float64)
    side = np.repeat([0, 1], [len(real), len(synthetic)])
    of_class = np.concatenate([labels_real[real], labels_synthetic[synthetic]])
    found: dict[str, float] = {}
    parts = {"": np.arange(len(side))}
    parts |= {f"/{name}": np.flatnonzero(of_class == k) for k, name in enumerate(classes)}
    for suffix, own in parts.items():
        together = [groups[i] for i in own]
        leaves = {group for group, is_synthetic in zip(together, side[own], strict=True) if not is_synthetic}
        most = np.bincount(2 * of_class[own] + side[own], minlength=1).max(initial=0)  # of one class on one side
        if len(own) < 2 * MIN_VAL_IMAGES or min(len(leaves), most) < FOLDS:
            continue
        answers = _out_of_fold(features[own], side[own], of_class[own], together, seed)
        told = compare_arms(
            side[own], {"": answers[None]}, classes=SIDES, groups=together, confidence=confidence, seed=seed
        )[""].metrics["accuracy"]
        for end, value in (("", told.mean), ("_lower", told.lower), ("_upper", told.upper)):
            found[f"c2st_{extractor}{end}{suffix}"] = float(value)
    return found


def _out_of_fold(
    features: np.ndarray, side: np.ndarray, of_class: np.ndarray, groups: Sequence[str], seed: int
) -> np.ndarray:
    """(N,) side that a regression which has not seen the image takes it for."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    strata = 2 * of_class + side  # every fold has all classes of both sides, as far as their leaves go round
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        folds = list(StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(features, strata, groups))
    model = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=1000, tol=1e-3))
    return cross_val_predict(model, features, side, cv=folds)
