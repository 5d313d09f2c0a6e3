"""The report page's HTML, as a Python string so that a stage's code dependencies cover it."""

from __future__ import annotations

STYLE = """
:root { --ink: #1f2a24; --muted: #5d6b63; --rule: #dfe5e1; --wash: #f5f8f6; --leaf: #0b5c43;
  --helps: #0b6b4b; --hurts: #a32a1c; --no_evidence: #48566b; --too_little_data: #8a5a00; --not_trained: #8a5a00; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--wash); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 28px 20px 64px; }
header p { margin: 0; color: var(--muted); }
h1 { margin: 2px 0 20px; font-size: clamp(1.5rem, 4.5vw, 2.1rem); line-height: 1.2; letter-spacing: -.02em; }
h2 { margin: 0 0 6px; font-size: 1.2rem; letter-spacing: -.01em; }
h3 { margin: 22px 0 6px; font-size: 1rem; }
p { margin: 0 0 10px; max-width: 76ch; }
.note { color: var(--muted); font-size: .9rem; }
section { background: #fff; border: 1px solid var(--rule); border-radius: 12px; padding: 22px 24px; margin: 18px 0; }
.banner { background: #fff6df; border: 1px solid #ecd592; border-radius: 10px; padding: 10px 16px; margin: 0 0 18px;
  color: #5f4700; max-width: none; }
.verdict { border-left: 6px solid var(--tone); }
.verdict .badge { display: inline-block; background: var(--tone); color: #fff; border-radius: 999px;
  padding: 3px 14px; font-weight: 600; font-size: .9rem; margin-bottom: 10px; }
.verdict .lead { font-size: 1.12rem; }
.verdict ul { margin: 8px 0 0; padding-left: 20px; color: var(--muted); font-size: .95rem; }
.verdict li { margin: 4px 0; }
.verdict h3 { margin: 14px 0 0; }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 330px), 1fr)); gap: 0 28px; }
nav ul { display: flex; flex-wrap: wrap; gap: 4px 18px; list-style: none; margin: 18px 4px; padding: 0; }
nav a { color: var(--leaf); }
summary { cursor: pointer; }
.verdict details { margin-top: 14px; } .verdict summary { color: var(--muted); }
.part { background: #fff; border: 1px solid var(--rule); border-radius: 12px; padding: 0 24px; margin: 10px 0; }
.part summary { padding: 14px 0; } .part summary h2 { display: inline; margin-left: 4px; }
.part[open] { padding-bottom: 20px; }
.warning { background: #fdf0ee; border: 1px solid #efc7c1; border-radius: 8px; padding: 10px 14px; color: #7b2016;
  max-width: none; }
code { font: .92em ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; background: #edf2ef;
  padding: 0 .3em; border-radius: 4px; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: 12px -24px 6px; padding: 0 24px; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; font-variant-numeric: tabular-nums; }
th { text-align: right; font-weight: 600; color: var(--muted); font-size: .82rem; padding: 6px 8px;
  border-bottom: 2px solid var(--rule); white-space: nowrap; vertical-align: bottom; }
td { text-align: right; padding: 7px 8px; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; position: sticky; left: 0; background: inherit; }
tr { background: #fff; }
tr.chosen { background: #eef6f1; }
tr.chosen td:first-child { padding-left: 8px; font-weight: 600; }
tr.total td { font-weight: 600; }
tbody tr:last-child td { border-bottom: 0; }
.swatch { display: inline-block; width: .7em; height: .7em; margin-right: .5em; border-radius: 50%; }
.swatch.D { border-radius: 1px; transform: rotate(45deg) scale(.85); }
.ends { display: block; color: var(--muted); font-size: .8rem; }
.up { color: var(--helps); font-weight: 600; } .down { color: var(--hurts); font-weight: 600; }
img { max-width: 100%; height: auto; display: block; }
figure { margin: 16px 0 0; }
figcaption { color: var(--muted); font-size: .9rem; margin-top: 6px; }
.pictures figure img { border-radius: 6px; min-width: min(100%, 320px); }
.plot div { overflow-x: auto; }
.matrices { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 290px), 1fr)); gap: 12px; }
.matrices figure { margin: 0; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(125px, 1fr)); gap: 10px; margin: 12px 0; }
.facts div { background: var(--wash); border-radius: 8px; padding: 10px 12px; font-size: .85rem; color: var(--muted);
}
.facts b { display: block; font-size: 1.25rem; color: var(--ink); font-variant-numeric: tabular-nums; }
td.text, th.text { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 8em; }
footer { color: var(--muted); font-size: .85rem; text-align: center; margin-top: 28px; }
@media (max-width: 600px) {
  main { padding: 18px 12px 40px; }
  section { padding: 16px 14px; border-radius: 10px; } .part { padding: 0 14px; }
  .scroll { margin: 10px -14px 4px; padding: 0 14px; }
  td, th { padding-left: 7px; padding-right: 7px; }
  .plot img { max-width: none; width: 680px; }
  .matrices { grid-template-columns: 1fr 1fr; }
  .matrices .plot img { width: 100%; }
}
@media print { body { background: #fff; } section, .part { border-color: #ccc; } nav { display: none; }
  details::details-content { content-visibility: visible; height: auto; } }
"""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>leafsynth: {{ c.verdict_label }}</title>
<style>{{ style }}</style>
</head>
<body>
<main>
<header>
<p>leafsynth report</p>
<h1>Do synthetic leaves help on {{ "the rendered sample" if c.is_rendered_sample else "this leaf set" }}?</h1>
</header>
{% if c.is_rendered_sample %}
<p class="banner"><strong>Rendered sample.</strong> The leaves in this report are drawn by a program, not
photographed. They show that the pipeline works; they say nothing about real leaves.</p>
{% endif %}

