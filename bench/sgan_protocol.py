"""How `bench.sgan_digits` and `bench.sgan_tea` measure: the same protocol as the pipeline's, one label budget.

Settings are chosen on val with the first seed, as many for each method; checkpoints on val; test is predicted once,
at the end. Val is as large as the labelled set: with a larger one the choice alone would use more labels than the
training (Oliver et al. 2018, section 4.6). What all methods share (steps, weights, views) was chosen with `--tune`,
which leaves test alone and measures on labelled images of the train or val side.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import describe
from pipeline.images.seeding import numpy_rng
from pipeline.images.store import Store

# What `train_sgan` has in the space of pixels; what all spaces share is in params.yaml
PIXELS: dict[str, Any] = {
    "space": "pixels", "img_resolution": 32, "channels": 16, "views": "none", "flips": ["horizontal", "vertical"],
    "tuning": [{"lr": 0.001, "dropout": 0.1, "input_noise": 0.0}, {"lr": 0.003, "dropout": 0.1, "input_noise": 0.1}],
}  # fmt: skip
SHARED = ("batch_size", "z_dim", "unlabelled_weight", "consistency_weight", "consistency_confidence")
METHODS = ["sgan", "supervised", "supervised_classic", "sgan_classic", "consistency"]
PAIRS = (
    ("sgan", "supervised"),  # with flips at most: the worth of the unlabelled images
    ("sgan_classic", "supervised_classic"),  # the same with classic augmentation
    ("sgan", "supervised_classic"),
    ("sgan", "consistency"),  # the worth of the GAN among what unlabelled images give
    ("sgan_classic", "supervised"),  # of unlabelled images and augmentation together
)


def first_of_each_class(store: Store, count: int, *, seed: int, purpose: str) -> np.ndarray:
    """`count` rows of each class (or all it has), drawn by (seed, purpose, class); ascending."""
    rows = [
        numpy_rng(seed, purpose, k).permutation(np.flatnonzero(store.labels == k))[:count]
        for k in range(len(store.classes))
    ]
    return np.sort(np.concatenate(rows))


def rows_of(store: Store, rows: np.ndarray) -> Store:
    """A store of these rows alone."""
    return Store(store.images[rows], store.labels[rows], [store.files[row] for row in rows], store.classes)


def measure(
    train: Store,
    val: Store,
    test: Store,
    *,
    seeds: list[int],
    settings: dict[str, Any],
    methods: Sequence[str] = METHODS,
) -> dict[str, Any]:
    """Train every method, predict test, and compare seed by seed.

    Args:
        train: Labelled and unlabelled images.
        val: What is chosen on.
        test: Predicted once.
        seeds: One training of each method each.
        settings: Further arguments of `train_sgan`.
        methods: Those to train; each one's figures are the same whatever the others.

    Returns:
        accuracy (method → one a seed), mean, difference (`<method>_minus_<method>` of PAIRS → mean, lowest,
        highest, by seed), tried (settings with their scores on val), image counts, seconds, settings.
    """
    from pipeline.learn.sgan import train_sgan
    from pipeline.learn.trained import predict

    began = time.monotonic()
    result = train_sgan(train, val, seeds=seeds, methods=list(methods), **settings)
    seconds = time.monotonic() - began
    accuracy: dict[str, list[float]] = {}
    for trained in result.trained:
        right = predict(trained.model, test.images).argmax(axis=1) == test.labels
        accuracy.setdefault(trained.method, []).append(round(float(right.mean()), 4))
    difference = {}
    for mine, other in ((mine, other) for mine, other in PAIRS if {mine, other} <= set(methods)):
        by_seed = np.subtract(accuracy[mine], accuracy[other])
        difference[f"{mine}_minus_{other}"] = {
            "mean": round(float(by_seed.mean()), 4),
            "lowest": round(float(by_seed.min()), 4),
            "highest": round(float(by_seed.max()), 4),
            "by_seed": [round(float(d), 4) for d in by_seed],
        }
    return {
        "seeds": seeds,
        "accuracy": accuracy,
        "mean": {method: round(float(np.mean(values)), 4) for method, values in accuracy.items()},
        "difference": difference,
        "tried": [
            {
                "method": t.method,
                **t.setting,
                "val_macro_f1": round(t.val_macro_f1, 4),
                "best_step": t.best_step,
                "chosen": t.chosen,
            }
            for t in result.tried
        ],
        "images": {
            "labelled": sum(result.counts.values()),
            "train": len(train.labels),
            "val": len(val.labels),
            "test": len(test.labels),
        },
        "training_seconds": round(seconds),
        "settings": settings,
    }


def options(module: str, description: str | None) -> argparse.ArgumentParser:
    """What both benches can be asked for.

    Args:
        module: Name that `python -m` starts.
        description: What it measures, as it is to be printed.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--set", type=json.loads, default={}, help='other settings, as JSON: {"steps": 500}')
    parser.add_argument("--tune", action="store_true", help="leave test alone: what settings are compared by")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser


def run(
    arguments: argparse.Namespace, sides: tuple[Store, Store, Store], settings: dict[str, Any], **about: Any
) -> None:
    """Measure as asked for, print the figures and write them.

    Args:
        arguments: From `options`.
        sides: Train, val and test.
        settings: Further arguments of `train_sgan`, before those that were asked for.
        **about: Further entries of the file.
    """
    figures = measure(
        *sides,
        seeds=list(range(arguments.seeds)),
        settings=settings | {"device": arguments.device} | arguments.set,
        methods=arguments.methods,
    )
    print(told(figures))
    if arguments.json:
        figures = {**describe(arguments.device), **about, **figures}
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


def told(figures: dict[str, Any]) -> str:
    """The figures in a few lines."""
    lines = [f"{method}: mean {figures['mean'][method]:.4f}, by seed {a}" for method, a in figures["accuracy"].items()]
    lines += [
        f"{name}: mean {d['mean']:+.4f}, from {d['lowest']:+.4f} to {d['highest']:+.4f}"
        for name, d in figures["difference"].items()
    ]
    return "\n".join(lines)
