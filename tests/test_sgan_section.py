"""The report's part on few labels says what the figures force, and no more."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from pipeline.measure.statistics import METRICS
from pipeline.report.sgan_section import budget_sentence, probe_sentence, sgan_section

SETTINGS = {
    "space": "features", "model": "tf_efficientnet_lite0", "augmented_views": 4, "img_resolution": 32, "flips": [],
    "views": "none", "consistency_weight": 0.0,
}  # fmt: skip


def row(budget: str, method: str, difference: float | None) -> dict:
    figures: dict = {"arm": f"{method}.{budget}", "budget": budget, "method": method, "n_test": 54, "n_seeds": 3}
    figures["val_macro_f1"] = 0.51
    for metric in METRICS:
        figures |= {metric: 0.6, f"{metric}_lower": 0.5, f"{metric}_upper": 0.7}
        for control in ("supervised", "supervised_classic", "probe") if difference is not None else ():
            key = f"{metric}_minus_{control}"
            figures |= {key: difference, f"{key}_lower": difference - 0.03, f"{key}_upper": difference + 0.03}
    return figures


@pytest.fixture
def arguments(tmp_path: Path) -> dict:
    Image.new("RGB", (8, 8)).save(tmp_path / "plot.png")
    rows = [row(b, m, d) for b in ("2", "10") for m, d in (("supervised", None), ("sgan", 0.05 if b == "2" else -0.08))]
    tried = [
        {"method": "sgan", "lr": "0.001", "dropout": "0.1", "best_step": "80", "val_loss": "1", "chosen": "0"},
        {"method": "sgan", "lr": "0.003", "dropout": "0.1", "best_step": "40", "val_loss": "1", "chosen": "1"},
    ]
    return {
        "rows": rows,
        "plot": tmp_path / "plot.png",
        "verdicts": {"2": "helps", "10": "hurts"},
        "tuning": {"2": tried, "10": tried},
        "settings": SETTINGS,
        "steps": [80],
        "train_images": 153,
        "val_images": 39,
        "num_classes": 4,
        "confidence": 0.95,
    }


def test_the_probe_stands_beside_in_words_that_the_intervals_force():
    assert probe_sentence([row("2", "sgan", 0.05), row("5", "sgan", -0.04), row("9", "sgan", -0.05)]) == (
        "Beside a plain regression on frozen features (probe), the SGAN is ahead of it, beyond chance with 2 labels a "
        "class; behind it, beyond chance with 5 and 9 labels a class."
    )
    assert "is not told apart from it with 2 labels" in probe_sentence([row("2", "probe", 9), row("2", "sgan", 0.01)])


def test_section_says_what_its_networks_look_at(arguments):
    of_features = re.sub(r"\s+", " ", sgan_section(**arguments))
    assert "looks at each photo and is left as it is" in of_features and "mirrored at random" not in of_features
    assert "(4 views of each)" in of_features and "A generator of features" in of_features
    settings = SETTINGS | {"space": "pixels", "flips": ["horizontal"], "views": "leaf", "consistency_weight": 1.0}
    of_pixels = re.sub(r"\s+", " ", sgan_section(**arguments | {"settings": settings}))
    assert "sees the photos with 32 px" in of_pixels and "mirrored at random" in of_pixels
    assert "turned and recoloured; it must also agree" in of_pixels and "A generator learns" in of_pixels
    assert "for its network has seen other pictures" in of_pixels


def test_sentence_names_each_budget_once_under_its_verdict():
    assert budget_sentence({"2": "no_evidence", "5": "no_evidence"}) == (
        "At no number of labels is the SGAN ahead of both baselines beyond chance; no evidence either way with 2 and 5."
    )
    said = budget_sentence({"2": "hurts", "5": "helps", "10": "too_little_data", "20": "helps"})
    assert said == (
        "The SGAN is ahead of both baselines, beyond chance, with 5 and 20 labels a class; hurts with 2; "
        "too little data to tell with 10."
    )


def test_section_shows_every_figure_with_its_interval_and_its_limits(arguments):
    text = re.sub(r"\s+", " ", sgan_section(**arguments))
    assert text.count("<section>") == text.count("</section>") == 1
    assert 'class="up">+0.050</span><span class="ends">+0.020 to +0.080' in text
    assert 'class="down">-0.080</span><span class="ends">-0.110 to -0.050' in text
    assert "tried the same 2 settings with the first seed" in text
    assert "1: lr 0.001, dropout 0.1; 2: lr 0.003, dropout 0.1. The probe's penalty is chosen on val with each" in text
    assert text.count("<td>2</td></tr>") == 2  # the second was chosen by the sgan, at both budgets
    assert "chosen on 39 labelled val images, more than the networks were trained on with 2 labels a class" in text
    assert "all 153 training photos" in text and "3 seeds and 54 test images" in text


def test_section_says_nothing_of_settings_it_does_not_know(arguments):
    text = sgan_section(**arguments | {"tuning": {}, "val_images": 8})
    assert "setting</th>" not in text and "tried the same" not in text and "more than the networks" not in text
