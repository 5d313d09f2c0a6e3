"""specialise_gan: a conditional DCGAN for one class, fine-tuned from the joint one or trained alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from stages._entry import Stage, main


def specialise(
    stage: Stage,
    name: str,
    section: dict[str, Any],
    joint_dir: str | Path,
    out: Path,
    *,
    state_dir: Path,
    report: Callable[[dict[str, float], int], None],
) -> dict[str, float]:
    """A class's GAN into `out`, its final numbers.

    Args:
        stage: Its device and name.
        name: The class.
        section: As of specialise_gan.
        joint_dir: The model to start from, where the section says so.
        out: An empty folder.
        state_dir: Where a killed training goes on from.
        report: Of its curves.
    """
    from functools import partial

    from pipeline.features.penultimate import penultimate_features
    from pipeline.features.random_features import random_extractor
    from pipeline.features.saved import load_classifier
    from pipeline.gan.checkpoint import load_model
    from pipeline.gan.training_loop import train
    from pipeline.images.store import load_class
    from pipeline.measure.checkpoint_score import CheckpointScorer

    settings = dict(section)
    if settings.pop("init") == "joint":
        joint, extractor = load_model(joint_dir), load_classifier("models/extractor/joint", stage.device)
    else:
        joint, extractor = None, random_extractor(stage.device)
    extract = partial(penultimate_features, extractor)
    score = CheckpointScorer(extract, {name: load_class("data/arrays/val", name)})
    return train(
        {name: load_class("data/arrays/train", name, mapped=True)},
        joint.config["classes"] if joint else [name],
        out,
        **settings,
        init=joint,
        device=stage.device,
        score=score,
        score_inputs=score.val or (),
        state_dir=state_dir,
        report=report,
        description=stage.name,
    )


def run(stage: Stage) -> None:
    name, out_dir = stage.item, f"models/gan/class/{stage.item}"
    with stage.fresh(out_dir) as out:
        finals = specialise(
            stage, name, stage.section, "models/gan/joint", out, state_dir=stage.state_dir, report=stage.report
        )
    stage.finals(finals)
    stage.picture(f"{out_dir}/final.png", "samples.png")


if __name__ == "__main__":
    main(__doc__, run, item="class")
