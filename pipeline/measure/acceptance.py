"""Which synthetic images to keep: rules a candidate must pass, each held to what real val images manage.

Keeping what a classifier of train recognises follows Dat et al. 2023 ("GaFi", BMVC), who chose their threshold on
test; here thresholds come from val. Each is the score that a stated share of real images would reach, by split
conformal prediction (Lei et al. 2018, "Distribution-free predictive inference for regression", section 2.2): of n
val scores, the floor((1 - share) (n + 1))-th smallest. A further real image, drawn as the val images were, then
passes with a probability of `share` to `share` + 1 / (n + 1), whatever the scores' distribution. A class with too
few val images for such a rank takes the threshold of all classes together. Where agreement is asked for, the rules
that rest on the classifier too are set on those val images that it recognises, and their share is of such images:
the others' scores would let through whatever agrees at all.

The classifier's checkpoint or strength was chosen on the same val images, so they score a little too well and the
thresholds that rest on it are a little too strict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline import InputError

THUMBNAIL = 16  # px: shifts of a pixel or two, noise and compression hardly show in it
APART = 0.5  # of the distance that `copies` asks for: generated images are smoother, and closer without repeating
NEAREST_K = 5  # for the balls of `density`, as wherever else pipeline.measure draws balls

# Of the table of what was rejected
COLUMNS = (
    "class", "rule", "threshold", "source", "num_val", "val_seen", "val_rejected", "seen", "rejected", "accepted",
)  # fmt: skip


class Examined(NamedTuple):
    """Images as the rules see them.

    Attributes:
        probabilities: (N, K) of the classifier of train, the teacher.
        features: (N, D) of the same, before its last layer.
        thumbnails: (N, T), see `thumbnails`.
    """

    probabilities: np.ndarray
    features: np.ndarray
    thumbnails: np.ndarray

    def take(self, rows: np.ndarray) -> Examined:
        """Some of the images."""
        return Examined(*(of[rows] for of in self))


class Threshold(NamedTuple):
    """What a candidate's score must reach.

    Attributes:
        value: The least score that passes.
        source: `class` or `all classes`, whose val images it was chosen on; `fixed` where there is nothing to choose.
        num_val: How many those were.
    """

    value: float
    source: str
    num_val: int


class Outcome(NamedTuple):
    """What became of a candidate.

    Attributes:
        rejected_by: The first rule that it failed; None: accepted.
        scores: Rule to score, of the rules that are on.
    """

    rejected_by: str | None
    scores: dict[str, float]


def thumbnails(images: np.ndarray) -> np.ndarray:
    """Images small enough to be compared as a whole: means over blocks of pixels.

    Args:
        images: (N, H, H, 3) uint8, H a multiple of 16.

    Returns:
        (N, 16 · 16 · 3) float64, 0 to 255.
    """
    n, side = len(images), images.shape[1]
    if images.shape[1:] != (side, side, 3) or side % THUMBNAIL:
        raise ValueError(f"images must be (N, H, H, 3), H a multiple of {THUMBNAIL}. Got {images.shape} instead.")
    block = side // THUMBNAIL
    means = images.reshape(n, THUMBNAIL, block, THUMBNAIL, block, 3).mean(axis=(2, 4), dtype=np.float64)
    return means.reshape(n, -1)


def distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(n, T) and (m, T) thumbnails to (n, m): their root mean square difference in grey levels, 0 to 255.

    Of the four ways to mirror x the closest counts, since GANs are trained on mirrored images.
    """
    square = x.reshape(len(x), THUMBNAIL, THUMBNAIL, 3)
    nearest = np.full((len(x), len(y)), np.inf)
    for mirrored in (square, square[:, ::-1], square[:, :, ::-1], square[:, ::-1, ::-1]):
        nearest = np.minimum(nearest, _squared(mirrored.reshape(x.shape), y))
    return np.sqrt(nearest / x.shape[1])


def balls_around(features_train: np.ndarray, features: np.ndarray, *, k: int = NEAREST_K) -> np.ndarray:
    """How many balls of a class's train images a candidate's features lie in; in none, how close they come to one.

    Balls reach to the k-th nearest train image, as for density (Naeem et al. 2020, section 3). Outside of all, it is
    the largest radius / distance, below 1, after the realism score of Kynkäänniemi et al. 2019, section 4.3: many a
    held-out real image lies outside, and a threshold of 0 would let everything pass.

    Args:
        features_train: (N, D), N of 2 or more.
        features: (M, D).
        k: Which neighbour; no more than N - 1.

    Returns:
        (M,) float64, 0 or more.
    """
    k = min(k, len(features_train) - 1)
    train = np.asarray(features_train, dtype=np.float64)
    radii = np.partition(np.sqrt(_squared(train, train)), k, axis=1)[:, k]  # place 0 is the image itself
    apart = np.sqrt(_squared(np.asarray(features, dtype=np.float64), train))  # (M, N)
    reach = (radii / np.maximum(apart, np.finfo(np.float64).tiny)).max(axis=1)
    return np.where(reach >= 1, (apart <= radii).sum(axis=1), reach)


