"""One tuning budget for every method of the SGAN stage: as many settings each, chosen on val by one rule.

Oliver et al. 2018 ("Realistic evaluation of deep semi-supervised learning algorithms", section 4.1): a method
that was tuned beats a baseline that was not, whatever it is worth. So each method tries the same settings with the
first seed, and keeps the one whose checkpoint is best on val by the rule that chooses checkpoints; further seeds
are trained with that one alone.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

Score = tuple[float, float]  # macro-F1 on val, and minus the loss there: the greater is the better


class Run(NamedTuple):
    """One training.

    Attributes:
        method: A key of METHODS in `sgan.py`.
        seed: Of batches, initial weights and labelled images.
        setting: Place in the list of settings.
    """

    method: str
    seed: int
    setting: int


def next_run(scores: Mapping[Run, Score], *, methods: Iterable[str], seeds: Sequence[int], settings: int) -> Run | None:
    """The training that is due: a function of the finished ones alone, so that a killed stage finds its place again.

    Args:
        scores: Finished run → its score on val.
        methods: In order; each tries all settings, then trains its other seeds.
        seeds: The settings are tried with the first.
        settings: How many there are.

    Returns:
        The run, or None where all are finished.
    """
    for method in methods:
        due = [Run(method, seeds[0], setting) for setting in range(settings)]
        if all(run in scores for run in due):
            due = [Run(method, seed, chosen_setting(scores, method, seeds[0])) for seed in seeds[1:]]
        for run in due:
            if run not in scores:
                return run
    return None


def chosen_setting(scores: Mapping[Run, Score], method: str, first_seed: int) -> int:
    """Place of the setting with the best score on val among a method's runs of the first seed; of equals, the first."""
    tried = {run.setting: score for run, score in scores.items() if (run.method, run.seed) == (method, first_seed)}
    return max(sorted(tried), key=tried.__getitem__)


class Tried(NamedTuple):
    """A row of tuning.csv.

    Attributes:
        method: Whose setting it is.
        setting: Name → value, as in params.yaml.
        best_step: Step of the checkpoint that val chose.
        val_macro_f1: Of that checkpoint, 0 to 1.
        val_loss: Of that checkpoint, nats.
        chosen: The other seeds are trained with it.
    """

    method: str
    setting: dict[str, float]
    best_step: int
    val_macro_f1: float
    val_loss: float
    chosen: bool


def write_tuning(path: str | Path, tried: Sequence[Tried]) -> None:
    """Write tuning.csv: method, the setting's values, best_step, val_macro_f1, val_loss, chosen (1 or 0)."""
    names = list(dict.fromkeys(name for row in tried for name in row.setting))
    with open(path, "w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow(["method", *names, "best_step", "val_macro_f1", "val_loss", "chosen"])
        for row in tried:
            values = [row.setting[name] for name in names]
            scores = [f"{row.val_macro_f1:.6f}", f"{row.val_loss:.6f}"]
            writer.writerow([row.method, *values, row.best_step, *scores, int(row.chosen)])
