"""The verdict recomputed from the saved files by other code: pandas, scikit-learn, a bootstrap written differently.

Nothing of pipeline.measure or pipeline.report is used to recompute; the formula is that of the docstring of
`measure.statistics`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from test_page import ARMS, CLASSES, write_arm, write_manifest

from pipeline.report.comparison import compare_predictions

f1_score = pytest.importorskip("sklearn.metrics").f1_score
MATCHED = {"synthetic": "balanced", "synthetic_classic": "classic"}


class Recomputed:
    """Differences in macro-F1 of two arms from their predictions.csv."""

    def __init__(self, folder, draws: int):
        manifest = pd.read_csv(folder / "manifest.csv")
        self.group = {
            (r["class"], r["file"].split("/")[-1]): r["group"] for _, r in manifest[manifest.split == "test"].iterrows()
        }
        self.frames = {arm: pd.read_csv(folder / "classifier" / arm / "predictions.csv") for arm in ARMS}
        self.draws = draws
        self.rng = np.random.default_rng(987)

    def answers(self, arm: str, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Labels (N,) and answers (seeds, N), as names."""
        own = self.frames[arm][self.frames[arm].split == split].copy()
        own["said"] = own[[f"p/{c}" for c in CLASSES]].to_numpy().argmax(1)
        own["key"] = own.label + "/" + own.file
        table = own.pivot(index="key", columns="seed", values="said")
        return np.array([CLASSES.index(k.split("/")[0]) for k in table.index]), table.to_numpy().T

    def keys(self) -> list[tuple[str, str]]:
        own = self.frames["real"]
        own = own[(own.split == "test") & (own.seed == own.seed.min())]
        return sorted(zip(own.label, own.file, strict=True), key=lambda k: "/".join(k))

    @staticmethod
    def f1(labels, said, weights=None) -> float:
        """Macro-F1; scikit-learn's own where images count alike, for it is too slow to be called thousands of times."""
        if weights is None:
            return f1_score(labels, said, average="macro", labels=range(len(CLASSES)), zero_division=0)
        per_class = []
        for k in range(len(CLASSES)):
            precision = weights @ ((said == k) & (labels == k)) / max(weights @ (said == k), 1e-12)
            recall = weights @ ((said == k) & (labels == k)) / max(weights @ (labels == k), 1e-12)
            per_class.append(2 * precision * recall / max(precision + recall, 1e-12))
        return float(np.mean(per_class))

    def on_val(self, arm: str) -> float:
        labels, said = self.answers(arm, "val")
        return float(np.mean([self.f1(labels, s) for s in said]))

    def difference(self, arm: str, other: str) -> tuple[float, float, float]:
        """Mean and ends of the 95% interval."""
        labels, a = self.answers(arm, "test")
        _, b = self.answers(other, "test")
        leaves = pd.factorize(pd.Series([f"{c}|{self.group[c, f]}" for c, f in self.keys()]))[0]
        seeds = len(a)

        def gaps(weights) -> np.ndarray:
            return np.array([self.f1(labels, a[s], weights) - self.f1(labels, b[s], weights) for s in range(seeds)])

        plain = gaps(None)
        of_class = {k: np.unique(leaves[labels == k]) for k in range(len(CLASSES))}
        images, both, alone = [], [], []
        for _ in range(self.draws):
            weights = np.zeros(len(labels))
            for units in of_class.values():
                drawn = self.rng.choice(units, len(units) - 1)  # one fewer
                for unit in drawn:
                    weights[leaves == unit] += len(units) / (len(units) - 1)
            resampled = gaps(weights)
            which = self.rng.choice(seeds, seeds - 1)
            images.append(resampled.mean())
            both.append(resampled[which].mean())
            alone.append(plain[which].mean())
        v_images, v_both, v_seeds = np.var(images), np.var(both), np.var(alone)
        shared = max(v_both - v_images - v_seeds, 0)
        expected = self.from_recalls(labels, a, b, leaves, of_class) + shared
        raised = max(4 / (4 + seeds - 1) * (expected - v_seeds), 0)  # to the mean weighted by degrees of freedom
        v_alone = max(v_seeds + raised - shared, 0)
        # each class's part of v_images by a jackknife, leaving out one leaf at a time
        parts = {}
        for k, units in of_class.items():
            left_out = []
            for unit in units:
                weights = np.where(labels == k, len(units) / (len(units) - 1), 1.0) * (leaves != unit)
                left_out.append(gaps(weights).mean())
            parts[k] = ((len(units) - 1) / len(units) * np.sum((left_out - np.mean(left_out)) ** 2), len(units) - 1)
        total = sum(v for v, _ in parts.values())
        below = sum((v_images * v / total) ** 2 / dof for v, dof in parts.values())
        raised_dof = min(4 + seeds - 1, (len(CLASSES) - 1) * (seeds - 1))
        uncertain = v_seeds**2 / (seeds - 1) + raised**2 / raised_dof
        below += uncertain * (v_alone / (v_seeds + raised)) ** 2
        variance = v_images + v_alone
        reach = stats.t.ppf(0.975, variance**2 / below) * np.sqrt(variance)
        return float(plain.mean()), float(plain.mean() - reach), float(plain.mean() + reach)

    @staticmethod
    def from_recalls(labels, a, b, leaves, of_class) -> float:
        """Variance of a mean of the classes' recalls over seeds, by an analysis of variance of seeds by classes."""
        seeds, number = len(a), len(of_class)
        scale, interaction, gaps = [], [], []
        for k in of_class:
            own = labels == k
            said = {arm: (p[:, own] == k).astype(float) for arm, p in (("a", a), ("b", b))}
            shares = [(of.mean(0).sum() + 1) / (own.sum() + 2) for of in said.values()]
            scale.append(np.sqrt(np.mean([(p * (1 - p)) ** 2 for p in shares])))
            gap = said["a"] - said["b"]
            gaps.append(gap.mean(1))
            # two ways, seeds by leaves: what is left is their interaction
            table = pd.DataFrame((gap - gap.mean(1, keepdims=True)).T).groupby(leaves[own]).sum().to_numpy() / own.sum()
            left = table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()
            units = len(table)
            interaction.append(units / (units - 1) * (left**2).sum() / (seeds * (seeds - 1)))
        scale, interaction = np.array(scale), np.array(interaction)
        effects = np.array(gaps).T / scale  # (S, K)
        of_mean = effects.mean(1).var(ddof=1) / seeds
        about = effects - effects.mean(1, keepdims=True)
        of_class_itself = ((about - about.mean(0)) ** 2).sum() / (seeds - 1) / (number - 1) / seeds
        noise = (interaction / scale**2).mean()
        together = max(of_mean - noise / number, 0)
        apart = max(of_class_itself - noise, 0)
        weights = scale / number
        return weights.sum() ** 2 * together + (weights**2).sum() * apart - weights.sum() ** 2 / number * apart