<section class="verdict" style="--tone: var(--{{ c.verdict }})">
<span class="badge">{{ c.verdict_label }}</span>
<p class="lead">{{ c.sentences[0] | code }}</p>
{% if overview %}
<figure class="plot"><div><img src="{{ overview }}" alt="Photos, synthetic leaves and the photo nearest to each, by \
class; beside them the arms that the verdict is about, with intervals"></div></figure>
{% endif %}
{% if numbered %}<p class="note">In all pictures of this page {% for name, label in numbered.items() %}{{ label }} is
{{ name }}{{ ", " if not loop.last }}{% endfor %}: their font lacks these letters.</p>{% endif %}
<div class="two">
<div><h3>What to do next</h3><ul>{% for line in c.next_steps %}<li>{{ line | code }}</li>{% endfor %}</ul></div>
<div><h3>What is weak about this run</h3><ul>{% for line in c.weak_points %}<li>{{ line | code }}</li>{% endfor %}
</ul></div>
</div>
{% if c.sentences[1:] %}<details><summary>The verdict in figures</summary>
<ul>{% for line in c.sentences[1:] %}<li>{{ line | code }}</li>{% endfor %}</ul></details>{% endif %}
</section>

<nav aria-label="Contents"><ul>{% for part in parts %}<li><a href="#{{ part.anchor }}">{{ part.title }}</a></li>
{% endfor %}</ul></nav>

