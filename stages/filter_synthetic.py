"""filter_synthetic: the synthetic set of those images alone that pass rules set on val, balanced again."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from stages._entry import Stage, main

PLACES = (
    "data/filtered",
    "data/augmented_filtered",
    "data/arrays/filtered",
    "data/arrays/augmented_filtered",
    "results/filter",
)


def filter_images(
    stage: Stage,
    section: dict[str, Any],
    models_dir: str | Path,
    folders: Sequence[Path],
    *,
    state_dir: Path,
    report: Callable[[dict[str, float], int], None],
) -> dict[str, float]:
    """A teacher, the thresholds that val sets, and the set of those images that pass; the final numbers.

    Args:
        stage: Its classes, device and name, and the settings of generate.
        section: As of filter_synthetic, without `enabled`.
        models_dir: The GANs, one a class.
        folders: As PLACES.
        state_dir: Where a killed training of the teacher goes on from.
        report: Of the teacher's curves.
    """
    from pipeline.features.penultimate import Opened
    from pipeline.gan.filtered_set import write_filtered_set
    from pipeline.images.manifest import write_csv
    from pipeline.images.store import load_store
    from pipeline.learn.judge import train_judge
    from pipeline.measure.acceptance import COLUMNS, Examined, Judge, acceptance_table, choose_thresholds, thumbnails

    classes = list(stage.params.classes)
    train, val = (load_store(f"data/arrays/{name}", classes) for name in ("train", "val"))
    settings = dict(section)
    rules, seed = settings.pop("rules"), settings.pop("seed")
    limits = {key: settings.pop(key) for key in ("max_candidates_factor", "when_starving")}
    # A teacher of its own: the extractor has chosen the GANs' checkpoints, so its likings are in the candidates already
    (teacher,) = train_judge(
        train, val, seeds=[seed], device=stage.device, report=report, state_dir=state_dir,
        looks_dir=stage.looks_dir, **settings,
    )  # fmt: skip
    teacher.model.keeps = False  # of a probe: nobody asks again about a candidate
    with Opened(teacher.model) as look:

        def examine(images) -> Examined:
            features, probabilities = look(images)
            return Examined(probabilities, features, thumbnails(images))

        of_train, of_val = examine(train.images), examine(val.images)
        thresholds = choose_thresholds(of_train, train.labels, of_val, val.labels, classes, rules)
        judges, judged_val = {}, {}
        for k, name in enumerate(classes):
            own = {rule: by_class[name] for rule, by_class in thresholds.items()}
            references = of_train.take(train.labels == k)
            judges[name] = Judge(k, references, own)
            alone = {rule: own[rule] for rule in own if rule != "duplicates"}  # nobody accepts real images
            judged_val[name] = Judge(k, references, alone)(of_val.take(val.labels == k))

        generate = stage.params.generate
        judged = write_filtered_set(
            train, "data/split/train", models_dir, *folders, examine=examine, judges=judges, **limits,
            target=generate.target, seed=generate.seed, truncation=generate.truncation, device=stage.device,
        )  # fmt: skip
    rows, figures = acceptance_table(judged, judged_val, thresholds)
    write_csv(folders[-1] / "acceptance.csv", list(COLUMNS), ([row[key] for key in COLUMNS] for row in rows))
    for name, seen in judged.items():
        if filled := sum(candidate.filled for candidate in seen):
            figures[f"filled/{name}"] = filled
            print(f"{stage.name}: {name} starves: {filled} rejected images stand in for accepted ones.", flush=True)
    (chosen,) = (row for row in teacher.history if row["step"] == teacher.best_step)
    return figures | {"val_macro_f1": chosen["val_macro_f1"], "best_step": teacher.best_step}


def run(stage: Stage) -> None:
    section = dict(stage.section)
    if section.pop("enabled"):
        with stage.fresh(*PLACES) as folders:
            finals = filter_images(
                stage, section, "models/gan/class", folders, state_dir=stage.state_dir, report=stage.report
            )
    else:
        from pipeline.images.manifest import write_csv
        from pipeline.measure.acceptance import COLUMNS

        with stage.fresh(*PLACES) as folders:  # outputs that DVC can hold, with nothing in them
            for folder in folders:
                write_csv(folder / "manifest.csv", ["file", "class"], [])
            write_csv(folders[-1] / "acceptance.csv", list(COLUMNS), [])
        finals = {}
    stage.finals(finals)


if __name__ == "__main__":
    main(__doc__, run)