def lean(folder, arms, amount: float) -> None:
    """Each training of each arm takes to some classes of its own."""
    for i, arm in enumerate(arms):
        path = folder / "classifier" / arm / "predictions.csv"
        frame = pd.read_csv(path, dtype={"file": str})
        columns = [f"p/{c}" for c in CLASSES]
        for seed in frame.seed.unique():
            own = np.exp(amount * np.random.default_rng([8, i, seed]).normal(size=len(CLASSES)))
            p = frame.loc[frame.seed == seed, columns].to_numpy() * own
            frame.loc[frame.seed == seed, columns] = p / p.sum(1, keepdims=True)
        frame.to_csv(path, index=False)


def compared(folder: Path, strengths: dict[str, float], amount: float = 0.0) -> dict[str, float]:
    """metrics.json of planted arms, whose trainings lean to classes by `amount`."""
    for i, (arm, strength) in enumerate(strengths.items()):
        write_arm(folder / "classifier" / arm, strength, i)
    if amount:
        lean(folder, strengths, amount)
    write_manifest(folder / "manifest.csv")
    compare_predictions(
        {arm: folder / "classifier" / arm for arm in strengths}, {}, out_dir=folder / "out", classes=CLASSES,
        manifest=folder / "manifest.csv",
    )  # fmt: skip
    return json.loads((folder / "out" / "metrics.json").read_text())


@pytest.mark.parametrize("amount", [0.6, 1.5])
def test_interval_by_independent_code_where_trainings_differ(tmp_path, amount):
    """Where trainings lean to classes the moderated variance is most of it."""
    metrics = compared(tmp_path, ARMS, amount)
    again = Recomputed(tmp_path, draws=1000)
    for control in ("real", "balanced", "classic"):
        candidate = max(MATCHED, key=again.on_val)
        mean, lower, upper = again.difference(candidate, control)
        key = f"{candidate}/test/macro_f1_minus_{control}"
        assert metrics[key] == pytest.approx(mean, abs=1e-6)
        tolerance = 0.1 * (upper - lower) / 2
        assert metrics[f"{key}_lower"] == pytest.approx(max(lower, -1), abs=tolerance)
        assert metrics[f"{key}_upper"] == pytest.approx(min(upper, 1), abs=tolerance)


@pytest.mark.parametrize("strength", [1.5, 6.0, -0.5])
def test_verdict_by_independent_code(tmp_path, strength):
    strengths = ARMS | {"synthetic_classic": strength, "synthetic": strength - 0.3}
    metrics = compared(tmp_path, strengths)

    again = Recomputed(tmp_path, draws=1000)
    candidate = max(MATCHED, key=again.on_val)
    found = {control: again.difference(candidate, control) for control in ("real", "balanced", "classic")}
    labels, said = again.answers(candidate, "test")
    assert again.f1(labels, said[0], np.ones(len(labels))) == pytest.approx(again.f1(labels, said[0]))
    for control, (mean, lower, upper) in found.items():
        key = f"{candidate}/test/macro_f1_minus_{control}"
        assert metrics[key] == pytest.approx(mean, abs=1e-6)
        tolerance = 0.1 * (upper - lower) / 2  # 1000 draws know a standard deviation to 2%, and three are combined
        assert metrics[f"{key}_lower"] == pytest.approx(max(lower, -1), abs=tolerance)
        assert metrics[f"{key}_upper"] == pytest.approx(min(upper, 1), abs=tolerance)
    if all(lower > 0 for _, lower, _ in found.values()):
        expected = {"helps"}
    elif found[MATCHED[candidate]][2] < -0.05:
        expected = {"hurts"}
    else:
        expected = {"no_evidence", "too_little_data"}
    assert expected == {1.5: expected - {"helps", "hurts"}, 6.0: {"helps"}, -0.5: {"hurts"}}[strength]
    assert sum(metrics[f"verdict/{name}"] for name in expected) == 1
