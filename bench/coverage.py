"""Do the intervals hold what they promise, and how often is a verdict false? Simulated experiments with a known truth.

    python -m bench.coverage --experiments 1000 --json bench/results/coverage.json
    python -m bench.coverage --model outcomes --experiments 1000 --json bench/results/coverage_outcomes.json

Predictions are drawn as experiments give them, not as textbooks do, by one of two models that have little in common.

`logits`: what makes a leaf hard is shared by all arms and seeds; each arm has leaves of its own that it finds hard,
whatever the seed; each seed leans to some classes in all arms; each training of an arm leans to some classes of its
own; photos of one leaf share half of all that. Four classes, equally hard.

`outcomes`: there are no logits of classes; each photo has a chance of being right, drawn from a beta distribution whose
mean is its class's, .95 for the commonest and .5 for the rarest of 2, 5 or 8 classes, and so wide that most photos are
either easy or hopeless. Leaves have 1, 2 or 3 photos in test. Arms share most leaves' chances. A training is better or
worse as a whole, and has classes of its own that it does much better or worse (heavy tails); where spreads are large,
one training in twenty fails. What is wrong is mostly taken for the next class. The intervals' formula was fixed on
`logits` and then tried on this, once.

The truth of an arm is what it scores on very many leaves and seeds of the same class shares.

Three tables: coverage of the 95% interval (a difference without and with an effect, and the score of one arm); false
verdicts of the whole pipeline of rules, one of four candidates chosen on val, where synthetic images change nothing and
the controls are alike or not (`CONTROLS`); and how often the difference that is called detectable is found.
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

from pipeline.measure.statistics import METRICS, OF_A_CLASS, compare_arms, score
from pipeline.measure.verdict import MATCHED_CONTROL, choose_candidate, decide, minority_classes

CLASSES = ("a", "b", "c", "d")
MODELS = ("logits", "outcomes")
IMBALANCE = 8  # the commonest class by the rarest
SPREADS = {"none": 0.0, "small": 0.3, "large": 0.8}  # logits by which one training leans to a class, or is better
EFFECT = 0.7  # logits for the true class
FAILS = 0.05  # share of trainings, where spreads are large
ARMS = ("real", "balanced", "classic", "synthetic", "synthetic_classic", "filtered", "filtered_classic")
AUGMENTED = ("classic", "synthetic_classic", "filtered_classic")
# what balancing and augmentation do without any synthetic image: arm → logits for the true class
CONTROLS: dict[str, dict[str, float]] = {
    "alike": {},
    "real_ahead_0.5": {"real": 0.5},
    "real_ahead_0.8": {"real": 0.8},
    "real_ahead_1.2": {"real": 1.2},
    "augmented_ahead_0.8": dict.fromkeys(AUGMENTED, 0.8),
}


class Setting(NamedTuple):
    """One kind of experiment.

    Attributes:
        n_test: Test images.
        shares: Of the classes, `balanced` or `imbalanced`.
        seeds: Training seeds.
        group: Photos of one leaf; with `outcomes` the most of them.
        spread: Key of `SPREADS`.
        model: One of `MODELS`.
        num_classes: K.
    """

    n_test: int
    shares: str
    seeds: int
    group: int
    spread: str
    model: str = "logits"
    num_classes: int = len(CLASSES)

    @property
    def classes(self) -> tuple[str, ...]:
        """K names."""
        return tuple("abcdefgh"[: self.num_classes])

    @property
    def class_shares(self) -> np.ndarray:
        """(K,) relative numbers of images, the commonest first."""
        return np.geomspace(IMBALANCE if self.shares == "imbalanced" else 1, 1, self.num_classes)

    @property
    def counts(self) -> np.ndarray:
        """(K,) test images of each class."""
        counts = np.floor(self.n_test * self.class_shares / self.class_shares.sum() + 1e-9).astype(int)
        counts[0] += self.n_test - counts.sum()
        return counts

    @property
    def of_experiments(self) -> list[int]:
        """What random numbers of an experiment start from, beside its number."""
        own = [self.n_test, self.seeds, self.group, len(self.shares)]
        return own if self.model == "logits" else [*own, self.num_classes, len(self.spread)]


def settings(model: str) -> Iterator[Setting]:
    """All of a model."""
    if model == "logits":
        for values in itertools.product((48, 150), ("balanced", "imbalanced"), (3, 5), (1, 3), SPREADS):
            yield Setting(*values)
        return
    shares = ("balanced", "imbalanced")
    for n, k, share, seeds, spread in itertools.product((60, 160), (2, 5, 8), shares, (3, 5), ("small", "large")):
        yield Setting(n, share, seeds, 3, spread, model, k)


class Training(NamedTuple):
    """What the trainings of all arms have in common on whatever images, so that val and test meet the same ones."""

    of_seed: np.ndarray  # (S, 1, K) leaning of a seed in all arms
    of_arm: Mapping[str, np.ndarray]  # arm → (S, 1, K) leaning of its trainings


def train(rng: np.random.Generator, setting: Setting, arms: tuple[str, ...], seeds: int | None = None) -> Training:
    """Draw trainings, the setting's number of seeds unless another is given."""
    shape, spread = (seeds or setting.seeds, 1, setting.num_classes), SPREADS[setting.spread]
    of_seed = min(spread, 0.3) * rng.normal(size=shape)
    if setting.model == "logits":
        return Training(of_seed, {arm: spread * rng.normal(size=shape) for arm in arms})
    of_arm = {}
    for arm in arms:
        as_a_whole = rng.normal(size=(shape[0], 1, 1)) - 2.5 * (rng.random((shape[0], 1, 1)) < FAILS) * (spread > 0.5)
        of_arm[arm] = spread * (as_a_whole + 0.5 * rng.standard_t(3, size=shape))
    return Training(of_seed[..., :1], of_arm)  # a seed is better or worse in all classes


