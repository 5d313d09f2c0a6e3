"""Two qualities that a distance mixes into one: whether synthetic images look real, and whether they vary as much.

Precision and recall: Kynkäänniemi et al. 2019, "Improved precision and recall metric for assessing generative
models", section 2. Density and coverage: Naeem et al. 2020, "Reliable fidelity and diversity metrics for
generative models", section 3. All rest on balls around images, each as large as the distance to the image's
k-th nearest neighbour in its own set.

Distances are taken in float64, which two cores manage for 10,000 x 10,000 images of 2,048 features in some 20
seconds: in float32 an image and its copy would not lie in each other's balls.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

# Of the largest squared norm: what float64 rounding does to a squared distance. Without it an image and its
# copy would be a hair apart, and whether it lies on its own neighbour's ball would hang on the block size.
ROUNDING = 1e-12


def prdc(
    features_real: np.ndarray, features_fake: np.ndarray, *, k: int = 5, block_size: int = 1024
) -> dict[str, float]:
    """Precision, recall, density and coverage.

    With B(x) the closed ball around x through its k-th nearest neighbour in its own set (x itself not counted):

        precision = share of fake images in B(real) of any real image: do they look real?
        recall    = share of real images in B(fake) of any fake image: is everything real there?
        density   = mean over fake images of the number of B(real) that they lie in, divided by k
        coverage  = share of real images whose B(real) holds a fake image

    Where both sets come from one distribution, density has expectation 1 and coverage
    1 - (N-1)…(N-k) / (M+N-1)…(M+N-k) (Naeem et al., section 3.2); density may exceed 1, and is (k+1)/k on two
    identical sets, since the balls are closed (Kynkäänniemi et al., equation 1).

    Args:
        features_real: (N, D), N of 2 or more.
        features_fake: (M, D), M of 2 or more.
        k: Which nearest neighbour. A set of n images has no more than n - 1 of them: k is then n - 1, for each
            set by itself, and figures at different k must not be compared.
        block_size: Images whose distances to a whole set are held at a time; it changes the memory alone.

    Returns:
        `precision`, `recall` and `coverage`, from 0 to 1, and `density`, 0 or more.

    Raises:
        ValueError: Fewer than two images in a set, features of different length, or a k below 1.
    """
    real, fake = _checked(features_real, features_fake, k, least_fake=2)
    slack = _slack(real, fake)
    radii_real, radii_fake = (_squared_radii(x, k, block_size) + slack for x in (real, fake))
    balls_of_fake = np.zeros(len(fake), dtype=np.int64)  # B(real) that each fake image lies in
    occupied, recalled = np.zeros(len(real), dtype=bool), np.zeros(len(real), dtype=bool)
    for rows in _blocks(len(real), block_size):
        distances = _squared_distances(real[rows], fake)  # (B, M): all four need it, and none needs it twice
        inside = distances <= radii_real[rows, None]
        balls_of_fake += inside.sum(axis=0)
        occupied[rows] = inside.any(axis=1)
        recalled[rows] = (distances <= radii_fake).any(axis=1)
    return {
        "precision": float((balls_of_fake > 0).mean()),
        "recall": float(recalled.mean()),
        "density": float(balls_of_fake.mean() / min(k, len(real) - 1)),
        "coverage": float(occupied.mean()),
    }


def coverage(features_real: np.ndarray, features_fake: np.ndarray, *, k: int = 5, block_size: int = 1024) -> float:
    """Coverage alone (see `prdc`), which one fake image suffices for.

    Args:
        features_real: (N, D), N of 2 or more.
        features_fake: (M, D), M of 1 or more.
        k: As in `prdc`: no more than N - 1.
        block_size: As in `prdc`.

    Raises:
        ValueError: As in `prdc`.
    """
    real, fake = _checked(features_real, features_fake, k, least_fake=1)
    radii = _squared_radii(real, k, block_size) + _slack(real, fake)
    occupied = [
        (_squared_distances(real[rows], fake) <= radii[rows, None]).any(axis=1)
        for rows in _blocks(len(real), block_size)
    ]
    return float(np.concatenate(occupied).mean())


def _checked(real: np.ndarray, fake: np.ndarray, k: int, *, least_fake: int) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64, around 0: distances stay, and rounding is least where the numbers are small."""
    real, fake = np.asarray(real, dtype=np.float64), np.asarray(fake, dtype=np.float64)
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise ValueError(f"features must be (N, D) and (M, D). Got shapes {real.shape} and {fake.shape} instead.")
    if len(real) < 2 or len(fake) < least_fake:
        raise ValueError(
            f"features must be of 2 real and {least_fake} fake images or more. Got {len(real)} and {len(fake)} instead."
        )
    if k < 1:
        raise ValueError(f"k must be 1 or more. Got {k} instead.")
    centre = (real.mean(axis=0) + fake.mean(axis=0)) / 2
    return real - centre, fake - centre


def _slack(real: np.ndarray, fake: np.ndarray) -> float:
    return ROUNDING * max(np.einsum("nd,nd->n", x, x).max() for x in (real, fake))


def _squared_radii(x: np.ndarray, k: int, block_size: int) -> np.ndarray:
    """(N,) squared distance of each to its k-th nearest neighbour, k no more than N - 1."""
    k = min(k, len(x) - 1)
    nearest = np.full((len(x), k + 1), np.inf)  # the smallest squared distances yet, one of them to itself
    blocks = list(_blocks(len(x), block_size))
    for i, rows in enumerate(blocks):
        for columns in blocks[i:]:
            distances = _squared_distances(x[rows], x[columns])
            nearest[rows] = _smallest(nearest[rows], distances)
            if rows != columns:  # the same pairs seen from the other side
                nearest[columns] = _smallest(nearest[columns], distances.T)
    return nearest.max(axis=1)


def _smallest(kept: np.ndarray, more: np.ndarray) -> np.ndarray:
    """The row-wise smallest of both, as many as were kept."""
    width = kept.shape[1]
    found = np.concatenate([kept, more], axis=1)
    found.partition(width - 1, axis=1)
    return found[:, :width]


def _blocks(n: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def _squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(n, D) and (m, D) to (n, m): |x - y|² = |x|² + |y|² - 2 x·y, in one array."""
    distances = x @ y.T
    distances *= -2.0
    distances += np.einsum("nd,nd->n", x, x)[:, None]
    distances += np.einsum("nd,nd->n", y, y)
    return distances
