"""Do the intervals hold what they promise, and how often is a verdict false? Simulated experiments with a known truth.

    python -m bench.coverage --experiments 1000 --json bench/results/coverage.json

Predictions are drawn as experiments give them, not as textbooks do: what makes a leaf hard is shared by all arms and
seeds; each arm has leaves of its own that it finds hard, whatever the seed; each seed leans to some classes in all
arms; each training of an arm leans to some classes of its own; photos of one leaf share half of all that. The truth
of an arm is what it scores on very many leaves and seeds of the same class shares.

Three tables: coverage of the 95% interval (a difference without and with an effect, and the score of one arm); false
verdicts of the whole pipeline of rules, the candidate chosen on val, where no arm differs from another; and how often
the difference that is called detectable is found.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.measure.statistics import METRICS, compare_arms, score
from pipeline.measure.verdict import MATCHED_CONTROL, choose_candidate, decide, minority_classes

CLASSES = ("a", "b", "c", "d")
SHARES = {"balanced": (1, 1, 1, 1), "imbalanced": (8, 4, 2, 1)}
SPREADS = {"none": 0.0, "small": 0.3, "large": 0.8}  # logits by which one training leans to a class
EFFECT = 0.7  # logits for the true class
ARMS = ("real", "balanced", "classic", "synthetic", "synthetic_classic")


class Setting(NamedTuple):
    """One kind of experiment.

    Attributes:
        n_test: Test images.
        shares: Key of `SHARES`.
        seeds: Training seeds.
        group: Photos of one leaf.
        spread: Key of `SPREADS`.
    """

    n_test: int
    shares: str
    seeds: int
    group: int
    spread: str

    @property
    def counts(self) -> np.ndarray:
        """(K,) test images of each class."""
        shares = np.array(SHARES[self.shares])
        counts = np.floor(self.n_test * shares / shares.sum()).astype(int)
        counts[0] += self.n_test - counts.sum()
        return counts


def settings() -> Iterator[Setting]:
    """All of them."""
    for values in itertools.product((48, 150), SHARES, (3, 5), (1, 3), SPREADS):
        yield Setting(*values)


class Training(NamedTuple):
    """What the trainings of all arms have in common on whatever images, so that val and test meet the same ones."""

    of_seed: np.ndarray  # (S, 1, K) leaning of a seed in all arms
    of_arm: Mapping[str, np.ndarray]  # arm → (S, 1, K) leaning of its trainings


def train(rng: np.random.Generator, seeds: int, arms: tuple[str, ...], spread: float) -> Training:
    """Draw trainings."""
    k = len(CLASSES)
    of_seed = min(spread, 0.3) * rng.normal(size=(seeds, 1, k))
    return Training(of_seed, {arm: spread * rng.normal(size=(seeds, 1, k)) for arm in arms})


def predict(
    rng: np.random.Generator,
    training: Training,
    counts: np.ndarray,
    group: int,
    better: Mapping[str, float] | None = None,
) -> tuple[np.ndarray, dict[str, np.ndarray], list[str]]:
    """Labels (N,), arm → (S, N) predicted classes, and groups.

    Args:
        rng: For images and chance.
        training: From `train`.
        counts: (K,) images of each class.
        group: Photos of one leaf.
        better: arm → logits for the true class.
    """
    k = len(counts)
    labels = np.repeat(np.arange(k), counts)
    names = [f"{c}/{i // group}" for c, n in enumerate(counts) for i in range(n)]
    unit_of = np.unique(names, return_inverse=True)[1]

    def of_images(spread: float) -> np.ndarray:
        own = rng.normal(size=(len(labels), k))
        if group > 1:
            own = np.sqrt(0.5) * (own + rng.normal(size=(unit_of.max() + 1, k))[unit_of])
        return spread * own

    hard, predicted = of_images(1.0), {}
    for arm, leaning in training.of_arm.items():
        logits = hard + of_images(0.5) + training.of_seed + leaning
        logits = logits + rng.gumbel(size=(len(leaning), *hard.shape))
        logits[:, np.arange(len(labels)), labels] += 1.5 + (better or {}).get(arm, 0.0)
        predicted[arm] = logits.argmax(-1)
    return labels, predicted, names


def truth(setting: Setting, better: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """arm → metric → what it would be on very many leaves and seeds."""
    rng = np.random.default_rng([11, setting.n_test, len(setting.shares)])
    training = train(rng, 150, ("real", "synthetic"), SPREADS[setting.spread])
    labels, predicted, _ = predict(rng, training, setting.counts * max(4800 // setting.n_test, 1), 1, better)
    found = {}
    for arm, own in predicted.items():
        of = score(labels, own, len(CLASSES))
        found[arm] = {m: float(of[m].mean()) for m in METRICS}
        found[arm] |= {f"recall/{c}": float(of["recall"][:, i].mean()) for i, c in enumerate(CLASSES)}
    return found


def coverage(
    setting: Setting, experiments: int, resamples: int, effect: float, confidence: float = 0.95
) -> dict[str, Any]:
    """Shares of experiments whose interval holds the truth, by metric; and of those that find the difference.

    Returns:
        `difference` and `score`: metric → share; `found`: share of experiments whose interval of the difference in
        macro-F1 leaves 0 out; `detectable`: mean of what was called detectable.
    """
    better = {"synthetic": effect}
    if effect:
        true = truth(setting, better)
        differences = {m: true["synthetic"][m] - true["real"][m] for m in true["real"]}
    else:
        true = truth(setting, better)
        true["synthetic"] = {
            m: (true["synthetic"][m] + true["real"][m]) / 2 for m in true["real"]
        }  # the same arm twice
        differences = dict.fromkeys(true["real"], 0.0)
    held: dict[str, list[dict[str, bool]]] = {"difference": [], "score": []}
    found, detectable = [], []
    for i in range(experiments):
        rng = np.random.default_rng([12, i, setting.n_test, setting.seeds, setting.group, len(setting.shares)])
        training = train(rng, setting.seeds, ("real", "synthetic"), SPREADS[setting.spread])
        labels, predicted, groups = predict(rng, training, setting.counts, setting.group, better)
        of = compare_arms(
            labels, predicted, classes=CLASSES, groups=groups, resamples=resamples, confidence=confidence, seed=i
        )["synthetic"]
        for name, intervals, values in (
            ("difference", of.differences["real"], differences),
            ("score", of.metrics, true["synthetic"]),
        ):
            held[name].append({m: intervals[m].lower <= values[m] <= intervals[m].upper for m in values})
        f1 = of.differences["real"]["macro_f1"]
        found.append(f1.lower > 0 or f1.upper < 0)
        detectable.append(f1.detectable(confidence))
    shares = {name: {m: round(float(np.mean([h[m] for h in of])), 4) for m in of[0]} for name, of in held.items()}
    return shares | {"found": round(float(np.mean(found)), 4), "detectable": round(float(np.mean(detectable)), 4)}


def false_verdicts(
    setting: Setting, experiments: int, resamples: int, arms: tuple[str, ...] = ARMS
) -> dict[str, float]:
    """Shares of experiments without any effect in which the rules say that there is one.

    The candidate is the arm with the best macro-F1 on val, of the same trainings; then macro-F1 is judged against the
    controls, and the recall of each class that is small in train.

    Returns:
        `helps`, `hurts` and `either` for the whole; `any_class` for any verdict on any class.
    """
    counts = {"helps": 0, "hurts": 0, "any_class": 0}
    small = minority_classes(dict(zip(CLASSES, SHARES[setting.shares], strict=True))) or list(CLASSES)
    for i in range(experiments):
        rng = np.random.default_rng([13, i, setting.n_test, setting.seeds, setting.group, len(setting.shares)])
        training = train(rng, setting.seeds, arms, SPREADS[setting.spread])
        on_val = predict(rng, training, setting.counts, setting.group)
        val = {arm: float(score(on_val[0], p, len(CLASSES))["macro_f1"].mean()) for arm, p in on_val[1].items()}
        labels, predicted, groups = predict(rng, training, setting.counts, setting.group)
        chosen = choose_candidate(val)
        kept = {arm: p for arm, p in predicted.items() if arm not in MATCHED_CONTROL or arm == chosen}
        of = compare_arms(labels, kept, classes=CLASSES, groups=groups, resamples=resamples, seed=i)[chosen].differences
        units = {c: len({g for g in groups if g.startswith(f"{k}/")}) for k, c in enumerate(CLASSES)}

        def judged(metric: str, num_units: int, family: int, of=of, chosen=chosen) -> str:
            return decide(
                {control: d[metric] for control, d in of.items()},
                matched=MATCHED_CONTROL[chosen],
                num_units=num_units,
                family=family,
            ).verdict

        overall = judged("macro_f1", sum(units.values()), 1)
        if overall in counts:
            counts[overall] += 1
        by_class = [judged(f"recall/{c}", units[c], len(small)) for c in small]
        counts["any_class"] += any(v in ("helps", "hurts") for v in by_class)
    shares = {name: round(n / experiments, 4) for name, n in counts.items()}
    return shares | {"either": round((counts["helps"] + counts["hurts"]) / experiments, 4)}


def measure(setting: Setting, experiments: int, resamples: int) -> dict[str, Any]:
    """All three tables' figures of one setting."""
    return {
        "no_effect": coverage(setting, experiments, resamples, 0.0),
        "effect": coverage(setting, experiments, resamples, EFFECT),
        "false_verdicts": false_verdicts(setting, experiments, resamples),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.coverage", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--experiments", type=int, default=1000, help="of each setting and kind")
    parser.add_argument("--resamples", type=int, default=300, help="fewer than the pipeline's: a hair narrower")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    n, b = arguments.experiments, arguments.resamples
    rows = []
    with ProcessPoolExecutor(arguments.processes) as pool:
        for setting, row in zip(settings(), pool.map(measure, settings(), repeat(n), repeat(b)), strict=True):
            rows.append(setting._asdict() | row)
            print(*setting, *(f"{kind}: {row[kind]}" for kind in row), flush=True)
            if arguments.json:
                arguments.json.write_text(
                    json.dumps({"experiments": n, "resamples": b, "settings": rows}, indent=1) + "\n"
                )


if __name__ == "__main__":
    main()
