"""Few real photos a class, and a GAN of them: what the benches `usefulness` and `checkpoints` have in common."""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import nn

from bench.judges import LITE0, REST, SCRATCH, SMALL, read, split
from pipeline.features.looks import Looks
from pipeline.features.penultimate import penultimate_features
from pipeline.features.saved import load_classifier, save_classifier
from pipeline.gan.checkpoint import load_model
from pipeline.gan.sampling import sample
from pipeline.gan.training_loop import Score
from pipeline.gan.training_loop import train as train_gan
from pipeline.images.decode import fit_square
from pipeline.images.listing import list_class, subfolders
from pipeline.images.store import Store
from pipeline.learn.classifier import train_classifier
from pipeline.learn.classifier_model import build_classifier
from pipeline.learn.judge import train_judge
from pipeline.learn.metrics import evaluate_predictions
from pipeline.learn.trained import Trained, predict
from pipeline.measure.checkpoint_score import CheckpointScorer
from pipeline.params import Params, load_params

GAN_SIDE = 64  # px, of the GAN and of the judges that are trained
PROBE_SIDE = 128  # px that the probe sees
VAL = 10  # photos a class
LEAST_TEST = 20  # photos a class, by which train is the smaller where a class has no more
NO_OPTIMISER = {"steps": 0, "optimiser": "", "lr": 0.0}  # of which a probe knows nothing

JUDGES: dict[str, dict[str, Any]] = {
    "probe": LITE0 | {"kind": "probe", "input_size": PROBE_SIDE} | NO_OPTIMISER,
    "scratch": SCRATCH | {"model": SMALL, "steps": 300, "optimiser": "sgd", "lr": 0.05},
    "finetune": LITE0 | {"kind": "finetune", "input_size": None, "steps": 300, "optimiser": "adamw", "lr": 0.001},
}


class Photos:
    """A set of photos at the two sizes that are looked at.

    Args:
        data: Folder with one sub-folder of photos a class.
        groups_csv: With file and leaf_id or group; None: each photo by itself.
    """

    def __init__(self, data: Path, groups_csv: Path | None = None):
        first = list_class(data, subfolders(data)[0], 0)[0][0]
        with Image.open(first.path) as photo:
            self.side = min(PROBE_SIDE, *photo.size)  # more than they hold would only be blur
        self.large, self.labels, self.groups, self.classes = read(data, groups_csv, self.side)
        self.small = read(data, groups_csv, GAN_SIDE)[0]

    def stores(self, rows: Mapping[str, np.ndarray], *, large: bool) -> dict[str, Store]:
        """Side to its photos, grouped by class."""
        images = self.large if large else self.small
        return {s: Store(images[r], self.labels[r], [str(i) for i in r], self.classes) for s, r in rows.items()}


def sides(labels: np.ndarray, groups: Sequence[str], *, photos: int, seed: int) -> dict[str, np.ndarray]:
    """Rows of train, val and test: `photos` a class train where it has so many, VAL choose, the rest is test.

    Args:
        labels: (N,).
        groups: N names; photos of one stay together, and belong to one class.
        photos: A class in train; less where fewer than LEAST_TEST would be left for test.
        seed: Of the split; train of one count is part of train of a larger one as far as groups allow.
    """
    rows: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    for k in np.unique(labels):
        own = np.flatnonzero(labels == k)
        sizes = {"train": min(photos, len(own) - VAL - LEAST_TEST), "val": VAL}
        found = split(labels[own], [groups[i] for i in own], sizes=sizes, seed=seed)
        for side in rows:
            rows[side] += own[found[side]].tolist()
    return {side: np.array(sorted(of_side)) for side, of_side in rows.items()}


def enlarged(images: np.ndarray, side: int) -> np.ndarray:
    """(N, H, H, 3) uint8 at another side, as the pipeline resizes."""
    return np.stack([fit_square(Image.fromarray(image), img_resolution=side, fit="crop") for image in images])


