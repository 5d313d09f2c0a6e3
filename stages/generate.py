"""generate: an exactly balanced, labelled synthetic set, and real train + synthetic ready to feed to any classifier."""

from stages._entry import Stage, main


def launch(stage: Stage) -> list[str] | None:
    from pipeline.gan.distributed import LAUNCHERS

    start = LAUNCHERS[stage.section["launcher"]]
    return start(["stages.generate"], stage.section["num_processes"])


def run(stage: Stage) -> None:
    from pipeline.gan.balanced_set import write_balanced_set
    from pipeline.gan.distributed import process_group
    from pipeline.images.store import load_store

    store = load_store("data/arrays/train", stage.params.classes)
    section = {key: value for key, value in stage.section.items() if key not in ("launcher", "num_processes")}
    places = ("data/synthetic", "data/augmented", "data/arrays/synthetic", "data/arrays/augmented")
    with process_group(stage.device) as ranks, stage.fresh(*places) as out_dirs:
        finals = write_balanced_set(
            store, "data/split/train", "models/gan/class", *out_dirs, **section, device=stage.device, ranks=ranks
        )
    stage.finals(finals)


if __name__ == "__main__":
    main(__doc__, run, launch=launch)
