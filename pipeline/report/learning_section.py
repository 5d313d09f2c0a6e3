"""The page's section on the trainings themselves: did they get far enough for their ranking to mean anything?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from markupsafe import Markup

from pipeline.measure.learned import ENOUGH, RISING, Course
from pipeline.report.html import fill, inline

SECTION = """
<section>
<h2>Did they learn long enough?</h2>
{% for line in sentences %}<p class="warning">{{ line | code }}</p>{% endfor %}
<figure class="plot"><div><img src="{{ plot }}" alt="Macro-F1 on val over optimiser steps for every arm"></div>
<figcaption>Mean over seeds; the band reaches from the worst to the best seed. Each seed's checkpoint is its best on
val.</figcaption></figure>
{% if fits %}<div class="scroll"><table>
<thead><tr><th>arm</th><th>own training images right at the end</th>{% if steps %}
<th>gained on val in the last fifth</th>{% endif %}<th>has a say</th></tr></thead>
<tbody>{% for arm, course in courses.items() %}<tr><td>{{ arm }}</td>
<td>{{ "–" if course.fit is none else "%.0f%%" | format(100 * course.fit) }}</td>{% if steps %}
<td>{{ "%+.3f" | format(course.rise + 0.0) }}</td>{% endif %}<td>{{ "no" if arm in untrained else "yes" }}</td></tr>
{% endfor %}</tbody></table></div>
<p class="note">{% if steps %}Training images are counted over the batches between the last two looks at val, as they
were drawn and augmented; mean over seeds. All arms have {{ steps }} steps. Without augmentation an arm with fewer than
{{ "%.0f%%" | format(100 * enough) }} of them right has no say; with it, none that has fewer and still gained more than
{{ rising }}.{% else %}Of a frozen network with a regression on its
features, at the weakest penalty that was tried; mean over seeds. The horizontal axis of the curves counts the
penalties, from strong to weak.{% endif %} Guessing would have a macro-F1 of {{ "%.3f" | format(guessing) }} on this
test split at best; an arm that is not surely better has no say.</p>{% endif %}
</section>
"""


def training_sentences(untrained: Mapping[str, str], *, steps: int) -> list[str]:
    """A warning that belongs beside the verdict, or none.

    Args:
        untrained: Arm to what shows that it has not learned, of `learned.why_untrained`.
        steps: Optimiser steps of every arm; 0 for a frozen network.
    """
    if not untrained:
        return []
    first = "longer trainings (`train_classifier.steps`)" if steps else "another network (`train_classifier.model`)"
    those = "; ".join(f"`{arm}`: {why}" for arm, why in untrained.items())
    return [f"Not learned, and so without a say: {those}. What comes first: {first}."]


def learning_section(
    sentences: list[str],
    *,
    plot: str | Path,
    courses: Mapping[str, Course],
    untrained: Mapping[str, str],
    guessing: float,
) -> Markup:
    """The section's HTML.

    Args:
        sentences: Of `training_sentences`.
        plot: PNG of the learning curves.
        courses: arm → how its trainings went; no table where none has a share of its training images.
        untrained: As of `training_sentences`.
        guessing: Macro-F1 of `measure.guessing`.
    """
    steps = max((course.steps for course in courses.values()), default=0)
    return fill(
        SECTION, sentences=sentences, plot=inline(plot), courses=courses, untrained=untrained, guessing=guessing,
        steps=steps, fits=any(course.fit is not None for course in courses.values()), enough=ENOUGH, rising=RISING,
    )  # fmt: skip
