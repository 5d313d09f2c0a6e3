"""Where should the SGAN work: on small images, or on the features of a frozen pretrained network?

    python -m bench.sgan_space --data PATH [--groups PATH/leaf_groups.csv]

PATH holds one folder a class. 50 photos a class are train and 10 val, photos of one leaf on one side, and the rest is
test; 5 and 10 a class are labelled, drawn anew with each seed. Networks of pixels, which start from nothing, get more
steps. Val chooses settings, checkpoints and the
space; test is for the record.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.judges import read, split
from bench.machine import describe
from bench.sgan_protocol import PIXELS, SHARED
from pipeline.images.store import Store
from pipeline.learn.metrics import evaluate_predictions
from pipeline.learn.probe import frozen_looks, probe_labels
from pipeline.learn.sgan import train_sgan
from pipeline.learn.trained import Trained, predict
from pipeline.params import load_params

BUDGETS = (5, 10)
PHOTO, SMALL = 128, 64  # px: as the frozen network and as the pixels' networks are given them
OF_A_SPACE: dict[str, dict[str, Any]] = {
    "features": {
        "space": "features", "units": 64, "augmented_views": 4, "steps": 100, "eval_every": 20, "flips": [],
        "tuning": [{"lr": 0.001, "dropout": 0.5, "input_noise": 0.5},
                   {"lr": 0.003, "dropout": 0.5, "input_noise": 1.0}],
    },
    "pixels": PIXELS | {"steps": 200, "eval_every": 40},
}  # fmt: skip


def sides(data: Path, groups_csv: Path | None, resolution: int) -> dict[str, Store]:
    """Train, val and test; the same photos at any resolution."""
    images, labels, groups, classes = read(data, groups_csv, resolution)
    rows = split(labels, groups, sizes={"train": 50, "val": 10}, seed=0)
    return {side: Store(images[own], labels[own], [str(i) for i in own], classes) for side, own in rows.items()}


def figures(trained: list[Trained], of: dict[str, Store]) -> dict[str, dict[str, list[float]]]:
    """Method to macro-F1 on val and on test, seeds in order."""
    found: dict[str, dict[str, list[float]]] = {}
    for t in trained:
        for side in ("val", "test"):
            score = evaluate_predictions(of[side].labels, predict(t.model, of[side].images), of[side].classes)
            own = found.setdefault(t.method, {"val": [], "test": []})
            own[side].append(round(score["macro_f1"], 4))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.sgan_space", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--data", type=Path, required=True, help="folder with one sub-folder of photos a class")
    parser.add_argument("--groups", type=Path, help="csv with file and leaf_id or group")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    params = load_params("params.yaml").train_sgan
    network = params.model_dump(include={"model", "weights", "input_size"})
    shared = params.model_dump(include=set(SHARED)) | {"seeds": list(range(arguments.seeds))}
    photos, small = (sides(arguments.data, arguments.groups, side) for side in (PHOTO, SMALL))
    looks = frozen_looks(photos["train"], **network)
    record: dict[str, Any] = {}
    for budget in BUDGETS:
        for space, own in OF_A_SPACE.items():
            of = photos if space == "features" else small
            settings = shared | own
            began = time.process_time()
            result = train_sgan(of["train"], of["val"], label_budget=budget, looks=looks, **settings)
            scores, spent = figures(result.trained, of), time.process_time() - began
            if space == "features":
                probes = probe_labels(photos["train"], photos["val"], rows=result.rows, looks=looks, augment="classic",
                                      views=own["augmented_views"], method="probe")  # fmt: skip
                scores |= figures(probes, photos)
            record[f"{budget} labels, {space}"] = {"macro_f1": scores, "cpu_seconds": round(spent)}
            for method, score in scores.items():
                means = ", ".join(f"{side} {np.mean(values):.3f}" for side, values in score.items())
                print(f"{budget:2} labels  {space:8}  {method:18}  {means}", flush=True)
    if arguments.json:
        about = {**describe("cpu"), "set": arguments.data.name, "seeds": shared["seeds"], "network": network,
                 "images": {side: len(store.labels) for side, store in photos.items()}}  # fmt: skip
        arguments.json.write_text(
            json.dumps({**about, "settings": shared | OF_A_SPACE, "results": record}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