Predictions = tuple[np.ndarray, dict[str, np.ndarray], list[str]]


def predict(
    rng: np.random.Generator,
    training: Training,
    setting: Setting,
    better: Mapping[str, float] | None = None,
    *,
    times: int = 1,
) -> Predictions:
    """Labels (N,), arm → (S, N) predicted classes, and groups.

    Args:
        rng: For images and chance.
        training: From `train`.
        setting: Its test images.
        better: arm → logits for the true class.
        times: So many times the setting's images, each a leaf of its own. 1: the setting's, with its leaves.
    """
    draw = _by_logits if setting.model == "logits" else _by_outcomes
    return draw(rng, training, setting.counts * times, setting.group if times == 1 else 1, better or {})


def _by_logits(
    rng: np.random.Generator, training: Training, counts: np.ndarray, group: int, better: Mapping[str, float]
) -> Predictions:
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
        logits[:, np.arange(len(labels)), labels] += 1.5 + better.get(arm, 0.0)
        predicted[arm] = logits.argmax(-1)
    return labels, predicted, names


def _by_outcomes(
    rng: np.random.Generator, training: Training, counts: np.ndarray, group: int, better: Mapping[str, float]
) -> Predictions:
    k = len(counts)
    labels = np.repeat(np.arange(k), counts)
    sizes = itertools.cycle(range(1, group + 1))
    names: list[str] = []
    for c, n in enumerate(counts):
        leaves = (f"{c}/{leaf}" for leaf in itertools.count() for _ in range(next(sizes)))
        names += itertools.islice(leaves, int(n))
    unit_of = np.unique(names, return_inverse=True)[1]
    first = np.unique(unit_of, return_index=True)[1]
    of_class = np.linspace(0.95, 0.5, k)

    def chances(of: np.ndarray) -> np.ndarray:
        return rng.beta(1.5 * of_class[of], 1.5 * (1 - of_class[of]))

    of_leaves, of_photos, predicted = chances(labels[first]), chances(labels), {}
    is_alone = rng.random(len(labels)) < 0.4  # a photo unlike the leaf's others
    for arm, leaning in training.of_arm.items():
        own = np.where(rng.random(len(first)) < 0.7, of_leaves, chances(labels[first]))
        chance = np.clip(np.where(is_alone, of_photos, own[unit_of]), 0.01, 0.99)
        logit = np.log(chance / (1 - chance)) + better.get(arm, 0.0)
        logit = logit + training.of_seed[..., 0] + leaning[:, 0][:, labels]  # (S, N)
        is_right = rng.random(logit.shape) < 1 / (1 + np.exp(-logit))
        step = np.where(rng.random(logit.shape) < 0.7, 1, rng.integers(1, k, size=logit.shape))
        predicted[arm] = np.where(is_right, labels, (labels + step) % k)
    return labels, predicted, names


