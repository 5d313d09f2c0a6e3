"""What file names say: which photos were taken one after another, and whether they name leaves.

Where no groups are given, a set may still hold several photos of each leaf, and then a random split puts a leaf on
both sides. Two signs of it are looked for. Names: a stem with a short number or letter behind it, or a folder a leaf.
Capture order: photos that follow each other are more alike than photos a few places apart. Since light, place and
camera drift too, the comparison is a permutation test that shuffles the order only within windows of WINDOW photos: a
slow drift is the same before and after, a leaf photographed thrice in a row is torn apart.
"""

from __future__ import annotations

import datetime
import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from pipeline.images.seeding import numpy_rng

WINDOW = 12  # photos
SHUFFLES = 1999
SIGNIFICANCE = 0.05  # for all classes together
ALIKE = 0.95  # neighbours at least this much nearer to each other than shuffled ones: less is no leaf twice
MIN_IMAGES = 12  # of a class, to be tested
MAX_PHOTOS = 30  # more under one name are a place or a day, not a leaf
_RINGS = 4

_UNIQUE_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{16,}", re.IGNORECASE)
_TIME = re.compile(r"((?:19|20)\d\d)[-_]?(\d\d)[-_]?(\d\d)[-_ T]?(\d\d)[-_.]?(\d\d)[-_.]?(\d\d)")
_HEX_END = re.compile(r"^(.*[^0-9a-z])?([0-9a-f]{1,6})$")
_NUMBER_END = re.compile(r"(\d{1,15})\D*$")

# what it looks like → the regular expression for split.group_pattern, whose first bracket is the leaf
NAME_PATTERNS = {
    "a folder for each leaf": r"^(.+)/[^/]+$",
    "a number in brackets behind the leaf's name": r"^(.+?)(?: ?\(\d{1,3}\))?\.[^.]*$",
    "a number behind the leaf's name": r"^(.+?)(?:[ _-]\d{1,2})?\.[^.]*$",
    "a letter behind the leaf's number": r"^(.*\d)[ _-]?[A-Za-z]?\.[^.]*$",
}


