"""Which checkpoint would a GAN's training export, judged by extractors that learned for longer or shorter?

    python -m bench.chooser --json bench/results/chooser_cpu.json

One training of the joint GAN on the rendered sample with params.yaml's settings, whose course does not depend on the
judge. At every tick its samples are held against val by classifiers of train after so many steps and of several seeds,
as `train_extractor` trains them. A judge that knows its classes should choose alike whatever its seed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from bench.machine import describe
from pipeline.images.sample import render_sample
from pipeline.images.split import split_images
from pipeline.images.store import load_store
from pipeline.params import load_params

STEPS, SEEDS = (100, 300), (7, 8, 9)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.chooser", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()

    from pipeline.features.penultimate import penultimate_features
    from pipeline.gan.training_loop import train
    from pipeline.learn.classifier import train_classifier
    from pipeline.measure.checkpoint_score import CheckpointScorer

    params = load_params("params.yaml")
    classes = list(params.render_sample.class_counts)
    kid: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        render_sample(place / "raw", **params.render_sample.model_dump())
        split_images(place / "raw", place / "split", place / "arrays", classes=classes, **params.split.model_dump())
        stores = [load_store(place / "arrays" / side, classes) for side in ("train", "val")]
        by_class = [{name: of.images[of.labels == k] for k, name in enumerate(classes)} for of in stores]
        judges, val_macro_f1 = {}, {}
        for steps in STEPS:
            settings = params.train_extractor.model_dump(exclude={"seed"}) | {"steps": steps, "eval_every": steps // 4}
            for trained in train_classifier(*stores, seeds=list(SEEDS), **settings):
                name = f"{steps} steps, seed {trained.seed}"
                val_macro_f1[name] = round(max(row["val_macro_f1"] for row in trained.history), 4)
                judges[name] = CheckpointScorer(partial(penultimate_features, trained.model), by_class[1])

        def score(drawn: Mapping[str, np.ndarray]) -> dict[str, float]:
            scores = {name: judge(drawn) for name, judge in judges.items()}
            for name, of in scores.items():
                kid.setdefault(name, []).append(round(of["kid"], 6))
            return scores[name]

        section = params.train_gan.model_dump(exclude={"launcher", "num_processes"})
        train(by_class[0], classes, place / "gan", score=score, score_inputs=(), **section)
    tick = section["preview_kimg"]
    chosen = {name: round((int(np.argmin(of)) + 1) * tick, 3) for name, of in kid.items()}
    for name, at in chosen.items():
        print(f"{name}: val macro-F1 {val_macro_f1[name]:.3f}, chooses {at:g} of {section['total_kimg']:g} kimg")
    if arguments.json:
        record = {**describe("cpu"), "val_images": len(stores[1].labels), "tick_kimg": tick,
                  "val_macro_f1": val_macro_f1, "chosen_kimg": chosen, "kid_by_tick": kid}  # fmt: skip
        arguments.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
