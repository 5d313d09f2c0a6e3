"""train_classifier: the downstream classifier on one arm's images, several seeds, the same steps for every arm."""

from stages._entry import Stage, main


def run(stage: Stage) -> None:
    from pipeline import InputError
    from pipeline.images.background import with_background
    from pipeline.images.photos import load_training_set
    from pipeline.images.store import load_store
    from pipeline.learn.judge import train_judge
    from pipeline.learn.predictions import write_results

    arms = stage.params.arms
    if stage.item not in arms:
        raise InputError(f"arm '{stage.item}': expected one of {list(arms)}, the arms of params.yaml.")
    arm = arms[stage.item]
    classes, photos = list(stage.params.classes), "data/arrays/photos"
    seen = {"resolution": arm.resolution, "background": arm.background}
    val = with_background(load_store(f"{photos}/val", classes), arm.background)
    trained = train_judge(
        load_training_set(arm.train, f"{photos}/train", classes, **seen),
        val,
        sampling=arm.sampling,
        augment=arm.augment,
        device=stage.device,
        report=stage.report,
        state_dir=stage.state_dir,
        looks_dir=stage.looks_dir,
        **stage.section,
    )
    # first read here, when every checkpoint is chosen
    test = with_background(load_store(f"{photos}/test", classes), arm.background)
    with stage.fresh(f"results/classifier/{stage.item}") as out:
        finals = write_results(out, trained, {"val": val, "test": test})
    stage.finals(finals)


if __name__ == "__main__":
    main(__doc__, run, item="arm")
