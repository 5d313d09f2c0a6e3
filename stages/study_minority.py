"""study_minority: one class shrunk to n real images, a GAN trained without the rest, and what its images give back."""

from stages._entry import Stage, main


def run(stage: Stage) -> None:
    import json
    from functools import partial

    import numpy as np

    from pipeline import InputError
    from pipeline.features.penultimate import penultimate_features
    from pipeline.features.random_features import random_extractor
    from pipeline.gan.class_images import draw_class
    from pipeline.gan.training_loop import train
    from pipeline.images.demands import class_to_shrink
    from pipeline.images.mixing import add_images, shrink_class
    from pipeline.images.photos import resized
    from pipeline.images.store import load_store
    from pipeline.learn.predictions import write_results
    from pipeline.learn.training_sets import train_on_each
    from pipeline.measure.checkpoint_score import CheckpointScorer

    if not stage.item.isdecimal():
        raise InputError(f"count '{stage.item}': expected a number of images, one of minority_counts in params.yaml.")
    classes, count, device = list(stage.params.classes), int(stage.item), stage.device
    name = class_to_shrink("data/split/manifest.csv", classes, stage.section["class_name"])
    small = {side: load_store(f"data/arrays/{side}", classes) for side in ("train", "val")}  # as a GAN sees them
    full, val = (load_store(f"data/arrays/photos/{side}", classes) for side in ("train", "val"))
    of_gan, shrunk = (shrink_class(of, name, count, seed=stage.section["seed"]) for of in (small["train"], full))
    missing = len(full.labels) - len(shrunk.labels)

    def by_class(store) -> dict[str, np.ndarray]:
        return {name: store.images[store.labels == k] for k, name in enumerate(classes)}

    # The classifier of train_extractor has seen the images that are taken away here; random features have not.
    score = CheckpointScorer(partial(penultimate_features, random_extractor(device)), by_class(small["val"]))
    settings = stage.params.train_gan.model_dump(exclude={"launcher", "num_processes", "total_kimg"})
    drawn_by = stage.params.generate
    with stage.fresh(f"models/minority/{count}", f"results/minority/{count}") as (model_dir, out):
        gan = train(
            by_class(of_gan),
            classes,
            model_dir,
            total_kimg=stage.section["total_kimg"],
            **settings,
            device=device,
            score=score,
            score_inputs=score.val or (),
            state_dir=stage.state_dir / "gan",
            report=lambda metrics, step: stage.report({f"gan/{key}": v for key, v in metrics.items()}, step),
            description=stage.name,
        )
        synthetic = draw_class(
            model_dir,
            name,
            missing,
            img_resolution=stage.params.split.img_resolution,
            seed=drawn_by.seed,
            truncation=drawn_by.truncation,
            device=device,
        )
        synthetic = resized(synthetic, full.images.shape[1])
        sets = {
            "full": full,
            "shrunk": shrunk,
            "restored": add_images(shrunk, {name: synthetic}),
        }
        trained = train_on_each(
            sets.items(),
            val,
            device=device,
            report=stage.report,
            state_dir=stage.state_dir,
            looks_dir=stage.looks_dir,
            sampling="balanced",  # as the arm `classic`
            augment="classic",
            **stage.params.train_classifier.model_dump(),
        )
        test = load_store("data/arrays/photos/test", classes)  # first read here, when every checkpoint is chosen
        counts = {"real_kept": count, "real_before": count + missing, "synthetic": missing}
        extra = {key: float(value) for key, value in counts.items()} | {f"gan/{k}": v for k, v in gan.items()}
        finals = write_results(out, trained, {"val": val, "test": test}, extra=extra)
        info = {"class": name, **counts, "total_kimg": stage.section["total_kimg"], "best_kimg": gan["best_kimg"]}
        text = json.dumps(info, indent=2, ensure_ascii=False, allow_nan=False)
        (out / "info.json").write_text(text + "\n", encoding="utf-8")
    stage.finals(finals)
    stage.picture(f"models/minority/{count}/final.png", "samples.png")


if __name__ == "__main__":
    main(__doc__, run, item="count")
