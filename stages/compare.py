"""compare: every arm and budget side by side, with intervals, and the verdict that the numbers force."""

from stages._costs import costs_sentence
from stages._entry import Stage, main
from stages._inputs import metrics_file, stage_names

BACKGROUNDS = (
    "Each class's border colours, a stripe an image, from dark to light; and the first images of train: whole, the "
    "leaf alone, the background alone"
)


def run(stage: Stage) -> None:
    import json
    from pathlib import Path

    from pipeline.images.background import leaf_mask
    from pipeline.images.store import load_store
    from pipeline.machine import in_words, one_machine
    from pipeline.report.audit_plots import IMAGES_A_CLASS, draw_backgrounds
    from pipeline.report.checkout import made_by_in_words
    from pipeline.report.comparison import compare_predictions
    from pipeline.report.comparisons import comparison_sentence, number_of_comparison
    from pipeline.report.evidence import Sources
    from pipeline.report.plots import draw_side_by_side
    from pipeline.report.table import summary

    classes, arms = list(stage.params.classes), list(stage.params.arms)
    budgets, counts = ([str(n) for n in of] for of in (stage.params.label_budgets, stage.params.minority_counts))
    is_rendered_sample = stage.params.data.raw_dir == "data/sample"
    out_dir = "results/compare"
    computed_on = one_machine(
        {f"train_classifier@{arm}": f"results/classifier/{arm}" for arm in arms}
        | {"sweep_mixture": "results/sweep"}
        | ({"second_judge": "results/second_judge"} if stage.params.second_judge.enabled else {})
        | {f"study_minority@{count}": f"results/minority/{count}" for count in counts}
        | {f"train_sgan@{budget}": f"results/sgan/{budget}" for budget in budgets}
    )
    made_by = made_by_in_words(Path("."))
    with stage.fresh(out_dir) as out:
        side_by_side, backgrounds = out / "plots" / "samples.png", out / "plots" / "backgrounds.png"
        train, synthetic = (load_store(f"data/arrays/{name}", classes) for name in ("train", "synthetic"))
        of_train, of_synthetic = (
            {name: store.images[store.labels == k] for k, name in enumerate(classes)} for store in (train, synthetic)
        )
        draw_side_by_side(side_by_side, of_train, of_synthetic)
        draw_backgrounds(
            backgrounds, of_train, {name: leaf_mask(images[:IMAGES_A_CLASS]) for name, images in of_train.items()}
        )
        by_file = [
            {(classes[k], file): image for k, file, image in zip(store.labels, store.files, store.images, strict=True)}
            for store in (synthetic, train)
        ]
        finals = compare_predictions(
            {arm: f"results/classifier/{arm}" for arm in arms},
            {budget: f"results/sgan/{budget}" for budget in budgets},
            out_dir=out,
            classes=classes,
            manifest="data/split/manifest.csv",
            audit="data/split/audit.json",
            fidelity="results/assess/fidelity.json",
            pictures={
                "Real beside synthetic, the first of each": side_by_side,
                "The joint GAN's training": "models/gan/joint/training.gif",
            },
            audit_pictures={BACKGROUNDS: backgrounds},
            sources=Sources(
                classifiers={arm: f"results/classifier/{arm}" for arm in arms},
                second_judge="results/second_judge",
                judges=(stage.params.train_classifier.kind, stage.params.second_judge.kind),
                augmented=[name for name, arm in stage.params.arms.items() if arm.augment != "none"],
                sweep="results/sweep",
                minority={count: f"results/minority/{count}" for count in counts},
                filter="results/filter",
                filtered="data/filtered",
                filter_rules=stage.params.filter_synthetic.rules.model_dump(),
                assess="results/assess",
                synthetic=by_file[0],
                train=by_file[1],
            ),
            recipes={name: arm.model_dump() for name, arm in stage.params.arms.items()},
            leaves=(of_train, of_synthetic),
            no_rivals=[name for name, arm in stage.params.arms.items() if not arm.is_rival],
            few_labels=stage.params.train_sgan.model_dump(exclude_unset=True),
            gans=1 + len(stage.params.repeat_gan.seeds),
            is_rendered_sample=is_rendered_sample,
            made_by=made_by,
            computed_on=f"{in_words(computed_on)}, threads: {stage.params.threads}",
            **stage.section,
        )
    stage.finals(finals, own_file=False)  # compare_predictions has written metrics.json
    stage.execution = {
        name: json.loads(metrics_file(name).read_text(encoding="utf-8")) for name in stage_names(stage.params)
    }
    for name in ("overview", "samples", "arms", "effects", "sweep", "label_budget"):
        stage.picture(f"{out_dir}/plots/{name}.png", f"{name}.png")
    stage.picture(f"{out_dir}/report.html", "report.html")
    number = number_of_comparison(".state/comparisons.csv", "data/split/manifest.csv", f"{out_dir}/metrics.json")
    stage.report({"comparisons_on_this_test_split": number}, 0)  # no output: another machine has asked otherwise
    print(summary(out_dir))
    for sentence in (costs_sentence(stage.params, finals), comparison_sentence(number)):
        if sentence:
            print(f"\n{sentence}")


if __name__ == "__main__":
    main(__doc__, run)
