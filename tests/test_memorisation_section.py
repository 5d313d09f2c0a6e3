"""The page's words on copies, collapse and labels say what the figures say, and the pictures are the rows'."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from pipeline.report.memorisation_plots import draw_closest_pairs, draw_copy_scores
from pipeline.report.memorisation_section import copies_sentences, memorisation_section

CLASSES = ["healthy", "rust & <b>"]
QUIET = {
    "memorisation/flagged": 0.0, "memorisation/p_value": 0.6, "memorisation/copies": 0.0,
    "memorisation/n_synthetic": 80,
    "memorisation/n_val": 30, "memorisation/held_out_pixel": 90.0, "memorisation/held_out_leaf": 30.0,
    "memorisation/share_pixel": 0.05, "memorisation/share_expected_pixel": 0.044, "memorisation/share_val_pixel": 0.03,
    "memorisation/share_leaf": 0.02, "memorisation/share_expected_leaf": 0.032, "memorisation/distance_pixel": 0.97,
    "spread_pixel/healthy": 0.8, "spread_val_pixel/healthy": 1.02, "duplicates/healthy": 0.01,
    "duplicates_expected/healthy": 0.0, "collapsed/healthy": 0.0, "recognised/healthy": 0.9, "mistaken/healthy": 0.1,
    "mistaken_for/healthy": 1.0, "label_swapped/healthy": 0.0,
}  # fmt: skip


def words(metrics: dict, **more) -> str:
    return re.sub(r"\s+", " ", re.sub("<[^>]*>", "", memorisation_section(metrics, CLASSES, **more)))


def test_nothing_found_is_said_with_its_figures_and_limits():
    html = memorisation_section(QUIET, CLASSES)
    assert (
        html.strip().startswith("<section>") and html.strip().endswith("</section>") and 'class="warning"' not in html
    )
    text = words(QUIET)
    assert "No sign of copying" in text and "5.0% by pixel (of held-out real leaves 4.4% would)" in text
    assert "of 80 synthetic images" in text and "p = 0.6" in text and "What this can't see" in text
    assert "No class has collapsed" in text and "No class is mostly taken for another" in text
    assert memorisation_section({}, CLASSES) == ""


def test_what_is_found_is_a_warning():
    found = QUIET | {"memorisation/flagged": 1.0, "memorisation/p_value": 1e-9, "memorisation/copies": 7.0}
    assert "Copies: some synthetic images repeat train images; 7 of 80 can be named" in words(found)
    assert 'class="warning"' in memorisation_section(found, CLASSES)
    assert "images of healthy repeat" in words(found | {"memorisation/flagged/healthy": 1.0})
    assert "no single one can be named" in words(found | {"memorisation/copies": 0.0})
    few = QUIET | {"memorisation/copies": 1.0}
    assert "Look at 1 of 80" in words(few) and "No sign" not in words(few)
    flat = words(QUIET | {"collapsed/healthy": 1.0, "spread_pixel/healthy": 0.1})
    assert (
        "healthy has collapsed: its synthetic images vary 0.10 times" in flat and "No class has collapsed" not in flat
    )
    swapped = words(QUIET | {"label_swapped/healthy": 1.0, "mistaken/healthy": 0.8, "recognised/healthy": 0.1})
    assert "takes 80% for it and 10% for healthy" in swapped and "rust &amp; &lt;b&gt;" in swapped


def test_turned_copies_are_a_warning_or_said_not_to_be_there():
    turned = {"turned/n_synthetic": 80.0, "turned/synthetic": 2.0, "turned/n_real": 130.0, "turned/real": 1.0,
              "turned/p_value": 0.32, "turned/flagged": 0.0}  # fmt: skip
    quiet = words(QUIET | turned)
    assert "No sign of copies that are turned" in quiet and "Copies, turned" not in quiet
    assert "2 of 80 synthetic images show the very points of a photo of train or val, as 1 of 130 photos" in quiet
    loud = QUIET | turned | {"turned/flagged": 1.0, "turned/synthetic": 40.0, "turned/p_value": 1e-9}
    assert "Copies, turned, zoomed or cut out: 40 of 80" in words(loud) and "No sign of copies" not in words(loud)
    assert 'class="warning"' in memorisation_section(loud, CLASSES)
    assert copies_sentences(QUIET | turned) == []
    for raised in ("turned/flagged", "memorisation/flagged"):
        (said,) = copies_sentences(QUIET | turned | {raised: 1.0})
        assert "are copies of photos" in said


def test_what_could_not_be_tested_is_said():
    untested = {key: value for key, value in QUIET.items() if not key.startswith("memorisation/")}
    assert "could not be tested" in words(untested) and "No sign" not in words(untested)


@pytest.mark.parametrize("copy", [0, 1])
def test_pictures_show_the_rows(tmp_path, copy):
    rng = np.random.default_rng(0)
    synthetic = {("a", "s.png"): rng.integers(0, 255, (16, 16, 3), np.uint8)}
    train = {("b", "t.png"): rng.integers(0, 255, (16, 16, 3), np.uint8)}
    row = {
        "file": "s.png",
        "class": "a",
        "train_file": "t.png",
        "train_class": "b",
        "p_value": "0.2",
        "copy": str(copy),
    }
    distances = [
        {"set": of, "class": "a", "space": "pixel", "distance": "0.1", "score": f"{score}"}
        for of in ("synthetic", "val", "train") for score in (0.3, 0.9, 1.0)
    ]  # fmt: skip
    for _ in range(2):
        draw_copy_scores(tmp_path / "scores.png", distances)
        draw_closest_pairs(tmp_path / "pairs.png", [row], synthetic, train)
    first = (tmp_path / "pairs.png").read_bytes()
    draw_closest_pairs(tmp_path / "again.png", [row], synthetic, train)
    assert first == (tmp_path / "again.png").read_bytes()
    red = np.abs(np.asarray(Image.open(tmp_path / "pairs.png").convert("RGB")).astype(int) - [0xA3, 0x2A, 0x1C]).sum(2)
    assert ((red < 10).sum() > 20) == bool(copy)
    with pytest.raises(KeyError):
        draw_closest_pairs(tmp_path / "x.png", [row | {"file": "gone.png"}], synthetic, train)
    pictures = {"scores": tmp_path / "scores.png", "pairs": tmp_path / "pairs.png"}
    text = words(QUIET | {"memorisation/copies": float(copy)}, pictures=pictures)
    assert ("None of them is named as a copy" in text) == (not copy)
