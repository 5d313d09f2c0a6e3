"""The page's section on the judge: does the answer depend on which classifier is asked, and which of two tells more?

Synthetic images can help a network that has seen nothing else and leave a pretrained one where it was; then whoever has
the pretrained one has no use for them. So the controls and the candidate stand before two judges of different kinds.
Nor is a pretrained network the better one on all leaves: of small photos one from scratch can tell more
(bench/results/judges_tea_cpu.json).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from pipeline import MATCHED_CONTROL, REFERENCES, InputError, controls_among
from pipeline.measure.guessing import guessing_macro_f1
from pipeline.measure.learned import why_untrained
from pipeline.measure.mixture_choice import choose_simplest
from pipeline.measure.statistics import ArmStatistics, Interval, compare_arms
from pipeline.report.html import fill
from pipeline.report.results import (
    Manifest,
    Predictions,
    check_against_manifest,
    check_comparable,
    read_course,
    read_predictions,
    read_steps,
)

# kind in params.yaml → as people call it
JUDGES = {
    "probe": "a frozen pretrained network",
    "finetune": "a finetuned pretrained network",
    "scratch": "a network from scratch",
}
COLOURS = "colour histograms"
SECOND = "second judge"  # its best control beside the arms of the first; no arm's name holds a space

SECTION = """<section>
<h2>Does the answer depend on the judge?</h2>
<p><strong>{{ sentences[0] | code }}</strong></p>
<p>{{ sentences[1] | code }}</p>
<div class="scroll"><table>
<thead><tr><th>macro-F1 on test</th>{% for arm in arms %}<th>{{ arm }}</th>{% endfor %}
<th>{{ candidate }} − {{ matched }}</th></tr></thead>
<tbody>{% for row in rows %}<tr><td>{{ row.judge }}
<span class="ends">{{ row.seeds }} seed{{ "s" if row.seeds > 1 }}</span></td>
{% for arm in arms %}<td>{{ number(row, arm) }}</td>{% endfor %}
<td>{{ number(row, "difference", True) }}</td></tr>
{% endfor %}<tr><td>a regression on colour histograms</td>{% for arm in arms %}
<td>{{ number(colours, "macro_f1") if arm == "balanced" else "–" }}</td>{% endfor %}<td>–</td></tr>
</tbody></table></div>
<p class="note">The last row knows no shapes: who does not surely exceed it need not be asked. The verdict is that of
the first judge. The second saw the same images of train, val and test; the arms are those that the verdict is about.
Of either judge, synthetic images help where the whole interval of the difference to each of the three controls lies
above zero. {{ "%.4g" | format(100 * confidence) }}% intervals.</p>
</section>
"""


class Asked(NamedTuple):
    """One judge's figures.

    Attributes:
        kind: Of `JUDGES`.
        seeds: Number of its seeds.
        scores: arm → macro-F1 on test.
        differences: control → of the candidate to it.
        matched: The control that differs from the candidate by the synthetic images alone.
        control: The simplest control that val cannot tell from the best.
        right: Of that control, balanced accuracy on test.
        untrained: Arms that have not learned → what shows it.
    """

    kind: str
    seeds: int
    scores: Mapping[str, Interval]
    differences: Mapping[str, Interval]
    matched: str
    control: str
    right: float
    untrained: Mapping[str, str]

    @property
    def difference(self) -> Interval:
        """To the matched control."""
        return self.differences[self.matched]

    @property
    def finding(self) -> str:
        """What its intervals say: it must be over every control to help, as for the verdict."""
        if set(self.untrained) - set(self.differences) or self.matched in self.untrained:
            return "untrained"
        if all(difference.lower > 0 for arm, difference in self.differences.items() if arm not in self.untrained):
            return "help"
        return "hurt" if self.difference.upper < 0 else "open"


class Judges(NamedTuple):
    """Two judges on the same arms.

    Attributes:
        candidate: The GAN arm that both were asked about.
        first: Whose verdict it is.
        second: The other.
        leads: Arm of the first → macro-F1 of the second's own control minus that arm's by the first.
        colours: Macro-F1 on test of a regression on colour histograms of the same photos, classes counting alike.
        above_colours: Arm of the first → its macro-F1 minus that.
        confidence: Of the intervals.
    """

    candidate: str
    first: Asked
    second: Asked
    leads: Mapping[str, Interval]
    colours: Interval
    above_colours: Mapping[str, Interval]
    confidence: float

    @property
    def matched(self) -> str:
        """The control that differs from the candidate by the synthetic images alone."""
        return MATCHED_CONTROL[self.candidate]

    @property
    def metrics(self) -> dict[str, float]:
        """For metrics.json: `second_judge/<arm>/test/macro_f1`, `…/difference`, `…/lead`, `…/colours`, with ends."""
        found = {}
        named = {f"{arm}/test/macro_f1": of for arm, of in self.second.scores.items()}
        named |= {"difference": self.second.difference, "lead": self.lead, "colours/test/macro_f1": self.colours}
        for name, of in named.items():
            found |= {f"second_judge/{name}{end}": value for end, value in _ends(of).items()}
        return {key: round(float(value), 6) + 0.0 for key, value in found.items()}

    @property
    def lead(self) -> Interval:
        """Of the second's own control over the first's."""
        return self.leads[self.first.control]

    @property
    def sentences(self) -> tuple[str, str]:
        """Whether the two say the same, and which of them tells more; forced by their intervals."""
        return self._on_synthetic_images(), self._on_themselves()

    @property
    def no_better_than_colours(self) -> list[str]:
        """The first judge's arms that do not surely exceed what colours alone tell."""
        return [arm for arm, lead in self.above_colours.items() if lead.lower <= 0]

    def _on_themselves(self) -> str:
        better, other = (self.second, self.first) if self.lead.mean > 0 else (self.first, self.second)
        surely = self.lead.lower > 0 or self.lead.upper < 0
        names = [JUDGES[of.kind] for of in (better, other)]
        own, theirs = (f"{of.scores[of.control].mean:.3f} as `{of.control}`" for of in (better, other))
        how = (
            f"each by the simplest recipe that val cannot tell from its best (second minus first: {_signed(self.lead)})"
        )
        if not surely:
            scores = f"{own} by {names[0]} against {theirs} by {names[1]}"
            return f"Neither surely tells more of these leaves: macro-F1 {scores}, {how}."
        who = f"{names[0].capitalize()} tells more of these leaves than {names[1]}"
        return f"{who}: macro-F1 {own} against {theirs}, {how}."

    def _on_synthetic_images(self) -> str:
        first, second = JUDGES[self.first.kind], JUDGES[self.second.kind]
        asked = (self.first, self.second)
        if silent := [of for of in asked if of.finding == "untrained"]:
            why = "; ".join(f"`{arm}`: {words}" for of in silent for arm, words in of.untrained.items())
            who = " and ".join(JUDGES[of.kind] for of in silent)
            return f"Not learned, and so without a say on synthetic images: {who} ({why})."
        said = {"help": "help", "hurt": "hurt", "open": "neither surely help nor surely hurt"}
        of = f"`{self.candidate}` against `{self.matched}`: {_signed(self.first.difference)} and"
        of += f" {_signed(self.second.difference)}"
        if self.first.finding == self.second.finding:
            return f"Both judges say the same: the synthetic images {said[self.first.finding]} ({of})."
        return (
            f"The answer depends on the judge: for {first} the synthetic images {said[self.first.finding]}, for "
            f"{second} they {said[self.second.finding]} ({of})."
        )