def shipped() -> Params:
    """params.yaml of this repository."""
    return load_params(Path(__file__).parents[1] / "params.yaml")


def extractor(train: Store, val: Store, folder: Path, *, device: str = "cpu") -> nn.Module:
    """The pipeline's own eye for checkpoints, of these photos; kept in `folder`."""
    if not (folder / "config.json").is_file():
        section = shipped().train_extractor.model_dump()
        (trained,) = train_classifier(train, val, seeds=[section.pop("seed")], **section, device=device)
        save_classifier(folder, trained.model, model=section["model"], classes=train.classes,
                        input_size=section["input_size"], img_resolution=GAN_SIDE)  # fmt: skip
    return load_classifier(folder).to(device)


def by_class(store: Store) -> dict[str, np.ndarray]:
    """Class to its images."""
    return {name: store.images[store.labels == k] for k, name in enumerate(store.classes)}


def gan(
    train: Store, *, score: Score, kimg: float, tick_kimg: float, seed: int, folder: Path, device: str = "cpu"
) -> dict[str, float]:
    """Train the conditional GAN as shipped, but for its length and what `leafsynth init` makes of that.

    Args:
        train: What it sees, at GAN_SIDE.
        score: Of its samples; the checkpoint with the lowest `kid` is kept.
        kimg: Thousands of photos shown to D.
        tick_kimg: Between two looks.
        seed: Of the training.
        folder: Gets the model.
        device: cpu or cuda.
    """
    section = shipped().train_gan.model_dump(exclude={"launcher", "num_processes"})
    section |= {"seed": seed, "total_kimg": kimg, "preview_kimg": tick_kimg}
    section["ema_half_life_kimg"] = min(10 * section["batch_size"] / 32, kimg / 12)
    return train_gan(by_class(train), train.classes, folder, **section, score=score, device=device)


def gan_images(
    train: Store, val: Store, eye: nn.Module, count: int, *, device: str = "cpu", **settings: Any
) -> tuple[np.ndarray, dict]:
    """`count` images a class of a new GAN, (K, count, 64, 64, 3) uint8, and what its training says; see `gan`."""
    with tempfile.TemporaryDirectory() as folder:
        score = CheckpointScorer(partial(penultimate_features, eye), by_class(val))
        finals = gan(train, score=score, folder=Path(folder), device=device, **settings)
        G = load_model(folder).G_ema.to(device)
        drawn = [
            np.stack(
                [image for _, image, _ in sample(G, k, name, list(range(count)), seed=settings["seed"], device=device)]
            )
            for k, name in enumerate(train.classes)
        ]
    return np.stack(drawn), finals


def frozen(num_classes: int, side: int, *, device: str = "cpu") -> Looks:
    """What the probe sees of images of this side; the same one as inside of `train_probe`, with all it has seen."""
    judge = JUDGES["probe"]
    network = build_classifier(judge["model"], num_classes=num_classes, weights=judge["weights"],
                               input_size=judge["input_size"], img_resolution=side).to(device)  # fmt: skip
    return Looks(network)


def probabilities(probe: nn.Module, features: np.ndarray) -> np.ndarray:
    """(N, K) of a fitted probe, from features of `frozen`: pictures that were seen are not looked at again."""
    layer = [module for module in probe.modules() if isinstance(module, nn.Linear)][-1]
    logits = features @ layer.weight.detach().cpu().numpy().T.astype(np.float64) + layer.bias.detach().cpu().numpy()
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def fitted(
    judge: str, train: Store, val: Store, *, seed: int, sampling: str, augment: str, device: str = "cpu"
) -> Trained:
    """One classifier of a kind of JUDGES."""
    settings = REST | JUDGES[judge] | {"seeds": [seed], "sampling": sampling, "augment": augment}
    (trained,) = train_judge(train, val, eval_every=50, **settings, device=device)
    return trained


