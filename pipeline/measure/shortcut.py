"""Can the label be told without looking at the leaf? Then a high accuracy is no evidence of seeing the disease.

A nearest neighbour that is shown one thing alone (the border's colour, the background, the photo's size, its place in
the order of capture) guesses each image's class from the other images. On public leaf sets this goes far: eight
background pixels give 49% on PlantVillage's 38 classes (Noyan, Quilodrán-Casas, Çağatan 2022, "Uncovering bias in the
PlantVillage dataset").

With few images some of this is luck. How much is told by a permutation test: the classes are dealt out anew among the
groups, the neighbours stay, and the share of deals that do as well is p.
"""

from __future__ import annotations

import numpy as np

BORDER = 0.08  # width of the frame, as a share of the shorter side
CHUNK = 512  # queries at a time: 512 x 20,000 distances are 80 MB
DEALS = 999  # of the permutation test
MARGIN = 2  # px around the leaf that belong neither to it nor to the background

Groups = np.ndarray | list[str] | None


def border_color_score(images: np.ndarray, labels: np.ndarray, *, groups: Groups = None, seed: int) -> dict[str, float]:
    """How well the median colour of the picture's border alone gives the class away.

    Args:
        images: (N, H, W, 3) uint8 RGB.
        labels: (N,) integers.
        groups: As in `neighbour_score`.
        seed: As in `neighbour_score`.

    Returns:
        As `neighbour_score`.

    Raises:
        ValueError: Shapes that disagree, or no images.
    """
    return neighbour_score(border_colors(_checked(images)), labels, groups=groups, seed=seed)


def background_score(
    images: np.ndarray, leaf_masks: np.ndarray, labels: np.ndarray, *, groups: Groups = None, seed: int
) -> dict[str, float]:
    """How well all that is not leaf gives the class away: its colours, their spread and its grain.

    Args:
        images: (N, H, W, 3) uint8 RGB.
        leaf_masks: (N, H, W) bool. MARGIN pixels around the leaf are left out too, for masks are not exact.
        labels: (N,) integers.
        groups: As in `neighbour_score`.
        seed: As in `neighbour_score`.

    Returns:
        As `neighbour_score`.

    Raises:
        ValueError: Shapes that disagree, or no images.
    """
    images = _checked(images)
    if leaf_masks.shape != images.shape[:3]:
        raise ValueError(f"leaf_masks must be {images.shape[:3]}. Got {leaf_masks.shape} instead.")
    return neighbour_score(standardised(background_features(images, leaf_masks)), labels, groups=groups, seed=seed)


def image_size_score(sizes: np.ndarray, labels: np.ndarray, *, groups: Groups = None, seed: int) -> dict[str, float]:
    """How well the photo's width and height alone give the class away.

    Resizing hides a photo's size from a classifier, but not what comes with it: another camera, aspect or sharpness.

    Args:
        sizes: (N, 2) width and height in pixels before resizing.
        labels: (N,) integers.
        groups: As in `neighbour_score`.
        seed: As in `neighbour_score`.

    Returns:
        As `neighbour_score`.
    """
    return neighbour_score(np.log(np.asarray(sizes, dtype=np.float64)), labels, groups=groups, seed=seed)


def file_order_score(
    kinds: list[str], numbers: np.ndarray, labels: np.ndarray, *, groups: Groups = None, seed: int
) -> dict[str, float]:
    """How well the place in the order of capture alone gives the class away: was each class a session of its own?

    No classifier sees file names. But what one session has in common, light, sheet and camera, it does see.

    Args:
        kinds: N kinds of number; those of different kinds are no neighbours.
        numbers: (N,) running numbers; images without one (NaN) are left out.
        labels: (N,) integers.
        groups: As in `neighbour_score`.
        seed: As in `neighbour_score`.

    Returns:
        As `neighbour_score`.
    """
    numbered = np.isfinite(numbers)
    kind = np.unique(kinds, return_inverse=True)[1]
    # Ranks in each kind: how far two neighbours lie apart does not matter, and no two kinds come near each other
    points = np.zeros(len(numbers))
    for k in range(kind.max() + 1):
        own = numbered & (kind == k)
        points[own] = np.unique(numbers[own], return_inverse=True)[1] + 10.0 * len(numbers) * k
    own_groups = None if groups is None else np.asarray(groups)[numbered]
    return neighbour_score(points[numbered, None], np.asarray(labels)[numbered], groups=own_groups, seed=seed)


