"""What a GAN's own luck does to the intervals, with one GAN for all classifier seeds and with one for each.

    python -m bench.gan_luck --experiments 500 --json bench/results/gan_luck.json

Predictions as of `bench.coverage`, model `logits`, where all that a GAN draws makes the classifiers that see it better
or worse by as many logits for the true class, drawn for each GAN. What is to be known is what synthetic images do on
average over GANs. `shared`: the classifiers of all seeds see the images of one GAN. `each`: the n-th seed sees those of
the n-th GAN, as with `repeat_gan.seeds`.
"""

from __future__ import annotations

import argparse
import itertools
import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.coverage import Setting, predict, train
from pipeline.measure.statistics import compare_arms, score

LUCK = (0.0, 0.3)  # standard deviation from GAN to GAN, logits
ARMS = ("real", "synthetic")


class Luck(NamedTuple):
    """One kind of experiment.

    Attributes:
        n_test: Test images.
        seeds: Of the classifiers.
        luck: Of LUCK.
        gans: `shared` or `each`.
    """

    n_test: int
    seeds: int
    luck: float
    gans: str

    @property
    def setting(self) -> Setting:
        """Of the images and trainings."""
        return Setting(self.n_test, "imbalanced", self.seeds, 3, "small")


def kinds() -> list[Luck]:
    """All."""
    return [Luck(*values) for values in itertools.product((150, 400), (3, 5), LUCK, ("shared", "each"))]


def truth(kind: Luck, seeds: int = 600) -> tuple[float, float]:
    """Mean difference in macro-F1 over very many GANs and leaves, and its standard deviation from GAN to GAN."""
    rng, setting = np.random.default_rng([21, kind.n_test]), kind.setting
    training = train(rng, setting, ARMS, seeds=seeds)
    luck = kind.luck * rng.normal(size=(seeds, 1))
    labels, predicted, _ = predict(rng, training, setting, {"synthetic": luck}, times=max(4800 // kind.n_test, 2))
    of = {arm: score(labels, p, setting.num_classes)["macro_f1"] for arm, p in predicted.items()}
    gain = of["synthetic"] - of["real"]
    without = {arm: float(np.var(f1)) for arm, f1 in of.items()}  # those of `real` vary by their trainings alone
    return float(gain.mean()), max(without["synthetic"] - without["real"], 0.0) ** 0.5


def measure(kind: Luck, experiments: int, resamples: int) -> dict[str, Any]:
    """Share of experiments whose 95% interval of the difference in macro-F1 holds the mean over GANs."""
    true, deviation = truth(kind)
    setting, held, widths = kind.setting, [], []
    for i in range(experiments):
        rng = np.random.default_rng([22, i, kind.n_test, kind.seeds])
        training = train(rng, setting, ARMS)
        drawn = rng.normal(size=(kind.seeds, 1))
        luck = kind.luck * (drawn if kind.gans == "each" else drawn[:1])
        labels, predicted, groups = predict(rng, training, setting, {"synthetic": luck})
        interval = compare_arms(
            labels, predicted, classes=setting.classes, groups=groups, resamples=resamples, seed=i
        )["synthetic"].differences["real"]["macro_f1"]  # fmt: skip
        held.append(interval.lower <= true <= interval.upper)
        widths.append(interval.upper - interval.lower)
    return kind._asdict() | {
        "macro_f1_sd_from_gan_to_gan": round(deviation, 4),
        "coverage": round(float(np.mean(held)), 4),
        "width": round(float(np.mean(widths)), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gan_luck", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--experiments", type=int, default=500, help="of each kind")
    parser.add_argument("--resamples", type=int, default=300, help="fewer than the pipeline's: a hair narrower")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    n, b, rows = arguments.experiments, arguments.resamples, []
    with ProcessPoolExecutor(arguments.processes) as pool:
        for row in pool.map(measure, kinds(), itertools.repeat(n), itertools.repeat(b)):
            rows.append(row)
            print(row, flush=True)
    if arguments.json:
        lines = ",\n  ".join(json.dumps(row) for row in rows)
        arguments.json.write_text(f'{{"experiments": {n}, "resamples": {b}, "kinds": [\n  {lines}\n]}}\n')


if __name__ == "__main__":
    main()
