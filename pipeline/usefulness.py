"""What a run can show, and what synthetic images were worth on public leaf sets of its size, said before it starts.

Figures of public sets are those of `bench.usefulness`, read from its rows whenever they are told.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.measure.statistics import Interval
from pipeline.measure.verdict import MIN_UNITS
from pipeline.params import Params

TABLE = "bench/results/usefulness.csv"
JUDGE, CONTROL, CANDIDATE = "probe", "classic", "classic + synthetic"


def what_to_expect(root: Path, class_counts: Mapping[str, int], params: Params) -> str:
    """A sentence on the measured sets whose number of train photos a class is nearest to this one's.

    Args:
        root: Of the repository, which has the table.
        class_counts: Class to its photos.
        params: For the shares of the split.
    """
    train_share = (1 - params.split.test_share) * (1 - params.split.val_share)
    photos = float(np.median(list(class_counts.values()))) * train_share
    pairs = _table(root)
    if not pairs:
        return f"What synthetic images are worth on a set of this size is not known here: no figures in {TABLE}."
    nearest = min(pairs, key=lambda count: abs(math.log(count / photos)))
    of_set = pairs[nearest].values()
    f1 = [np.mean([pair.control for pair in some]) for some in of_set]
    gains = [np.mean([pair.candidate - pair.control for pair in some]) for some in of_set]
    kimg = max(pair.kimg for some in of_set for pair in some)
    fewest = min(map(len, of_set))
    sets = f"{len(f1)} public leaf set{'' if len(f1) == 1 else 's'} ({fewest} GAN{'' if fewest == 1 else 's'} each)"
    return (
        f"About {photos:.0f} photos a class will train here. With {nearest} a class, on {sets}, a frozen pretrained "
        f"classifier with classic augmentation reached {_range(f1, '.2f')} macro-F1; images of a GAN that "
        f"had trained for {kimg:g} kimg changed it by {_range(gains, '+.2f')} ({TABLE})."
    )


# Leaves of 100 that only one of two recipes gets right: 2 to 3 on the sample and on apple, where nine of ten are known;
# more where fewer are
DISAGREEMENT = 0.05
SEED_SD = 0.015  # of the difference in macro-F1 from one training seed to the next, beyond chance: on the sample


def detectable(test_counts: Sequence[float], seeds: int, *, confidence: float = 0.95) -> float:
    """The smallest true difference in macro-F1 of two recipes that four of five such runs would show.

    The variance of a difference of mean recalls, each class's share of answers that differ over its test images, and
    that of the seeds; as `Interval.detectable` of a finished run, which it comes to within a fifth of where recipes
    disagree as often as assumed.

    Args:
        test_counts: Independent test images of each class.
        seeds: Of the classifiers.
        confidence: Of the intervals.
    """
    counts = np.maximum(np.asarray(test_counts, dtype=float), 1.0)
    of_class = DISAGREEMENT / counts / len(counts) ** 2
    of_seeds = SEED_SD**2 / seeds
    variance = of_class.sum() + of_seeds
    spread = (of_class**2 / np.maximum(counts - 1, 1)).sum() + of_seeds**2 / max(seeds - 1, 1)
    return Interval(0.0, 0.0, 0.0, int(counts.sum()), seeds, variance**0.5, variance**2 / spread).detectable(confidence)


def what_can_show(root: Path, class_counts: Mapping[str, int], params: Params, *, gans: int) -> str:
    """Sentences on which difference the run can show, and on what would show a smaller one.

    Args:
        root: Of the repository, which has the table.
        class_counts: Class to its photos.
        params: With the split's shares, the seeds and the confidence.
        gans: That will be trained: one, or one for each seed.
    """
    share, seeds = params.split.test_share, len(params.train_classifier.seeds)
    counts = {name: max(round(count * share), 1) for name, count in class_counts.items()}
    rarest = min(counts, key=lambda name: counts[name])
    confidence = params.compare.confidence
    total = sum(counts.values())
    if total < MIN_UNITS:
        return (
            f"About {total} photos will test, and of fewer than {MIN_UNITS} nothing is told, whatever comes out: add "
            "photos, or raise `split.test_share`."
        )

    def shown(times: float = 1, seeds: int = seeds) -> float:
        return detectable([times * n for n in counts.values()], seeds, confidence=confidence)

    words = {
        "twice as many test photos": shown(times=2),
        f"{2 * seeds} seeds instead of {seeds} (`train_classifier.seeds`)": shown(seeds=2 * seeds),
    }
    best = min(words, key=lambda word: words[word])
    found = (
        f"About {total} photos will test ({counts[rarest]} of {rarest}), fewer where several show one leaf: with "
        f"{seeds} seed{'s' if seeds > 1 else ''} a difference of {_plain(shown())} macro-F1 would show in four of five "
        f"such runs, if two recipes answer {100 * DISAGREEMENT:g} of 100 leaves differently. "
        f"{best[0].upper()}{best[1:]} would show {_plain(words[best])}."
    )
    luck = _luck(_table(root))
    if luck is None:
        return found
    differed = f"on public leaf sets the gain differed by {_plain(luck)} from GAN to GAN (standard deviation, {TABLE})"
    if gans == 1:
        return f"{found} One GAN is trained: {differed}, which no number of photos and seeds tells."
    return f"{found} {gans} GANs are trained, one for each seed: {differed}, and that is in the intervals then."


def _luck(pairs: Mapping[int, Mapping[str, list[_Pair]]]) -> float | None:
    """Standard deviation of the gain between GANs of one split, over all splits with more than one; None: none has."""
    squares, dof = 0.0, 0
    for of_set in pairs.values():
        for some in of_set.values():
            gains: dict[str, list[float]] = defaultdict(list)
            for pair in some:
                gains[pair.split].append(pair.candidate - pair.control)
            squares += sum(float(np.var(of)) * len(of) for of in gains.values())
            dof += sum(len(of) - 1 for of in gains.values())
    return (squares / dof) ** 0.5 if dof else None


def _plain(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


def _table(root: Path) -> dict[int, dict[str, list[_Pair]]]:
    """Of `_pairs`; empty in a copy without the benches, or with one that somebody has edited."""
    try:
        with open(root / TABLE, newline="", encoding="utf-8") as f:
            return _pairs(csv.DictReader(f))
    except (OSError, KeyError, ValueError):
        return {}


class _Pair(NamedTuple):
    """Macro-F1 of the two arms on one split, and how long the GAN trained."""

    split: str
    control: float
    candidate: float
    kimg: float


def _pairs(rows: csv.DictReader) -> dict[int, dict[str, list[_Pair]]]:
    """Photos a class to set to a pair for each split and GAN."""
    of: dict[tuple[str, ...], dict[str, dict[str, str]]] = defaultdict(dict)
    for row in rows:
        if row["judge"] == JUDGE:
            of[row["photos"], row["set"], row["split"], row["gan_seed"]][row["arm"]] = row
    pairs: dict[int, dict[str, list[_Pair]]] = defaultdict(lambda: defaultdict(list))
    for (photos, name, split, _), arms in of.items():
        if CONTROL in arms and CANDIDATE in arms:
            control, candidate = arms[CONTROL], arms[CANDIDATE]
            pair = _Pair(split, float(control["macro_f1"]), float(candidate["macro_f1"]), float(candidate["kimg"]))
            pairs[int(photos)][name].append(pair)
    return pairs


def _range(values: list[float], form: str) -> str:
    ends = dict.fromkeys(f"{value + 0.0:{form}}".replace("0.", ".", 1) for value in (min(values), max(values)))
    return " to ".join(ends)