# Rule → (candidates, train images of their class, label) to scores, of which more is better. In the order in which
# they are asked; a candidate counts as rejected by the first that it fails. `duplicates` scores a candidate against
# those accepted before it, which `Judge` does one by one.
SCORES: dict[str, Callable[[Examined, Examined, int], np.ndarray]] = {
    "agreement": lambda c, train, label: (c.probabilities.argmax(axis=1) == label).astype(np.float64),
    "confidence": lambda c, train, label: c.probabilities[:, label],
    "density": lambda c, train, label: balls_around(train.features, c.features),
    "copies": lambda c, train, label: distances(c.thumbnails, train.thumbnails).min(axis=1),
}
RULES = (*SCORES, "duplicates")
TEACHERS = ("confidence", "density")  # of these, the ones that rest on the classifier beside agreement


def conformal_threshold(scores: np.ndarray, share: float) -> float | None:
    """The score that a further one of the same kind reaches with a probability of `share` or a little more.

    Args:
        scores: (n,).
        share: Between 0 and 1.

    Returns:
        The floor((1 - share) (n + 1))-th smallest; None where that is the 0-th: too few scores.
    """
    rank = int((1 - share) * (len(scores) + 1) + 1e-9)  # 0.1 · 10 is below 1 in binary
    return float(np.sort(scores)[rank - 1]) if rank else None


def choose_thresholds(
    train: Examined,
    labels_train: np.ndarray,
    val: Examined,
    labels_val: np.ndarray,
    classes: Sequence[str],
    rules: Mapping[str, bool | float | None],
) -> dict[str, dict[str, Threshold]]:
    """Rule to class to what must be reached, chosen on val.

    Args:
        train: The train images, which the candidates are measured against.
        labels_train: (N,) index into `classes`.
        val: The val images.
        labels_val: (V,).
        classes: Names.
        rules: Rule to the share of real images that shall pass it, for `TEACHERS` of those that pass `agreement`;
            None or false: no such rule. `agreement` has nothing to choose: true or false. `duplicates` takes half of
            the threshold that `copies` would have at its share (see `APART`).

    Raises:
        InputError: `density` is on, and a class has one train image or none, around which no ball can be drawn; or
            `agreement` is, and the classifier recognises no val image.
        ValueError: An unknown rule, or no val images.
    """
    if unknown := set(rules) - set(RULES):
        raise ValueError(f"rules must be among {list(RULES)}. Got {sorted(unknown)} instead.")
    if not len(labels_val):
        raise ValueError("val must hold images. Got none.")
    counts = np.bincount(labels_train, minlength=len(classes))
    if rules.get("density") and counts.min() < 2:
        raise InputError(
            f"filter_synthetic.rules.density: expected 2 train images or more of each class, got {counts.min()} of "
            f"'{classes[counts.argmin()]}'; set it to null, or collect more."
        )
    of_train = [train.take(labels_train == k) for k in range(len(classes))]
    of_val = [val.take(labels_val == k) for k in range(len(classes))]
    recognised = [v.take(SCORES["agreement"](v, v, k) > 0) for k, v in enumerate(of_val)]
    if rules.get("agreement") and not sum(len(v.features) for v in recognised):
        raise InputError(
            f"filter_synthetic: expected a teacher that recognises real images, got one that recognises none of "
            f"{len(labels_val)} val images; choose another kind, model or input_size (or more steps of one that is "
            "trained), or set filter_synthetic.rules.agreement to false."
        )
    chosen: dict[str, dict[str, Threshold]] = {}
    for rule in RULES:
        share = rules.get(rule)
        if rule == "agreement" and share:
            chosen[rule] = {name: Threshold(1.0, "fixed", 0) for name in classes}
        elif share:
            score, factor = (SCORES["copies"], APART) if rule == "duplicates" else (SCORES[rule], 1.0)
            asked = recognised if rule in TEACHERS and rules.get("agreement") else of_val
            scores = [factor * score(v, t, k) for k, (v, t) in enumerate(zip(asked, of_train, strict=True))]
            pooled = np.concatenate(scores)
            # Few val images in all: what every one of them reaches
            least = conformal_threshold(pooled, share)
            least = float(pooled.min()) if least is None else least
            chosen[rule] = dict.fromkeys(classes, Threshold(least, "all classes", len(pooled)))
            for name, own in zip(classes, scores, strict=True):
                value = conformal_threshold(own, share)
                if value is not None:
                    chosen[rule][name] = Threshold(value, "class", len(own))
    return chosen


