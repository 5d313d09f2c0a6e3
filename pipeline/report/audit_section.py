"""The report's part on the data: what was used, what is kept together, and what gives a class away beside the leaf."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from pipeline.report.html import fill, inline

# A score this far above guessing blindly, and too high for luck, is a shortcut.
MARGIN = 0.10
SIGNIFICANCE = 0.01

# score → what the guess sees, in the table and as the subject of a sentence
SHORTCUTS = {
    "border_color": ("colour of the picture's border", "The border's colour alone"),
    "background": ("background, leaf masked out", "The background alone, with the leaf masked out,"),
    "image_size": ("width and height of the photo", "The photo's width and height alone"),
    "file_order": ("place in the order of capture", "The place in the order of capture alone"),
}
CONSEQUENCES = {
    "border_color": "A classifier can score well here without looking at the leaf, so part of every accuracy on this "
    "page may be owed to the background.",
    "background": "This guess was not shown the leaf, save where a mask is wrong.",
    "image_size": "The classes were taken with other cameras or cut out otherwise; what that does to sharpness and "
    "shape, a classifier can see.",
    "file_order": "Each class was photographed in a session of its own. No classifier sees file names, but light, "
    "sheet and camera of a session it does see.",
}


class Masked(NamedTuple):
    """What an arm with masked background scored on test, and the arm that differs from it by the background alone.

    Attributes:
        arm: Name of the masked arm.
        macro_f1: Its mean over seeds.
        lower: Of its interval.
        upper: Of its interval.
        whole_arm: The arm with the background kept.
        whole_macro_f1: Its mean over seeds.
        n_test: Test images.
    """

    arm: str
    macro_f1: float
    lower: float
    upper: float
    whole_arm: str
    whole_macro_f1: float
    n_test: int


def audit_section(
    audit: Mapping[str, Any],
    *,
    classes: Sequence[str],
    split_counts: Mapping[str, Mapping[str, int]],
    pictures: Mapping[str, str | Path] | None = None,
    masked: Masked | None = None,
) -> Markup:
    """The `<section>`.

    Args:
        audit: audit.json; parts that are absent are left out.
        classes: Names.
        split_counts: split → class → images.
        pictures: Caption → PNG, shown below the table of shortcuts.
        masked: Figures of an arm with masked background, where there is one.
    """
    return fill(
        SECTION,
        classes=classes,
        split_counts=split_counts,
        audit=audit_summary(audit, masked),
        pictures={title: inline(path) for title, path in (pictures or {}).items()},
    )


def audit_summary(audit: Mapping[str, Any], masked: Masked | None = None) -> dict[str, list]:
    """What the page says of the audit: figures, warnings, sentences, rows of scores, and tables of the rules applied.

    Args:
        audit: audit.json; parts that are absent are left out.
        masked: As in `audit_section`.
    """
    if not audit:
        return {}
    shortcuts = audit.get("shortcut") or {}
    warnings = [*_shortcut_warnings(shortcuts, masked), *(audit.get("group_hints") or {}).get("sentences", [])]
    suspected = audit.get("suspected_label_conflicts") or []
    if suspected:
        warnings.append(
            f"Near duplicates under two classes, pairs: {len(suspected)}, e.g. `{suspected[0]['a']}` and "
            f"`{suspected[0]['b']}`. One of the two labels may be wrong; have a look."
        )
    rules = audit.get("rules", {})
    return {
        "facts": _facts(audit),
        "warnings": warnings,
        "shortcuts": [_row(name, score) for name, score in _known(shortcuts).items()],
        "shortcut_lines": _shortcut_lines(audit, shortcuts, masked),
        "lines": _group_lines(audit),
        "tables": [
            (title, [(rule, count, rules.get(rule, "")) for rule, count in audit[key].items()])
            for title, key in (("Rejected", "rejected_by_rule"), ("Mended", "mended_by_rule"))
            if audit.get(key)
        ],
    }


def is_shortcut(score: Mapping[str, float]) -> bool:
    """Whether a score lies well above guessing blindly, by more than luck."""
    above = score["accuracy"] - score["majority_share"] > MARGIN
    if "balanced_accuracy" in score:
        above |= score["balanced_accuracy"] - score["chance_balanced_accuracy"] > MARGIN
    return bool(above and score.get("p", 0.0) < SIGNIFICANCE)


def _known(shortcuts: Mapping[str, Mapping[str, float]]) -> dict[str, Mapping[str, float]]:
    return {name: shortcuts[name] for name in SHORTCUTS if name in shortcuts}


def _facts(audit: Mapping[str, Any]) -> list[tuple[str, int]]:
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
    return facts


def _shortcut_warnings(shortcuts: Mapping[str, Mapping[str, float]], masked: Masked | None) -> list[str]:
    warnings = []
    for name, score in _known(shortcuts).items():
        if is_shortcut(score):
            told = (
                f"{SHORTCUTS[name][1]} names the class of {score['accuracy']:.0%} of the train images; always naming "
                f"the largest class would be right for {score['majority_share']:.0%}. "
            )
            warnings.append(told + CONSEQUENCES[name])
    if masked and warnings:
        warnings.append(_masked_sentence(masked))
    return warnings


def _masked_sentence(masked: Masked) -> str:
    return (
        f"With the background painted grey in train, val and test (arm `{masked.arm}`), macro-F1 is "
        f"{masked.macro_f1:.3f} [{masked.lower:.3f}, {masked.upper:.3f}] instead of {masked.whole_macro_f1:.3f} with "
        f"`{masked.whole_arm}`, on {masked.n_test} test images: that much remains when the background cannot help, "
        "though a leaf's outline and light still tell of its session."
    )


def _shortcut_lines(
    audit: Mapping[str, Any], shortcuts: Mapping[str, Mapping[str, float]], masked: Masked | None
) -> list[str]:
    known = _known(shortcuts)
    if not known:
        return []
    lines = []
    if not any(map(is_shortcut, known.values())):
        lines.append("None of these tells the classes clearly better than a blind guess.")
        if masked:
            lines.append(_masked_sentence(masked))
    elif not masked:
        lines.append("An arm with `background: mask` in params.yaml would show what remains without the background.")
    if "image_size" not in known:
        lines.append("All photos came in one size, which therefore tells nothing.")
    if "file_order" not in known:
        lines.append("File names hold no running number across classes, so the order of capture is not known.")
    not_found = (audit.get("leaf_masks") or {}).get("leaf_not_found")
    if not_found:
        lines.append(
            f"In {not_found} of {audit['leaf_masks']['images']} train images no leaf was made out; an ellipse in the "
            "middle stands for it there."
        )
    return lines


def _row(name: str, score: Mapping[str, float]) -> dict[str, Any]:
    def percent(key: str) -> str:
        return f"{score[key]:.0%}" if key in score else "–"

    return {
        "words": SHORTCUTS[name][0],
        "cells": [percent(k) for k in ("accuracy", "majority_share", "balanced_accuracy", "chance_balanced_accuracy")],
        "p": f"{score['p']:.3f}" if "p" in score else "–",
        "n": f"{score['num_images']:.0f}" if "num_images" in score else "–",
        "warns": is_shortcut(score),
    }


def _group_lines(audit: Mapping[str, Any]) -> list[str]:
    lines = []
    groups, pairs = audit.get("groups", {}), audit.get("near_duplicates") or []
    if any("found_by" in pair for pair in pairs):
        by_points = sum(pair.get("found_by") == "keypoints" for pair in pairs)
        lines.append(
            f"Near duplicates: {len(pairs)} pairs, {by_points} of them known only by points that both photos show, "
            "since the leaf was turned, moved or taken again. Each pair stays on one side of the split."
        )
    if groups.get("pairs_given"):
        missed, given = groups["pairs_missed_by_near_duplicates"], groups["pairs_given"]
        lines.append(
            f"The given groups hold {given} pairs of photos of one leaf; near-duplicate detection alone would have "
            f"left {missed} of them ({missed / given:.0%}) free to stand on two sides of the split. That is why the "
            "groups are asked for."
        )
    elif "count" in groups:
        lines.append(
            "No leaf groups were given, so only near duplicates are kept together. Photos of one leaf that a computer "
            "does not recognise as such may stand in train and in test, and make every score too high."
        )
    leakage = audit.get("leakage")
    if leakage:
        lines.append(
            "On two sides of the split: "
            + ", ".join(f"{name.replace('_on_two_sides', '').replace('_', ' ')} {n}" for name, n in leakage.items())
            + "."
        )
    return lines


SECTION = """\
<section>
<h2>The data</h2>
<div class="scroll"><table>
<thead><tr><th>class</th><th>train</th><th>val</th><th>test</th></tr></thead>
<tbody>{% for name in classes %}<tr><td>{{ name }}</td>
{% for side in ("train", "val", "test") %}<td>{{ split_counts[side][name] }}</td>{% endfor %}</tr>{% endfor %}
</tbody></table></div>
{% if audit %}
{% if audit.facts %}<div class="facts">{% for words, value in audit.facts %}<div><b>{{ value }}</b>{{ words
}}</div>{% endfor %}</div>{% endif %}
{% for warning in audit.warnings %}<p class="warning">{{ warning | code }}</p>{% endfor %}
{% for line in audit.lines %}<p>{{ line | code }}</p>{% endfor %}
{% if audit.shortcuts %}
<h3>Can the class be told without looking at the leaf?</h3>
<p class="note">Each row is a guess that sees one thing alone: it names the class of the most similar other train image,
never one of the same group. Beside it what guessing blindly gets. Chance: how often classes dealt out at random to the
groups do as well. Measured on train, so test stays unseen.</p>
<div class="scroll"><table>
<thead><tr><th>what the guess sees</th><th>right</th><th>largest class</th><th>mean recall</th><th>blind</th>
<th>chance</th><th>images</th></tr></thead>
<tbody>{% for row in audit.shortcuts %}<tr><td>{{ row.words }}</td>{% for cell in row.cells %}
<td{% if row.warns and loop.index in (1, 3) %} class="down"{% endif %}>{{ cell }}</td>{% endfor %}
<td>{{ row.p }}</td><td>{{ row.n }}</td></tr>{% endfor %}</tbody></table></div>
{% for line in audit.shortcut_lines %}<p class="note">{{ line | code }}</p>{% endfor %}
{% endif %}
{% endif %}
{% for title, source in pictures.items() %}
<figure class="plot"><div><img src="{{ source }}" alt="{{ title }}"></div><figcaption>{{ title }}</figcaption></figure>
{% endfor %}
{% if audit %}
{% for title, rows in audit.tables %}
<h3>{{ title }}</h3>
<div class="scroll"><table><thead><tr><th>rule</th><th>files</th><th class="text">what is done</th></tr></thead>
<tbody>{% for rule, count, words in rows %}<tr><td>{{ rule }}</td><td>{{ count }}</td><td class="text">{{ words
}}</td></tr>
{% endfor %}</tbody></table></div>
{% endfor %}
<p class="note">Every decision on every file stands in <code>data/split/audit.md</code>.</p>
{% endif %}
</section>
"""
