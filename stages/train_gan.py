"""train_gan: one conditional DCGAN over all classes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from stages._entry import Stage, main


def launch(stage: Stage) -> list[str] | None:
    from pipeline.gan.distributed import LAUNCHERS

    start = LAUNCHERS[stage.section["launcher"]]
    return start(["stages.train_gan"], stage.section["num_processes"])


def train_joint(
    stage: Stage,
    section: dict[str, Any],
    out: Path,
    *,
    state_dir: Path,
    report: Callable[[dict[str, float], int], None],
    ranks: Any,
) -> dict[str, float]:
    """One GAN of all classes into `out`, its final numbers.

    Args:
        stage: Its classes, device and name.
        section: As of train_gan.
        out: An empty folder.
        state_dir: Where a killed training goes on from.
        report: Of its curves.
        ranks: Which of several processes this is.
    """
    from functools import partial

    from pipeline.features.penultimate import penultimate_features
    from pipeline.features.saved import load_classifier
    from pipeline.gan.training_loop import train
    from pipeline.images.store import load_class
    from pipeline.measure.checkpoint_score import CheckpointScorer

    classes = list(stage.params.classes)
    settings = {key: value for key, value in section.items() if key not in ("launcher", "num_processes")}
    images = {name: load_class("data/arrays/train", name, mapped=True) for name in classes}
    extract = partial(penultimate_features, load_classifier("models/extractor/joint", stage.device))
    score = CheckpointScorer(extract, {name: load_class("data/arrays/val", name) for name in classes})
    return train(
        images,
        classes,
        out,
        **settings,
        device=stage.device,
        score=score,
        score_inputs=score.val or (),
        state_dir=state_dir,
        report=report,
        description=stage.name,
        ranks=ranks,
    )


def run(stage: Stage) -> None:
    from pipeline.gan.distributed import process_group

    with process_group(stage.device) as ranks, stage.fresh("models/gan/joint") as out:
        finals = train_joint(stage, stage.section, out, state_dir=stage.state_dir, report=stage.report, ranks=ranks)
    if ranks.rank > 0:
        return
    stage.finals(finals)
    stage.picture("models/gan/joint/final.png", "samples.png")
    stage.picture("models/gan/joint/training.gif", "training.gif")


if __name__ == "__main__":
    main(__doc__, run, launch=launch)
