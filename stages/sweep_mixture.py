"""sweep_mixture: the classifier at several ratios of synthetic to real images, val choosing; and on fewer photos."""

from stages._entry import Stage, main


def run(stage: Stage) -> None:
    import json
    from functools import partial

    import numpy as np

    from pipeline import controls_among
    from pipeline.gan.class_images import draw_class
    from pipeline.images.manifest import groups_of
    from pipeline.images.mixing import mixtures, share_of_groups, synthetic_counts
    from pipeline.images.photos import resized
    from pipeline.images.store import load_store
    from pipeline.learn.judge import with_effort
    from pipeline.learn.predictions import read_val_predictions, write_results
    from pipeline.learn.trained import predict
    from pipeline.learn.training_sets import train_on_each
    from pipeline.measure.mixture_choice import PHOTOS, choose_ratio, choose_simplest, describe_choice

    classes = list(stage.params.classes)
    ratios = [0.0, *sorted(stage.section["ratios"])]
    train, val = (load_store(f"data/arrays/photos/{side}", classes) for side in ("train", "val"))
    on_val = {"classes": classes, "groups": groups_of(val, "data/split/manifest.csv", "val")}
    controls = {
        arm: read_val_predictions(f"results/classifier/{arm}", val) for arm in controls_among(stage.params.arms)
    }
    control = choose_simplest(val.labels, controls, **on_val)
    recipe = stage.params.arms[control.chosen]
    counts = {ratio: synthetic_counts(train, ratio) for ratio in ratios}
    drawn_by, device = stage.params.generate, stage.device

    def synthetic(models_dir: str) -> dict[str, np.ndarray]:
        return {
            name: resized(
                draw_class(
                    f"{models_dir}/{name}",
                    name,
                    count,
                    img_resolution=stage.params.split.img_resolution,
                    seed=drawn_by.seed,
                    truncation=drawn_by.truncation,
                    device=device,
                ),
                train.images.shape[1],
            )
            for name, count in counts[ratios[-1]].items()
        }

    leaves = groups_of(train, "data/split/manifest.csv", "train")
    fewer = {
        f"{PHOTOS}{share:g}": share_of_groups(train, leaves, share, seed=stage.params.split.seed)
        for share in sorted(stage.section["photo_shares"])
    }
    fewer = {name: of for name, of in fewer.items() if len(of.labels) < len(train.labels)}  # few leaves: all of them
    settings = with_effort(stage.params.train_classifier.model_dump(), recipe.effort)
    seeds = settings.pop("seeds")
    train_sets = partial(
        train_on_each,
        val=val,
        device=device,
        report=stage.report,
        looks_dir=stage.looks_dir,
        sampling=recipe.sampling,
        augment=recipe.augment,
        **settings,
    )
    trained = train_sets({"0": train, **fewer}.items(), seeds=seeds, state_dir=stage.state_dir)
    # The n-th seed of each mixture gets the n-th GAN's images, as in the arms
    repeats = stage.params.repeat_gan.seeds
    gans = ["models/gan/class", *(f"models/repeats/{seed}/class" for seed in repeats)]
    for models_dir, own in zip(gans, [[seed] for seed in seeds] if repeats else [seeds], strict=True):
        mixed = mixtures(train, synthetic(models_dir), ratios[1:])
        state_dir = stage.state_dir / models_dir / stage.name if repeats else stage.state_dir
        trained += train_sets(mixed, seeds=own, state_dir=state_dir)
    order = [f"{ratio:g}" for ratio in ratios] + list(fewer)
    trained.sort(key=lambda t: order.index(t.method))
    predicted = {
        ratio: [predict(t.model, val.images).argmax(axis=1) for t in trained if t.method == f"{ratio:g}"]
        for ratio in ratios
    }
    choice = choose_ratio(val.labels, predicted, **on_val)
    test = load_store("data/arrays/photos/test", classes)  # first read here, when the mixture is chosen
    with stage.fresh("results/sweep") as out:
        finals = write_results(
            out,
            trained,
            {"val": val, "test": test},
            extra={"chosen_ratio": choice.chosen, "best_val_ratio": choice.best},
            only={"test": {"0", f"{choice.chosen:g}", *fewer}},
        )
        photos = {name: len(of.labels) for name, of in fewer.items()} | {"0": len(train.labels)}
        described = describe_choice(choice, counts, control) | {"photos": photos}
        text = json.dumps(described, indent=2, ensure_ascii=False, allow_nan=False)
        (out / "choice.json").write_text(text + "\n", encoding="utf-8")
    stage.finals(finals)


if __name__ == "__main__":
    main(__doc__, run)
