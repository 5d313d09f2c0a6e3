"""The report's part on the data: warnings where the figures force them, and nowhere else; names escaped."""

from __future__ import annotations

import matplotlib
import numpy as np
from PIL import Image

from pipeline.report.audit_plots import draw_backgrounds
from pipeline.report.audit_section import Masked, audit_section, audit_summary, is_shortcut

CLASSES = ["healthy", "<rust>"]
COUNTS = {side: dict.fromkeys(CLASSES, n) for side, n in (("train", 40), ("val", 10), ("test", 12))}
MASKED = Masked("classic_masked", 0.512, 0.44, 0.58, "classic", 0.634, 24)


def score(accuracy: float, balanced: float, p: float = 0.001) -> dict[str, float]:
    return {
        "accuracy": accuracy,
        "balanced_accuracy": balanced,
        "majority_share": 0.5,
        "chance_balanced_accuracy": 0.5,
        "p": p,
        "num_images": 80.0,
    }


def test_a_shortcut_is_well_above_blind_guessing_and_no_luck():
    assert is_shortcut(score(0.7, 0.7))
    assert is_shortcut(score(0.5, 0.7))  # large classes hide it from accuracy
    assert not is_shortcut(score(0.55, 0.58))
    assert not is_shortcut(score(0.7, 0.7, p=0.05))


def test_warnings_name_the_figures_and_the_consequence():
    audit = {"shortcut": {"border_color": score(0.69, 0.66), "background": score(0.52, 0.5, p=0.4)}}
    said = audit_summary(audit)
    (warning,) = said["warnings"]
    assert "border's colour alone names the class of 69%" in warning and "right for 50%" in warning
    assert "owed to the background" in warning
    assert [row["warns"] for row in said["shortcuts"]] == [True, False]
    assert any("background: mask" in line for line in said["shortcut_lines"])
    remains = audit_summary(audit, MASKED)["warnings"][1]
    assert "0.512 [0.440, 0.580] instead of 0.634" in remains and "24 test images" in remains


def test_nothing_is_warned_of_where_nothing_tells():
    said = audit_summary({"shortcut": {"border_color": score(0.51, 0.5, p=0.6)}})
    assert said["warnings"] == [] and "None of these" in said["shortcut_lines"][0]


def test_hints_conflicts_and_missed_pairs_are_said():
    audit = {
        "group_hints": {"sentences": ["File names look like a letter."]},
        "suspected_label_conflicts": [{"a": "x/1.jpg", "b": "y/2.jpg"}],
        "near_duplicates": [{"found_by": "hash"}, {"found_by": "keypoints"}],
        "groups": {"count": 9, "pairs_given": 200, "pairs_missed_by_near_duplicates": 150},
    }
    said = audit_summary(audit)
    assert said["warnings"][0] == "File names look like a letter." and "`y/2.jpg`" in said["warnings"][1]
    assert "2 pairs, 1 of them known only by points" in said["lines"][0]
    assert "150 of them (75%)" in said["lines"][1]
    assert any("No leaf groups were given" in line for line in audit_summary({"groups": {"count": 9}})["lines"])


def test_the_section_escapes_names_and_holds_its_pictures(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    audit = {"shortcut": {"border_color": score(0.69, 0.66)}, "rejected_by_rule": {"truncated": 2}}
    html = audit_section(
        audit, classes=CLASSES, split_counts=COUNTS, pictures={"Borders of <all>": tmp_path / "a.png"}, masked=MASKED
    )
    assert html.startswith("<section>") and html.count("<section>") == html.count("</section>") == 1
    assert "&lt;rust&gt;" in html and "<rust>" not in html and "Borders of &lt;all&gt;" in html
    assert 'src="data:image/png' in html and "<code>classic_masked</code>" in html and "truncated" in html
    bare = audit_section({}, classes=CLASSES, split_counts=COUNTS)
    assert "&lt;rust&gt;" in bare and "warning" not in bare


def test_the_picture_is_the_same_twice_and_takes_small_and_empty_classes(tmp_path):
    before = dict(matplotlib.rcParams)
    images = {
        name: np.random.default_rng(n).integers(0, 256, (n, 16, 16, 3), dtype=np.uint8)
        for name, n in (("healthy", 9), ("rust", 2), ("none", 0))
    }
    masks = {name: np.ones((min(len(own), 4), 16, 16), dtype=bool) for name, own in images.items()}
    for path in ("a.png", "b.png"):
        draw_backgrounds(tmp_path / path, images, masks)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert dict(matplotlib.rcParams) == before
