"""The report's section on filtering: what was turned away, by which rule, and what real leaves would have fared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pipeline.report.html import fill, inline

# A teacher that recognises fewer of a class's real val images than this is no teacher of that class.
LEAST_RECALL = 0.5
MIN_VAL = 5  # below, so few val images a class that a share of them is hardly a share

RULES = {
    "agreement": "is taken for its class by the teacher, a classifier of the real train images",
    "confidence": "is taken for it with a probability as high as real leaves get",
    "density": "lies, as the teacher sees them, among the class's train images: in how many neighbourhoods of theirs, "
    "or below 1 how near it comes to one",
    "copies": "differs from every train image of its class as much as real leaves do (grey levels out of 255, between "
    "thumbnails, mirrored or not)",
    "duplicates": "differs half as much from every image accepted before it: generated leaves are smoother than photos "
    "and lie closer together without repeating one another",
}

SECTION = """<section>
<h2>Filtering: which synthetic leaves were kept</h2>
{% if not classes %}
<p class="note">Filtering is switched off (<code>filter_synthetic.enabled: false</code>), so no arm was trained on a
filtered set.</p>
{% else %}
<p>The arms <code>filtered</code> and <code>filtered_classic</code> are <code>synthetic</code> and
<code>synthetic_classic</code> with one difference: of the same generators' images they take, seed by seed, the first
{{ wanted }} a class that pass the rules below, instead of simply the first {{ wanted }}. Whether that helps is answered
by those arms, not by this section.</p>
{% for warning in warnings %}<p class="warning">{{ warning | code }}</p>{% endfor %}
<figure class="plot"><div><img src="{{ funnel }}" alt="Share of candidates accepted and turned away by each rule"></div>
<figcaption>Of each class's candidates, the share accepted and the share turned away; each counts for the first rule
that it fails. Below it what the same rules would make of real val leaves, which no classifier was trained on.
</figcaption></figure>
<div class="scroll"><table>
<thead><tr><th>class</th><th>candidates</th><th>accepted</th>{% for rule in rules %}<th>{{ rule }}</th>{% endfor %}
<th>real val leaves passing</th></tr></thead>
<tbody>{% for row in classes %}<tr><td>{{ row.name }}</td><td>{{ row.candidates }}</td>
<td>{{ row.accepted }}<span class="ends">{{ row.share }}</span></td>
{% for cell in row.cells %}<td>{{ cell.rejected }}<span class="ends">at {{ cell.threshold }}{{ cell.mark }}</span></td>
{% endfor %}<td>{{ row.real }}</td></tr>
{% endfor %}</tbody></table></div>
<p class="note">Under each rule the candidates it turned away, and the least score that passes. *: too few val images of
this class for a threshold of its own, so that of all classes' val images together.</p>
<div class="scroll"><table>
<thead><tr><th>rule</th><th class="text">an image passes if it</th><th class="text">threshold</th></tr></thead>
<tbody>{% for rule, words, source in explained %}<tr><td>{{ rule }}</td><td class="text">{{ words }}</td>
<td class="text">{{ source }}</td></tr>
{% endfor %}</tbody></table></div>
{% if examples %}
<figure class="pictures"><img src="{{ examples }}" alt="Accepted and rejected candidates">
<figcaption>The first accepted and the first rejected candidates of each class, not picked. The frame's colour names the
rule.</figcaption></figure>
{% endif %}
<h3>What to keep in mind</h3>
<p class="note">Thresholds come from val, never from test, and from train only where train is what
images are compared with. The teacher's own checkpoint or strength was chosen on that same val, so real leaves it has
not seen would pass a little less often than stated. A filter keeps what a classifier recognises already: it can throw
out bad images, but also the rare and valid ones, and it adds no information that the train images do not hold.</p>
{% endif %}
</section>
"""


def filter_section(
    rows: Sequence[Mapping[str, Any]],
    *,
    shares: Mapping[str, Any],
    funnel: str | Path | None,
    examples: str | Path | None,
    filled: Mapping[str, int] | None = None,
) -> Markup:
    """The section's HTML.

    Args:
        rows: Of `results/filter/acceptance.csv`; none where filtering is off.
        shares: `filter_synthetic.rules` of params.yaml: rule to share of real leaves that shall pass.
        funnel: Picture of `draw_funnel`.
        examples: Picture of `draw_examples`; None: left out.
        filled: Class to rejected images that stand in for accepted ones, of the classes that starve.
    """
    filled = filled or {}
    names = list(dict.fromkeys(row["class"] for row in rows))
    rules = list(dict.fromkeys(row["rule"] for row in rows))
    classes, warnings = [], []
    for name in names:
        own = {row["rule"]: row for row in rows if row["class"] == name}
        first, last = own[rules[0]], own[rules[-1]]
        candidates, accepted = int(first["seen"]), int(last["accepted"])
        on_val = [row for row in own.values() if row["val_seen"] != ""]
        num_val = int(on_val[0]["val_seen"]) if on_val else 0
        passing = num_val - sum(int(row["val_rejected"]) for row in on_val)
        classes.append(
            {
                "name": name,
                "candidates": candidates,
                "accepted": accepted,
                "share": f"{accepted / candidates:.0%}",
                "cells": [_cell(own[rule]) for rule in rules],
                "real": f"{passing} of {num_val}" if num_val else "–",
            }
        )
        warnings += _warnings(name, own)
        if filled.get(name):
            warnings.append(
                f"`{name}` starves: {accepted} of {candidates} candidates pass, and {filled[name]} that do not pass, "
                "those that the teacher is surest of, stand in for the rest. For this class the filtered arms are that "
                "much less filtered."
            )
    return fill(
        SECTION,
        classes=classes,
        rules=rules,
        wanted=classes[0]["accepted"] + filled.get(classes[0]["name"], 0) if classes else 0,
        warnings=warnings,
        explained=[(rule, RULES[rule], _source(rule, shares)) for rule in rules],
        funnel=inline(funnel) if classes and funnel else "",
        examples=inline(examples) if classes and examples else "",
    )


def _cell(row: Mapping[str, Any]) -> dict[str, str]:
    fixed = row["source"] == "fixed"
    return {
        "rejected": str(row["rejected"]),
        "threshold": "first guess" if fixed else f"{float(row['threshold']):.3g}",
        "mark": "*" if row["source"] == "all classes" else "",
    }


def _source(rule: str, shares: Mapping[str, Any]) -> str:
    if rule == "agreement":
        return "none to choose: its first guess"
    recognised = " that it recognises" if rule in ("confidence", "density") and shares.get("agreement") else ""
    half, against = ("half of ", " against train") if rule == "duplicates" else ("", "")
    return f"{half}what {float(shares[rule]):.0%} of real leaves{recognised} reach{against}"


def _warnings(name: str, own: Mapping[str, Mapping[str, Any]]) -> list[str]:
    row = own.get("agreement")
    if row is None or row["val_seen"] in ("", "0", 0):
        return []
    seen, rejected = int(row["val_seen"]), int(row["val_rejected"])
    if seen - rejected >= LEAST_RECALL * seen:
        return []
    few = " Few as they are, that is weak evidence either way." if seen < MIN_VAL else ""
    return [
        f"The teacher recognises {seen - rejected} of the {seen} real val images of `{name}`: what it accepts as "
        f"`{name}` says little.{few}"
    ]
