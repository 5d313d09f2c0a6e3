"""How close the synthetic leaves are to real ones, on the report page: fidelity.json in, a section out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from pipeline.measure.fidelity import MIN_VAL_IMAGES, frechet_name
from pipeline.report.html import fill

EXTRACTOR_WORDS = {
    "lite0": "a network pretrained on ImageNet photographs (EfficientNet-Lite0), which has seen no leaf of yours",
    "leaf": "a classifier trained on your train images, which looks at what tells your classes apart",
    "random": "a network that was never trained, which looks at colour and texture and knows no classes",
    "inception": "Inception of 2015, trained on a million everyday photos, the one that “FID” means",
    "dinov2": "DINOv2, trained without labels on 142 million photos",
}
# Below this share of the floor a figure is worth a warning.
ALARMING = 0.5
OBVIOUS = 0.9  # told apart so often, who looks sees what is synthetic
KID_SHOWN_TIMES = 1000  # as papers do: KID itself has zeros before it has digits


def fidelity_section(fidelity: Mapping[str, Any], classes: Sequence[str]) -> Markup:
    """The page's section on fidelity.

    Args:
        fidelity: fidelity.json, flat: of `fidelity_report` for any extractors, `label_agreement` and
            `classification_accuracy_score`; what is absent is left out.
        classes: Class names, in the order to show.

    Returns:
        One `<section>`, or nothing where there is nothing to show.
    """
    if not fidelity:
        return Markup("")
    extractors = sorted(m[1] for key in fidelity if (m := re.fullmatch(r"kid_(\w+)_floor", key)))
    return fill(
        SECTION,
        warnings=_warnings(fidelity, extractors, classes),
        labels=_label_rows(fidelity, classes),
        cas=_cas_sentence(fidelity),
        tables=[
            {
                "name": extractor,
                "words": EXTRACTOR_WORDS.get(extractor, "a network of that name"),
                "frechet": "FID" if frechet_name(extractor) == "fid" else "FD",
                "rows": _rows(fidelity, extractor, classes),
                "chance": _chance_rows(fidelity, extractor, classes),
            }
            for extractor in extractors
        ],
        told=_told_rows(fidelity, classes),
        left_out=[
            f"`{name}` ({fidelity[f'left_out/{name}']:.0f})" for name in classes if f"left_out/{name}" in fidelity
        ],
        min_images=MIN_VAL_IMAGES,
        how=_how_many(fidelity, classes),
        times=KID_SHOWN_TIMES,
    )


def _groups(classes: Sequence[str]) -> list[tuple[str, str]]:
    """What a row is called, and the end of its keys."""
    return [("all classes", ""), *((name, f"/{name}") for name in classes)]


def _rows(fidelity: Mapping[str, Any], extractor: str, classes: Sequence[str]) -> list[dict[str, Any]]:
    columns = [(frechet_name(extractor), ".3g", 1), (f"kid_{extractor}", ".2g", KID_SHOWN_TIMES)]
    columns += [(f"{name}_{extractor}", ".2f", 1) for name in ("precision", "recall", "density", "coverage")]
    rows = []
    for name, suffix in _groups(classes):
        cells = [
            tuple(_said(fidelity, f"{metric}{end}{suffix}", spec, times) for end in ("", "_floor"))
            for metric, spec, times in columns
        ]
        if any(own != "–" for own, _ in cells):
            rows.append({"name": name, "n": _said(fidelity, f"n/scored{suffix}", ".0f"), "cells": cells})
    return rows


def _chance_rows(fidelity: Mapping[str, Any], extractor: str, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Of `exchanged_folds`: distances of synthetic images and of real folds, where 95% of either lie, and p."""
    rows = []
    for name, suffix in _groups(classes):
        cells = []
        for metric, spec, times in ((frechet_name(extractor), ".3g", 1), (f"kid_{extractor}", ".2g", KID_SHOWN_TIMES)):
            if f"{metric}_p{suffix}" not in fidelity:
                continue
            cell = {
                f"{of}{end}": _said(fidelity, f"{metric}_{of}{end}{suffix}", spec, times)
                for of in ("drawn", "fold") for end in ("", "_lower", "_upper")
            }  # fmt: skip
            cells.append(cell | {"p": f"{float(fidelity[f'{metric}_p{suffix}']):.3f}"})
        if len(cells) == 2:
            rows.append({"name": name, "cells": cells})
    return rows


def _label_rows(fidelity: Mapping[str, Any], classes: Sequence[str]) -> list[dict[str, str]]:
    rows = []
    for name, suffix in _groups(classes):
        row = {
            "name": name,
            "cas": _said(fidelity, f"cas{suffix}", ".0%"),
            "agreement": _said(fidelity, f"label_agreement{suffix}", ".0%"),
            "on_val": _said(fidelity, f"label_agreement_val{suffix}", ".0%"),
            "n_val": _said(fidelity, f"n/val{suffix}", ".0f"),
            "n_synthetic": _said(fidelity, f"n/synthetic{suffix}", ".0f"),
        }
        if any(row[key] != "–" for key in ("cas", "agreement", "on_val")):
            rows.append(row)
    return rows


