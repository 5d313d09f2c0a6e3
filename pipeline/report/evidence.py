"""What other stages found beside the arms: each topic a section of the page, figures and, where it decides, a sentence.

A topic is a function in `TOPICS`; one without its sources is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from pipeline.measure.statistics import Interval
from pipeline.report.filter_plots import draw_filter
from pipeline.report.filter_section import filter_section
from pipeline.report.judges_section import Judges, judges_section, read_judges
from pipeline.report.memorisation_plots import draw_closest_pairs, draw_copy_scores
from pipeline.report.memorisation_section import copies_sentences, memorisation_section
from pipeline.report.minority_plots import draw_minority
from pipeline.report.minority_results import read_minority
from pipeline.report.minority_section import minority_section
from pipeline.report.results import Manifest, read_json
from pipeline.report.sweep_plots import draw_headroom, draw_sweep
from pipeline.report.sweep_results import Sweep, read_sweep
from pipeline.report.sweep_section import headroom_sentence, sweep_section
from pipeline.report.table import read_rows


class Sources(NamedTuple):
    """Where the stages left what they found.

    Attributes:
        classifiers: arm → folder of `train_classifier`.
        second_judge: Folder of the stage of that name. None: no such section.
        judges: Kinds of classifier: of the arms, and of the second judge.
        augmented: Arms whose training images are changed anew at every step.
        sweep: Folder of `sweep_mixture`. None: no such section.
        minority: Count → folder of `study_minority`; may be empty.
        filter: Folder of `filter_synthetic`'s log. None: no such section.
        filtered: Folder of the images that it accepted.
        filter_rules: `filter_synthetic.rules` of params.yaml.
        assess: Folder of `assess`, for what it says of copies. None: no such section.
        synthetic: (class, file) → (H, W, 3) uint8 of the images that it speaks of.
        train: The same of train.
    """

    classifiers: Mapping[str, str | Path] = {}
    second_judge: str | Path | None = None
    judges: tuple[str, str] = ("", "")
    augmented: Collection[str] = ()
    sweep: str | Path | None = None
    minority: Mapping[str, str | Path] = {}
    filter: str | Path | None = None
    filtered: str | Path | None = None
    filter_rules: Mapping[str, Any] = {}
    assess: str | Path | None = None
    synthetic: Mapping[tuple[str, str], np.ndarray] = {}
    train: Mapping[tuple[str, str], np.ndarray] = {}


class Finding(NamedTuple):
    """One topic.

    Attributes:
        section: Its HTML.
        sentences: For the verdict's box and verdict.txt.
        metrics: For metrics.json.
        weak: For what is weak about the run.
        sweep: Of the topic `recipe`, what was found itself.
        judges: The same of the topic `judges`.
    """

    section: Markup
    sentences: Sequence[str] = ()
    metrics: Mapping[str, float] = {}
    weak: Sequence[str] = ()
    sweep: Sweep | None = None
    judges: Judges | None = None


class Setting(NamedTuple):
    """What every topic needs to know of the comparison.

    Attributes:
        classes: Class names.
        split: The split's manifest.
        plots: Folder to draw into.
        judging: seed, resamples, confidence and min_detectable, as of `compare_predictions`.
        candidate: The GAN's arm.
        matched: The control that lacks only its synthetic images.
        gain: Macro-F1 on test of the first minus the second.
    """

    classes: Sequence[str]
    split: Manifest
    plots: Path
    judging: Mapping[str, Any]
    candidate: str
    matched: str
    gain: Interval


def _recipe(sources: Sources, setting: Setting) -> Finding | None:
    if sources.sweep is None:
        return None
    sweep = read_sweep(sources.sweep, classes=setting.classes, manifest=setting.split, **setting.judging)
    picture = setting.plots / "sweep.png"
    draw_sweep(picture, sweep.choice, sweep.test, confidence=sweep.confidence)
    photos, sentences = None, []
    if sweep.headroom is not None:
        photos = setting.plots / "photos.png"
        draw_headroom(photos, sweep.headroom.photos, sweep.headroom.macro_f1)
        of_arms = {"candidate": setting.candidate, "matched": setting.matched, "gain": setting.gain}
        sentences.append(headroom_sentence(sweep.headroom, **of_arms))
    section = sweep_section(sweep, picture, photos, *sentences)
    return Finding(section, [sweep.recommendation.sentence, *sentences], sweep.metrics, sweep=sweep)


def _judges(sources: Sources, setting: Setting) -> Finding | None:
    if sources.second_judge is None:
        return None
    judges = read_judges(
        sources.classifiers, sources.second_judge, kinds=sources.judges, classes=setting.classes,
        manifest=setting.split, augmented=sources.augmented, **setting.judging,
    )  # fmt: skip
    if judges is None:
        return None
    return Finding(judges_section(judges), judges.sentences, judges.metrics, judges=judges)


def _minority(sources: Sources, setting: Setting) -> Finding | None:
    if not sources.minority:
        return None
    studies = read_minority(sources.minority, classes=setting.classes, manifest=setting.split, **setting.judging)
    picture = setting.plots / "minority.png"
    draw_minority(picture, studies)
    return Finding(
        minority_section(studies, picture), metrics={key: value for s in studies for key, value in s.metrics.items()}
    )


def _filtering(sources: Sources, setting: Setting) -> Finding | None:
    if sources.filter is None or sources.filtered is None:
        return None
    drawn = draw_filter(setting.plots, sources.filter, sources.filtered, setting.classes)
    in_set = read_rows(Path(sources.filtered) / "manifest.csv")
    stand_in = sum(bool(row.get("rejected_by")) for row in in_set)
    weak = [f"Of the {len(in_set)} synthetic leaves that the filter kept, {stand_in} it had rejected: they stand in."]
    return Finding(
        filter_section(
            read_rows(Path(sources.filter) / "acceptance.csv"),
            shares=sources.filter_rules,
            funnel=drawn.get("funnel"),
            examples=drawn.get("examples"),
            filled=Counter(row["class"] for row in in_set if row.get("rejected_by")),
        ),
        weak=weak if 2 * stand_in > len(in_set) else [],
    )


def _copying(sources: Sources, setting: Setting) -> Finding | None:
    if sources.assess is None:
        return None
    folder, pictures = Path(sources.assess), {}
    if distances := read_rows(folder / "distances.csv"):
        pictures["scores"] = setting.plots / "copy_scores.png"
        draw_copy_scores(pictures["scores"], distances)
    if nearest := read_rows(folder / "nearest.csv"):
        pictures["pairs"] = setting.plots / "closest_pairs.png"
        draw_closest_pairs(pictures["pairs"], nearest, sources.synthetic, sources.train)
    metrics = read_json(folder / "memorisation.json")
    section = memorisation_section(metrics, setting.classes, pictures=pictures)
    return Finding(section, weak=copies_sentences(metrics))


# topic, which is its place on the page → what finds it
TOPICS: dict[str, Callable[[Sources, Setting], Finding | None]] = {
    "recipe": _recipe,
    "judges": _judges,
    "copying": _copying,
    "filtering": _filtering,
    "minority": _minority,
}


def gather_evidence(sources: Sources, setting: Setting) -> dict[str, Finding]:
    """Topic → what was found, in the order of `TOPICS`, of those topics that have sources.

    Raises:
        InputError: A file is missing or malformed.
    """
    setting.plots.mkdir(parents=True, exist_ok=True)
    found = {topic: find(sources, setting) for topic, find in TOPICS.items()}
    return {topic: finding for topic, finding in found.items() if finding is not None}
