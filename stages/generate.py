"""generate: an exactly balanced, labelled synthetic set, and real train + synthetic ready to feed to any classifier."""

from stages._entry import Stage, main


def run(stage: Stage) -> None:
    from pipeline.gan.balanced_set import write_balanced_set
    from pipeline.images.store import load_store

    store = load_store("data/arrays/train", stage.params.classes)
    places = ("data/synthetic", "data/augmented", "data/arrays/synthetic", "data/arrays/augmented")
    with stage.fresh(*places) as out_dirs:
        finals = write_balanced_set(
            store, "data/split/train", "models/gan/class", *out_dirs, **stage.section, device=stage.device
        )
    stage.finals(finals)


if __name__ == "__main__":
    main(__doc__, run)
