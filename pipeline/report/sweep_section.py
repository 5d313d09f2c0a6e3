"""The page's section on mixtures: the recommended recipe first, then what it rests on."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from pipeline.measure.statistics import Interval
from pipeline.report.html import fill, inline
from pipeline.report.sweep_results import Headroom, Sweep

SECTION = """<section>
<h2>How many synthetic images?</h2>
<p><strong>{{ sweep.recommendation.sentence | code }}</strong></p>
<p class="note">The same classifier was trained at {{ rows | length }} ratios of synthetic to real images, each
{% if sweep.steps %}for {{ sweep.steps }} steps {% endif %}
with the seeds {{ sweep.seeds | join(", ") }}. Ratio 1 means: behind the real images of every
class stand as many synthetic ones. Ratio 0 is the arm <code>{{ sweep.choice.control }}</code>, of those without
synthetic images the simplest that val cannot tell from the best ({% for arm, f1 in sweep.choice.controls.items() %}
{{- arm }} {{ "%.3f" | format(f1) }}{{ ", " if not loop.last }}{% endfor %}).
The {{ sweep.n_val }} val images chose the ratio; the {{ sweep.n_test }} test images ({{ sweep.test_groups }} groups)
were then shown to
{{ "the chosen ratio and to 0," if sweep.difference else "the chosen ratio, 0," }} and to no other ratio.</p>
<figure class="plot"><div><img src="{{ picture }}"
alt="Macro-F1 on val over the ratio of synthetic to real images, and on test for the chosen ratio and 0"></div>
<figcaption>Left: faint dots are training seeds, which shows how far chance alone moves the figure. Right:
{% if sweep.difference %}the test split's answer for the two recipes it was asked about.{% else %}the recipe without
synthetic images; there was no mixture to confirm.{% endif %}</figcaption></figure>
<div class="scroll"><table>
<thead><tr><th>synthetic to real</th><th>synthetic images</th><th>share of a batch</th><th>F1 on val</th>
<th>sd over seeds</th><th>behind the best</th><th>F1 on test</th></tr></thead>
<tbody>{% for row in rows %}<tr{% if row.chosen %} class="chosen"{% endif %}>
<td>{{ row.ratio }}{{ " (chosen)" if row.chosen }}</td><td>{{ row.synthetic }}</td><td>{{ row.share }}</td>
<td>{{ row.val }}</td><td>{{ row.sd }}</td><td>{{ row.behind }}<span class="ends">{{ row.ends }}</span></td>
<td>{{ row.test }}<span class="ends">{{ row.test_ends }}</span></td></tr>
{% endfor %}</tbody></table></div>
{% if sweep.difference %}<p>On test, macro-F1 at ratio {{ chosen }} minus macro-F1 at ratio 0 is
<span class="{{ 'up' if sweep.difference.lower > 0 else 'down' if sweep.difference.upper < 0 }}">{{
"%+.3f" | format(sweep.difference.mean + 0.0) }}</span>, paired by image and seed ({{ percent(sweep.confidence)
}} interval {{ "%+.3f" | format(sweep.difference.lower + 0.0) }} to
{{ "%+.3f" | format(sweep.difference.upper + 0.0) }}). It counts as confirmed only if the whole interval lies above
zero.</p>{% endif %}
{% if headroom %}<h3>What are more photos worth?</h3>
<p>{{ headroom | code }}</p>
<figure class="plot"><div><img src="{{ photos }}" alt="Macro-F1 on test over the number of train photos"></div>
<figcaption>The recipe of <code>{{ sweep.choice.control }}</code> on a part of train's photos, those of one leaf
together; {{ percent(sweep.confidence) }} intervals. Nothing was chosen by it.</figcaption></figure>{% endif %}
<ul class="note">
<li>The rule of choice: {{ sweep.choice.rule }}. So a tie, and a lead that noise would give as well, go to fewer
synthetic images. “Behind the best” stands above the range of one standard error.</li>
<li>Figures on val flatter all ratios: each training's checkpoint was chosen on the same images. They serve to choose
between the ratios, not to say how good one is.</li>
<li>The generators were trained once. No interval here says how the figures would move if they were trained again, or
longer.</li>
</ul>
</section>
"""


def sweep_section(sweep: Sweep, picture: str | Path, photos: str | Path | None = None, headroom: str = "") -> Markup:
    """The section's HTML.

    Args:
        sweep: From `sweep_results.read_sweep`.
        picture: PNG of `sweep_plots.draw_sweep`.
        photos: PNG of `sweep_plots.draw_headroom`; None where nobody was trained on fewer.
        headroom: Of `headroom_sentence`.
    """
    return fill(
        SECTION,
        sweep=sweep,
        picture=inline(picture),
        headroom=headroom,
        photos=inline(photos) if photos else "",
        chosen=f"{sweep.choice['chosen']:g}",
        rows=[_row(sweep, float(ratio)) for ratio in sweep.choice["ratios"]],
        percent=lambda share: f"{100 * share:.4g}%",
    )


def headroom_sentence(of: Headroom, *, candidate: str, matched: str, gain: Interval) -> str:
    """What more photos gave, and what synthetic images gave in their measure; `x` is code.

    Args:
        of: Of the sweep.
        candidate: The GAN's arm.
        matched: The control that lacks only its synthetic images.
        gain: Macro-F1 on test of the first minus the second.
    """
    rise = of.doubling
    return (
        f"From {of.photos[0]} photos to {of.photos[-1]} macro-F1 on test went from {of.macro_f1[0].mean:.3f} to "
        f"{of.macro_f1[-1].mean:.3f}; a doubling, by the last step, gains {_span(rise)}. `{candidate}` gained "
        f"{_span(gain)} on `{matched}`. {of.worth(gain)}"
    )


def _span(value: Interval) -> str:
    mean, lower, upper = (f"{round(end, 3) + 0.0:+.3f}" for end in value[:3])
    return f"{mean} ({lower} to {upper})"


def _row(sweep: Sweep, ratio: float) -> dict[str, object]:
    name = f"{ratio:g}"
    val, behind = sweep.choice["val_macro_f1"][name], sweep.choice["behind_best"][name]
    test, is_best = sweep.test.get(name), ratio == sweep.choice["best"]
    return {
        "ratio": name,
        "chosen": ratio == sweep.choice["chosen"],
        "synthetic": sum(sweep.choice["synthetic"][name].values()),
        "share": f"{ratio / (1 + ratio):.0%}",
        "val": f"{val['mean']:.3f}",
        "sd": "–" if val["sd"] is None else f"{val['sd']:.3f}",
        "behind": "the best" if is_best else f"{behind['mean']:.3f}",
        "ends": "" if is_best else f"{behind['lower'] + 0.0:.3f} to {behind['upper'] + 0.0:.3f}",
        "test": "not asked" if test is None else f"{test.mean:.3f}",
        "test_ends": "" if test is None else f"{test.lower:.3f} to {test.upper:.3f}",
    }
