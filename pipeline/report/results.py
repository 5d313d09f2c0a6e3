"""Reading the predictions of classifiers and SGANs, and refusing those that cannot be compared.

Formats: `predictions.csv` has the columns seed, split, file, label and one `p/<class>` a class, for an SGAN
with `method` in front; `history.csv` has seed, step, … , val_macro_f1; `metrics.json` has `optimiser_steps`; an SGAN's
`tuning.csv` has method, the settings' names, … , chosen.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from pipeline import InputError
from pipeline.measure.learned import Course

SPLITS = ("val", "test")


class SplitPredictions(NamedTuple):
    """What every seed of one arm predicted for the images of one split.

    Attributes:
        images: N keys (class, file name), in file order.
        labels: (N,) true classes, index into the class list.
        probabilities: (S, N, K) by seed, image, class.
    """

    images: list[tuple[str, str]]
    labels: np.ndarray
    probabilities: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """(S, N) classes of highest probability."""
        return self.probabilities.argmax(axis=-1)


class Predictions(NamedTuple):
    """All predictions of one arm, or of one method at one label budget.

    Attributes:
        path: The file they came from.
        seeds: S seeds, ascending.
        splits: `val` and `test`, as far as they were predicted.
    """

    path: Path
    seeds: tuple[int, ...]
    splits: dict[str, SplitPredictions]


class Manifest(NamedTuple):
    """The split's manifest as far as comparing needs it.

    Attributes:
        path: The file.
        groups: split → (class, file name) → group.
    """

    path: Path
    groups: dict[str, dict[tuple[str, str], str]]

    def counts(self, split: str, classes: Sequence[str]) -> dict[str, int]:
        """Images of each class in a split."""
        keys = self.groups.get(split, {})
        return {name: sum(c == name for c, _ in keys) for name in classes}


def read_manifest(path: str | Path) -> Manifest:
    """Read `manifest.csv` of the split.

    Raises:
        InputError: It is missing or lacks a column.
    """
    path = Path(path)
    groups: dict[str, dict[tuple[str, str], str]] = {"train": {}, "val": {}, "test": {}}
    for row in _rows(path, ("file", "split", "class")):
        key = (row["class"], PurePosixPath(row["file"]).name)
        # Images of one class with one group name belong together; without a group each is on its own.
        groups.setdefault(row["split"], {})[key] = row.get("group") or row["file"]
    return Manifest(path, groups)


def read_predictions(
    path: str | Path, classes: Sequence[str], *, by_method: bool = False, may_lack: Sequence[str] = ()
) -> dict[str, Predictions]:
    """Read a `predictions.csv`.

    Args:
        path: The file.
        classes: Class names, in the order of the labels.
        by_method: The file has a column `method`.
        may_lack: Splits that no seed of a method need have predicted; `splits` is then without them.

    Returns:
        method → predictions; the one key is "" without methods.

    Raises:
        InputError: The file is missing, has other columns or classes than expected, holds no probabilities, or
            its seeds predict different images.
    """
    path = Path(path)
    columns = [f"p/{c}" for c in classes]
    needed = (*(["method"] if by_method else []), "seed", "split", "file", "label", *columns)
    rows = _rows(path, needed)
    found = [c for c in rows[0] if c.startswith("p/")]
    if found != columns:
        raise InputError(
            f"{path}: expected the probability columns {columns}, found {found}; run `dvc repro` to predict anew."
        )
    index = {name: k for k, name in enumerate(classes)}
    blocks: dict[tuple[str, int, str], tuple[list, list, list]] = {}
    for line, row in enumerate(rows, start=2):
        label = row["label"]
        if label not in index:
            raise InputError(f"{path}, line {line}: expected a label among {list(classes)}, found '{label}'.")
        parts = PurePosixPath(row["file"]).parts
        if len(parts) > 1 and parts[-2] != label:
            raise InputError(
                f"{path}, line {line}: expected the label of its folder, '{parts[-2]}', for {row['file']}, found "
                f"'{label}'; labels and images have come apart, run `dvc repro --force` on that stage."
            )
        try:
            block = blocks.setdefault(
                (row["method"] if by_method else "", int(row["seed"]), row["split"]), ([], [], [])
            )
            block[2].append([float(row[c]) for c in columns])
        except (ValueError, TypeError) as error:
            raise InputError(f"{path}, line {line}: expected numbers for the seed and p/…, found {error}.") from None
        block[0].append((label, parts[-1]))
        block[1].append(index[label])

    result = {}
    for method in dict.fromkeys(m for m, _, _ in blocks):
        seeds = tuple(sorted({s for m, s, _ in blocks if m == method}))
        absent = {split for split in may_lack if not any((method, seed, split) in blocks for seed in seeds)}
        splits = {split: _stack_seeds(path, method, split, seeds, blocks) for split in SPLITS if split not in absent}
        result[method] = Predictions(path, seeds, splits)
    return result


def _stack_seeds(
    path: Path, method: str, split: str, seeds: Sequence[int], blocks: Mapping[tuple[str, int, str], tuple]
) -> SplitPredictions:
    for seed in seeds:
        if (method, seed, split) not in blocks:
            raise InputError(
                f"{path}: expected predictions for {split} of every seed, found none for seed {seed}; run `dvc repro`."
            )
    images, labels, _ = blocks[method, seeds[0], split]
    for seed in seeds[1:]:
        if blocks[method, seed, split][0] != images:
            raise InputError(
                f"{path}: expected the same {split} images for every seed, found others for seed {seed} than for "
                f"seed {seeds[0]}; run `dvc repro --force` on that stage."
            )
    if len(set(images)) != len(images):
        raise InputError(f"{path}: expected each {split} image once a seed, found some twice.")
    probabilities = np.array([blocks[method, seed, split][2] for seed in seeds])
    sums = probabilities.sum(axis=-1)
    if not (np.isfinite(probabilities).all() and (probabilities >= 0).all() and np.allclose(sums, 1, atol=0.01)):
        raise InputError(
            f"{path}: expected probabilities that sum to 1, found sums from {sums.min():.3f} to {sums.max():.3f}."
        )
    return SplitPredictions(images, np.array(labels), probabilities)


def check_against_manifest(predictions: Predictions, manifest: Manifest, classes: Sequence[str]) -> None:
    """Refuse predictions whose images or labels are not those of the split.

    Raises:
        InputError: An image is missing or unknown, or carries another class than the manifest says, or rows do
            not come class by class as in the array store (which betrays shifted labels even where the file
            names of all classes are alike).
    """
    for split, own in predictions.splits.items():
        expected = {(c, f) for c, f in manifest.groups.get(split, {}) if c in classes}
        strangers, missing = set(own.images) - expected, expected - set(own.images)
        class_of = {f: c for c, f in expected}
        for label, file in sorted(strangers):
            if file in class_of:
                raise InputError(
                    f"{predictions.path}: expected the label '{class_of[file]}' for {split} image {file} as in "
                    f"{manifest.path}, found '{label}'; labels and images have come apart."
                )
        if strangers or missing:
            file = "/".join(min(strangers or missing))
            word = "one that is not in" if strangers else "none for one of"
            raise InputError(
                f"{predictions.path}: expected predictions for the {len(expected)} {split} images of {manifest.path}, "
                f"found {len(own.images)}, {word} it: {file}; run `dvc repro`."
            )
        if (np.diff(own.labels) < 0).any():
            raise InputError(
                f"{predictions.path}: expected the {split} rows class by class in the order {list(classes)}, found "
                "another order; labels and images have come apart."
            )
        for k, name in enumerate(classes):
            if split == "test" and not (own.labels == k).any():
                raise InputError(
                    f"{manifest.path}: expected test images of class '{name}', found none; add images or remove "
                    "the class from `classes` in params.yaml."
                )


def check_comparable(arms: Mapping[str, Predictions]) -> None:
    """Refuse arms that were not trained with the same seeds or not tested on the same images.

    Raises:
        InputError: They differ.
    """
    first, *others = arms
    for arm in others:
        if arms[arm].seeds != arms[first].seeds:
            raise InputError(
                f"{arms[arm].path}: expected the seeds {list(arms[first].seeds)} of arm '{first}', found "
                f"{list(arms[arm].seeds)}; give all arms the same seeds."
            )
    check_same_images(arms)


def check_same_images(arms: Mapping[str, Predictions]) -> None:
    """Refuse predictions on different images, or on the same in another order.

    Raises:
        InputError: They differ.
    """
    first, *others = arms
    for arm in others:
        for split in [s for s in SPLITS if s in arms[arm].splits and s in arms[first].splits]:
            if arms[arm].splits[split].images != arms[first].splits[split].images:
                raise InputError(
                    f"{arms[arm].path}: expected the same {split} images in the same order as in "
                    f"{arms[first].path}, found others; run `dvc repro`."
                )


def read_steps(path: str | Path) -> int:
    """Optimiser steps of a training, from its `metrics.json`; where it names several, they must agree.

    A method that is fitted without an optimiser has 0, and is left out where others stand beside it.

    Raises:
        InputError: Missing, or unequal within the file.
    """
    values = {name: value for name, value in read_json(path).items() if name.rpartition("/")[2] == "optimiser_steps"}
    if not values:
        raise InputError(f"{path}: expected the key 'optimiser_steps', found none; run `dvc repro` to train anew.")
    values = {name: steps for name, steps in values.items() if steps} or values
    if len(set(values.values())) > 1:
        raise InputError(f"{path}: expected equal optimiser steps, found {values}; train both with the same steps.")
    return int(next(iter(values.values())))


def check_equal_steps(steps: Mapping[str, int]) -> None:
    """Refuse arms that were trained for different numbers of optimiser steps.

    Args:
        steps: Arm to its steps, by its `effort` in params.yaml.

    Raises:
        InputError: They differ.
    """
    if len(set(steps.values())) > 1:
        raise InputError(
            f"results/classifier/*/metrics.json: expected equal `optimiser_steps` for every arm, found {dict(steps)}; "
            "an arm with more steps wins by training longer, so set one number for all in params.yaml."
        )


def read_course(path: str | Path, *, steps: int, is_augmented: bool, method: str = "") -> Course:
    """How the trainings of an arm, or of one method of several, went, from `history.csv`.

    Args:
        path: The file.
        steps: Optimiser steps; 0 for a fit without any.
        is_augmented: See `Course`.
        method: In the file's column of that name; "": all rows are of one.

    Raises:
        InputError: Missing, or lacks a column or the method's rows.
    """
    rows = _rows(Path(path), ("seed", "step", "val_macro_f1", *(["method"] if method else [])))
    rows = [row for row in rows if row.get("method", "") == method]
    if not rows:
        raise InputError(f"{path}: expected rows of the method '{method}', found none; run `dvc repro`.")
    curves: dict[int, list[tuple[float, float]]] = {}
    last: dict[str, float | None] = {}
    for row in rows:
        if row["val_macro_f1"] not in ("", "nan", None):
            curves.setdefault(int(row["seed"]), []).append((float(row["step"]), float(row["val_macro_f1"])))
        last[row["seed"]] = float(row["train_accuracy"]) if row.get("train_accuracy") else None
    shares = [share for share in last.values() if share is not None]
    return Course(
        {seed: np.array(points) for seed, points in sorted(curves.items())},
        sum(shares) / len(shares) if shares else None,
        steps,
        is_augmented,
    )


def read_tuning(path: str | Path) -> list[dict[str, str]]:
    """Rows of an SGAN's `tuning.csv`: every method's settings, their scores on val, and which was chosen.

    Raises:
        InputError: Missing, lacks a column, or one method had more settings to choose from than another.
    """
    rows = _rows(Path(path), ("method", "val_macro_f1", "chosen"))
    settings = Counter(row["method"] for row in rows)
    if len(set(settings.values())) > 1:
        raise InputError(
            f"{path}: expected as many settings for every method, found {dict(settings)}; a method that was tuned more "
            "wins by that, so run `dvc repro`."
        )
    return rows


def read_json(path: str | Path) -> dict:
    """A JSON object from a file.

    Raises:
        InputError: Missing, no JSON, or no object.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: expected a file, found none; run `dvc repro`.") from None
    except ValueError as error:
        raise InputError(f"{path}: expected JSON, found {error}; run `dvc repro`.") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a JSON object, found a {type(value).__name__}; run `dvc repro`.")
    return value


def _rows(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    try:
        with open(path, newline="", encoding="utf-8") as f:
            reader = csv.DictReader(f)
            missing = [c for c in columns if c not in (reader.fieldnames or [])]
            rows = list(reader)
    except FileNotFoundError:
        raise InputError(f"{path}: expected a file, found none; run `dvc repro`.") from None
    if missing:
        raise InputError(f"{path}: expected the columns {missing}, found {reader.fieldnames}; run `dvc repro`.")
    if not rows:
        raise InputError(f"{path}: expected rows, found none; run `dvc repro`.")
    return rows
