"""train_gan: one conditional DCGAN over all classes."""

from stages._entry import Stage, main


def launch(stage: Stage) -> list[str] | None:
    from pipeline.gan.distributed import LAUNCHERS

    start = LAUNCHERS[stage.section["launcher"]]
    return start(["stages.train_gan"], stage.section["num_processes"])


def run(stage: Stage) -> None:
    from functools import partial

    from pipeline.features.penultimate import penultimate_features
    from pipeline.features.saved import load_classifier
    from pipeline.gan.distributed import process_group
    from pipeline.gan.training_loop import train
    from pipeline.images.store import load_class
    from pipeline.measure.checkpoint_score import CheckpointScorer

    classes = list(stage.params.classes)
    section = {key: value for key, value in stage.section.items() if key not in ("launcher", "num_processes")}
    images = {name: load_class("data/arrays/train", name, mapped=True) for name in classes}
    extract = partial(penultimate_features, load_classifier("models/extractor/joint", stage.device))
    score = CheckpointScorer(extract, {name: load_class("data/arrays/val", name) for name in classes})
    with process_group(stage.device) as ranks, stage.fresh("models/gan/joint") as out:
        finals = train(
            images,
            classes,
            out,
            **section,
            device=stage.device,
            score=score,
            score_inputs=score.val or (),
            state_dir=stage.state_dir,
            report=stage.report,
            description=stage.name,
            ranks=ranks,
        )
    if ranks.rank > 0:
        return
    stage.finals(finals)
    stage.picture("models/gan/joint/final.png", "samples.png")
    stage.picture("models/gan/joint/training.gif", "training.gif")


if __name__ == "__main__":
    main(__doc__, run, launch=launch)
