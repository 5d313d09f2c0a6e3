"""The page's section on the minority study: what is lost with the real images, and what synthetic ones give back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from pipeline.measure.statistics import Interval
from pipeline.measure.verdict import LABELS
from pipeline.report.html import fill, inline
from pipeline.report.minority_results import MinorityStudy

SECTION = """{% macro signed(value, tinted=True) -%}
<span class="{{ '' if not tinted else 'up' if value.lower > 0 else 'down' if value.upper < 0 }}">
{{- "%+.3f" | format(value.mean + 0.0) -}}
</span><span class="ends">{{ "%+.3f to %+.3f" | format(value.lower + 0.0, value.upper + 0.0) }}</span>
{%- endmacro %}
{% macro level(value) -%}
{{ "%.3f" | format(value.mean) }}<span class="ends">{{ "%.3f to %.3f" | format(value.lower, value.upper) }}</span>
{%- endmacro %}
<section>
<h2>If a class had only a few images</h2>
{% for line in sentences %}<p>{{ line | code }}</p>
{% endfor %}
<p class="note">An experiment on <code>{{ info.class }}</code>, of which train holds {{ info.real_before }} real
images and test {{ effect.num_test }} ({{ effect.num_units }} groups). All but a few were taken out of train, a GAN
was trained anew on what was left, and three classifiers were trained alike ({% if studies[0].steps %}
{{ studies[0].steps }} steps, {% endif %}seeds
{{ studies[0].seeds | join(", ") }}, classes drawn equally often, classic augmentation): <em>full</em> on all real
images, <em>shrunk</em> on what was left, <em>restored</em> on that and synthetic images up to the former count.</p>
<figure class="plot"><div><img src="{{ picture }}"
alt="F1 of the class over the number of its real images, for the three classifiers"></div></figure>
<div class="scroll"><table>
<thead><tr><th></th><th colspan="6">F1 of <code>{{ info.class }}</code></th><th>macro-F1</th></tr>
<tr><th>real images left</th><th>full</th><th>shrunk</th><th>restored</th><th>restored − shrunk</th>
<th>full − shrunk</th><th>given back</th><th>restored − shrunk</th></tr></thead>
<tbody>{% for s in studies %}<tr><td>{{ s.info.real_kept }}</td>
{% for method in ("full", "shrunk", "restored") %}<td>{{ level(s.effect.scores.f1[method]) }}</td>{% endfor %}
<td>{{ signed(s.effect.differences.f1.restored) }}</td>
<td>{{ signed(s.effect.differences.f1.full, False) }}</td>
<td>{{ "–" if s.effect.given_back is none else percent(s.effect.given_back) }}</td>
<td>{{ signed(s.effect.differences.macro_f1.restored) }}</td></tr>
{% endfor %}</tbody></table></div>
<ul class="note">
<li>“Given back” is the share of the lost F1 that returns, (restored − shrunk) / (full − shrunk). It is left out
where the loss itself is not certain, and no more certain than the interval of restored − shrunk is.</li>
<li>The GAN saw no image that was taken out, and its checkpoint was chosen by the features of a network that has seen
no leaf. Val was left whole: it chose the checkpoints of the GAN and of all three classifiers, which a class as rare
as this would not have had.</li>
<li>The images to keep were drawn once, at random, without regard for photos of one leaf, and the GAN was trained
once. The intervals cover other training seeds of the classifier and other test images, not another draw or another
GAN; none is corrected for the number of counts tried.</li>
</ul>
</section>
"""


def minority_section(studies: Sequence[MinorityStudy], picture: str | Path | None) -> Markup:
    """The section's HTML; empty where no study was made.

    Args:
        studies: From `minority_results.read_minority`.
        picture: PNG of `minority_plots.draw_minority`; None where no study was made.
    """
    if not studies or picture is None:
        return Markup("")
    return fill(
        SECTION,
        studies=studies,
        sentences=[minority_sentence(study) for study in studies],
        info=studies[0].info,
        effect=studies[0].effect,
        picture=inline(picture),
        percent=lambda share: f"{share:.0%}",
    )


def minority_sentence(study: MinorityStudy) -> str:
    """What one study found, in words that its numbers force; `x` is code."""
    info, effect = study.info, study.effect
    f1, change = effect.scores["f1"], effect.differences["f1"]
    kept = f"With {info['real_kept']} of its {info['real_before']} real images, `{info['class']}`"
    level = f"{f1['shrunk'].mean:.3f} instead of {f1['full'].mean:.3f}"
    found = (
        f"{LABELS[effect.verdict.verdict]}: {_signed(change['restored'].mean)} ({_ends(change['restored'], study)}, "
        f"{effect.num_test} test images of the class, {len(study.seeds)} seeds)"
    )
    sentence = f"{kept} is recognised with an F1 of {level}. {info['synthetic']} synthetic images: {found}"
    if effect.given_back is not None:
        decided = effect.verdict.verdict in ("helps", "hurts")  # else it is the share of a gain that may be none
        return f"{sentence}, {effect.given_back:.0%} of what was lost." if decided else f"{sentence}."
    lost = _ends(change["full"], study)
    return f"{sentence}. That the lack of real images cost anything is itself not certain ({lost})."


def _ends(value: Interval, study: MinorityStudy) -> str:
    return f"{study.confidence:.0%} interval {_signed(value.lower)} to {_signed(value.upper)}"


def _signed(value: float) -> str:
    return f"{round(value, 3) + 0.0:+.3f}"  # + 0.0: no "-0.000"
