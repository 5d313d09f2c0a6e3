"""What stands for a class in a picture: no two alike, and nothing that the font would draw as boxes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from pipeline.report import plots
from pipeline.report.class_labels import class_labels, drawable, numbered

SHARED = "tomato_leaf_with_a_spot_that_is"  # 31 letters


@pytest.mark.parametrize("length", [14, 18, 22])
def test_names_that_begin_alike_stay_apart(length):
    ends = ["_early", "_late", "_early_blight", "_late_blight"]
    for names in (
        [SHARED + end for end in ends],
        [end[1:] + SHARED for end in ends],
        [f"{SHARED}_{end}_{SHARED}" for end in "abcd"],  # alike at both ends
    ):
        for lines in (1, 3):
            labels = class_labels(names, length, lines)
            assert list(labels) == names and len(set(labels.values())) == len(names)
            rows = [label.split("\n") for label in labels.values()]
            assert max(map(len, rows)) <= lines and max(len(row) for some in rows for row in some) <= length


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("rust", "rust"),
        ("x" * 22, "x" * 22),
        ("apple___cedar_apple_rust_on_leaves", "apple___cedar_apple_\nrust_on_leaves"),
        ("cedar apple rust of the old apple tree", "cedar apple rust of\nthe old apple tree"),
        ("powdery-mildew-on-cherry (including sour)", "powdery-mildew-on-\ncherry (including\nsour)"),
        ("x" * 30, "x" * 22 + "\n" + "x" * 8),
        ("a_" + "x" * 70, "a_xxxxxxxx…xxxxxxxxxxx"),
    ],
)
def test_long_names_stand_on_several_lines_and_lose_their_middle_where_no_lines_hold_them(name, label):
    assert class_labels([name, "other"])[name] == label


def test_what_the_font_lacks_is_numbered_by_its_place():
    names = ["grün", "白粉病", "ржавчина", "锈病"]
    assert numbered(names) == {"白粉病": "class 2", "锈病": "class 4"}
    assert list(class_labels(names).values()) == ["grün", "class 2", "ржавчина", "class 4"]
    assert not drawable("锈") and drawable("é…")


def test_pictures_of_such_classes_have_no_boxes(tmp_path):
    names = ["白粉病", "锈病", SHARED + "_early", SHARED + "_late"]
    real = {name: np.zeros((2, 8, 8, 3), np.uint8) for name in names}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Glyph .* missing from")
        plots.draw_confusion(tmp_path / "confusion.png", np.eye(4), names, title="x")
        plots.draw_side_by_side(tmp_path / "samples.png", real, real)
