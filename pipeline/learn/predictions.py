"""What a training leaves behind, the same for classifier and SGAN: predictions.csv, history.csv, metrics.json."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from pipeline import InputError
from pipeline.images.store import Store
from pipeline.learn.metrics import evaluate_predictions
from pipeline.learn.trained import Trained, predict

HISTORY_COLUMNS = ["seed", "step", "train_loss", "val_loss", "val_macro_f1"]


def write_results(
    folder: str | Path,
    trained: list[Trained],
    stores: dict[str, Store],
    *,
    extra: dict[str, float] | None = None,
    only: Mapping[str, Collection[str]] | None = None,
    own_images: Mapping[str, Mapping[str, np.ndarray]] | None = None,
) -> dict[str, float]:
    """Predict every split with every seed's model, and write the three files.

    This is where test is seen, once, by models that are already chosen.

    Args:
        folder: Where; made if absent.
        trained: One a seed, or one a method and seed.
        stores: By split, in the order to write: {"val": ..., "test": ...}.
        extra: Further metrics, such as the counts of labelled images.
        only: Split to the methods that are predicted on it, where not all are: those that were chosen on val.
        own_images: Method to split to images, for those that see the stores' images at another resolution.

    Returns:
        The contents of metrics.json: means over seeds by "<split>/<metric>", and optimiser_steps; with
        "<method>/" in front where the trained ones name a method.

    Raises:
        ValueError: The seeds of a method were given unequal numbers of steps.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    probabilities = {
        (t.method, t.seed, split): predict(t.model, (own_images or {}).get(t.method, {}).get(split, store.images))
        for t in trained
        for split, store in stores.items()
        if only is None or split not in only or t.method in only[split]
    }
    _write_predictions(folder / "predictions.csv", trained, stores, probabilities)
    _write_history(folder / "history.csv", trained)
    metrics = _metrics(trained, stores, probabilities) | (extra or {})
    with open(folder / "metrics.json", "w", encoding="utf-8") as f:
        json.dump({k: round(v, 6) for k, v in metrics.items()}, f, sort_keys=True, indent=2, ensure_ascii=False)
        f.write("\n")
    return metrics


def read_val_macro_f1(folder: str | Path) -> list[float]:
    """Macro-F1 on val of each seed's checkpoint, which is the best of its looks, seeds in order; knows nothing of test.

    Args:
        folder: Of `write_results`, one method.

    Raises:
        InputError: history.csv is missing, or has no such column.
    """
    path = Path(folder) / "history.csv"
    best: dict[int, float] = {}
    try:
        with open(path, newline="", encoding="utf-8") as f:
            for row in csv.DictReader(f):
                seed, f1 = int(row["seed"]), float(row["val_macro_f1"])
                best[seed] = max(f1, best.get(seed, f1))
    except (FileNotFoundError, KeyError, ValueError) as error:
        raise InputError(
            f"{path}: expected a training's history with the columns seed and val_macro_f1, found none "
            f"({type(error).__name__}: {error}); run `dvc repro`."
        ) from None
    return [best[seed] for seed in sorted(best)]


def read_val_predictions(folder: str | Path, val: Store) -> np.ndarray:
    """(S, N) classes that each seed's checkpoint takes val's images for, seeds in order; knows nothing of test.

    Args:
        folder: Of `write_results`, one method.
        val: The images, in the order of the predictions.

    Raises:
        InputError: predictions.csv is missing, or not of these images.
    """
    path = Path(folder) / "predictions.csv"
    found: dict[int, list[int]] = {}
    files: dict[int, list[str]] = {}
    try:
        with open(path, newline="", encoding="utf-8") as f:
            for row in csv.DictReader(f):
                if row["split"] == "val":
                    shares = [float(row[f"p/{name}"]) for name in val.classes]
                    found.setdefault(int(row["seed"]), []).append(int(np.argmax(shares)))
                    files.setdefault(int(row["seed"]), []).append(row["file"])
    except (FileNotFoundError, KeyError, ValueError) as error:
        raise InputError(
            f"{path}: expected predictions with the columns seed, split, file and one for each class, found none "
            f"({type(error).__name__}: {error}); run `dvc repro`."
        ) from None
    if not files or any(of != list(val.files) for of in files.values()):
        raise InputError(f"{path}: expected every seed's predictions of the val images, found others; run `dvc repro`.")
    return np.array([found[seed] for seed in sorted(found)])


def _write_predictions(
    path: Path,
    trained: list[Trained],
    stores: dict[str, Store],
    probabilities: dict[tuple[str, int, str], np.ndarray],
) -> None:
    methods = any(t.method for t in trained)
    classes = next(iter(stores.values())).classes
    with open(path, "w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f, lineterminator="\n")
        head = ["seed", "split", "file", "label", *(f"p/{name}" for name in classes)]
        writer.writerow(["method", *head] if methods else head)
        for t in trained:
            for split, store in stores.items():
                if store.classes != classes:
                    raise ValueError(f"classes of '{split}' must be {classes}. Got {store.classes} instead.")
                if (t.method, t.seed, split) not in probabilities:
                    continue
                rows = zip(store.files, store.labels, probabilities[t.method, t.seed, split], strict=True)
                for file, label, p in rows:
                    row = [t.seed, split, file, classes[label], *(f"{value:.6f}" for value in p)]
                    writer.writerow([t.method, *row] if methods else row)


def _write_history(path: Path, trained: list[Trained]) -> None:
    # a method's own columns (d_loss, g_loss) stand after the common ones, empty where another method has none
    own = sorted({key for t in trained for row in t.history for key in row} - set(HISTORY_COLUMNS))
    first = ["method"] if any(t.method for t in trained) else []
    with open(path, "w", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(f, [*first, *HISTORY_COLUMNS, *own], restval="", lineterminator="\n")
        writer.writeheader()
        for t in trained:
            for row in t.history:
                figures = {k: v if isinstance(v, int) else round(v, 6) for k, v in row.items()}
                writer.writerow(figures | {"seed": t.seed} | ({"method": t.method} if first else {}))


def _metrics(
    trained: list[Trained], stores: dict[str, Store], probabilities: dict[tuple[str, int, str], np.ndarray]
) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for method in sorted({t.method for t in trained}):
        prefix = f"{method}/" if method else ""
        runs = [t for t in trained if t.method == method]
        steps = {t.optimiser_steps for t in runs}
        if len(steps) != 1:
            raise ValueError(f"optimiser_steps must be the same for every seed. Got {sorted(steps)} instead.")
        metrics[f"{prefix}optimiser_steps"] = steps.pop()
        for split, store in stores.items():
            by_seed = [
                evaluate_predictions(store.labels, probabilities[method, t.seed, split], store.classes)
                for t in runs
                if (method, t.seed, split) in probabilities
            ]
            for name in by_seed[0] if by_seed else ():
                metrics[f"{prefix}{split}/{name}"] = float(np.mean([figures[name] for figures in by_seed]))
    return metrics
