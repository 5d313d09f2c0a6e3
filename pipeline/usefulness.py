"""What synthetic images were worth on public leaf sets of about this size, said before hours are spent on one's own.

The figures are those of `bench.usefulness`, read from its rows whenever they are told.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

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
    try:
        with open(root / TABLE, newline="", encoding="utf-8") as f:
            pairs = _pairs(csv.DictReader(f))
    except (OSError, KeyError, ValueError):  # a copy without the benches, or one that somebody has edited
        pairs = {}
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


class _Pair(NamedTuple):
    """Macro-F1 of the two arms on one split, and how long the GAN trained."""

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
    for (photos, name, *_), arms in of.items():
        if CONTROL in arms and CANDIDATE in arms:
            control, candidate = arms[CONTROL], arms[CANDIDATE]
            pair = _Pair(float(control["macro_f1"]), float(candidate["macro_f1"]), float(candidate["kimg"]))
            pairs[int(photos)][name].append(pair)
    return pairs


def _range(values: list[float], form: str) -> str:
    ends = dict.fromkeys(f"{value + 0.0:{form}}".replace("0.", ".", 1) for value in (min(values), max(values)))
    return " to ".join(ends)
