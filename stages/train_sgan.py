"""train_sgan: the semi-supervised GAN at each label budget, its discriminator on those labels alone, and a probe."""

from stages._entry import Stage, main


def run(stage: Stage) -> None:
    from functools import cache

    from pipeline.images.store import Store, load_store
    from pipeline.learn.predictions import write_results
    from pipeline.learn.probe import frozen_looks, probe_labels
    from pipeline.learn.sgan import train_sgan
    from pipeline.learn.sgan_tuning import write_tuning

    classes, device = list(stage.params.classes), stage.device
    section = dict(stage.section)
    network = {key: section.pop(key) for key in ("model", "weights", "input_size")}
    photos = "data/arrays/photos"
    of_space = photos if section["space"] == "features" else "data/arrays"

    @cache
    def loaded(folder: str, side: str) -> Store:
        return load_store(f"{folder}/{side}", classes)

    looks = frozen_looks(loaded(photos, "train"), device=device, looks_dir=stage.looks_dir, **network)
    for budget in stage.params.label_budgets:
        with stage.part(str(budget)) as part:
            result = train_sgan(
                loaded(of_space, "train"),
                loaded(of_space, "val"),
                label_budget=budget,
                looks=looks,
                device=device,
                report=part.report,
                state_dir=part.state_dir,
                **section,
            )
            probes = probe_labels(
                loaded(photos, "train"),
                loaded(photos, "val"),
                rows=result.rows,
                looks=looks,
                views=section["augmented_views"],
                augment="classic",
                device=device,
                report=lambda row, step, part=part: part.report({f"probe/{k}": v for k, v in row.items()}, step),
                method="probe",
            )
            # test is first read here, when the budget's every checkpoint is chosen; no training is given it
            sides = {side: loaded(of_space, side) for side in ("val", "test")}
            with part.fresh(f"results/sgan/{budget}") as out:
                finals = write_results(
                    out,
                    result.trained + probes,
                    sides,
                    extra=result.counts,
                    own_images={"probe": {side: loaded(photos, side).images for side in sides}},
                )
                write_tuning(out / "tuning.csv", result.tried)
            part.finals(finals, own_file=False)  # results/sgan/<budget>/metrics.json holds them


if __name__ == "__main__":
    main(__doc__, run, tracked=False)
