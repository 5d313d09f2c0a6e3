"""Copies, repeats and mixed-up labels on the report page: memorisation.json in, a section out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pipeline.measure.diversity import LEAST_SPREAD, MOST_DUPLICATES, is_flat, is_repeating
from pipeline.report.html import fill, inline

HELD_OUT = "memorisation/held_out_"
SPACE_WORDS = {
    "pixel": "by pixels, shifts, mirroring and quarter turns undone",
    "lite0": "by a network pretrained on ImageNet photographs",
    "leaf": "by a classifier trained on your train images",
    "random": "by a network that was never trained",
}


def memorisation_section(
    metrics: Mapping[str, Any],
    classes: Sequence[str],
    *,
    pictures: Mapping[str, str | Path] | None = None,
) -> Markup:
    """The page's section on copies, repeats and mixed-up labels.

    Args:
        metrics: memorisation.json.
        classes: Class names, in the order to show.
        pictures: `scores` (of `draw_copy_scores`) and `pairs` (of `draw_closest_pairs`), paths of .png files; what
            is absent is left out.

    Returns:
        One `<section>`, or nothing where there is nothing to show.
    """
    if not metrics:
        return Markup("")
    spaces = [key.removeprefix(HELD_OUT) for key in metrics if key.startswith(HELD_OUT)]
    spaces.sort(key=lambda name: (name != "pixel", name))
    copies = int(metrics.get("memorisation/copies", 0))
    return fill(
        SECTION,
        verdict=_verdict(metrics, spaces, classes),
        alarming=bool(metrics.get("memorisation/flagged")) or copies > 0,
        warnings=[*_turned(metrics), *_collapses(metrics, classes), *_swaps(metrics, classes)],
        fine=_fine_sentences(metrics, classes),
        copy_rows=[_copy_row(metrics, spaces, name) for name in ["", *classes]] if spaces else [],
        spaces=[(name, SPACE_WORDS.get(name, f"by features of {name}")) for name in spaces],
        variety_rows=_variety_rows(metrics, classes),
        variety_spaces=_variety_spaces(metrics),
        label_rows=_label_rows(metrics, classes),
        pictures={name: inline(path) for name, path in (pictures or {}).items()},
        copies=copies,
        least_spread=LEAST_SPREAD,
        most_duplicates=MOST_DUPLICATES,
    )


def copies_sentences(metrics: Mapping[str, Any]) -> list[str]:
    """What the page's first screen says of copies, where there are any."""
    if metrics.get("memorisation/flagged") or metrics.get("turned/flagged"):
        return ["Some synthetic leaves are copies of photos that the GAN was trained or chosen on."]
    return []


def _verdict(metrics: Mapping[str, Any], spaces: Sequence[str], classes: Sequence[str]) -> str:
    if not spaces or "memorisation/p_value" not in metrics:
        return (
            "Whether train images were copied could not be tested: too few images that show different leaves are "
            "held out."
        )
    n, copies, p = (metrics[f"memorisation/{key}"] for key in ("n_synthetic", "copies", "p_value"))
    shares = " and ".join(
        f"{metrics[f'memorisation/share_{name}']:.1%} by `{name}` (of held-out real leaves "
        f"{metrics[f'memorisation/share_expected_{name}']:.1%} would)"
        for name in spaces
    )
    lie = f"Suspiciously close to a single train image lie, of {n:.0f} synthetic images, {shares}; p = {p:.2g}."
    if metrics["memorisation/flagged"]:
        of = [f"`{name}`" for name in classes if metrics.get(f"memorisation/flagged/{name}")]
        where = f" of {', '.join(of)}" if of else ""
        named = f"{copies:.0f} of {n:.0f} can be named" if copies else "no single one can be named with confidence"
        return f"Copies: some synthetic images{where} repeat train images; {named}. {lie}"
    if copies:
        return (
            f"Look at {copies:.0f} of {n:.0f} synthetic images: each is far closer to one train image than held-out "
            "real leaves are to theirs. They are too few to call the set copied, and two photos of one leaf without a "
            f"group that says so can look like this. {lie}"
        )
    return f"No sign of copying: synthetic images are no closer to single train images than held-out leaves. {lie}"


def _copy_row(metrics: Mapping[str, Any], spaces: Sequence[str], name: str) -> dict[str, Any]:
    suffix = f"/{name}" if name else ""
    cells = [
        (
            _said(metrics, f"memorisation/share_{space}{suffix}", ".1%"),
            _said(metrics, f"memorisation/share_val_{space}{suffix}", ".1%"),
            _said(metrics, f"memorisation/share_expected_{space}{suffix}", ".1%"),
            _said(metrics, f"memorisation/distance_{space}{suffix}", ".2f"),
        )
        for space in spaces
    ]
    return {
        "name": name or "all classes",
        "n": _said(metrics, f"memorisation/n_synthetic{suffix}", ".0f"),
        "n_val": _said(metrics, f"memorisation/n_val{suffix}", ".0f"),
        "copies": _said(metrics, f"memorisation/copies{suffix}", ".0f"),
        "p": _said(metrics, f"memorisation/p_value{suffix}", ".2g"),
        "cells": cells,
    }


