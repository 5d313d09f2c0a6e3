"""What goes wrong in a GAN's training, told from its curves: a table of rules, each one fault and one sentence.

A rule looks at the rows of the ticks so far and says whether its fault has lasted; the training loop stops on
it and exports the best checkpoint, instead of burning hours. All thresholds are relative to the run's own
curves or to the real images, since losses and distances have no scale of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

TICKS = 3  # a fault must last
FLAT = 0.2  # pixel spread of a class over that of its real images: one picture
SPREAD_ONCE = 0.4  # it had been more than this
GROWTH = 1.1  # in so many ticks: by less is not at all
LOST = 0.05  # coverage: almost no real image has a sample near it
COVERED_ONCE = 0.2
SURE = 0.995  # share of images that D tells right


class Tick(NamedTuple):
    """A row of the curves.

    Attributes:
        progress: Share of the training that is done, 0 to 1.
        losses: D's and G's.
        spread: Class to pixel spread of its samples over that of its real images.
        D_accuracy: Share of reals and fakes that D tells right, 0 to 1.
        kid: On val; NaN where there is no val.
        coverage: On val; NaN where there is none.
    """

    progress: float
    losses: tuple[float, float]
    spread: dict[str, float]
    D_accuracy: float
    kid: float
    coverage: float


def not_a_number(ticks: Sequence[Tick]) -> str | None:
    """A loss that is NaN or infinite."""
    if all(math.isfinite(loss) for loss in ticks[-1].losses):
        return None
    return "the losses are no longer numbers; lower G_lr and D_lr, or set precision: fp32"


def collapse(ticks: Sequence[Tick]) -> str | None:
    """A class whose samples have become one picture; or still are after half the training, and vary no more."""
    last = ticks[-TICKS:]
    for name in ticks[-1].spread:
        spreads = [tick.spread[name] for tick in last]
        flat = len(last) == TICKS and max(spreads) < FLAT
        was_more = max(tick.spread[name] for tick in ticks) > SPREAD_ONCE
        stuck = last[0].progress >= 0.5 and spreads[-1] <= spreads[0] * GROWTH
        if flat and (was_more or stuck):
            return (
                f"class '{name}' has collapsed to one picture (its samples vary {ticks[-1].spread[name]:.2f} times as "
                "much as its photos); raise r1_gamma, add augmentation, or set transition_kimg"
            )
    return None


def lost_coverage(ticks: Sequence[Tick]) -> str | None:
    """Samples that no longer come near the real images, though they did."""
    last = ticks[-TICKS:]
    if len(last) < TICKS or not all(tick.coverage < LOST for tick in last):
        return None
    if max(tick.coverage for tick in ticks) < COVERED_ONCE:
        return None
    return f"the samples cover {ticks[-1].coverage:.0%} of the val photos, and had covered more; lower the rates"


def divergence(ticks: Sequence[Tick]) -> str | None:
    """Samples that are again as far from val as those of the first tick, after having been half as far."""
    last, first, best = ticks[-TICKS:], ticks[0].kid, min(tick.kid for tick in ticks)
    if len(ticks) <= TICKS or not (best < first / 2 and all(tick.kid > first for tick in last)):
        return None
    return "the samples have become as bad as at the start; lower G_lr and D_lr, or raise r1_gamma"


def saturation(ticks: Sequence[Tick]) -> str | None:
    """D is sure of everything and G has stopped to improve: nothing is left to learn from."""
    last = ticks[-TICKS:]
    sure = len(last) == TICKS and all(tick.D_accuracy > SURE for tick in last)
    if not sure or len(ticks) <= TICKS or min(tick.kid for tick in last) < min(tick.kid for tick in ticks[:-TICKS]):
        return None
    return (
        f"D tells {ticks[-1].D_accuracy:.1%} of the images right and G no longer improves; "
        "lower D_lr, raise r1_gamma, or add augmentation"
    )


# name of the metric stopped/<name> -> rule
RULES: dict[str, Callable[[Sequence[Tick]], str | None]] = {
    "not_a_number": not_a_number,
    "collapse": collapse,
    "lost_coverage": lost_coverage,
    "divergence": divergence,
    "saturation": saturation,
}


def diagnose(ticks: Sequence[Tick]) -> tuple[str, str] | None:
    """The first fault that has lasted: (rule, sentence), or None."""
    for name, rule in RULES.items():
        sentence = rule(ticks)
        if sentence is not None:
            return name, sentence
    return None
