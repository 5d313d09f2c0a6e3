"""split: the raw set into train, val and test, checked image by image, never dividing a group."""

from stages._entry import Stage, main

SIDES = ("train", "val", "test")


def run(stage: Stage) -> None:
    from pipeline.images.audit import write_audit
    from pipeline.images.split import split_images
    from pipeline.images.store import load_store
    from pipeline.measure.shortcut import border_color_score

    classes = list(stage.params.classes)
    with stage.fresh("data/split", *(f"data/arrays/{side}" for side in SIDES)) as (out, *stores):
        arrays = out / "arrays"
        audit = split_images(
            stage.params.data.raw_dir, out, arrays, classes=classes, **stage.section, report=stage.report
        )
        for side, folder in zip(SIDES, stores, strict=True):
            folder.rmdir()
            (arrays / side).rename(folder)
        arrays.rmdir()
        train = load_store(stores[0], classes)
        shortcut = border_color_score(
            train.images, train.labels, groups=_groups(out / "manifest.csv", train), seed=stage.section["seed"]
        )
        audit["shortcut"] = {key: round(value, 6) for key, value in shortcut.items()}
        write_audit(audit, out)
    counts = {f"{side}/{name}": audit["classes"][name][side] for name in classes for side in SIDES}
    stage.finals(
        counts
        | {f"images/{key}": n for key, n in audit["images"].items()}
        | {f"shortcut/{key}": value for key, value in audit["shortcut"].items()}
    )


def _groups(manifest, train):
    """The group of each row of the train store, as the manifest names it."""
    import csv

    with open(manifest, newline="", encoding="utf-8") as f:
        groups = {row["file"]: row["group"] for row in csv.DictReader(f)}
    return [groups[f"train/{train.classes[k]}/{file}"] for k, file in zip(train.labels, train.files, strict=True)]


if __name__ == "__main__":
    main(__doc__, run)
