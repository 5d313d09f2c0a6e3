"""Every test of the difference between two arms, as rows of a table and as figures by name."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple

from pipeline.measure.effects import Change, describe_change
from pipeline.measure.significance import accuracy_test, holm, mcnemar, swap_test
from pipeline.measure.statistics import ArmStatistics, Interval
from pipeline.report.results import SplitPredictions


class Difference(NamedTuple):
    """One arm minus another, on test.

    Attributes:
        arm: The first.
        other: The one subtracted.
        macro_f1: Difference with its interval; its `p` knows of test images and seeds.
        accuracy: The same of accuracy.
        p_holm: `macro_f1.p`, adjusted over the differences described together.
        p_swap: Of macro-F1, by swapping whole groups; the seeds as they are.
        p_swap_accuracy: Of accuracy, exact.
        p_mcnemar: Of the seeds' vote, exact.
        change: Answers gained and lost, and Cohen's h.
        detectable: Smallest true difference of macro-F1 that four of five such experiments would have shown.
    """

    arm: str
    other: str
    macro_f1: Interval
    accuracy: Interval
    p_holm: float
    p_swap: float
    p_swap_accuracy: float
    p_mcnemar: float
    change: Change
    detectable: float

    def figures(self) -> dict[str, float]:
        """What stands beside the difference of macro-F1 in metrics.json and comparison.csv."""
        return {
            "detectable": self.detectable,
            "p": self.macro_f1.p,
            "p_holm": self.p_holm,
            "p_swap": self.p_swap,
        }


def describe_differences(
    pairs: Mapping[Hashable, tuple[str, str]],
    predictions: Mapping[str, SplitPredictions],
    statistics: Mapping[str, ArmStatistics],
    *,
    groups: Sequence[str] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[Hashable, Difference]:
    """Test every pair; p values are adjusted over all of them.

    Args:
        pairs: name → (arm, arm to subtract); `statistics` must hold the difference.
        predictions: arm → on test.
        statistics: arm → intervals.
        groups: One a test image, `None`: each by itself.
        confidence: Of the intervals; 1 - confidence is the level that `detectable` is for.
        seed: Of the swaps.
    """
    adjusted = holm({key: statistics[a].differences[b]["macro_f1"].p for key, (a, b) in pairs.items()})
    found = {}
    for key, (arm, other) in pairs.items():
        own, minus = predictions[arm], predictions[other]
        num_classes = own.probabilities.shape[-1]
        answers = (own.labels, own.predicted, minus.predicted)
        of = statistics[arm].differences[other]
        found[key] = Difference(
            arm,
            other,
            of["macro_f1"],
            of["accuracy"],
            adjusted[key],
            swap_test(*answers, num_classes=num_classes, groups=groups, seed=seed),
            accuracy_test(*answers, num_classes=num_classes, groups=groups),
            mcnemar(own.labels, own.probabilities, minus.probabilities, groups=groups),
            describe_change(*answers),
            of["macro_f1"].detectable(confidence),
        )
    return found


def difference_rows(
    differences: Iterable[Difference], names: Sequence[str] | None = None
) -> list[dict[str, str | float | int]]:
    """Rows of differences.csv, and with `names` those of effects.csv.

    Columns: effect (of effects.csv), arm, minus, n_test, n_seeds, macro_f1 with _lower, _upper, _standard_error, _dof,
    detectable, p, p_holm, p_swap; accuracy with _lower, _upper, p_swap_accuracy, p_mcnemar; gained_of_100,
    lost_of_100, cohen_h.
    """
    rows = []
    for i, d in enumerate(differences):
        f1, accuracy = d.macro_f1, d.accuracy
        rows.append(
            ({"effect": names[i]} if names is not None else {})
            | {"arm": d.arm, "minus": d.other, "n_test": f1.n_test, "n_seeds": f1.n_seeds}
            | {"macro_f1": f1.mean, "macro_f1_lower": f1.lower, "macro_f1_upper": f1.upper}
            | {"macro_f1_standard_error": f1.standard_error, "macro_f1_dof": f1.dof}
            | d.figures()
            | {"accuracy": accuracy.mean, "accuracy_lower": accuracy.lower, "accuracy_upper": accuracy.upper}
            | {"p_swap_accuracy": d.p_swap_accuracy, "p_mcnemar": d.p_mcnemar}
            | {"gained_of_100": d.change.gained, "lost_of_100": d.change.lost, "cohen_h": d.change.cohen_h}
        )
    return rows
