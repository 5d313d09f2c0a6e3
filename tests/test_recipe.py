"""The choice on val and the recommendation: rules by hand values, the false-recommendation rate by simulation."""

import re

import numpy as np
import pytest

from pipeline.measure.mixture_choice import (
    Choice,
    choose_ratio,
    choose_simplest,
    describe_choice,
    first_within_noise,
)
from pipeline.measure.recipe import Mixture, Other, advise, recommend
from pipeline.measure.statistics import Interval, compare_arms, score

CLASSES = ["healthy", "rust", "scab"]
LABELS = np.repeat(np.arange(3), 20)
RATIOS = [0.0, 0.5, 1.0, 2.0]
REAL = Choice({"real": (0.4, 0.6)}, {"real": Interval(0.0, 0.0, 0.0, 60, 2)}, "real", "real")


def lead(mean: float, error: float) -> Interval:
    return Interval(mean, mean - error, mean + error, 60, 3)


def predicted(rng, accuracy: float, seeds: int = 3, labels=LABELS) -> np.ndarray:
    right = rng.random((seeds, len(labels))) < accuracy
    return np.where(right, labels, (labels + rng.integers(1, 3, (seeds, len(labels)))) % 3)


@pytest.mark.parametrize(
    ("behind", "chosen"),
    [
        ({0.0: lead(0.05, 0.01), 0.5: lead(0.0, 0.0), 1.0: lead(0.02, 0.01)}, 0.5),  # clearly the best
        ({0.0: lead(0.05, 0.01), 0.5: lead(0.009, 0.01), 1.0: lead(0.0, 0.0)}, 0.5),  # noise: the fewer
        ({0.0: lead(0.01, 0.01), 0.5: lead(0.0, 0.0), 1.0: lead(0.0, 0.0)}, 0.0),  # one error exactly is noise
        ({0.0: lead(0.011, 0.01), 0.5: lead(0.0, 0.0), 1.0: lead(0.0, 0.0)}, 0.5),  # a little more is not; a tie
        ({0.0: lead(0.0, 0.0), 0.5: lead(0.1, 0.0)}, 0.0),
    ],
)
def test_the_smallest_ratio_within_one_standard_error(behind, chosen):
    assert first_within_noise(behind) == chosen


def test_a_clear_winner_is_chosen_and_its_figures_are_sklearns():
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    by_ratio = {r: predicted(rng, a) for r, a in zip(RATIOS, [0.5, 0.6, 0.97, 0.6], strict=True)}
    choice = choose_ratio(LABELS, by_ratio, classes=CLASSES)
    assert choice.best == choice.chosen == 1.0
    for ratio, p in by_ratio.items():
        assert choice.val_macro_f1[ratio] == pytest.approx([f1_score(LABELS, row, average="macro") for row in p])
    described = describe_choice(choice, {r: {"rust": int(10 * r)} for r in RATIOS}, REAL)
    assert described["control"] == "real" and described["controls"] == {"real": 0.5}
    assert described["alike"] == ["real"]
    own = described["val_macro_f1"]["0.5"]
    assert own["mean"] == pytest.approx(np.mean(own["by_seed"]), abs=1e-5)
    assert own["sd"] == pytest.approx(np.std(own["by_seed"], ddof=1), abs=1e-5)
    assert described["behind_best"]["1"] == {"mean": 0.0, "lower": 0.0, "upper": 0.0}
    assert described["behind_best"]["0"]["lower"] > 0
    assert described["synthetic"]["2"] == {"rust": 20}


def test_equal_ratios_mean_no_synthetic_images():
    same = predicted(np.random.default_rng(1), 0.8)
    choice = choose_ratio(LABELS, dict.fromkeys(RATIOS, same), classes=CLASSES)
    assert choice.best == choice.chosen == 0.0


def test_the_standard_error_is_that_of_the_difference_over_images_and_seeds():
    """Against many new draws of images and seeds from the same population."""
    rng = np.random.default_rng(2)
    accuracies = {0.0: 0.6, 1.0: 0.8}

    def drawn() -> dict[float, np.ndarray]:
        return {r: predicted(rng, a, seeds=5) for r, a in accuracies.items()}

    leads = [
        float(np.subtract(*(score(LABELS, p[r], 3)["macro_f1"].mean() for r in (1.0, 0.0))))
        for p in (drawn() for _ in range(400))
    ]
    behind = [choose_ratio(LABELS, drawn(), classes=CLASSES, resamples=500).behind[0.0] for _ in range(20)]
    errors = [b.half_width for b in behind if b.half_width]
    assert np.mean(errors) == pytest.approx(np.std(leads), rel=0.25)