def _said(fidelity: Mapping[str, Any], key: str, spec: str, times: float = 1) -> str:
    """A figure in words, or a dash; never -0.00, nor 1.2e+03."""
    if key not in fidelity:
        return "–"
    value = float(fidelity[key]) * times
    text = format(value, ".0f" if spec.endswith("g") and abs(value) >= 100 else spec)
    return text.removeprefix("-") if not text.strip("-0.%") else text.replace("-", "−", 1)


def alarms(fidelity: Mapping[str, Any], classes: Sequence[str], *, most: int = 2) -> list[str]:
    """What the page's first screen says of these figures: the gravest, no more than so many; `x` is code."""
    extractors = sorted(m[1] for key in fidelity if (m := re.fullmatch(r"kid_(\w+)_floor", key)))
    found = _warnings(fidelity, extractors, classes) if fidelity else []
    told = _told_rows(fidelity, classes)
    if told and told[0]["name"] not in classes and told[0]["c2st"]["_lower"] > OBVIOUS:
        found.insert(0, f"Synthetic leaves are told from real ones {100 * told[0]['c2st']['']:.0f} times of 100.")
    return found[:most]


def _told_rows(fidelity: Mapping[str, Any], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Of `two_sample.told_apart`, whose extractor is the only one with such a figure."""
    extractor = next((m[1] for key in fidelity if (m := re.fullmatch(r"c2st_(\w+)_lower", key))), None)
    rows = []
    for name, suffix in _groups(classes):
        if f"c2st_{extractor}{suffix}" in fidelity:
            ends = {end: float(fidelity[f"c2st_{extractor}{end}{suffix}"]) for end in ("", "_lower", "_upper")}
            rows.append({"name": name, "seen_by": extractor, "c2st": ends})
    return rows


def _cas_sentence(fidelity: Mapping[str, Any]) -> str:
    if not {"cas", "label_agreement_val"} <= set(fidelity):
        return ""
    return (
        f"A classifier that has seen synthetic leaves alone recognises {fidelity['cas']:.0%} of real val leaves (mean "
        f"over classes); the same classifier trained on real train leaves recognises "
        f"{fidelity['label_agreement_val']:.0%}."
    )


def _how_many(fidelity: Mapping[str, Any], classes: Sequence[str]) -> str:
    """Subset sizes and k, which differ from class to class where classes are small."""
    parts = []
    if "kid_subset_size" in fidelity:
        parts.append(f"KID: random subsets of {fidelity['kid_subset_size']:.0f} images, unbiased.")
    ks = [fidelity[f"prdc_k{suffix}"] for _, suffix in _groups(classes) if f"prdc_k{suffix}" in fidelity]
    if ks:
        spread = f"{min(ks):.0f}" if min(ks) == max(ks) else f"{min(ks):.0f} to {max(ks):.0f} by the size of the class"
        parts.append(f"“Near”: within the distance to a leaf's k-th neighbour, k = {spread}.")
    return " ".join(parts)


def _warnings(fidelity: Mapping[str, Any], extractors: Sequence[str], classes: Sequence[str]) -> list[str]:
    """What a reader must not miss: classes that look like others, and classes without variety."""
    warnings = []
    for name in classes:
        own, val = fidelity.get(f"label_agreement/{name}"), fidelity.get(f"label_agreement_val/{name}")
        if own is not None and val and own < ALARMING * val:
            warnings.append(
                f"Only {own:.0%} of the synthetic images of `{name}` are taken for `{name}` by a classifier that "
                f"recognises {val:.0%} of the real ones: they may not look like their class."
            )
    for name in classes:
        for extractor in extractors:
            own, floor = (fidelity.get(f"coverage_{extractor}{end}/{name}") for end in ("", "_floor"))
            if own is not None and floor and own < ALARMING * floor:
                warnings.append(
                    f"Synthetic images of `{name}` are near only {own:.0%} of its real leaves, where real val leaves "
                    f"are near {floor:.0%} (`{extractor}`): much of what real leaves of it look like is missing."
                )
                break  # once a class is enough
    return warnings


SECTION = """
<section>
<h2>How close are the synthetic leaves to real ones?</h2>
{% for warning in warnings %}<p class="warning">{{ warning | code }}</p>
{% endfor %}
{% if told %}
<h3>Can they be told from real ones?</h3>
<p>A regression on what <code>{{ told[0].seen_by }}</code> sees, asked of real and of synthetic leaves that it was not
fitted on, names the side of <strong>{{ "%.0f" | format(100 * told[0].c2st[""]) }} of 100</strong>; of equal ones it
would be 50, however many there are.</p>
<div class="scroll"><table>
<thead><tr><th>class</th><th>told apart</th><th>95% interval</th></tr></thead>
<tbody>{% for row in told %}<tr{% if loop.first %} class="total"{% endif %}><td class="text">{{ row.name }}</td>
<td>{{ "%.0f%%" | format(100 * row.c2st[""]) }}</td>
<td>{{ "%.0f" | format(100 * row.c2st._lower) }} to {{ "%.0f%%" | format(100 * row.c2st._upper) }}</td></tr>
{% endfor %}</tbody></table></div>
<p class="note">Classifier two-sample test, as many of each side and class. Real leaves are those of train and val; no
photo of a leaf is asked of who has seen another of it. It says that there is a difference, not that it matters: what
tells them apart may be sharpness or background.</p>
{% endif %}
{% if labels %}
<h3>Do they carry their class?</h3>
{% if cas %}<p>{{ cas }}</p>{% endif %}
<div class="scroll"><table>
<thead><tr><th>trained on<br>asked about</th><th>synthetic<br>real</th><th>real<br>synthetic</th>
<th>real<br>real</th></tr></thead>
<tbody>{% for row in labels %}<tr{% if loop.first %} class="total"{% endif %}><td class="text">{{ row.name }}</td>
<td>{{ row.cas }}<span class="ends">of {{ row.n_val }}</span></td>
<td>{{ row.agreement }}<span class="ends">of {{ row.n_synthetic }}</span></td>
<td>{{ row.on_val }}<span class="ends">of {{ row.n_val }}</span></td></tr>
{% endfor %}</tbody></table></div>
<p class="note">Share of images given their own label; the row of all classes is the mean of the classes. First column
(classification accuracy score): high only if synthetic leaves show what tells real ones apart. Second (label
agreement): high if each looks like its class, also when all of a class look the same. Third: what real leaves manage,
the mark for both. “Real” to ask are the val images. A probe has not seen them; a classifier that was trained step by
step chose its checkpoint on them, so that its figures are good for comparing and a little high in themselves.
Of 25 images such a share is uncertain by up to ±20 points, of 100 by
±10.</p>
{% endif %}
{% if tables %}
<h3>Do they look real, and do they vary as real ones do?</h3>
<p class="note">Large figures: synthetic leaves against train. Small figures below: the floor, which is what held-out
real leaves (val) get in their place, as many of each class. {{ how }}</p>
{% endif %}
{% for table in tables %}
<p>Seen by <code>{{ table.name }}</code>, {{ table.words }}.</p>
<div class="scroll"><table>
<thead><tr><th>class</th><th>images</th><th>{{ table.frechet }}</th><th>KID<br>×{{ times }}</th><th>preci-<br>sion</th>
<th>recall</th><th>den-<br>sity</th><th>cover-<br>age</th></tr></thead>
<tbody>{% for row in table.rows %}<tr{% if loop.first %} class="total"{% endif %}><td class="text">{{ row.name }}</td>
<td>{{ row.n }}<span class="ends">floor</span></td>
{% for own, floor in row.cells %}<td>{{ own }}<span class="ends">{{ floor }}</span></td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>
{% if table.chance %}<div class="scroll"><table>
<thead><tr><th>class</th><th>{{ table.frechet }} of synthetic</th><th>of real folds</th><th>p</th>
<th>KID ×{{ times }} of synthetic</th><th>of real folds</th><th>p</th></tr></thead>
<tbody>{% for row in table.chance %}<tr{% if loop.first %} class="total"{% endif %}><td class="text">{{ row.name }}</td>
{% for cell in row.cells %}
<td>{{ cell.drawn }}<span class="ends">{{ cell.drawn_lower }} to {{ cell.drawn_upper }}</span></td>
<td>{{ cell.fold }}<span class="ends">{{ cell.fold_lower }} to {{ cell.fold_upper }}</span></td>
<td>{{ cell.p }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>{% endif %}
{% endfor %}
{% if tables | selectattr("chance") | list %}<p class="note">Second table: how far chance moves these distances. Again
and again as many real leaves as val has are taken out of train and val together, whole leaves, and held against the
rest, and so are as many synthetic ones; below each mean stands where 95% lie. p: how often chance alone would put real
leaves as far from the rest as the synthetic ones are; a perfect generator has a p anywhere between 0 and 1.</p>
{% endif %}
{% if tables %}
<ul class="note">
<li><b>{{ tables | map(attribute="frechet") | unique | join(", ") }}</b> (Fréchet distance) and <b>KID</b> (kernel
distance): 0 is equal, lower is closer. KID may fall below 0 by chance. Compare them within a table only.</li>
<li><b>Precision</b>: the share of synthetic leaves that are near a real one; <b>density</b>: near how many, 1 being
usual. Low: they do not look real.</li>
<li><b>Recall</b>: the share of real leaves that lie among the synthetic ones; <b>coverage</b>: that have a synthetic
one near. Low: part of what real leaves look like is missing.</li>
</ul>
<p class="note">At its floor a figure is as good as real leaves are. Better than its floor is no praise: copies of train
images would score so too. With few images these figures are rough, and none of them predicts usefulness: the arms
above do.</p>
{% endif %}
{% if left_out %}<p class="note">Too few images for figures of their own (fewer than {{ min_images }} to compare; val
has in brackets): {{ left_out | join(", ") | code }}. They count in the row of all classes.</p>{% endif %}
</section>
"""
