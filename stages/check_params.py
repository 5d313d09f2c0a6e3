"""check_params: all of params.yaml, before a value of it reaches a command, a path or an hour of work."""

from stages._entry import Stage, main


def run(stage: Stage) -> None:
    from pathlib import Path

    from pipeline.params_rules import check_with_libraries

    check_with_libraries(stage.params, Path("."))  # all else was checked when params.yaml was read
    # Every stage depends on this file, whose content never changes: so nothing runs before params.yaml holds to the
    # rules, and nothing runs again because this stage did.
    with stage.fresh("results/check_params") as out:
        (out / "passed.txt").write_text("params.yaml holds to every rule.\n", encoding="utf-8")


if __name__ == "__main__":
    main(__doc__, run, tracked=False)
