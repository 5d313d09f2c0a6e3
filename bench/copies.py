"""Which features know a copy again? Copies of train photos among held-out leaves, by the copy score.

    python -m bench.copies                           # the rendered sample
    python -m bench.copies --data PATH [--groups FILE.csv]

Each split divides the leaf groups anew: three fifths train, one val, one held out. As many train photos as are held out
are copied and disguised: turned by any angle, recoloured, jittered as for training, or replayed as a GAN's copies are
(`bench.planted`). Counted is the share of copies whose score is below that of all but 5% of the held-out leaves, so at
one rate of false alarms for all. Of several spaces the least of an image's ranks among the held-out leaves counts.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from tqdm import tqdm

from bench.judges import LITE0, REST, SCRATCH
from bench.machine import describe
from bench.planted import Leaves, divide, read, replay
from pipeline.budget import of_photos
from pipeline.features.penultimate import penultimate_features
from pipeline.images.sample import CLASSES, render_sample
from pipeline.images.seeding import numpy_rng
from pipeline.images.store import Store
from pipeline.images.transforms import build_policy
from pipeline.learn.classifier import train_classifier
from pipeline.learn.classifier_model import build_classifier
from pipeline.measure.memorisation import feature_space, pixel_space
from pipeline.measure.thumbnails import thumbnails
from pipeline.params import load_params

FALSE_ALARMS = 0.05
SETS = {"pixel": ["pixel"], "leaf": ["leaf"], "lite0, 64 px": ["lite0, 64 px"], "lite0, 128 px": ["lite0, 128 px"]}
SETS |= {f"pixel and {name}": ["pixel", name] for name in ("leaf", "lite0, 64 px", "lite0, 128 px")}
SETS |= {"pixel, leaf and lite0, 128 px": ["pixel", "leaf", "lite0, 128 px"]}


def turned(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """By any angle, a little nearer."""
    side = images.shape[1]
    out = []
    for image in images:
        matrix = cv2.getRotationMatrix2D((side / 2 - 0.5,) * 2, rng.uniform(0, 360), rng.uniform(1.0, 1.2))
        out.append(cv2.warpAffine(image, matrix, (side, side), borderMode=cv2.BORDER_REFLECT_101))
    return np.stack(out)


def recoloured(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each channel brighter or darker by up to a fifth, and the whole exposed anew."""
    gains = rng.uniform(0.8, 1.2, (len(images), 1, 1, 3)) * rng.uniform(0.8, 1.2, (len(images), 1, 1, 1))
    return np.clip(images * gains, 0, 255).astype(np.uint8)


def jittered(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As `classic` shows them to a network."""
    policy = build_policy("classic", images.shape[1])
    return np.stack([policy(image, int(rng.integers(2**31)), 0, i) for i, image in enumerate(images)])


DISGUISES: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "turned": turned, "recoloured": recoloured, "jittered": jittered, "replayed": replay,
}  # fmt: skip


def found(leaves: Leaves, classes: list[str], seed: int) -> dict[str, dict[str, float]]:
    """Disguise → spaces → share of copies found, on one split."""
    sides = divide(leaves, len(classes), seed)
    train, val, held = sides["train"], sides["val"], sides["held_out"]
    stores = [Store(of.images, of.labels, [str(i) for i in range(len(of.labels))], classes) for of in (train, val)]
    own = {key: value for key, value in (REST | SCRATCH).items() if key not in ("kind", "views", "seeds")}
    (leaf,) = train_classifier(*stores, seeds=[seed], steps=100, optimiser="sgd", lr=0.05, eval_every=25, **own)
    networks = {"leaf": leaf.model}
    for size in (64, 128):
        networks[f"lite0, {size} px"] = build_classifier(
            **{"name": LITE0["model"], "weights": LITE0["weights"]}, num_classes=len(classes), input_size=size,
            img_resolution=train.images.shape[1],
        ).eval()  # fmt: skip
    _, groups = np.unique(train.groups, return_inverse=True)
    rng = numpy_rng(seed, "copies")
    copied = train.images[rng.choice(len(train.labels), len(held.labels))]
    small = thumbnails(train.images), thumbnails(held.images)
    features = {
        name: [penultimate_features(model, of.images) for of in (train, held)] for name, model in networks.items()
    }
    result = {}
    for disguise, of in DISGUISES.items():
        images = of(copied, rng)
        spaces = {"pixel": pixel_space(*small, thumbnails(images), groups)}
        spaces |= {
            name: feature_space(*features[name], penultimate_features(model, images), groups)
            for name, model in networks.items()
        }
        scores = {name: (space.val.score, space.synthetic.score) for name, space in spaces.items()}
        result[disguise] = {}
        for name, members in SETS.items():
            if len(members) == 1:
                real, copies = scores[name]
            else:
                real, copies = (np.min([_ranks(*scores[member])[i] for member in members], axis=0) for i in (0, 1))
            limit = np.quantile(real, FALSE_ALARMS)
            result[disguise][name] = float((copies < limit).mean() + _tie(real, copies, limit))
    return result


def _ranks(real: np.ndarray, copies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many held-out leaves have as low a score, or a lower one."""
    at = np.sort(real)
    return np.searchsorted(at, real, side="right"), np.searchsorted(at, copies, side="right")


def _tie(real: np.ndarray, copies: np.ndarray, limit: float) -> float:
    """Share of copies at the limit itself that may count, so that of the real ones no more than `FALSE_ALARMS` do."""
    at = (real == limit).mean()
    return float((copies == limit).mean() * (FALSE_ALARMS - (real < limit).mean()) / at) if at else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.copies", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--data", type=Path, help="raw set, a folder a class; the rendered sample without it")
    parser.add_argument("--groups", help="csv of group ids in it")
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    params = load_params("params.yaml")
    split: dict[str, Any] = of_photos(params).split.model_dump() | {"groups_csv": arguments.groups}
    if arguments.data:
        classes = sorted(path.name for path in arguments.data.iterdir() if path.is_dir())
        name, leaves = arguments.data.name, read(arguments.data, classes, split)
    else:
        classes, name = list(CLASSES), "rendered sample"
        with tempfile.TemporaryDirectory() as folder:
            render_sample(Path(folder) / "raw", **params.render_sample.model_dump())
            leaves = read(Path(folder) / "raw", classes, split)
    of_splits = [found(leaves, classes, seed) for seed in tqdm(range(arguments.splits), disable=None)]
    shares = {
        disguise: {name: round(float(np.mean([of[disguise][name] for of in of_splits])), 4) for name in SETS}
        for disguise in DISGUISES
    }
    for disguise, of in shares.items():
        print(f"{disguise}: " + ", ".join(f"{name} {share:.0%}" for name, share in of.items()), flush=True)
    if arguments.json:
        record = {**describe("cpu"), "data": name, "images": len(leaves.labels), "splits": arguments.splits,
                  "false_alarms": FALSE_ALARMS, "share_of_copies_found": shares}  # fmt: skip
        arguments.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
