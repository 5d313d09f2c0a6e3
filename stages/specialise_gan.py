"""specialise_gan: a conditional DCGAN for one class, fine-tuned from the joint one or trained alone."""

from stages._entry import Stage, main


def run(stage: Stage) -> None:
    from functools import partial

    from pipeline.features.penultimate import penultimate_features
    from pipeline.features.random_features import random_extractor
    from pipeline.features.saved import load_classifier
    from pipeline.gan.checkpoint import load_model
    from pipeline.gan.training_loop import train
    from pipeline.images.store import load_class
    from pipeline.measure.checkpoint_score import CheckpointScorer

    name = stage.item
    section = dict(stage.section)
    if section.pop("init") == "joint":
        joint, extractor = load_model("models/gan/joint"), load_classifier("models/extractor/joint", stage.device)
    else:
        joint, extractor = None, random_extractor(stage.device)
    extract = partial(penultimate_features, extractor)
    score = CheckpointScorer(extract, {name: load_class("data/arrays/val", name)})
    out_dir = f"models/gan/class/{name}"
    with stage.fresh(out_dir) as out:
        finals = train(
            {name: load_class("data/arrays/train", name, mapped=True)},
            joint.config["classes"] if joint else [name],
            out,
            **section,
            init=joint,
            device=stage.device,
            score=score,
            score_inputs=score.val or (),
            state_dir=stage.state_dir,
            report=stage.report,
            description=stage.name,
        )
    stage.finals(finals)
    stage.picture(f"{out_dir}/final.png", "samples.png")


if __name__ == "__main__":
    main(__doc__, run, item="class")
