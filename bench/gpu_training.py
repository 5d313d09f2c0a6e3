"""The shipped conditional DCGAN trained long, at a resolution that a CPU has no time for: speed, and the curve on val.

    python -m bench.gpu_training --data PATH --kimg 600 --resolution 128

PATH holds one folder of photos a class. A tenth of the photos, leaves whole, is val, by which the checkpoint is chosen:
KID on features of a network that has seen nothing. Settings are those of params.yaml's train_gan but for batch and
channels.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path

import torch

from bench.judges import read, split
from bench.machine import describe
from pipeline.features.penultimate import penultimate_features
from pipeline.features.random_features import random_extractor
from pipeline.gan.training_loop import train
from pipeline.measure.checkpoint_score import CheckpointScorer

SETTINGS = {
    "z_dim": 100, "G_lr": 4e-4, "D_lr": 2e-3, "betas": (0.0, 0.9), "loss": "least_squares", "r1_gamma": 0.05,
    "r1_interval": 16, "augmentation": ["translation", "cutout"], "augment_p": "adaptive", "ada_target": 0.4,
    "ada_kimg": 10.0, "flips": ["horizontal", "vertical"], "ema_rampup": 0.05,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu_training", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--data", type=Path, required=True, help="folder with one sub-folder of photos a class")
    parser.add_argument("--groups", type=Path, help="csv with file and leaf_id or group")
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--kimg", type=float, default=600)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, help="keep the model and its sample grids here")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    images, labels, groups, classes = read(arguments.data, arguments.groups, arguments.resolution)
    smallest = min(int((labels == k).sum()) for k in range(len(classes)))
    rows = split(labels, groups, sizes={"val": max(5, smallest // 10)}, seed=0)
    of = {side: {name: images[own][labels[own] == k] for k, name in enumerate(classes)} for side, own in rows.items()}
    score = CheckpointScorer(partial(penultimate_features, random_extractor(arguments.device)), of["val"])
    curve: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as scratch:
        began = time.perf_counter()
        finals = train(
            of["test"], classes, arguments.out or scratch, seed=0, total_kimg=arguments.kimg,
            batch_size=arguments.batch_size, G_channels=arguments.channels, D_channels=arguments.channels,
            ema_half_life_kimg=10.0 * arguments.batch_size / 32, preview_kimg=arguments.kimg / 12, **SETTINGS,
            device=arguments.device, score=score, score_inputs=score.val or (),
            report=lambda row, step: curve.append({"kimg": step / 1000, **row}),
        )  # fmt: skip
        seconds = time.perf_counter() - began
    shown = curve[-1]["kimg"]  # less than asked for where a fault rule has stopped it
    record = {
        **describe(arguments.device), "set": arguments.data.name, "resolution": arguments.resolution,
        "train_images": len(rows["test"]), "val_images": len(rows["val"]), "batch_size": arguments.batch_size,
        "channels": arguments.channels, "kimg": shown, "seconds": round(seconds, 1),
        "images_per_s": round(1000 * shown / seconds), "finals": finals, "curve": curve,
    }  # fmt: skip
    print({key: value for key, value in record.items() if key not in ("curve",)})
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1, default=float) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
