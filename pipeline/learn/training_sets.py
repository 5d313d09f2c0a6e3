"""The downstream classifier on several training sets in turn: the same instrument for each, so that they compare."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pipeline.images.store import Store
from pipeline.learn.judge import train_judge
from pipeline.learn.trained import Trained


def train_on_each(
    sets: Iterable[tuple[str, Store]],
    val: Store,
    *,
    report: Callable[[dict[str, float], int], None] | None = None,
    state_dir: str | Path | None = None,
    looks_dir: str | Path | None = None,
    **settings: Any,
) -> list[Trained]:
    """Train the classifier on each set, by the same recipe, with the same steps and seeds.

    Args:
        sets: Method and its training images; asked for one at a time, so that one is in memory at a time.
        val: Real images to choose checkpoints on.
        report: Called with losses and val figures of a method and seed, and the step.
        state_dir: See `train_judge`; each method has a folder of its own in it, where it stays when it is
            trained, so that a kill in a later one takes none with it.
        looks_dir: See `train_judge`.
        settings: Further arguments of `train_judge`.

    Returns:
        One `Trained` a method and seed, in the order of `sets`.

    Raises:
        InputError: See `train_judge`.
        Interrupted: A signal came; what is trained is saved in `state_dir`.
    """
    trained = []
    for method, store in sets:

        def report_method(metrics: dict[str, float], step: int, method: str = method) -> None:
            if report is not None:
                report({f"{key}/{method}": value for key, value in metrics.items()}, step)

        trained += train_judge(
            store, val, report=report_method, state_dir=state_dir, looks_dir=looks_dir, method=method, **settings
        )
    return trained
