"""The product: a synthetic set with exactly as many images of each class, each traceable to its generator.

Image 7 of a class is the same image whether 10 or 1,000 are drawn, and its manifest row says how to draw
it again: class, seed and the hash of the generator.
"""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from pipeline import InputError
from pipeline.gan.checkpoint import generator_sha256, load_model
from pipeline.gan.sampling import sample
from pipeline.images.store import Store, write_store

PNG_COMPRESSION = 6


def images_per_class(target: str | int, largest: int) -> int:
    """`generate.target` as a number.

    Args:
        target: "largest", a number of images, or a multiple of the largest class ("2x", "1.5x").
        largest: Images of the largest class of train.

    Raises:
        InputError: Fewer than the largest class has: classes could then be balanced only by dropping photos.
    """
    if target == "largest":
        return largest
    count = round(float(target[:-1]) * largest) if isinstance(target, str) else target
    if count < largest:
        raise InputError(
            f"generate.target: expected at least the largest class of train ({largest} images), "
            f"got {target} ({count} images); raise it, or use 'largest'."
        )
    return count


def link_or_copy(source: Path, target: Path) -> None:
    """A hard link where the file system allows one, else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def write_balanced_set(
    store: Store,
    real_dir: str | Path,
    models_dir: str | Path,
    synthetic_dir: str | Path,
    augmented_dir: str | Path,
    synthetic_store: str | Path,
    augmented_store: str | Path,
    *,
    target: str | int,
    seed: int,
    truncation: float,
    device: str = "cpu",
) -> dict[str, float]:
    """Draw `target` images of every class, and add what each class of train lacks to it.

    Args:
        store: The train split.
        real_dir: Its images as files, `<class>/<file>`.
        models_dir: One model folder a class.
        synthetic_dir: Gets `<class>/<class>_seed000000.png` and `manifest.csv`.
        augmented_dir: Gets train and the first synthetic images of each class, and `manifest.csv`.
        synthetic_store: The pixels of `synthetic_dir` as an array store.
        augmented_store: The pixels of `augmented_dir` as an array store.
        target: Images a class, see `images_per_class`.
        seed: Of the latents.
        truncation: Factor on z.
        device: cpu or cuda.

    Returns:
        `images_per_class`, and `synthetic/<class>`: synthetic images that `augmented_dir` has of each class.
    """
    synthetic_dir, augmented_dir, real_dir = Path(synthetic_dir), Path(augmented_dir), Path(real_dir)
    counts = np.bincount(store.labels, minlength=len(store.classes))
    count = images_per_class(target, int(counts.max()))
    resolution = store.images.shape[1]
    synthetic = np.empty((len(store.classes), count, resolution, resolution, 3), np.uint8)
    rows, names = [], []
    bar = tqdm(total=len(store.classes) * count, unit="img", desc="generate", disable=None)
    for k, name in enumerate(store.classes):
        folder = Path(models_dir) / name
        model = load_model(folder, device)
        if model.config["img_resolution"] != resolution or name not in model.config["trained_on"]:
            raise InputError(
                f"{folder}: expected a generator of '{name}' at {resolution} px, found one of "
                f"{model.config['trained_on']} at {model.config['img_resolution']} px; run `dvc repro`."
            )
        sha256 = generator_sha256(folder)
        (synthetic_dir / name).mkdir(parents=True)
        label = model.config["classes"].index(name)
        drawn = sample(model.G_ema, label, name, list(range(count)), seed=seed, truncation=truncation,
                       D=model.D, device=device)  # fmt: skip
        for index, image, logit in drawn:
            file = f"{name}/{name}_seed{index:06d}.png"
            Image.fromarray(image).save(synthetic_dir / file, compress_level=PNG_COMPRESSION)
            synthetic[k, index] = image
            rows.append([file, name, index, sha256, f"{logit:.6f}"])
            names.append(Path(file).name)
            bar.update()
    bar.close()
    _write_csv(synthetic_dir / "manifest.csv", ["file", "class", "seed", "generator_sha256", "d_logit"], rows)
    labels = np.repeat(np.arange(len(store.classes)), count)
    write_store(synthetic_store, synthetic.reshape(-1, *synthetic.shape[2:]), labels, names, store.classes)

    images, labels, names, rows = [], [], [], []
    for k, name in enumerate(store.classes):
        (augmented_dir / name).mkdir(parents=True)
        real = np.flatnonzero(store.labels == k)
        files = [(real_dir / name / store.files[i], store.files[i], "real") for i in real]
        missing = count - len(real)
        for index in range(missing):
            file = f"{name}_seed{index:06d}.png"
            files.append((synthetic_dir / name / file, file, "synthetic"))
        for source, file, origin in files:
            link_or_copy(source, augmented_dir / name / file)
            home = "data/split/train" if origin == "real" else "data/synthetic"
            rows.append([f"{name}/{file}", name, origin, f"{home}/{name}/{file}"])
            names.append(file)
        images += [store.images[real], synthetic[k, :missing]]
        labels += [k] * count
    _write_csv(augmented_dir / "manifest.csv", ["file", "class", "origin", "source"], rows)
    write_store(augmented_store, np.concatenate(images), np.array(labels), names, store.classes)
    lacking = {f"synthetic/{name}": float(count - counts[k]) for k, name in enumerate(store.classes)}
    return {"images_per_class": float(count), **lacking}


def _write_csv(path: Path, header: list[str], rows: list[list]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
