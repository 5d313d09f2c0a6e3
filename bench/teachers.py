"""What a teacher lets through: the filter's rules that rest on it, before candidates of which the truth is known.

    python -m bench.teachers --data PATH [--groups PATH/leaf_groups.csv]

PATH holds one folder a class. On each split 25 photos a class train, 10 set the thresholds, and up to 40 of the rest
are candidates: as they are, under another class's name, blurred as a weak GAN's are, and blended with a leaf of another
class. Rules as shipped: agreement, and confidence and density at .9. Counted is the share that passes all three; high
is good of real leaves, low of the others. One thread; seconds are of the CPU, of fitting and of 100 looks.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from bench.judges import LITE0, REST, SCRATCH, read, split
from bench.machine import describe
from pipeline.features.looks import Looks
from pipeline.features.penultimate import Opened
from pipeline.images.seeding import numpy_rng
from pipeline.images.store import Store
from pipeline.learn.judge import train_judge
from pipeline.measure.acceptance import Examined, Judge, choose_thresholds, thumbnails

TEACHERS: dict[str, dict[str, Any]] = {
    "scratch, 300 steps": SCRATCH | {"steps": 300, "optimiser": "sgd", "lr": 0.05},
    "probe, 64 px": LITE0 | {"kind": "probe", "input_size": None},
    "probe, 96 px": LITE0 | {"kind": "probe", "input_size": 96},
    "probe, 128 px": LITE0 | {"kind": "probe", "input_size": 128},
}
RULES = {"agreement": True, "confidence": 0.9, "density": 0.9}
MOST = 40  # candidates a class


def candidates(images: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> dict[str, tuple]:
    """Name to images and labels, of held-out real ones."""
    num_classes = labels.max() + 1
    other = (labels + rng.integers(1, num_classes, len(labels))) % num_classes
    mates = np.array([rng.choice(np.flatnonzero(labels == k)) for k in other])
    blended = ((images.astype(np.float32) + images[mates]) / 2).astype(np.uint8)
    blurred = np.stack([cv2.GaussianBlur(image, (0, 0), 1.5) for image in images])
    return {"real": (images, labels), "another class's name": (images, other), "blurred": (blurred, labels),
            "blended with another class": (blended, labels)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.teachers", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--data", type=Path, required=True, help="folder with one sub-folder of photos a class")
    parser.add_argument("--groups", type=Path, help="csv with file and leaf_id or group")
    parser.add_argument("--splits", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    images, labels, groups, classes = read(arguments.data, arguments.groups, 64)
    figures: dict[str, dict[str, list[float]]] = {name: {} for name in TEACHERS}
    for seed in range(arguments.splits):
        sides = split(labels, groups, sizes={"train": 25, "val": 10}, seed=seed)
        sides["test"] = np.concatenate([sides["test"][labels[sides["test"]] == k][:MOST] for k in range(len(classes))])
        train, val = (
            Store(images[rows], labels[rows], [str(i) for i in rows], classes)
            for rows in (sides["train"], sides["val"])
        )
        planted = candidates(images[sides["test"]], labels[sides["test"]], numpy_rng(seed, "candidates"))
        for name, teacher in TEACHERS.items():
            Looks._kept.clear()  # or one teacher would profit from what another has looked at
            settings = {"steps": 0, "optimiser": "", "lr": 0.0, "eval_every": 50} | REST | teacher
            began = time.process_time()
            (trained,) = train_judge(train, val, **settings)
            row = {"cpu_seconds_to_fit": time.process_time() - began}
            with Opened(trained.model) as look:

                def examine(images: np.ndarray, look: Opened = look) -> Examined:
                    features, probabilities = look(images)
                    return Examined(probabilities, features, thumbnails(images))

                of_train = examine(train.images)
                thresholds = choose_thresholds(of_train, train.labels, examine(val.images), val.labels, classes, RULES)
                began = time.process_time()
                for of, (shown, own) in planted.items():
                    seen, passed = examine(shown), 0
                    for k, label in enumerate(classes):
                        limits = {rule: by_class[label] for rule, by_class in thresholds.items()}
                        judge = Judge(k, of_train.take(train.labels == k), limits)
                        passed += sum(outcome.rejected_by is None for outcome in judge(seen.take(own == k)))
                    row[of] = passed / len(own)
            looked = sum(len(own) for _, own in planted.values())
            row["cpu_seconds_of_100_looks"] = 100 * (time.process_time() - began) / looked
            for key, value in row.items():
                figures[name].setdefault(key, []).append(round(value, 4))
            print(f"split {seed}  {name:20}", "  ".join(f"{key} {value:.2f}" for key, value in row.items()), flush=True)
    if arguments.json:
        record = {**describe("cpu"), "set": arguments.data.name, "photos_a_class": 25, "val_a_class": 10,
                  "teachers": figures}  # fmt: skip
        arguments.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
