"""From intervals to a verdict, by rules, and the verdict as a sentence that the numbers force.

The GAN's arm is chosen on val. It must then beat, on test, every control: `real`, `balanced` sampling and
`classic` augmentation, so that neither balancing nor flipping ever counts as the GAN's merit. Having to beat all of
them needs no correction for their number: an intersection-union test, each part at the full level, errs no oftener
than one part (Berger 1982, "Multiparameter hypothesis testing and acceptance sampling"). `hurts` is decided by the
control that lacks only the synthetic images: what balancing or flipping spoil counts as little as the GAN's fault as
what they gain counts as its merit, and is said beside the verdict. Where several classes (or label budgets) are
judged, the risk is divided among them, and the intervals quoted are those of the divided risk. "No evidence" and "too
little data" are verdicts like the others.

Choosing on val looks at the same trainings that are tested, so a lucky seed is taken along to test. Beating all
controls outweighs that: how often a verdict is false, the choice included, is in bench/results/coverage.json.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from pipeline import MATCHED_CONTROL
from pipeline.measure.statistics import Interval

# Where all of n images (or groups) change in one direction, a two-sided sign test gives p = 2 / 2^n, which is
# under .05 from 6 on. With fewer no interval can be trusted, however narrow it comes out.
MIN_UNITS = 6

LABELS = {
    "not_trained": "not trained: no verdict",
    "helps": "helps",
    "hurts": "hurts",
    "no_evidence": "no evidence either way",
    "too_little_data": "too little data to tell",
}


class Evidence(NamedTuple):
    """What the rules look at.

    Attributes:
        differences: control → interval of (candidate - control), at the confidence of this verdict.
        matched: The control that differs from the candidate by the synthetic images alone.
        min_detectable: Where even a difference of this size would have been missed too often, the test set is too
            small to say "no evidence".
        num_units: Test images (or groups) that the metric rests on.
        confidence: Of `differences`, after the risk was divided among the verdicts of the family.
        is_trained: Candidate and matched control have learned (see `measure.learned`); without, no ranking means much.
    """

    differences: Mapping[str, Interval]
    matched: str
    min_detectable: float
    num_units: int
    confidence: float
    is_trained: bool = True

    @property
    def strongest(self) -> str:
        """The control that the candidate exceeds by least; ties go to the one named last."""
        return min(reversed(list(self.differences)), key=lambda c: self.differences[c].mean)

    @property
    def least_certain(self) -> str:
        """The control whose interval reaches lowest: what keeps the verdict from `helps`."""
        return min(reversed(list(self.differences)), key=lambda c: self.differences[c].lower)

    def at_most(self, control: str) -> float:
        """What the difference to a control is surely below, in either direction.

        Two one-sided tests (Schuirmann 1987, "A comparison of the two one-sided tests procedure and the power
        approach"), each at the whole risk: the outer end of an interval of twice the risk.
        """
        ends = self.differences[control].at(1 - 2 * (1 - self.confidence))
        return max(abs(ends.lower), abs(ends.upper))

    @property
    def detectable(self) -> float:
        """Smallest difference to the least certain control that would be found in four of five experiments."""
        return self.differences[self.least_certain].detectable(self.confidence)


class Shares(NamedTuple):
    """Of one class, means over seeds.

    Attributes:
        recall: Of its test images those that are taken for it.
        precision: Of the images that are taken for it those that are it; 0 where none is.
    """

    recall: float
    precision: float


class Verdict(NamedTuple):
    """A verdict and what it rests on.

    Attributes:
        verdict: Key of `LABELS`.
        control: The control that the sentence is about.
        difference: Candidate minus that control.
        evidence: All of it.
    """

    verdict: str
    control: str
    difference: Interval
    evidence: Evidence

    @property
    def confidence(self) -> float:
        """Of `difference`."""
        return self.evidence.confidence


def _beats_all(e: Evidence) -> bool:
    return all(d.lower > 0 for d in e.differences.values())


# The rules, tried from the top; the first that holds is the verdict.
RULES: tuple[tuple[str, Callable[[Evidence], bool]], ...] = (
    ("not_trained", lambda e: not e.is_trained),
    ("too_little_data", lambda e: e.num_units < MIN_UNITS),
    ("helps", _beats_all),
    ("hurts", lambda e: e.differences[e.matched].upper < 0),
    ("too_little_data", lambda e: e.detectable > e.min_detectable and e.at_most(e.least_certain) >= e.min_detectable),
    ("no_evidence", lambda e: True),
)


def decide(
    differences: Mapping[str, Interval],
    *,
    matched: str,
    min_detectable: float = 0.1,
    num_units: int | None = None,
    confidence: float = 0.95,
    family: int = 1,
    is_trained: bool = True,
) -> Verdict:
    """Apply `RULES`.

    Args:
        differences: control → interval of (candidate - control); the verdict `helps` needs all of them above 0.
        matched: The control that lacks only the synthetic images: where it is surely ahead, they hurt.
        min_detectable: An undecided comparison that could not have shown a difference of this size to the least
            certain control (see `Interval.detectable`) is called `too_little_data` instead of `no_evidence`, unless
            that difference is surely smaller (see `Evidence.at_most`).
        num_units: Test images (or groups) that the metric rests on. `None`: `n_test` of the intervals.
        confidence: That no verdict of the family is false where there is no effect.
        family: Verdicts given side by side, over which the risk 1 - `confidence` is divided.
        is_trained: See `Evidence`.

    Raises:
        ValueError: `matched` is not among `differences`.
    """
    if matched not in differences:
        raise ValueError(f"differences must hold {matched!r}. Got {list(differences)} instead.")
    if num_units is None:
        num_units = differences[matched].n_test
    divided = 1 - (1 - confidence) / family
    at = {control: d if family == 1 else d.at(divided) for control, d in differences.items()}
    evidence = Evidence(at, matched, min_detectable, num_units, divided, is_trained)
    verdict = next(name for name, holds in RULES if holds(evidence))
    # The sentence quotes the control that decided: an undecided one must not quote an interval above zero
    decided_by = {"helps": evidence.strongest, "hurts": matched, "not_trained": matched}
    control = decided_by.get(verdict, evidence.least_certain)
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


def gans_in_words(number: int) -> str:
    """One GAN, two GANs, …"""
    small = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    return f"{small[number - 1] if number <= len(small) else number} GAN{'' if number == 1 else 's'}"


def sentence(
    verdict: Verdict,
    *,
    candidate: str,
    score: Interval,
    metric: str = "macro-F1",
    cost: Interval | None = None,
    gans: int = 1,
    untrained: Mapping[str, str] | None = None,
    is_rendered_sample: bool = False,
) -> str:
    """The verdict on the GAN's arm in a plain sentence or two, forced by the numbers.

    Args:
        verdict: Of `decide` on the metric.
        candidate: The arm.
        score: The arm's own figure.
        metric: Its name as people read it.
        cost: The matched control minus `real`: what balancing and augmentation do by themselves. None: not said.
        gans: That drew the images; with one, its luck is in no interval.
        untrained: Arm to what shows that it has not learned.
        is_rendered_sample: Says so, since it is no statement about photographs then.
    """
    d = verdict.difference
    controls = _listed([f"`{c}`" for c in verdict.evidence.differences])
    where = "On the rendered sample (drawn leaves, not photographs), synthetic" if is_rendered_sample else "Synthetic"
    basis = f"{_count(d.n_test, 'test image')}, {_count(d.n_seeds, 'seed')}, {gans_in_words(gans)}"
    gap = f"{_signed(d.mean)} ({_percent(verdict.confidence)} interval {_signed(d.lower)} to {_signed(d.upper)})"
    head = f"{metric} {score.mean:.3f} with arm `{candidate}`"
    aside = ""
    if cost is not None and cost.upper < 0:
        matched = verdict.evidence.matched
        aside = (
            f" `{matched}` without any synthetic image is {_signed(cost.mean)} ({_signed(cost.lower)} to "
            f"{_signed(cost.upper)}) against `real` already; that is not counted against them."
        )
    if verdict.verdict == "not_trained":
        those = [arm for arm in (candidate, verdict.control) if arm in (untrained or {})]
        why = "; ".join(f"`{arm}`: {(untrained or {})[arm]}" for arm in those)
        return f"{where} images: no verdict, for what would have to be compared has not learned ({why})."
    if verdict.verdict == "helps":
        return (
            f"{where} images help: {head}, {gap} over `{verdict.control}`, the strongest of the controls "
            f"{controls}, over each of which its interval is above zero ({basis}).{aside}"
        )
    if verdict.verdict == "hurts":
        return (
            f"{where} images hurt: {head}, {gap} against `{verdict.control}`, which lacks nothing but them "
            f"({basis}).{aside}"
        )
    if verdict.verdict == "too_little_data":
        why = (
            f"a true difference would have to reach {verdict.evidence.detectable:.3f} to show in four of five such "
            f"experiments, and {verdict.evidence.min_detectable:g} is asked for"
        )
        if verdict.evidence.num_units < MIN_UNITS:
            why = f"fewer than {MIN_UNITS} independent test images"
        return (
            f"{where} images: too little data to tell: {head}, {gap} against `{verdict.control}`, of its "
            f"controls the one least surely below it; {why} ({basis}).{aside}"
        )
    matched = verdict.evidence.matched
    less = (
        f" From `{matched}`, which lacks nothing but them, it differs by less than "
        f"{verdict.evidence.at_most(matched):.3f} (two one-sided tests at {_percent(1 - verdict.confidence)})."
    )
    if d.upper < 0:  # so it is another control than the matched one
        aside = (
            f" `{verdict.control}` is better, but it differs from this arm in more than the synthetic images, so that "
            f"is not counted against them.{aside}"
        )
    return (
        f"{where} images: no evidence that they help or hurt: {head}, {gap} against `{verdict.control}`, of "
        f"the controls {controls} the one least surely below it ({basis}).{less}{aside}"
    )


def class_sentence(
    name: str,
    verdict: Verdict,
    *,
    score: Interval,
    shares: Shares,
    of_control: Shares,
    num_test: int,
) -> str:
    """The verdict on one class's F1: recall alone would praise a network that says the class more often.

    Args:
        name: The class.
        verdict: Of `decide` on its F1.
        score: The arm's F1 of it.
        shares: The arm's.
        of_control: Those of the control that the verdict is about.
        num_test: Test images of this class.
    """
    d = verdict.difference
    if verdict.verdict == "not_trained":
        return f"F1 of `{name}`: {LABELS['not_trained']}."
    other = verdict.control != verdict.evidence.matched and verdict.verdict != "helps" and d.upper < 0
    aside = f" `{verdict.control}` differs in more than the images." if other else ""
    return (
        f"F1 of `{name}`: {LABELS[verdict.verdict]}: {score.mean:.3f}, {_signed(d.mean)} "
        f"({_percent(verdict.confidence)} interval {_signed(d.lower)} to {_signed(d.upper)}) against "
        f"`{verdict.control}`; recall {shares.recall:.3f} (there {of_control.recall:.3f}), precision "
        f"{shares.precision:.3f} (there {of_control.precision:.3f}); {_count(num_test, 'test image')} of this "
        f"class.{aside}"
    )


def sgan_sentence(verdicts: Mapping[str, Verdict], scores: Mapping[str, Interval], *, confidence: float = 0.95) -> str:
    """The verdict on semi-supervised learning, budget by budget, against the same discriminator on labels only.

    Args:
        verdicts: budget → `decide` on the differences of macro-F1 to `supervised` and `supervised_classic`.
        scores: budget → the SGAN's macro-F1.
        confidence: Of the intervals.
    """

    def against(control: str, d: Interval) -> str:
        return f"{_signed(d.mean)} ({_signed(d.lower)} to {_signed(d.upper)}) against `{control}`"

    parts = [
        f"{_budget_words(budget)} {LABELS[v.verdict]}: macro-F1 {scores[budget].mean:.3f}, "
        + _listed([against(control, d) for control, d in v.evidence.differences.items()])
        for budget, v in verdicts.items()
    ]
    first = next(iter(verdicts.values())).difference
    return (
        "SGAN against its own discriminator trained on the same labels alone, with flips (`supervised`) and with "
        f"classic augmentation (`supervised_classic`). {'; '.join(parts)} "
        f"({_percent(confidence)} intervals, {_count(first.n_test, 'test image')}, {_count(first.n_seeds, 'seed')})."
    )


def _percent(share: float) -> str:
    """0.95 → "95%", 0.98333 → "98.33%"."""
    return f"{100 * share:.4g}%"


def _budget_words(budget: str) -> str:
    return f"{budget} labels a class," if budget.isdigit() else f"labels `{budget}`,"


def _signed(value: float) -> str:
    return f"{value:+.3f}" if round(value, 3) else "0.000"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" + ("" if n == 1 else "s")


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
