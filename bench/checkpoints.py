"""By what shall a GAN's checkpoint be chosen on val? Criteria held against what its images are worth on test.

    python -m bench.checkpoints run --data tea=PATH --data apple=PATH --groups apple=PATH/leaf_groups.csv --work FOLDER
    python -m bench.checkpoints table

PATH holds one folder of photos a class: 25 a class train, 10 are val, the rest is test; leaves stay together. One
conditional GAN a set as params.yaml ships it, for 12 kimg at 64 px, with a checkpoint every .4 kimg. At each G's
running average draws images of two streams. From the first, 64 a class as in the pipeline, come the criteria, on val:

    kid_shipped, coverage_shipped   by the features of train_extractor, as the pipeline chooses
    kid_lite0, coverage_lite0       by those of a frozen EfficientNet-Lite0 at 128 px
    probe_accuracy, probe_loss      a Lite0 probe that has seen these images alone: its accuracy and log loss on val
    kimg                            the last checkpoint, whatever it looks like

From the second, 25 a class, come the worths, macro-F1 on test: `synthetic_only`, a Lite0 probe that has seen them
alone; `classic_synthetic`, one that has seen the real photos too, both augmented; `scratch_only`, a ResNet of five
blocks from scratch that has seen them alone. Photos too are reduced to 64 px, or sharp photos and blurred images would
differ by that before all else; the frozen network sees both at 128 px.

The table has rank correlations over checkpoints, signed so that more is better, with intervals from blocks of
neighbours drawn anew, for neighbours are alike; and regrets: the worth of the checkpoint that a criterion chooses minus
that of the best. The best owes something to luck, so no criterion could have regrets of 0 throughout; `any` is the mean
over all checkpoints. Every finished figure is a row of the csv and not computed again. One thread.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.machine import describe
from bench.small_sets import (
    GAN_SIDE,
    VAL,
    Photos,
    Rows,
    by_class,
    commands,
    extractor,
    fitted,
    frozen,
    gan,
    joined,
    macro_f1,
    photo_sets,
    probabilities,
    sides,
    synthetic_store,
)
from pipeline.features.penultimate import penultimate_features
from pipeline.gan import training_loop
from pipeline.images.seeding import numpy_rng
from pipeline.images.store import Store
from pipeline.learn.trained import Trained
from pipeline.measure.checkpoint_score import CheckpointScorer

PHOTOS, SPLIT, SEED = 25, 0, 0
KIMG, TICK = 12.0, 0.4
JUDGED = training_loop.SCORED_PER_CLASS  # images a class for the criteria, as in the pipeline
# Criterion to the sign with which more of it is better
CRITERIA = {
    "kid_shipped": -1, "kid_lite0": -1, "coverage_shipped": 1, "coverage_lite0": 1, "probe_accuracy": 1,
    "probe_loss": -1, "kimg": 1,
}  # fmt: skip
WORTHS = ("synthetic_only", "classic_synthetic", "scratch_only")
# What is computed together
GROUPS = (("kid_shipped", "coverage_shipped"), ("kid_lite0", "coverage_lite0", "probe_accuracy", "probe_loss"),
          ("synthetic_only",), ("classic_synthetic",), ("scratch_only",))  # fmt: skip
COSTLY = ("classic_synthetic", "scratch_only")
KEY, VALUES = ("set", "kimg", "figure"), ("value",)
BLOCK, RESAMPLES = 4, 2000  # neighbouring checkpoints that are drawn together
FEWEST = 3 * BLOCK  # checkpoints that an interval is drawn from
RESULTS = Path(__file__).parent / "results" / "checkpoints.csv"


def order(count: int) -> list[int]:
    """Places 0 to count - 1, the coarse grid first: a stopped bench has seen the whole of the training."""
    seen = [i for step in (4, 2, 1) for i in range(count - 1, -1, -step)]
    return list(dict.fromkeys(seen))


class Training:
    """One set: its photos, its GAN's images at every checkpoint, which are kept in `work`."""

    def __init__(self, name: str, photos: Photos, work: Path):
        self.name, self.photos = name, photos
        self.rows = sides(photos.labels, photos.groups, photos=PHOTOS, seed=SPLIT)
        self.stores = photos.stores(self.rows, large=False)
        self.folder = work / f"checkpoints-{name}"
        eye = extractor(self.stores["train"], self.stores["val"], work / f"extractor-{name}-{PHOTOS}-{SPLIT}")
        self.shipped = CheckpointScorer(partial(penultimate_features, eye), by_class(self.stores["val"]))
        self.lite0 = CheckpointScorer(self._looked_at, by_class(self.stores["val"]))
        if not (self.folder / "model").is_dir():
            self._train()

    def checkpoints(self) -> list[Path]:
        return sorted(self.folder.glob("*.npy"))

    def _train(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        ticks = 0

        def keep(drawn: dict[str, np.ndarray]) -> dict[str, float]:
            nonlocal ticks
            ticks += 1
            np.save(self.folder / f"{ticks * TICK:05.1f}.npy", np.stack(list(drawn.values())))
            return {}

        training_loop.SCORED_PER_CLASS = JUDGED + PHOTOS  # the second stream: latents that no criterion has seen
        began = time.process_time()
        gan(self.stores["train"], score=keep, kimg=KIMG, tick_kimg=TICK, seed=SEED, folder=self.folder / "model")
        print(f"{self.name}: {ticks} checkpoints in {time.process_time() - began:.0f} CPU-s", flush=True)

    def _looked_at(self, images: np.ndarray) -> np.ndarray:
        return frozen(len(self.photos.classes), images.shape[1]).at(images)

    def measure(self, path: Path, figures: Sequence[str]) -> dict[str, float]:
        """One of GROUPS at one checkpoint."""
        drawn, classes = np.load(path), self.photos.classes  # (K, n, 64, 64, 3)
        first, second = drawn[:, :JUDGED], drawn[:, JUDGED:]
        train, val, test = (self.stores[side] for side in ("train", "val", "test"))
        plain, classic = ({"seed": 0, "sampling": "balanced", "augment": augment} for augment in ("none", "classic"))
        if "kid_shipped" in figures:
            score = self.shipped(dict(zip(classes, first, strict=True)))
            return {"kid_shipped": score["kid"], "coverage_shipped": score["coverage"]}
        if "kid_lite0" in figures:
            store = synthetic_store(first, classes, GAN_SIDE)
            score = self.lite0(by_class(store))
            trained = fitted("probe", store, val, **plain)
            loss = trained.history[trained.best_step - 1]["val_loss"]
            return {"kid_lite0": score["kid"], "coverage_lite0": score["coverage"],
                    "probe_accuracy": self._accuracy(trained, val), "probe_loss": loss}  # fmt: skip
        seen = synthetic_store(second, classes, GAN_SIDE)
        if "synthetic_only" in figures:
            return {"synthetic_only": macro_f1("probe", seen, val, test, **plain)}
        if "classic_synthetic" in figures:
            return {"classic_synthetic": macro_f1("probe", joined(train, seen), val, test, **classic)}
        return {"scratch_only": macro_f1("scratch", seen, val, test, **classic)}

    def _accuracy(self, trained: Trained, val: Store) -> float:
        predicted = probabilities(trained.model, self._looked_at(val.images)).argmax(axis=1)
        return float((predicted == val.labels).mean())


def plan(counts: Mapping[str, int], *, groups: Sequence[Sequence[str]] = GROUPS) -> Iterator[tuple[str, int, tuple]]:
    """Set, place of the checkpoint, figures that are computed together; the costly ones last."""
    places = {name: order(count) for name, count in counts.items()}
    costly = [[group] for group in groups if group[0] in COSTLY]
    for some in [[group for group in groups if group[0] not in COSTLY], *costly]:
        for turn in range(max(counts.values())):
            for name in counts:
                for group in some if turn < counts[name] else []:
                    yield name, places[name][turn], tuple(group)


def run(arguments: argparse.Namespace) -> None:
    """Compute what the csv lacks."""
    torch.set_num_threads(1)
    trainings = {name: Training(name, photos, arguments.work) for name, photos in photo_sets(arguments).items()}
    rows = Rows(arguments.csv, KEY, VALUES)
    done = rows.done()
    paths = {name: training.checkpoints() for name, training in trainings.items()}
    groups = [group for group in GROUPS if not arguments.figure or set(group) & set(arguments.figure)]
    for name, place, figures in plan({name: len(some) for name, some in paths.items()}, groups=groups):
        path = paths[name][place]
        kimg = f"{float(path.stem):.1f}"
        if all((name, kimg, figure) in done for figure in figures):
            continue
        began = time.process_time()
        found = trainings[name].measure(path, figures)
        for figure in figures:
            if (name, kimg, figure) not in done:
                rows.add({"set": name, "kimg": kimg, "figure": figure, "value": f"{found[figure]:.5f}"})
        shown = " ".join(f"{figure} {value:.3f}" for figure, value in found.items())
        print(f"{time.strftime('%H:%M:%S')} {name} {kimg} {shown}  {time.process_time() - began:.0f} CPU-s", flush=True)


def rank_correlation(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spearman's along the last axis; NaN where one of the two does not vary."""
    from scipy import stats

    x, y = (stats.rankdata(of, axis=-1) for of in (x, y))
    x, y = (of - of.mean(axis=-1, keepdims=True) for of in (x, y))
    norm = np.sqrt((x**2).sum(axis=-1) * (y**2).sum(axis=-1))
    return np.divide((x * y).sum(axis=-1), norm, out=np.full(norm.shape, np.nan), where=norm > 0)


def block_interval(x: np.ndarray, y: np.ndarray, *, seed: int, confidence: float = 0.95) -> tuple[float, float]:
    """Percentiles of `rank_correlation` over resamples of blocks, on a circle (Politis and Romano 1992).

    NaN of fewer than FEWEST checkpoints: of one or two blocks there are too few resamples that differ.
    """
    n, tail = len(x), (1 - confidence) / 2
    if n < FEWEST:
        return float("nan"), float("nan")
    starts = numpy_rng(seed, "checkpoints: blocks").integers(0, n, (RESAMPLES, -(-n // BLOCK)))
    rows = ((starts[..., None] + np.arange(BLOCK)) % n).reshape(RESAMPLES, -1)[:, :n]
    found = rank_correlation(x[rows], y[rows])
    found = found[np.isfinite(found)]  # blocks of one and the same value say nothing
    lower, upper = np.quantile(found, [tail, 1 - tail]) if len(found) else (np.nan, np.nan)
    return float(lower), float(upper)


def regret(criterion: np.ndarray, worth: np.ndarray) -> float:
    """Of the checkpoint with the most of the criterion; the mean of these where several have as much."""
    return float(worth[criterion == criterion.max()].mean() - worth.max())


def held_against(figures: Mapping[str, np.ndarray], worth: str, *, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Criterion to its rank correlation with a worth, the interval, and its regret.

    Args:
        figures: Name to a value a checkpoint, in the order of the training; NaN where there is none.
        worth: One of these names.
        seed: Of the resamples.
    """
    signed = {name: sign * figures[name] for name, sign in CRITERIA.items() if name in figures}
    there = np.isfinite([figures[worth], *signed.values()]).all(axis=0)
    worths = figures[worth][there]
    table: dict[str, dict[str, Any]] = {}
    for name, values in signed.items():
        lower, upper = block_interval(values[there], worths, seed=seed)
        table[name] = {
            "spearman": float(rank_correlation(values[there], worths)), "lower": lower, "upper": upper,
            "regret": regret(values[there], worths), "checkpoints": int(there.sum()),
        }  # fmt: skip
    table["any"] = {"regret": float(worths.mean() - worths.max()), "checkpoints": int(there.sum())}
    return table


def by_checkpoint(rows: Sequence[Mapping[str, str]]) -> dict[str, dict[str, np.ndarray]]:
    """Set to figure to its values in the order of the training, `kimg` among the figures."""
    sets: dict[str, dict[str, np.ndarray]] = {}
    for name in sorted({row["set"] for row in rows}):
        own = {(row["kimg"], row["figure"]): float(row["value"]) for row in rows if row["set"] == name}
        kimgs = sorted({kimg for kimg, _ in own}, key=float)
        names = dict.fromkeys(figure for _, figure in own)
        sets[name] = {f: np.array([own.get((kimg, f), np.nan) for kimg in kimgs]) for f in names}
        sets[name]["kimg"] = np.array(list(map(float, kimgs)))
    return sets


def table(arguments: argparse.Namespace) -> None:
    """The csv summed up beside it: .json, .md and .png."""
    sets = by_checkpoint(Rows(arguments.csv, KEY, VALUES).read())
    found = {
        worth: {name: held_against(figures, worth) for name, figures in sets.items() if worth in figures}
        for worth in WORTHS
    }
    found = {worth: of_sets for worth, of_sets in found.items() if of_sets}
    lines = []
    for worth, of_sets in found.items():
        counts = ", ".join(f"{name} {of['any']['checkpoints']}" for name, of in of_sets.items())
        lines += [f"**{worth}** (checkpoints: {counts})", ""]
        lines.append("| criterion | " + " | ".join(f"{name}: rank correlation | regret" for name in of_sets) + " |")
        lines.append("| --- " * (1 + 2 * len(of_sets)) + "|")
        for criterion in (*CRITERIA, "any"):
            cells = []
            for of in of_sets.values():
                one = of.get(criterion, {})
                said = ""  # nothing without an interval: of four checkpoints some order always fits
                if np.isfinite(one.get("lower", np.nan)):
                    said = f"{one['spearman']:.2f} ({one['lower']:.2f} to {one['upper']:.2f})"
                cells += [said, f"{one['regret']:.3f}" if one else ""]
            lines.append(f"| {criterion} | " + " | ".join(cells) + " |")
        lines.append("")
    text = "\n".join(lines)
    arguments.csv.with_suffix(".md").write_text(text, encoding="utf-8")
    record = {**describe("cpu"), "photos_a_class": PHOTOS, "val_a_class": VAL, "kimg": KIMG, "tick_kimg": TICK,
              "worths": found}  # fmt: skip
    text_of_record = json.dumps(record, indent=1).replace("NaN", "null")
    arguments.csv.with_suffix(".json").write_text(text_of_record + "\n", encoding="utf-8")
    draw(arguments.csv.with_suffix(".png"), sets)
    print(text)


def draw(path: Path, sets: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Worths along the training, and the checkpoint that each criterion chooses: a panel a set."""
    import matplotlib
    from matplotlib.figure import Figure

    from pipeline.report.plots import STYLE

    colors = {"synthetic_only": "#0072b2", "classic_synthetic": "#d55e00", "scratch_only": "#009e73"}
    marks = dict(zip(CRITERIA, "osvd^Px", strict=True))
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(4.8 * len(sets), 3.8), dpi=110, layout="constrained")
        axes = fig.subplots(1, len(sets), sharey=True, squeeze=False)[0]
        for ax, (name, figures) in zip(axes, sets.items(), strict=True):
            for worth, color in colors.items():
                if worth in figures:
                    there = np.isfinite(figures[worth])
                    ax.plot(figures["kimg"][there], figures[worth][there], color=color, linewidth=1.2, label=worth)
            for turn, (criterion, sign) in enumerate(CRITERIA.items()):
                there = np.isfinite(figures[WORTHS[0]])  # those that the table is of
                if criterion in figures:
                    chosen = figures["kimg"][there][np.argmax(sign * figures[criterion][there])]
                    ax.plot(chosen, 0.02 + 0.018 * turn, marks[criterion], color="#3b4540", markersize=5,
                            label=f"chosen by {criterion}" if ax is axes[-1] else None)  # fmt: skip
            ax.set(title=name, xlabel="photos shown to D, thousands", ylim=(0, 1))
        axes[0].set_ylabel("macro-F1 on test")
        axes[-1].legend(fontsize=6.5, ncols=2)
        fig.savefig(path, metadata={"Software": None})


def main() -> None:
    parser, one = commands("checkpoints", __doc__, csv_file=RESULTS, run=run, table=table)
    one.add_argument("--figure", action="append", help="only this one and what comes with it; may be repeated")
    arguments = parser.parse_args()
    arguments.do(arguments)


if __name__ == "__main__":
    main()