def test_the_simplest_recipe_that_val_cannot_tell_from_the_best():
    rng = np.random.default_rng(4)
    names = ("real", "balanced", "classic")

    def chosen(*accuracies: float, seed: int = 0) -> Choice:
        own = {name: predicted(rng, a) for name, a in zip(names, accuracies, strict=True)}
        return choose_simplest(LABELS, own, classes=CLASSES, resamples=300, seed=seed)

    assert chosen(0.5, 0.55, 0.95).chosen == "classic" and chosen(0.5, 0.55, 0.95).alike == ["classic"]
    assert chosen(0.5, 0.9, 0.9).chosen == "balanced"
    alike = [chosen(0.7, 0.7, 0.7, seed=i) for i in range(60)]
    lucky = [choice for choice in alike if choice.best != "real"]
    assert len(lucky) > 30, "luck must be able to lead, or this shows nothing"
    assert np.mean([choice.chosen == "real" for choice in alike]) > 0.6  # of the maximum it is one third


def test_photos_of_one_leaf_are_one_witness():
    """Ten photos of each of six leaves: a lead on two leaves is noise, on twenty photos it is not."""
    leaves = [f"{i // 10}" for i in range(60)]
    real = np.where(np.arange(60) % 30 < 10, (LABELS + 1) % 3, LABELS)[None].repeat(3, 0)
    own = {"real": real, "classic": LABELS[None].repeat(3, 0)}
    assert choose_simplest(LABELS, own, classes=CLASSES).chosen == "classic"
    assert choose_simplest(LABELS, own, classes=CLASSES, groups=leaves).chosen == "real"


def test_no_ratio_0_is_refused():
    with pytest.raises(ValueError, match="must hold the ratio 0"):
        choose_ratio(LABELS, {1.0: predicted(np.random.default_rng(0), 0.5)}, classes=CLASSES)


CONTROLS = {"real": 0.71, "balanced": 0.7, "classic": 0.65}


def choice_of(chosen: float, best: float, behind: Interval | None = None) -> dict:
    zero = {"mean": 0.0, "lower": 0.0, "upper": 0.0}
    own = zero if behind is None else {k: getattr(behind, k) for k in ("mean", "lower", "upper")}
    controls = CONTROLS
    return {"control": "real", "controls": controls, "ratios": RATIOS, "chosen": chosen, "best": best,
            "behind_best": {"0": own}}  # fmt: skip


@pytest.mark.parametrize(
    ("mean", "half", "units", "ratio", "verdict", "said"),
    [
        (0.05, 0.04, 60, 2.0, "helps", r"2 synthetic images for each real one.*confirmed on test.*\+0\.050 macro-F1"),
        (0.05, 0.05, 60, 0.0, "no_evidence", r"No ratio of synthetic .*ratio 2 looked better, but .* no evidence"),
        (0.05, 0.3, 60, 0.0, "too_little_data", r"No ratio of synthetic .*too small to tell.*-0\.250 to \+0\.350"),
        (0.05, 0.01, 5, 0.0, "too_little_data", r"No ratio of synthetic .*too small to tell"),
        (-0.05, 0.04, 60, 0.0, "hurts", r"No ratio of synthetic .*says that it hurts.*-0\.050"),
    ],
)
def test_only_what_test_confirms_is_recommended(mean, half, units, ratio, verdict, said):
    difference = Interval(mean, mean - half, mean + half, 60, 3)
    found = recommend(choice_of(2.0, 2.0), difference, num_units=units)
    assert found.ratio == ratio and found.verdict.verdict == verdict
    assert re.search(said, found.sentence), found.sentence
    recipe = "held against the arm `real`, on val the best without them (0.710; `balanced` 0.700, `classic` 0.650)"
    assert recipe in found.sentence


