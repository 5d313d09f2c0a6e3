"""Two judges on the same arms: from files to the sentence that their intervals force."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from pipeline import InputError
from pipeline.measure.statistics import compare_arms
from pipeline.report.judges_section import Judges, judges_section, read_judges
from pipeline.report.results import Manifest

CLASSES = ["healthy", "rust"]
COUNTS = {"val": 60, "test": 60}
SEEDS = (0, 1)
ARMS = ("real", "balanced", "classic", "filtered_classic")
COLOURS = 24  # wrong answers of who sees colours alone
FIT: dict[str, float] = {}  # arm → share of its own training images that the second judge knows
FILES = {split: [f"{split}_{i}.png" for i in range(count)] for split, count in COUNTS.items()}
LABELS = {split: np.repeat([0, 1], count // 2) for split, count in COUNTS.items()}
MANIFEST = Manifest(
    Path("manifest.csv"),
    {split: {(CLASSES[k], f): f for k, f in zip(LABELS[split], FILES[split], strict=True)} for split in COUNTS},
)


def answers(wrong: int, on_val: int | None = None) -> dict[str, np.ndarray]:
    """By every seed wrong for so many of the test images, half of each class; of val for as many, or for others."""
    of = {"val": wrong if on_val is None else on_val, "test": wrong}
    return {
        split: np.tile(np.where(np.arange(60) % 30 < count // 2, 1 - LABELS[split], LABELS[split]), (2, 1))
        for split, count in of.items()
    }


def write(path: Path, by_method: dict[str, dict[str, np.ndarray]]) -> None:
    path.parent.mkdir(parents=True)
    methods = "" not in by_method
    looks = [
        [method, seed, step, 0.7, FIT.get(method, 0.95)] for method in by_method for seed in SEEDS for step in (40, 80)
    ]
    with open(path.with_name("history.csv"), "w", newline="") as f:
        csv.writer(f).writerows([["method", "seed", "step", "val_macro_f1", "train_accuracy"], *looks])
    path.with_name("metrics.json").write_text(json.dumps({"optimiser_steps": 80}))
    with open(path, "w", newline="") as f:
        writer = csv.writer(f)
        head = ["seed", "split", "file", "label", *(f"p/{name}" for name in CLASSES)]
        writer.writerow(["method", *head] if methods else head)
        for method, splits in by_method.items():
            for s, seed in enumerate(SEEDS):
                for split, predicted in splits.items():
                    for k, file, guess in zip(LABELS[split], FILES[split], predicted[s], strict=True):
                        row = [seed, split, file, CLASSES[k], *np.where(np.arange(2) == guess, 0.75, 0.25)]
                        writer.writerow([method, *row] if methods else row)


def judged(folder: Path, first: dict[str, int], second: dict[str, int | tuple[int, int]], **changes) -> Judges | None:
    """Both judges' wrong answers by arm, written and read."""
    for arm, wrong in first.items():
        write(folder / "classifier" / arm / "predictions.csv", {"": answers(wrong)})
    if second:
        of_second = {arm: answers(*np.atleast_1d(wrong)) for arm, wrong in second.items()}
        write(folder / "second" / "predictions.csv", of_second)
        write(folder / "second" / "colours" / "predictions.csv", {"": answers(COLOURS)})
    return read_judges(
        {arm: folder / "classifier" / arm for arm in first}, changes.pop("second_dir", folder / "second"),
        kinds=("probe", "scratch"), classes=CLASSES,
        **{"manifest": MANIFEST, "resamples": 500, "confidence": 0.95, **changes},
    )  # fmt: skip


SAME = dict.fromkeys(ARMS, 6)
BETTER = dict.fromkeys(ARMS, 18) | {"filtered_classic": 2}


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (
            SAME,
            dict.fromkeys(ARMS, 18) | {"filtered_classic": 2},
            r"depends .* frozen pretrained network .* neither .* from scratch they help",
        ),
        (SAME | {"filtered_classic": 40}, SAME, r"depends .* pretrained network the synthetic images hurt.* neither"),
        (BETTER, BETTER, r"Both judges say the same: the synthetic images help"),
        # `real` is as good
        (SAME, SAME | {"classic": 18, "filtered_classic": 4}, r"Both judges say the same: .* neither"),
        (SAME, SAME, r"Both judges say the same: the synthetic images neither surely help nor surely hurt"),
    ],
)
def test_the_sentence_follows_the_two_intervals(tmp_path, first, second, said):
    judges = judged(tmp_path, first, second)
    sentence, _ = judges.sentences
    assert re.search(said, sentence), sentence
    assert judges.matched == "classic" and "`filtered_classic` against `classic`" in sentence


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (SAME | {"real": 4}, SAME | {"balanced": 2},
         "Neither surely tells more of these leaves: macro-F1 0.967 as `balanced` by a network from scratch against "
         "0.933 as `real` by a frozen pretrained network, each by the simplest recipe that val cannot tell from its"),
        (dict.fromkeys(ARMS, 24), SAME,
         "A network from scratch tells more of these leaves than a frozen pretrained network: macro-F1 0.900 as `real` "
         "against 0.600 as `real`, each by the simplest recipe that val cannot tell from its best (second minus "
         "first: +0.300 ["),
        (SAME, dict.fromkeys(ARMS, 24),
         "A frozen pretrained network tells more of these leaves than a network from scratch: macro-F1 0.900 as `real` "
         "against 0.600 as `real`, each by the simplest recipe that val cannot tell from its best (second minus "
         "first: -0.300 ["),
    ],
)  # fmt: skip
def test_which_judge_tells_more_is_said_where_it_is_sure(tmp_path, first, second, said):
    judges = judged(tmp_path, first, second)
    assert said in judges.sentences[1]
    page = str(judges_section(judges))
    assert judges.sentences[1].split("`")[0] in page


