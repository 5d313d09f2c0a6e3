"""How many synthetic images to train with on this data set, none among the answers.

The recipe beside them is that of the best control on val. Two steps, so that the winner of several ratios is not
praised for its luck: val chooses (`mixture_choice`), and on test the chosen ratio alone is held against no synthetic
images. It is recommended only where the interval of the difference lies above zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.measure.mixture_choice import NONE
from pipeline.measure.statistics import Interval
from pipeline.measure.verdict import Verdict, decide


class Recommendation(NamedTuple):
    """What to do with this data set.

    Attributes:
        ratio: Synthetic images for each real one, in every class; 0 for none.
        verdict: Of the chosen ratio against none, on test; None where none was chosen already.
        sentence: It in words; `x` is code.
    """

    ratio: float
    verdict: Verdict | None
    sentence: str


def recommend(
    choice: Mapping[str, Any],
    difference: Interval | None,
    *,
    num_units: int,
    min_detectable: float = 0.1,
    confidence: float = 0.95,
) -> Recommendation:
    """The recommended recipe, by rule, in a sentence that the numbers force.

    Args:
        choice: Contents of choice.json, see `mixture_choice.describe_choice`.
        difference: Macro-F1 on test of the chosen ratio minus that of ratio 0; None where 0 was chosen.
        num_units: Independent test images (groups count once).
        min_detectable: See `verdict.decide`.
        confidence: Of the interval.

    Raises:
        ValueError: A ratio above 0 was chosen, and there is no difference on test.
    """
    chosen, best = float(choice["chosen"]), float(choice["best"])
    tried = ", ".join(f"{ratio:g}" for ratio in choice["ratios"] if ratio > 0)
    control, controls = choice["control"], choice["controls"]
    others = ", ".join(f"`{arm}` {f1:.3f}" for arm, f1 in controls.items() if arm != control)
    recipe = f"train as the arm `{control}` does, on val the best without them ({controls[control]:.3f}; {others})"
    none = f"Recommended for this data set: no synthetic images; {recipe}."
    if chosen == NONE:
        if best == NONE:
            return Recommendation(
                NONE, None, f"{none} On val none of the ratios {tried} had a higher macro-F1 than no synthetic images."
            )
        lead = choice["behind_best"]["0"]
        return Recommendation(
            NONE,
            None,
            f"{none} On val the best of the ratios {tried} was {best:g}, and its lead of {_signed(lead['mean'])} "
            f"macro-F1 is within one standard error ({lead['mean'] - lead['lower']:.3f}): noise would give as much.",
        )
    if difference is None:
        raise ValueError(f"difference must be given for the chosen ratio {chosen:g}. Got None instead.")
    verdict = decide({"0": difference}, matched="0", min_detectable=min_detectable, num_units=num_units)
    gap = (
        f"{_signed(difference.mean)} macro-F1 ({confidence:.0%} interval {_signed(difference.lower)} to "
        f"{_signed(difference.upper)}; {difference.n_test} test images, {difference.n_seeds} "
        f"seed{'' if difference.n_seeds == 1 else 's'})"
    )
    if verdict.verdict == "helps":
        return Recommendation(
            chosen,
            verdict,
            f"Recommended for this data set: {chosen:g} synthetic image{'' if chosen == 1 else 's'} for each real one "
            f"in every class; {recipe}. Chosen on val, and confirmed on test against the same recipe without synthetic "
            f"images: {gap}.",
        )
    found = {
        "hurts": "the test split says that it hurts",
        "no_evidence": "the test split gives no evidence that it helps",
        "too_little_data": "the test split is too small to tell",
    }[verdict.verdict]
    return Recommendation(NONE, verdict, f"{none} On val the ratio {chosen:g} looked better, but {found}: {gap}.")


def _signed(value: float) -> str:
    return f"{round(value, 3) + 0.0:+.3f}"  # + 0.0: no "-0.000"
