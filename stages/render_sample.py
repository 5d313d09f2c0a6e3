"""render_sample: the embedded raw set, leaves drawn by a program, so a fresh clone runs with nothing downloaded."""

from stages._entry import Stage, main


def run(stage: Stage) -> None:
    from pipeline.images.sample import render_sample

    with stage.fresh("data/sample") as out:
        render_sample(out, **stage.section)
    # Not in results/metrics, which `compare` depends on: on photos of one's own nothing may ask for the sample.
    stage.finals({f"images/{name}": n for name, n in stage.section["class_counts"].items()}, own_file=False)


if __name__ == "__main__":
    main(__doc__, run)
