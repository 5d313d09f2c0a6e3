"""What every stage's entry shares: its arguments, its parameters, fresh outputs, one-sentence errors, tracking.

A stage is a function `run(stage)`. It takes its section from `stage.section`, writes into folders that
`stage.fresh` makes, and hands its final numbers to `stage.finals`.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import errno
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline import InputError
from pipeline.machine import collect_less, fix_threads, keep_memory, write_record
from pipeline.no_compiler import stand_in_for_compiler
from pipeline.params import Params, load_params
from pipeline.stage_lock import stage_lock
from stages._costs import note_cost
from stages._inputs import METRICS, PARAMS, Inputs, drop_leftovers

STATE = Path(".state")
COMPUTED = ("models", "results")  # where the machine's record goes: with what float arithmetic made


class Stage:
    """One run of one stage, from the repository's root.

    Attributes:
        name: As DVC calls it, `train_classifier@classic`.
        item: What follows the `@`, or None.
        execution: Set by the last stage: every other stage's final numbers, for the pipeline's MLflow run.
        params: All of params.yaml, checked.
        section: The stage's own section as keyword arguments; empty where it has none.
    """

    def __init__(self, name: str, item: str | None, params: Params):
        self.name = name if item is None else f"{name}@{item}"
        self.item = item
        self.params = params
        self.rank = int(os.environ.get("RANK", "0"))  # torchrun's
        section = getattr(params, name, None)
        self.section: dict[str, Any] = {} if section is None else section.model_dump(exclude_unset=True)
        self.pictures: list[tuple[Path, str]] = []
        self.metrics: dict[str, float] = {}
        self.execution: dict[str, dict[str, float]] = {}
        self._state = STATE
        self._run: Any = None
        self._inputs: Inputs | None = None
        self._placed: list[Path] = []
        self._device: str | None = None

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
        torch.set_deterministic_debug_mode("warn")  # as use_deterministic_algorithms, which loads torch's compiler
        self._device = device
        return device

    @property
    def state_dir(self) -> Path:
        """Where a killed training finds what it saved; not an output, since DVC wipes those before a run."""
        return self._state / self.name

    @contextlib.contextmanager
    def part(self, item: str, section: dict[str, Any] | None = None) -> Iterator[Stage]:
        """One of several pieces of work of this stage that are looked at side by side: `train_classifier@classic`.

        Yield a stage of that name, with a run, curves, pictures and final numbers of its own. Its state is kept until
        the whole stage is done, for DVC wipes what finished parts have written when another is killed.

        Args:
            item: What follows the `@`.
            section: What its run shows as its parameters; None: the stage's section.
        """
        part = copy.copy(self)  # inputs, and the list of what is in its place, stay shared
        part.name, part.item, part._state = f"{self.name}@{item}", item, self.state_dir
        part.section = self.section if section is None else section
        part.pictures, part.metrics = [], {}
        if self.rank > 0:  # the first rank is the stage to the world outside
            yield part
            return
        with part._own_run():
            yield part

    @contextlib.contextmanager
    def _own_run(self) -> Iterator[None]:
        # Tracking is an observer: it is handed numbers and gives nothing back, so it cannot change an output,
        # and stages do not depend on its code. A new plot in the report retrains nothing.
        tracking = importlib.import_module("pipeline.report.tracking")
        # The sentence is said inside, before tracking says anything or waits.
        with tracking.stage_run(self.name, self.section, root=Path.cwd()) as self._run, _one_sentence(self.name):
            yield
            self._run.finals(self.metrics)
            for path, title in self.pictures:
                self._run.picture(path, title)
            if self.execution:
                finals = {**self.execution, self.name: self.metrics}
                self._run.execution(
                    finals, [path for path, _ in self.pictures], self.params.model_dump(exclude_unset=True)
                )

    @property
    def looks_dir(self) -> Path:
        """Where what a frozen network has seen is kept, for all stages and the next run."""
        return STATE / "looks"

    @contextlib.contextmanager
    def fresh(self, *paths: str) -> Iterator[Any]:
        """Yield new folders to write into; on success they take the given places, on failure they vanish.

        Of several ranks the first makes and moves them.

        Raises:
            InputError: Inputs of the stage have changed since it started.
        """
        partial = [Path(path).with_name(f".{Path(path).name}.partial") for path in paths]
        if self.rank > 0:
            yield partial[0] if len(partial) == 1 else partial
            return
        for folder in partial:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        try:
            yield partial[0] if len(partial) == 1 else partial
            self.refuse_other_inputs()
            for folder, path in zip(partial, paths, strict=True):
                if self._device is not None and path.startswith(COMPUTED):
                    write_record(folder, self._device)
                self._placed.append(Path(path))
                if Path(path).exists():
                    shutil.rmtree(path)
                os.replace(folder, path)
        finally:
            for folder in partial:
                shutil.rmtree(folder, ignore_errors=True)

    def refuse_other_inputs(self) -> None:
        """Leave no output that DVC would record beside inputs which had no part in it.

        Raises:
            InputError: Parameters, code or data are not those that the stage started from.
        """
        if self._inputs is None or (what := self._inputs.changed()) is None:
            return
        for path in self._placed:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        raise InputError(f"{what}; no output is kept, run `dvc repro` again (put back, it goes on from what is saved).")

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
        if not own_file or self.rank > 0:
            return
        METRICS.mkdir(parents=True, exist_ok=True)
        path = METRICS / f"{self.name}.json"
        partial = path.with_suffix(".partial")
        text = json.dumps(self.metrics, indent=2, sort_keys=True, ensure_ascii=False)
        try:
            partial.write_text(text + "\n", encoding="utf-8")
            self._placed.append(path)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


class _Terminated(KeyboardInterrupt):
    signum = signal.SIGTERM


def _terminate(signum: int, frame: Any) -> None:
    raise _Terminated


def _disk_is_full(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # safetensors has an error of its own, and NumPy one without a number
    said = r"No space left on device|Disk quota exceeded|\d requested and \d+ written"
    return re.search(said, str(error)) is not None


@contextlib.contextmanager
def _one_sentence(name: str) -> Iterator[None]:
    """End the process with one sentence where the user can mend it; a fault of ours keeps its traceback."""
    try:
        yield
        return
    except InputError as error:
        sentence, code = str(error), 1
    except KeyboardInterrupt as error:  # pipeline.resume.Interrupted is one, and says from where it goes on
        sentence = str(error) or "interrupted; `dvc repro` goes on from what is saved."
        code = 128 + getattr(error, "signum", signal.SIGINT)
    except Exception as error:
        if not _disk_is_full(error):
            raise
        path = getattr(error, "filename2", None) or getattr(error, "filename", None) or "outputs"
        sentence = (
            f"{path}: expected room on the disk, found it full; "
            "free some and run `dvc repro`, which goes on from what is saved."
        )
        code = 1
    print(f"{name}: {sentence}", file=sys.stderr, flush=True)
    raise SystemExit(code)


def _start_ranks(command: list[str]) -> int:
    """Run the launcher's command; what stops this process is left to its ranks to obey, who save first."""
    with subprocess.Popen(command) as launcher:
        for signum in (signal.SIGINT, signal.SIGTERM):
            # Ctrl-C reaches the ranks from the terminal, a SIGTERM does not
            signal.signal(signum, lambda s, frame: s == signal.SIGTERM and launcher.send_signal(s))
        return launcher.wait()


