"""repeat_gan: a further GAN by another seed, and all that the first one's images go through."""

from stages._entry import Stage, main


def launch(stage: Stage) -> list[str] | None:
    from pipeline.gan.distributed import LAUNCHERS

    section = stage.params.train_gan
    return LAUNCHERS[section.launcher](["stages.repeat_gan", stage.item], section.num_processes)


def run(stage: Stage) -> None:
    import shutil

    import torch

    from pipeline import InputError
    from pipeline.gan.balanced_set import write_balanced_set
    from pipeline.gan.distributed import process_group
    from pipeline.images.store import load_store
    from stages.filter_synthetic import filter_images
    from stages.specialise_gan import specialise
    from stages.train_gan import train_joint

    if not (stage.item or "").isdecimal():
        raise InputError(f"seed '{stage.item}': expected a number, one of repeat_gan.seeds in params.yaml.")
    own = {"seed": int(stage.item)}
    of_joint = stage.params.train_gan.model_dump(exclude_unset=True)
    of_class = stage.params.specialise_gan.model_dump(exclude_unset=True)
    of_filter = stage.params.filter_synthetic.model_dump(exclude_unset=True)
    drawn_by, classes = stage.params.generate, list(stage.params.classes)
    finals: dict[str, float] = {}

    def curves(of: str):
        return lambda row, step: stage.report({f"{of}/{key}": value for key, value in row.items()}, step)

    models, images = f"models/repeats/{stage.item}/class", f"data/repeats/{stage.item}/sets"
    with stage.fresh(models, images) as (by_class, sets):
        joint, threads = by_class / ".joint", torch.get_num_threads()
        with process_group(stage.device) as ranks:
            if of_class["init"] == "joint":
                trained = train_joint(
                    stage, of_joint | own, joint, state_dir=stage.state_dir / "joint", report=curves("joint"),
                    ranks=ranks,
                )  # fmt: skip
                finals |= {f"joint/{key}": value for key, value in trained.items()}
        if ranks.rank > 0:
            return
        torch.set_num_threads(threads)  # of which the group has given each rank its share
        for name in classes:
            trained = specialise(
                stage, name, of_class | own, joint, by_class / name, state_dir=stage.state_dir / "class" / name,
                report=curves(f"class/{name}"),
            )  # fmt: skip
            finals |= {f"class/{name}/{key}": value for key, value in trained.items()}
        shutil.rmtree(joint, ignore_errors=True)
        # Images of the same latents, by the same teacher; as files nobody asks for them
        train, files = load_store("data/arrays/train", classes), sets / ".files"
        write_balanced_set(
            train, "data/split/train", by_class, files / "synthetic", files / "augmented", sets / "synthetic",
            sets / "augmented", target=drawn_by.target, seed=drawn_by.seed, truncation=drawn_by.truncation,
            device=stage.device,
        )  # fmt: skip
        if of_filter.pop("enabled"):
            places = [files / "filtered", files / "augmented_filtered", files / "of_filtered"]
            figures = filter_images(
                stage, of_filter, by_class, [*places, sets / "augmented_filtered", files / "log"],
                state_dir=stage.state_dir / "filter" / stage.name, report=curves("filter"),
            )  # fmt: skip
            finals |= {f"filter/{key}": value for key, value in figures.items()}
        shutil.rmtree(files)
    stage.finals(finals)
    for name in classes:
        stage.picture(f"{models}/{name}/final.png", f"samples_{name}.png")


if __name__ == "__main__":
    main(__doc__, run, item="seed", launch=launch)