@pytest.mark.parametrize(("confidence", "verdict"), [(0.95, "hurts"), (0.99, "too_little_data")])
def test_the_verdict_is_of_the_confidence_that_is_asked_for(confidence, verdict):
    difference = Interval(-0.05, -0.1, 0.0, 60, 3, standard_error=0.025).at(confidence)
    found = recommend(choice_of(2.0, 2.0), difference, num_units=60, confidence=confidence, min_detectable=0.05)
    assert (found.verdict.verdict, found.verdict.confidence) == (verdict, confidence)
    assert f"{confidence:.0%} interval" in found.sentence


def test_a_control_that_is_not_the_best_on_val_is_not_called_so():
    choice = choice_of(0.0, 0.0) | {"control": "balanced"}
    assert (
        "the arm `balanced`, on val the simplest that cannot be told from the best"
        in recommend(choice, None, num_units=60).sentence
    )


def test_none_chosen_needs_no_test():
    found = recommend(choice_of(0.0, 0.0), None, num_units=60)
    assert found.ratio == 0 and found.verdict is None
    assert "none of the ratios 0.5, 1, 2 had a higher macro-F1" in found.sentence
    found = recommend(choice_of(0.0, 1.0, lead(0.012, 0.02)), None, num_units=60)
    assert found.ratio == 0
    for said in ("the best of the ratios 0.5, 1, 2 was 1", "+0.012 macro-F1 is within one standard error (0.020)"):
        assert said in found.sentence
    with pytest.raises(ValueError, match="chosen ratio 1"):
        recommend(choice_of(1.0, 1.0), None, num_units=60)


def test_under_no_effect_synthetic_images_are_seldom_recommended():
    """The ratios differ by luck alone: choosing on val and confirming on test praises few of them."""
    rng = np.random.default_rng(3)
    labels, recommended, chosen = np.repeat(np.arange(3), 12), 0, 0
    trials = 200
    for trial in range(trials):
        val = {r: predicted(rng, 0.7, labels=labels) for r in RATIOS}
        choice = choose_ratio(labels, val, classes=CLASSES, resamples=200, seed=trial)
        if choice.chosen == 0:
            continue
        chosen += 1
        test = {"0": predicted(rng, 0.7, labels=labels), "r": predicted(rng, 0.7, labels=labels)}
        compared = compare_arms(labels, test, classes=CLASSES, references=("0",), resamples=300, seed=trial)
        described = describe_choice(choice, {}, REAL)
        found = recommend(described, compared["r"].differences["0"]["macro_f1"], num_units=len(labels))
        recommended += found.ratio > 0
    assert chosen > 10, "luck must be able to choose, or this shows nothing"
    assert recommended / trials < 0.05


RIGHT = {"real": 0.64, "balanced": 0.69, "classic": 0.71, "synthetic": 0.738, "filtered_classic": 0.7}


def advised(verdict: str, lower: float, upper: float, **changes) -> str:
    gain = Interval((lower + upper) / 2, lower, upper, 60, 3)
    arguments = {"candidate": "synthetic", "control": "classic", "right": RIGHT, "gain": gain, "judge": "probe"}
    return advise(verdict, **{**arguments, **changes})


@pytest.mark.parametrize(
    ("verdict", "lower", "upper", "changes", "expected"),
    [
        ("no_evidence", -0.03, 0.021, {"control": "real"},
         "Use the photos as they are with a pretrained classifier: 64 of 100 right, classes counted alike. Synthetic "
         "leaves of one GAN made no difference that shows: between 3 fewer and 2 more of 100."),
        ("helps", 0.012, 0.06, {},
         "Train on the photos and the synthetic leaves, every class equally often, with a pretrained classifier: 74 of "
         "100 right, classes counted alike. Synthetic leaves of one GAN helped: between 1 and 6 more of 100."),
        ("hurts", -0.091, -0.021, {"judge": "scratch"},
         "Use the photos, turned and recoloured a little, with a classifier trained from scratch: 71 of 100 right, "
         "classes counted alike. Synthetic leaves of one GAN hurt: between 2 and 9 fewer of 100."),
        ("too_little_data", -0.2, 0.31, {"judge": "finetune", "control": "balanced"},
         "Use the photos, every class equally often, with a pretrained classifier: 69 of 100 right, classes counted "
         "alike. Too few test photos to tell whether synthetic leaves of one GAN help: between 20 fewer and 31 more "
         "of 100."),
        ("helps", 0.002, 0.06, {"candidate": "filtered_classic", "judge": "", "is_rendered_sample": True},
         "On drawn leaves, not photographs: train on the photos and those synthetic leaves that the filter kept, "
         "turned and recoloured a little: 70 of 100 right, classes counted alike. Synthetic leaves of one GAN helped: "
         "up to 6 more of 100."),
    ],
)  # fmt: skip
def test_every_verdict_has_a_sentence_for_an_adviser(verdict, lower, upper, changes, expected):
    assert advised(verdict, lower, upper, **changes) == expected


