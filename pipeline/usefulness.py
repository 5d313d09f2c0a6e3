"""What synthetic images were worth on public leaf sets of about this size, said before hours are spent on one's own.

The figures are those of `bench.usefulness`, read from its rows whenever they are told.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

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
    f1 = [np.mean([control for control, _ in some]) for some in of_set]
    gains = [np.mean([candidate - control for control, candidate in some]) for some in of_set]
    fewest = min(map(len, of_set))
    sets = f"{len(f1)} public leaf set{'' if len(f1) == 1 else 's'} ({fewest} GAN{'' if fewest == 1 else 's'} each)"
    return (
        f"About {photos:.0f} photos a class will train here. With {nearest} a class, on {sets}, a frozen pretrained "
        f"classifier with classic augmentation reached {_range(f1, '.2f')} macro-F1; synthetic images beside the "
        f"photos changed it by {_range(gains, '+.2f')} ({TABLE})."
    )


def _pairs(rows: csv.DictReader) -> dict[int, dict[str, list[tuple[float, float]]]]:
    """Photos a class to set to (macro-F1 of the control, of the candidate), a pair for each split and GAN."""
    of: dict[tuple[str, ...], dict[str, float]] = defaultdict(dict)
    for row in rows:
        if row["judge"] == JUDGE:
            key = (row["photos"], row["set"], row["split"], row["gan_seed"])
            of[key][row["arm"]] = float(row["macro_f1"])
    pairs: dict[int, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for (photos, name, *_), scores in of.items():
        if CONTROL in scores and CANDIDATE in scores:
            pairs[int(photos)][name].append((scores[CONTROL], scores[CANDIDATE]))
    return pairs


def _range(values: list[float], form: str) -> str:
    ends = dict.fromkeys(f"{value + 0.0:{form}}".replace("0.", ".", 1) for value in (min(values), max(values)))
    return " to ".join(ends)
