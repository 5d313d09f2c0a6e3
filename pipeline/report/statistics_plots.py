"""Pictures of the section on statistics: what each change does, and whether probabilities mean what they say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from pipeline.measure.calibration import Reliability
from pipeline.measure.effects import EFFECT_WORDS, EFFECTS
from pipeline.measure.statistics import Interval
from pipeline.report.plots import MUTED, STYLE, arm_color, arm_marker


def draw_effects(path: str | Path, effects: Mapping[str, Interval], *, confidence: float = 0.95) -> None:
    """Differences in macro-F1 of arms that differ by one thing, with the interval of each.

    Args:
        path: PNG to write.
        effects: Name of `effects.EFFECTS` → difference.
        confidence: Of the intervals.
    """
    names = list(effects)
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(9.2, 1.1 + 0.42 * max(len(names), 1)), layout="constrained")
        ax = fig.subplots()
        ax.grid(axis="y", visible=False)
        ax.spines["left"].set_visible(False)
        ax.axvline(0, color=MUTED, linewidth=1, zorder=1)
        for y, name in enumerate(names):
            value, arm = effects[name], EFFECTS[name][0]
            color = arm_color(arm, [a for pair in EFFECTS.values() for a in pair])
            ax.plot([value.lower, value.upper], [y, y], color=color, linewidth=2.2, alpha=0.75)
            ax.plot([value.mean], [y], arm_marker(arm), color=color, markersize=6.5, markeredgecolor="white")
        ax.set_yticks(range(len(names)), [EFFECT_WORDS[name] for name in names])
        ax.set_ylim(len(names) - 0.4, -0.6)
        reach = max((abs(end) for v in effects.values() for end in (v.lower, v.upper)), default=0.0)
        reach = max(1.08 * reach, 0.01)
        ax.set_xlim(-reach, reach)
        ax.set_xlabel(f"change of macro-F1 on test, {confidence:.0%} interval")
        _save(fig, path)


def draw_reliability(path: str | Path, curves: Mapping[str, Reliability]) -> None:
    """Accuracy over stated probability, a panel an arm; on the diagonal probabilities mean what they say.

    Args:
        path: PNG to write.
        curves: arm → bins of all seeds' predictions on test.
    """
    arms = list(curves)
    columns = min(len(arms), 4)
    rows = -(-len(arms) // columns)
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(9.2, 0.5 + 2.25 * rows), layout="constrained")
        panels = np.atleast_1d(fig.subplots(rows, columns, sharex=True, sharey=True)).ravel()
        for ax, arm in zip(panels, arms, strict=False):
            r = curves[arm]
            ax.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":")
            ax.plot(r.confidence, r.accuracy, arm_marker(arm) + "-", color=arm_color(arm, arms), markersize=4)
            ax.set_title(arm, fontsize=9)
            ax.set_xlim(0, 1.02)
            ax.set_ylim(-0.02, 1.04)
            ax.set_xticks([0, 0.5, 1])
            ax.set_yticks([0, 0.5, 1])
        for ax in panels[len(arms) :]:
            ax.set_axis_off()
        fig.supxlabel("probability that the classifier gives its answer", fontsize=8.5, color=MUTED)
        fig.supylabel("share that is right", fontsize=8.5, color=MUTED)
        _save(fig, path)


def _save(fig: Figure, path: str | Path) -> None:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, metadata={"Software": None})  # or matplotlib's version would be in the bytes
