"""Are planted faults found, and are real leaves left alone? Synthetic sets whose fault is known, on random splits.

    python -m bench.planted                          # the rendered sample
    python -m bench.planted --data PATH [--groups FILE.csv]

Each split divides the leaf groups anew: three fifths train, one val, one held out. The held-out photos are then handed
to `assess`'s checks as if a GAN had drawn them: as they are, and with a fault planted. Features and judge are those of
params.yaml. Counted is how often an alarm is raised: copies of train, a collapsed class, swapped labels.
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
from pipeline.images.manifest import groups_of
from pipeline.images.sample import CLASSES, render_sample
from pipeline.images.seeding import numpy_rng
from pipeline.images.split import split_images
from pipeline.images.store import Store, load_store
from pipeline.params import load_params

SIDES = {"train": 0.6, "val": 0.2, "held_out": 0.2}
# Alarm → the metrics that raise it.
ALARMS = {"copies": r"memorisation/flagged", "collapsed": r"collapsed/.+", "labels": r"label_swapped/.+"}


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


def with_copies(share: float) -> Callable[[Leaves, Leaves, np.random.Generator], Leaves]:
    """A generator that replays train leaves of the right class for this share of its images, one at least."""

    def plant(held_out: Leaves, train: Leaves, rng: np.random.Generator) -> Leaves:
        images = held_out.images.copy()
        for row in rng.permutation(len(images))[: max(1, round(share * len(images)))]:
            own = np.flatnonzero(train.labels == held_out.labels[row])
            images[row] = replay(train.images[rng.choice(own, 1)], rng)[0]
        return held_out._replace(images=images)

    return plant


def collapsed(held_out: Leaves, train: Leaves, rng: np.random.Generator) -> Leaves:
    """The largest class shows one leaf, moved and noised."""
    k = np.bincount(held_out.labels).argmax()
    rows = np.flatnonzero(held_out.labels == k)
    images = held_out.images.copy()
    images[rows] = replay(np.repeat(images[rows[:1]], len(rows), axis=0), rng)
    return held_out._replace(images=images)


def swapped(held_out: Leaves, train: Leaves, rng: np.random.Generator) -> Leaves:
    """The two largest classes under each other's names."""
    a, b = np.argsort(-np.bincount(held_out.labels), kind="stable")[:2]
    labels = np.where(held_out.labels == a, b, np.where(held_out.labels == b, a, held_out.labels))
    return held_out._replace(labels=labels)


# Plant → what becomes of the held-out photos.
PLANTS: dict[str, Callable[[Leaves, Leaves, np.random.Generator], Leaves]] = {
    "nothing": lambda held_out, train, rng: held_out,
    "copies_5%": with_copies(0.05),
    "copies_10%": with_copies(0.1),
    "copies_20%": with_copies(0.2),
    "collapsed": collapsed,
    "swapped": swapped,
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
        drawn = plant(sides["held_out"], sides["train"], numpy_rng(seed, f"plant/{name}"))
        probabilities = predict(judge.model, drawn.images)
        metrics = generator_faults(
            train, val, side(drawn, None), classes, probabilities=probabilities, probabilities_val=on_val
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
    split = params.split.model_dump() | {"groups_csv": arguments.groups}
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
