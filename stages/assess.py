"""assess: how close the synthetic images are to real ones, beside how close real ones are to each other."""

from stages._entry import Stage, main


def run(stage: Stage) -> None:
    import json
    from functools import partial

    import numpy as np

    from pipeline.features.extractors import build_extractors
    from pipeline.features.penultimate import penultimate_features
    from pipeline.images.manifest import groups_of, write_csv
    from pipeline.images.store import load_store
    from pipeline.images.turned_copies import turned_copies
    from pipeline.learn.judge import train_judge
    from pipeline.learn.probe import USUAL_STRENGTH
    from pipeline.learn.trained import predict
    from pipeline.measure.exchanged_folds import exchanged_folds
    from pipeline.measure.fidelity import fidelity_report
    from pipeline.measure.generator_faults import Side, generator_faults
    from pipeline.measure.label_scores import classification_accuracy_score, label_agreement
    from pipeline.measure.two_sample import told_apart

    classes = list(stage.params.classes)
    train, val, synthetic = (load_store(f"data/arrays/{name}", classes) for name in ("train", "val", "synthetic"))
    section = dict(stage.section)
    seed = section.pop("seed")
    of_extractors = {key: section.pop(key) for key in ("extractors", "inception_weights", "dinov2_weights")}
    names = of_extractors["extractors"]
    of_stage = {"device": stage.device, "looks_dir": stage.looks_dir}
    extractors = build_extractors(**of_extractors, **of_stage)
    of_stage |= {"state_dir": stage.state_dir}
    section["strengths"] = [USUAL_STRENGTH]  # of a probe: val, which both judges are asked about, has chosen nothing

    # Two classifiers of the train split: the first gives the features, the second, of another seed, the judgement.
    seeds = [seed, seed + 1] if "leaf" in names else [seed + 1]
    *leaf, judge = train_judge(train, val, seeds=seeds, report=stage.report, **of_stage, **section)
    if leaf:
        extractors["leaf"] = partial(penultimate_features, leaf[0].model)
    # Another, with the judge's recipe and seed but synthetic images alone, is asked about real ones.
    (synthetic_only,) = train_judge(
        synthetic, val, seeds=[seed + 1], method="synthetic", **of_stage, **section,
        report=lambda row, step: stage.report({f"cas/{name}": value for name, value in row.items()}, step),
    )  # fmt: skip

    finals = {}
    features = {name: [extractors[name](store.images) for store in (train, val, synthetic)] for name in names}
    leaves = [groups_of(of, "data/split/manifest.csv", side) for side, of in (("train", train), ("val", val))]
    real = np.concatenate([train.labels, val.labels]), np.concatenate(leaves)
    for name, of in features.items():
        finals |= fidelity_report(
            of[0], train.labels, of[1], val.labels, of[2], synthetic.labels, classes, extractor=name, seed=seed
        )
        finals |= exchanged_folds(
            np.concatenate(of[:2]), *real, of[2], synthetic.labels, classes,
            fold_counts=np.bincount(val.labels, minlength=len(classes)).tolist(), extractor=name, seed=seed,
        )  # fmt: skip
    seen = features[names[0]]
    finals |= told_apart(
        np.concatenate(seen[:2]), *real, seen[2], synthetic.labels, classes, extractor=names[0], seed=seed
    )
    probabilities, on_val = (predict(judge.model, of.images) for of in (synthetic, val))
    finals |= label_agreement(probabilities, synthetic.labels, classes, probabilities_val=on_val, labels_val=val.labels)
    finals |= classification_accuracy_score(
        predict(synthetic_only.model, val.images), val.labels, classes, probabilities_real=on_val
    )
    finals = {key: float(f"{value:.8g}") for key, value in finals.items()}  # a kernel distance may be 1e-7
    faults = generator_faults(
        *(Side(of.images, of.labels, of.files, {names[0]: own}, groups)
          for of, own, groups in zip((train, val, synthetic), seen, (*leaves, None), strict=True)),
        classes, probabilities=probabilities, probabilities_val=on_val,
    )  # fmt: skip
    turned = turned_copies(train.images, leaves[0], val.images, synthetic.images, synthetic.labels)
    photos = [*(("train", file) for file in train.files), *(("val", file) for file in val.files)]
    of_pairs = [(synthetic.files[row], *photos[of], points) for row, of, points in turned.pairs]
    faults.metrics.update(turned.metrics)
    of_faults = {key: float(f"{value:.6g}") for key, value in faults.metrics.items()}
    with stage.fresh("results/assess") as out:
        text = json.dumps(finals, indent=2, sort_keys=True, ensure_ascii=False)
        (out / "fidelity.json").write_text(text + "\n", encoding="utf-8")
        rows = zip(synthetic.files, synthetic.labels, probabilities, strict=True)
        scores = ([file, classes[label], *(f"{p:.6f}" for p in own)] for file, label, own in rows)
        write_csv(out / "scores.csv", ["file", "class", *(f"p/{name}" for name in classes)], scores)
        text = json.dumps(of_faults, indent=2, sort_keys=True, ensure_ascii=False)
        (out / "memorisation.json").write_text(text + "\n", encoding="utf-8")
        write_csv(out / "turned.csv", ["file", "side", "photo", "points"], of_pairs)
        for name, found in [("nearest", faults.nearest), ("distances", faults.distances)]:
            plain = ([f"{x:.6g}" if isinstance(x, float) else x for x in row.values()] for row in found)
            write_csv(out / f"{name}.csv", list(found[0]) if found else ["file"], plain)
    stage.finals(finals | of_faults)


if __name__ == "__main__":
    main(__doc__, run)
