"""The report as one self-contained HTML file: pictures inlined, no script, no network, no time stamp."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from pipeline import controls_among
from pipeline.measure.verdict import MIN_UNITS
from pipeline.report.audit_section import Masked, audit_section
from pipeline.report.class_labels import numbered
from pipeline.report.fidelity_section import fidelity_section
from pipeline.report.html import fill, inline
from pipeline.report.plots import arm_color, arm_marker
from pipeline.report.sgan_section import sgan_section
from pipeline.report.statistics_section import statistics_section, verdict_rules
from pipeline.report.template import ARMS, CLASSES, CONFUSION, LEAVES, METHOD, PAGE, PLOT, STYLE


class Contents(NamedTuple):
    """All that the page shows.

    Attributes:
        sentences: What to do in plain words; the verdict; what else there is to say. `x` becomes code.
        verdict: Key of `verdict.LABELS`.
        verdict_label: The same in words.
        candidate: Arm that the verdict is about.
        is_rendered_sample: Shows the banner.
        rows: Of comparison.csv.
        plots: name → PNG: arms, classes, learning_curves, confusion/<arm>; overview and label_budget, where there are.
        pictures: title → PNG or GIF.
        fidelity: fidelity.json, flat; empty: no such section.
        audit: audit.json; empty: no such part.
        classes: Names.
        split_counts: split → class → images.
        test_groups: Groups among the test images.
        method: steps, sgan_steps, seeds, sgan_seeds, resamples, confidence, min_detectable, n_test, data, made_by,
            computed_on.
        budget_verdicts: label budget → verdict on the SGAN; empty: no such section.
        tuning: label budget → rows of tuning.csv.
        few_labels: The section train_sgan of params.yaml.
        audit_pictures: caption → PNG of the part on the data.
        masked: An arm with masked background beside the same with it. None: there is none.
        differences: Rows of differences.csv.
        effects: Rows of effects.csv.
        matched: The control that lacks only the candidate's synthetic images.
        learning: The section on the trainings.
        sections: Topic of `evidence.TOPICS` → its section.
        next_steps: What to do next; `x` becomes code.
        weak_points: What is weak about the run; the same.
        recipes: arm → what its classifier is trained on.
    """

    sentences: Sequence[str]
    verdict: str
    verdict_label: str
    candidate: str
    is_rendered_sample: bool
    rows: Sequence[Mapping[str, Any]]
    plots: Mapping[str, Path]
    pictures: Mapping[str, Path]
    fidelity: Mapping[str, Any]
    audit: Mapping[str, Any]
    classes: Sequence[str]
    split_counts: Mapping[str, Mapping[str, int]]
    test_groups: int
    method: Mapping[str, Any]
    budget_verdicts: Mapping[str, str]
    tuning: Mapping[str, Sequence[Mapping[str, Any]]]
    few_labels: Mapping[str, Any]
    audit_pictures: Mapping[str, Path]
    masked: Masked | None
    differences: Sequence[Mapping[str, Any]]
    effects: Sequence[Mapping[str, Any]]
    matched: str
    learning: Markup
    sections: Mapping[str, Markup]
    next_steps: Sequence[str]
    weak_points: Sequence[str]
    recipes: Mapping[str, str]


class Part(NamedTuple):
    """A section that folds.

    Attributes:
        title: Its heading.
        anchor: Where the list of contents leads.
        body: The rest of its HTML.
    """

    title: str
    anchor: str
    body: Markup


def part_of(section: Markup) -> Part | None:
    """A section's HTML, `<section …><h2>title</h2> … </section>`, taken apart; None of an empty one."""
    found = re.fullmatch(r"\s*<section[^>]*>\s*<h2>(.*?)</h2>(.*)</section>\s*", section, re.DOTALL)
    if found is None:
        return None
    title = Markup(found[1]).striptags()
    anchor = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    return Part(title, anchor, Markup(found[2]))


def render(contents: Contents) -> str:
    """The page's HTML, the same for the same contents; every name in it is escaped."""
    arms = [row for row in contents.rows if not row["budget"]]
    names = [row["arm"] for row in arms]
    values = {
        "c": contents,
        "arms": arms,
        "controls": controls_among(names),
        "rules": verdict_rules(
            controls=controls_among(names),
            resamples=contents.method["resamples"],
            confidence=contents.method["confidence"],
            min_detectable=contents.method["min_detectable"],
            min_units=MIN_UNITS,
        ),
        "images": {name: inline(path) for name, path in contents.plots.items()},
        "pictures": {title: inline(path) for title, path in contents.pictures.items()},
        "matrices": [name for name in contents.plots if name.startswith("confusion/")],
        "numbered": numbered(contents.classes),
        "color": lambda arm: arm_color(arm, names),
        "marker": arm_marker,
        "percent": lambda share: f"{100 * share:.4g}%",
    }
    how_sure = statistics_section(
        candidate=contents.candidate,
        matched=contents.matched,
        differences=contents.differences,
        effects=contents.effects,
        arms=arms,
        pictures=contents.plots,
        test_groups=contents.test_groups,
        num_classes=len(contents.classes),
        confidence=contents.method["confidence"],
    )
    of_data = audit_section(
        contents.audit,
        classes=contents.classes,
        split_counts=contents.split_counts,
        pictures=contents.audit_pictures,
        masked=contents.masked,
    )
    topics = defaultdict(Markup, contents.sections)
    sections = [
        fill(PLOT + ARMS, **values),
        fill(PLOT + CLASSES, **values),
        topics["recipe"],
        topics["judges"],
        how_sure,
        of_data,
        fill(LEAVES, **values),
        fidelity_section(contents.fidelity, contents.classes),
        topics["copying"],
        topics["filtering"],
        topics["minority"],
        _few_labels(contents),
        fill(PLOT + CONFUSION, **values),
        contents.learning,
        fill(METHOD, **values),
    ]
    parts = [part for part in map(part_of, sections) if part is not None]
    return fill(PAGE, **values, style=Markup(STYLE), parts=parts, overview=values["images"].get("overview"))


def _few_labels(contents: Contents) -> Markup:
    if not contents.budget_verdicts:
        return Markup("")
    return sgan_section(
        [row for row in contents.rows if row["budget"]],
        plot=contents.plots["label_budget"],
        verdicts=contents.budget_verdicts,
        tuning=contents.tuning,
        settings=contents.few_labels,
        steps=contents.method["sgan_steps"],
        train_images=sum(contents.split_counts["train"].values()),
        val_images=sum(contents.split_counts["val"].values()),
        num_classes=len(contents.classes),
        confidence=contents.method["confidence"],
    )
