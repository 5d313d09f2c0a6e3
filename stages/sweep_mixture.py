"""sweep_mixture: the classifier at several ratios of synthetic to real images, val choosing; and on fewer photos."""

from stages._entry import Stage, main


def run(stage: Stage) -> None:
    import itertools
    import json

    from pipeline.gan.class_images import draw_class
    from pipeline.images.manifest import groups_of
    from pipeline.images.mixing import mixtures, share_of_groups, synthetic_counts
    from pipeline.images.photos import resized
    from pipeline.images.store import load_store
    from pipeline.learn.predictions import read_val_predictions, write_results
    from pipeline.learn.trained import predict
    from pipeline.learn.training_sets import train_on_each
    from pipeline.measure.mixture_choice import PHOTOS, choose_ratio, choose_simplest, describe_choice
    from pipeline.measure.statistics import REFERENCES

    classes = list(stage.params.classes)
    ratios = [0.0, *sorted(stage.section["ratios"])]
    train, val = (load_store(f"data/arrays/photos/{side}", classes) for side in ("train", "val"))
    on_val = {"classes": classes, "groups": groups_of(val, "data/split/manifest.csv", "val")}
    controls = {arm: read_val_predictions(f"results/classifier/{arm}", val) for arm in REFERENCES}
    control = choose_simplest(val.labels, controls, **on_val)
    recipe = stage.params.arms[control.chosen]
    counts = {ratio: synthetic_counts(train, ratio) for ratio in ratios}
    drawn_by, device = stage.params.generate, stage.device
    synthetic = {}
    for name, count in counts[ratios[-1]].items():
        drawn = draw_class(
            f"models/gan/class/{name}",
            name,
            count,
            img_resolution=stage.params.split.img_resolution,
            seed=drawn_by.seed,
            truncation=drawn_by.truncation,
            device=device,
        )
        synthetic[name] = resized(drawn, train.images.shape[1])
    leaves = groups_of(train, "data/split/manifest.csv", "train")
    fewer = {
        f"{PHOTOS}{share:g}": share_of_groups(train, leaves, share, seed=stage.params.split.seed)
        for share in sorted(stage.section["photo_shares"])
    }
    fewer = {name: of for name, of in fewer.items() if len(of.labels) < len(train.labels)}  # few leaves: all of them
    trained = train_on_each(
        itertools.chain(mixtures(train, synthetic, ratios), fewer.items()),
        val,
        device=device,
        report=stage.report,
        state_dir=stage.state_dir,
        looks_dir=stage.looks_dir,
        sampling=recipe.sampling,
        augment=recipe.augment,
        **stage.params.train_classifier.model_dump(),
    )
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