def shortcut_scores(
    images: np.ndarray,
    labels: np.ndarray,
    *,
    masks: np.ndarray,
    sizes: list[tuple[int, int]],
    order: tuple[list[str], np.ndarray] | None,
    groups: Groups,
    seed: int,
) -> dict[str, dict[str, float]]:
    """All scores of one set, by name: `border_color`, `background`, `image_size`, `file_order`.

    Args:
        images: (N, H, W, 3) uint8 RGB.
        labels: (N,) integers.
        masks: (N, H, W) bool, the leaves.
        sizes: N widths and heights before resizing; where all are equal, the score is left out.
        order: `file_order_score`'s kinds and numbers. None, or fewer than two numbered images: it is left out.
        groups: As in `neighbour_score`.
        seed: As in `neighbour_score`.
    """
    shared = {"groups": groups, "seed": seed}
    scores = {
        "border_color": border_color_score(images, labels, **shared),
        "background": background_score(images, masks, labels, **shared),
    }
    if len(set(sizes)) > 1:
        scores["image_size"] = image_size_score(np.array(sizes), labels, **shared)
    if order is not None and len(np.unique(np.asarray(labels)[np.isfinite(order[1])])) > 1:
        scores["file_order"] = file_order_score(*order, labels, **shared)
    return {name: {key: round(value, 6) for key, value in score.items()} for name, score in scores.items()}


def neighbour_score(points: np.ndarray, labels: np.ndarray, *, groups: Groups = None, seed: int) -> dict[str, float]:
    """The leave-one-out nearest neighbour on given points, beside guessing blindly.

    Args:
        points: (N, D) float64.
        labels: (N,) integers.
        groups: N group ids: images of one group (photos of one leaf) are never each other's neighbours.
            None means that each image is a group of its own.
        seed: Decides between neighbours at the same distance, and deals for the permutation test.

    Returns:
        `accuracy`, `balanced_accuracy` (mean recall over classes) of the leave-one-out nearest neighbour;
        `majority_share`, the accuracy of always naming the largest class; `chance_balanced_accuracy`, what
        any guess blind to the image gets, 1 / classes; `p`, the share of deals of the classes among the groups
        with as high a balanced accuracy; `num_images`. An image without any neighbour outside its group counts as a
        miss.

    Raises:
        ValueError: Shapes that disagree, or no images.
    """
    labels = np.asarray(labels)
    if len(points) == 0 or labels.shape != (len(points),):
        raise ValueError(f"labels must be ({len(points)},), not empty. Got {labels.shape} instead.")
    if groups is None:
        group_ids = np.arange(len(points))
    else:
        group_ids = np.unique(np.asarray(groups), return_inverse=True)[1]
        if group_ids.shape != labels.shape:
            raise ValueError(f"groups must be ({len(points)},). Got {group_ids.shape} instead.")

    # Rounded to steps of 2^-10, so that squares are exact and equal points stay equal
    neighbours = _nearest_outside_group(np.round(np.asarray(points, np.float64) * 1024) / 1024, group_ids, seed)
    classes, label_ids, counts = np.unique(labels, return_inverse=True, return_counts=True)
    accuracy, balanced = _scores(label_ids, neighbours)
    return {
        "accuracy": accuracy,
        "balanced_accuracy": balanced,
        "majority_share": float(counts.max() / counts.sum()),
        "chance_balanced_accuracy": 1.0 / len(classes),
        "p": _permutation_p(label_ids, neighbours, group_ids, balanced, seed),
        "num_images": float(len(points)),
    }


def border_colors(images: np.ndarray) -> np.ndarray:
    """Median colour of each image's border frame: (N, H, W, 3) uint8 to (N, 3) float64."""
    frame = border_frame(*images.shape[1:3])
    return np.stack([np.median(image[frame], axis=0) for image in images])