def truth(setting: Setting, better: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """arm → metric → what it would be on very many leaves and seeds."""
    found: dict[str, list[dict[str, float]]] = {"real": [], "synthetic": []}
    for part in range(4):  # 600 seeds, and as many leaves as fit in memory
        rng = np.random.default_rng([11, part, *setting.of_experiments])
        training = train(rng, setting, ("real", "synthetic"), seeds=150)
        labels, predicted, _ = predict(rng, training, setting, better, times=max(4800 // setting.n_test, 2))
        for arm, own in predicted.items():
            of = score(labels, own, setting.num_classes)
            means = {m: float(of[m].mean()) for m in METRICS}
            means |= {f"{m}/{c}": float(of[m][:, i].mean()) for m in OF_A_CLASS for i, c in enumerate(setting.classes)}
            found[arm].append(means)
    return {arm: {m: float(np.mean([of[m] for of in parts])) for m in parts[0]} for arm, parts in found.items()}


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
        rng = np.random.default_rng([12, i, *setting.of_experiments])
        training = train(rng, setting, ("real", "synthetic"))
        labels, predicted, groups = predict(rng, training, setting, better)
        of = compare_arms(
            labels,
            predicted,
            classes=setting.classes,
            groups=groups,
            resamples=resamples,
            confidence=confidence,
            seed=i,
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
    setting: Setting, experiments: int, resamples: int, controls: Mapping[str, float], arms: tuple[str, ...] = ARMS
) -> dict[str, float]:
    """Shares of experiments in which the rules say that synthetic images have an effect, and they have none.

    The candidate is the arm with the best macro-F1 on val, of the same trainings; then macro-F1 is judged against the
    controls, and the F1 of each class that is small in train.

    Args:
        setting: Kind of experiment.
        experiments: Number of them.
        resamples: See `compare_arms`.
        controls: One of `CONTROLS`.
        arms: All of them.

    Returns:
        `helps`, `hurts` and `either` for the whole; `any_class` for any verdict on any class.
    """
    counts = {"helps": 0, "hurts": 0, "any_class": 0}
    classes, k = setting.classes, setting.num_classes
    small = minority_classes(dict(zip(classes, setting.class_shares, strict=True))) or list(classes)
    for i in range(experiments):
        rng = np.random.default_rng([13, i, *setting.of_experiments])
        training = train(rng, setting, arms)
        on_val = predict(rng, training, setting, controls)
        val = {arm: float(score(on_val[0], p, k)["macro_f1"].mean()) for arm, p in on_val[1].items()}
        labels, predicted, groups = predict(rng, training, setting, controls)
        chosen = choose_candidate(val)
        kept = {arm: p for arm, p in predicted.items() if arm not in MATCHED_CONTROL or arm == chosen}
        of = compare_arms(labels, kept, classes=classes, groups=groups, resamples=resamples, seed=i)[chosen].differences
        units = {c: len({g for g in groups if g.startswith(f"{number}/")}) for number, c in enumerate(classes)}

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
        by_class = [judged(f"f1/{c}", units[c], len(small)) for c in small]
        counts["any_class"] += any(v in ("helps", "hurts") for v in by_class)
    shares = {name: round(n / experiments, 4) for name, n in counts.items()}
    return shares | {"either": round((counts["helps"] + counts["hurts"]) / experiments, 4)}


def measure(setting: Setting, experiments: int, resamples: int) -> dict[str, Any]:
    """All figures of one setting; where controls differ half as many experiments tell enough."""
    return {
        "no_effect": coverage(setting, experiments, resamples, 0.0),
        "effect": coverage(setting, experiments, resamples, EFFECT),
        "false_verdicts": {
            name: false_verdicts(setting, experiments if name == "alike" else experiments // 2, resamples, controls)
            for name, controls in CONTROLS.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.coverage", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--model", choices=MODELS, default=MODELS[0])
    parser.add_argument("--experiments", type=int, default=1000, help="of each setting and kind")
    parser.add_argument("--resamples", type=int, default=300, help="fewer than the pipeline's: a hair narrower")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    n, b = arguments.experiments, arguments.resamples
    rows, all_settings = [], list(settings(arguments.model))
    with ProcessPoolExecutor(arguments.processes) as pool:
        for setting, row in zip(all_settings, pool.map(measure, all_settings, repeat(n), repeat(b)), strict=True):
            rows.append(setting._asdict() | row)
            print(*setting, *(f"{kind}: {row[kind]}" for kind in row), flush=True)
            if arguments.json:
                head = json.dumps({"model": arguments.model, "experiments": n, "resamples": b})[:-1]
                lines = ",\n  ".join(json.dumps(of) for of in rows)
                arguments.json.write_text(f'{head}, "settings": [\n  {lines}\n]}}\n')


if __name__ == "__main__":
    main()
