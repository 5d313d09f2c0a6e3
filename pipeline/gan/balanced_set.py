"""The product: a synthetic set with exactly as many images of each class, each traceable to its generator.

Image 7 of a class is the same image whether 10 or 1,000 are drawn, and its manifest row says how to draw
it again: class, seed and the hash of the generator.

Work is handed out in whole batches, to the ranks of torchrun in turn and within a rank to its threads: torch
and zlib leave the interpreter free, so threads do as well as processes. Each batch is drawn, scored, encoded
and written by one thread, to places that follow from its number. What one rank could not know of another's
batches goes through the disk, and no set is too large for the memory.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils import parametrize
from tqdm import tqdm

from pipeline.gan.checkpoint import generator_sha256
from pipeline.gan.class_images import class_sampler
from pipeline.gan.distributed import ALONE, Ranks, barrier
from pipeline.gan.sampling import BATCH, Sampler, one_thread
from pipeline.images.demands import images_per_class
from pipeline.images.manifest import write_csv
from pipeline.images.png import encode_png
from pipeline.images.row_file import RowFile
from pipeline.images.store import Store


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
    workers: int | None = None,
    ranks: Ranks = ALONE,
) -> dict[str, float]:
    """Draw `target` images of every class, and add what each class of train lacks to it.

    With several ranks, all call it with the same places, inside `process_group`. No byte depends on `workers`
    or `ranks`.

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
        device: cpu or cuda; with cuda, each rank uses the GPU of its local number.
        workers: Threads of this rank; None for as many as torch computes with.
        ranks: Which batches are this process's.

    Returns:
        `images_per_class`, and `synthetic/<class>`: synthetic images that `augmented_dir` has of each class.

    Raises:
        InputError: A model is missing, or of another class or resolution.
        OSError: The disk is full, or a place cannot be written; other batches are then given up.
    """
    synthetic_dir, augmented_dir, real_dir = Path(synthetic_dir), Path(augmented_dir), Path(real_dir)
    synthetic_store, augmented_store = Path(synthetic_store), Path(augmented_store)
    counts = np.bincount(store.labels, minlength=len(store.classes))
    count = images_per_class(target, int(counts.max()))
    shape = (count, *store.images.shape[1:])
    pixels = {name: RowFile(synthetic_store / f"{name}.npy", shape, np.uint8) for name in store.classes}
    logits = {name: RowFile(synthetic_dir / name / ".d_logit.npy", (count,), np.float32) for name in store.classes}
    if ranks.rank == 0:
        synthetic_store.mkdir(parents=True, exist_ok=True)
        for name in store.classes:
            (synthetic_dir / name).mkdir(parents=True)
            pixels[name].create()
            logits[name].create()
    barrier()
    _draw(
        store.classes, shape, Path(models_dir), synthetic_dir, pixels, logits, seed=seed, truncation=truncation,
        device=f"cuda:{ranks.local_rank}" if device == "cuda" else device,
        workers=workers or torch.get_num_threads(), ranks=ranks,
    )  # fmt: skip
    barrier()
    if ranks.rank == 0:
        _describe_synthetic(store.classes, count, Path(models_dir), synthetic_dir, synthetic_store, logits)
        files = {name: [image_file(name, index) for index in range(count)] for name in store.classes}
        assemble_augmented(
            store, real_dir, synthetic_dir, files, pixels, augmented_dir, augmented_store, home="data/synthetic"
        )
    lacking = {f"synthetic/{name}": float(count - counts[k]) for k, name in enumerate(store.classes)}
    return {"images_per_class": float(count), **lacking}


def image_file(name: str, index: int) -> str:
    """The file of image `index` of a class."""
    return f"{name}_seed{index:06d}.png"


def _draw(
    classes: list[str],
    shape: tuple[int, ...],
    models_dir: Path,
    synthetic_dir: Path,
    pixels: dict[str, RowFile],
    logits: dict[str, RowFile],
    *,
    seed: int,
    truncation: float,
    device: str,
    workers: int,
    ranks: Ranks,
) -> None:
    """This rank's batches of every class, as PNG files and as rows of the two arrays."""
    count, resolution = shape[0], shape[1]
    batches = range(-(-count // BATCH))  # of one class
    numbered = [(name, batch) for name in classes for batch in batches]
    mine = numbered[ranks.rank :: ranks.world_size]
    total = sum(min(BATCH, count - batch * BATCH) for _, batch in mine)
    with (
        one_thread(),
        ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool,
        tqdm(total=total, unit="img", desc="generate", disable=True if ranks.rank else None) as bar,
    ):
        try:
            for name in classes:
                sampler = class_sampler(
                    models_dir / name, name, resolution, seed=seed, truncation=truncation, device=device
                )

                def work(batch: int, name: str = name, sampler: Sampler = sampler) -> int:
                    first = batch * BATCH
                    kept = min(BATCH, count - first)
                    images = sampler.draw(batch)
                    scores = sampler.score(images)
                    for index, png in enumerate(encode_png(images[:kept]), first):
                        (synthetic_dir / name / image_file(name, index)).write_bytes(png)
                    pixels[name].write(first, images[:kept])
                    logits[name].write(first, scores[:kept])
                    return kept

                # D's weights are divided by their spectral norm once, not once a batch. Once a class, as the
                # cache goes by id(), which the next class's D may inherit.
                with parametrize.cached():
                    for done in as_completed([pool.submit(work, batch) for owner, batch in mine if owner == name]):
                        bar.update(done.result())
        except BaseException:  # a full disk, Ctrl-C: what has not begun never will
            pool.shutdown(cancel_futures=True)
            raise


def _describe_synthetic(
    classes: list[str],
    count: int,
    models_dir: Path,
    synthetic_dir: Path,
    synthetic_store: Path,
    logits: dict[str, RowFile],
) -> None:
    """The synthetic set's manifest, and its store's index."""

    def rows() -> Iterator[list]:
        for name in classes:
            sha256 = generator_sha256(models_dir / name)
            for i, logit in enumerate(logits[name].read()):
                yield [f"{name}/{image_file(name, i)}", name, i, sha256, f"{logit:.6f}"]
            logits[name].path.unlink()

    write_csv(synthetic_dir / "manifest.csv", ["file", "class", "seed", "generator_sha256", "d_logit"], rows())
    index = ([image_file(name, i), name] for name in classes for i in range(count))
    write_csv(synthetic_store / "index.csv", ["file", "class"], index)


def assemble_augmented(
    store: Store,
    real_dir: Path,
    synthetic_dir: Path,
    synthetic_files: dict[str, list[str]],
    pixels: dict[str, RowFile],
    augmented_dir: Path,
    augmented_store: Path,
    *,
    home: str,
) -> None:
    """Train, filled up with a class's first synthetic images, as linked files, as a manifest and as a store.

    Args:
        store: The train split.
        real_dir: Its images as files.
        synthetic_dir: The synthetic images as files.
        synthetic_files: Class to their names, in order; as many as the class shall have.
        pixels: Class to the same images' pixels.
        augmented_dir: Gets `<class>/<file>` and `manifest.csv`.
        augmented_store: Gets the pixels as an array store.
        home: Where `synthetic_dir` will lie when all is done, for the manifest.
    """
    augmented_store.mkdir(parents=True, exist_ok=True)
    rows, index = [], []
    for k, name in enumerate(store.classes):
        (augmented_dir / name).mkdir(parents=True)
        real = np.flatnonzero(store.labels == k)
        synthetic = pixels[name].read()
        missing = len(synthetic) - len(real)
        files = [(real_dir / name / store.files[i], store.files[i], "real", "data/split/train") for i in real]
        names = synthetic_files[name][:missing]
        files += [(synthetic_dir / name / file, file, "synthetic", home) for file in names]
        for source, file, origin, below in files:
            link_or_copy(source, augmented_dir / name / file)
            rows.append([f"{name}/{file}", name, origin, f"{below}/{name}/{file}"])
            index.append([file, name])
        arrays = RowFile(augmented_store / f"{name}.npy", synthetic.shape, np.uint8)
        arrays.create()
        arrays.write(0, store.images[real])
        arrays.write(len(real), synthetic[:missing])
    write_csv(augmented_dir / "manifest.csv", ["file", "class", "origin", "source"], rows)
    write_csv(augmented_store / "index.csv", ["file", "class"], index)