def border_frame(height: int, width: int) -> np.ndarray:
    """Which pixels are the border: (H, W) bool."""
    frame = np.zeros((height, width), dtype=bool)
    thickness = max(1, round(BORDER * min(height, width)))
    frame[:thickness] = frame[-thickness:] = True
    frame[:, :thickness] = frame[:, -thickness:] = True
    return frame


def background_features(images: np.ndarray, leaf_masks: np.ndarray) -> np.ndarray:
    """Deciles of each colour of the background, and the median step between neighbouring pixels: (N, 10) float64.

    Where no background is left, the whole picture's middle grey stands for it.
    """
    from scipy.ndimage import binary_dilation

    features = np.empty((len(images), 10))
    for i, (image, leaf) in enumerate(zip(images, leaf_masks, strict=True)):
        outside = ~binary_dilation(leaf, iterations=MARGIN)
        if not outside.any():
            features[i] = [128.0] * 9 + [0.0]
            continue
        grey = image.mean(axis=2)
        both = outside[:, 1:] & outside[:, :-1]
        grain = np.median(np.abs(np.diff(grey, axis=1))[both]) if both.any() else 0.0
        features[i] = [*np.quantile(image[outside], [0.1, 0.5, 0.9], axis=0).ravel(), grain]
    return features


def standardised(features: np.ndarray) -> np.ndarray:
    """Each column with mean 0 and deviation 1, 0 where it is constant."""
    centred = features - features.mean(axis=0)
    return centred / np.maximum(features.std(axis=0), 1e-9)


def _checked(images: np.ndarray) -> np.ndarray:
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise ValueError(f"images must be (N, H, W, 3) uint8. Got {images.shape} {images.dtype} instead.")
    if len(images) == 0:
        raise ValueError("images must be one or more. Got none instead.")
    return images


def _scores(label_ids: np.ndarray, neighbours: np.ndarray) -> tuple[float, float]:
    """Accuracy, and mean recall over classes."""
    hits = (neighbours >= 0) & (label_ids[neighbours] == label_ids)
    recalls = np.bincount(label_ids, weights=hits) / np.bincount(label_ids)
    return float(hits.mean()), float(recalls.mean())


def _permutation_p(
    label_ids: np.ndarray, neighbours: np.ndarray, group_ids: np.ndarray, balanced: float, seed: int
) -> float:
    """(1 + deals that do as well) / (1 + deals). Each group gets the class of one group, drawn without replacement."""
    rng = np.random.default_rng([seed, 2])
    _, first = np.unique(group_ids, return_index=True)
    as_good = 0
    for _ in range(DEALS):
        dealt = label_ids[first][rng.permutation(len(first))][group_ids]
        present = np.unique(dealt, return_inverse=True)[1]
        as_good += _scores(present, neighbours)[1] >= balanced - 1e-12
    return (1 + as_good) / (1 + DEALS)


def _nearest_outside_group(points: np.ndarray, group_ids: np.ndarray, seed: int) -> np.ndarray:
    """Index of each point's nearest point of another group, -1 where there is none: (N,) int64."""
    # Equal points repeat: in a shuffled order argmin's "first of equals" is a random one of them.
    order = np.random.default_rng([seed, 1]).permutation(len(points))
    pool, pool_groups = points[order], group_ids[order]
    nearest = np.empty(len(points), dtype=np.int64)
    for start in range(0, len(points), CHUNK):
        rows = slice(start, start + CHUNK)
        # |a - b|^2 = |a|^2 - 2ab + |b|^2; exact, since points are multiples of 2^-10 and not large
        squared = (points[rows] ** 2).sum(axis=1)[:, None] - 2 * points[rows] @ pool.T + (pool**2).sum(axis=1)[None, :]
        squared[group_ids[rows][:, None] == pool_groups[None, :]] = np.inf
        best = squared.argmin(axis=1)
        nearest[rows] = np.where(np.isinf(squared.min(axis=1)), -1, order[best])
    return nearest
