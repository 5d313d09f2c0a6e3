"""The picture of the minority study: the shrunk class's F1 over the real images that were left of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from pipeline.measure.minority import METHODS
from pipeline.report.class_labels import drawable
from pipeline.report.minority_results import MinorityStudy
from pipeline.report.plots import ARM_COLORS, STYLE

LOOKS = {  # method → colour, marker, what it is
    "full": (ARM_COLORS["real"], "o", "all real images"),
    "shrunk": (ARM_COLORS["classic"], "s", "few real images"),
    "restored": (ARM_COLORS["synthetic_classic"], "D", "few real + synthetic"),
}


def draw_minority(path: str | Path, studies: Sequence[MinorityStudy]) -> None:
    """F1 of the class for all three classifiers, with intervals.

    Args:
        path: PNG to write.
        studies: One a count, of one class.
    """
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(9.2, 3.4), layout="constrained")
        ax = fig.subplots()
        ax.grid(axis="x", visible=False)
        for i, method in enumerate(METHODS):
            color, marker, words = LOOKS[method]
            values = [study.effect.scores["f1"][method] for study in studies]
            x = [row + (i - 1) * 0.07 for row in range(len(studies))]
            ax.vlines(x, [v.lower for v in values], [v.upper for v in values], color=color, linewidth=2, alpha=0.75)
            dashes = "--" if method == "restored" else "-"
            ax.plot(
                x, [v.mean for v in values], dashes, color=color, linewidth=1.4, marker=marker, markersize=6,
                label=f"{method}: {words}",
            )  # fmt: skip
        ax.set_xticks(range(len(studies)), [str(study.info["real_kept"]) for study in studies])
        ax.set_xlim(-0.5, len(studies) - 0.5)
        ax.set_ylim(-0.03, 1.03)
        ax.set_xlabel("real images of the class left in train")
        name = studies[0].info["class"]
        ax.set_title(f"F1 of {name if drawable(name) else 'the class'} on test, {studies[0].confidence:.0%} intervals")
        fig.legend(loc="outside right center", fontsize=8.5)
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        fig.savefig(path, metadata={"Software": None})  # or matplotlib's version would be in the bytes
