"""What synthetic images give back to a class of which only a few real images are left.

Three classifiers that differ in one class's training images: `full` has all of them, `shrunk` a few, `restored`
these few and synthetic ones up to the former count. `full` minus `shrunk` is what the lack costs, `restored` minus
`shrunk` what comes back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pipeline.measure.statistics import Interval, compare_arms
from pipeline.measure.verdict import MIN_UNITS, Verdict, decide

METHODS = ("full", "shrunk", "restored")


class MinorityEffect(NamedTuple):
    """One study, on test.

    Attributes:
        scores: Metric (`f1` and `recall` of the class, `macro_f1` of all) to method to interval.
        differences: Metric to `full` and `restored`, each minus `shrunk`.
        given_back: Of the class's F1, (restored - shrunk) / (full - shrunk); None where the lack did not
            surely cost any, since a share of noise is noise. Below 0 or above 1 where it comes out so.
        verdict: On the F1, `restored` against `shrunk`.
        num_test: Test images of the class.
        num_units: Independent ones among them (groups count once).
    """

    scores: dict[str, dict[str, Interval]]
    differences: dict[str, dict[str, Interval]]
    given_back: float | None
    verdict: Verdict
    num_test: int
    num_units: int


def minority_effect(
    labels: ArrayLike,
    predicted: Mapping[str, ArrayLike],
    *,
    class_name: str,
    classes: Sequence[str],
    seeds: Sequence[int],
    groups: Sequence[str] | None = None,
    resamples: int = 2000,
    confidence: float = 0.95,
    min_detectable: float = 0.1,
    seed: int = 0,
) -> MinorityEffect:
    """Turn the three classifiers' predictions into numbers.

    Args:
        labels: (N,) true classes of the test images.
        predicted: `METHODS` to (S, N) predicted classes.
        class_name: The class that was shrunk.
        classes: K names.
        seeds: S, the same for all.
        groups: N group names of the images; None: each image by itself.
        resamples: See `compare_arms`.
        confidence: Of the intervals.
        min_detectable: See `verdict.decide`.
        seed: Of the draws.

    Raises:
        ValueError: A method is missing, or the class has no test image.
    """
    labels = np.asarray(labels)
    if set(predicted) != set(METHODS):
        raise ValueError(f"predicted must hold {METHODS}. Got {sorted(predicted)} instead.")
    rows = np.flatnonzero(labels == list(classes).index(class_name))
    if not len(rows):
        raise ValueError(f"labels must hold images of '{class_name}'. Got none instead.")
    units = len(rows) if groups is None else len({groups[i] for i in rows})
    compared = compare_arms(
        labels,
        {method: predicted[method] for method in METHODS},
        classes=classes,
        seeds=dict.fromkeys(METHODS, tuple(seeds)),
        groups=groups,
        references=("shrunk",),
        resamples=resamples,
        confidence=confidence,
        seed=seed,
    )
    names = {"f1": f"f1/{class_name}", "recall": f"recall/{class_name}", "macro_f1": "macro_f1"}
    scores = {short: {m: compared[m].metrics[name] for m in METHODS} for short, name in names.items()}
    differences = {
        short: {m: compared[m].differences["shrunk"][name] for m in ("full", "restored")}
        for short, name in names.items()
    }
    lost, back = differences["f1"]["full"], differences["f1"]["restored"]
    surely_lost = lost.lower > 0 and units >= MIN_UNITS
    limits = {"min_detectable": min_detectable, "num_units": units, "confidence": confidence}
    verdict = decide({"shrunk": back}, matched="shrunk", **limits)
    return MinorityEffect(
        scores, differences, back.mean / lost.mean if surely_lost else None, verdict, len(rows), units
    )  # fmt: skip
