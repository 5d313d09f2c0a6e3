"""What `study_minority` left behind, read, checked and compared: the figures that the page and metrics.json show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline import InputError
from pipeline.measure.minority import METHODS, MinorityEffect, minority_effect
from pipeline.report.results import (
    Manifest,
    check_against_manifest,
    check_comparable,
    read_json,
    read_predictions,
    read_steps,
)


class MinorityStudy(NamedTuple):
    """One class shrunk to one count.

    Attributes:
        info: Contents of info.json: class, real_kept, real_before, synthetic, total_kimg, best_kimg.
        effect: On test.
        seeds: Training seeds.
        steps: Optimiser steps of every training.
        confidence: Of the intervals.
    """

    info: Mapping[str, Any]
    effect: MinorityEffect
    seeds: tuple[int, ...]
    steps: int
    confidence: float

    @property
    def metrics(self) -> dict[str, float]:
        """For metrics.json: `minority.<n>/<metric>[_minus_shrunk][/<class>]` and their ends, a method in front."""
        name, found = self.info["class"], {}
        of = {"f1": f"/{name}", "recall": f"/{name}", "macro_f1": ""}
        for metric, suffix in of.items():
            parts = {(m, metric): value for m, value in self.effect.scores[metric].items()}
            parts |= {(m, f"{metric}_minus_shrunk"): value for m, value in self.effect.differences[metric].items()}
            for (method, key), value in parts.items():
                for end, number in (("", value.mean), ("_lower", value.lower), ("_upper", value.upper)):
                    found[f"{method}/{key}{end}{suffix}"] = number
        if self.effect.given_back is not None:
            found[f"given_back/{name}"] = self.effect.given_back
        count = self.info["real_kept"]
        return {f"minority.{count}/{key}": round(float(value), 6) + 0.0 for key, value in found.items()}


def read_minority(
    folders: Mapping[str, str | Path],
    *,
    classes: Sequence[str],
    manifest: Manifest,
    seed: int = 42,
    resamples: int = 2000,
    confidence: float = 0.95,
    min_detectable: float = 0.1,
) -> list[MinorityStudy]:
    """Read the studies, in the order of the images kept.

    Args:
        folders: Count to its folder with predictions.csv, info.json and metrics.json; may be empty.
        classes: Class names.
        manifest: Of the split; its groups are resampled as wholes.
        seed: Of the resampling.
        resamples: Of seeds and test images.
        confidence: Of the intervals.
        min_detectable: See `verdict.decide`.

    Raises:
        InputError: A file is missing or malformed, or predictions are not those of the split.
    """
    studies = []
    for folder in (Path(folders[count]) for count in sorted(folders, key=int)):
        info, path = read_json(folder / "info.json"), folder / "predictions.csv"
        predictions = read_predictions(path, classes, by_method=True)
        if set(predictions) != set(METHODS):
            raise InputError(
                f"{path}: expected the methods {', '.join(METHODS)}, found {', '.join(sorted(predictions))}; run "
                "`dvc repro`."
            )
        for own in predictions.values():
            check_against_manifest(own, manifest, classes)
        check_comparable(predictions)
        test = predictions["full"].splits["test"]
        effect = minority_effect(
            test.labels,
            {method: own.splits["test"].predicted for method, own in predictions.items()},
            class_name=info["class"],
            classes=classes,
            seeds=predictions["full"].seeds,
            groups=[manifest.groups["test"][image] for image in test.images],
            resamples=resamples,
            confidence=confidence,
            min_detectable=min_detectable,
            seed=seed,
        )
        steps = read_steps(folder / "metrics.json")
        studies.append(MinorityStudy(info, effect, predictions["full"].seeds, steps, confidence))
    return studies
