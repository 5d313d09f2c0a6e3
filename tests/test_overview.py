"""The page's first screen: leaves beside the arms, what to do next and what is weak; the rest folds, and is listed."""

from __future__ import annotations

import re

import numpy as np
import pytest
from markupsafe import Markup
from PIL import Image

from pipeline.measure.statistics import Interval
from pipeline.measure.verdict import decide
from pipeline.params import load_params
from pipeline.report.overview import arm_in_words, draw_overview, nearest_images, next_steps, weak_points
from pipeline.report.page import part_of


def verdict(mean: float, error: float, **changes):
    d = Interval(mean, 0, 0, 100, 3, error, 30.0).at(0.95)
    return decide({"real": d, "classic": d}, matched="classic", **changes)


def test_every_shipped_arm_is_told_from_the_others_in_words(root):
    words = {name: arm_in_words(arm.model_dump()) for name, arm in load_params(root / "params.yaml").arms.items()}
    assert len(set(words.values())) == len(words)
    assert words["classic"] == "photos, every class equally often, turned, cropped and recoloured a little"
    assert "GAN's resolution" in words["classic_small"] and "background grey" in words["classic_masked"]


def test_the_nearest_photo_is_the_nearest():
    rng = np.random.default_rng(0)
    train = rng.integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    near = np.clip(train[[7, 3]].astype(int) + rng.integers(-9, 10, (2, 8, 8, 3)), 0, 255).astype(np.uint8)
    assert np.array_equal(nearest_images(near, train), train[[7, 3]])


def test_the_picture_is_the_same_every_time_and_no_wider_for_many_classes(tmp_path):
    rng = np.random.default_rng(1)
    names = ["healthy", "a disease with a name of some length", *(f"c{i}" for i in range(20))]
    leaves = {name: rng.integers(0, 256, (4, 16, 16, 3), dtype=np.uint8) for name in names}
    few = {name: leaves[name] for name in names[:2]}
    scores = {"real": Interval(0.8, 0.7, 0.9, 50, 3), "synthetic": Interval(0.6, 0.5, 0.7, 50, 3)}
    for name, of in (("a", few), ("b", few), ("many", leaves)):
        draw_overview(tmp_path / f"{name}.png", of, of, scores, confidence=0.95)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    small, large = (Image.open(tmp_path / f"{name}.png").size for name in ("a", "many"))
    assert small[0] == large[0] and large[1] < 700


def test_what_is_weak_is_said_and_what_is_not_is_not():
    asked = {
        "untrained": [],
        "num_seeds": 3,
        "units": {"rust": 40, "scab": 25},
        "never": {"synthetic": []},
        "no_better_than_colours": [],
    }
    plain = weak_points(**asked, verdict=verdict(0.0, 0.03))
    assert len(plain) == 2 and "One GAN was trained" in plain[0]
    assert f"below {verdict(0.0, 0.03).evidence.detectable:.3f} macro-F1 to `classic`" in plain[1]
    of_three = weak_points(**asked, verdict=verdict(0.0, 0.03), gans=3)
    assert of_three == ["Pictures, fidelity and copies are those of the first of 3 GANs.", plain[1]]
    of = {"num_seeds": 1, "untrained": ["Not learned: a."], "units": {"rust": 19, "scab": 25},
          "never": {"synthetic": ["rust"]}, "no_better_than_colours": ["real"]}  # fmt: skip
    said = " ".join(weak_points(**of, verdict=verdict(0.0, 0.03)))
    for part in (
        "Not learned: a.",
        "One training seed",
        "which knows no shapes: `real`.",
        "`synthetic` recognises no test image of `rust`",
        "test images: `rust` (19);",
    ):
        assert part in said


@pytest.mark.parametrize(
    ("of", "steps", "said"),
    [
        (verdict(0.1, 0.02), 0, "Feed `data/augmented_filtered` to your own classifier: photos and those synthetic"),
        (verdict(0.0, 0.02), 0, "Photograph more of `blight`"),
        (verdict(-0.1, 0.02), 0, "Photograph more of `blight`"),
        (verdict(0.0, 0.02, is_trained=False), 80, "Raise `train_classifier.steps`"),
        (verdict(0.0, 0.02, is_trained=False), 0, "Take another network"),
    ],
)
def test_what_to_do_next_follows_from_the_verdict(of, steps, said):
    asked = {"steps": steps, "rarest": "blight", "train": "data/arrays/augmented_filtered"}
    assert next_steps(of, **asked)[0].startswith(said)
    assert "own leaves" in next_steps(of, **asked, is_rendered_sample=True)[0]
    several = " ".join(next_steps(of, **asked, more_gans=2))
    assert ("repeat_gan.seeds" in several) == (of.verdict in ("helps", "no_evidence", "hurts"))
    assert "repeat_gan" not in " ".join(next_steps(of, **asked))


def test_how_many_test_photos_are_lacking():
    """Half the standard error takes four times the photos."""
    of = verdict(0.0, 0.07)
    assert of.verdict == "too_little_data"
    (times,) = re.findall(r"about ([\d.]+) times as many", next_steps(of, steps=0, rarest="a", train="")[0])
    better = Interval(0, 0, 0, 100, 3, 0.07 / float(times) ** 0.5, 30.0)
    assert better.detectable(0.95) == pytest.approx(0.1, rel=0.02)


def test_a_section_is_taken_apart_and_an_empty_one_is_none():
    part = part_of(Markup('<section class="a">\n<h2>How sure, <em>then</em>?</h2>\n<p>text</p>\n</section>\n'))
    assert part == ("How sure, then?", "how-sure-then", "\n<p>text</p>\n")
    assert part_of(Markup("")) is None