def read_judges(
    classifier_dirs: Mapping[str, str | Path],
    second: str | Path,
    *,
    kinds: tuple[str, str],
    classes: Sequence[str],
    manifest: Manifest,
    augmented: Collection[str] = (),
    seed: int = 42,
    resamples: int = 2000,
    confidence: float = 0.95,
    **_: Any,
) -> Judges | None:
    """Both judges' predictions, compared; None where the second was not asked.

    Args:
        classifier_dirs: arm → folder of the first judge's results.
        second: Folder of `second_judge`.
        kinds: Of the first and the second.
        classes: Class names.
        manifest: Of the split; its groups are resampled as wholes.
        augmented: Arms whose training images are changed anew at every step.
        seed: Of the resampling.
        resamples: Of seeds and test images.
        confidence: Of the intervals.

    Raises:
        InputError: A file is malformed, or holds other arms or images than expected.
    """
    path = Path(second) / "predictions.csv"
    if not path.is_file() and not (Path(second).is_dir() and any(Path(second).iterdir())):
        return None  # an empty folder: nobody else was asked
    of_second = read_predictions(path, classes, by_method=True)
    candidates = [arm for arm in MATCHED_CONTROL if arm in of_second]
    if len(candidates) != 1 or set(of_second) != {*REFERENCES, *candidates}:
        raise InputError(
            f"{path}: expected the arms {', '.join(REFERENCES)} and one GAN arm, found {', '.join(of_second)}; run "
            "`dvc repro --force second_judge`."
        )
    of_all = {
        arm: read_predictions(Path(classifier_dirs[arm]) / "predictions.csv", classes)[""]
        for arm in dict.fromkeys((*of_second, *controls_among(classifier_dirs)))
    }
    of_first = {arm: of_all[arm] for arm in of_second}
    asked = []
    places = [
        {arm: (Path(classifier_dirs[arm]), "") for arm in of_first},
        {arm: (Path(second), arm) for arm in of_second},
    ]
    for kind, of, place in zip(kinds, (of_first, of_second), places, strict=True):
        for own in of.values():
            check_against_manifest(own, manifest, classes)
        check_comparable(of)
        guessing = guessing_macro_f1(manifest.counts("test", classes))
        statistics = _compared(of, manifest, classes, resamples=resamples, confidence=confidence, seed=seed)
        to = {control: of["macro_f1"] for control, of in statistics[candidates[0]].differences.items()}
        scores = {arm: of_arm.metrics["macro_f1"] for arm, of_arm in statistics.items()}
        seeds = len(next(iter(of.values())).seeds)
        val = of[REFERENCES[0]].splits["val"]
        groups = [manifest.groups["val"][image] for image in val.images]
        on_val = {arm: of[arm].splits["val"].predicted for arm in REFERENCES}
        control = choose_simplest(val.labels, on_val, classes=classes, groups=groups).chosen
        right = statistics[control].metrics["balanced_accuracy"].mean
        why = {}
        for arm, (folder, method) in place.items():
            steps = read_steps(folder / "metrics.json")
            course = read_course(folder / "history.csv", steps=steps, is_augmented=arm in augmented, method=method)
            why[arm] = why_untrained(course, scores[arm], guessing=guessing, of_real_images=arm in REFERENCES)
        untrained = {arm: words for arm, words in why.items() if words is not None}
        asked.append(Asked(kind, seeds, scores, to, MATCHED_CONTROL[candidates[0]], control, right, untrained))
    by_colour = read_predictions(Path(second) / "colours" / "predictions.csv", classes)[""]
    check_against_manifest(by_colour, manifest, classes)
    compared = _compared(
        {**of_all, SECOND: of_second[asked[1].control], COLOURS: by_colour}, manifest, classes, resamples=resamples,
        confidence=confidence, seed=seed, pairs=[pair for arm in of_all for pair in ((SECOND, arm), (arm, COLOURS))],
    )  # fmt: skip
    leads = {arm: compared[SECOND].differences[arm]["macro_f1"] for arm in of_all}
    above = {arm: compared[arm].differences[COLOURS]["macro_f1"] for arm in of_all}
    colours = compared[COLOURS].metrics["macro_f1"]
    return Judges(candidates[0], asked[0], asked[1], leads, colours, above, confidence)


