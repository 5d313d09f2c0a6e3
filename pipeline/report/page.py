"""The report as one self-contained HTML file: pictures inlined, no script, no network, no time stamp."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from pipeline.measure.verdict import MIN_UNITS
from pipeline.report.fidelity_section import fidelity_section
from pipeline.report.html import fill, inline
from pipeline.report.plots import arm_color, arm_marker
from pipeline.report.sgan_section import sgan_section
from pipeline.report.template import PAGE, STYLE

# How far above always naming the largest class the border's colour may get before the page warns.
SHORTCUT_MARGIN = 0.10


class Contents(NamedTuple):
    """All that the page shows.

    Attributes:
        sentences: The verdict; then those on classes and the SGAN. `x` becomes code.
        verdict: `helps`, `hurts`, `no_evidence`, `too_little_data`.
        verdict_label: The same in words.
        candidate: Arm that the verdict is about.
        is_rendered_sample: Shows the banner.
        rows: Of comparison.csv.
        plots: name → PNG: arms, recall, learning_curves, confusion/<arm>, and label_budget where there are budgets.
        pictures: title → PNG or GIF.
        fidelity: fidelity.json, flat; empty: no such section.
        audit: audit.json; empty: no such part.
        classes: Names.
        split_counts: split → class → images.
        test_groups: Groups among the test images.
        method: steps, sgan_steps, seeds, sgan_seeds, resamples, confidence, min_detectable, n_test.
        budget_verdicts: label budget → verdict on the SGAN; empty: no such section.
        tuning: label budget → rows of tuning.csv.
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


def render(contents: Contents) -> str:
    """The page's HTML, the same for the same contents; every name in it is escaped."""
    arms = [row for row in contents.rows if not row["budget"]]
    names = [row["arm"] for row in arms]
    return fill(
        PAGE,
        c=contents,
        style=Markup(STYLE),
        arms=arms,
        few_labels=_few_labels(contents),
        images={name: inline(path) for name, path in contents.plots.items()},
        pictures={title: inline(path) for title, path in contents.pictures.items()},
        matrices=[name for name in contents.plots if name.startswith("confusion/")],
        fidelity=fidelity_section(contents.fidelity, contents.classes),
        audit=audit_summary(contents.audit),
        color=lambda arm: arm_color(arm, names),
        marker=arm_marker,
        percent=lambda share: f"{share:.0%}",
        min_units=MIN_UNITS,
    )


def _few_labels(contents: Contents) -> Markup:
    if not contents.budget_verdicts:
        return Markup("")
    return sgan_section(
        [row for row in contents.rows if row["budget"]],
        plot=contents.plots["label_budget"],
        verdicts=contents.budget_verdicts,
        tuning=contents.tuning,
        steps=contents.method["sgan_steps"],
        train_images=sum(contents.split_counts["train"].values()),
        val_images=sum(contents.split_counts["val"].values()),
        num_classes=len(contents.classes),
        confidence=contents.method["confidence"],
    )


def audit_summary(audit: Mapping[str, Any]) -> dict[str, list]:
    """What the page says of the audit: figures, warnings, sentences, and tables of the rules that were applied.

    Args:
        audit: audit.json; parts that are absent are left out. `shortcut` may be the border colour's score.
    """
    if not audit:
        return {}
    images, groups = audit.get("images", {}), audit.get("groups", {})
    facts = [
        (words, images[key])
        for key, words in (
            ("files", "files found"),
            ("kept", "used"),
            ("rejected", "rejected"),
            ("mended", "mended"),
        )
        if key in images
    ]
    facts += [("groups, kept together", groups["count"])] if "count" in groups else []
    facts += [
        (words, len(audit[key]))
        for key, words in (
            ("near_duplicates", "near-duplicate pairs"),
            ("label_conflicts", "label conflicts"),
        )
        if key in audit
    ]
    warnings, lines = [], []
    shortcut = audit.get("shortcut") or {}
    if not isinstance(shortcut.get("accuracy"), int | float):  # one score, or one a name
        shortcut = next((s for s in shortcut.values() if isinstance(s, Mapping) and "accuracy" in s), {})
    if shortcut:
        told = (
            f"The colour of the picture's border alone tells the class of {shortcut['accuracy']:.0%} of the images; "
            f"always naming the largest class would be right for {shortcut['majority_share']:.0%}."
        )
        if shortcut["accuracy"] > shortcut["majority_share"] + SHORTCUT_MARGIN:
            warnings.append(
                f"{told} A classifier can score well here without looking at the leaf, so part of every figure "
                "on this page may be owed to the background."
            )
        else:
            lines.append(told)
    suspected = audit.get("suspected_label_conflicts") or []
    if suspected:
        warnings.append(
            f"Near duplicates under two classes, pairs: {len(suspected)}, e.g. `{suspected[0]['a']}` and "
            f"`{suspected[0]['b']}`. One of the two labels may be wrong; have a look."
        )
    leakage = audit.get("leakage")
    if leakage:
        lines.append(
            "On two sides of the split: "
            + ", ".join(f"{name.replace('_on_two_sides', '').replace('_', ' ')} {n}" for name, n in leakage.items())
            + "."
        )
    rules = audit.get("rules", {})
    tables = [
        (title, [(rule, count, rules.get(rule, "")) for rule, count in audit[key].items()])
        for title, key in (("Rejected", "rejected_by_rule"), ("Mended", "mended_by_rule"))
        if audit.get(key)
    ]
    return {"facts": facts, "warnings": warnings, "lines": lines, "tables": tables}
