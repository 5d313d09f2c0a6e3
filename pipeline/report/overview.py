"""The page's first screen: one picture that convinces, what to do next, and what is weak about the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from pipeline.measure.statistics import Interval
from pipeline.measure.verdict import Verdict
from pipeline.report.class_labels import class_labels
from pipeline.report.plots import STYLE, _interval, _save, strip_of

MOST_CLASSES = 6  # rows of leaves; a row is half an inch
LEAVES = 3  # of each kind and class
FEW = 20  # independent test images of a class, below which its figures are hardly known

TRAINED_ON = {
    "data/arrays/train": "photos",
    "data/arrays/augmented": "photos and synthetic leaves",
    "data/arrays/augmented_filtered": "photos and those synthetic leaves that the filter kept",
    "data/arrays/synthetic": "synthetic leaves alone",
}
HOW = {
    ("sampling", "natural"): "each image equally often",
    ("sampling", "balanced"): "every class equally often",
    ("augment", "none"): "as they are",
    ("augment", "flips"): "mirrored at random",
    ("augment", "strong"): "turned, cropped and recoloured much",
    ("augment", "classic"): "turned, cropped and recoloured a little",
    ("background", "mask"): "background grey, in test too",
    ("background", "only"): "the leaf masked out, in test too",
    ("resolution", "gan"): "photos through the GAN's resolution",
}


def arm_in_words(recipe: Mapping[str, Any]) -> str:
    """What an arm's classifier is trained on.

    Args:
        recipe: An entry of `arms` in params.yaml.
    """
    how = [HOW[key, value] for key, value in recipe.items() if (key, value) in HOW]
    if (effort := int(recipe.get("effort", 1))) > 1:
        how.append(f"with {effort} times the views or steps")
    return ", ".join([TRAINED_ON.get(recipe["train"], recipe["train"]), *how])


def nearest_images(images: np.ndarray, train: np.ndarray) -> np.ndarray:
    """To each image the nearest of train, by root mean square over pixels and channels: (M, H, W, 3) uint8.

    Args:
        images: (M, H, W, 3) uint8.
        train: (N, H, W, 3) uint8.
    """
    flat = train.reshape(len(train), -1).astype(np.float32)
    distances = [((flat - image.reshape(1, -1)) ** 2).mean(axis=1) for image in images.astype(np.float32)]
    return train[[int(of.argmin()) for of in distances]]


def draw_overview(
    path: str | Path,
    real: Mapping[str, np.ndarray],
    synthetic: Mapping[str, np.ndarray],
    scores: Mapping[str, Interval],
    *,
    confidence: float,
) -> None:
    """Leaves, the first of each class and never picked, beside the arms that the verdict is about.

    Args:
        path: A .png.
        real: class → (N, H, W, 3) uint8 of train; the first `MOST_CLASSES` are drawn.
        synthetic: class → the same of the synthetic set.
        scores: arm → macro-F1 on test, from above.
        confidence: Of the intervals.
    """
    shown = [name for name in real if len(real[name]) and len(synthetic[name])][:MOST_CLASSES]
    labels, rows = class_labels(list(real), 16), max(len(shown), 2)
    kinds = {
        "photos": {name: real[name][:LEAVES] for name in shown},
        "synthetic": {name: synthetic[name][:LEAVES] for name in shown},
        "nearest photo to it": {name: nearest_images(synthetic[name][:LEAVES], real[name]) for name in shown},
    }
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(10.4, 0.5 + 0.56 * rows))
        top, bottom = 1 - 0.34 / fig.get_figheight(), 0.02
        grid = fig.add_gridspec(
            rows, len(kinds), left=0.11, right=0.66, top=top, bottom=bottom, wspace=0.04, hspace=0.06
        )
        for column, (title, of) in enumerate(kinds.items()):
            for row, name in enumerate(shown):
                ax = fig.add_subplot(grid[row, column])
                ax.imshow(strip_of(of[name], LEAVES), interpolation="nearest", aspect="auto")
                ax.set_axis_off()
                if row == 0:
                    ax.set_title(title, pad=5)
                if column == 0:
                    ax.text(-0.03, 0.5, labels[name], transform=ax.transAxes, ha="right", va="center")
        ax = fig.add_axes((0.785, 0.44 / fig.get_figheight(), 0.19, top - 0.44 / fig.get_figheight()))
        arms = list(scores)
        for row, arm in enumerate(arms):
            _interval(ax, scores[arm], row, arm, arms)
        ax.set_yticks(range(len(arms)), arms)
        ax.set_ylim(len(arms) - 0.5, -0.5)
        ax.grid(axis="y", visible=False)
        ax.set_title(f"macro-F1 on test, {100 * confidence:.4g}%", pad=5)
        _save(fig, path)


def weak_points(
    *,
    untrained: Sequence[str],
    num_seeds: int,
    units: Mapping[str, int],
    never: Mapping[str, Sequence[str]],
    no_better_than_colours: Sequence[str],
    verdict: Verdict,
    gans: int = 1,
) -> list[str]:
    """What a careful reader would hold against this run, in sentences; `x` is code.

    Args:
        untrained: What other parts of the page warn of, those arms first that have not learned.
        num_seeds: Of the classifiers.
        units: class → independent test images.
        never: arm → classes of which it recognises no test image.
        no_better_than_colours: Arms that do not surely exceed a regression on colour histograms.
        verdict: The overall one.
        gans: That were trained.
    """
    found = [*untrained]
    if no_better_than_colours:
        arms = ", ".join(f"`{arm}`" for arm in no_better_than_colours)
        found.append(f"No surer than a regression on colour histograms, which knows no shapes: {arms}.")
    found += [
        f"`{arm}` recognises no test image of {', '.join(f'`{name}`' for name in names)}."
        for arm, names in never.items()
        if names
    ]
    few = [f"`{name}` ({number})" for name, number in units.items() if number < FEW]
    if few:
        found.append(f"Few independent test images: {', '.join(few)}; the figures of such a class are hardly known.")
    if num_seeds == 1:
        found.append("One training seed: how much trainings differ is in no interval here.")
    if gans == 1:
        found.append(
            "One GAN was trained. Another, of another seed, draws other leaves; how much that moves the figures is in "
            "no interval here."
        )
    else:
        found.append(f"Pictures, fidelity and copies are those of the first of {gans} GANs.")
    found.append(
        f"A true difference below {verdict.evidence.detectable:.3f} macro-F1 to `{verdict.evidence.least_certain}` "
        "would be missed more than one time in five."
    )
    return found


def next_steps(
    verdict: Verdict, *, steps: int, rarest: str, train: str, more_gans: int = 0, is_rendered_sample: bool = False
) -> list[str]:
    """What to do next, in sentences; `x` is code.

    Args:
        verdict: The overall one.
        steps: Optimiser steps of every arm; 0 for a frozen network.
        rarest: The class with the fewest train images.
        train: Of the candidate's recipe.
        more_gans: Until each classifier seed has one of its own.
        is_rendered_sample: Nothing of it is worth improving then.
    """
    if is_rendered_sample:
        return ["Ask the same of your own leaves: `leafsynth init PATH`, a folder of photos a class; then `dvc repro`."]
    if verdict.verdict == "not_trained":
        what = "Raise `train_classifier.steps`" if steps else "Take another network (`train_classifier.model`)"
        return [f"{what}, then `dvc repro`: nothing else is worth changing before."]
    evidence = verdict.evidence
    ratio = (evidence.detectable / evidence.min_detectable) ** 2
    found = []
    if verdict.verdict == "too_little_data":
        found.append(
            f"Add test photos: about {max(ratio, 1.1):.1f} times as many would show a difference of "
            f"{evidence.min_detectable:g}."
        )
    if verdict.verdict == "helps":
        found.append(f"Feed `{train.replace('arrays/', '')}` to your own classifier: {TRAINED_ON[train]}.")
        if more_gans:
            found.append(f"Train {more_gans} more (`repeat_gan.seeds`): this may be the luck of one GAN.")
    else:
        found.append(
            f"Photograph more of `{rarest}`, the rarest class, if you can: on public leaf sets more photos were the "
            "surer gain (bench/results)."
        )
        several = f", or {more_gans} more, to know it from one GAN's luck (`repeat_gan.seeds`)" if more_gans else ""
        found.append(f"Train the GAN longer (`train_gan.total_kimg`){several}.")
    return found
