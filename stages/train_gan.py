"""train_gan: one conditional DCGAN over all classes."""

from stages._entry import Stage, main


def run(stage: Stage) -> None:
    from pipeline.gan.training_loop import train
    from pipeline.images.store import load_store

    store = load_store("data/arrays/train", stage.params.classes)
    with stage.fresh("models/gan/joint") as out:
        finals = train(
            store.images,
            store.labels,
            store.classes,
            out,
            **stage.section,
            device=stage.device,
            state_dir=stage.state_dir,
            report=stage.report,
            description=stage.name,
        )
    stage.finals(finals)
    stage.picture("models/gan/joint/final.png", "samples.png")
    stage.picture("models/gan/joint/training.gif", "training.gif")


if __name__ == "__main__":
    main(__doc__, run)