def macro_f1(
    judge: str, train: Store, val: Store, test: Store, *, seed: int, sampling: str, augment: str, device: str = "cpu"
) -> float:
    """Of one classifier, on test."""
    trained = fitted(judge, train, val, seed=seed, sampling=sampling, augment=augment, device=device)
    if judge == "probe":
        looks = frozen(len(train.classes), train.images.shape[1], device=device)
        predicted = probabilities(trained.model, looks.at(test.images))
    else:
        predicted = predict(trained.model, test.images)
    return evaluate_predictions(test.labels, predicted, test.classes)["macro_f1"]


def joined(*parts: Store) -> Store:
    """Several stores of the same classes as one, the first first."""
    return Store(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.labels for part in parts]),
        [f"{n}:{file}" for n, part in enumerate(parts) for file in part.files],
        parts[0].classes,
    )


def synthetic_store(images: np.ndarray, classes: list[str], side: int) -> Store:
    """(K, n, 64, 64, 3) uint8 as a store at `side` px."""
    flat = images.reshape(-1, *images.shape[2:])
    labels = np.repeat(np.arange(len(classes)), images.shape[1])
    return Store(flat if side == GAN_SIDE else enlarged(flat, side), labels, list(map(str, range(len(flat)))), classes)


class Rows:
    """A csv with a row a finished cell, so that what was stopped goes on.

    Args:
        path: The file; made with its first row.
        key: Columns that name a cell.
        values: The others.
    """

    def __init__(self, path: Path, key: Sequence[str], values: Sequence[str]):
        self.path, self.key, self.columns = path, tuple(key), [*key, *values]

    def read(self) -> list[dict[str, str]]:
        """All rows; a last line that was cut off by a kill is none."""
        if not self.path.is_file():
            return []
        text = self.path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            self.path.write_text(whole, encoding="utf-8")
        return list(csv.DictReader(whole.splitlines()))

    def done(self) -> set[tuple[str, ...]]:
        """Keys of the finished cells."""
        return {tuple(row[name] for name in self.key) for row in self.read()}

    def add(self, row: Mapping[str, Any]) -> None:
        """One finished cell."""
        new = not self.path.is_file()
        with open(self.path, "a", newline="", encoding="utf-8") as f:
            writer = csv.DictWriter(f, self.columns, lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(row)


def photo_sets(arguments: argparse.Namespace) -> dict[str, Photos]:
    """Of --data and --groups, see `commands`."""
    leaves = dict(entry.split("=", 1) for entry in arguments.groups)
    paths = dict(entry.split("=", 1) for entry in arguments.data)
    return {name: Photos(Path(path), Path(leaves[name]) if name in leaves else None) for name, path in paths.items()}


def commands(
    name: str, doc: str | None, *, csv_file: Path, run: Callable, table: Callable
) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """The command line of a bench that fills a csv (`run`) and sums it up (`table`): it, and what `run` may add to."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.{name}", description=doc,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    both = parser.add_subparsers(required=True)
    one = both.add_parser("run", help="compute what the csv lacks")
    one.add_argument("--data", action="append", required=True, metavar="NAME=PATH", help="a set; once for each")
    one.add_argument("--groups", action="append", default=[], metavar="NAME=CSV", help="file and leaf_id or group")
    one.add_argument("--work", type=Path, required=True, help="folder that keeps the GANs' images")
    two = both.add_parser("table", help="sum the csv up: .json, .md and .png beside it")
    for command, do in ((one, run), (two, table)):
        command.add_argument("--csv", type=Path, default=csv_file)
        command.set_defaults(do=do)
    return parser, one


def t_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean, lower and upper end of Student's interval; of a single value the ends are NaN."""
    from scipy import stats

    values = np.asarray(values, dtype=np.float64)
    mean = float(values.mean())
    if len(values) < 2:
        return mean, float("nan"), float("nan")
    half = float(stats.t.ppf((1 + confidence) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return mean, mean - half, mean + half
