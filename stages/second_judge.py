"""second_judge: the controls and the GAN's candidate once more, by a classifier of another kind; and colours alone."""

from stages._entry import Stage, main


def run(stage: Stage) -> None:
    from functools import partial

    import numpy as np

    from pipeline.features.colours import Colours
    from pipeline.images.photos import load_training_set, resized
    from pipeline.images.store import Store, load_store
    from pipeline.learn.predictions import read_val_macro_f1, write_results
    from pipeline.learn.probe import fit_probes
    from pipeline.learn.training_sets import folders_of_gans, train_with_gans
    from pipeline.measure.statistics import REFERENCES
    from pipeline.measure.verdict import MATCHED_CONTROL, choose_candidate

    section = dict(stage.section)
    if not section.pop("enabled"):
        with stage.fresh("results/second_judge"):  # an output that DVC can hold, with nothing in it
            pass
        stage.finals({})
        return
    arms, classes, photos = stage.params.arms, list(stage.params.classes), "data/arrays/photos"
    on_val = {
        arm: float(np.mean(read_val_macro_f1(f"results/classifier/{arm}"))) for arm in MATCHED_CONTROL if arm in arms
    }

    def seen(store: Store) -> Store:  # no larger than the network sees: at every step it would be made smaller
        side = min(store.images.shape[1], section["input_size"] or store.images.shape[1])
        return store._replace(images=resized(store.images, side))

    val = seen(load_store(f"{photos}/val", classes))
    trained = []
    for name in (*REFERENCES, choose_candidate(on_val)):
        arm = arms[name]

        def with_images(folder: str, arm=arm) -> Store:
            of_arm = {"resolution": arm.resolution, "background": arm.background}
            return seen(load_training_set(folder, f"{photos}/train", classes, **of_arm))

        trained += train_with_gans(
            [partial(with_images, folder) for folder in folders_of_gans(arm.train, stage.params.repeat_gan.seeds)],
            val,
            sampling=arm.sampling,
            augment=arm.augment,
            device=stage.device,
            report=lambda row, step, name=name: stage.report({f"{k}/{name}": v for k, v in row.items()}, step),
            state_dir=stage.state_dir,
            looks_dir=stage.looks_dir,
            method=name,
            **section,
        )
    photos_alone = seen(load_store(f"{photos}/train", classes))
    by_colour = fit_probes(photos_alone, val, looks=Colours(), seeds=[0], views=0, sampling="balanced")
    test = seen(load_store(f"{photos}/test", classes))  # first read here, when every checkpoint is chosen
    with stage.fresh("results/second_judge") as out:
        finals = write_results(out, trained, {"val": val, "test": test})
        of_colour = write_results(out / "colours", by_colour, {"val": val, "test": test})
        finals |= {f"colours/{name}": value for name, value in of_colour.items()}
    stage.finals(finals)


if __name__ == "__main__":
    main(__doc__, run)
