"""The evidence for the GAN's defaults: one setting at a time changed from them, on real leaves, several seeds.

    python -m bench.defaults run --arrays tea=PATH/data/arrays --arrays apple=PATH/data/arrays --runs runs.jsonl
    python -m bench.defaults table runs.jsonl --out bench/results/defaults

PATH is a project in which `leafsynth init SET` and `dvc repro split` have run. Every variant gets the same number
of images shown to D. A GAN sees train; its checkpoint is chosen by KID on val, as in the pipeline, and reported
are that KID, the coverage of val, and the macro-F1 on val of a classifier trained on the synthetic images alone
(equal counts a class, a fixed number of steps, no choice of checkpoint). Test is not touched. A run that is in
the file already is not repeated, so a stopped benchmark goes on.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

BASE: dict[str, Any] = {
    "batch_size": 16, "z_dim": 100, "G_channels": 32, "D_channels": 32, "G_lr": 2e-4, "D_lr": 1e-3, "betas": (0.0, 0.9),
    "loss": "least_squares", "r1_gamma": 0.05, "r1_interval": 16, "augmentation": ["translation", "cutout"],
    "flips": ["horizontal", "vertical"], "ema_half_life_kimg": 1.0, "ema_rampup": 0.05,
}  # fmt: skip
JOINT_SHARE = 0.75  # of the images, where the rest specialises the joint model

ADAPTIVE: dict[str, Any] = {"augment_p": "adaptive", "ada_kimg": 20.0}

# factor -> name -> what is changed from BASE; "mode" is how the images are spent
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "base": {"least squares, batch_norm / projection, 2e-4 / 1e-3": {}},
    "loss": {
        "hinge": {"loss": "hinge"},
        "nonsaturating": {"loss": "nonsaturating"},
        "wasserstein, gradient penalty 10": {
            "loss": "wasserstein", "gradient_penalty": 10.0, "r1_gamma": 0.0, "spectral_norm": False,
        },
    },
    "conditioning (G / D)": {
        "embedding / projection": {"G_conditioning": "embedding"},
        "concat / concat": {"G_conditioning": "concat", "D_conditioning": "concat"},
        "batch_norm / concat": {"D_conditioning": "concat"},
        "faded in from 1 to 6 kimg": {"transition_kimg": (1.0, 6.0)},
    },
    "augmentation": {
        "none": {"augmentation": []},
        "color, translation, cutout": {"augmentation": ["color", "translation", "cutout"]},
        "adaptive": ADAPTIVE,
    },
    "D's restraint": {
        "no R1": {"r1_gamma": 0.0},
        "R1 0.5": {"r1_gamma": 0.5},
        "R1 0.5, no spectral norm": {"r1_gamma": 0.5, "spectral_norm": False},
        "LeCam 0.3": {"lecam": 0.3, "lecam_from_kimg": 4.0},
    },
    "rates (G / D)": {
        "2e-4 / 2e-4": {"D_lr": 2e-4},
        "4e-4 / 2e-3": {"G_lr": 4e-4, "D_lr": 2e-3},
    },
    "adaptive, and": {
        "hinge": {**ADAPTIVE, "loss": "hinge"},
        "LeCam 0.3": {**ADAPTIVE, "lecam": 0.3, "lecam_from_kimg": 4.0},
        "4e-4 / 2e-3": {**ADAPTIVE, "G_lr": 4e-4, "D_lr": 2e-3},
        "4e-4 / 2e-3, joint, then each class": {**ADAPTIVE, "G_lr": 4e-4, "D_lr": 2e-3, "mode": "specialised"},
    },
    "shipped": {
        "adaptive to 0.4 within 10 kimg, 4e-4 / 2e-3": {
            **ADAPTIVE, "ada_target": 0.4, "ada_kimg": 10.0, "G_lr": 4e-4, "D_lr": 2e-3,
        },
    },
    "mode": {
        "joint, then each class": {"mode": "specialised"},
        "joint, then each class, FreezeD 1": {"mode": "specialised", "freeze_D": 1},
        "each class from scratch": {"mode": "scratch"},
    },
}  # fmt: skip
FIGURES = ("kid_val", "coverage_val", "macro_f1", "spread")


def _load(arrays: Path, split: str, resolution: int) -> dict[str, np.ndarray]:
    """Class to images, averaged down."""
    loaded = {}
    for path in sorted((arrays / split).glob("*.npy")):
        images = np.load(path)
        factor = images.shape[1] // resolution
        n = len(images)
        means = images.reshape(n, resolution, factor, resolution, factor, 3).mean(axis=(2, 4))
        loaded[path.stem] = np.round(means).astype(np.uint8)
    return loaded


def _store(images: dict[str, np.ndarray]) -> Any:
    from pipeline.images.store import Store

    labels = np.repeat(np.arange(len(images)), [len(array) for array in images.values()])
    return Store(np.concatenate(list(images.values())), labels, [str(i) for i in range(len(labels))], list(images))


def _classify(train: Any, val: Any, seed: int, steps: int) -> Any:
    from pipeline.learn.classifier import train_classifier

    (trained,) = train_classifier(
        train, val, model="mobilenet_v3_small", seeds=[seed], steps=steps, batch_size=32, optimiser="sgd", lr=0.05,
        weight_decay=5e-4, label_smoothing=0.1, eval_every=steps, sampling="balanced", augment="none",
    )  # fmt: skip
    return trained


def _train(
    mode: str, settings: dict[str, Any], kimg: float, ticks: int, train: dict, val: dict, extract: Any, out: Path
) -> tuple[dict[str, Path], list[dict[str, float]]]:
    """Class to the model that draws it, and the final figures of every training."""
    from pipeline.gan.checkpoint import load_model
    from pipeline.gan.training_loop import train as train_gan
    from pipeline.measure.checkpoint_score import CheckpointScorer

    classes, freeze_D = list(train), settings.pop("freeze_D", 0)
    per_class = (1 - JOINT_SHARE) * kimg / len(classes) if mode == "specialised" else kimg / len(classes)

    def joint(total: float) -> dict[str, float]:
        return train_gan(train, classes, out / "joint", score=CheckpointScorer(extract, val), total_kimg=total,
                         preview_kimg=total / ticks, **settings)  # fmt: skip

    def single(name: str, **changes: Any) -> dict[str, float]:
        return train_gan({name: train[name]}, classes, out / name, score=CheckpointScorer(extract, {name: val[name]}),
                         total_kimg=per_class, **{**settings, **changes})  # fmt: skip

    if mode == "joint":
        return {name: out / "joint" for name in classes}, [joint(kimg)]
    if mode == "scratch":
        alone = {"preview_kimg": per_class / ticks}
        return {name: out / name for name in classes}, [single(name, **alone) for name in classes]
    joint(JOINT_SHARE * kimg)
    tuned = {"G_lr": settings["G_lr"] / 2, "D_lr": settings["D_lr"] / 2, "ema_rampup": None, "freeze_D": freeze_D,
             "ema_half_life_kimg": per_class / 4, "preview_kimg": per_class / 2}  # fmt: skip
    model = load_model(out / "joint")
    return {name: out / name for name in classes}, [single(name, init=model, **tuned) for name in classes]


def run_one(arrays: Path, changes: dict[str, Any], seed: int, *, kimg: float, resolution: int, steps: int) -> dict:
    """One variant, one set, one seed: its figures."""
    from pipeline.features.penultimate import penultimate_features
    from pipeline.gan.checkpoint import load_model
    from pipeline.gan.sampling import sample
    from pipeline.learn.metrics import evaluate_predictions
    from pipeline.learn.trained import predict

    train, val = (_load(arrays, split, resolution) for split in ("train", "val"))
    extractor = _extractor(arrays, resolution, steps)
    extract = partial(penultimate_features, extractor)
    settings = {**BASE, **changes, "seed": seed}
    mode = settings.pop("mode", "joint")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        models, finals = _train(mode, settings, kimg, 8, train, val, extract, Path(folder))
        seconds = time.monotonic() - began
        count = max(len(images) for images in train.values())
        drawn = {}
        for name, path in models.items():
            model = load_model(path)
            label = model.config["classes"].index(name)
            images = sample(model.G_ema, label, name, list(range(count)), seed=seed)
            drawn[name] = np.stack([image for _, image, _ in images])
    from pipeline.measure.checkpoint_score import CheckpointScorer

    figures = CheckpointScorer(extract, val)(drawn)
    judge = _classify(_store(drawn), _store(val), seed, steps)
    shown = _store(val)
    macro_f1 = evaluate_predictions(shown.labels, predict(judge.model, shown.images), shown.classes)["macro_f1"]
    spread = float(np.mean([value for final in finals for key, value in final.items() if key.startswith("spread/")]))
    stopped = sorted({key.split("/")[1] for final in finals for key in final if key.startswith("stopped/")})
    return {"kid_val": figures["kid"], "coverage_val": figures["coverage"], "macro_f1": macro_f1, "spread": spread,
            "seconds": round(seconds, 1), "stopped": stopped}  # fmt: skip


_extractors: dict[tuple[Path, int], Any] = {}


def _extractor(arrays: Path, resolution: int, steps: int) -> Any:
    """The classifier of train whose features score, one a set."""
    key = (arrays, resolution)
    if key not in _extractors:
        train, val = (_store(_load(arrays, split, resolution)) for split in ("train", "val"))
        _extractors[key] = _classify(train, val, 7, 2 * steps).model
    return _extractors[key]


def reference(arrays: Path, seed: int, *, resolution: int, steps: int) -> float:
    """Macro-F1 on val of the same classifier, trained on the real images of train."""
    train, val = (_store(_load(arrays, split, resolution)) for split in ("train", "val"))
    return _classify(train, val, seed, steps).history[-1]["val_macro_f1"]


def plan(sets: list[str], seeds: int) -> Iterator[tuple[int, str, str, str]]:
    """Seed by seed, so that a benchmark that is stopped has seen every variant as often."""
    for seed in range(seeds):
        for factor, variants in VARIANTS.items():
            for variant in variants:
                for name in sets:
                    yield seed, name, factor, variant


def run(arguments: argparse.Namespace) -> None:
    """Do what is not in the file yet."""
    arrays = dict(entry.split("=", 1) for entry in arguments.arrays)
    runs = Path(arguments.runs)
    settings = {"kimg": arguments.kimg, "resolution": arguments.resolution, "steps": arguments.steps}
    for number, (seed, name, factor, variant) in enumerate(plan(list(arrays), arguments.seeds)):
        done = {tuple(json.loads(line)["run"]) for line in runs.read_text().splitlines()} if runs.is_file() else set()
        if number % arguments.workers != arguments.worker or (seed, name, factor, variant) in done:
            continue
        figures = run_one(Path(arrays[name]), VARIANTS[factor][variant], seed, **settings)
        if factor == "base":
            figures["real"] = reference(
                Path(arrays[name]), seed, resolution=arguments.resolution, steps=arguments.steps
            )
        with open(runs, "a") as f:
            f.write(json.dumps({"run": [seed, name, factor, variant], **settings, **figures}) + "\n")
        print(seed, name, factor, variant, {k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()},
              flush=True)  # fmt: skip


def table(arguments: argparse.Namespace) -> None:
    """Every run as CSV, and means with standard deviations over seeds as a table."""
    rows = [json.loads(line) for path in arguments.runs for line in Path(path).read_text().splitlines()]
    out = Path(arguments.out)
    with open(out.with_suffix(".csv"), "w", newline="") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow(["set", "factor", "variant", "seed", "kimg", "resolution", *FIGURES, "stopped"])
        for row in sorted(rows, key=lambda row: (row["run"][1], row["run"][2], row["run"][3], row["run"][0])):
            seed, name, factor, variant = row["run"]
            figures = [f"{row[key]:.4f}" for key in FIGURES] + [" ".join(row["stopped"])]
            writer.writerow([name, factor, variant, seed, row["kimg"], row["resolution"], *figures])
    groups: dict[tuple[str, str], dict[str, list[dict]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        groups[row["run"][2], row["run"][3]][row["run"][1]].append(row)
    sets = sorted({row["run"][1] for row in rows})
    head = [f"{name}: {figure}" for name in sets for figure in ("KID", "coverage", "macro-F1", "seeds")]
    lines = ["| factor | variant | " + " | ".join(head) + " |", "| --- " * (2 + len(head)) + "|"]
    for factor, variants in VARIANTS.items():
        for variant in variants:
            cells = []
            for name in sets:
                some = groups[factor, variant][name]
                for key in ("kid_val", "coverage_val", "macro_f1"):
                    values = [row[key] for row in some]
                    cells.append(f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else "")
                cells.append(str(len(some)))
            lines.append(f"| {factor} | {variant} | " + " | ".join(cells) + " |")
    out.with_suffix(".md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    for name in sets:
        real = [row["real"] for row in groups["base", next(iter(VARIANTS["base"]))][name] if "real" in row]
        print(f"{name}: trained on real {np.mean(real):.3f} macro-F1, {len(real)} seeds")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.defaults", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("run", help="train and measure every variant")
    one.add_argument("--arrays", action="append", required=True, metavar="NAME=FOLDER", help="array stores of a split")
    one.add_argument("--runs", required=True, help="file that gets a line a run")
    one.add_argument("--seeds", type=int, default=3)
    one.add_argument("--kimg", type=float, default=16.0, help="images shown to D, thousands, in every variant")
    one.add_argument("--resolution", type=int, default=32, help="px; arrays are averaged down")
    one.add_argument("--steps", type=int, default=200, help="of the classifier that judges")
    one.add_argument("--worker", type=int, default=0, help="this one's number")
    one.add_argument("--workers", type=int, default=1, help="processes that share the runs, a file each")
    one.set_defaults(do=run)
    two = commands.add_parser("table", help="sum up")
    two.add_argument("runs", nargs="+")
    two.add_argument("--out", required=True, help="path without suffix: .csv and .md are written")
    two.set_defaults(do=table)
    arguments = parser.parse_args()
    arguments.do(arguments)


if __name__ == "__main__":
    main()
