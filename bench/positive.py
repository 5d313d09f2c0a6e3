"""Can the verdict say "helps"? The sample's own renderer in the GAN's place: a perfect generator, which no GAN exceeds.

    python -m bench.positive --json bench/results/positive_cpu.json

Val and test are those of the shipped sample in size; train has a share of its photos. The renderer draws new leaves
until every class has as many as the largest, or twice as many (`generate.target: 2x`, as shipped). The arms, the
judges (train_classifier and second_judge of params.yaml), the choice of the candidate on val and the rules are the
pipeline's own. A sample drawn by another seed is another set of photos: the answer must not hang on the shipped one.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.machine import describe
from bench.small_sets import enlarged, joined, shipped
from pipeline import MATCHED_CONTROL, controls_among
from pipeline.images.sample import render_leaf
from pipeline.images.store import Store
from pipeline.learn.judge import train_judge, with_effort
from pipeline.learn.metrics import evaluate_predictions
from pipeline.learn.trained import Trained, predict
from pipeline.measure.statistics import REFERENCES, Interval, compare_arms
from pipeline.measure.verdict import choose_candidate, decide, sentence

SHARES = (1.0, 0.5)  # of the shipped sample's train photos
TARGETS = (1, 2)  # images a class, as a multiple of the largest
ARMS = ("real", "balanced", "flips", "classic", "strong", "classic_long", "synthetic", "synthetic_classic")


def leaves(counts: dict[str, int], *, side: int, seed: int, first: int = 0) -> Store:
    """So many leaves of each class, numbers `first` and on of the renderer."""
    images = [
        render_leaf(name, first + i, img_resolution=side, seed=seed) for name, n in counts.items() for i in range(n)
    ]
    labels = np.repeat(np.arange(len(counts)), list(counts.values()))
    return Store(np.stack(images), labels, [f"{seed}_{first}_{i}" for i in range(len(labels))], list(counts))


def first_of(store: Store, counts: Sequence[int]) -> Store:
    """The first images of each class."""
    rows = np.concatenate([np.flatnonzero(store.labels == k)[:n] for k, n in enumerate(counts)])
    return Store(store.images[rows], store.labels[rows], [store.files[i] for i in rows], store.classes)


def asked(judge: dict[str, Any], train: Store, val: Store, *, sampling: str, augment: str) -> list[Trained]:
    """A judge's classifiers, one a seed."""
    return train_judge(train, val, sampling=sampling, augment=augment, **judge)


def mean_f1(trained: Sequence[Trained], on: Store) -> float:
    """Macro-F1, mean over seeds."""
    return float(
        np.mean([evaluate_predictions(on.labels, predict(t.model, on.images), on.classes)["macro_f1"] for t in trained])
    )


def judged(
    judge: dict[str, Any], train: Store, drawn: Store, val: Store, test: Store, *, candidate: str | None = None
) -> dict[str, Any]:
    """All arms by one judge, and the verdict; a second judge is asked about the first one's candidate alone."""
    with_drawn, on_val, predicted = joined(train, drawn), {}, {}
    arms = shipped().arms
    for arm in ARMS if candidate is None else (*REFERENCES, candidate):
        recipe = arms[arm]
        images = train if recipe.train == "data/arrays/train" else with_drawn
        trained = asked(
            with_effort(judge, recipe.effort), images, val, sampling=recipe.sampling, augment=recipe.augment
        )
        on_val[arm] = mean_f1(trained, val)
        predicted[arm] = np.stack([predict(t.model, test.images).argmax(axis=1) for t in trained])
    candidate = candidate or choose_candidate(on_val)
    of = compare_arms(test.labels, predicted, classes=test.classes, references=controls_among(predicted))
    differences = {control: of[candidate].differences[control]["macro_f1"] for control in controls_among(of)}
    verdict = decide(differences, matched=MATCHED_CONTROL[candidate])
    scores = {arm: found.metrics["macro_f1"] for arm, found in of.items()}
    print(sentence(verdict, candidate=candidate, score=scores[candidate]), flush=True)
    return {
        "verdict": verdict.verdict, "candidate": candidate, "matched": MATCHED_CONTROL[candidate],
        "macro_f1": {arm: _ends(score) for arm, score in scores.items()},
        "minus": {control: _ends(d) for control, d in differences.items()},
        "detectable": round(verdict.evidence.detectable, 4),
    }  # fmt: skip


def _ends(value: Interval) -> list[float]:
    return [round(float(end), 4) for end in value[:3]]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.positive", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--share", type=float, action="append", help="of the train photos; may be repeated")
    parser.add_argument("--seed", type=int, action="append", help="of the sample, shipped: 42; may be repeated")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    params = shipped()
    section, split = params.render_sample, params.split
    parts = {"test": split.test_share, "val": (1 - split.test_share) * split.val_share}
    counts = {side: {name: round(n * share) for name, n in section.class_counts.items()} for side, share in
              parts.items()}  # fmt: skip
    counts["train"] = {n: c - counts["val"][n] - counts["test"][n] for n, c in section.class_counts.items()}
    sizes = {"train_classifier": split.photo_resolution, "second_judge": params.second_judge.input_size}
    side = max(size for size in sizes.values() if size)
    rows: list[dict[str, Any]] = []
    for seed in arguments.seed or [section.seed]:
        start, stores = 0, {}
        for name, of in counts.items():
            stores[name] = leaves(of, side=side, seed=seed, first=start)
            start += max(of.values())
        largest = max(counts["train"].values())
        stores["perfect"] = leaves(dict.fromkeys(counts["train"], max(TARGETS) * largest), side=side, seed=seed + 1000)
        seen = {
            size: {name: of._replace(images=enlarged(of.images, size or side)) for name, of in stores.items()}
            for size in sizes.values()
        }
        for share, target in product(arguments.share or SHARES, TARGETS):
            kept = [max(round(n * share), 2) for n in counts["train"].values()]
            candidate = None
            for stage, size in sizes.items():
                of = seen[size]
                drawn = first_of(of["perfect"], [target * max(kept) - n for n in kept])
                judge = getattr(params, stage).model_dump(exclude={"enabled"})
                began = time.process_time()
                found = judged(judge, first_of(of["train"], kept), drawn, of["val"], of["test"],
                               candidate=candidate)  # fmt: skip
                candidate = found["candidate"]
                row = {"seed": seed, "judge": judge["kind"], "share": share, "photos": kept, "target": target, **found}
                rows.append({**row, "cpu_seconds": round(time.process_time() - began)})
    if arguments.json:
        about = {
            **describe("cpu"),
            "test": counts["test"],
            "val": counts["val"],
            "seeds": params.train_classifier.seeds,
        }
        arguments.json.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
