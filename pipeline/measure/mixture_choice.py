"""Which mixture of real and synthetic images to train with, and by which recipe, chosen on val.

The recipe is that of the control, an arm of real images alone, with the best macro-F1 on val: synthetic images are
worth something only where they improve on the best that can be had without them.

Of the mixtures it is not the best that is chosen, but the smallest that cannot be told from it.

The one-standard-error rule (Breiman et al. 1984, "Classification and Regression Trees", section 3.4.3) on the paired
difference, since all ratios predict the same images with the same seeds: the smallest ratio that the best one does
not exceed by more than a standard error. So noise goes to fewer synthetic images, and none is among the answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pipeline.measure.statistics import Interval, compare_arms, score

ONE_STANDARD_ERROR = 0.6827  # confidence of a normal interval of one standard error to each side
NONE = 0.0  # the ratio without synthetic images
RULE = (
    "the smallest ratio whose macro-F1 on val the best ratio does not exceed by more than one standard error of their "
    "paired difference (seeds and val images resampled)"
)


def choose_control(val_macro_f1: Mapping[str, Sequence[float]]) -> str:
    """The control of the highest mean; of equals the one named first.

    Args:
        val_macro_f1: Control to the macro-F1 on val of each seed's checkpoint.
    """
    return max(val_macro_f1, key=lambda arm: float(np.mean(val_macro_f1[arm])))


class Choice(NamedTuple):
    """The ratio chosen on val, and what it was chosen by.

    Attributes:
        val_macro_f1: Ratio to the macro-F1 of each seed; ratios ascend, and 0 is the first.
        behind: Ratio to (best - this ratio) in macro-F1, its ends one standard error away.
        best: The ratio of the highest mean; of equals the smallest.
        chosen: By `RULE`.
    """

    val_macro_f1: dict[float, tuple[float, ...]]
    behind: dict[float, Interval]
    best: float
    chosen: float


def choose_ratio(
    labels: ArrayLike,
    predicted: Mapping[float, ArrayLike],
    *,
    classes: Sequence[str],
    groups: Sequence[str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Choice:
    """Choose a mixture by what its classifiers predict on val.

    Args:
        labels: (N,) true classes of the val images.
        predicted: Ratio to (S, N) predicted classes, the same seeds for all; 0 among them.
        classes: K names.
        groups: See `compare_arms`.
        resamples: Of seeds and val images, for the standard errors.
        seed: Of the draws.

    Raises:
        ValueError: No ratio 0, or shapes disagree.
    """
    if NONE not in predicted:
        raise ValueError(f"predicted must hold the ratio 0. Got {sorted(predicted)} instead.")
    ratios = sorted(predicted)
    by_seed = {r: score(labels, predicted[r], len(classes))["macro_f1"] for r in ratios}
    best = max(ratios, key=lambda r: (round(float(np.mean(by_seed[r])), 12), -r))
    names = {r: f"{r:g}" for r in ratios}
    compared = compare_arms(
        labels,
        {names[r]: predicted[r] for r in ratios},
        classes=classes,
        groups=groups,
        references=[names[r] for r in ratios],
        resamples=resamples,
        confidence=ONE_STANDARD_ERROR,
        seed=seed,
    )
    own = compared[names[best]].differences
    level = compared[names[best]].metrics["macro_f1"]._replace(mean=0.0, lower=0.0, upper=0.0)
    behind = {r: level if r == best else own[names[r]]["macro_f1"] for r in ratios}
    val_macro_f1 = {r: tuple(float(f1) for f1 in by_seed[r]) for r in ratios}
    return Choice(val_macro_f1, behind, best, smallest_within_noise(behind))


def smallest_within_noise(behind: Mapping[float, Interval]) -> float:
    """The smallest ratio that the best is not surely ahead of: whose interval of (best - ratio) reaches to 0 or below.

    Args:
        behind: Ratio to that interval; the best ratio's own reaches 0.
    """
    return min(ratio for ratio, lead in behind.items() if lead.lower <= 0)


def describe_choice(
    choice: Choice, counts: Mapping[float, Mapping[str, int]], controls: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    """What choice.json holds.

    Args:
        choice: On val.
        counts: Ratio to class to synthetic images.
        controls: Of `choose_control`.

    Returns:
        `control`, whose recipe all ratios have, and `controls`, the macro-F1 on val of each, mean over seeds; `rule`,
        `best`, `chosen` and, by ratio as text, `val_macro_f1` (mean, sd over seeds with n - 1, or null for one seed,
        by_seed), `behind_best` (mean, lower, upper: one standard error to each side) and `synthetic` (images a class).
    """
    scores = {}
    for ratio, by_seed in choice.val_macro_f1.items():
        sd = float(np.std(by_seed, ddof=1)) if len(by_seed) > 1 else None
        scores[f"{ratio:g}"] = {
            "mean": round(float(np.mean(by_seed)), 6),
            "sd": None if sd is None else round(sd, 6),
            "by_seed": [round(f1, 6) for f1 in by_seed],
        }
    behind = {
        f"{ratio:g}": {end: round(getattr(lead, end), 6) + 0.0 for end in ("mean", "lower", "upper")}
        for ratio, lead in choice.behind.items()
    }
    return {
        "control": choose_control(controls),
        "controls": {arm: round(float(np.mean(by_seed)), 6) for arm, by_seed in controls.items()},
        "ratios": list(choice.val_macro_f1),
        "rule": RULE,
        "best": choice.best,
        "chosen": choice.chosen,
        "val_macro_f1": scores,
        "behind_best": behind,
        "synthetic": {f"{ratio:g}": dict(of_class) for ratio, of_class in counts.items()},
    }
