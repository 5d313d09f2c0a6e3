"""The page's section on how sure one can be: what luck could have done, each change by itself, honest probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pipeline.measure.effects import EFFECT_WORDS
from pipeline.report.html import fill, inline

SECTION = """
{% macro gap(row, is_sure=True) -%}
  {%- set low, high = row.macro_f1_lower | float, row.macro_f1_upper | float -%}
  <span class="{{ 'up' if low > 0 and is_sure else 'down' if high < 0 and is_sure }}">{{ signed(row.macro_f1) }}</span>
  <span class="ends">{{ signed(low) }} to {{ signed(high) }}</span>
{%- endmacro %}
<section>
<h2>How sure can one be?</h2>
<p>Two kinds of luck could have made these figures come out otherwise: which leaves happened to fall into the test split
({{ n_test }} images in {{ test_groups }} independent groups), and the random seed of each training ({{ n_seeds }}
{{ "training" if n_seeds == 1 else "trainings" }} an arm).
{% if n_seeds == 1 %}With one training an arm the intervals on this page know of the first kind only.
{% else %}Every interval on this page makes room for both.
{% endif %}
{% if against %}
To tell <code>{{ candidate }}</code> from <code>{{ against.minus }}</code>, which differs from it in the synthetic
images alone, the true difference in macro-F1 would have to be about <strong>{{ plain(against.detectable) }}</strong>:
one of that size would be found in four of five such experiments, a smaller one would be missed more often. So a
verdict of “no evidence” means “no difference as large as that was seen”, never “no difference”. {% endif %}</p>
<p>No interval covers what was done once: the split was drawn once and the GANs were trained once, so another split
or another GAN could say something else. And all of it speaks of this set of photographs; leaves from another field,
camera or season are another question.</p>
<p>The rules themselves were tried on simulated experiments whose truth is known, where no arm differed from another and
where one did: how often they were wrong stands in the project's <code>bench/results/coverage.json</code>, and
<code>python -m bench.coverage</code> tries them again. The verdict, those on classes, that on the mixture and those on
few labels answer four questions, each with a risk of {{ risk | round(4) }}: that one of them errs is up to four times
as likely. The weak spot is a mean over classes from three trainings that differ much from each other as a whole: its
interval is somewhat too narrow.</p>
<h3>The chosen arm against each control</h3>
<div class="scroll"><table>
<thead><tr><th>{{ candidate }} minus</th><th>macro-F1</th><th>p</th><th>p, all arms</th><th>p by swapping</th>
<th>p of the vote</th><th>gained, lost</th><th>Cohen's h</th><th>detectable</th></tr></thead>
<tbody>{% for row in controls %}<tr><td>{{ row.minus }}</td><td>{{ gap(row) }}</td><td>{{ p(row.p) }}</td>
<td>{{ p(row.p_holm) }}</td><td>{{ p(row.p_swap) }}</td><td>{{ p(row.p_mcnemar) }}</td>
<td>{{ images(row.gained_of_100) }}, {{ images(row.lost_of_100) }}</td><td>{{ h(row.cohen_h) }}</td>
<td>{{ plain(row.detectable) }}</td></tr>
{% endfor %}</tbody></table></div>
<p class="note"><em>p</em>: how often luck alone would bring a difference this large if there were none; it belongs to
the interval and knows of leaves and seeds. <em>All arms</em>: the same, made stricter because
{{ compared }} arms are held against each control and one of them may look good by chance (Holm). The verdict does not
use it: its arm was chosen before on val, and beating all three controls is harder than beating one, so needs no
correction (Berger 1982). <em>By swapping</em>: the two arms' answers are exchanged leaf by leaf at random; it assumes
nothing about shapes, but takes the trainings as they are. <em>Vote</em>: McNemar's exact test on one answer an image,
that of all seeds together. <em>Gained, lost</em>: of
100 test images, those that only this arm gets right, and those that only the control does. <em>Cohen's h</em>: the
difference in accuracy on a scale where 0.2 is small, 0.5 medium and 0.8 large. All other pairs of arms are in
<code>differences.csv</code>.</p>
{% if effects %}
<h3>One change at a time</h3>
<p class="note">Each row holds two arms against each other that differ by one thing and by nothing else.</p>
{% if pictures.effects %}<figure class="plot"><div><img src="{{ pictures.effects }}"
alt="Change of macro-F1 by each step of the recipe, with intervals"></div></figure>{% endif %}
<div class="scroll"><table>
<thead><tr><th>change</th><th>macro-F1</th><th>p</th><th>p, all rows</th><th>gained, lost</th><th>detectable</th></tr>
</thead>
<tbody>{% for row in effects %}<tr><td>{{ words[row.effect] }}<span class="ends">{{ row.minus }} → {{ row.arm }}</span>
</td><td>{{ gap(row, row.p_holm | float <= risk) }}</td><td>{{ p(row.p) }}</td><td>{{ p(row.p_holm) }}</td>
<td>{{ images(row.gained_of_100) }}, {{ images(row.lost_of_100) }}</td><td>{{ plain(row.detectable) }}</td></tr>
{% endfor %}</tbody></table></div>
<p class="note">Gained and lost: of 100 test images, those that only the later or only the earlier recipe gets right.
<em>Detectable</em>: the true difference that four of five such experiments would show. Coloured is what stands after
correction for the {{ effects | length }} rows (“p, all rows” below {{ risk | round(4) }}): of so many, one may look
like an effect by chance though its own interval leaves out zero.</p>
{% endif %}
<h3>Do the probabilities mean what they say?</h3>
<p>A classifier that says “80% sure” should be right four times out of five. Below the dotted line it claims more than
it knows.</p>
{% if pictures.reliability %}<figure class="plot"><div><img src="{{ pictures.reliability }}"
alt="Share of right answers over the stated probability, one panel an arm"></div></figure>{% endif %}
<div class="scroll"><table>
<thead><tr><th>arm</th><th>Brier score</th><th>calibration error</th><th>its floor</th></tr></thead>
<tbody>{% for row in arms %}<tr{% if row.arm == candidate %} class="chosen"{% endif %}><td>{{ row.arm }}</td>
<td>{{ plain(row.brier) }}<span class="ends">{{ plain(row.brier_lower) }} to {{ plain(row.brier_upper) }}</span></td>
<td>{{ plain(row.ece) }}</td><td>{{ plain(row.ece_floor) }}</td></tr>
{% endfor %}</tbody></table></div>
<p class="note">Brier score: squared distance of the probabilities from the truth, 0 at best, {{ plain(chance) }} for
always saying the same of all {{ num_classes }} classes; lower is better. Calibration error (ECE): mean distance
between stated probability and share of right answers, in groups of equally many images. On {{ n_test }} images even
perfectly honest probabilities do not reach 0; the floor is what they would show. Images of a test set with other
class shares than in the field need other probabilities.</p>
</section>
"""


def statistics_section(
    *,
    candidate: str,
    matched: str,
    differences: Sequence[Mapping[str, Any]],
    effects: Sequence[Mapping[str, Any]],
    arms: Sequence[Mapping[str, Any]],
    pictures: Mapping[str, str | Path],
    test_groups: int,
    num_classes: int,
    confidence: float = 0.95,
) -> Markup:
    """The section's HTML.

    Args:
        candidate: The arm that the verdict is about.
        matched: The control that lacks only its synthetic images.
        differences: Rows of differences.csv.
        effects: Rows of effects.csv; empty: no such part.
        arms: Rows of comparison.csv without those of label budgets.
        pictures: `effects` and `reliability`: PNGs of `statistics_plots`; what is absent is left out.
        test_groups: Independent groups among the test images.
        num_classes: K.
        confidence: Of the intervals.
    """
    controls = [row for row in differences if row["arm"] == candidate]
    first = arms[0]
    return fill(
        SECTION,
        candidate=candidate,
        controls=controls,
        against=next((row for row in controls if row["minus"] == matched), None),
        compared=max((sum(row["minus"] == c["minus"] for row in differences) for c in controls), default=0),
        effects=effects,
        arms=arms,
        words=EFFECT_WORDS,
        pictures={name: inline(pictures[name]) if name in pictures else "" for name in ("effects", "reliability")},
        n_test=int(first["n_test"]),
        n_seeds=int(first["n_seeds"]),
        test_groups=test_groups,
        num_classes=num_classes,
        risk=1 - confidence,
        chance=1 - 1 / num_classes,
        signed=lambda value: f"{round(float(value), 3) + 0.0:+.3f}",
        plain=lambda value: f"{float(value):.3f}",
        h=lambda value: f"{round(float(value), 2) + 0.0:+.2f}",
        images=lambda value: f"{float(value):.1f}",
        p=_p,
    )


RULES = """
<li>Intervals: {{ resamples }} paired resamples of seeds and of test images, the latter within each class and in whole
groups, give the variance of both; Student's t allows for few seeds and for the few images of a rare class.
{{ percent(confidence) }} each; where several classes or label budgets get a verdict, wider, so that the risk of any
false one among them is {{ percent(1 - confidence) }}.</li>
<li>Rules, in this order. <em>Not trained</em>: the arm, or the control that lacks only its synthetic images, has not
learned (“Did they learn long enough?”). <em>Too little data</em>: fewer than {{ min_units }} independent test images.
<em>Helps</em>: the interval of macro-F1's difference lies above zero against each of
{% for control in controls %}<code>{{ control }}</code>{{ ", " if not loop.last }}{% endfor %}, so that
neither balancing nor augmentation of any strength is counted as the GAN's merit. <em>Hurts</em>: it lies below zero
against the control that lacks only the synthetic images; what balancing or augmentation cost is not counted as the
GAN's fault. <em>Too little data</em>: undecided, and a
true difference of {{ min_detectable }} to the control least surely beaten would be missed more than one time in five,
while a difference as large is not ruled out either (two one-sided tests).
<em>No evidence</em>: otherwise.</li>
<li>Classes with fewer train images than the mean class get a verdict on their F1, by the same rules: a network that
says a class more often has a higher recall of it, and need not know it better.</li>
"""


def verdict_rules(
    *, controls: Sequence[str], resamples: int, confidence: float, min_detectable: float, min_units: int
) -> Markup:
    """How intervals and verdicts come about, as items of the list "How this was measured".

    Args:
        controls: That the candidate is held against.
        resamples: Of seeds and test images.
        confidence: Of the intervals.
        min_detectable: As of `verdict.decide`.
        min_units: `verdict.MIN_UNITS`.
    """
    return fill(
        RULES,
        controls=controls,
        resamples=resamples,
        confidence=confidence,
        min_detectable=min_detectable,
        min_units=min_units,
        percent=lambda share: f"{100 * share:.4g}%",
    )


def _p(value: Any) -> str:
    return "< 0.001" if float(value) < 0.001 else f"{float(value):.3f}"
