"""train_sgan: the semi-supervised GAN at one label budget, and its discriminator on those labels alone."""

from stages._entry import Stage, main


def run(stage: Stage) -> None:
    from pipeline import InputError
    from pipeline.images.store import load_store
    from pipeline.learn.predictions import write_results
    from pipeline.learn.sgan import train_sgan
    from pipeline.learn.sgan_tuning import write_tuning

    if not stage.item.isdecimal():
        raise InputError(f"budget: expected a number of labelled images a class, got '{stage.item}'.")
    classes = list(stage.params.classes)
    train, val = (load_store(f"data/arrays/{name}", classes) for name in ("train", "val"))
    result = train_sgan(
        train,
        val,
        label_budget=int(stage.item),
        device=stage.device,
        report=stage.report,
        state_dir=stage.state_dir,
        **stage.section,
    )
    test = load_store("data/arrays/test", classes)  # first read here, when every checkpoint is chosen
    with stage.fresh(f"results/sgan/{stage.item}") as out:
        finals = write_results(out, result.trained, {"val": val, "test": test}, extra=result.counts)
        write_tuning(out / "tuning.csv", result.tried)
    stage.finals(finals)


if __name__ == "__main__":
    main(__doc__, run, item="budget")