def _variety_spaces(metrics: Mapping[str, Any]) -> list[str]:
    found = {m[1] for key in metrics if (m := re.match(r"spread_(?!val_)(\w+)/", key))}
    return sorted(found, key=lambda name: (name != "pixel", name))


def _variety_rows(metrics: Mapping[str, Any], classes: Sequence[str]) -> list[dict[str, Any]]:
    spaces = _variety_spaces(metrics)
    return [
        {
            "name": name,
            "cells": [
                (
                    _said(metrics, f"spread_{space}/{name}", ".2f"),
                    _said(metrics, f"spread_val_{space}/{name}", ".2f"),
                    space == "pixel" and is_flat(metrics, name),
                )
                for space in spaces
            ],
            "duplicates": _said(metrics, f"duplicates/{name}", ".0%"),
            "expected": _said(metrics, f"duplicates_expected/{name}", ".0%"),
            "repeats": is_repeating(metrics, name),
        }
        for name in classes
        if f"collapsed/{name}" in metrics
    ]


def _label_rows(metrics: Mapping[str, Any], classes: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "recognised": _said(metrics, f"recognised/{name}", ".0%"),
            "mistaken": _said(metrics, f"mistaken/{name}", ".0%"),
            "other": classes[int(metrics[f"mistaken_for/{name}"])] if f"mistaken_for/{name}" in metrics else "–",
            "swapped": bool(metrics.get(f"label_swapped/{name}")),
        }
        for name in classes
        if f"recognised/{name}" in metrics
    ]


def _turned(metrics: Mapping[str, Any]) -> list[str]:
    if not metrics.get("turned/flagged"):
        return []
    return [f"Copies, turned, zoomed or cut out: {_turned_sentence(metrics)} Which ones is in turned.csv of `assess`."]


def _turned_sentence(metrics: Mapping[str, Any]) -> str:
    n, found, n_real, real = (
        f"{metrics[f'turned/{key}']:.0f}" for key in ("n_synthetic", "synthetic", "n_real", "real")
    )
    return (
        f"{found} of {n} synthetic images show the very points of a photo of train or val, as {real} of {n_real} "
        f"photos of other leaves do (p = {metrics['turned/p_value']:.2g})."
    )


def _collapses(metrics: Mapping[str, Any], classes: Sequence[str]) -> list[str]:
    return [
        f"`{name}` has collapsed: its synthetic images vary {metrics.get(f'spread_pixel/{name}', 0):.2f} times as much "
        f"as its train images, and {metrics.get(f'duplicates/{name}', 0):.0%} have a near duplicate among themselves. "
        "More of them add nothing."
        for name in classes
        if metrics.get(f"collapsed/{name}")
    ]


def _swaps(metrics: Mapping[str, Any], classes: Sequence[str]) -> list[str]:
    return [
        f"Synthetic images of `{name}` look like `{classes[int(metrics[f'mistaken_for/{name}'])]}`: a classifier of "
        f"real leaves, which does not make this mistake on real ones, takes {metrics[f'mistaken/{name}']:.0%} for it "
        f"and {metrics[f'recognised/{name}']:.0%} for `{name}`. Training on them teaches wrong labels."
        for name in classes
        if metrics.get(f"label_swapped/{name}")
    ]


def _fine_sentences(metrics: Mapping[str, Any], classes: Sequence[str]) -> list[str]:
    sentences = []
    if "turned/p_value" in metrics and not _turned(metrics):
        sentences.append(f"No sign of copies that are turned, zoomed or cut out: {_turned_sentence(metrics)}")
    if any(f"collapsed/{c}" in metrics for c in classes) and not _collapses(metrics, classes):
        sentences.append("No class has collapsed to a few pictures.")
    if any(f"label_swapped/{c}" in metrics for c in classes) and not _swaps(metrics, classes):
        sentences.append("No class is mostly taken for another one that the classifier tells apart on real leaves.")
    return sentences


def _said(metrics: Mapping[str, Any], key: str, spec: str) -> str:
    return format(float(metrics[key]), spec) if key in metrics else "–"


