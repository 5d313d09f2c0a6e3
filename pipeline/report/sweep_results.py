"""What `sweep_mixture` left behind, read, checked and compared: the figures that the page and metrics.json show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline import InputError
from pipeline.measure.recipe import Mixture, Recommendation, recommend
from pipeline.measure.statistics import Interval, compare_arms
from pipeline.report.results import (
    Manifest,
    check_against_manifest,
    check_comparable,
    read_json,
    read_predictions,
    read_steps,
)

CHOICE = {"best", "behind_best", "chosen", "control", "controls", "ratios", "val_macro_f1"}
FAR = 4.5  # times as many photos: what a doubling gives at the end is not told by so large a step


class Headroom(NamedTuple):
    """What more photos gave, by the recipe of ratio 0.

    Attributes:
        photos: Number of train photos, ascending.
        macro_f1: On test, of each number.
        doubling: Gain of all photos over the largest share, for a doubling; its interval too.
    """

    photos: list[int]
    macro_f1: list[Interval]
    doubling: Interval

    def worth(self, gain: Interval) -> str:
        """A gain in photos, in words; nothing where a doubling gained nothing for sure."""
        if self.photos[-1] > FAR * self.photos[-2]:
            return "The numbers of photos are too far apart to say what a gain is worth in photos."
        if self.doubling.lower <= 0:
            return "That more photos would gain is itself not certain here."
        fewest, most = ((2 ** (end / self.doubling.mean) - 1) * self.photos[-1] for end in (gain.lower, gain.upper))
        return f"That is worth between {fewest:+.0f} and {most:+.0f} photos."


class Sweep(NamedTuple):
    """The sweep in full.

    Attributes:
        choice: Contents of choice.json.
        test: Ratio as text ("0", and the chosen one) to its macro-F1 on test.
        difference: Macro-F1 on test of the chosen ratio minus that of 0; None where 0 was chosen.
        recommendation: What follows from both.
        mixture: The recommended one; None: no synthetic images are recommended.
        headroom: Of more photos; None: nobody was trained on fewer.
        seeds: Training seeds.
        steps: Optimiser steps of every training.
        n_val: Val images.
        n_test: Test images.
        test_groups: Independent ones among them.
        confidence: Of the intervals on test.
    """

    choice: Mapping[str, Any]
    test: Mapping[str, Interval]
    difference: Interval | None
    recommendation: Recommendation
    mixture: Mixture | None
    headroom: Headroom | None
    seeds: tuple[int, ...]
    steps: int
    n_val: int
    n_test: int
    test_groups: int
    confidence: float

    @property
    def metrics(self) -> dict[str, float]:
        """For metrics.json: `sweep/<metric>`, and `sweep/recommended_ratio`."""
        found = {
            "sweep/chosen_ratio": float(self.choice["chosen"]),
            "sweep/recommended_ratio": self.recommendation.ratio,
        }
        if self.difference is not None:
            ends = {"": "mean", "_lower": "lower", "_upper": "upper"}
            found |= {f"sweep/macro_f1_minus_0{end}": getattr(self.difference, key) for end, key in ends.items()}
        if self.headroom is not None:
            for photos, of in zip(self.headroom.photos, self.headroom.macro_f1, strict=True):
                ends = {"": of.mean, "_lower": of.lower, "_upper": of.upper}
                found |= {f"sweep/photos_{photos}/macro_f1{end}": value for end, value in ends.items()}
        return {key: round(float(value), 6) + 0.0 for key, value in found.items()}


def read_sweep(
    folder: str | Path,
    *,
    classes: Sequence[str],
    manifest: Manifest,
    seed: int = 42,
    resamples: int = 2000,
    confidence: float = 0.95,
    min_detectable: float = 0.1,
) -> Sweep:
    """Read results/sweep and confirm its choice on test.

    Args:
        folder: With predictions.csv, choice.json and metrics.json.
        classes: Class names.
        manifest: Of the split; its groups are resampled as wholes.
        seed: Of the resampling.
        resamples: Of seeds and test images.
        confidence: Of the intervals on test.
        min_detectable: See `verdict.decide`.

    Raises:
        InputError: A file is missing or malformed; predictions are not those of the split, or of other ratios
            than choice.json says.
    """
    folder = Path(folder)
    choice = read_json(folder / "choice.json")
    if not set(choice) >= CHOICE or not isinstance(choice.get("photos", {}), dict):
        raise InputError(
            f"{folder / 'choice.json'}: expected the keys {', '.join(sorted(CHOICE))}, found {', '.join(choice)}; run "
            "`dvc repro --force sweep_mixture`."
        )
    path = folder / "predictions.csv"
    predictions = read_predictions(path, classes, by_method=True, may_lack=["test"])
    ratios = [f"{ratio:g}" for ratio in choice["ratios"]]
    chosen = f"{choice['chosen']:g}"
    on_test = [ratio for ratio, own in predictions.items() if "test" in own.splits]
    fewer = [name for name in choice.get("photos", {}) if name != "0"]
    if list(predictions) != [*ratios, *fewer] or set(on_test) != {"0", chosen, *fewer}:
        raise InputError(
            f"{path}: expected val predictions of {', '.join([*ratios, *fewer])} and test predictions of "
            f"{', '.join(['0', *fewer])} and the chosen {chosen} alone, found "
            f"{', '.join(predictions)} on val and {', '.join(on_test)} on test; run "
            "`dvc repro --force sweep_mixture`."
        )
    for own in predictions.values():
        check_against_manifest(own, manifest, classes)
    check_comparable(predictions)
    test = {ratio: predictions[ratio].splits["test"] for ratio in on_test}
    first = test["0"]
    groups = [manifest.groups["test"][image] for image in first.images]
    compared = compare_arms(
        first.labels,
        {ratio: own.predicted for ratio, own in test.items()},
        classes=classes,
        seeds={ratio: predictions[ratio].seeds for ratio in test},
        groups=groups,
        references=("0", *fewer[-1:]),
        resamples=resamples,
        confidence=confidence,
        seed=seed,
    )
    difference = None if chosen == "0" else compared[chosen].differences["0"]["macro_f1"]
    units = len({(name, group) for (name, _), group in zip(first.images, groups, strict=True)})
    advised = recommend(choice, difference, num_units=units, min_detectable=min_detectable, confidence=confidence)
    own = compared[chosen]
    mixture = None
    if advised.ratio > 0:
        shares = own.metrics["balanced_accuracy"], own.differences["0"]["balanced_accuracy"]
        mixture = Mixture(advised.ratio, *shares)
    headroom = None
    if fewer:
        photos = [choice["photos"][name] for name in (*fewer, "0")]
        doublings = math.log2(photos[-1] / photos[-2])
        rise = compared["0"].differences[fewer[-1]]["macro_f1"]
        per_doubling = rise._replace(
            **{end: getattr(rise, end) / doublings for end in ("mean", "lower", "upper", "standard_error")}
        )
        headroom = Headroom(photos, [compared[name].metrics["macro_f1"] for name in (*fewer, "0")], per_doubling)
    return Sweep(
        choice,
        {ratio: compared[ratio].metrics["macro_f1"] for ratio in dict.fromkeys(("0", chosen))},
        difference,
        advised,
        mixture,
        headroom,
        predictions["0"].seeds,
        read_steps(folder / "metrics.json"),
        len(predictions["0"].splits["val"].labels),
        len(first.labels),
        units,
        confidence,
    )
