"""Effects: arms that differ by one thing and nothing else, and sizes by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.measure.effects import EFFECT_WORDS, EFFECTS, describe_change, effects_among
from pipeline.measure.verdict import MATCHED_CONTROL
from pipeline.params import load_params


def test_arms_of_an_effect_differ_by_one_thing(root):
    arms = load_params(root / "params.yaml").arms
    there = effects_among(arms)
    assert {"synthetic_images", "balancing", "classic_augmentation"} <= set(there)
    for name, (arm, without) in there.items():
        first, second = arms[arm].model_dump(), arms[without].model_dump()
        assert sum(first[key] != second[key] for key in first) == 1, name


def test_effect_of_synthetic_images_is_that_to_the_matched_control():
    assert EFFECTS["synthetic_images"] == ("synthetic", MATCHED_CONTROL["synthetic"])
    assert EFFECTS["synthetic_images_beside_classic"] == ("synthetic_classic", MATCHED_CONTROL["synthetic_classic"])
    assert set(EFFECT_WORDS) == set(EFFECTS)
    assert effects_among(["real", "balanced", "classic_masked"]) == {"balancing": ("balanced", "real")}


def test_change_by_hand():
    labels = np.zeros(10, int)
    first = np.array([[0] * 8 + [1] * 2, [0] * 9 + [1]])
    second = np.array([[1, 1] + [0] * 6 + [1, 0], [0] * 9 + [1]])
    change = describe_change(labels, first, second)
    assert (change.gained, change.lost) == (10.0, 5.0)  # of 20 answers 2 gained, 1 lost
    a, b = 17 / 20, 16 / 20
    assert change.gained - change.lost == pytest.approx(100 * (a - b))
    assert change.cohen_h == pytest.approx(2 * np.arcsin(np.sqrt(a)) - 2 * np.arcsin(np.sqrt(b)))
    assert describe_change(labels, second, first).cohen_h == -change.cohen_h
