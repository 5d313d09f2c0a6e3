"""The downstream classifier on several training sets: the same instrument for each, so that they compare."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from pipeline.images.store import Store
from pipeline.learn.judge import train_judge
from pipeline.learn.trained import Trained


def folders_of_gans(train: str, repeats: Sequence[int]) -> list[str]:
    """Where an arm's training set lies: once where it holds photos alone, else once for each GAN.

    Args:
        train: As in `arms` of params.yaml: of the first GAN, or of none.
        repeats: Seeds of the further ones.
    """
    if train == "data/arrays/train":
        return [train]
    return [train, *(f"data/repeats/{seed}/sets/{Path(train).name}" for seed in repeats)]


def train_with_gans(
    sets: Sequence[Callable[[], Store]],
    val: Store,
    *,
    seeds: Sequence[int],
    state_dir: Path,
    **settings: Any,
) -> list[Trained]:
    """One classifier a seed, the n-th on the images of the n-th GAN: what is said of their mean holds for other GANs.

    Args:
        sets: The training set with each GAN's images, made when it is its turn; of a single one all seeds are
            trained.
        val: Real images to choose checkpoints on.
        seeds: Of the classifiers; no more than sets, where there are several.
        state_dir: See `train_judge`; where there are several sets, each has a folder of its own in it.
        settings: Further arguments of `train_judge`.

    Returns:
        One `Trained` a seed, in order.

    Raises:
        ValueError: More seeds than GANs.
    """
    if len(sets) == 1:
        return train_judge(sets[0](), val, seeds=list(seeds), state_dir=state_dir, **settings)
    if len(seeds) > len(sets):
        raise ValueError(f"seeds must be no more than the {len(sets)} GANs. Got {len(seeds)} instead.")
    trained = []
    for seed, load in zip(seeds, sets, strict=False):
        own = state_dir / f"seed_{seed}" / state_dir.name  # whose last part stands in messages
        trained += train_judge(load(), val, seeds=[seed], state_dir=own, **settings)
    return trained


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
