"""What somebody scores who does not look at the images: below this a classifier has learned nothing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def guessing_macro_f1(counts: Mapping[str, int]) -> float:
    """The best macro-F1 of somebody who does not look: always the commonest class, or any class as often as another.

    The second is in expectation, of each count over its expectation: 2 p q / (p + q) for a class of share p that is
    named with probability q = 1 / K.

    Args:
        counts: class → images; those without are passed over.
    """
    shares = np.array([n for n in counts.values() if n], dtype=float)
    shares /= shares.sum()
    q = 1 / len(shares)
    constant = 2 * shares.max() / (1 + shares.max()) / len(shares)
    return float(max(constant, np.mean(2 * shares * q / (shares + q))))
