"""Can the label be told from the background alone? Then a high accuracy is no evidence of seeing the disease.

A nearest neighbour on nothing but the median colour of the picture's border guesses each image's class from
the other images. On public leaf sets this goes far: eight background pixels give 49% on PlantVillage's 38
classes (Noyan, Quilodrán-Casas, Çağatan 2022, "Uncovering bias in the PlantVillage dataset").
"""

from __future__ import annotations

import numpy as np

BORDER = 0.08  # width of the frame, as a share of the shorter side
CHUNK = 512  # queries at a time: 512 x 20,000 distances are 80 MB


def border_color_score(
    images: np.ndarray, labels: np.ndarray, *, groups: np.ndarray | list[str] | None = None, seed: int
) -> dict[str, float]:
    """How well the border's colour alone gives the class away.

    Args:
        images: (N, H, W, 3) uint8 RGB.
        labels: (N,) integers.
        groups: N group ids: images of one group (photos of one leaf) are never each other's neighbours.
            None means that each image is a group of its own.
        seed: Decides between neighbours at the same distance.

    Returns:
        `accuracy`, `balanced_accuracy` (mean recall over classes) of the leave-one-out nearest neighbour;
        `majority_share`, the accuracy of always naming the largest class; `chance_balanced_accuracy`, what
        any guess blind to the image gets, 1 / classes; `num_images`. An image without any neighbour outside
        its group counts as a miss.

    Raises:
        ValueError: Shapes that disagree, or no images.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise ValueError(f"images must be (N, H, W, 3) uint8. Got {images.shape} {images.dtype} instead.")
    if len(images) == 0 or labels.shape != (len(images),):
        raise ValueError(f"labels must be ({len(images)},), not empty. Got {labels.shape} instead.")
    if groups is None:
        group_ids = np.arange(len(images))
    else:
        group_ids = np.unique(np.asarray(groups), return_inverse=True)[1]
        if group_ids.shape != labels.shape:
            raise ValueError(f"groups must be ({len(images)},). Got {group_ids.shape} instead.")

    neighbours = _nearest_outside_group(border_colors(images), group_ids, seed)
    hits = (neighbours >= 0) & (labels[neighbours] == labels)
    classes, label_ids, counts = np.unique(labels, return_inverse=True, return_counts=True)
    recalls = np.bincount(label_ids, weights=hits) / counts
    return {
        "accuracy": float(hits.mean()),
        "balanced_accuracy": float(recalls.mean()),
        "majority_share": float(counts.max() / counts.sum()),
        "chance_balanced_accuracy": 1.0 / len(classes),
        "num_images": float(len(images)),
    }


def border_colors(images: np.ndarray) -> np.ndarray:
    """Median colour of each image's border frame: (N, H, W, 3) uint8 to (N, 3) float64."""
    height, width = images.shape[1:3]
    frame = np.zeros((height, width), dtype=bool)
    thickness = max(1, round(BORDER * min(height, width)))
    frame[:thickness] = frame[-thickness:] = True
    frame[:, :thickness] = frame[:, -thickness:] = True
    return np.stack([np.median(image[frame], axis=0) for image in images])


def _nearest_outside_group(points: np.ndarray, group_ids: np.ndarray, seed: int) -> np.ndarray:
    """Index of each point's nearest point of another group, -1 where there is none: (N,) int64."""
    # Medians of uint8 repeat: in a shuffled order argmin's "first of equals" is a random one of them.
    order = np.random.default_rng([seed, 1]).permutation(len(points))
    pool, pool_groups = points[order], group_ids[order]
    nearest = np.empty(len(points), dtype=np.int64)
    for start in range(0, len(points), CHUNK):
        rows = slice(start, start + CHUNK)
        # |a - b|^2 = |a|^2 - 2ab + |b|^2; medians are multiples of 1/2, so this is exact
        squared = (points[rows] ** 2).sum(axis=1)[:, None] - 2 * points[rows] @ pool.T + (pool**2).sum(axis=1)[None, :]
        squared[group_ids[rows][:, None] == pool_groups[None, :]] = np.inf
        best = squared.argmin(axis=1)
        nearest[rows] = np.where(np.isinf(squared.min(axis=1)), -1, order[best])
    return nearest
