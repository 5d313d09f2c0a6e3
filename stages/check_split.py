"""check_split: what params.yaml asks of the split, before anything is trained on it."""

from stages._entry import Stage, main


def run(stage: Stage) -> None:
    from pipeline.images.demands import check_demands

    check_demands(
        "data/split/manifest.csv",
        classes=stage.params.classes,
        label_budgets=stage.params.label_budgets,
        minority_counts=stage.params.minority_counts,
        minority_class=stage.params.study_minority.class_name,
        target=stage.params.generate.target,
    )
    with stage.fresh("results/check_split") as out:  # see check_params
        (out / "passed.txt").write_text("train holds what params.yaml asks for.\n", encoding="utf-8")


if __name__ == "__main__":
    main(__doc__, run, tracked=False)
