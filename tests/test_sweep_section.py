"""What the page says of the sweep and the minority study: from files to figures, and the figures in the HTML."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest

from pipeline import InputError
from pipeline.measure.minority import minority_effect
from pipeline.measure.mixture_choice import Choice, choose_ratio, describe_choice
from pipeline.measure.statistics import Interval, compare_arms, score
from pipeline.report.minority_plots import draw_minority
from pipeline.report.minority_results import read_minority
from pipeline.report.minority_section import minority_section, minority_sentence
from pipeline.report.results import Manifest, read_predictions
from pipeline.report.sweep_plots import draw_headroom, draw_sweep
from pipeline.report.sweep_results import read_sweep
from pipeline.report.sweep_section import headroom_sentence, sweep_section

CLASSES = ["healthy", "rust", "scab<i>"]
COUNTS = {"val": (12, 9, 6), "test": (20, 14, 9)}
SEEDS = (0, 1, 2)
RESAMPLING = {"resamples": 300, "seed": 1}


def labels_of(split: str) -> np.ndarray:
    return np.repeat(np.arange(3), COUNTS[split])


def files_of(split: str) -> list[str]:
    return [f"{split}_{i}.png" for i in range(sum(COUNTS[split]))]


MANIFEST = Manifest(
    "manifest.csv",
    {
        split: {
            (CLASSES[k], file): f"leaf {i // 2}"
            for i, (k, file) in enumerate(zip(labels_of(split), files_of(split), strict=True))
        }
        for split in COUNTS
    },
)


def guesses(rng: np.random.Generator, split: str, accuracy: tuple[float, ...]) -> np.ndarray:
    labels = labels_of(split)
    right = rng.random((len(SEEDS), len(labels))) < np.array(accuracy)[labels]
    return np.where(right, labels, (labels + rng.integers(1, 3, right.shape)) % 3)


def write(folder, by_method: dict[str, dict[str, np.ndarray]]) -> None:
    folder.mkdir(parents=True)
    with open(folder / "predictions.csv", "w", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(["method", "seed", "split", "file", "label", *(f"p/{name}" for name in CLASSES)])
        for method, splits in by_method.items():
            for s, seed in enumerate(SEEDS):
                for split, predicted in splits.items():
                    for k, file, guess in zip(labels_of(split), files_of(split), predicted[s], strict=True):
                        p = np.where(np.arange(3) == guess, 0.8, 0.1)
                        writer.writerow([method, seed, split, file, CLASSES[k], *p])
    (folder / "metrics.json").write_text(json.dumps({f"{method}/optimiser_steps": 70 for method in by_method}))


def make_sweep(folder, accuracies: dict[float, float], seed: int = 0):
    """A sweep whose ratios have these accuracies; what it chose, and everything that it predicted."""
    rng = np.random.default_rng(seed)
    val = {r: guesses(rng, "val", (a,) * 3) for r, a in accuracies.items()}
    choice = choose_ratio(labels_of("val"), val, classes=CLASSES)
    test = {r: guesses(rng, "test", (accuracies[r],) * 3) for r in {0.0, choice.chosen}}
    write(folder, {f"{r:g}": {"val": val[r]} | ({"test": test[r]} if r in test else {}) for r in accuracies})
    on_val = {"real": (0.7, 0.8), "balanced": (0.9, 0.9), "classic": (0.8, 0.8)}
    behind = {"real": Interval(0.15, 0.14, 0.16, 60, 2), "balanced": Interval(0.0, 0.0, 0.0, 60, 2)}
    control = Choice(on_val, behind, "balanced", "balanced")
    described = describe_choice(choice, {r: dict.fromkeys(CLASSES, int(10 * r)) for r in accuracies}, control)
    (folder / "choice.json").write_text(json.dumps(described))
    return choice, test


@pytest.fixture
def confirmed(tmp_path):
    return make_sweep(tmp_path / "sweep", {0.0: 0.45, 0.5: 0.6, 1.0: 0.95})


def test_the_chosen_ratio_is_held_against_none_on_test(tmp_path, confirmed):
    choice, test = confirmed
    assert choice.chosen == 1.0
    sweep = read_sweep(tmp_path / "sweep", classes=CLASSES, manifest=MANIFEST, **RESAMPLING)
    labels = labels_of("test")
    expected = {r: score(labels, p, 3)["macro_f1"].mean() for r, p in test.items()}
    assert sweep.test["0"].mean == pytest.approx(expected[0.0])
    assert sweep.difference.mean == pytest.approx(expected[1.0] - expected[0.0])
    groups = list(MANIFEST.groups["test"].values())
    own = compare_arms(
        labels, {"0": test[0.0], "1": test[1.0]}, classes=CLASSES, groups=groups, references=("0",), **RESAMPLING
    )
    assert sweep.difference == own["1"].differences["0"]["macro_f1"]
    assert sweep.test_groups == len(set(zip(labels.tolist(), groups, strict=True)))
    assert sweep.recommendation.ratio == 1.0 and sweep.difference.lower > 0
    assert sweep.mixture == (1.0, own["1"].metrics["balanced_accuracy"], own["1"].differences["0"]["balanced_accuracy"])
    assert sweep.metrics["sweep/recommended_ratio"] == 1.0
    assert sweep.metrics["sweep/macro_f1_minus_0_lower"] == pytest.approx(sweep.difference.lower, abs=1e-6)


def test_the_section_says_the_recommendation_first_and_every_ratio(tmp_path, confirmed):
    sweep = read_sweep(tmp_path / "sweep", classes=CLASSES, manifest=MANIFEST, **RESAMPLING)
    draw_sweep(tmp_path / "a.png", sweep.choice, sweep.test)
    html = str(sweep_section(sweep, tmp_path / "a.png"))
    first = html.index("<p>")
    assert "Recommended of the ratios: 1 synthetic image for each real one" in html[first : first + 200]
    cells = re.findall(r"<tr[^>]*>\s*<td>([^<]*)</td>", html)
    assert cells == ["0", "0.5", "1 (chosen)"]
    assert html.count("not asked") == 1
    assert f"{sweep.difference.lower:+.3f}" in html and f"{sweep.difference.upper:+.3f}" in html
    assert "27 val" in " ".join(html.split()) and "43 test images" in html
    draw_sweep(tmp_path / "b.png", sweep.choice, sweep.test)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_nothing_chosen_is_nothing_to_confirm(tmp_path):
    make_sweep(tmp_path / "sweep", {0.0: 0.95, 1.0: 0.5})
    sweep = read_sweep(tmp_path / "sweep", classes=CLASSES, manifest=MANIFEST, **RESAMPLING)
    assert sweep.difference is None and sweep.recommendation.ratio == 0 and sweep.mixture is None
    assert set(sweep.metrics) == {"sweep/chosen_ratio", "sweep/recommended_ratio"}
    draw_sweep(tmp_path / "a.png", sweep.choice, sweep.test)
    html = str(sweep_section(sweep, tmp_path / "a.png"))
    assert "no synthetic images" in html and "there was no mixture to confirm" in html


def test_more_seen_on_test_than_was_chosen_is_refused(tmp_path):
    rng = np.random.default_rng(0)
    make_sweep(tmp_path / "sweep", {0.0: 0.9, 1.0: 0.5})
    both = {split: guesses(rng, split, (0.5,) * 3) for split in COUNTS}
    write(tmp_path / "peeked", {"0": both, "1": both})
    (tmp_path / "peeked/choice.json").write_text((tmp_path / "sweep/choice.json").read_text())
    with pytest.raises(InputError, match=r"test predictions of 0 and the chosen 0 alone, found .* 0, 1 on test"):
        read_sweep(tmp_path / "peeked", classes=CLASSES, manifest=MANIFEST, **RESAMPLING)


def test_a_split_may_be_absent_only_where_that_is_said_and_then_for_all_seeds(tmp_path, confirmed):
    path = tmp_path / "sweep/predictions.csv"
    with pytest.raises(InputError, match="expected predictions for test of every seed, found none for seed 0"):
        read_predictions(path, CLASSES, by_method=True)
    found = read_predictions(path, CLASSES, by_method=True, may_lack=["test"])
    assert {method: set(own.splits) for method, own in found.items()} == {
        "0": {"val", "test"}, "0.5": {"val"}, "1": {"val", "test"},
    }  # fmt: skip
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("1,2,test")))
    with pytest.raises(InputError, match="expected predictions for test of every seed, found none for seed 2"):
        read_predictions(path, CLASSES, by_method=True, may_lack=["test"])


# Minority study


def make_study(folder, kept: int, accuracy: dict[str, float], seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    by_method = {
        method: {split: guesses(rng, split, (a, 0.8, 0.8)) for split in COUNTS} for method, a in accuracy.items()
    }
    write(folder, by_method)
    info = {"class": "healthy", "real_kept": kept, "real_before": 50, "synthetic": 50 - kept, "total_kimg": 1}
    (folder / "info.json").write_text(json.dumps(info | {"best_kimg": 1}))
    return {method: splits["test"] for method, splits in by_method.items()}


def test_a_class_and_what_comes_back_by_hand():
    labels = np.repeat([0, 1], [10, 10])
    predicted = {}
    for method, hits in {"full": 9, "shrunk": 1, "restored": 5}.items():
        row = np.where(np.arange(20) < hits, 0, 1)
        predicted[method] = np.stack([row, row])
    found = minority_effect(labels, predicted, class_name="a", classes=["a", "b"], seeds=[0, 1])
    assert {m: v.mean for m, v in found.scores["recall"].items()} == pytest.approx(
        {"full": 0.9, "shrunk": 0.1, "restored": 0.5}
    )
    assert found.differences["recall"]["full"].mean == pytest.approx(0.8)
    assert found.differences["recall"]["restored"].mean == pytest.approx(0.4)
    f1 = {m: v.mean for m, v in found.scores["f1"].items()}  # 2 TP / (2 TP + FP + FN), and no image of b is taken for a
    assert f1 == pytest.approx({"full": 18 / 19, "shrunk": 2 / 11, "restored": 10 / 15})
    assert found.given_back == pytest.approx((f1["restored"] - f1["shrunk"]) / (f1["full"] - f1["shrunk"]))
    assert found.verdict.verdict == "helps" and found.num_test == found.num_units == 10
    leaves = ["one leaf"] * 8 + ["another"] * 2 + [str(i) for i in range(10)]
    few = minority_effect(labels, predicted, class_name="a", classes=["a", "b"], seeds=[0, 1], groups=leaves)
    straight = compare_arms(labels, predicted, classes=["a", "b"], groups=leaves, references=("shrunk",))
    for name in ("recall", "f1"):
        assert few.differences[name]["full"] == straight["full"].differences["shrunk"][f"{name}/a"]
    assert few.num_units == 2 and few.verdict.verdict == "too_little_data" and few.given_back is None


def test_a_verdict_on_a_class_is_of_the_confidence_that_is_asked_for():
    labels, rng = np.repeat([0, 1], [30, 10]), np.random.default_rng(0)
    at_95 = 0
    for _ in range(20):
        hits = {"full": 0.95, "shrunk": 0.8, "restored": 0.55}
        predicted = {m: np.where(rng.random((2, 40)) < share, labels, 1 - labels) for m, share in hits.items()}
        asked = {"class_name": "a", "classes": ["a", "b"], "seeds": [0, 1], "resamples": 200}
        strict = minority_effect(labels, predicted, confidence=0.99, **asked)
        assert (strict.verdict.verdict == "hurts") == (strict.differences["f1"]["restored"].upper < 0)
        at_95 += minority_effect(labels, predicted, **asked).verdict.verdict == "hurts" != strict.verdict.verdict
    assert at_95, "or the two confidences were never apart, and this shows nothing"


def test_no_share_of_a_loss_that_is_not_certain():
    labels = np.repeat([0, 1], [10, 10])
    row = np.where(np.arange(20) < 8, 0, 1)
    same = dict.fromkeys(("full", "shrunk", "restored"), np.stack([row, row]))
    found = minority_effect(labels, same, class_name="a", classes=["a", "b"], seeds=[0, 1])
    assert found.given_back is None and found.verdict.verdict == "no_evidence"


def test_an_undecided_gain_is_no_share_in_the_sentence(tmp_path):
    make_study(tmp_path / "5", 5, {"full": 0.95, "shrunk": 0.2, "restored": 0.25}, seed=1)
    (study,) = read_minority({"5": tmp_path / "5"}, classes=CLASSES, manifest=MANIFEST, **RESAMPLING)
    assert study.effect.given_back is not None and study.effect.verdict.verdict == "too_little_data"
    assert "too little data to tell" in minority_sentence(study)
    assert "of what was lost" not in minority_sentence(study)


@pytest.mark.parametrize("wrong", [{"class_name": "c"}, {"methods": ("full", "shrunk")}])
def test_what_cannot_be_measured_is_refused(wrong):
    labels, row = np.repeat([0, 1], [10, 10]), np.zeros((1, 20), int)
    predicted = dict.fromkeys(wrong.get("methods", ("full", "shrunk", "restored")), row)
    with pytest.raises(ValueError, match="Got"):
        minority_effect(labels, predicted, class_name=wrong.get("class_name", "a"), classes=["a", "b", "c"], seeds=[0])


def test_studies_go_from_files_to_the_page(tmp_path):
    accuracy = {"full": 0.95, "shrunk": 0.2, "restored": 0.7}
    test = make_study(tmp_path / "20", 20, accuracy)
    make_study(tmp_path / "5", 5, {**accuracy, "restored": 0.2}, seed=1)
    folders = {"20": tmp_path / "20", "5": tmp_path / "5"}
    studies = read_minority(folders, classes=CLASSES, manifest=MANIFEST, **RESAMPLING)
    assert [study.info["real_kept"] for study in studies] == [5, 20]
    recall = {m: (p[:, :20] == 0).mean() for m, p in test.items()}
    assert {m: v.mean for m, v in studies[1].effect.scores["recall"].items()} == pytest.approx(recall)
    f1 = {m: np.mean([2 * (s[:20] == 0).sum() / (20 + (s == 0).sum()) for s in p]) for m, p in test.items()}
    metrics = studies[1].metrics
    assert metrics["minority.20/shrunk/recall/healthy"] == pytest.approx(recall["shrunk"], abs=1e-6)
    assert metrics["minority.20/restored/f1_minus_shrunk/healthy"] == pytest.approx(
        f1["restored"] - f1["shrunk"], abs=1e-6
    )
    share = (f1["restored"] - f1["shrunk"]) / (f1["full"] - f1["shrunk"])
    assert metrics["minority.20/given_back/healthy"] == pytest.approx(share, abs=1e-6)
    assert "minority.20/full/macro_f1_lower" in metrics
    said = minority_sentence(studies[1])
    assert "With 20 of its 50 real images" in said and "30 synthetic images: helps" in said
    assert f"{share:.0%} of what was lost" in said
    draw_minority(tmp_path / "a.png", studies)
    html = str(minority_section(studies, tmp_path / "a.png"))
    assert html.count("<tr><td>5</td>") == html.count("<tr><td>20</td>") == 1
    draw_minority(tmp_path / "b.png", studies)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_no_study_no_section():
    assert minority_section(read_minority({}, classes=CLASSES, manifest=MANIFEST), None) == ""


def fewer_photos(folder, accuracies: dict[str, float]) -> None:
    """The sweep in `folder` with networks that saw a part of the photos."""
    rng = np.random.default_rng(9)
    by_method = {}
    for method, own in read_predictions(folder / "predictions.csv", CLASSES, by_method=True, may_lack=["test"]).items():
        by_method[method] = {split: of.predicted for split, of in own.splits.items()}
    for method, accuracy in accuracies.items():
        by_method[method] = {split: guesses(rng, split, (accuracy,) * 3) for split in COUNTS}
    choice = json.loads((folder / "choice.json").read_text())
    (folder / "predictions.csv").unlink()
    (folder / "metrics.json").unlink()
    folder.rename(folder.with_name("before"))
    write(folder, by_method)
    photos = {name: int(100 * float(name.removeprefix("photos_"))) for name in accuracies} | {"0": 100}
    (folder / "choice.json").write_text(json.dumps(choice | {"photos": photos}))


def test_what_more_photos_gave_is_told_beside_what_synthetic_ones_gave(tmp_path):
    make_sweep(tmp_path / "sweep", {0.0: 0.95, 1.0: 0.95})
    fewer_photos(tmp_path / "sweep", {"photos_0.25": 0.3, "photos_0.5": 0.6})
    sweep = read_sweep(tmp_path / "sweep", classes=CLASSES, manifest=MANIFEST, **RESAMPLING)
    of = sweep.headroom
    assert of.photos == [25, 50, 100] and set(sweep.test) == {"0", f"{sweep.choice['chosen']:g}"}
    f1 = [value.mean for value in of.macro_f1]
    assert of.doubling.mean == pytest.approx(f1[2] - f1[1]) and of.doubling.lower > 0 and f1 == sorted(f1)
    assert sweep.metrics["sweep/photos_50/macro_f1"] == pytest.approx(f1[1], abs=1e-6)
    gain = Interval(0.0, -of.doubling.mean, of.doubling.mean, 43, 3)
    said = headroom_sentence(of, candidate="synthetic_classic", matched="classic", gain=gain)
    assert said.startswith(f"From 25 photos to 100 macro-F1 on test went from {f1[0]:.3f} to {f1[2]:.3f}; a doubling")
    assert said.endswith("That is worth between -50 and +100 photos.")  # half of them, or twice as many
    draw_sweep(tmp_path / "a.png", sweep.choice, sweep.test)
    for name in ("b", "c"):
        draw_headroom(tmp_path / f"{name}.png", of.photos, of.macro_f1)
    assert (tmp_path / "b.png").read_bytes() == (tmp_path / "c.png").read_bytes()
    page = str(sweep_section(sweep, tmp_path / "a.png", tmp_path / "b.png", said))
    assert "What are more photos worth?" in page and "worth between -50 and +100 photos" in page
    assert "What are more photos worth?" not in sweep_section(sweep, tmp_path / "a.png")


def test_a_third_of_the_photos_is_told_by_doublings_and_no_worth_without_a_sure_one(tmp_path):
    make_sweep(tmp_path / "sweep", {0.0: 0.95, 1.0: 0.95})
    fewer_photos(tmp_path / "sweep", {"photos_0.25": 0.6})
    of = read_sweep(tmp_path / "sweep", classes=CLASSES, manifest=MANIFEST, **RESAMPLING).headroom
    assert of.doubling.mean == pytest.approx((of.macro_f1[1].mean - of.macro_f1[0].mean) / 2)  # two doublings
    open_ = of._replace(doubling=of.doubling._replace(lower=-0.01))
    assert open_.worth(Interval(0.1, 0, 0.2, 43, 3)) == "That more photos would gain is itself not certain here."


def test_photos_too_far_apart_are_no_measure(tmp_path):
    make_sweep(tmp_path / "sweep", {0.0: 0.95, 1.0: 0.95})
    fewer_photos(tmp_path / "sweep", {"photos_0.05": 0.4})
    of = read_sweep(tmp_path / "sweep", classes=CLASSES, manifest=MANIFEST, **RESAMPLING).headroom
    assert of.doubling.lower > 0 and "too far apart" in of.worth(Interval(0.1, 0, 0.2, 43, 3))


@pytest.mark.parametrize("choice", ["{}", '{"photos": null}'])
def test_a_choice_that_lacks_its_keys_is_one_sentence(tmp_path, confirmed, choice):
    (tmp_path / "sweep/choice.json").write_text(choice)
    with pytest.raises(InputError, match=r"choice\.json: expected the keys behind_best, best, chosen"):
        read_sweep(tmp_path / "sweep", classes=CLASSES, manifest=MANIFEST, **RESAMPLING)


def test_names_are_escaped(tmp_path):
    make_study(tmp_path / "4", 4, {"full": 0.9, "shrunk": 0.2, "restored": 0.5})
    (study,) = read_minority({"4": tmp_path / "4"}, classes=CLASSES, manifest=MANIFEST, **RESAMPLING)
    study = study._replace(info=study.info | {"class": "scab<i>"})
    draw_minority(tmp_path / "a.png", [study])
    html = str(minority_section([study], tmp_path / "a.png"))
    assert "scab<i>" not in html and "scab&lt;i&gt;" in html
