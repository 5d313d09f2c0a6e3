"""The page's section on the trainings themselves: did they get far enough for their ranking to mean anything?

A comparison of networks that have hardly begun to learn says little about the images they were given. Two signs can be
read off without another training: no control is surely better than guessing; or, without augmentation, the network
does not even get its own training images right by the end, as any of these networks would in time.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from markupsafe import Markup

from pipeline.measure.statistics import REFERENCES, Interval
from pipeline.report.html import fill, inline

ENOUGH = 0.9  # of its own training images right: less, without augmentation, is a training cut short
PLAIN = ("real", "balanced")  # the controls without augmentation

SECTION = """
<section>
<h2>Did they learn long enough?</h2>
{% for line in sentences %}<p class="warning">{{ line | code }}</p>{% endfor %}
<figure class="plot"><div><img src="{{ plot }}" alt="Macro-F1 on val over optimiser steps for every arm"></div>
<figcaption>Mean over seeds; the band reaches from the worst to the best seed. Each seed's checkpoint is its best on
val.</figcaption></figure>
{% if fit %}<div class="scroll"><table>
<thead><tr><th>arm</th><th>own training images right at the end</th></tr></thead>
<tbody>{% for arm, share in fit.items() %}<tr><td>{{ arm }}</td><td>{{ "%.0f%%" | format(100 * share) }}</td></tr>
{% endfor %}</tbody></table></div>
<p class="note">{% if steps %}Counted over the batches between the last two looks at val, as they were drawn and
augmented; mean over seeds. All arms have {{ steps }} steps.{% else %}Of a frozen network with a regression on its
features, at the weakest penalty that was tried; mean over seeds. The horizontal axis of the curves counts the
penalties, from strong to weak.{% endif %} Guessing would have a macro-F1 of {{ "%.3f" | format(guessing) }} on this
test split at best.</p>{% endif %}
</section>
"""


def training_sentences(
    scores: Mapping[str, Interval], fit: Mapping[str, float], *, guessing: float, steps: int
) -> list[str]:
    """Warnings that belong beside the verdict.

    Args:
        scores: arm → macro-F1 on test.
        fit: arm → share of its training images right at the end; arms without a figure are absent.
        guessing: Macro-F1 of `measure.guessing`.
        steps: Optimiser steps of every arm; 0 for a frozen network.
    """
    verb, longer = ("has not learned", "raise `train_classifier.steps`") if steps else ("does not know", "take another")
    controls = [arm for arm in REFERENCES if arm in scores]
    found = []
    if controls and all(scores[arm].lower <= guessing for arm in controls):
        best = max(controls, key=lambda arm: scores[arm].mean)
        found.append(
            f"The classifier {verb} these classes: trained on real images, `{best}` reaches a macro-F1 of "
            f"{scores[best].mean:.3f} [{scores[best].lower:.3f}, {scores[best].upper:.3f}], and guessing "
            f"{guessing:.3f}. Nothing here says whether synthetic images help; {longer} first."
        )
    plain = [arm for arm in PLAIN if arm in fit]
    if steps and plain and max(fit[arm] for arm in plain) < ENOUGH:
        best = max(plain, key=lambda arm: fit[arm])
        found.append(
            f"Short trainings: after {steps} steps the network has {fit[best]:.0%} of its own training images right "
            f"(`{best}`, no augmentation), where a finished one has nearly all. Longer trainings "
            "(`train_classifier.steps`) may rank the arms otherwise."
        )
    return found


def learning_section(
    sentences: list[str], *, plot: str | Path, fit: Mapping[str, float], guessing: float, steps: int
) -> Markup:
    """The section's HTML.

    Args:
        sentences: Of `training_sentences`.
        plot: PNG of the learning curves.
        fit: arm → share of its training images right at the end; empty: no table.
        guessing: Macro-F1 of `measure.guessing`.
        steps: Optimiser steps of every arm.
    """
    return fill(SECTION, sentences=sentences, plot=inline(plot), fit=fit, guessing=guessing, steps=steps)