SECTION = """
<section>
<h2>Are the synthetic leaves new, varied, and of their class?</h2>
<p{% if alarming %} class="warning"{% endif %}>{{ verdict | code }}</p>
{% for warning in warnings %}<p class="warning">{{ warning | code }}</p>
{% endfor %}
{% for line in fine %}<p>{{ line | code }}</p>
{% endfor %}
{% if copy_rows %}
<h3>Copies of train images</h3>
{% if "pairs" in pictures %}
<figure class="plot"><div><img src="{{ pictures.pairs }}"
alt="Synthetic images beside the train images nearest to them"></div>
<figcaption>The synthetic images likeliest to be copies (left of each pair), beside their nearest train image (right),
most suspicious first. {% if copies %}Red: named as copies. {% else %}None of them is named as a copy; they are shown
because these are the closest there are. {% endif %}p is for the single image: by chance one new leaf in twenty has p
below 0.05.</figcaption></figure>
{% endif %}
{% if "scores" in pictures %}
<figure class="plot"><div><img src="{{ pictures.scores }}"
alt="Copy scores of synthetic and of held-out real images"></div>
<figcaption>Copies would stand apart on the left. Held-out real leaves can't be copies and show where chance
lies.</figcaption></figure>
{% endif %}
<p class="note">Copy score: the distance to the nearest train image over the mean distance to the five next nearest
leaves; near 0 for a copy, near 1 for a leaf that resembles many alike. Large figures: the share of synthetic images
with a suspiciously low score; small ones: the same share of val images, and of held-out leaves in all. Distance: to
the nearest train image, over that of val images; below 1 is nearer to train, as blurred images are without
copying.</p>
<div class="scroll"><table>
<thead><tr><th>class</th><th>synthetic<br>val</th>
{% for name, words in spaces %}<th>suspicious<br>({{ name }})</th><th>distance<br>({{ name }})</th>{% endfor %}
<th>p</th><th>named</th></tr></thead>
<tbody>{% for row in copy_rows %}<tr{% if loop.first %} class="total"{% endif %}><td class="text">{{ row.name }}</td>
<td>{{ row.n }}<span class="ends">{{ row.n_val }}</span></td>
{% for share, val, expected, distance in row.cells %}<td>{{ share }}<span class="ends">val {{ val }} · all {{ expected
}}</span></td><td>{{ distance }}</td>{% endfor %}
<td>{{ row.p }}</td><td>{{ row.copies }}</td></tr>
{% endfor %}</tbody></table></div>
<p class="note">Compared {% for name, words in spaces %}<code>{{ name }}</code>: {{ words }}{{ "; " if not loop.last
}}{% endfor %}. p is the chance of so many suspicious images if they were new leaves; that of the first row, which gives
the verdict, is corrected for all classes and tests, that of a class for the tests alone. Copies that are turned by
odd angles, zoomed or cut out are looked for by keypoints. What this can't see surely: a
few copies in a large set, two photos laid over each other, and copies that are blurred until no points are left. How
often each kind is found is in bench/results (“Planted faults”).</p>
{% endif %}
{% if variety_rows %}
<h3>Variety</h3>
<div class="scroll"><table>
<thead><tr><th>class</th>{% for name in variety_spaces %}<th>spread<br>({{ name }})</th>{% endfor %}
<th>near<br>duplicates</th></tr></thead>
<tbody>{% for row in variety_rows %}<tr><td class="text">{{ row.name }}</td>
{% for own, val, low in row.cells %}<td><span{% if low %} class="down"{% endif %}>{{ own }}</span>
<span class="ends">val {{ val }}</span></td>{% endfor %}
<td><span{% if row.repeats %} class="down"{% endif %}>{{ row.duplicates }}</span>
<span class="ends">real {{ row.expected }}</span></td></tr>
{% endfor %}</tbody></table></div>
<p class="note">Spread: how far images lie from their class's mean, over that of train images: 1 is as varied, 0 is
one picture. Near duplicates: synthetic images that almost equal another of their class; below, what as many real
images would show. A class counts as collapsed where its pixel spread is below {{ least_spread }} of train's (or of
val's, if that is less), or near duplicates are over {{ "%.0f" | format(100 * most_duplicates) }}% more of its images
than of real ones.</p>
{% endif %}
{% if label_rows %}
<h3>Labels</h3>
<div class="scroll"><table>
<thead><tr><th>made as</th><th>taken for it</th><th>else mostly<br>taken for</th><th>share</th></tr></thead>
<tbody>{% for row in label_rows %}<tr><td class="text">{{ row.name }}</td><td>{{ row.recognised }}</td>
<td>{{ row.other }}</td><td>{% if row.swapped %}<span class="down">{{ row.mistaken }}</span>{% else %}{{ row.mistaken
}}{% endif %}</td></tr>
{% endfor %}</tbody></table></div>
<p class="note">By a classifier of real train images. A class counts as mixed up where another one is named more
often than its own, and val images show that this is not the classifier's own mistake (Fisher's exact test at 5%,
corrected for all pairs of classes). Not seen: a part of the labels, a tenth to a third, wrong here and there; they
only lower the shares above.</p>
{% endif %}
</section>
"""
