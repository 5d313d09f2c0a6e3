"""From intervals to a verdict, by rules, and the verdict as a sentence that the numbers force.

The GAN's arm is chosen on val. It must then beat, on test, every control: `real`, `balanced` sampling and
`classic` augmentation, so that neither balancing nor flipping ever counts as the GAN's merit. "No evidence"
and "too little data" are verdicts like the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from pipeline.measure.statistics import REFERENCES, Interval

# GAN arm → the control that differs from it by the synthetic images alone.
MATCHED_CONTROL = {
    "synthetic": "balanced",
    "synthetic_classic": "classic",
    "filtered": "balanced",
    "filtered_classic": "classic",
}

# Where all of n images (or groups) change in one direction, a two-sided sign test gives p = 2 / 2^n, which is
# under .05 from 6 on. With fewer no interval can be trusted, however narrow it comes out.
MIN_UNITS = 6

LABELS = {
    "helps": "helps",
    "hurts": "hurts",
    "no_evidence": "no evidence either way",
    "too_little_data": "too little data to tell",
}


class Evidence(NamedTuple):
    """What the rules look at.

    Attributes:
        differences: control → interval of (candidate - control).
        matched: The control that differs from the candidate by the synthetic images alone.
        min_detectable: A half-width above this says that the test set could not have shown such an effect.
        num_units: Test images (or groups) that the metric rests on.
    """

    differences: Mapping[str, Interval]
    matched: str
    min_detectable: float
    num_units: int

    @property
    def strongest(self) -> str:
        """The control that the candidate exceeds by least; ties go to the one named last."""
        return min(reversed(list(self.differences)), key=lambda c: self.differences[c].mean)

    @property
    def least_certain(self) -> str:
        """The control whose interval reaches lowest: what keeps the verdict from `helps`."""
        return min(reversed(list(self.differences)), key=lambda c: self.differences[c].lower)


class Verdict(NamedTuple):
    """A verdict and what it rests on.

    Attributes:
        verdict: `helps`, `hurts`, `no_evidence` or `too_little_data`.
        control: The control that the sentence is about.
        difference: Candidate minus that control.
        evidence: All of it.
    """

    verdict: str
    control: str
    difference: Interval
    evidence: Evidence


def _beats_all(e: Evidence) -> bool:
    return all(d.lower > 0 for d in e.differences.values())


def _worse(e: Evidence) -> list[str]:
    """Controls whose defeat counts: the matched one, then `real`."""
    return [c for c in (e.matched, "real") if c in e.differences and e.differences[c].upper < 0]


# The rules, tried from the top; the first that holds is the verdict.
RULES: tuple[tuple[str, Callable[[Evidence], bool]], ...] = (
    ("too_little_data", lambda e: e.num_units < MIN_UNITS),
    ("helps", _beats_all),
    ("hurts", lambda e: bool(_worse(e))),
    ("too_little_data", lambda e: e.differences[e.least_certain].half_width > e.min_detectable),
    ("no_evidence", lambda e: True),
)


def decide(
    differences: Mapping[str, Interval],
    *,
    matched: str,
    min_detectable: float = 0.1,
    num_units: int | None = None,
) -> Verdict:
    """Apply `RULES`.

    Args:
        differences: control → interval of (candidate - control); the verdict `helps` needs all of them above 0.
        matched: The control whose defeat of the candidate, like that by `real`, means `hurts`.
        min_detectable: Half-width of the interval to the least certain control above which an undecided
            comparison is called `too_little_data` instead of `no_evidence`.
        num_units: Test images (or groups) that the metric rests on. `None`: `n_test` of the intervals.

    Raises:
        ValueError: `matched` is not among `differences`.
    """
    if matched not in differences:
        raise ValueError(f"differences must hold {matched!r}. Got {list(differences)} instead.")
    if num_units is None:
        num_units = differences[matched].n_test
    evidence = Evidence(dict(differences), matched, min_detectable, num_units)
    verdict = next(name for name, holds in RULES if holds(evidence))
    # The sentence quotes the control that decided: an undecided one must not quote an interval above zero
    control = {"helps": evidence.strongest, "hurts": (_worse(evidence) or [""])[0]}.get(verdict, evidence.least_certain)
    return Verdict(verdict, control, evidence.differences[control], evidence)


def choose_candidate(val_macro_f1: Mapping[str, float]) -> str:
    """The GAN arm with the best macro-F1 on val, never on test; ties go to the simpler one.

    Args:
        val_macro_f1: arm → mean over seeds, on val; arms that are no candidates are ignored.

    Raises:
        ValueError: No GAN arm among them.
    """
    candidates = [arm for arm in MATCHED_CONTROL if arm in val_macro_f1]
    if not candidates:
        raise ValueError(f"arms must hold one of {list(MATCHED_CONTROL)}. Got {list(val_macro_f1)} instead.")
    return max(candidates, key=lambda arm: val_macro_f1[arm])


def minority_classes(train_counts: Mapping[str, int]) -> list[str]:
    """Classes with fewer train images than the mean class, in the given order."""
    mean = sum(train_counts.values()) / max(len(train_counts), 1)
    return [name for name, count in train_counts.items() if count < mean]


def sentence(
    verdict: Verdict,
    *,
    candidate: str,
    score: Interval,
    metric: str = "macro-F1",
    confidence: float = 0.95,
    is_rendered_sample: bool = False,
) -> str:
    """The verdict on the GAN's arm in a plain sentence or two, forced by the numbers.

    Args:
        verdict: Of `decide` on the metric.
        candidate: The arm.
        score: The arm's own figure.
        metric: Its name as people read it.
        confidence: Of the intervals.
        is_rendered_sample: Says so, since it is no statement about photographs then.
    """
    d = verdict.difference
    controls = _listed([f"`{c}`" for c in verdict.evidence.differences])
    where = "On the rendered sample (drawn leaves, not photographs), synthetic" if is_rendered_sample else "Synthetic"
    basis = f"{_count(d.n_test, 'test image')}, {_count(d.n_seeds, 'seed')}"
    gap = f"{_signed(d.mean)} ({confidence:.0%} interval {_signed(d.lower)} to {_signed(d.upper)})"
    head = f"{metric} {score.mean:.3f} with arm `{candidate}`"
    if verdict.verdict == "helps":
        return (
            f"{where} images help: {head}, {gap} over `{verdict.control}`, the strongest of the controls "
            f"{controls}, over each of which its interval is above zero ({basis})."
        )
    if verdict.verdict == "hurts":
        return f"{where} images hurt: {head}, {gap} against the control `{verdict.control}` ({basis})."
    if verdict.verdict == "too_little_data":
        why = f"the interval is wider than ±{verdict.evidence.min_detectable:g}"
        if verdict.evidence.num_units < MIN_UNITS:
            why = f"fewer than {MIN_UNITS} independent test images"
        return (
            f"{where} images: too little data to tell: {head}, {gap} against `{verdict.control}`, of its "
            f"controls the one least surely below it; {why} ({basis})."
        )
    return (
        f"{where} images: no evidence that they help or hurt: {head}, {gap} against `{verdict.control}`, of "
        f"the controls {controls} the one least surely below it ({basis})."
    )


def class_sentence(name: str, verdict: Verdict, *, score: Interval, num_test: int, confidence: float = 0.95) -> str:
    """The verdict on one class's recall.

    Args:
        name: The class.
        verdict: Of `decide` on its recall.
        score: The arm's recall of it.
        num_test: Test images of this class.
        confidence: Of the intervals.
    """
    d = verdict.difference
    return (
        f"Recall of `{name}`: {LABELS[verdict.verdict]}: {score.mean:.3f}, {_signed(d.mean)} ({confidence:.0%} "
        f"interval {_signed(d.lower)} to {_signed(d.upper)}) against `{verdict.control}` "
        f"({_count(num_test, 'test image')} of this class)."
    )


def sgan_sentence(verdicts: Mapping[str, Verdict], scores: Mapping[str, Interval], *, confidence: float = 0.95) -> str:
    """The verdict on semi-supervised learning, budget by budget, against the same discriminator on labels only.

    Args:
        verdicts: budget → `decide` on the difference of macro-F1 to `supervised`.
        scores: budget → the SGAN's macro-F1.
        confidence: Of the intervals.
    """
    parts = [
        f"{_budget_words(budget)} {LABELS[v.verdict]}: macro-F1 {scores[budget].mean:.3f}, "
        f"{_signed(v.difference.mean)} ({_signed(v.difference.lower)} to {_signed(v.difference.upper)})"
        for budget, v in verdicts.items()
    ]
    first = next(iter(verdicts.values())).difference
    return (
        f"SGAN against its own discriminator trained on the same labels alone. {'; '.join(parts)} "
        f"({confidence:.0%} intervals, {_count(first.n_test, 'test image')}, {_count(first.n_seeds, 'seed')})."
    )


def controls_missing(arms: Sequence[str]) -> list[str]:
    """Controls without which no verdict can be given."""
    return [c for c in REFERENCES if c not in arms]


def _budget_words(budget: str) -> str:
    return f"{budget} labels a class," if budget.isdigit() else f"labels `{budget}`,"


def _signed(value: float) -> str:
    return f"{value:+.3f}" if round(value, 3) else "0.000"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" + ("" if n == 1 else "s")


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
