"""The sweep's pictures: macro-F1 over the ratio, and what test says of the chosen one; over the number of photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.measure.statistics import Interval
from pipeline.report.plots import ARM_COLORS, INK, MUTED, STYLE, _save

SYNTHETIC = ARM_COLORS["synthetic_classic"]


def draw_sweep(
    path: str | Path, choice: Mapping[str, Any], test: Mapping[str, Interval], *, confidence: float = 0.95
) -> None:
    """Every seed and their mean on val, the chosen ratio ringed; on test 0 and the chosen one with intervals.

    Args:
        path: PNG to write.
        choice: Contents of choice.json.
        test: Ratio as text to macro-F1 on test.
        confidence: Of its intervals.
    """
    ratios, chosen = [float(ratio) for ratio in choice["ratios"]], float(choice["chosen"])
    by_seed = [choice["val_macro_f1"][f"{ratio:g}"]["by_seed"] for ratio in ratios]
    means = [float(np.mean(values)) for values in by_seed]

    def look(ratio: float) -> tuple[str, str]:
        return (SYNTHETIC, "D") if ratio > 0 else (ARM_COLORS[choice["control"]], "o")

    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(9.2, 3.6), layout="constrained")
        on_val, on_test = fig.subplots(1, 2, sharey=True, width_ratios=[3, 1])
        on_val.plot(ratios, means, color=MUTED, linewidth=1.2, zorder=2)
        for ratio, values, mean in zip(ratios, by_seed, means, strict=True):
            color, marker = look(ratio)
            on_val.plot([ratio] * len(values), values, "o", color=color, alpha=0.35, markersize=4, markeredgewidth=0)
            on_val.plot([ratio], [mean], marker, color=color, markersize=7, markeredgecolor="white", zorder=3)
        at = ratios.index(chosen)
        on_val.plot([chosen], [means[at]], "o", markersize=17, color="none", markeredgecolor=INK, markeredgewidth=1.2)
        on_val.annotate(
            "chosen", (chosen, means[at]), xytext=(0, -20), textcoords="offset points", ha="center", fontsize=8.5
        )
        on_val.set_title("Macro-F1 on val: every seed, and their mean")
        on_val.set_xlabel("synthetic images for each real one, in every class")
        on_val.set_xticks(ratios, [f"{ratio:g}" for ratio in ratios])
        on_val.margins(x=0.05, y=0.15)

        for x, (ratio, value) in enumerate(test.items()):
            color, marker = look(float(ratio))
            on_test.plot([x, x], [value.lower, value.upper], color=color, linewidth=2.2, alpha=0.75)
            on_test.plot([x], [value.mean], marker, color=color, markersize=7, markeredgecolor="white")
        on_test.set_title("On test, once")
        on_test.set_xlabel(f"mean, {confidence:.0%} interval")
        on_test.set_xticks(range(len(test)), list(test))
        on_test.set_xlim(-0.6, len(test) - 0.4)
        on_test.grid(axis="x", visible=False)
        on_val.yaxis.set_major_locator(MaxNLocator(5))
        _save(fig, path)


def draw_headroom(path: str | Path, photos: Sequence[int], macro_f1: Sequence[Interval]) -> None:
    """Macro-F1 on test over the number of train photos.

    Args:
        path: PNG to write.
        photos: Ascending.
        macro_f1: Of each number.
    """
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(9.2, 2.8), layout="constrained")
        ax = fig.subplots()
        color = ARM_COLORS["classic"]
        ax.vlines(photos, [of.lower for of in macro_f1], [of.upper for of in macro_f1], color=color, linewidth=2.2,
                  alpha=0.75)  # fmt: skip
        ax.plot(photos, [of.mean for of in macro_f1], "-o", color=color, linewidth=1.2, markersize=7,
                markeredgecolor="white")  # fmt: skip
        ax.set_xscale("log", base=2)
        ax.set_xticks(photos, [str(count) for count in photos])
        ax.minorticks_off()
        ax.set_xlabel("photos in train")
        ax.set_title("Macro-F1 on test")
        _save(fig, path)
