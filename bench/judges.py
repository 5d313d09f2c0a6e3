"""How much a judge sees: classifiers of several kinds on the same few real photos, by macro-F1 on the rest.

    python -m bench.judges --data PATH [--groups PATH/leaf_groups.csv]

PATH holds one folder a class. On each split 25 photos a class train, 10 choose (a checkpoint, a strength), and the rest
is test; photos of one leaf stay together. The photos are reduced to 64 px, as the pipeline's images are; `input_size`
enlarges them again. One thread; seconds are of the CPU.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.machine import describe
from pipeline.features.looks import Looks
from pipeline.images.decode import decode, fit_square, pillow_settings
from pipeline.images.listing import list_class, subfolders
from pipeline.images.seeding import numpy_rng
from pipeline.images.store import Store
from pipeline.learn.judge import train_judge
from pipeline.learn.metrics import evaluate_predictions
from pipeline.learn.trained import predict

LITE0 = {"model": "tf_efficientnet_lite0", "weights": "packaged"}
SMALL = "test_resnet"  # of timm's: a ResNet of five blocks and 0.37 million weights
SCRATCH: dict[str, Any] = {"kind": "scratch", "model": "mobilenet_v3_small", "weights": None, "input_size": None}
JUDGES: dict[str, dict[str, Any]] = {
    "scratch, 100 steps": SCRATCH | {"steps": 100, "optimiser": "sgd", "lr": 0.05},
    "scratch, 300 steps": SCRATCH | {"steps": 300, "optimiser": "sgd", "lr": 0.05},
    "scratch, small ResNet, 100 steps": SCRATCH | {"model": SMALL, "steps": 100, "optimiser": "sgd", "lr": 0.05},
    "scratch, small ResNet, 300 steps": SCRATCH | {"model": SMALL, "steps": 300, "optimiser": "sgd", "lr": 0.05},
    "probe, 64 px": LITE0 | {"kind": "probe", "input_size": None},
    "probe, 128 px": LITE0 | {"kind": "probe", "input_size": 128},
    "probe, 128 px, plain": LITE0 | {"kind": "probe", "input_size": 128, "augment": "none"},
    "probe, 224 px": LITE0 | {"kind": "probe", "input_size": 224},
    "finetune, 64 px, 150 steps": LITE0 | {"kind": "finetune", "input_size": None, "steps": 150, "optimiser": "adamw",
                                           "lr": 0.001},
}  # fmt: skip
REST = {"seeds": [0], "sampling": "balanced", "augment": "classic", "views": 3, "batch_size": 32, "weight_decay": 5e-4,
        "label_smoothing": 0.1}  # fmt: skip


def read(data: Path, groups_csv: Path | None, resolution: int) -> tuple[np.ndarray, np.ndarray, list[str], list[str]]:
    """All photos: (N, R, R, 3) uint8, (N,) labels, N groups, class names."""
    of_leaf = {}
    if groups_csv is not None:
        with open(groups_csv, newline="", encoding="utf-8") as f:
            of_leaf = {row["file"]: row.get("leaf_id") or row.get("group") for row in csv.DictReader(f)}
    folders = subfolders(data)
    sources = [source for k, folder in enumerate(folders) for source in list_class(data, folder, k)[0]]
    with pillow_settings():
        images = [
            fit_square(decode(s.path, max_pixels=10**8).image, img_resolution=resolution, fit="crop") for s in sources
        ]
    groups = [of_leaf.get(s.file) or of_leaf.get(s.inside) or s.file for s in sources]
    return np.stack(images), np.array([s.label for s in sources]), groups, [folder.name for folder in folders]


def split(labels: np.ndarray, groups: list[str], *, sizes: dict[str, int], seed: int) -> dict[str, np.ndarray]:
    """Rows of each side: groups in random order fill train, then val, class by class; the rest is test."""
    rows: dict[str, list[int]] = {**{side: [] for side in sizes}, "test": []}
    side_of: dict[str, str] = {}
    for k in np.unique(labels):
        own = np.flatnonzero(labels == k)
        names = sorted({groups[i] for i in own})
        left = dict(sizes)
        for name in (names[j] for j in numpy_rng(seed, f"judges:{k}").permutation(len(names))):
            members = [int(i) for i in own if groups[i] == name]
            side = side_of.setdefault(name, next((s for s, n in left.items() if n >= len(members)), "test"))
            if side != "test":
                left[side] -= len(members)
            rows[side] += members
    return {side: np.array(sorted(found)) for side, found in rows.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.judges", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--data", type=Path, required=True, help="folder with one sub-folder of photos a class")
    parser.add_argument("--groups", type=Path, help="csv with file and leaf_id or group")
    parser.add_argument("--photos", type=int, default=25, help="a class in train (default 25)")
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--resolution", type=int, default=64, help="px that all photos are reduced to (default 64)")
    parser.add_argument("--judge", action="append", choices=list(JUDGES), help="only this one; may be repeated")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    images, labels, groups, classes = read(arguments.data, arguments.groups, arguments.resolution)
    judges = arguments.judge or list(JUDGES)
    figures: dict[str, dict[str, list[float]]] = {name: {"macro_f1": [], "cpu_seconds": []} for name in judges}
    test_images = []
    for seed in range(arguments.splits):
        sides = split(labels, groups, sizes={"train": arguments.photos, "val": 10}, seed=seed)
        stores = {
            side: Store(images[rows], labels[rows], [str(i) for i in rows], classes) for side, rows in sides.items()
        }
        test_images.append(len(stores["test"].labels))
        for name in judges:
            settings = REST | JUDGES[name]
            if settings["kind"] == "probe":
                settings |= {"steps": 0, "optimiser": "", "lr": 0.0}  # of which a probe knows nothing
            Looks._kept.clear()  # or one judge would profit from what another has looked at
            began = time.process_time()
            (trained,) = train_judge(stores["train"], stores["val"], eval_every=50, **settings)
            spent = time.process_time() - began
            test = stores["test"]
            score = evaluate_predictions(test.labels, predict(trained.model, test.images), classes)["macro_f1"]
            figures[name]["macro_f1"].append(round(score, 4))
            figures[name]["cpu_seconds"].append(round(spent, 1))
            print(f"split {seed}  {name:28} {score:.3f}  {spent:5.0f} CPU-s", flush=True)
    for name, of in figures.items():
        print(f"{name:28} {np.mean(of['macro_f1']):.3f} ± {np.std(of['macro_f1'], ddof=1):.3f}  "
              f"{np.mean(of['cpu_seconds']):5.0f} CPU-s")  # fmt: skip
    if arguments.json:
        record = {**describe("cpu"), "set": arguments.data.name, "photos_a_class": arguments.photos, "val_a_class": 10,
                  "test_images": test_images, "resolution": arguments.resolution, "judges": figures}  # fmt: skip
        arguments.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
