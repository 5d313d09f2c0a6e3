"""The report as one self-contained HTML file: pictures inlined, no script, no network, no time stamp."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from pipeline.measure.verdict import MIN_UNITS
from pipeline.report.audit_section import Masked, audit_section
from pipeline.report.html import fill, inline
from pipeline.report.plots import arm_color, arm_marker
from pipeline.report.template import PAGE, STYLE


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
        audit_pictures: caption → PNG of the part on the data.
        masked: An arm with masked background beside the same with it. None: there is none.
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
    audit_pictures: Mapping[str, Path] = {}
    masked: Masked | None = None


def render(contents: Contents) -> str:
    """The page's HTML, the same for the same contents; every name in it is escaped."""
    arms = [row for row in contents.rows if not row["budget"]]
    names = [row["arm"] for row in arms]
    extractors = _extractors(contents.fidelity)
    return fill(
        PAGE,
        c=contents,
        style=Markup(STYLE),
        arms=arms,
        budgets=[row for row in contents.rows if row["budget"]],
        images={name: inline(path) for name, path in contents.plots.items()},
        pictures={title: inline(path) for title, path in contents.pictures.items()},
        matrices=[name for name in contents.plots if name.startswith("confusion/")],
        extractors=extractors,
        fidelity=_fidelity_rows(contents.fidelity, extractors, contents.classes),
        fidelity_warnings=_fidelity_warnings(contents.fidelity, contents.classes),
        left_out=[
            f"{c} ({contents.fidelity[f'left_out/{c}']:.0f})"
            for c in contents.classes
            if f"left_out/{c}" in contents.fidelity
        ],
        agreement="label_agreement" in contents.fidelity,
        data_section=audit_section(
            contents.audit,
            classes=contents.classes,
            split_counts=contents.split_counts,
            pictures=contents.audit_pictures,
            masked=contents.masked,
        ),
        color=lambda arm: arm_color(arm, names),
        marker=arm_marker,
        percent=lambda share: f"{share:.0%}",
        min_units=MIN_UNITS,
    )


def _extractors(fidelity: Mapping[str, Any]) -> list[str]:
    return [name[3:-6] for name in sorted(fidelity) if re.fullmatch(r"fd_\w+_floor", name)]


def _fidelity_rows(
    fidelity: Mapping[str, Any], extractors: Sequence[str], classes: Sequence[str]
) -> list[dict[str, Any]]:
    rows = []
    for name, suffix in [("all classes", ""), *((c, f"/{c}") for c in classes)] if fidelity else []:
        keys = [
            (key.format(e) + suffix, spec)
            for e in extractors
            for key, spec in (
                ("fd_{}", ".3g"),
                ("fd_{}_floor", ".3g"),
                ("kid_{}", ".3g"),
                ("kid_{}_floor", ".3g"),
            )
        ]
        if "label_agreement" in fidelity:
            keys += [(f"label_agreement{suffix}", ".0%"), (f"label_agreement_val{suffix}", ".0%")]
        cells = [format(float(fidelity[key]), spec) if key in fidelity else "–" for key, spec in keys]
        scored = fidelity.get(f"n/scored{suffix}")
        rows.append({"name": name, "n": "–" if scored is None else f"{scored:.0f}", "cells": cells})
    return rows


def _fidelity_warnings(fidelity: Mapping[str, Any], classes: Sequence[str]) -> list[str]:
    warnings = []
    for name in classes:
        own, val = fidelity.get(f"label_agreement/{name}"), fidelity.get(f"label_agreement_val/{name}")
        if own is not None and val and own < 0.5 * val:
            warnings.append(
                f"Only {own:.0%} of the synthetic images of `{name}` are taken for `{name}` by a classifier that "
                f"recognises {val:.0%} of the real ones: they may not look like their class."
            )
    return warnings
