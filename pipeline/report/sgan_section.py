"""The report's part on few labels: the semi-supervised GAN beside the same network and a probe on the labels alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pipeline.measure.verdict import LABELS
from pipeline.report.html import fill, inline

TEMPLATE = """
<section>
<h2>Few labels: what are unlabelled photos worth?</h2>
<p>Suppose somebody had named the disease on only a few leaves of each class, and the rest of the training photos had
no label. {% if features %}A network that has seen a million other pictures (<code>{{ network }}</code>) looks at each
photo and is left as it is; one small network behind it{% else %}One small network, which sees the photos with
{{ side }} px,{% endif %} is then trained in three ways, from the same initial weights, on the same labelled photos,
for the same {{ steps | join(", ") }} steps:</p>
<ul>
<li><code>supervised</code>: on the labelled photos alone{% if flips %}, mirrored at random{% endif %}.</li>
<li><code>supervised_classic</code>: on the labelled photos alone, turned, cropped and recoloured a little as the arm
<code>classic</code> above has them{% if features %} ({{ views }} views of each){% endif %}. It costs no photo and no
GAN.</li>
<li><code>sgan</code>: on the labelled photos, as <code>supervised</code>, and on all {{ train_images }} training photos
without their labels. A generator {% if features %}of features {% endif %}learns beside it, and the network must also
tell generated from real ones (a semi-supervised GAN)
{%- if turned %}, and sees the unlabelled ones turned and recoloured{% endif %}
{%- if consistency %}; it must also agree with its own average on the unlabelled ones, and these figures do not tell
the two apart{% endif %}. The generator is thrown away: one that is useful here draws bad leaves.</li>
</ul>
<p>Beside them stands <code>probe</code>: a logistic regression on the features of <code>{{ network }}</code>, fitted in
seconds to the same labelled photos and {{ views }} augmented views of each. Who has few labels should try it
first{% if not features %}: it is no baseline of the SGAN, for its network has seen other pictures{% endif %}.</p>
<p><strong>{{ sentence }}</strong></p>
<p><strong>{{ beside_probe }}</strong></p>
<figure class="plot"><div><img src="{{ plot }}" alt="Macro-F1 over the number of labelled images a class, four
methods with their intervals"></div>
<figcaption>Bars: {{ "%.0f%%" | format(100 * confidence) }} intervals over {{ seeds }} seeds and {{ n_test }} test
images. Methods share both, so their bars may overlap where their difference, in the table, is beyond
chance.</figcaption></figure>
<div class="scroll"><table>
<thead><tr><th>labels</th><th>method</th><th>macro-F1</th><th>minus supervised</th>
<th>minus sup. classic</th><th>minus probe</th><th>balanced acc.</th><th>accuracy</th><th>F1 on val</th>
{% if tried %}<th>setting</th>{% endif %}</tr></thead>
<tbody>{% for row in rows %}<tr{% if row.method == "sgan" %} class="chosen"{% endif %}><td>{{ row.budget }}</td>
<td>{{ row.method }}</td><td>{{ number(row, "macro_f1") }}</td>
<td>{{ number(row, "macro_f1_minus_supervised", True) }}</td>
<td>{{ number(row if row.method == "sgan" else {}, "macro_f1_minus_supervised_classic", True) }}</td>
<td>{{ number(row if row.method == "sgan" else {}, "macro_f1_minus_probe", True) }}</td>
<td>{{ number(row, "balanced_accuracy") }}</td><td>{{ number(row, "accuracy") }}</td>
<td>{{ "%.3f" | format(row.val_macro_f1) }}</td>
{% if tried %}<td>{{ chosen.get((row.budget, row.method), "–") }}</td>{% endif %}</tr>
{% endfor %}</tbody></table></div>
<p class="note">Each seed draws its own labelled photos; a class with fewer photos than the budget gives all it has.
{% if tried %}The three tried the same {{ "%d settings" | format(tried | length) if tried | length > 1
else "setting" }} with the first seed and kept what was best on val:
{% for words in tried %}{{ loop.index }}: {{ words }}{{ "; " if not loop.last else "." }}{% endfor %}

The probe's penalty is chosen on val with each seed.

