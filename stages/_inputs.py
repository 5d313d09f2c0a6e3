"""What a stage is given, as dvc.yaml declares it: is it still the same when the stage is done?

DVC reads parameters, code and data once more when it writes dvc.lock, after the command. Whatever was edited in between
would stand in the lock, and in the run cache, beside outputs that it had no part in; the next `dvc repro` would see
nothing to do. So a stage holds what it started from against what is there, and keeps no output where they differ.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path
from typing import Any

import yaml

from pipeline import InputError
from pipeline.params import Params, load_params

PARAMS = Path("params.yaml")
GRAPH = Path("dvc.yaml")
METRICS = Path("results/metrics")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Signature = dict[str, Any]  # a parameter or a file by its name, to what tells whether it has changed


class Inputs:
    """The parameters, code and data of one stage, as they were when this was made.

    Args:
        name: The stage without its item.
        item: What follows the `@`, or None.
        params: params.yaml as the stage has read it.

    Raises:
        InputError: There is no dvc.yaml here.
    """

    def __init__(self, name: str, item: str | None, params: Params):
        if not GRAPH.is_file():
            raise InputError(
                f"{GRAPH}: expected the pipeline's graph here, found no file; run this from the project's root."
            )
        graph = yaml.load(GRAPH.read_text(encoding="utf-8"), LOADER)  # ruamel's takes a sixth of a second a stage
        values = params.model_dump(mode="json")
        body = graph["stages"][name]
        if "foreach" in body:
            over = _resolve(body["foreach"], values)
            values |= {"key": item, "item": over.get(item) if isinstance(over, dict) else item}
            body = body["do"]
        self._keys = [_filled(key, values) for key in body.get("params", [])]
        self._deps = [_filled(dep, values) for dep in body["deps"]]
        self._params = _of_params(params, self._keys)
        self._files = _of_files(self._deps)

    def changed(self) -> str | None:
        """The first parameter or file that is another now, as half a sentence; None where all is the same."""
        try:
            params = _of_params(load_params(PARAMS), self._keys)
        except InputError:
            return f"{PARAMS} is no longer valid"
        for key, value in self._params.items():
            if (now := params.get(key)) != value:
                return f"{PARAMS}: {key} was {_short(value)} when the stage started and is {_short(now)} now"
        files = _of_files(self._deps)
        if files != self._files:
            first = min(f for f in files.keys() | self._files.keys() if files.get(f) != self._files.get(f))
            return f"{first} has changed since the stage started"
        return None


def metrics_file(name: str) -> Path:
    """Where the final numbers of a stage stand, or those of a part of it: `train_classifier@classic`."""
    stage, _, item = name.partition("@")
    folders = {"train_classifier": "results/classifier", "train_sgan": "results/sgan"}
    return Path(folders[stage], item, "metrics.json") if stage in folders else METRICS / f"{name}.json"


def stage_names(params: Params) -> list[str]:
    """Every stage and part of a stage that has final numbers, in the order of the graph."""
    names = ["split", "train_extractor", "train_gan", *(f"specialise_gan@{name}" for name in params.classes)]
    names += ["generate", "filter_synthetic", *(f"repeat_gan@{seed}" for seed in params.repeat_gan.seeds), "assess"]
    names += [*(f"train_classifier@{arm}" for arm in params.arms)]
    names += ["second_judge", "sweep_mixture", *(f"study_minority@{count}" for count in params.minority_counts)]
    return names + [f"train_sgan@{budget}" for budget in params.label_budgets]


def drop_leftovers(params: Params) -> None:
    """Remove what stages left that params.yaml no longer lists: a class that was taken out, an arm, a budget.

    Other stages depend on the folders that hold it, as wholes; with it their lock would differ from that of a clone.
    DVC's cache has it for whoever goes back.
    """
    numbers = (params.label_budgets, params.minority_counts, params.repeat_gan.seeds)
    budgets, counts, repeats = ([str(n) for n in of] for of in numbers)
    lists = {
        "models/gan/class": params.classes,
        "models/minority": counts,
        "models/repeats": repeats,
        "data/repeats": repeats,
        "results/classifier": params.arms,
        "results/sgan": budgets,
        "results/minority": counts,
    }
    found = [path for folder, names in lists.items() for path in sorted(Path(folder).glob("[!.]*"))
             if path.is_dir() and path.name not in names]  # fmt: skip
    metrics = {metrics_file(name) for name in stage_names(params)}
    found += [path for path in sorted(METRICS.glob("[!.]*.json")) if path not in metrics]
    for path in found:
        print(f"{path}: removed, for params.yaml no longer lists it; DVC's cache keeps it.", flush=True)
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _resolve(text: str, values: dict[str, Any]) -> Any:
    """`${a.b}` to the value; DVC's templates hold nothing else here."""
    at: Any = values
    for part in text.removeprefix("${").removesuffix("}").split("."):
        at = at.get(part) if isinstance(at, dict) else None
    return at


def _filled(text: str, values: dict[str, Any]) -> str:
    return re.sub(r"\$\{[^}]*\}", lambda match: str(_resolve(match[0], values)), text)


def _of_params(params: Params, keys: list[str]) -> Signature:
    values = params.model_dump(mode="json")
    return {leaf: value for key in keys for leaf, value in _leaves(key, _resolve(key, values))}


def _leaves(key: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        return [leaf for name, below in value.items() for leaf in _leaves(f"{key}.{name}", below)]
    return [(key, value)]


def _of_files(deps: list[str]) -> Signature:
    """Code by its content, since editors and git touch files that they do not change; data by size and time."""
    found: Signature = {}
    for dep in deps:
        if os.path.isdir(dep):
            for at, _, names in os.walk(dep):
                for name in names:
                    path = os.path.join(at, name)
                    if not path.endswith(".pyc"):
                        found[path] = _of_file(path)
        else:
            found[dep] = _of_file(dep)
    return found


def _of_file(path: str) -> Any:
    try:
        if path.endswith(".py"):
            return hashlib.sha256(Path(path).read_bytes()).hexdigest()
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
