"""train_extractor: the classifier of train by whose features the GANs choose their checkpoint on val."""

from stages._entry import Stage, main


def run(stage: Stage) -> None:
    from pipeline.features.saved import save_classifier
    from pipeline.images.store import load_store
    from pipeline.learn.classifier import train_classifier

    classes = list(stage.params.classes)
    train, val = (load_store(f"data/arrays/{name}", classes) for name in ("train", "val"))
    section = dict(stage.section)
    seed = section.pop("seed")
    (trained,) = train_classifier(
        train, val, seeds=[seed], device=stage.device, report=stage.report, state_dir=stage.state_dir, **section
    )
    with stage.fresh("models/extractor/joint") as out:
        save_classifier(
            out, trained.model, model=section["model"], classes=classes, input_size=section["input_size"],
            img_resolution=train.images.shape[1],
        )  # fmt: skip
    (chosen,) = (row for row in trained.history if row["step"] == trained.best_step)
    stage.finals({name: chosen[name] for name in ("val_macro_f1", "val_loss")} | {"best_step": trained.best_step})


if __name__ == "__main__":
    main(__doc__, run)