{% endif %}Limits: checkpoints and settings are chosen on {{ val_images }} labelled val images{% if more_val %}, more
than the networks were trained on with {{ more_val }} labels a class{% endif %}; somebody with so few labels would not
have them. That helps all of them, and none of the figures is what so few labels alone would give.</p>
</section>
"""


def sgan_section(
    rows: Sequence[Mapping[str, Any]],
    *,
    plot: str | Path,
    verdicts: Mapping[str, str],
    tuning: Mapping[str, Sequence[Mapping[str, Any]]],
    settings: Mapping[str, Any],
    steps: Sequence[int],
    train_images: int,
    val_images: int,
    num_classes: int,
    confidence: float,
) -> Markup:
    """The section's HTML.

    Args:
        rows: Of comparison.csv, those with a label budget.
        plot: PNG of macro-F1 over the budgets.
        verdicts: budget → `helps`, `hurts`, `no_evidence`, `too_little_data`, of the SGAN against both baselines.
        tuning: budget → rows of its tuning.csv; empty: nothing is said of settings.
        settings: The section train_sgan of params.yaml.
        steps: Optimiser steps of the trainings, each number once.
        train_images: All of train, labelled or not.
        val_images: What checkpoints and settings were chosen on.
        num_classes: K.
        confidence: Of the intervals.
    """
    chosen, words = {}, []
    for budget, of_budget in tuning.items():
        for method in dict.fromkeys(row["method"] for row in of_budget):
            tried = [row for row in of_budget if row["method"] == method]
            words = [_setting_words(row) for row in tried]
            chosen[budget, method] = next(i for i, row in enumerate(tried, start=1) if int(row["chosen"]))
    fewer = [budget for budget in verdicts if budget.isdigit() and int(budget) * num_classes < val_images]
    return fill(
        TEMPLATE,
        rows=rows,
        plot=inline(plot),
        sentence=budget_sentence(verdicts),
        chosen=chosen,
        beside_probe=probe_sentence(rows),
        tried=words,
        features=settings["space"] == "features",
        network=settings["model"],
        views=settings["augmented_views"],
        side=settings.get("img_resolution"),
        flips=settings["flips"],
        turned=settings.get("views", "none") != "none",
        consistency=settings["consistency_weight"] > 0,
        steps=steps,
        train_images=train_images,
        val_images=val_images,
        more_val=", ".join(fewer),
        confidence=confidence,
        seeds=rows[0]["n_seeds"],
        n_test=rows[0]["n_test"],
    )


def budget_sentence(verdicts: Mapping[str, str]) -> str:
    """What the verdicts come to, in words that the numbers force; a tie with either baseline is no success.

    Args:
        verdicts: budget → verdict.
    """
    by_verdict: dict[str, list[str]] = {}
    for budget, verdict in verdicts.items():
        by_verdict.setdefault(verdict, []).append(budget)
    helps = by_verdict.get("helps", [])
    head = (
        f"The SGAN is ahead of both baselines, beyond chance, with {_listed(helps)} labels a class"
        if helps
        else "At no number of labels is the SGAN ahead of both baselines beyond chance"
    )
    others = [f"{LABELS[v]} with {_listed(budgets)}" for v, budgets in by_verdict.items() if v != "helps"]
    return "; ".join([head, *others]) + "."


def probe_sentence(rows: Sequence[Mapping[str, Any]]) -> str:
    """The SGAN beside a regression on frozen features with the same labels, by the intervals of their differences.

    Args:
        rows: See `sgan_section`.
    """
    found: dict[str, list[str]] = {}
    for row in rows:
        if row["method"] == "sgan":
            lower, upper = (row[f"macro_f1_minus_probe_{end}"] for end in ("lower", "upper"))
            found.setdefault("ahead" if lower > 0 else "behind" if upper < 0 else "level", []).append(row["budget"])
    words = {
        "ahead": "ahead of it, beyond chance",
        "behind": "behind it, beyond chance",
        "level": "not told apart from it",
    }
    parts = [f"{words[how]} with {_listed(budgets)} labels a class" for how, budgets in found.items()]
    return f"Beside a plain regression on frozen features (probe), the SGAN is {'; '.join(parts)}."


def _setting_words(row: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {float(value):g}"
        for name, value in row.items()
        if name not in ("method", "best_step", "val_macro_f1", "val_loss", "chosen")
    )


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