@pytest.mark.parametrize(
    ("verdict", "lower", "upper", "expected"),
    [
        ("helps", -0.01, 0.06, "Synthetic leaves of one GAN helped, by macro-F1: between 1 fewer and 6 more of 100."),
        ("hurts", -0.05, 0.02, "Synthetic leaves of one GAN hurt, by macro-F1: between 5 fewer and 2 more of 100."),
        ("no_evidence", 0.02, 0.04, "gained on the same training without them, between 2 and 4 more of 100, but not"),
        (
            "too_little_data",
            -0.04,
            -0.02,
            "Synthetic leaves of one GAN may hurt, but not surely: between 2 and 4 fewer of 100.",
        ),
        ("no_evidence", -0.004, 0.004, "no difference that shows: less than 1 of 100 more or fewer."),
        ("hurts", -0.021, -0.019, "Synthetic leaves of one GAN hurt: 2 fewer of 100."),
    ],
)
def test_the_margin_never_belies_the_verdict(verdict, lower, upper, expected):
    assert expected in advised(verdict, lower, upper)


def test_how_many_gans_there_were_is_said():
    assert "leaves of three GANs helped" in advised("helps", 0.01, 0.02, gans=3)
    assert "leaves of eleven GANs" not in advised("no_evidence", -0.01, 0.02, gans=11)
    assert "leaves of 11 GANs made no difference" in advised("no_evidence", -0.01, 0.02, gans=11)


def test_recipes_alike_and_classes_never_recognised_are_said():
    said = advised("no_evidence", -0.03, 0.02, control="real", alike=["balanced", "classic"])
    others = "drawing every class equally often or turning and recolouring them"
    assert said.endswith(f"more of 100. On val, {others} cannot be told from that.")
    assert "cannot be told" not in advised("helps", 0.01, 0.02, alike=["balanced"])
    said = advised("no_evidence", -0.03, 0.02, control="real", alike=["classic"], never=["rust"])
    assert "64 of 100 right, classes counted alike. No leaf of rust is recognised. Synthetic leaves" in said


def test_what_has_not_learned_is_no_advice():
    said = advised("not_trained", -0.03, 0.02, has_learned=False)
    assert said == "No advice yet: the classifiers of real leaves have hardly learned."
    said = advised("not_trained", -0.03, 0.02)
    assert "71 of 100 right" in said and said.endswith(
        "Of synthetic leaves nothing can be said, for the classifiers have hardly learned."
    )


def test_a_confirmed_mixture_is_what_is_advised():
    mixture = Mixture(0.5, lead(0.77, 0.02), lead(0.04, 0.01))
    said = advised("no_evidence", -0.03, 0.02, mixture=mixture)
    assert said == (
        "Train on the photos and 0.5 synthetic leaves for each of them, turned and recoloured a little, with a "
        "pretrained classifier: 77 of 100 right, classes counted alike. Synthetic leaves of one GAN helped: between "
        "3 and 5 more of 100. As many as make all classes equal: no evidence either way."
    )
    assert "As many as" not in advised("helps", 0.01, 0.02, mixture=mixture)


@pytest.mark.parametrize(("verdict", "alone"), [("no_evidence", 71), ("helps", 74)])
def test_a_better_kind_of_classifier_is_what_is_advised(verdict, alone):
    said = advised(verdict, 0.01, 0.02, other=Other("scratch", "real", 0.823))
    assert said.startswith(
        "Use the photos as they are with a classifier trained from scratch: 82 of 100 right, classes counted alike. "
        f"With a pretrained classifier it is {alone}, and by that one synthetic leaves were judged. Synthetic leaves "
    )
