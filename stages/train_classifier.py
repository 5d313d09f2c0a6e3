"""train_classifier: the downstream classifier on the images of each arm, several seeds, by the same recipe."""

from stages._costs import noted
from stages._entry import Stage, main


def run(stage: Stage) -> None:
    from functools import partial

    from pipeline.images.background import with_background
    from pipeline.images.photos import load_training_set
    from pipeline.images.store import load_store
    from pipeline.learn.judge import with_effort
    from pipeline.learn.predictions import write_results
    from pipeline.learn.training_sets import folders_of_gans, train_with_gans

    classes, photos = list(stage.params.classes), "data/arrays/photos"
    for name, arm in stage.params.arms.items():
        settings = with_effort(stage.section, arm.effort)
        with noted(f"{stage.name}@{name}"), stage.part(name, {**arm.model_dump(), **settings}) as part:
            seen = {"resolution": arm.resolution, "background": arm.background}
            val = with_background(load_store(f"{photos}/val", classes), arm.background)
            folders = folders_of_gans(arm.train, stage.params.repeat_gan.seeds)
            trained = train_with_gans(
                [partial(load_training_set, folder, f"{photos}/train", classes, **seen) for folder in folders],
                val,
                sampling=arm.sampling,
                augment=arm.augment,
                device=part.device,
                report=part.report,
                state_dir=part.state_dir,
                looks_dir=part.looks_dir,
                **settings,
            )
            # first read here, when the arm's every checkpoint is chosen
            test = with_background(load_store(f"{photos}/test", classes), arm.background)
            with part.fresh(f"results/classifier/{name}") as out:
                finals = write_results(out, trained, {"val": val, "test": test})
            part.finals(finals, own_file=False)  # results/classifier/<arm>/metrics.json holds them


if __name__ == "__main__":
    main(__doc__, run, tracked=False)