def test_the_arm_that_stands_for_a_judge_is_its_best_on_val(tmp_path):
    second = {"real": (2, 8), "balanced": (4, 8), "classic": (10, 6), "filtered_classic": (2, 0)}
    judges = judged(tmp_path, SAME, second)
    assert judges.second.control == "classic"
    assert judges.lead.mean == pytest.approx(judges.second.scores["classic"].mean - judges.first.scores["real"].mean)
    assert judges.metrics["second_judge/lead"] == pytest.approx(judges.lead.mean, abs=1e-6)
    assert judges.second.right == pytest.approx(50 / 60)


def test_figures_are_those_of_compare_arms_and_stand_on_the_page(tmp_path):
    second = SAME | {"classic": 20, "filtered_classic": 2}
    judges = judged(tmp_path, SAME, second)
    expected = compare_arms(
        LABELS["test"], {arm: answers(wrong)["test"] for arm, wrong in second.items()}, classes=CLASSES,
        groups=FILES["test"], resamples=500, seed=42,
    )  # fmt: skip
    difference = expected["filtered_classic"].differences["classic"]["macro_f1"]
    metrics = judges.metrics
    assert metrics["second_judge/difference"] == pytest.approx(difference.mean, abs=1e-6)
    assert metrics["second_judge/difference_lower"] == pytest.approx(difference.lower, abs=1e-6)
    for arm in ARMS:
        of = expected[arm].metrics["macro_f1"]
        assert metrics[f"second_judge/{arm}/test/macro_f1"] == pytest.approx(of.mean, abs=1e-6)
    page = str(judges_section(judges))
    for shown in (f"{difference.mean:+.3f}", f"{expected['classic'].metrics['macro_f1'].mean:.3f}", "2 seeds"):
        assert shown in page


def test_a_judge_that_has_not_learned_has_no_say(tmp_path, monkeypatch):
    monkeypatch.setitem(FIT, "filtered_classic", 0.54)
    judges = judged(tmp_path, SAME, SAME)
    assert judges.second.finding == "untrained" and judges.first.finding == "open"
    assert judges.sentences[0] == (
        "Not learned, and so without a say on synthetic images: a network from scratch (`filtered_classic`: 54% of its "
        "own training images right after 80 steps, where a finished network has nearly all)."
    )
    of_augmented = judged(tmp_path / "augmented", SAME, SAME, augmented=["classic", "filtered_classic"])
    assert of_augmented.second.finding == "open"  # hard to learn by heart


def test_who_does_not_exceed_colours_alone_is_named(tmp_path):
    judges = judged(tmp_path, SAME | {"real": 24, "balanced": 18}, SAME)
    assert judges.no_better_than_colours == ["real"]  # as they are asked the same, six leaves more are enough
    assert judges.metrics["second_judge/colours/test/macro_f1"] == pytest.approx(0.6, abs=1e-6)
    row = str(judges_section(judges)).partition("colour histograms</td>")[2].partition("</tr>")[0]
    assert row.count("–") == 4 and "0.600" in row


def test_predictions_that_went_missing_are_no_empty_folder(tmp_path):
    judged(tmp_path, SAME, SAME)
    (tmp_path / "second" / "predictions.csv").unlink()
    with pytest.raises(InputError, match=r"predictions\.csv"):
        judged(tmp_path / "again", SAME, SAME, second_dir=tmp_path / "second")


def test_where_nobody_else_was_asked_there_is_no_section(tmp_path):
    assert judged(tmp_path, SAME, {}) is None


def test_other_arms_or_images_than_the_verdicts_are_refused(tmp_path):
    with pytest.raises(InputError, match="expected the arms real, balanced, classic and one GAN arm, found real, bal"):
        judged(tmp_path, SAME, {arm: 6 for arm in ARMS if arm != "classic"})
    stranger = MANIFEST._replace(groups={**MANIFEST.groups, "test": {}})
    with pytest.raises(InputError):
        judged(tmp_path / "other", SAME, SAME, manifest=stranger)
