"""Which mixture of real and synthetic images to train with, and by which recipe, chosen on val.

The recipe is that of a control, an arm of real images alone: synthetic images are worth something only where they
improve on what can be had without them.

Of recipes and of mixtures it is not the best that is chosen, but the simplest that cannot be told from it.

The one-standard-error rule (Breiman et al. 1984, "Classification and Regression Trees", section 3.4.3) on the paired
difference, since all of them predict the same images with the same seeds: the first in order of simplicity that the
best one does not exceed by more than a standard error. So noise goes to the photos as they are, and to fewer synthetic
images, and none is among the answers.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from pipeline.measure.statistics import Interval, compare_arms, score

ONE_STANDARD_ERROR = 0.6827  # confidence of a normal interval of one standard error to each side
NONE = 0.0  # the ratio without synthetic images
PHOTOS = "photos_"  # before a share of train's photos: the name of who was trained on so many
RULE = (
    "the smallest ratio whose macro-F1 on val the best ratio does not exceed by more than one standard error of their "
    "paired difference (seeds and val images resampled, photos of one leaf together)"
)
Name = TypeVar("Name", bound=Hashable)


class Choice(NamedTuple):
    """What was chosen on val, and what it was chosen by.

    Attributes:
        val_macro_f1: Name to the macro-F1 of each seed, the simplest first.
        behind: Name to (best - this) in macro-F1, its ends one standard error away.
        best: The name of the highest mean; of equals the simplest.
        chosen: By the one-standard-error rule.
    """

    val_macro_f1: dict[Any, tuple[float, ...]]
    behind: dict[Any, Interval]
    best: Any
    chosen: Any

    @property
    def alike(self) -> list[Any]:
        """Those that cannot be told from the best, the simplest first."""
        return [name for name, lead in self.behind.items() if lead.lower <= 0]


def choose_simplest(
    labels: ArrayLike,
    predicted: Mapping[Name, ArrayLike],
    *,
    classes: Sequence[str],
    groups: Sequence[str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Choice:
    """Choose by what classifiers predict on val.

    Args:
        labels: (N,) true classes of the val images.
        predicted: Name to (S, N) predicted classes, the same seeds for all; the simplest first.
        classes: K names.
        groups: See `compare_arms`.
        resamples: Of seeds and val images, for the standard errors.
        seed: Of the draws.

    Raises:
        ValueError: Shapes disagree.
    """
    by_seed = {name: score(labels, own, len(classes))["macro_f1"] for name, own in predicted.items()}
    best = max(predicted, key=lambda name: round(float(np.mean(by_seed[name])), 12))  # of equals the first
    compared = compare_arms(
        labels,
        {str(name): own for name, own in predicted.items()},
        classes=classes,
        groups=groups,
        references=[str(name) for name in predicted],
        resamples=resamples,
        confidence=ONE_STANDARD_ERROR,
        seed=seed,
    )[str(best)]
    level = compared.metrics["macro_f1"]._replace(mean=0.0, lower=0.0, upper=0.0)
    behind = {name: level if name == best else compared.differences[str(name)]["macro_f1"] for name in predicted}
    scores = {name: tuple(float(f1) for f1 in of) for name, of in by_seed.items()}
    return Choice(scores, behind, best, first_within_noise(behind))


def first_within_noise(behind: Mapping[Name, Interval]) -> Name:
    """The first that the best is not surely ahead of: whose interval of (best - it) reaches to 0 or below.

    Args:
        behind: Name to that interval, the simplest first; the best one's own reaches 0.
    """
    return next(name for name, lead in behind.items() if lead.lower <= 0)


def choose_ratio(labels: ArrayLike, predicted: Mapping[float, ArrayLike], **settings: Any) -> Choice:
    """`choose_simplest` of ratios of synthetic to real images, few first.

    Args:
        labels: (N,) true classes of the val images.
        predicted: Ratio to (S, N) predicted classes, the same seeds for all; 0 among them.
        settings: Of `choose_simplest`.

    Raises:
        ValueError: No ratio 0, or shapes disagree.
    """
    if NONE not in predicted:
        raise ValueError(f"predicted must hold the ratio 0. Got {sorted(predicted)} instead.")
    return choose_simplest(labels, {ratio: predicted[ratio] for ratio in sorted(predicted)}, **settings)


def describe_choice(choice: Choice, counts: Mapping[float, Mapping[str, int]], control: Choice) -> dict[str, Any]:
    """What choice.json holds.

    Args:
        choice: Of the ratio.
        counts: Ratio to class to synthetic images.
        control: Of the recipe, among those of real images alone.

    Returns:
        `control`, whose recipe all ratios have, `controls`, the macro-F1 on val of each, mean over seeds, and those
        that are `alike`; `rule`,
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
        "control": control.chosen,
        "controls": {arm: round(float(np.mean(by_seed)), 6) for arm, by_seed in control.val_macro_f1.items()},
        "alike": control.alike,
        "ratios": list(choice.val_macro_f1),
        "rule": RULE,
        "best": choice.best,
        "chosen": choice.chosen,
        "val_macro_f1": scores,
        "behind_best": behind,
        "synthetic": {f"{ratio:g}": dict(of_class) for ratio, of_class in counts.items()},
    }
