"""What params.yaml asks of the split: as many images as it says, and does train hold them?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline import InputError
from pipeline.images.manifest import class_counts


def check_demands(
    manifest: str | Path,
    *,
    classes: Sequence[str],
    label_budgets: Sequence[int],
    minority_counts: Sequence[int],
    minority_class: str | None,
    target: str | int,
) -> None:
    """Refuse what train cannot give, before anything is trained.

    Args:
        manifest: Of the split.
        classes: Class names.
        label_budgets: Labelled images a class for the SGAN.
        minority_counts: Images to which the study shrinks one class.
        minority_class: That class; None for the study's own choice.
        target: `generate.target`.

    Raises:
        InputError: With the key, and what train holds.
    """
    in_train = class_counts(manifest, "train", classes)
    rarest = min(classes, key=lambda name: in_train[name])
    for budget in label_budgets:
        if budget > in_train[rarest]:
            raise InputError(
                f"label_budgets: expected at most the {in_train[rarest]} images that '{rarest}', the smallest class, "
                f"has in train, got {budget}; mend it in params.yaml."
            )
    if minority_counts:
        name = class_to_shrink(manifest, classes, minority_class)
        for count in minority_counts:
            check_minority_count(count, in_train[name], name)
    images_per_class(target, max(in_train.values()))


def class_to_shrink(manifest: str | Path, classes: Sequence[str], class_name: str | None) -> str:
    """The class of the minority study: the given one, or the one with the most test images."""
    if class_name is not None:
        return class_name
    in_test = class_counts(manifest, "test", classes)
    return max(classes, key=lambda name: in_test[name])


def check_minority_count(count: int, in_train: int, name: str) -> None:
    """Refuse to shrink a class to more images than it has.

    Raises:
        InputError: Not fewer than there are.
    """
    if not 1 <= count < in_train:
        raise InputError(
            f"minority_counts: expected between 1 and {in_train - 1} images, fewer than the {in_train} of "
            f"'{name}' in train, got {count}; mend it in params.yaml."
        )


def images_per_class(target: str | int, largest: int) -> int:
    """`generate.target` as a number.

    Args:
        target: "largest", a number of images, or a multiple of the largest class ("2x", "1.5x").
        largest: Images of the largest class of train.

    Raises:
        InputError: Fewer than the largest class has: classes could then be balanced only by dropping photos.
    """
    if target == "largest":
        return largest
    count = round(float(target[:-1]) * largest) if isinstance(target, str) else target
    if count < largest:
        raise InputError(
            f"generate.target: expected at least the largest class of train ({largest} images), "
            f"got {target} ({count} images); raise it, or use 'largest'."
        )
    return count
