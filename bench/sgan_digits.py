"""What are unlabelled digits worth? SGAN against its own discriminator on the same ten labels a class.

    python -m bench.sgan_digits

scikit-learn's own `load_digits` (1,797 images of 8x8 px, 10 classes), 80/20 stratified, seed 42: the 20% are test.
Of the 80%, ten images a class are val, and of the rest ten a class are labelled, drawn anew with each seed. Digits
are not mirrored; the classic baseline has them turned, scaled and moved (policy `digits` below).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bench.digits import load
from bench.sgan_protocol import first_of_each_class, options, rows_of, run
from pipeline.images.store import Store
from pipeline.images.transforms import POLICIES
from pipeline.learn.sgan_views import VIEWS, moved

if TYPE_CHECKING:
    from albumentations import BasicTransform
    from torch import Tensor

LABELS = 10  # a class; val has as many
SETTINGS: dict[str, Any] = {
    "label_budget": LABELS,
    "tuning": [{"lr": 0.003, "dropout": 0.1, "input_noise": 0.0}, {"lr": 0.003, "dropout": 0.3, "input_noise": 0.5}],
    "unlabelled_weight": 0.3, "consistency_weight": 10.0, "views": "digits", "steps": 1200, "batch_size": 32,
    "z_dim": 64, "img_resolution": 8, "channels": 16, "flips": [],
    "augment": "digits", "eval_every": 100,
}  # fmt: skip


def digits_policy(img_resolution: int) -> list[BasicTransform]:
    """Classic augmentation of digits: a mirrored digit is another digit or none, so they are moved instead."""
    import albumentations as A
    import cv2

    return [
        A.Affine(
            rotate=(-15, 15),
            scale=(0.9, 1.1),
            translate_percent=(-0.1, 0.1),
            border_mode=cv2.BORDER_CONSTANT,  # black, as their ground is
            p=0.8,
        )
    ]


def digits_view(images: Tensor, rng: np.random.Generator) -> Tensor:
    """The same for the unlabelled, each of them moved."""
    return moved(images, rng, turn=15, scale=0.1, shift=0.1, border="zeros")


def stores(tune: bool) -> tuple[Store, Store, Store]:
    """Train, val and test; to tune by, a fifth of the 80% in place of test."""
    x, x_test, y, y_test = load(tune)
    classes = [str(k) for k in range(10)]

    def store(images: np.ndarray, labels: np.ndarray, name: str) -> Store:
        order = np.argsort(labels, kind="stable")  # class by class
        files = [f"{name}_{i}" for i in order]
        return Store(images[order], labels[order].astype(np.int64), files, classes)

    train, test = store(x, y, "train"), store(x_test, y_test, "test")
    chosen_on = first_of_each_class(train, LABELS, seed=42, purpose="val")
    others = np.setdiff1d(np.arange(len(train.labels)), chosen_on)
    return rows_of(train, others), rows_of(train, chosen_on), test


def main() -> None:
    arguments = options("bench.sgan_digits", __doc__).parse_args()
    POLICIES["digits"], VIEWS["digits"] = digits_policy, digits_view
    run(arguments, stores(arguments.tune), SETTINGS)


if __name__ == "__main__":
    main()
