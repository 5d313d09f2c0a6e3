"""What colours alone tell: histograms that know no shape, the least that a network must beat to be worth asking."""

from __future__ import annotations

import numpy as np

LEVELS = 4  # of each channel together, 64 colours
FINE = 16  # of each channel by itself


class Colours:
    """Looks at pictures as `features.looks.Looks` does, and sees how often each colour is in them."""

    def at(self, images: np.ndarray, *, keep: bool = False) -> np.ndarray:
        """Roots of shares, so that rare colours count: (N, 112) float64, 0 to 1.

        Args:
            images: (N, H, W, 3) uint8.
            keep: Nothing is worth keeping.
        """
        flat = images.reshape(len(images), -1, 3)
        together = (flat // (256 // LEVELS) * np.array([LEVELS**2, LEVELS, 1])).sum(axis=2)
        parts = [(together, LEVELS**3), *((flat[:, :, c] // (256 // FINE), FINE) for c in range(3))]
        return np.concatenate([_shares(of, bins) ** 0.5 for of, bins in parts], axis=1)


def _shares(values: np.ndarray, bins: int) -> np.ndarray:
    """(N, bins) share of each value among those of a row."""
    rows = values.astype(np.int64) + bins * np.arange(len(values))[:, None]
    return np.bincount(rows.ravel(), minlength=bins * len(values)).reshape(len(values), bins) / values.shape[1]