class Judge:
    """Accepts or rejects the candidates of one class, in the order in which they come.

    Args:
        label: The class.
        train: Its train images.
        thresholds: Rule to what must be reached, of the rules that are on. Without `duplicates` every candidate is
            judged by itself.
    """

    def __init__(self, label: int, train: Examined, thresholds: Mapping[str, Threshold]):
        self.label, self.train, self.thresholds = label, train, thresholds
        self._accepted = np.empty((0, train.thumbnails.shape[1]))

    def __call__(self, candidates: Examined) -> list[Outcome]:
        """Judge the next candidates; those that are accepted stand in the way of later ones, also of this call."""
        columns = {rule: SCORES[rule](candidates, self.train, self.label) for rule in SCORES if rule in self.thresholds}
        own = candidates.thumbnails
        if "duplicates" in self.thresholds:
            columns["duplicates"] = np.full(len(own), np.inf)
            if len(self._accepted):
                columns["duplicates"] = distances(own, self._accepted).min(axis=1)
        outcomes, kept = [], []
        for i in range(len(own)):
            scores = {rule: float(column[i]) for rule, column in columns.items()}
            failed = [rule for rule, score in scores.items() if score < self.thresholds[rule].value]
            outcomes.append(Outcome(failed[0] if failed else None, scores))
            if not failed and "duplicates" in self.thresholds:
                kept.append(i)
                columns["duplicates"] = np.minimum(columns["duplicates"], distances(own, own[i : i + 1])[:, 0])
        if kept:
            self._accepted = np.concatenate([self._accepted, own[kept]])
        return outcomes


def acceptance_table(
    judged: Mapping[str, Sequence[Outcome]],
    judged_val: Mapping[str, Sequence[Outcome]],
    thresholds: Mapping[str, Mapping[str, Threshold]],
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """What each rule saw, rejected and passed on, class by class, and what the same rules make of real images.

    Args:
        judged: Class to what became of its candidates, all of them.
        judged_val: Class to what would become of its val images, each by itself, so without `duplicates`.
        thresholds: Rule to class to threshold.

    Returns:
        Rows of `COLUMNS`, of a class in the order in which the rules are asked, so that `accepted` of one is `seen`
        of the next; `val_seen` and `val_rejected` are "" where val is not judged so. And flat figures:
        `acceptance/<class>`, a share, `acceptance_val/<class>`, `candidates/<class>`, `rejected/<rule>/<class>`,
        `threshold/<rule>/<class>`.
    """
    rows, figures = [], {}
    for name, outcomes in judged.items():
        real = judged_val[name]
        seen, seen_val = len(outcomes), len(real)
        for rule, by_class in thresholds.items():
            threshold = by_class[name]
            rejected, rejected_val = (sum(o.rejected_by == rule for o in of) for of in (outcomes, real))
            alone = rule in SCORES
            rows.append(
                {"class": name, "rule": rule, "threshold": round(threshold.value, 6), "source": threshold.source}
                | {"num_val": threshold.num_val, "val_seen": seen_val if alone else ""}
                | {"val_rejected": rejected_val if alone else ""}
                | {"seen": seen, "rejected": rejected, "accepted": seen - rejected}
            )
            seen, seen_val = seen - rejected, seen_val - rejected_val
            figures[f"rejected/{rule}/{name}"] = float(rejected)
            figures[f"threshold/{rule}/{name}"] = threshold.value
        figures[f"candidates/{name}"] = float(len(outcomes))
        figures[f"acceptance/{name}"] = seen / len(outcomes)
        if len(real):
            figures[f"acceptance_val/{name}"] = seen_val / len(real)
    return rows, figures


def _squared(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(n, D) and (m, D) to (n, m): |x - y|² = |x|² + |y|² - 2 x·y, which rounding may leave below 0."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    return np.maximum(np.square(x).sum(axis=1)[:, None] + np.square(y).sum(axis=1) - 2.0 * (x @ y.T), 0.0)
