"""specialise_gan: a conditional DCGAN for one class, fine-tuned from the joint one or trained alone."""

from stages._entry import Stage, main


def run(stage: Stage) -> None:
    import numpy as np

    from pipeline.gan.checkpoint import load_model
    from pipeline.gan.training_loop import train
    from pipeline.images.store import load_class

    name = stage.item
    images = load_class("data/arrays/train", name)
    section = dict(stage.section)
    joint = load_model("models/gan/joint") if section.pop("init") == "joint" else None
    classes = joint.config["classes"] if joint else [name]
    out_dir = f"models/gan/class/{name}"
    with stage.fresh(out_dir) as out:
        finals = train(
            images,
            np.full(len(images), classes.index(name)),
            classes,
            out,
            **section,
            init=joint,
            device=stage.device,
            state_dir=stage.state_dir,
            report=stage.report,
            description=stage.name,
        )
    stage.finals(finals)
    stage.picture(f"{out_dir}/final.png", "samples.png")


if __name__ == "__main__":
    main(__doc__, run, item="class")