{% for part in parts %}
<details class="part" id="{{ part.anchor }}"{{ " open" if loop.first }}><summary><h2>{{ part.title }}</h2></summary>
{{ part.body }}
</details>
{% endfor %}
<footer>Made by leafsynth. Figures: <code>metrics.json</code>, <code>comparison.csv</code>,
<code>differences.csv</code>, <code>effects.csv</code>, <code>classes.csv</code>.
<br>Data: <code>{{ c.method.data }}</code> (SHA-256 of <code>data/split/manifest.csv</code>, which names every photo's).
{% for words in c.method.made_by %}<br>{{ words }}
{% endfor %}{% if c.method.computed_on %}<br>Computed on {{ c.method.computed_on }}; on another kind of machine the
last digits differ, and with them what small trainings make of them.{% endif %}</footer>
</main>
</body>
</html>
"""

PLOT = """{% macro plot(name, alt, caption="") -%}
  <figure class="plot"><div><img src="{{ images[name] }}" alt="{{ alt }}"></div>
  {%- if caption %}<figcaption>{{ caption }}</figcaption>{% endif %}</figure>
{%- endmacro %}
"""

# Sections that are of the page itself, in this order; between them stand those of the topics
ARMS = """<section>
<h2>All arms</h2>
<p class="note">The same classifier{% if c.method.steps %}, the same number of optimiser steps{% endif %}, the same
seeds; what differs is what it was
trained on. Mean over {{ c.method.seeds | length }} seed{{ "s" if c.method.seeds | length > 1 }} on
{{ c.method.n_test }} test images, below it the
{{ percent(c.method.confidence) }} interval. The highlighted arm was chosen among those with synthetic images by its
macro-F1 on val.</p>
<div class="scroll"><table>
<thead><tr><th>arm</th><th>macro-F1</th>{% for control in controls %}<th>minus {{ control }}</th>{% endfor %}
<th>balanced acc.</th><th>accuracy</th><th>F1 on val</th></tr></thead>
<tbody>
{% for row in arms %}<tr{% if row.arm == c.candidate %} class="chosen"{% endif %}>
<td><span class="swatch {{ marker(row.arm) }}" style="background: {{ color(row.arm) }}"></span>{{ row.arm }}</td>
<td>{{ number(row, "macro_f1") }}</td>
{% set risk = 1 - c.method.confidence %}
{% for control in controls %}<td>{{ number(row, "macro_f1_minus_" ~ control, True, risk) }}</td>
{% endfor %}<td>{{ number(row, "balanced_accuracy") }}</td><td>{{ number(row, "accuracy") }}</td>
<td>{{ "%.3f" | format(row.val_macro_f1) }}</td></tr>
{% endfor %}</tbody></table></div>
{{ plot("arms", "Macro-F1 of every arm with its interval, and the differences to real and classic",
  "Circles: trained on real images only. Diamonds: synthetic images were among them. Of so many intervals one may miss
zero by chance: coloured in the table is a difference that stands after correction for the number of arms held against
the same control (Holm).") }}
<h3>What each arm is trained on</h3>
<div class="scroll"><table><tbody>{% for name, words in c.recipes.items() %}<tr><td>{{ name }}</td>
<td class="text">{{ words }}</td></tr>{% endfor %}</tbody></table></div>
</section>
"""

CLASSES = """<section>
<h2>F1 of each class</h2>
{{ plot("classes", "F1 of each class for every arm") }}
</section>
"""

LEAVES = """{% if pictures %}
<section class="pictures">
<h2>Leaves, real and synthetic</h2>
{% if c.is_rendered_sample %}<p class="note">“Real” means rendered here: the sample's leaves are drawn.</p>{% endif %}
{% for title, source in pictures.items() %}
<figure><img src="{{ source }}" alt="{{ title }}"><figcaption>{{ title }}</figcaption></figure>
{% endfor %}
</section>
{% endif %}

"""

CONFUSION = """<section>
<h2>What is mistaken for what</h2>
<p class="note">Share of each true class in per cent, all seeds together, on test.</p>
<div class="matrices">{% for name in matrices %}{{ plot(name, "Confusion matrix of arm " ~ name[10:]) }}{% endfor
%}</div>
</section>

"""

METHOD = """<section>
<h2>How this was measured</h2>
<ul>
{% if c.method.steps %}<li>Every arm: {{ c.method.steps }} optimiser steps, seeds {{ c.method.seeds | join(", ") }};
equal steps, because with equal
epochs the larger training set would be trained longer.</li>
{% else %}<li>Every arm: a logistic regression on the features of one frozen pretrained network, its penalty chosen on
val, seeds (of the augmented views) {{ c.method.seeds | join(", ") }}.</li>{% endif %}
{% if c.method.sgan_steps %}<li>SGAN and its supervised baselines: {{ c.method.sgan_steps | join(", ") }} steps each,
seeds
{{ c.method.sgan_seeds | join(", ") }}.</li>{% endif %}
<li>Checkpoints and the highlighted arm were chosen on val. The {{ c.method.n_test }} test images ({{ c.test_groups
}} groups)
were seen once, by the final predictions; no GAN, feature extractor or threshold has seen them.</li>
{{ rules }}
</ul>
</section>
"""