def judges_section(judges: Judges) -> Markup:
    """The section's HTML."""
    arms = [*REFERENCES, judges.candidate]
    rows = []
    for asked in (judges.first, judges.second):
        row: dict[str, Any] = {"judge": JUDGES[asked.kind], "seeds": asked.seeds}
        for name, of in {**asked.scores, "difference": asked.difference}.items():
            row |= {f"{name}{end}": value for end, value in _ends(of).items()}
        rows.append(row)
    return fill(
        SECTION, sentences=judges.sentences, arms=arms, rows=rows, candidate=judges.candidate, matched=judges.matched,
        confidence=judges.confidence, colours={f"macro_f1{end}": value for end, value in _ends(judges.colours).items()},
    )  # fmt: skip


def _compared(
    predictions: Mapping[str, Predictions], manifest: Manifest, classes: Sequence[str], **resampling: Any
) -> dict[str, ArmStatistics]:
    test = {arm: own.splits["test"] for arm, own in predictions.items()}
    first = next(iter(test.values()))
    return compare_arms(
        first.labels,
        {arm: own.predicted for arm, own in test.items()},
        classes=classes,
        seeds={arm: own.seeds for arm, own in predictions.items()},
        groups=[manifest.groups["test"][image] for image in first.images],
        **resampling,
    )


def _ends(value: Interval) -> dict[str, float]:
    return {"": value.mean, "_lower": value.lower, "_upper": value.upper}


def _signed(value: Interval) -> str:
    return f"{round(value.mean, 3) + 0.0:+.3f} [{round(value.lower, 3) + 0.0:+.3f}, {round(value.upper, 3) + 0.0:+.3f}]"