def capture_numbers(names: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """The running number of each file, as its camera or phone wrote it.

    Args:
        names: File names, or paths whose last part is one.

    Returns:
        For each file the kind of its number (`time`, `hex`, `decimal`; `` where it has none), and the number as
        (N,) float64: seconds of a time, NaN where there is none. Numbers of different kinds cannot be compared.
    """
    stems = [_UNIQUE_ID.sub("", name.rpartition("/")[2].rpartition(".")[0]).lower() for name in names]
    hexadecimal = _hexadecimal_stems(stems)
    kinds, numbers = [], np.full(len(stems), np.nan)
    for i, stem in enumerate(stems):
        kind, number = "", None
        if (time := _seconds(stem)) is not None:
            kind, number = "time", time
        elif stem in hexadecimal:
            kind, number = "hex", int(_HEX_END.match(stem).group(2), 16)
        elif found := _NUMBER_END.search(stem):
            kind, number = "decimal", int(found.group(1))
        kinds.append(kind)
        if number is not None:
            numbers[i] = number
    return kinds, numbers


def numbers_restart(labels: np.ndarray, numbers: np.ndarray) -> bool:
    """Whether the numbers merely count each class's files (rust_001, scab_001), and so tell of no capture order.

    So in at least two classes, and half of them, the first number is at most 5.
    """
    firsts = [numbers[(labels == k) & np.isfinite(numbers)].min(initial=np.inf) for k in np.unique(labels)]
    restarting = sum(first <= 5 for first in firsts)
    return restarting >= 2 and restarting * 2 >= len(firsts)


def group_hints(
    names: Sequence[str],
    labels: np.ndarray,
    classes: Sequence[str],
    thumbnails: np.ndarray,
    *,
    groups: np.ndarray | None,
    seed: int,
) -> dict:
    """Signs that a set holds several photos of each leaf.

    Args:
        names: N paths inside the class folders.
        labels: (N,) index of the class.
        classes: Class names.
        thumbnails: (N, 32, 32, 3) uint8.
        groups: (N,) the group of each image where groups are given; then nothing is looked for. None: none are given.
        seed: Of the shuffles.

    Returns:
        `name_pattern` (None, or `what`, `pattern`, `images`, `groups`, `largest`), `capture_order` by class (`images`,
        `ratio` of the distance between neighbours to that of shuffled ones, `p`, `alike`), and `sentences`, for people.
    """
    if groups is not None:
        return {"name_pattern": None, "capture_order": {}, "sentences": []}
    by_name = name_pattern(names, labels)
    in_order = {
        classes[k]: found
        for k in range(len(classes))
        if (found := _neighbours_alike(np.flatnonzero(labels == k), names, thumbnails, classes[k], seed))
    }
    for found in in_order.values():
        found["alike"] = bool(found["p"] * len(in_order) <= SIGNIFICANCE and found["ratio"] <= ALIKE)  # Bonferroni
    return {
        "name_pattern": by_name,
        "capture_order": in_order,
        "sentences": _sentences(name_hint(names, labels), in_order),
    }


def name_pattern(names: Sequence[str], labels: np.ndarray) -> dict | None:
    """The pattern of NAME_PATTERNS that puts most images into groups of two or more, if it is plausible.

    Plausible: at least half of all images lie in such groups, there are three of them or more, none holds more than a
    fifth of the images nor more than MAX_PHOTOS, hardly any spans classes, and the numbers or letters behind the name
    count from their beginning.
    """
    best: dict | None = None
    hexadecimal = "hex" in capture_numbers(names)[0]
    for what, pattern in NAME_PATTERNS.items():
        if hexadecimal and "letter" in what:
            continue  # 17a, 17b are numbers
        found = re.compile(pattern)
        members: dict[str, list[int]] = defaultdict(list)
        for i, name in enumerate(names):
            match = found.search(name if "/" in pattern else name.rpartition("/")[2])
            if match and match.group(1):
                members[match.group(1)].append(i)
        several = {stem: own for stem, own in members.items() if len(own) > 1}
        images = sum(map(len, several.values()))
        largest = max(map(len, several.values()), default=0)
        one_class = sum(len({int(labels[i]) for i in own}) == 1 for own in several.values())
        counting = sum(_counts_up([names[i] for i in own], stem) for stem, own in several.items())
        if (
            len(several) >= 3
            and images * 2 >= len(names)
            and largest <= min(MAX_PHOTOS, len(names) / 5)
            and one_class >= 0.9 * len(several)
            and ("/" in pattern or counting >= 0.7 * len(several))
            and (best is None or images > best["images"])
        ):
            best = {"what": what, "pattern": pattern, "images": images, "groups": len(several), "largest": largest}
    return best


def name_hint(names: Sequence[str], labels: np.ndarray) -> str:
    """A sentence on `name_pattern`; empty where there is none."""
    found = name_pattern(names, labels)
    if not found:
        return ""
    sizes = "2" if found["largest"] == 2 else f"2 to {found['largest']}"
    return (
        f"File names look like {found['what']}: {found['images']} images in {found['groups']} groups of {sizes}. If "
        f"these are photos of one leaf, set split.group_pattern to `{found['pattern']}`, or the same leaf will be in "
        "train and in test."
    )


def turn_tolerant_features(thumbnails: np.ndarray) -> np.ndarray:
    """What stays when a picture is turned or mirrored: quantiles of each colour in rings around the middle.

    Args:
        thumbnails: (N, S, S, 3) uint8.

    Returns:
        (N, 36) float64, each column with mean 0 and deviation 1 (0 where it is constant).
    """
    side = thumbnails.shape[1]
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    ring = np.minimum((np.hypot(x, y) / (side / 2) * _RINGS).astype(int), _RINGS - 1)
    quantiles = [np.quantile(thumbnails[:, ring == r], [0.1, 0.5, 0.9], axis=1) for r in range(_RINGS)]  # (3, N, 3)
    features = np.concatenate([q.transpose(1, 0, 2).reshape(len(thumbnails), -1) for q in quantiles], axis=1)
    features = features - features.mean(axis=0)
    return features / np.maximum(features.std(axis=0), 1e-9)


def _neighbours_alike(own: np.ndarray, names: Sequence[str], thumbnails: np.ndarray, name: str, seed: int) -> dict:
    """The permutation test of one class's images, given by index; {} where there is no order or too few images."""
    kinds, numbers = capture_numbers([names[i] for i in own])
    numbered = np.flatnonzero(np.isfinite(numbers))
    if len(numbered) < MIN_IMAGES:
        return {}
    order = numbered[np.lexsort((numbers[numbered], np.array(kinds)[numbered]))]
    features = turn_tolerant_features(thumbnails[own[order]])

    def mean_distance(at: np.ndarray) -> float:
        return float(np.sqrt(((features[at[1:]] - features[at[:-1]]) ** 2).sum(axis=1)).mean())

    rng = numpy_rng(seed, f"capture order:{name}")
    places = np.arange(len(order))
    observed = mean_distance(places)
    shuffled = np.empty(SHUFFLES)
    for s in range(SHUFFLES):
        window = (places + rng.integers(WINDOW)) // WINDOW  # windows begin elsewhere each time
        shuffled[s] = mean_distance(places[np.lexsort((rng.random(len(places)), window))])
    mean = shuffled.mean()
    return {
        "images": len(order),
        "ratio": float(observed / mean) if mean > 0 else 1.0,
        "p": float((1 + (shuffled <= observed).sum()) / (1 + SHUFFLES)),
    }


def _hexadecimal_stems(stems: Sequence[str]) -> set[str]:
    """Stems whose ends count in hexadecimal: of those with one beginning, some have letters and some have none."""
    families: dict[str, dict[str, str]] = defaultdict(dict)
    for stem in stems:
        if match := _HEX_END.match(stem):
            families[match.group(1) or ""][stem] = match.group(2)
    found: set[str] = set()
    for family in families.values():
        letters = sum(not end.isdigit() for end in family.values())
        if len(family) >= 10 and 0.05 * len(family) <= letters < len(family):
            found |= set(family)
    return found


def _seconds(stem: str) -> int | None:
    for match in _TIME.finditer(stem):
        try:
            moment = datetime.datetime(*map(int, match.groups()), tzinfo=datetime.UTC)
        except ValueError:
            continue
        return int(moment.timestamp())
    return None


def _counts_up(names: Sequence[str], stem: str) -> bool:
    """Whether what stands behind a stem counts from 0, 1, 2 or a: the gaps are no more than the files."""
    ends = [re.sub(r"[ _()-]", "", n.rpartition("/")[2].rpartition(".")[0][len(stem) :]).lower() for n in names]
    values = [int(end) if end.isdigit() else ord(end) - ord("a") + 1 if len(end) == 1 else 1 for end in ends]
    return min(values) <= 2 and max(values) <= 2 * len(values) + 1


def _sentences(by_name: str, in_order: dict[str, dict]) -> list[str]:
    sentences = [by_name] if by_name else []
    alike = {name: found for name, found in in_order.items() if found["alike"]}
    if alike:
        ratios = ", ".join(f"`{name}` by {1 - found['ratio']:.0%}" for name, found in alike.items())
        sentences.append(
            f"Photos taken one after another are more alike than photos a few places apart ({ratios}; permutation "
            f"test, p at most {max(found['p'] for found in alike.values()):.4f} a class): this set probably holds "
            "several photos of some leaves, more than near-duplicate detection recognises. Give split.groups_csv or "
            "split.group_pattern, or take every score for too high."
        )
    return sentences
