"""How many synthetic images to train with on this data set, none among the answers; and all of it in plain words.

The recipe beside them is that of the simplest control that val cannot tell from the best. Two steps, so that the winner
of several ratios is not praised for its luck: val chooses (`mixture_choice`), and on test the chosen ratio alone is
held against no synthetic images. It is recommended only where the interval of the difference lies above zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.measure.mixture_choice import NONE
from pipeline.measure.statistics import Interval
from pipeline.measure.verdict import LABELS, MATCHED_CONTROL, Verdict, decide, gans_in_words

WITH_JUDGE = {
    "probe": " with a pretrained classifier",
    "finetune": " with a pretrained classifier",
    "scratch": " with a classifier trained from scratch",
}
USE = {
    "real": "Use the photos as they are{judge}",
    "balanced": "Use the photos, every class equally often,{judge}",
    "flips": "Use the photos, mirrored at random,{judge}",
    "classic": "Use the photos, turned and recoloured a little,{judge}",
    "strong": "Use the photos, turned, cropped and recoloured much,{judge}",
    "classic_long": "Use the photos, turned and recoloured a little, for longer,{judge}",
}
ADD = {
    "real": "Train on the photos and {leaves}{judge}",
    "balanced": "Train on the photos and {leaves}, every class equally often,{judge}",
    "flips": "Train on the photos and {leaves}, mirrored at random,{judge}",
    "classic": "Train on the photos and {leaves}, turned and recoloured a little,{judge}",
    "strong": "Train on the photos and {leaves}, turned, cropped and recoloured much,{judge}",
    "classic_long": "Train on the photos and {leaves}, turned and recoloured a little, for longer,{judge}",
}
ALIKE = {
    "real": "the photos as they are",
    "balanced": "drawing every class equally often",
    "flips": "mirroring them at random",
    "classic": "turning and recolouring them",
    "strong": "turning, cropping and recolouring them much",
    "classic_long": "turning and recolouring them for longer",
}
# How many GANs drew: of a single one its own luck, a standard deviation of .075 macro-F1 on synthetic images alone
# (bench/results/defaults.csv), is in no interval, so whoever reads the first sentence is told.
FOUND = {
    "helps": "Synthetic leaves of {gans} helped",
    "hurts": "Synthetic leaves of {gans} hurt",
    "no_evidence": "Synthetic leaves of {gans} made no difference that shows",
    "too_little_data": "Too few test photos to tell whether synthetic leaves of {gans} help",
    "not_trained": "Of synthetic leaves nothing can be said, for the classifiers have hardly learned",
}


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
    is_best = control == max(controls, key=controls.get)
    standing = "the best" if is_best else "the simplest that cannot be told from the best"
    recipe = f"held against the arm `{control}`, on val {standing} without them ({controls[control]:.3f}; {others})"
    none = f"No ratio of synthetic to real images is recommended, {recipe}."
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
    limits = {"min_detectable": min_detectable, "num_units": num_units, "confidence": confidence}
    verdict = decide({"0": difference}, matched="0", **limits)
    gap = (
        f"{_signed(difference.mean)} macro-F1 ({100 * confidence:.4g}% interval {_signed(difference.lower)} to "
        f"{_signed(difference.upper)}; {difference.n_test} test images, {difference.n_seeds} "
        f"seed{'' if difference.n_seeds == 1 else 's'})"
    )
    if verdict.verdict == "helps":
        return Recommendation(
            chosen,
            verdict,
            f"Recommended of the ratios: {chosen:g} synthetic image{'' if chosen == 1 else 's'} for each real one in "
            f"every class, {recipe}. Chosen on val, and confirmed on test against the same recipe without synthetic "
            f"images: {gap}.",
        )
    found = {
        "hurts": "the test split says that it hurts",
        "no_evidence": "the test split gives no evidence that it helps",
        "too_little_data": "the test split is too small to tell",
    }[verdict.verdict]
    return Recommendation(NONE, verdict, f"{none} On val the ratio {chosen:g} looked better, but {found}: {gap}.")


class Mixture(NamedTuple):
    """A mixture that val chose and test confirmed.

    Attributes:
        ratio: Synthetic images for each real one.
        right: Balanced accuracy on test.
        gain: That minus the same recipe's without synthetic images.
    """

    ratio: float
    right: Interval
    gain: Interval


class Other(NamedTuple):
    """Another kind of classifier, which tells more than the one that judged, and is trained on real photos alone.

    Attributes:
        judge: Its kind, as in params.yaml.
        control: The arm that it is trained as.
        right: Its balanced accuracy on test.
    """

    judge: str
    control: str
    right: float


def advise(
    verdict: str,
    *,
    candidate: str,
    control: str,
    right: Mapping[str, float],
    gain: Interval,
    alike: Sequence[str] = (),
    has_learned: bool = True,
    never: Sequence[str] = (),
    judge: str = "",
    mixture: Mixture | None = None,
    other: Other | None = None,
    gans: int = 1,
    is_rendered_sample: bool = False,
) -> str:
    """What to do, and what synthetic leaves did, for somebody who knows leaves and no statistics.

    Args:
        verdict: Key of `verdict.LABELS`, on the candidate.
        candidate: The GAN's arm.
        control: The arm of real images that is recommended where synthetic ones are not.
        right: Arm to its balanced accuracy on test: of 100 leaves, as many of each class.
        gain: Balanced accuracy of the candidate minus that of its matched control.
        alike: Other controls that val cannot tell from the one that is recommended.
        has_learned: The classifier of that control.
        never: Classes of which what is recommended recognises no test image.
        judge: Kind of classifier, as in params.yaml; "": nothing is said of it.
        mixture: Recommended; None: none is.
        other: Surely better than what would be advised else; None: none is.
        gans: That drew the images of the arms.
        is_rendered_sample: Says so, since it is no advice on photographs then.
    """
    where = "On drawn leaves, not photographs: " if is_rendered_sample else ""
    if not has_learned:
        return f"{where}No advice yet: the classifiers of real leaves have hardly learned."
    leaves = "those synthetic leaves that the filter kept" if "filtered" in candidate else "the synthetic leaves"
    if mixture is not None:
        leaves = f"{mixture.ratio:g} synthetic {'leaf' if mixture.ratio == 1 else 'leaves'} for each of them"
        text, share, found = ADD[control], mixture.right.mean, _found("helps", mixture.gain, gans)
        if verdict != "helps":
            found += f" As many as make all classes equal: {LABELS[verdict]}."
    elif verdict == "helps":
        text, share, found = ADD[MATCHED_CONTROL[candidate]], right[candidate], _found(verdict, gain, gans)
    else:
        text, share, found = USE[control], right[control], _found(verdict, gain, gans)
    if other is not None:
        less = f"{WITH_JUDGE[judge].strip().capitalize()} it is {round(100 * share)}"
        found = f"{less}, and by that one synthetic leaves were judged. {found}"
        text, share, judge = USE[other.control], other.right, other.judge
    elif never:
        found = f"No leaf of {_listed(never)} is recognised. {found}"
    elif verdict != "helps" and alike:
        found += f" On val, {_listed([ALIKE[arm] for arm in alike], 'or')} cannot be told from that."
    do = text.format(leaves=leaves, judge=WITH_JUDGE.get(judge, "")).rstrip(",")
    do = do[0].lower() + do[1:] if where else do
    return f"{where}{do}: {round(100 * share)} of 100 right, classes counted alike. {found}"


def _listed(names: Sequence[str], word: str = "and") -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"


def _found(verdict: str, gain: Interval, gans: int) -> str:
    """The verdict with its margin; where balanced accuracy alone would say otherwise, the words must not hide it."""
    found = FOUND[verdict].format(gans=gans_in_words(gans))
    if verdict == "not_trained":
        return f"{found}."
    fewest, most = round(100 * gain.lower), round(100 * gain.upper)
    margin = _margin(fewest, most)
    if verdict in ("helps", "hurts"):
        agrees = fewest >= 0 if verdict == "helps" else most <= 0
        return f"{found}{'' if agrees else ', by macro-F1'}: {margin}."
    if fewest > 0:
        return (
            f"Synthetic leaves of {gans_in_words(gans)} gained on the same training without them, {margin}, but not "
            "surely on every recipe without them."
        )
    if most < 0:
        return f"Synthetic leaves of {gans_in_words(gans)} may hurt, but not surely: {margin}."
    return f"{found}: {margin}."


def _margin(fewest: int, most: int) -> str:
    """An interval of a difference, leaves of 100, in words."""
    if fewest == most == 0:
        return "less than 1 of 100 more or fewer"
    if fewest < 0 < most:
        return f"between {-fewest} fewer and {most} more of 100"
    near, far = sorted((abs(fewest), abs(most)))
    span = f"up to {far}" if near == 0 else f"{far}" if near == far else f"between {near} and {far}"
    return f"{span} {'more' if most > 0 else 'fewer'} of 100"


def _signed(value: float) -> str:
    return f"{round(value, 3) + 0.0:+.3f}"  # + 0.0: no "-0.000"
