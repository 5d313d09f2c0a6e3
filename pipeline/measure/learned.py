"""Which trainings got far enough for their ranking to mean anything? One that did not has no say in a verdict.

A comparison of networks that have hardly begun to learn says little about the images they were given. Three signs can
be read off without another training: an arm of real images is not surely better than guessing; without augmentation a
network does not even get its own training images right by the end, as any of these networks would in time; or, where
augmented images are too hard to learn by heart, val was still rising. An arm that knows its synthetic images by heart
and only guesses on real ones has learned: they taught it nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from pipeline.measure.statistics import Interval

ENOUGH = 0.9  # of its own training images right: fewer, without augmentation, is a training cut short
RISING = 0.05  # macro-F1 on val, gained in the last fifth of a training, mean over seeds


class Course(NamedTuple):
    """How the trainings of one arm, or one method, went.

    Attributes:
        curves: seed → (looks, 2) step and macro-F1 on val.
        fit: Share of its own training images right at the end, as they were drawn and augmented, mean over seeds.
            None: not known.
        steps: Optimiser steps; 0 for a fit without any.
        is_augmented: Its training images were changed anew at every step.
    """

    curves: Mapping[int, np.ndarray]
    fit: float | None
    steps: int
    is_augmented: bool

    @property
    def rise(self) -> float:
        """What the best macro-F1 on val gained in the last fifth, mean over seeds; 0 of a single look."""
        gains = []
        for points in self.curves.values():
            before = points[points[:, 0] <= 0.8 * points[-1, 0] + 1e-9, 1]
            gains.append(points[:, 1].max() - before.max() if len(before) else 0.0)
        return float(np.mean(gains)) if gains else 0.0


def why_untrained(course: Course, score: Interval, *, guessing: float, of_real_images: bool) -> str | None:
    """In words what shows that an arm has not learned, None where nothing does.

    Args:
        course: Of its trainings.
        score: Its macro-F1 on test.
        guessing: Macro-F1 of `measure.guessing`.
        of_real_images: It saw no others.
    """
    knows_its_own = course.fit is not None and course.fit >= ENOUGH
    if score.lower <= guessing and (of_real_images or not knows_its_own):
        return f"macro-F1 {score.mean:.3f} [{score.lower:.3f}, {score.upper:.3f}], and guessing has {guessing:.3f}"
    if not course.steps or knows_its_own:
        return None
    after = f"after {course.steps} steps"
    if course.fit is not None and not course.is_augmented:
        return f"{course.fit:.0%} of its own training images right {after}, where a finished network has nearly all"
    if course.rise > RISING:
        return f"macro-F1 on val still rising {after}, by {course.rise:.3f} in the last fifth"
    return None
