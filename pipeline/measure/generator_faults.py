"""What a generator can do wrong though its images look real: copy train, repeat itself, or mix up its labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pipeline.measure import memorisation as copying
from pipeline.measure.diversity import diversity_report
from pipeline.measure.label_swap import label_swaps
from pipeline.measure.thumbnails import thumbnails


class Side(NamedTuple):
    """Images of one side.

    Attributes:
        images: (N, H, W, 3) uint8.
        labels: (N,) index into the classes.
        files: N names.
        features: Extractor → (N, D).
        groups: (N,) what shows one leaf; None: every image by itself.
    """

    images: np.ndarray
    labels: np.ndarray
    files: Sequence[str]
    features: Mapping[str, np.ndarray]
    groups: np.ndarray | None = None


class GeneratorFaults(NamedTuple):
    """What `generator_faults` finds.

    Attributes:
        metrics: Flat, not rounded: those of `memorisation_report`, `diversity_report` and `label_swaps`.
        nearest: Rows of the likeliest copies, most suspicious first: `file`, `class`, `train_file`, `train_class`,
            `p_value`, `copy`, and `distance_<space>`, `score_<space>`.
        distances: Rows of every image measured: `set`, `class`, `space`, `distance`, `score`.
    """

    metrics: dict[str, float]
    nearest: list[dict]
    distances: list[dict]


def generator_faults(
    train: Side,
    val: Side,
    synthetic: Side,
    classes: list[str],
    *,
    probabilities: np.ndarray,
    probabilities_val: np.ndarray,
) -> GeneratorFaults:
    """Memorisation, diversity and labels of a synthetic set.

    Args:
        train: What the generator was trained on.
        val: Real images that it has not seen.
        synthetic: Its images.
        classes: K names.
        probabilities: (M, K) for synthetic, of a classifier of train.
        probabilities_val: (V, K) for val, of the same.

    Raises:
        ValueError: Shapes disagree.
    """
    groups_train, groups_val = (
        np.arange(len(side.labels)) if side.groups is None else np.asarray(side.groups) for side in (train, val)
    )
    small = [thumbnails(side.images) for side in (train, val, synthetic)]
    rows = copying.measured_rows(synthetic.labels, len(train.labels))
    labels = {"labels_train": train.labels, "labels_val": val.labels}
    metrics: dict[str, float] = {}
    nearest: list[dict] = []
    distances: list[dict] = []
    if len(np.unique(groups_train)) > 2:  # else there is no next nearest group
        spaces = {"pixel": copying.pixel_space(small[0], small[1], small[2][rows], groups_train)}
        spaces |= {
            name: copying.feature_space(train.features[name], val.features[name], of_all[rows], groups_train)
            for name, of_all in synthetic.features.items()
        }
        found = copying.memorisation_report(
            spaces, **labels, labels_synthetic=synthetic.labels[rows],
            groups_train=groups_train, groups_val=groups_val, classes=classes,
        )  # fmt: skip
        metrics |= found.metrics
        for row in copying.suspicious(found, spaces):
            of, train_row = rows[row.pop("synthetic")], row.pop("train")
            nearest.append(
                {
                    "file": synthetic.files[of],
                    "class": classes[synthetic.labels[of]],
                    "train_file": train.files[train_row],
                    "train_class": classes[train.labels[train_row]],
                }
                | row
            )
        for name, space in spaces.items():
            sets = [("synthetic", space.synthetic, synthetic.labels[rows]), ("val", space.val, val.labels)]
            if space.train is not None:
                sets.append(("train", space.train, train.labels[space.train_rows]))
            distances += [
                {"set": of, "class": classes[label], "space": name, "distance": float(d), "score": float(s)}
                for of, neighbours, of_labels in sets
                for label, d, s in zip(of_labels, neighbours.distance, neighbours.score, strict=True)
            ]
    features = {name: tuple(side.features[name] for side in (train, val, synthetic)) for name in synthetic.features}
    metrics |= diversity_report(
        features, *small, **labels, labels_synthetic=synthetic.labels, groups_train=groups_train, classes=classes
    )
    metrics |= label_swaps(probabilities, synthetic.labels, probabilities_val, val.labels, classes)
    return GeneratorFaults(metrics, nearest, distances)
