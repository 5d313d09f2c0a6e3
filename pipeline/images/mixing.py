"""Other training sets out of one: with synthetic images added to its classes, a part of it, or one class made rare."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from pipeline import InputError
from pipeline.images.demands import check_minority_count
from pipeline.images.seeding import numpy_rng
from pipeline.images.store import Store


def synthetic_counts(store: Store, ratio: float) -> dict[str, int]:
    """Synthetic images a class that stand `ratio` to 1 to its real ones, rounded up: class name to count.

    Per class and not per set, so that with balanced sampling a batch holds the same share of synthetic images
    of every class, ratio / (1 + ratio), whatever the classes' sizes.
    """
    counts = np.bincount(store.labels, minlength=len(store.classes))
    # without the rounding 0.1 * 30 is a little more than 3, and rounds up to 4
    return {name: math.ceil(round(ratio * int(n), 9)) for name, n in zip(store.classes, counts, strict=True)}


def add_images(store: Store, extra: Mapping[str, np.ndarray]) -> Store:
    """The store with further images behind the real ones of their class.

    Args:
        store: Left as it is.
        extra: Class name to (M, H, W, 3) uint8; M may be 0, and a class may be absent.

    Returns:
        A store whose added files are named synthetic_000000, …; equal to the given one where nothing is added.

    Raises:
        ValueError: An unknown class, or images of another shape.
    """
    images, files, counts = [], [], []
    for name, added in extra.items():
        if name not in store.classes or added.shape[1:] != store.images.shape[1:]:
            raise ValueError(
                f"extra must hold classes of {store.classes} with images of shape {store.images.shape[1:]}. "
                f"Got '{name}' with {added.shape[1:]} instead."
            )
    for k, name in enumerate(store.classes):
        rows = np.flatnonzero(store.labels == k)
        added = extra.get(name, store.images[:0])
        images += [store.images[rows], added]
        files += [store.files[i] for i in rows] + [f"synthetic_{i:06d}" for i in range(len(added))]
        counts.append(len(rows) + len(added))
    return Store(np.concatenate(images), np.repeat(np.arange(len(counts)), counts), files, list(store.classes))


def mixtures(store: Store, synthetic: Mapping[str, np.ndarray], ratios: Sequence[float]) -> Iterator[tuple[str, Store]]:
    """The store at every ratio of synthetic to real images, see `synthetic_counts`; made when it is asked for.

    Args:
        store: Real images.
        synthetic: Class name to (M, H, W, 3) uint8, as many as the largest ratio needs; a smaller one takes
            the first of them.
        ratios: Synthetic images for each real one, in every class.

    Yields:
        The ratio as f"{ratio:g}", and the store.

    Raises:
        ValueError: Fewer synthetic images than a ratio needs.
    """
    for ratio in ratios:
        extra = {name: synthetic[name][:count] for name, count in synthetic_counts(store, ratio).items()}
        for name, count in synthetic_counts(store, ratio).items():
            if len(extra[name]) < count:
                raise ValueError(
                    f"synthetic must hold {count} images of '{name}' for ratio {ratio:g}. Got {len(extra[name])} "
                    "instead."
                )
        yield f"{ratio:g}", add_images(store, extra)


def share_of_groups(store: Store, groups: Sequence[str], share: float, *, seed: int) -> Store:
    """The store with about a share of each class's images kept, and photos of one leaf kept or left together.

    As if so much had been photographed: groups are drawn in turn until the class has at least the share, and always
    one. The draw for a smaller share is the beginning of that for a larger one. Images stay in the store's order.

    Args:
        store: Left as it is.
        groups: N names, of each image's leaf.
        share: More than 0 and less than 1.
        seed: Of the draw.
    """
    kept: list[int] = []
    for k, name in enumerate(store.classes):
        rows = np.flatnonzero(store.labels == k)
        of_group: dict[str, list[int]] = {}
        for row in rows:
            of_group.setdefault(groups[row], []).append(int(row))
        wanted, own = math.ceil(round(share * len(rows), 9)), []
        for turn in numpy_rng(seed, f"share:{name}").permutation(len(of_group)):
            if len(own) >= wanted:
                break
            own += list(of_group.values())[turn]
        kept += sorted(own)
    return Store(store.images[kept], store.labels[kept], [store.files[i] for i in kept], list(store.classes))


def shrink_class(store: Store, name: str, count: int, *, seed: int) -> Store:
    """The store with `count` images of one class kept, the other classes whole.

    Kept are single images, all as likely, without regard for their groups: nothing is assumed of how a rare
    class would have been photographed. The draw for a smaller count is the beginning of that for a larger
    one, so that two counts differ by what the larger one adds. Kept images stay in the store's order.

    Args:
        store: Left as it is.
        name: The class.
        count: Images to keep, 1 or more and fewer than there are.
        seed: Of the draw.

    Raises:
        InputError: No such class, or not fewer than there are.
    """
    if name not in store.classes:
        raise InputError(
            f"study_minority.class_name: expected one of {store.classes}, got '{name}'; mend it in params.yaml."
        )
    k = store.classes.index(name)
    rows = np.flatnonzero(store.labels == k)
    check_minority_count(count, len(rows), name)
    kept = numpy_rng(seed, f"minority:{name}").permutation(rows)[:count]
    left = np.sort(np.concatenate([np.flatnonzero(store.labels != k), kept]))
    return Store(store.images[left], store.labels[left], [store.files[i] for i in left], list(store.classes))
