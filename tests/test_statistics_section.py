"""The section on how sure one can be: its figures are those of the files, names are escaped, luck is not coloured."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from test_page import ARMS, CLASSES, write_arm, write_manifest

from pipeline.measure.calibration import Reliability
from pipeline.measure.significance import holm
from pipeline.measure.statistics import Interval
from pipeline.report import statistics_plots
from pipeline.report.comparison import compare_predictions
from pipeline.report.statistics_section import statistics_section, verdict_rules
from pipeline.report.table import read_rows


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Folder of a comparison, the arm without background among the others, and what metrics.json holds."""
    root = tmp_path_factory.mktemp("compared")
    strengths = ARMS | {"classic_masked": 0.5}
    for i, (arm, strength) in enumerate(strengths.items()):
        write_arm(root / "classifier" / arm, strength, i)
    write_manifest(root / "manifest.csv")
    metrics = compare_predictions(
        {arm: root / "classifier" / arm for arm in strengths}, {}, out_dir=root / "out", classes=CLASSES,
        manifest=root / "manifest.csv", no_rivals=["classic_masked"], resamples=300,
    )  # fmt: skip
    return root / "out", metrics


def section(out, **changes) -> str:
    return str(
        statistics_section(
            **{
                "candidate": "synthetic_classic",
                "matched": "classic",
                "differences": read_rows(out / "differences.csv"),
                "effects": read_rows(out / "effects.csv"),
                "arms": read_rows(out / "comparison.csv"),
                "pictures": {name: out / "plots" / f"{name}.png" for name in ("effects", "reliability")},
                "test_groups": 30,
                "num_classes": len(CLASSES),
            }
            | changes
        )
    )


def test_files_and_metrics_say_the_same(compared):
    out, metrics = compared
    rows = {(row["arm"], row["minus"]): row for row in read_rows(out / "differences.csv")}
    assert len(rows) == 3 * (len(ARMS) - 1)  # the arm without background is no rival, and makes no p stricter
    for (arm, other), row in rows.items():
        key = f"{arm}/test/macro_f1_minus_{other}"
        assert float(row["macro_f1"]) == pytest.approx(metrics[key], abs=2e-6)
        for name in ("detectable", "p", "p_holm", "p_swap"):
            assert float(row[name]) == pytest.approx(metrics[f"{key}_{name}"], abs=2e-6)
        gap = float(row["gained_of_100"]) - float(row["lost_of_100"])
        assert gap == pytest.approx(100 * float(row["accuracy"]), abs=1e-3)
        significant = metrics[f"{key}_lower"] > 0 or metrics[f"{key}_upper"] < 0
        assert (metrics[f"{key}_p"] < 0.05) == significant
    against_real = {arm: metrics[f"{arm}/test/macro_f1_minus_real_p"] for arm in ARMS if arm != "real"}
    for arm, p in holm(against_real).items():
        assert metrics[f"{arm}/test/macro_f1_minus_real_p_holm"] == pytest.approx(p, abs=2e-6)
    effects = {row["effect"]: row for row in read_rows(out / "effects.csv")}
    assert set(effects) == {
        "synthetic_images", "synthetic_images_beside_classic", "classic_augmentation", "balancing", "background"
    }  # fmt: skip
    assert metrics["effect/balancing"] == metrics["balanced/test/macro_f1_minus_real"]
    assert metrics["effect_lower/balancing"] == metrics["balanced/test/macro_f1_minus_real_lower"]
    assert float(effects["balancing"]["p_holm"]) == pytest.approx(metrics["effect_p_holm/balancing"], abs=2e-6)
    for arm in ARMS:
        assert metrics[f"{arm}/test/brier_lower"] < metrics[f"{arm}/test/brier"] < metrics[f"{arm}/test/brier_upper"]
        assert 0 < metrics[f"{arm}/test/ece_floor"] < 0.3


def test_section_shows_them(compared):
    out, metrics = compared
    html = section(out)
    detectable = metrics["synthetic_classic/test/macro_f1_minus_classic_detectable"]
    assert f"<strong>{detectable:.3f}</strong>" in html and "54 images in 30 independent groups" in html
    assert f"{metrics['effect/classic_augmentation']:+.3f}" in html and "balanced → classic" in html
    assert f"{metrics['real/test/ece_floor']:.3f}" in html and "3\ntrainings an arm" in html
    assert html.count("data:image/png") == 2 and "http" not in html
    assert "one training" not in html
    assert "data:" not in section(out, pictures={}) and "One change" not in section(out, effects=[])


def test_only_what_stands_after_correction_is_coloured(compared):
    out, _ = compared
    row = read_rows(out / "effects.csv")[0] | {"macro_f1": "0.1", "macro_f1_lower": "0.01", "macro_f1_upper": "0.2"}
    for p_holm, colours in (("0.2", 0), ("0.01", 1)):
        html = section(out, effects=[row | {"p_holm": p_holm}], differences=[])
        assert html.count('class="up"') == colours


def test_names_are_escaped(compared):
    out, _ = compared
    arms = [row | {"arm": "<b>x</b>"} for row in read_rows(out / "comparison.csv")]
    assert "<b>x</b>" not in section(out, arms=arms)


def test_same_pictures_for_the_same_data(tmp_path):
    effects = {"balancing": Interval(0.1, 0.0, 0.2, 50, 3), "background": Interval(-0.1, -0.2, 0.0, 50, 3)}
    curve = Reliability(*(np.array(v) for v in ([0.4, 0.9], [0.3, 0.8], [10, 10])))
    for folder in ("a", "b"):
        statistics_plots.draw_effects(tmp_path / folder / "effects.png", effects)
        statistics_plots.draw_reliability(tmp_path / folder / "r.png", {f"arm{i}": curve for i in range(6)})
        statistics_plots.draw_reliability(tmp_path / folder / "one.png", {"real": curve})
        statistics_plots.draw_effects(tmp_path / folder / "none.png", {})
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
        assert Image.open(path).info.keys() == {"dpi"}


def test_rules_name_their_levels():
    text = str(
        verdict_rules(controls=["real", "strong"], resamples=2000, confidence=0.95, min_detectable=0.1, min_units=6)
    )
    assert "lies below zero against the control that lacks only the synthetic images" in " ".join(text.split())
    assert "fewer than 6" in text and "difference of 0.1" in text
    assert "is 5%" in text and text.count("<li>") == text.count("</li>") == 3
