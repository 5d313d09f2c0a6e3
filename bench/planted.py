"""Are planted faults found, and are real leaves left alone? Synthetic sets whose fault is known, on random splits.

    python -m bench.planted                          # the rendered sample
    python -m bench.planted --data PATH [--groups FILE.csv]

Each split divides the leaf groups anew: three fifths train, one val, one held out. The held-out photos are then handed
to `assess`'s checks as if a GAN had drawn them: as they are, and with a fault planted. Features and judge are those of
params.yaml. Counted is how often an alarm is raised: copies of train, copies that are
turned or zoomed, a collapsed class, swapped labels.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from bench.machine import describe
from pipeline.budget import of_photos
from pipeline.images.manifest import groups_of
from pipeline.images.sample import CLASSES, render_sample
from pipeline.images.seeding import numpy_rng
from pipeline.images.split import split_images
from pipeline.images.store import Store, load_store
from pipeline.images.turned_copies import turned_copies
from pipeline.params import load_params

SIDES = {"train": 0.6, "val": 0.2, "held_out": 0.2}
# Alarm → the metrics that raise it.
ALARMS = {
    "copies": r"memorisation/flagged",
    "turned": r"turned/flagged",
    "collapsed": r"collapsed/.+",
    "labels": r"label_swapped/.+",
}


class Leaves(NamedTuple):
    """Images (N, H, H, 3) uint8, labels (N,) and groups (N,) of one side."""

    images: np.ndarray
    labels: np.ndarray
    groups: np.ndarray


def read(raw_dir: Path, classes: list[str], settings: Mapping[str, Any]) -> Leaves:
    """All usable images of a raw set, with the groups that `split` finds by these settings."""
    with tempfile.TemporaryDirectory() as folder:
        out, arrays = Path(folder) / "split", Path(folder) / "arrays"
        split_images(raw_dir, out, arrays, classes=classes, **settings)
        parts = []
        for side in ("train", "val", "test"):
            store = load_store(arrays / side, classes)
            groups = np.char.add(f"{side}/", groups_of(store, out / "manifest.csv", side))
            parts.append(Leaves(np.array(store.images), store.labels, groups))
    return Leaves(*(np.concatenate(of) for of in zip(*parts, strict=True)))


def divide(leaves: Leaves, num_classes: int, seed: int) -> dict[str, Leaves]:
    """Whole groups to each side, class by class."""
    side_of = np.empty(len(leaves.labels), dtype=object)
    for k in range(num_classes):
        rows = np.flatnonzero(leaves.labels == k)
        names = numpy_rng(seed, "planted", k).permutation(np.unique(leaves.groups[rows]))
        ends = np.round(np.cumsum(list(SIDES.values())) * len(names)).astype(int)
        for side, part in zip(SIDES, np.split(names, ends[:-1]), strict=True):
            side_of[rows[np.isin(leaves.groups[rows], part)]] = side
    return {side: Leaves(*(of[side_of == side] for of in leaves)) for side in SIDES}


def replay(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Copies as a GAN makes them: mirrored, shifted by up to a twentieth, exposed anew, with noise."""
    reach = max(1, images.shape[1] // 20)
    out = []
    for image in images:
        image = image[:: rng.choice([-1, 1]), :: rng.choice([-1, 1])]
        y, x = rng.integers(0, 2 * reach + 1, 2)
        padded = np.pad(image, ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
        image = padded[y : y + image.shape[0], x : x + image.shape[1]]
        out.append(image * rng.uniform(0.9, 1.1) + rng.normal(0, 10, image.shape))
    return np.clip(out, 0, 255).astype(np.uint8)


def turn(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A copy turned by any angle, zoomed in by up to 1.4, half of the time mirrored, exposed anew, with noise."""
    import cv2

    side = image.shape[0]
    move = cv2.getRotationMatrix2D((side / 2, side / 2), rng.uniform(-180, 180), rng.uniform(1.0, 1.4))
    move[:, 2] += rng.uniform(-0.05, 0.05, 2) * side
    moved = cv2.warpAffine(image, move, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    moved = moved[:, :: rng.choice([-1, 1])] * rng.uniform(0.9, 1.1) + rng.normal(0, 4, image.shape)
    return np.clip(moved, 0, 255).astype(np.uint8)


def blur(image: np.ndarray) -> np.ndarray:
    """As small GANs draw."""
    import cv2

    return cv2.GaussianBlur(image, (0, 0), image.shape[0] / 64)


def overlay(image: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Two photos over each other."""
    return ((image.astype(np.uint16) + other) // 2).astype(np.uint8)


def patchwork(image: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The left half of one, the right half of another."""
    half = image.shape[1] // 2
    return np.concatenate([image[:, :half], other[:, half:]], axis=1)


# From the held-out leaves and all sides to what a faulty generator would have drawn
Plant = Callable[[Leaves, Mapping[str, Leaves], np.random.Generator], Leaves]
Make = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]  # of two photos of a class, an image


def made_of(side: str, share: float, make: Make) -> Plant:
    """A generator that makes this share of its images of photos of their class that it has seen, one at least."""

    def plant(held_out: Leaves, sides: Mapping[str, Leaves], rng: np.random.Generator) -> Leaves:
        seen, images = sides[side], held_out.images.copy()
        for row in rng.permutation(len(images))[: max(1, round(share * len(images)))]:
            own = np.flatnonzero(seen.labels == held_out.labels[row])
            one, other = rng.choice(own, 2)
            images[row] = make(seen.images[one], seen.images[other], rng)
        return held_out._replace(images=images)

    return plant


def mislabelled(share: float) -> Plant:
    """This share of the images bears the name of another class."""

    def plant(held_out: Leaves, sides: Mapping[str, Leaves], rng: np.random.Generator) -> Leaves:
        labels, num_classes = held_out.labels.copy(), held_out.labels.max() + 1
        rows = rng.permutation(len(labels))[: max(1, round(share * len(labels)))]
        labels[rows] = (labels[rows] + rng.integers(1, num_classes, len(rows))) % num_classes
        return held_out._replace(labels=labels)

    return plant


def collapsed(held_out: Leaves, sides: Mapping[str, Leaves], rng: np.random.Generator) -> Leaves:
    """The largest class shows one leaf, moved and noised."""
    k = np.bincount(held_out.labels).argmax()
    rows = np.flatnonzero(held_out.labels == k)
    images = held_out.images.copy()
    images[rows] = replay(np.repeat(images[rows[:1]], len(rows), axis=0), rng)
    return held_out._replace(images=images)


def swapped(held_out: Leaves, sides: Mapping[str, Leaves], rng: np.random.Generator) -> Leaves:
    """The two largest classes under each other's names."""
    a, b = np.argsort(-np.bincount(held_out.labels), kind="stable")[:2]
    labels = np.where(held_out.labels == a, b, np.where(held_out.labels == b, a, held_out.labels))
    return held_out._replace(labels=labels)


def _replayed(image: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return replay(image[None], rng)[0]


def _turned(image: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return turn(image, rng)


# Plant → what becomes of the held-out photos.
PLANTS: dict[str, Plant] = {
    "nothing": lambda held_out, sides, rng: held_out,
    "copies_5%": made_of("train", 0.05, _replayed),
    "copies_10%": made_of("train", 0.1, _replayed),
    "copies_20%": made_of("train", 0.2, _replayed),
    "blurred_copies_20%": made_of("train", 0.2, lambda image, other, rng: blur(_replayed(image, other, rng))),
    "turned_5%": made_of("train", 0.05, _turned),
    "turned_10%": made_of("train", 0.1, _turned),
    "turned_20%": made_of("train", 0.2, _turned),
    "turned_and_blurred_20%": made_of("train", 0.2, lambda image, other, rng: blur(turn(image, rng))),
    "overlays_20%": made_of("train", 0.2, lambda image, other, rng: overlay(image, other)),
    "patchworks_20%": made_of("train", 0.2, lambda image, other, rng: patchwork(image, other)),
    "val_copies_20%": made_of("val", 0.2, _turned),
    "collapsed": collapsed,
    "swapped": swapped,
    "mislabelled_10%": mislabelled(0.1),
    "mislabelled_30%": mislabelled(0.3),
}


def alarms(leaves: Leaves, classes: list[str], settings: Mapping[str, Any], seed: int) -> dict[str, dict[str, bool]]:
    """Plant → alarm → whether it was raised, on one split; a judge of these settings."""
    from pipeline.features.extractors import build_extractors
    from pipeline.learn.judge import train_judge
    from pipeline.learn.probe import USUAL_STRENGTH
    from pipeline.learn.trained import predict
    from pipeline.measure.generator_faults import Side, generator_faults

    sides = divide(leaves, len(classes), seed)

    def store(of: Leaves) -> Store:
        return Store(of.images, of.labels, [str(i) for i in range(len(of.labels))], classes)

    (extract,) = build_extractors(["lite0"]).values()
    (judge,) = train_judge(
        store(sides["train"]), store(sides["val"]), seeds=[seed], strengths=[USUAL_STRENGTH], **settings
    )

    def side(of: Leaves, groups: np.ndarray | None) -> Side:
        features = {"lite0": extract(of.images)}
        return Side(of.images, of.labels, [str(i) for i in range(len(of.labels))], features, groups)

    train, val = (side(sides[name], sides[name].groups) for name in ("train", "val"))
    on_val = predict(judge.model, sides["val"].images)
    found = {}
    for name, plant in PLANTS.items():
        drawn = plant(sides["held_out"], sides, numpy_rng(seed, f"plant/{name}"))
        probabilities = predict(judge.model, drawn.images)
        metrics = generator_faults(
            train, val, side(drawn, None), classes, probabilities=probabilities, probabilities_val=on_val
        ).metrics
        metrics |= turned_copies(
            sides["train"].images, sides["train"].groups, sides["val"].images, drawn.images, drawn.labels
        ).metrics
        found[name] = {
            alarm: any(value == 1 and re.fullmatch(pattern, key) for key, value in metrics.items())
            for alarm, pattern in ALARMS.items()
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.planted", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--data", type=Path, help="raw set, a folder a class; the rendered sample without it")
    parser.add_argument("--groups", help="csv of group ids in it")
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()

    params = load_params("params.yaml")
    split = of_photos(params).split.model_dump() | {"groups_csv": arguments.groups}
    settings = params.assess.model_dump(
        exclude={"seed", "extractors", "inception_weights", "dinov2_weights"}, exclude_unset=True
    )
    if arguments.data:
        classes = sorted(path.name for path in arguments.data.iterdir() if path.is_dir())
        name, leaves = arguments.data.name, read(arguments.data, classes, split)
    else:
        classes, name = list(CLASSES), "rendered sample"
        with tempfile.TemporaryDirectory() as folder:
            render_sample(Path(folder) / "raw", **params.render_sample.model_dump())
            leaves = read(Path(folder) / "raw", classes, split)
    raised = [alarms(leaves, classes, settings, seed) for seed in tqdm(range(arguments.splits), disable=None)]
    shares = {
        plant: {alarm: round(float(np.mean([of[plant][alarm] for of in raised])), 4) for alarm in ALARMS}
        for plant in PLANTS
    }
    for plant, of in shares.items():
        print(f"{plant}: " + ", ".join(f"{alarm} {share:.0%}" for alarm, share in of.items()))
    if arguments.json:
        record = {**describe("cpu"), "data": name, "images": len(leaves.labels), "splits": arguments.splits,
                  "share_of_splits_with_alarm": shares}  # fmt: skip
        arguments.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
