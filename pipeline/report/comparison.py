"""The `compare` stage: predictions of all arms and budgets in; metrics, tables, pictures, page and verdict out.

Comparisons that would not be fair are refused: arms with unequal optimiser steps, other seeds, other test
images, or labels that are not those of the split.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from pipeline import CONTROLS, MATCHED_CONTROL, InputError, check_arms, controls_among
from pipeline.measure.calibration import brier, calibration_floor, expected_calibration_error, reliability
from pipeline.measure.effects import EFFECTS, effects_among
from pipeline.measure.guessing import guessing_macro_f1
from pipeline.measure.learned import Course, why_untrained
from pipeline.measure.mixture_choice import choose_simplest
from pipeline.measure.recipe import Other, advise
from pipeline.measure.statistics import (
    METRICS,
    ArmStatistics,
    Interval,
    compare_arms,
    confusion,
    score,
)
from pipeline.measure.verdict import (
    LABELS,
    Shares,
    Verdict,
    choose_candidate,
    class_sentence,
    decide,
    minority_classes,
    sentence,
    sgan_sentence,
)
from pipeline.report import html, page, plots, statistics_plots
from pipeline.report.audit_section import Masked
from pipeline.report.differences import Difference, describe_differences, difference_rows
from pipeline.report.evidence import Finding, Setting, Sources, gather_evidence
from pipeline.report.fidelity_section import alarms
from pipeline.report.learning_section import learning_section, training_sentences
from pipeline.report.overview import arm_in_words, draw_overview, next_steps, weak_points
from pipeline.report.results import (
    Manifest,
    Predictions,
    check_against_manifest,
    check_comparable,
    check_equal_steps,
    check_same_images,
    read_course,
    read_json,
    read_manifest,
    read_predictions,
    read_steps,
    read_tuning,
)
from pipeline.report.table import write_rows

NO_SOURCES, NOTHING = Sources(), Finding(Markup())
SGAN, SUPERVISED, SUPERVISED_CLASSIC, PROBE = "sgan", "supervised", "supervised_classic", "probe"
OF_A_BUDGET = (SUPERVISED, SUPERVISED_CLASSIC, PROBE, SGAN)  # methods in the order of tables and pictures


class Outcome(NamedTuple):
    """The verdict in full.

    Attributes:
        candidate: The GAN arm chosen on val.
        overall: On macro-F1.
        by_class: minority class → on its F1.
        by_budget: label budget → on the SGAN's macro-F1, against both of its supervised-only baselines.
        sentences: All of it with figures: the first line is the verdict, then classes, then the SGAN.
    """

    candidate: str
    overall: Verdict
    by_class: dict[str, Verdict]
    by_budget: dict[str, Verdict]
    sentences: list[str]


class _Experiment(NamedTuple):
    """One set of predictions with its statistics.

    Attributes:
        predictions: arm (or method) → predictions.
        statistics: arm → intervals.
        by_class: arm → class → recall and precision on test.
        val_macro_f1: arm → mean over seeds, on val.
        calibration: arm → `ece` and `ece_floor` on test.
        differences: (arm, control) → tests of it; Holm's p is over the arms held against one control. Of arms
            that are no rivals there are none: they answer other questions, in `effects`.
        effects: effect → tests of it; Holm's p is over the effects.
        steps: Optimiser steps.
        courses: arm → how its trainings went.
        untrained: Arms that have not learned, which have no say → what shows it.
    """

    predictions: dict[str, Predictions]
    statistics: dict[str, ArmStatistics]
    by_class: dict[str, dict[str, Shares]]
    val_macro_f1: dict[str, float]
    calibration: dict[str, dict[str, float]]
    differences: dict[tuple[str, str], Difference]
    effects: dict[str, Difference]
    steps: int
    courses: dict[str, Course]
    untrained: dict[str, str]


def compare_predictions(
    classifier_dirs: Mapping[str, str | Path],
    sgan_dirs: Mapping[str, str | Path],
    *,
    out_dir: str | Path,
    classes: Sequence[str],
    manifest: str | Path,
    audit: str | Path | None = None,
    fidelity: str | Path | None = None,
    pictures: Mapping[str, str | Path] | None = None,
    audit_pictures: Mapping[str, str | Path] | None = None,
    sources: Sources = NO_SOURCES,
    no_rivals: Collection[str] = (),
    recipes: Mapping[str, Mapping[str, Any]] | None = None,
    leaves: Sequence[Mapping[str, np.ndarray]] = (),
    few_labels: Mapping[str, Any] | None = None,
    gans: int = 1,
    is_rendered_sample: bool = False,
    computed_on: str = "",
    made_by: Sequence[str] = (),
    seed: int = 42,
    resamples: int = 2000,
    confidence: float = 0.95,
    min_detectable: float = 0.1,
    report: Callable[[dict[str, float], int], None] | None = None,
) -> dict[str, float]:
    """Compare all arms and label budgets, and write everything that people and programs look at.

    Args:
        classifier_dirs: arm → folder with predictions.csv, history.csv, metrics.json. `real`, `balanced`,
            `classic` and one of `synthetic`, `synthetic_classic` are needed for a verdict.
        sgan_dirs: label budget ("10") → the same of an SGAN (predictions by `method`); may be empty.
        out_dir: Folder to write into: metrics.json, comparison.csv, differences.csv, effects.csv, classes.csv,
            verdict.txt, plots/*.png, report.html.
        classes: Class names.
        manifest: manifest.csv of the split.
        audit: audit.json of the split. `None`: no such section.
        fidelity: fidelity.json. `None`: no such section.
        pictures: title → PNG or GIF to show, in this order.
        audit_pictures: The same for the part on the data.
        sources: What other stages found beside the arms.
        no_rivals: Arms that are shown other images than the rest, such as leaves without their background: they are
            held against no control, and make no p of the others stricter.
        recipes: The section arms of params.yaml.
        leaves: class → (N, H, W, 3) uint8 of train, and of the synthetic set, for the first picture. Empty: none.
        few_labels: The section train_sgan of params.yaml: what its networks look at. None where `sgan_dirs` is empty.
        gans: That drew the images: one, or one for each classifier seed.
        is_rendered_sample: The raw set is the rendered sample; said wherever it is shown.
        computed_on: The machine and versions that made the results, for the page's last line.
        made_by: Code and parameters, in words, for the same.
        seed: Of the resampling.
        resamples: Bootstrap resamples.
        confidence: Of all intervals.
        min_detectable: Macro-F1: an undecided comparison that could not have shown a difference of this size in four
            of five such experiments is called too little data.
        report: Gets the final metrics at step 0.

    Returns:
        What metrics.json holds: `<arm>/test/<metric>`, `<arm>/test/<metric>_lower`, `…_upper`,
        `<arm>/test/<metric>_minus_<control>` with the same ends, `<arm>/val/macro_f1`;
        `<arm>/test/macro_f1_minus_<control>_detectable`, `…_p`, `…_p_holm` and `…_p_swap`; `<arm>/test/brier` with its
        ends, `ece` and `ece_floor`; `effect/<name>` of `effects.EFFECTS`, with `effect_lower/<name>`, `effect_upper`,
        `effect_p`, `effect_p_holm` and `effect_detectable`; `sgan.<budget>/…`, `supervised.<budget>/…`,
        `supervised_classic.<budget>/…` and `probe.<budget>/…` the same;
        `verdict/<helps|hurts|no_evidence|too_little_data|not_trained>` 1 or 0, and
        `verdict/difference`, `…_lower`, `…_upper` to the control that decided; `<arm>/train_accuracy` and
        `guessing/macro_f1`, see `learning_section`.

    Raises:
        InputError: A file is missing or malformed, or the arms cannot be compared fairly.
    """
    classes = list(classes)
    check_arms(list(classifier_dirs))
    split = read_manifest(manifest)
    shown, of_audit = _existing(pictures or {}), _existing(audit_pictures or {})
    found = {name: read_json(path) if path else {} for name, path in (("audit", audit), ("fidelity", fidelity))}
    resampling = {"resamples": resamples, "confidence": confidence, "seed": seed}
    efforts = {arm: int(of.get("effort", 1)) for arm, of in (recipes or {}).items()}
    arms = _read_arms(classifier_dirs, split, classes, resampling, no_rivals, sources.augmented, efforts)
    budgets = {budget: _read_budget(Path(folder), split, classes, resampling) for budget, folder in sgan_dirs.items()}
    tuning = {budget: read_tuning(Path(folder) / "tuning.csv") for budget, folder in sgan_dirs.items()}
    first = next(iter(arms.predictions.values()))
    for experiment in budgets.values():
        check_same_images({"classifier": first} | experiment.predictions)

    outcome = _judge(arms, budgets, split, classes, confidence, min_detectable, gans, is_rendered_sample)
    out_dir = Path(out_dir)
    matched = MATCHED_CONTROL[outcome.candidate]
    found_beside = gather_evidence(
        sources,
        Setting(
            classes=classes,
            split=split,
            plots=out_dir / "plots",
            judging={**resampling, "min_detectable": min_detectable},
            candidate=outcome.candidate,
            matched=matched,
            gain=outcome.overall.evidence.differences[matched],
        ),
    )
    judges = found_beside.get("judges", NOTHING).judges
    test_counts = split.counts("test", classes)
    guessing = guessing_macro_f1(test_counts)
    scores = {arm: own.metrics["macro_f1"] for arm, own in arms.statistics.items()}
    of_training = training_sentences(arms.untrained, steps=arms.steps)
    verdict, *details = outcome.sentences
    sentences = [
        _advice(arms, outcome, split, classes, found_beside, sources.judges[0], gans, is_rendered_sample),
        verdict,
        *of_training,
        *(
            line
            for topic, finding in found_beside.items()
            if not (topic == "recipe" and outcome.overall.verdict == "not_trained")  # of networks that have not learned
            for line in finding.sentences
        ),
        *details,
    ]
    metrics = _metrics(arms, budgets, outcome)
    metrics |= {"guessing/macro_f1": round(guessing, 6)}
    metrics |= {f"{arm}/train_accuracy": round(c.fit, 6) for arm, c in arms.courses.items() if c.fit is not None}
    for finding in found_beside.values():
        metrics |= finding.metrics
    rows = _rows(arms)
    for budget, experiment in budgets.items():
        rows += _rows(experiment, budget=budget)

    for name, of in [("metrics", metrics), ("headline", _headline(metrics, [*arms.statistics, *_named(budgets)]))]:
        text = json.dumps(of, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
        (out_dir / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    write_rows(out_dir / "comparison.csv", rows)
    write_rows(out_dir / "differences.csv", difference_rows(arms.differences.values()))
    write_rows(out_dir / "effects.csv", difference_rows(arms.effects.values(), names=list(arms.effects)))
    write_rows(out_dir / "classes.csv", _class_rows(arms, test_counts))
    (out_dir / "verdict.txt").write_text("\n".join(sentences) + "\n", encoding="utf-8")

    drawn = _draw(out_dir / "plots", arms, budgets, classes, test_counts, confidence)
    if leaves:
        drawn["overview"] = out_dir / "plots" / "overview.png"
        shown_arms = dict.fromkeys((*controls_among(scores), outcome.candidate))
        draw_overview(drawn["overview"], *leaves, {arm: scores[arm] for arm in shown_arms}, confidence=confidence)
    beside_weak = [line for finding in found_beside.values() for line in finding.weak]
    units = {name: len({g for (c, _), g in split.groups["test"].items() if c == name}) for name in classes}
    train_counts = split.counts("train", classes)
    document = page.render(
        page.Contents(
            sentences=sentences,
            verdict=outcome.overall.verdict,
            verdict_label=LABELS[outcome.overall.verdict],
            candidate=outcome.candidate,
            is_rendered_sample=is_rendered_sample,
            rows=rows,
            plots=drawn,
            pictures=shown,
            fidelity=found["fidelity"],
            audit=found["audit"],
            classes=classes,
            split_counts={name: split.counts(name, classes) for name in ("train", "val", "test")},
            test_groups=len({(c, g) for (c, _), g in split.groups["test"].items() if c in classes}),
            method={
                "steps": arms.steps,
                "sgan_steps": sorted({e.steps for e in budgets.values()}),
                "seeds": list(first.seeds),
                "sgan_seeds": sorted({s for e in budgets.values() for p in e.predictions.values() for s in p.seeds}),
                "resamples": resamples,
                "confidence": confidence,
                "min_detectable": min_detectable,
                "n_test": len(first.splits["test"].labels),
                "data": hashlib.sha256(Path(manifest).read_bytes()).hexdigest()[:16],
                "computed_on": computed_on,
                "made_by": made_by,
            },
            budget_verdicts={budget: verdict.verdict for budget, verdict in outcome.by_budget.items()},
            tuning=tuning,
            few_labels=few_labels or {},
            audit_pictures=of_audit,
            masked=_masked(arms),
            differences=difference_rows(arms.differences.values()),
            effects=difference_rows(arms.effects.values(), names=list(arms.effects)),
            matched=matched,
            learning=learning_section(
                of_training,
                plot=drawn["learning_curves"],
                courses=arms.courses,
                untrained=arms.untrained,
                guessing=guessing,
            ),
            sections={topic: finding.section for topic, finding in found_beside.items()},
            next_steps=next_steps(
                outcome.overall,
                steps=arms.steps,
                rarest=min(train_counts, key=lambda name: train_counts[name]),
                is_rendered_sample=is_rendered_sample,
                more_gans=len(first.seeds) - gans,
                train=(recipes or {}).get(outcome.candidate, {}).get("train", "data/arrays/augmented"),
            ),
            weak_points=weak_points(
                untrained=[*of_training, *alarms(found["fidelity"], classes), *beside_weak],
                num_seeds=len(first.seeds),
                units=units,
                never={
                    arm: [name for name, of in arms.by_class[arm].items() if of.recall == 0]
                    for arm in (outcome.candidate, outcome.overall.control)
                },
                no_better_than_colours=judges.no_better_than_colours if judges else [],
                verdict=outcome.overall,
                gans=gans,
            ),
            recipes={arm: arm_in_words(recipe) for arm, recipe in (recipes or {}).items()},
        )
    )
    (out_dir / "report.html").write_text(document, encoding="utf-8")
    if report:
        report(metrics, 0)
    return metrics


def _advice(
    arms: _Experiment,
    outcome: Outcome,
    split: Manifest,
    classes: list[str],
    beside: Mapping[str, Finding],
    judge: str,
    gans: int,
    is_rendered_sample: bool,
) -> str:
    """What to do, in plain words."""
    sweep, judges = beside.get("recipe", NOTHING).sweep, beside.get("judges", NOTHING).judges
    candidate, mixture = outcome.candidate, sweep.mixture if sweep else None
    control, alike = _control(arms, outcome, split, classes)
    if mixture is not None:
        control, alike = sweep.choice["control"], []
    right = {arm: own.metrics["balanced_accuracy"].mean for arm, own in arms.statistics.items()}
    advised = candidate if outcome.overall.verdict == "helps" else control
    other, lead = None, judges.leads.get(advised) if judges else None
    if judges and lead and lead.lower > 0 and judges.second.right > (mixture.right.mean if mixture else 0):
        other = Other(judges.second.kind, judges.second.control, judges.second.right)
    return advise(
        outcome.overall.verdict,
        candidate=candidate,
        control=control,
        alike=alike,
        has_learned=control not in arms.untrained,
        never=[name for name, of in arms.by_class[advised].items() if of.recall == 0],
        right=right,
        gain=arms.statistics[candidate].differences[MATCHED_CONTROL[candidate]]["balanced_accuracy"],
        judge=judge,
        mixture=mixture,
        other=other,
        gans=gans,
        is_rendered_sample=is_rendered_sample,
    )


def _control(arms: _Experiment, outcome: Outcome, split: Manifest, classes: list[str]) -> tuple[str, list[str]]:
    """The control to advise, and others that val cannot tell from the best: the simplest, unless test belies it.

    It does where another control is surely ahead of it on test, or where the candidate is, which has then another
    control to thank: the one that it does not surely exceed.
    """
    controls = controls_among(arms.predictions)
    learned = [arm for arm in controls if arm not in arms.untrained] or controls
    val = arms.predictions[learned[0]].splits["val"]
    chosen = choose_simplest(
        val.labels,
        {arm: arms.predictions[arm].splits["val"].predicted for arm in learned},
        classes=classes,
        groups=[split.groups["val"][image] for image in val.images],
    )
    control, evidence = chosen.chosen, outcome.overall.evidence
    others = {arm: arms.differences[arm, control] for arm in learned if (arm, control) in arms.differences}
    ahead = [arm for arm, d in others.items() if d.macro_f1.mean > 0 and d.p_holm < 1 - evidence.confidence]
    if ahead:
        return max(ahead, key=lambda arm: others[arm].macro_f1.mean), []
    lead = evidence.differences.get(control)
    if outcome.overall.verdict not in ("helps", "not_trained") and lead and lead.lower > 0:
        return evidence.least_certain, []
    return control, [arm for arm in chosen.alike if arm != control]


def _headline(metrics: dict[str, float], arms: Sequence[str]) -> dict[str, float]:
    """Of all metrics those by which one compares two versions of a project: `dvc metrics diff`, `dvc exp show`."""
    names = {f"{arm}/test/macro_f1" for arm in arms} | {"guessing/macro_f1", "sweep/recommended_ratio"}
    return {name: value for name, value in metrics.items() if name in names or name.startswith("verdict/")}


def _named(budgets: Mapping[str, _Experiment]) -> list[str]:
    return [f"{method}.{budget}" for budget, experiment in budgets.items() for method in experiment.statistics]


def _rows(experiment: _Experiment, *, budget: str = "") -> list[dict[str, str | float | int]]:
    """Rows of comparison.csv: one an arm, or one a method at a label budget.

    Columns: arm, budget, method, n_test, n_seeds, val_macro_f1; each of `METRICS` and `brier` with `_lower`, `_upper`,
    `ece`, `ece_floor`; each metric with `_minus_<control>`, `_minus_<control>_lower`, `_minus_<control>_upper`, and of
    macro-F1 `_minus_<control>_detectable`, `_p`, `_p_holm`, `_p_swap`.
    """
    rows = []
    for arm, own in experiment.statistics.items():
        n = own.metrics["macro_f1"]
        row: dict[str, str | float | int] = {
            "arm": f"{arm}.{budget}" if budget else arm,
            "budget": budget,
            "method": arm if budget else "classifier",
            "n_test": n.n_test,
            "n_seeds": n.n_seeds,
            "val_macro_f1": experiment.val_macro_f1[arm],
        }
        for metric in (*METRICS, "brier"):
            row |= _spread(metric, own.metrics[metric])
        row |= experiment.calibration[arm]
        for control in (*CONTROLS, SUPERVISED, SUPERVISED_CLASSIC, PROBE):
            if (arm, control) in experiment.differences:
                row |= _minus(experiment, arm, control)
        rows.append(row)
    return rows


def _minus(experiment: _Experiment, arm: str, control: str) -> dict[str, float]:
    """An arm's differences to a control by their column's name."""
    found: dict[str, float] = {}
    for metric in METRICS:
        found |= _spread(f"{metric}_minus_{control}", experiment.statistics[arm].differences[control][metric])
    return found | {
        f"macro_f1_minus_{control}_{k}": v for k, v in experiment.differences[arm, control].figures().items()
    }


def _masked(arms: _Experiment) -> Masked | None:
    """What is left of an arm when the background cannot help, by the effect named `background`."""
    if "background" not in arms.effects:
        return None
    whole, masked = EFFECTS["background"]
    of_masked, of_whole = (arms.statistics[arm].metrics["macro_f1"] for arm in (masked, whole))
    return Masked(masked, of_masked.mean, of_masked.lower, of_masked.upper, whole, of_whole.mean, of_masked.n_test)


def _read_arms(
    dirs: Mapping[str, str | Path],
    split: Manifest,
    classes: list[str],
    resampling: dict,
    no_rivals: Collection[str],
    augmented: Collection[str],
    efforts: Mapping[str, int],
) -> _Experiment:
    predictions = {arm: read_predictions(Path(d) / "predictions.csv", classes)[""] for arm, d in dirs.items()}
    for own in predictions.values():
        check_against_manifest(own, split, classes)
    check_comparable(predictions)
    steps = {arm: read_steps(Path(d) / "metrics.json") for arm, d in dirs.items()}
    check_equal_steps({arm: of // efforts.get(arm, 1) for arm, of in steps.items()})
    courses = {
        arm: read_course(Path(d) / "history.csv", steps=steps[arm], is_augmented=arm in augmented)
        for arm, d in dirs.items()
    }
    return _measured(predictions, courses, split, classes, controls_among(predictions), resampling, no_rivals)


def _read_budget(folder: Path, split: Manifest, classes: list[str], resampling: dict) -> _Experiment:
    path = folder / "predictions.csv"
    predictions = read_predictions(path, classes, by_method=True)
    if set(predictions) != set(OF_A_BUDGET):
        raise InputError(
            f"{path}: expected the methods {', '.join(sorted(OF_A_BUDGET))}, found "
            f"{', '.join(sorted(predictions))}; run `dvc repro`."
        )
    predictions = {method: predictions[method] for method in OF_A_BUDGET}
    for own in predictions.values():
        check_against_manifest(own, split, classes)
    check_comparable(predictions)
    steps = read_steps(folder / "metrics.json")
    courses = {  # none of them writes down what it has right of so few images
        method: read_course(
            folder / "history.csv", steps=0 if method == PROBE else steps, is_augmented=True, method=method
        )
        for method in OF_A_BUDGET
    }
    return _measured(predictions, courses, split, classes, (SUPERVISED, SUPERVISED_CLASSIC, PROBE), resampling)


def _measured(
    predictions: dict[str, Predictions],
    courses: dict[str, Course],
    split: Manifest,
    classes: list[str],
    references: Sequence[str],
    resampling: dict,
    no_rivals: Collection[str] = (),
) -> _Experiment:
    tests = {arm: own.splits["test"] for arm, own in predictions.items()}
    first = next(iter(tests.values()))
    groups = [split.groups["test"][image] for image in first.images]
    effects = effects_among(tests)
    statistics = compare_arms(
        first.labels,
        {arm: own.predicted for arm, own in tests.items()},
        classes=classes,
        seeds={arm: own.seeds for arm, own in predictions.items()},
        groups=groups,
        references=references,
        pairs=list(effects.values()),
        per_image={arm: {"brier": brier(own.labels, own.probabilities)} for arm, own in tests.items()},
        **resampling,
    )
    by_class = {}
    for arm, own in tests.items():
        of = score(own.labels, own.predicted, len(classes))
        means = zip(classes, of["recall"].mean(0), of["precision"].mean(0), strict=True)
        by_class[arm] = {name: Shares(float(recall), float(precision)) for name, recall, precision in means}
    val = {
        arm: float(score(v.labels, v.predicted, len(classes))["macro_f1"].mean())
        for arm, v in ((arm, own.splits["val"]) for arm, own in predictions.items())
    }
    calibration = {
        arm: {
            "ece": expected_calibration_error(own.labels, own.probabilities),
            "ece_floor": calibration_floor(own.probabilities, seed=resampling["seed"]),
        }
        for arm, own in tests.items()
    }
    confidence, seed = resampling["confidence"], resampling["seed"]
    shared = {"groups": groups, "confidence": confidence, "seed": seed}
    differences: dict[tuple[str, str], Difference] = {}
    for control in references:
        compared = [arm for arm in tests if arm != control and arm not in no_rivals]
        pairs = {(arm, control): (arm, control) for arm in compared if control in tests}
        differences |= describe_differences(pairs, tests, statistics, **shared)
    measured = describe_differences(effects, tests, statistics, **shared)
    guessing = guessing_macro_f1(split.counts("test", classes))
    why = {
        arm: why_untrained(
            courses[arm], statistics[arm].metrics["macro_f1"], guessing=guessing, of_real_images=arm in references
        )
        for arm in predictions
    }
    return _Experiment(
        predictions=predictions,
        statistics=statistics,
        by_class=by_class,
        val_macro_f1=val,
        calibration=calibration,
        differences=differences,
        effects=measured,
        steps=min((course.steps for course in courses.values() if course.steps), default=0),
        courses=courses,
        untrained={arm: words for arm, words in why.items() if words is not None},
    )


def _judge(
    arms: _Experiment,
    budgets: Mapping[str, _Experiment],
    split: Manifest,
    classes: list[str],
    confidence: float,
    min_detectable: float,
    gans: int,
    is_rendered_sample: bool,
) -> Outcome:
    units = {  # independent test images: groups count once
        name: len({g for (c, _), g in split.groups["test"].items() if c == name}) for name in classes
    }
    learned = {arm: f1 for arm, f1 in arms.val_macro_f1.items() if arm not in arms.untrained}
    candidate = choose_candidate(learned if set(learned) & set(MATCHED_CONTROL) else arms.val_macro_f1)
    own = arms.statistics[candidate]

    def judged(
        experiment: _Experiment, arm: str, metric: str, matched: str, num_units: int, family: int = 1
    ) -> Verdict:
        differences = experiment.statistics[arm].differences
        there = [c for c in (*CONTROLS, SUPERVISED, SUPERVISED_CLASSIC) if c in differences]
        controls = [c for c in there if c == matched or c not in experiment.untrained]
        return decide(
            {control: differences[control][metric] for control in controls},
            matched=matched,
            min_detectable=min_detectable,
            num_units=num_units,
            confidence=confidence,
            family=family,
            is_trained=not {arm, matched} & set(experiment.untrained),
        )

    matched = MATCHED_CONTROL[candidate]
    overall = judged(arms, candidate, "macro_f1", matched, sum(units.values()))
    minority = minority_classes(split.counts("train", classes))
    by_class = {name: judged(arms, candidate, f"f1/{name}", matched, units[name], len(minority)) for name in minority}
    by_budget = {
        budget: judged(e, SGAN, "macro_f1", SUPERVISED, sum(units.values()), len(budgets))
        for budget, e in budgets.items()
    }
    counts = split.counts("test", classes)
    sentences = [
        sentence(
            overall,
            candidate=candidate,
            score=own.metrics["macro_f1"],
            gans=gans,
            untrained=arms.untrained,
            cost=arms.statistics[matched].differences["real"]["macro_f1"],
            is_rendered_sample=is_rendered_sample,
        )
    ]
    sentences += [
        class_sentence(
            name, verdict, score=own.metrics[f"f1/{name}"], shares=arms.by_class[candidate][name],
            of_control=arms.by_class[verdict.control][name], num_test=counts[name],
        )
        for name, verdict in by_class.items()
    ]  # fmt: skip
    if by_budget:
        scores = {budget: e.statistics[SGAN].metrics["macro_f1"] for budget, e in budgets.items()}
        sentences.append(sgan_sentence(by_budget, scores, confidence=1 - (1 - confidence) / len(budgets)))
    return Outcome(candidate, overall, by_class, by_budget, sentences)


def _metrics(arms: _Experiment, budgets: Mapping[str, _Experiment], outcome: Outcome) -> dict[str, float]:
    metrics: dict[str, float] = {}
    named = {arm: (arms, arm) for arm in arms.statistics}
    named |= {f"{method}.{budget}": (e, method) for budget, e in budgets.items() for method in e.statistics}
    for name, (experiment, arm) in named.items():
        own = experiment.statistics[arm]
        metrics[f"{name}/val/macro_f1"] = experiment.val_macro_f1[arm]
        for metric, interval in own.metrics.items():
            metrics |= {f"{name}/test/{k}": v for k, v in _spread(metric, interval).items()}
        metrics |= {f"{name}/test/{k}": v for k, v in experiment.calibration[arm].items()}
        metrics |= {f"{name}/test/precision/{c}": of.precision for c, of in experiment.by_class[arm].items()}
        for control in (other for first, other in experiment.differences if first == arm):
            metrics |= {f"{name}/test/{k}": v for k, v in _minus(experiment, arm, control).items()}
    for name, effect in arms.effects.items():
        metrics |= _spread(f"effect/{name}", effect.macro_f1)
        metrics |= {f"effect_{k}/{name}": v for k, v in effect.figures().items() if k != "p_swap"}
    metrics |= {f"verdict/{name}": float(name == outcome.overall.verdict) for name in LABELS}
    metrics |= {f"verdict/{k}": v for k, v in _spread("difference", outcome.overall.difference).items()}
    return {k: round(float(v), 6) + 0.0 for k, v in metrics.items() if math.isfinite(v)}  # + 0.0: no "-0.0"


def _spread(metric: str, value: Interval) -> dict[str, float]:
    """A metric and its ends: `name[/class]`, `name_lower[/class]`, `name_upper[/class]`."""
    name, slash, of_class = metric.partition("/")
    ends = {"": value.mean, "_lower": value.lower, "_upper": value.upper}
    return {f"{name}{end}{slash}{of_class}": float(v) for end, v in ends.items()}


def _class_rows(arms: _Experiment, counts: Mapping[str, int]) -> list[dict]:
    """Rows of classes.csv: arm, class, n_test (of the class), n_seeds, F1, recall, precision, differences of F1."""
    rows = []
    for arm, own in arms.statistics.items():
        for name, count in counts.items():
            row = {"arm": arm, "class": name, "n_test": count, "n_seeds": own.metrics["macro_f1"].n_seeds}
            row |= _spread("f1", own.metrics[f"f1/{name}"]) | _spread("recall", own.metrics[f"recall/{name}"])
            row["precision"] = arms.by_class[arm][name].precision
            for control in (c for c in CONTROLS if c in own.differences):
                row |= _spread(f"f1_minus_{control}", own.differences[control][f"f1/{name}"])
            rows.append(row)
    columns = list(dict.fromkeys(c for row in rows for c in row))
    order = [c for c in columns if "_minus_" not in c]
    order += [c for control in CONTROLS for c in columns if f"_minus_{control}" in c]
    return [{c: row.get(c, "") for c in order} for row in rows]


def _draw(
    folder: Path,
    arms: _Experiment,
    budgets: Mapping[str, _Experiment],
    classes: list[str],
    test_counts: Mapping[str, int],
    confidence: float,
) -> dict[str, Path]:
    """Draw all plots; name → path, `confusion/<arm>` for the matrices."""
    stats = arms.statistics
    paths = {name: folder / f"{name}.png" for name in ("arms", "classes", "learning_curves")}
    plots.draw_arms(
        paths["arms"],
        {arm: s.metrics["macro_f1"] for arm, s in stats.items()},
        {
            control: {arm: stats[arm].differences[control]["macro_f1"] for arm, of in arms.differences if of == control}
            for control in ("real", "classic")
        },
        confidence=confidence,
    )
    plots.draw_classes(
        paths["classes"],
        {arm: {c: s.metrics[f"f1/{c}"] for c in classes} for arm, s in stats.items()},
        test_counts,
    )
    plots.draw_learning_curves(paths["learning_curves"], {arm: course.curves for arm, course in arms.courses.items()})
    paths |= {name: folder / f"{name}.png" for name in ("effects", "reliability")}
    statistics_plots.draw_effects(
        paths["effects"], {name: e.macro_f1 for name, e in arms.effects.items()}, confidence=confidence
    )
    tests = {arm: own.splits["test"] for arm, own in arms.predictions.items()}
    statistics_plots.draw_reliability(
        paths["reliability"], {arm: reliability(own.labels, own.probabilities) for arm, own in tests.items()}
    )
    for arm, own in arms.predictions.items():
        test = own.splits["test"]
        paths[f"confusion/{arm}"] = folder / f"confusion_{arm}.png"
        matrix = np.asarray(confusion(test.labels, test.predicted, len(classes))).sum(axis=0)
        plots.draw_confusion(paths[f"confusion/{arm}"], matrix, classes, title=arm)
    if budgets:
        paths["label_budget"] = folder / "label_budget.png"
        plots.draw_label_budgets(
            paths["label_budget"],
            {
                method: {b: e.statistics[method].metrics["macro_f1"] for b, e in budgets.items()}
                for method in OF_A_BUDGET
            },
        )
    return paths


def _existing(pictures: Mapping[str, str | Path]) -> dict[str, Path]:
    for title, path in pictures.items():
        if Path(path).suffix.lower() not in html.MEDIA_TYPES or not Path(path).is_file():
            kinds = ", ".join(html.MEDIA_TYPES)
            raise InputError(f"{path}: expected a picture ({kinds}) for '{title}', found none; run `dvc repro`.")
    return {title: Path(path) for title, path in pictures.items()}
