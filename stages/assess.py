"""assess: how close the synthetic images are to real ones, beside how close real ones are to each other."""

from stages._entry import Stage, main


def run(stage: Stage) -> None:
    import csv
    import json

    from pipeline.images.manifest import groups_of
    from pipeline.images.store import load_store
    from pipeline.learn.classifier import train_classifier
    from pipeline.learn.features import penultimate_features
    from pipeline.learn.trained import predict
    from pipeline.measure.fidelity import fidelity_report, label_agreement
    from pipeline.measure.generator_faults import Side, generator_faults

    classes = list(stage.params.classes)
    train, val, synthetic = (load_store(f"data/arrays/{name}", classes) for name in ("train", "val", "synthetic"))
    section = dict(stage.section)
    seed = section.pop("seed")
    # Two classifiers of the train split: the first gives the features, the second, of another seed, the judgement.
    extractor, judge = train_classifier(
        train, val, seeds=[seed, seed + 1], device=stage.device, report=stage.report, **section
    )
    features = {name: penultimate_features(extractor.model, of.images) for name, of in
                [("train", train), ("val", val), ("synthetic", synthetic)]}  # fmt: skip
    probabilities = predict(judge.model, synthetic.images)
    finals = fidelity_report(
        features["train"], train.labels, features["val"], val.labels, features["synthetic"], synthetic.labels,
        classes, extractor="leaf", seed=seed,
    )  # fmt: skip
    finals |= label_agreement(
        probabilities, synthetic.labels, classes,
        probabilities_val=predict(judge.model, val.images), labels_val=val.labels,
    )  # fmt: skip
    faults = generator_faults(
        *(Side(of.images, of.labels, of.files, {"leaf": features[side]},
               None if side == "synthetic" else groups_of(of, "data/split/manifest.csv", side))
          for side, of in [("train", train), ("val", val), ("synthetic", synthetic)]),
        classes, probabilities=probabilities, probabilities_val=predict(judge.model, val.images),
    )  # fmt: skip
    finals = {key: round(value, 6) for key, value in finals.items()}
    of_faults = {key: float(f"{value:.6g}") for key, value in faults.metrics.items()}
    with stage.fresh("results/assess") as out:
        text = json.dumps(finals, indent=2, sort_keys=True, ensure_ascii=False)
        (out / "fidelity.json").write_text(text + "\n", encoding="utf-8")
        with open(out / "scores.csv", "w", newline="", encoding="utf-8") as f:
            writer = csv.writer(f, lineterminator="\n")
            writer.writerow(["file", "class", *(f"p/{name}" for name in classes)])
            for file, label, row in zip(synthetic.files, synthetic.labels, probabilities, strict=True):
                writer.writerow([file, classes[label], *(f"{p:.6f}" for p in row)])
        text = json.dumps(of_faults, indent=2, sort_keys=True, ensure_ascii=False)
        (out / "memorisation.json").write_text(text + "\n", encoding="utf-8")
        for name, rows in [("nearest", faults.nearest), ("distances", faults.distances)]:
            with open(out / f"{name}.csv", "w", newline="", encoding="utf-8") as f:
                writer = csv.writer(f, lineterminator="\n")
                writer.writerow(rows[0] if rows else ["file"])
                writer.writerows([f"{x:.6g}" if isinstance(x, float) else x for x in row.values()] for row in rows)
    stage.finals(finals | of_faults)


if __name__ == "__main__":
    main(__doc__, run)
