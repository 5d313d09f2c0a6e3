"""What every stage's entry shares: its arguments, its parameters, fresh outputs, one-sentence errors, tracking.

A stage is a function `run(stage)`. It takes its section from `stage.section`, writes into folders that
`stage.fresh` makes, and hands its final numbers to `stage.finals`.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline import InputError
from pipeline.params import Params, load_params

PARAMS = Path("params.yaml")
METRICS = Path("results/metrics")
STATE = Path(".state")


class Stage:
    """One run of one stage, from the repository's root.

    Attributes:
        name: As DVC calls it, `train_classifier@classic`.
        item: What follows the `@`, or None.
        execution: Set by the last stage: every other stage's final numbers, for the pipeline's MLflow run.
        params: All of params.yaml, checked.
        section: The stage's own section as keyword arguments.
    """

    def __init__(self, name: str, item: str | None, params: Params):
        self.name = name if item is None else f"{name}@{item}"
        self.item = item
        self.params = params
        self.section: dict[str, Any] = getattr(params, name).model_dump()
        self.pictures: list[tuple[Path, str]] = []
        self.metrics: dict[str, float] = {}
        self.execution: dict[str, dict[str, float]] = {}
        self._run: Any = None

    @property
    def device(self) -> str:
        """`device` of params.yaml with `auto` resolved, and torch set to give the same bytes twice on it."""
        import torch

        available = torch.cuda.is_available()
        if self.params.device == "cuda" and not available:
            raise InputError("params.yaml: device: expected a CUDA GPU for 'cuda', found none; set it to auto or cpu.")
        device = "cuda" if available and self.params.device != "cpu" else "cpu"
        if device == "cuda":
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        return device

    @property
    def state_dir(self) -> Path:
        """Where a killed training finds what it saved; not an output, since DVC wipes those before a run."""
        return STATE / self.name

    @contextlib.contextmanager
    def fresh(self, *paths: str) -> Iterator[Any]:
        """Yield new folders to write into; on success they take the given places, on failure they vanish."""
        partial = [Path(path).with_name(f".{Path(path).name}.partial") for path in paths]
        for folder in partial:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        try:
            yield partial[0] if len(partial) == 1 else partial
            for folder, path in zip(partial, paths, strict=True):
                if Path(path).exists():
                    shutil.rmtree(path)
                os.replace(folder, path)
        finally:
            for folder in partial:
                shutil.rmtree(folder, ignore_errors=True)

    def report(self, metrics: dict[str, float], step: int) -> None:
        """A point of the stage's curves, to MLflow."""
        if self._run is not None:
            self._run.report(metrics, step)

    def picture(self, path: str | Path, name: str) -> None:
        """A picture to be shown at the stage's MLflow run."""
        self.pictures.append((Path(path), name))

    def finals(self, metrics: dict[str, float], *, own_file: bool = True) -> None:
        """The stage's final numbers: to MLflow, and to results/metrics/, where DVC caches them.

        Args:
            metrics: Metric name without the stage to its value.
            own_file: False where the stage has written them itself.
        """
        self.metrics = {key: round(float(value), 6) for key, value in metrics.items()}
        if not own_file:
            return
        METRICS.mkdir(parents=True, exist_ok=True)
        path = METRICS / f"{self.name}.json"
        partial = path.with_suffix(".partial")
        text = json.dumps(self.metrics, indent=2, sort_keys=True, ensure_ascii=False)
        partial.write_text(text + "\n", encoding="utf-8")
        os.replace(partial, path)


def _terminate(signum: int, frame: Any) -> None:
    raise SystemExit(128 + signum)


def main(doc: str, run: Callable[[Stage], None], item: str | None = None) -> None:
    """Parse arguments, check params.yaml, run the stage.

    Args:
        doc: The stage module's docstring; its first word is the stage's name.
        run: The stage.
        item: What the stage is repeated over ("class", "arm"), or None.
    """
    name = doc.split(":")[0].strip()
    parser = argparse.ArgumentParser(prog=f"python -m stages.{name}", description=doc)
    if item is not None:
        parser.add_argument("item", metavar=item.upper(), help=f"which {item}")
    parser.add_argument("--dry-run", action="store_true", help="check params.yaml, print this stage's, and stop")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _terminate)
    try:
        stage = Stage(name, getattr(arguments, "item", None), load_params(PARAMS))
        if arguments.dry_run:
            print(json.dumps({stage.name: stage.section}, indent=2, ensure_ascii=False))
            return
        # Tracking is an observer: it is handed numbers and gives nothing back, so it cannot change an output,
        # and stages do not depend on its code. A new plot in the report retrains nothing.
        tracking = importlib.import_module("pipeline.report.tracking")
        with tracking.stage_run(stage.name, stage.section, root=Path.cwd()) as stage._run:
            run(stage)
            stage._run.finals(stage.metrics)
            for path, title in stage.pictures:
                stage._run.picture(path, title)
            if stage.execution:
                tracking.log_execution(
                    {**stage.execution, stage.name: stage.metrics},
                    root=Path.cwd(),
                    pictures=[path for path, _ in stage.pictures],
                    params=stage.params.model_dump(),
                )
    except InputError as error:
        print(f"{name}: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print(f"{name}: interrupted; `dvc repro` goes on from what is finished.", file=sys.stderr)
        raise SystemExit(130) from None
