"""Images of one class out of a trained model's folder: image i is image i, however many are asked for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from pipeline import InputError
from pipeline.gan.checkpoint import load_model
from pipeline.gan.sampling import BATCH, Sampler, one_thread


def class_sampler(
    folder: str | Path, name: str, resolution: int, *, seed: int, truncation: float, device: str
) -> Sampler:
    """What draws the images of a class, by its own generator and scored by its own discriminator.

    Raises:
        InputError: The model is missing, or of another class or resolution.
    """
    model = load_model(folder, device)
    if model.config["img_resolution"] != resolution or name not in model.config["trained_on"]:
        raise InputError(
            f"{folder}: expected a generator of '{name}' at {resolution} px, found one of "
            f"{model.config['trained_on']} at {model.config['img_resolution']} px; run `dvc repro`."
        )
    label = model.config["classes"].index(name)
    return Sampler(model.G_ema, label, name, seed=seed, truncation=truncation, D=model.D, device=device)


def draw_class(
    folder: str | Path,
    name: str,
    count: int,
    *,
    img_resolution: int,
    seed: int,
    truncation: float = 1.0,
    device: str = "cpu",
) -> np.ndarray:
    """The first `count` images of a class: those that `generate` writes for the same seed and truncation.

    Args:
        folder: The model, e.g. models/gan/class/rust.
        name: The class.
        count: 0 or more.
        img_resolution: Pixels that the caller's real images have.
        seed: Of the whole set.
        truncation: Factor on z.
        device: cpu or cuda.

    Returns:
        (count, img_resolution, img_resolution, 3) uint8.

    Raises:
        InputError: No model there, or one of other classes or another size.
    """
    images = np.empty((count, img_resolution, img_resolution, 3), np.uint8)
    workers = torch.get_num_threads()

    def work(batch: int) -> None:
        first = batch * BATCH
        images[first : first + BATCH] = sampler.draw(batch)[: count - first]

    with one_thread(), ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        sampler = class_sampler(folder, name, img_resolution, seed=seed, truncation=truncation, device=device)
        list(pool.map(work, range(-(-count // BATCH))))  # list: or a thread's error would go unseen
    return images
