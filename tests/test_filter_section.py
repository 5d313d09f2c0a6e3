"""The section on filtering: its figures are those of the table, its pictures those of the folders, names escaped."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.measure.acceptance import COLUMNS, RULES, Outcome, Threshold, acceptance_table
from pipeline.report import filter_section as section_module
from pipeline.report.filter_plots import RULE_COLORS, RULE_LABELS, draw_filter, funnel_counts
from pipeline.report.filter_section import filter_section
from pipeline.report.table import read_rows

NAMES = ["rust", "a<b>"]
SHARES = {"agreement": True, "confidence": 0.9, "density": 0.9, "copies": 0.95, "duplicates": 0.95}


def outcomes(**counts: int) -> list[Outcome]:
    return [Outcome(None if rule == "passed" else rule, {}) for rule, n in counts.items() for _ in range(n)]


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """What filter_synthetic leaves of two classes."""
    judged = {
        "rust": outcomes(passed=20, agreement=30, density=5, duplicates=3),
        "a<b>": outcomes(agreement=1, passed=20),
    }
    judged_val = {"rust": outcomes(passed=7, agreement=1, copies=2), "a<b>": outcomes(passed=1, agreement=2)}
    thresholds = {rule: {name: Threshold(0.25, "class", 10) for name in NAMES} for rule in RULES}
    thresholds["agreement"] = dict.fromkeys(NAMES, Threshold(1.0, "fixed", 0))
    thresholds["copies"]["a<b>"] = Threshold(12.5, "all classes", 13)
    rows, _ = acceptance_table(judged, judged_val, thresholds)
    with open(tmp_path / "acceptance.csv", "w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerows([COLUMNS, *([row[key] for key in COLUMNS] for row in rows)])
    with open(tmp_path / "candidates.csv", "w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow(["class", "seed", "rejected_by"])
        for name, of in judged.items():
            kept = {True: 0, False: 0}
            for seed, outcome in enumerate(of):
                writer.writerow([name, seed, outcome.rejected_by or ""])
                accepted = outcome.rejected_by is None
                if accepted or kept[False] < 8:
                    folder = tmp_path / ("filtered" if accepted else "rejected") / name
                    folder.mkdir(parents=True, exist_ok=True)
                    Image.new("RGB", (32, 32), (4 * seed, 0, 200)).save(folder / f"{name}_seed{seed:06d}.png")
                kept[accepted] += 1
    return tmp_path


def test_the_figures_are_those_of_the_table(left):
    rows = read_rows(left / "acceptance.csv")
    candidates, real = funnel_counts(rows)
    assert candidates["rust"] == {
        "accepted": 20, "agreement": 30, "confidence": 0, "density": 5, "copies": 0, "duplicates": 3,
    }  # fmt: skip
    assert real["rust"] == {"accepted": 7, "agreement": 1, "confidence": 0, "density": 0, "copies": 2}
    pictures = draw_filter(left / "out", left, left / "filtered", NAMES)
    html = filter_section(rows, shares=SHARES, **pictures)
    assert "<td>58</td>" in html and "34%" in html  # 20 of 58
    assert "7 of 10" in html and "1 of 3" in html
    assert "12.5*" in html and "0.25*" not in html
    assert "the first\n20 a class" in html
    assert "a&lt;b&gt;" in html and "a<b>" not in html
    assert html.count("data:image/png;base64,") == 2


def test_a_teacher_that_does_not_know_a_class_is_said(left):
    html = filter_section(read_rows(left / "acceptance.csv"), shares=SHARES, funnel=None, examples=None)
    assert html.count('class="warning"') == 1
    assert "The teacher recognises 1 of the 3 real val images of <code>a&lt;b&gt;</code>" in html
    assert "weak evidence" in html


def test_filtering_that_is_off_is_said(tmp_path):
    (tmp_path / "acceptance.csv").write_text(",".join(COLUMNS) + "\n")
    rows = read_rows(tmp_path / "acceptance.csv")
    assert draw_filter(tmp_path, tmp_path, tmp_path, []) == {}
    html = filter_section(rows, shares=SHARES, funnel=None, examples=None)
    assert "switched off" in html and "<table" not in html


@pytest.mark.parametrize("none_of", [["a<b>"], NAMES])
def test_a_class_of_which_nothing_passed_shows_what_was_turned_away(left, none_of):
    with open(left / "candidates.csv", newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    for name in none_of:
        (left / "filtered" / name).rename(left / "gone")
        for path in (left / "gone").iterdir():
            path.replace(left / "rejected" / name / path.name)
        (left / "gone").rmdir()
    with open(left / "candidates.csv", "w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow(rows[0])
        writer.writerows(
            [row["class"], row["seed"], "agreement" if row["class"] in none_of else row["rejected_by"]] for row in rows
        )
    examples = draw_filter(left / "out", left, left / "filtered", NAMES)["examples"]
    pixels = np.asarray(Image.open(examples).convert("RGB")).reshape(-1, 3)
    shown = {tuple(p) for p in np.unique(pixels, axis=0)}
    assert all((4 * seed, 0, 200) in shown for seed in range(8))  # the first candidates of the second class, at least


def test_the_pictures_are_the_same_bytes_twice_and_show_the_images(left):
    first = {k: path.read_bytes() for k, path in draw_filter(left / "one", left, left / "filtered", NAMES).items()}
    again = {k: path.read_bytes() for k, path in draw_filter(left / "two", left, left / "filtered", NAMES).items()}
    assert first == again and set(first) == {"funnel", "examples"}
    pixels = np.asarray(Image.open(left / "one/filter_examples.png").convert("RGB")).reshape(-1, 3)
    shown = {tuple(p) for p in np.unique(pixels, axis=0)}
    accepted_first, rejected_first, rejected_ninth = (0, 0, 200), (4 * 20, 0, 200), (4 * 28, 0, 200)
    assert accepted_first in shown and rejected_first in shown and rejected_ninth not in shown


def test_every_rule_has_its_words_and_its_colour():
    assert set(RULES) == set(section_module.RULES) == set(RULE_COLORS) == set(RULE_LABELS)