def main(
    doc: str,
    run: Callable[[Stage], None],
    item: str | None = None,
    launch: Callable[[Stage], list[str] | None] | None = None,
    tracked: bool = True,
) -> None:
    """Parse arguments, check params.yaml, run the stage.

    Args:
        doc: The stage module's docstring; its first word is the stage's name.
        run: The stage.
        item: What the stage is repeated over ("class", "arm"), or None.
        launch: The command that starts the stage's ranks, or None where the stage is to run in this process.
        tracked: False for a stage that has nothing to tell MLflow itself; its parts, if any, do.
    """
    name = doc.split(":")[0].strip()
    parser = argparse.ArgumentParser(prog=f"python -m stages.{name}", description=doc)
    if item is not None:
        parser.add_argument("item", metavar=item.upper(), help=f"which {item}")
    parser.add_argument("--dry-run", action="store_true", help="check params.yaml, print this stage's, and stop")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _terminate)
    chosen = getattr(arguments, "item", None)
    with _one_sentence(name if chosen is None else f"{name}@{chosen}"), contextlib.ExitStack() as held:
        stage = Stage(name, chosen, load_params(PARAMS))
        if arguments.dry_run:
            try:
                print(json.dumps({stage.name: stage.section}, indent=2, ensure_ascii=False), flush=True)
            except BrokenPipeError:  # the reader has seen enough: … --dry-run | head
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains at its exit
            return
        fix_threads(stage.params.threads)
        keep_memory()
        collect_less()
        command = launch(stage) if launch is not None and "RANK" not in os.environ else None
        if command is not None:
            raise SystemExit(_start_ranks(command))
        if stage.rank > 0:  # the first rank is the stage to the world outside
            run(stage)
            return
        if "RANK" not in os.environ:  # DistributedDataParallel speaks to the compiler
            stand_in_for_compiler()
        held.enter_context(stage_lock(stage.name))
        drop_leftovers(stage.params)
        stage._inputs = Inputs(name, stage.item, stage.params)
        with stage._own_run() if tracked else contextlib.nullcontext():
            run(stage)
        stage.refuse_other_inputs()  # once more: tracking may have waited for a slow server
        note_cost(stage.name)
        shutil.rmtree(stage.state_dir, ignore_errors=True)  # not before: until here a kill could come
