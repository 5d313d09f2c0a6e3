"""split: the raw set into train, val and test, checked image by image, never dividing a group."""

from stages._entry import Stage, main

STORES = ("train", "val", "test", "photos/train", "photos/val", "photos/test")


def run(stage: Stage) -> None:
    import shutil

    from pipeline.images.audit import enlarged_sentence, write_audit
    from pipeline.images.background import find_leaves
    from pipeline.images.capture_order import capture_numbers, numbers_restart
    from pipeline.images.split import SIDES, read_rows, split_images
    from pipeline.images.store import load_store
    from pipeline.measure.shortcut import shortcut_scores

    classes = list(stage.params.classes)
    with stage.fresh("data/split", *(f"data/arrays/{store}" for store in STORES)) as (out, *stores):
        arrays = out / "arrays"
        audit = split_images(
            stage.params.data.raw_dir, out, arrays, classes=classes, **stage.section, report=stage.report
        )
        for store, folder in zip(STORES, stores, strict=True):
            folder.rmdir()
            (arrays / store).rename(folder)
        shutil.rmtree(arrays)
        train = load_store(stores[0], classes)  # of train alone: val and test stay unseen
        rows = read_rows(out / "manifest.csv", "train", train)
        kinds, numbers = capture_numbers([row["source"] for row in rows])
        masks, found = find_leaves(train.images)
        audit["shortcut"] = shortcut_scores(
            train.images,
            train.labels,
            masks=masks,
            sizes=[(int(row["width"]), int(row["height"])) for row in rows],
            order=None if numbers_restart(train.labels, numbers) else (kinds, numbers),
            groups=[row["group"] for row in rows],
            seed=stage.section["seed"],
        )
        audit["leaf_masks"] = {"images": len(found), "leaf_not_found": int((~found).sum())}
        write_audit(audit, out)
    print(f"split: {enlarged_sentence(audit)}", flush=True)
    counts = {f"{side}/{name}": audit["classes"][name][side] for name in classes for side in SIDES}
    stage.finals(
        counts
        | {f"images/{key}": n for key, n in audit["images"].items()}
        | {f"shortcut/{name}/{key}": n for name, score in audit["shortcut"].items() for key, n in score.items()}
    )


if __name__ == "__main__":
    main(__doc__, run)
