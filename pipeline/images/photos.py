"""What a judge sees: real photos as large as it is shown them, and images of a GAN enlarged to that.

Which images a training set holds is one question, how finely they are seen another: a GAN of 64 px takes nothing away
from the real photos beside its images. What the low resolution alone costs is told by showing the real photos through
it, too.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from pipeline import InputError
from pipeline.images.background import with_background
from pipeline.images.store import Store, load_store

RESOLUTIONS = ("photo", "gan")


def resized(images: np.ndarray, side: int) -> np.ndarray:
    """(N, H, H, 3) uint8 to (N, side, side, 3), by the kernels of `decode.fit_square`; as they are where they fit."""
    if images.shape[1] == side:
        return images
    kernel = Image.Resampling.BICUBIC if images.shape[1] < side else Image.Resampling.LANCZOS
    out = np.empty((len(images), side, side, 3), np.uint8)
    for i, image in enumerate(images):
        out[i] = np.asarray(Image.fromarray(image).resize((side, side), kernel))
    return out


def as_seen(store: Store, photos: Store, resolution: str) -> Store:
    """A training set as the judge sees it.

    Args:
        store: Real and synthetic images at the GAN's resolution.
        photos: The real ones of its side at the judge's, with their names.
        resolution: Of the real ones: `photo`, or `gan`: through the GAN's, like the synthetic ones.

    Returns:
        The same images in the same order, all of the size of `photos`.

    Raises:
        InputError: No such resolution.
    """
    if resolution not in RESOLUTIONS:
        raise InputError(
            f"resolution: expected one of {', '.join(RESOLUTIONS)}, found '{resolution}'; mend it in params.yaml."
        )
    images = resized(store.images, photos.images.shape[1])
    if resolution == "photo":
        at = {(k, file): i for i, (k, file) in enumerate(zip(photos.labels, photos.files, strict=True))}
        found = [at.get((k, file), -1) for k, file in zip(store.labels, store.files, strict=True)]
        real = np.flatnonzero(np.array(found) >= 0)
        images = images.copy() if images is store.images else images
        images[real] = photos.images[np.array(found)[real]]
    return store._replace(images=images)


def load_training_set(
    folder: str | Path, photos: str | Path, classes: list[str], *, resolution: str, background: str
) -> Store:
    """The training set of an arm, as its judge sees it.

    Args:
        folder: Its store.
        photos: The store of the real photos of train.
        classes: Class names.
        resolution: Of the real ones, see `as_seen`.
        background: See `with_background`.

    Raises:
        InputError: See `load_store`, `as_seen` and `with_background`.
    """
    seen = as_seen(load_store(folder, classes), load_store(photos, classes), resolution)
    return with_background(seen, background)
