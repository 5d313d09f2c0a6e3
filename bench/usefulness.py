"""How useful are synthetic images, at how few real photos: gains over classic augmentation, by judges of three kinds.

    python -m bench.usefulness run --data tea=PATH --data apple=PATH --groups apple=PATH/leaf_groups.csv --work FOLDER
    python -m bench.usefulness table

PATH holds one folder of photos a class. On each split so many photos a class train, 10 choose (a checkpoint, a
strength, the filter's thresholds), and the rest is test; photos of one leaf stay together. A class with too few photos
trains on fewer, so that 20 are left for test. On the train photos alone a GAN is trained at 64 px, as params.yaml ships
it but for its length, its checkpoint chosen on val as in the pipeline. The arms:

    real                  the photos, neither augmented nor balanced
    classic               the photos with classic augmentation
    classic + synthetic   as many synthetic images a class beside them as real ones were asked for
    classic + filtered    those of up to 5 times as many candidates that a probe of train takes for their class, with as
                          much confidence as 90% of the val photos that it knows; filled up with the first others

The judges: `probe`, logistic regression on a frozen EfficientNet-Lite0 at 128 px, sees photos at their own size up to
128 px, synthetic images enlarged to it; `scratch` (a ResNet of five blocks) and `finetune` (Lite0) see all at 64 px,
300 steps long. A classifier's seed is that of its GAN, so that the GAN's luck is in the spread. The filter's
teacher and the probe share the frozen network: of the probe's word on filtered images think the less.

Every finished cell is a row of the csv and is not computed again. One thread.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from bench.machine import describe
from bench.small_sets import (
    GAN_SIDE,
    JUDGES,
    Photos,
    Rows,
    commands,
    extractor,
    fitted,
    frozen,
    gan_images,
    joined,
    macro_f1,
    photo_sets,
    probabilities,
    sides,
    synthetic_store,
    t_interval,
)
from pipeline.images.store import Store
from pipeline.measure.acceptance import Examined, Judge, choose_thresholds, thumbnails

COUNTS = (10, 25, 50, 100)  # real photos a class in train
# Split and GAN seed: every split and both seeds early, so that a stopped bench knows of both
ROUNDS = ((0, 0), (1, 1), (2, 0), (0, 1), (1, 0), (2, 1))
ARMS = {  # sampling, augmentation, which synthetic images
    "classic": ("balanced", "classic", None),
    "classic + synthetic": ("balanced", "classic", "synthetic"),
    "real": ("natural", "none", None),
    "classic + filtered": ("balanced", "classic", "filtered"),
}
CONTROL = "classic"
CANDIDATES = 5  # that the filter may look at, for each image wanted
RULES = {"agreement": True, "confidence": 0.9}
KEY = ("set", "photos", "split", "gan_seed", "judge", "arm")
VALUES = (
    "macro_f1", "classes", "train_photos", "train_groups", "test_photos", "kimg", "best_kimg", "accepted",
    "cpu_seconds", "machine",
)  # fmt: skip
RESULTS = Path(__file__).parent / "results" / "usefulness.csv"


class Cell(NamedTuple):
    """One classifier."""

    set: str
    photos: int
    split: int
    gan_seed: int
    judge: str
    arm: str

    @property
    def case(self) -> tuple[str, int, int, int]:
        """What its GAN is of."""
        return self[:4]


def plan(
    sets: Sequence[str], *, judges: Sequence[str] = tuple(JUDGES), rounds: int = len(ROUNDS),
    arms: Sequence[str] = tuple(ARMS), counts: Sequence[int] = COUNTS,
) -> Iterator[Cell]:  # fmt: skip
    """Cells in the order in which they are computed: judge by judge, round by round, few photos first."""
    for judge in judges:
        for split_seed, gan_seed in ROUNDS[:rounds]:
            for photos in counts:
                for name in sets:
                    for arm in arms:
                        yield Cell(name, photos, split_seed, gan_seed, judge, arm)


def filtered(candidates: np.ndarray, count: int, train: Store, val: Store, *, device: str) -> tuple[np.ndarray, float]:
    """The first `count` accepted a class, filled up with the first others; and the share accepted of those judged.

    Args:
        candidates: (K, n, 64, 64, 3) uint8.
        count: Images wanted a class, at most n.
        train: The photos, at 64 px.
        val: Those on which thresholds are chosen.
        device: cpu or cuda.
    """
    teacher = fitted("probe", train, val, seed=0, sampling="balanced", augment="none", device=device)
    looks = frozen(len(train.classes), GAN_SIDE, device=device)

    def examine(images: np.ndarray) -> Examined:
        features = looks.at(images)
        return Examined(probabilities(teacher.model, features), features, thumbnails(images))

    of_train = examine(train.images)
    thresholds = choose_thresholds(of_train, train.labels, examine(val.images), val.labels, train.classes, RULES)
    chosen, seen, accepted = [], 0, 0
    for k, name in enumerate(train.classes):
        judge = Judge(k, of_train.take(train.labels == k), {rule: of[name] for rule, of in thresholds.items()})
        good: list[int] = []
        others: list[int] = []
        for start in range(0, candidates.shape[1], count):
            outcomes = judge(examine(candidates[k, start : start + count]))
            for i, outcome in enumerate(outcomes, start):
                (good if outcome.rejected_by is None else others).append(i)
            if len(good) >= count:
                break
        seen, accepted = seen + len(good) + len(others), accepted + len(good)
        chosen.append(candidates[k, sorted((good + others)[:count])])
    return np.stack(chosen), accepted / seen


class Case:
    """Photos of one split, and the images of their GAN, which are kept in `work`."""

    def __init__(self, photos: Photos, cell: Cell, work: Path, kimg: float, device: str):
        self.photos, self.cell, self.work, self.kimg, self.device = photos, cell, work, kimg, device
        self.rows = sides(photos.labels, photos.groups, photos=cell.photos, seed=cell.split)
        self.small = photos.stores(self.rows, large=False)

    def synthetic(self) -> Mapping[str, Any]:
        """`synthetic` and `filtered` images, (K, n, 64, 64, 3) uint8, `accepted`, `best_kimg`."""
        name, count, split_seed, gan_seed = self.cell.case
        path = self.work / f"{name}-{count}-{split_seed}-{gan_seed}-{self.kimg:g}.npz"
        if not path.is_file():
            train, val = self.small["train"], self.small["val"]
            eye = extractor(train, val, self.work / f"extractor-{name}-{count}-{split_seed}", device=self.device)
            drawn, finals = gan_images(train, val, eye, CANDIDATES * count, kimg=self.kimg, tick_kimg=self.kimg / 8,
                                       seed=10 * split_seed + gan_seed, device=self.device)  # fmt: skip
            kept, accepted = filtered(drawn, count, train, val, device=self.device)
            partial = path.with_suffix(".partial.npz")
            made = {"synthetic": drawn[:, :count], "filtered": kept, "accepted": accepted}
            np.savez(partial, **made, best_kimg=finals["best_kimg"])
            partial.rename(path)
        return np.load(path)

    def measure(self, cell: Cell) -> dict[str, Any]:
        """The row of a cell of this case."""
        sampling, augment, added = ARMS[cell.arm]
        stores = self.photos.stores(self.rows, large=cell.judge == "probe")
        train, row = stores["train"], {}
        if added is not None:
            made = self.synthetic()
            side = train.images.shape[1]
            train = joined(train, synthetic_store(made[added], train.classes, side))
            row = {"kimg": f"{self.kimg:g}", "best_kimg": f"{float(made['best_kimg']):.2f}"}
            if added == "filtered":
                row["accepted"] = f"{float(made['accepted']):.3f}"
        began = time.process_time()
        score = macro_f1(cell.judge, train, stores["val"], stores["test"], seed=cell.gan_seed, sampling=sampling,
                         augment=augment, device=self.device)  # fmt: skip
        made_on = describe(self.device)
        groups = {self.photos.groups[i] for i in self.rows["train"]}
        return row | cell._asdict() | {
            "macro_f1": f"{score:.4f}", "classes": len(train.classes), "train_photos": len(self.rows["train"]),
            "train_groups": len(groups), "test_photos": len(self.rows["test"]),
            "cpu_seconds": f"{time.process_time() - began:.1f}",
            "machine": f"{made_on['device']}, torch {made_on['torch']}",
        }  # fmt: skip


def run(arguments: argparse.Namespace) -> None:
    """Compute what the csv lacks."""
    torch.set_num_threads(1)
    sets = photo_sets(arguments)
    arguments.work.mkdir(parents=True, exist_ok=True)
    rows = Rows(arguments.csv, KEY, VALUES)
    done, case = rows.done(), None
    for cell in plan(list(sets), judges=arguments.judge or tuple(JUDGES), rounds=arguments.rounds,
                     arms=arguments.arm or tuple(ARMS), counts=arguments.photos or COUNTS):  # fmt: skip
        if tuple(map(str, cell)) in done:
            continue
        if case is None or case.cell.case != cell.case:
            case = Case(sets[cell.set], cell, arguments.work, arguments.kimg, arguments.device)
        row = case.measure(cell)
        rows.add(row)
        print(time.strftime("%H:%M:%S"), *cell, row["macro_f1"], f"{row['cpu_seconds']} CPU-s", flush=True)


class Scores(NamedTuple):
    """What one judge saw of one arm, at one count of one set.

    Attributes:
        macro_f1: A value for each pair of a split and a GAN seed.
        gains: The same minus `classic` of the same pair.
        photos: Real ones a class in train, mean over classes.
        groups: The same of leaves, or whatever keeps photos together.
    """

    macro_f1: list[float]
    gains: list[float]
    photos: float
    groups: float


def summed_up(rows: Sequence[Mapping[str, str]]) -> dict[tuple[str, int, str, str], Scores]:
    """(set, count, judge, arm) to its scores; a value without its control gives no gain."""
    found = {tuple(row[name] for name in KEY): float(row["macro_f1"]) for row in rows}
    cells: dict[tuple[str, int, str, str], list[Mapping[str, str]]] = defaultdict(list)
    for row in rows:
        cells[row["set"], int(row["photos"]), row["judge"], row["arm"]].append(row)
    scores = {}
    for cell, some in cells.items():
        controls = [found.get((*(row[name] for name in KEY[:-1]), CONTROL)) for row in some]
        gains = [float(row["macro_f1"]) - c for row, c in zip(some, controls, strict=True) if c is not None]
        photos, groups = (np.mean([int(row[of]) / int(row["classes"]) for row in some]) for of in
                          ("train_photos", "train_groups"))  # fmt: skip
        scores[cell] = Scores([float(row["macro_f1"]) for row in some], gains, float(photos), float(groups))
    return scores


def table(arguments: argparse.Namespace) -> None:
    """The csv summed up beside it: .json, .md and .png."""
    rows = Rows(arguments.csv, KEY, VALUES).read()
    scores = summed_up(rows)
    order = sorted(scores, key=lambda cell: (cell[0], cell[1], list(JUDGES).index(cell[2]), list(ARMS).index(cell[3])))
    cells, lines = [], []
    for cell in order:
        name, count, judge, arm = cell
        of = scores[cell]
        f1, gain = t_interval(of.macro_f1), t_interval(of.gains) if of.gains else None
        cells.append({
            "set": name, "photos": count, "photos_mean": round(of.photos, 1), "groups_mean": round(of.groups, 1),
            "judge": judge, "arm": arm, "macro_f1": _numbers(f1), "gain": gain and _numbers(gain),
            "gains": [round(value, 4) for value in of.gains],
        })  # fmt: skip
    keys = list(dict.fromkeys(cell[:3] for cell in order))
    for name, count, judge in keys:
        of = {arm: scores[name, count, judge, arm] for arm in ARMS if (name, count, judge, arm) in scores}
        first = next(iter(of.values()))
        said = [f"{name}", f"{first.photos:.0f} ({first.groups:.0f})", judge, str(len(first.macro_f1))]
        said += [f"{_points(np.mean(of[arm].macro_f1))}" if arm in of else "" for arm in ("real", CONTROL)]
        for arm in ("classic + synthetic", "classic + filtered"):
            said.append(_interval(of[arm].gains) if arm in of and of[arm].gains else "")
        lines.append("| " + " | ".join(said) + " |")
    head = ["set", "photos (leaves) a class", "judge", "pairs", "real", "classic", "+ synthetic", "+ filtered"]
    text = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|", *lines, "", *pooled(scores)]
    arguments.csv.with_suffix(".md").write_text("\n".join(text) + "\n", encoding="utf-8")
    machines = sorted({row["machine"] for row in rows})
    record = {"machines": machines, "judges": JUDGES, "cells": cells}
    arguments.csv.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    draw(arguments.csv.with_suffix(".png"), scores)
    print("\n".join(text))


def pooled(scores: Mapping[tuple[str, int, str, str], Scores]) -> list[str]:
    """Lines of a table of gains over `classic`, all numbers of photos together: a row a set, judge and arm."""
    gains: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for (name, _, judge, arm), of in scores.items():
        if arm != CONTROL:
            gains[name, judge, arm] += of.gains
    order = sorted(gains, key=lambda cell: (cell[0], list(JUDGES).index(cell[1]), list(ARMS).index(cell[2])))
    rows = [
        f"| {' | '.join(cell)} | {len(of)} | {sum(gain < 0 for gain in of)} | {_interval(of)} |"
        for cell, of in ((cell, gains[cell]) for cell in order)
        if of
    ]
    return ["| set | judge | arm | pairs | below `classic` | gain |", "| --- " * 6 + "|", *rows]


def _numbers(interval: tuple[float, float, float]) -> list[float | None]:
    return [None if np.isnan(value) else round(value, 4) for value in interval]


def _points(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1)


def _interval(gains: Sequence[float]) -> str:
    mean, lower, upper = (f"{value:+.3f}".replace("0.", ".", 1) for value in t_interval(gains))
    return mean if len(gains) < 2 else f"{mean} ({lower} to {upper})"


def draw(path: Path, scores: Mapping[tuple[str, int, str, str], Scores]) -> None:
    """Gain over `classic` against the number of real photos: a panel a set, a line a judge."""
    import matplotlib
    from matplotlib.figure import Figure

    from pipeline.report.plots import STYLE

    looks = {"probe": ("#0072b2", "o"), "scratch": ("#d55e00", "s"), "finetune": ("#009e73", "^")}
    sets = sorted({cell[0] for cell in scores})
    lowest = min((float(np.mean(of.gains)) for of in scores.values() if of.gains), default=0.0)
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(4.6 * len(sets), 3.6), dpi=110, layout="constrained")
        axes = fig.subplots(1, len(sets), sharey=True, squeeze=False)[0]
        for ax, name in zip(axes, sets, strict=True):
            ax.axhline(0, color="#66736b", linewidth=0.8)
            for shift, (judge, (color, marker)) in enumerate(looks.items()):
                for arm, line in (("classic + synthetic", "-"), ("classic + filtered", ":")):
                    some = sorted(
                        (scores[cell].photos, scores[cell].gains)
                        for cell in scores if cell[::2] == (name, judge) and cell[3] == arm and scores[cell].gains
                    )  # fmt: skip
                    if not some:
                        continue
                    middle = np.array([t_interval(gains) for _, gains in some])
                    x = np.array([photos for photos, _ in some]) * (1 + 0.03 * shift + 0.015 * (line == ":"))
                    ax.plot(x, middle[:, 0], line, color=color, marker=marker, markersize=4, linewidth=1.2,
                            label=f"{judge}, {arm.split(' + ')[1]}")  # fmt: skip
                    ax.vlines(x, middle[:, 1], middle[:, 2], color=color, linewidth=0.8, alpha=0.6)
            ax.set(title=name, xscale="log", xlabel="real photos a class")
            ticks = sorted({round(of.photos) for cell, of in scores.items() if cell[::3] == (name, CONTROL)})
            ax.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
            ax.minorticks_off()
            ax.set_ylim(min(-0.12, lowest - 0.02), 0.12)
        axes[0].set_ylabel("macro-F1 minus that of classic")
        axes[-1].legend(fontsize=7.5)
        fig.savefig(path, metadata={"Software": None})


def main() -> None:
    parser, one = commands("usefulness", __doc__, csv_file=RESULTS, run=run, table=table)
    one.add_argument("--kimg", type=float, default=8.0, help="photos shown to D, thousands (default 8)")
    one.add_argument("--judge", action="append", choices=list(JUDGES), help="only this one; may be repeated")
    one.add_argument("--arm", action="append", choices=list(ARMS), help="only this one; may be repeated")
    one.add_argument("--photos", action="append", type=int, choices=COUNTS, help="only so many; may be repeated")
    one.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="of GAN and judges (default cpu)")
    one.add_argument("--rounds", type=int, default=len(ROUNDS), help=f"pairs of a split and a GAN seed, of {ROUNDS}")
    arguments = parser.parse_args()
    arguments.do(arguments)


if __name__ == "__main__":
    main()
