"""Groups: images that must stay on one side of the split, because they show one leaf or one shot.

Three sources are merged by union-find: a csv of leaf ids, a pattern on file names, and always near duplicates.
The same value of the csv's group column or of the pattern means the same group whatever the class: to merge
too much costs a little balance, to merge too little leaks test leaves into train.

Near duplicates are found by keypoints (`pipeline.images.keypoints`) and by hash, the latter in two steps. The 8x8
difference hash (64 bits: is a cell brighter than its left neighbour?) proposes pairs within a Hamming distance; the
32-px thumbnails confirm them. For thumbnails a, b with their channel means removed, the relative difference is

    r = mean|a - b| / min(mean|a|, mean|b|)

which neither a change of exposure nor a large plain background moves much. On tea_sickness every pair with
r <= 0.17 shows one leaf taken twice, and from 0.18 on most pairs are different leaves, whatever their hashes' distance
up to 12. Hashes within 2 bits are evidence of their own, so there a larger r is let pass. Each picture is compared in
all eight orientations (quarter turns, and their mirror images), so copies made by turning pictures are found; turned
ones have eight times the chance to be alike, so no larger r is let pass.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from pipeline import InputError
from pipeline.images.keypoints import Keypoints, Match, find_keypoints
from pipeline.images.listing import Source, nfc

THUMBNAIL_SIDE = 32
MAX_DIFFERENCE = 0.16
MAX_DIFFERENCE_OF_CLOSE_HASHES = 0.25
CLOSE_HASHES = 2  # bits of 64
# Mean absolute deviation, in grey levels of 255, under which a picture is flat: the bits of its hash are noise
# and equal those of any other flat picture, so it would chain strangers together.
FLAT_DEVIATION = 2.0
# (mirrored first, then quarter turns to the left), the picture as it is first
ORIENTATIONS = [(mirrored, turns) for mirrored in (False, True) for turns in range(4)]
_BLOCK = 512  # rows of the distance table at a time: 512 x 10,000 x 8 bytes = 40 MB


class Fingerprint(NamedTuple):
    """What near duplicates are found by.

    Attributes:
        dhashes: 64-bit difference hash in each of ORIENTATIONS.
        thumbnail: (32, 32, 3) uint8.
        keypoints: SIFT's.
    """

    dhashes: tuple[int, ...]
    thumbnail: np.ndarray
    keypoints: Keypoints


class Pair(NamedTuple):
    """Two near duplicates.

    Attributes:
        a: Index.
        b: Index, larger than a.
        hamming: Distance of the hashes, in the orientation in which they are nearest.
        difference: r of the thumbnails in that orientation.
        orientation: Index into ORIENTATIONS: what was done to a.
        points: Keypoints that agree; 0 for a pair found by hash alone.
        by_hash: Whether hash and thumbnail found it.
    """

    a: int
    b: int
    hamming: int
    difference: float
    orientation: int
    points: int = 0
    by_hash: bool = True


class CsvGroups(NamedTuple):
    """A groups csv matched to the files of a set.

    Attributes:
        groups: Per file, the group ids of its rows (none, one, or several where rows disagree).
        rows: Rows read.
        unknown: `file` values that name no file of the listed classes, sorted.
        ambiguous: `file` values that name files of several classes, sorted; the row counts for all of them.
    """

    groups: list[list[str]]
    rows: int
    unknown: list[str]
    ambiguous: list[str]


def fingerprint(image: Image.Image) -> Fingerprint:
    """Hashes, thumbnail and keypoints of an RGB picture, over its whole area."""
    grey = image.convert("L")
    # Turned by what is left after a first reduction: a photo of 12 megapixels would take long to turn seven times
    small = grey.resize((72, 72), Image.Resampling.BOX)
    hashes = [_dhash(grey)]
    for mirrored, turns in ORIENTATIONS[1:]:
        hashes.append(_dhash(Image.fromarray(np.ascontiguousarray(oriented(np.asarray(small), mirrored, turns)))))
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    thumbnail = np.asarray(image.resize(side, Image.Resampling.BOX))
    return Fingerprint(tuple(hashes), thumbnail, find_keypoints(image))


def _dhash(grey: Image.Image) -> int:
    cells = np.asarray(grey.resize((9, 8), Image.Resampling.LANCZOS))
    bits = np.packbits(cells[:, 1:] > cells[:, :-1])  # (8, 8) bits
    return int.from_bytes(bits.tobytes(), "big")


def oriented(pictures: np.ndarray, mirrored: bool, turns: int) -> np.ndarray:
    """Pictures (H, W) or (N, H, W, C), mirrored left to right, then turned by quarters to the left."""
    rows = 0 if pictures.ndim == 2 else 1
    return np.rot90(np.flip(pictures, rows + 1) if mirrored else pictures, turns, axes=(rows, rows + 1))


def is_flat(thumbnails: np.ndarray) -> np.ndarray:
    """Which thumbnails (N, 32, 32, 3) uint8 have too little contrast to be compared: (N,) bool."""
    return np.array([_centred(t[None])[1][0] < FLAT_DEVIATION for t in thumbnails], dtype=bool)


def near_duplicates(dhashes: np.ndarray, thumbnails: np.ndarray, distance: int) -> list[Pair]:
    """All pairs of near duplicates by hash, sorted by index.

    Args:
        dhashes: (N, 8) uint64, a column for each of ORIENTATIONS; or (N, 1), the upright ones alone.
        thumbnails: (N, 32, 32, 3) uint8.
        distance: Largest Hamming distance of 64 bits that proposes a pair.
    """
    alive = np.flatnonzero(~is_flat(thumbnails))
    hashes = np.asarray(dhashes, dtype=np.uint64)[alive]
    best: dict[tuple[int, int], Pair] = {}
    for orientation, (mirrored, turns) in enumerate(ORIENTATIONS[: hashes.shape[1]]):
        for start in range(0, len(alive), _BLOCK):
            rows = hashes[start : start + _BLOCK, orientation]
            apart = np.bitwise_count(rows[:, None] ^ hashes[None, start:, 0])  # (rows, N - start) uint8
            i, j = np.nonzero(np.triu(apart <= distance, 1))
            for at in range(0, len(i), 4096):
                one, two = i[at : at + 4096], j[at : at + 4096]
                a, b = alive[one + start], alive[two + start]
                r = relative_difference(oriented(thumbnails[a], mirrored, turns), thumbnails[b])
                bits = apart[one, two]
                close = (bits <= CLOSE_HASHES) & (orientation == 0)
                limit = np.where(close, MAX_DIFFERENCE_OF_CLOSE_HASHES, MAX_DIFFERENCE)
                for k in np.flatnonzero(r <= limit):
                    pair = Pair(int(a[k]), int(b[k]), int(bits[k]), float(r[k]), orientation)
                    known = best.get(pair[:2])
                    if known is None or pair.difference < known.difference:
                        best[pair[:2]] = pair
    return sorted(best.values())


def with_keypoints(
    pairs: Iterable[Pair], matches: Iterable[Match], dhashes: np.ndarray, thumbnails: np.ndarray
) -> list[Pair]:
    """Pairs found by hash and pairs found by keypoints as one list, sorted by index, each pair once.

    Args:
        pairs: By hash.
        matches: By keypoints.
        dhashes: (N, 8) uint64.
        thumbnails: (N, 32, 32, 3) uint8.
    """
    found = {pair[:2]: pair for pair in pairs}
    for match in matches:
        a, b = match.a, match.b
        if (a, b) in found:
            found[a, b] = found[a, b]._replace(points=match.points)
            continue
        bits = np.bitwise_count(dhashes[a] ^ dhashes[b, 0])
        nearest = int(bits.argmin())
        turned = oriented(thumbnails[a][None], *ORIENTATIONS[nearest])
        r = float(relative_difference(turned, thumbnails[b][None])[0])
        found[a, b] = Pair(a, b, int(bits[nearest]), r, nearest, match.points, by_hash=False)
    return sorted(found.values())


def relative_difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """r of the module's head for (P, 32, 32, 3) uint8 thumbnails: (P,) float32, 0 for equal pictures."""
    a, deviation_a = _centred(a)
    b, deviation_b = _centred(b)
    return np.abs(a - b).mean((1, 2, 3)) / np.minimum(deviation_a, deviation_b)


def _centred(thumbnails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Thumbnails less their channel means, and their mean absolute deviation."""
    x = thumbnails.astype(np.float32)
    x -= x.mean((1, 2), keepdims=True)
    return x, np.abs(x).mean((1, 2, 3))


def groups_csv_columns(path: Path) -> str | None:
    """The name of a csv's group column (`group` or `leaf_id`) if it is a groups csv, else None."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as f:
            header = next(csv.reader(f), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return None
    if "file" not in header:
        return None
    return next((name for name in ("group", "leaf_id") if name in header), None)


def find_groups_csv(raw_dir: Path, groups_csv: str) -> Path:
    """A groups csv by its path in the raw set, where DVC sees that it changes and a colleague gets it.

    Raises:
        InputError: There is none, or the path leaves the set.
    """
    path = raw_dir / groups_csv
    if not path.is_file() or not path.resolve().is_relative_to(raw_dir.resolve()):
        raise InputError(
            f"groups_csv: expected a csv in {raw_dir}, found no file '{groups_csv}' there; put it there "
            "(`leafsynth init PATH --groups FILE` does), or leave it empty."
        )
    return path


def read_groups_csv(path: Path, sources: Sequence[Source], classes: list[str], folders: Sequence[str]) -> CsvGroups:
    """Read `file,group` or `file,class,leaf_id` and match it to files.

    `file` is a path in the raw set, with or without the class folder; a `class` column says which class is meant
    where it is without. Rows without a group value are passed over.

    Args:
        path: The csv, UTF-8.
        sources: Every candidate file, also those later rejected.
        classes: Class names.
        folders: Name of each class's folder.

    Raises:
        InputError: Not readable as UTF-8 csv, or lacking a column.
    """
    column = groups_csv_columns(path)
    if column is None:
        raise InputError(
            f"{path.name}: expected a UTF-8 csv with columns `file,group` or `file,class,leaf_id`, found others; "
            "rename its columns, or leave groups_csv empty."
        )
    whole: dict[str, list[int]] = {}  # "folder/a.jpg", "class/a.jpg"
    inside: dict[str, list[int]] = {}  # "a.jpg"
    for i, source in enumerate(sources):
        for key in {nfc(source.file), nfc(f"{classes[source.label]}/{source.inside}")}:
            whole.setdefault(key, []).append(i)
        inside.setdefault(nfc(source.inside), []).append(i)
    class_of = {nfc(folder): nfc(name) for folder, name in zip(folders, classes, strict=True)}
    class_of.update({name: name for name in class_of.values()})

    groups: list[list[str]] = [[] for _ in sources]
    unknown: set[str] = set()
    ambiguous: set[str] = set()
    rows = 0
    try:
        with open(path, newline="", encoding="utf-8-sig") as f:
            for row in csv.DictReader(f):
                file, group = _clean_path(row["file"] or ""), (row[column] or "").strip()
                if not file and not group:
                    continue
                rows += 1
                name = class_of.get(nfc((row.get("class") or "").strip()))
                found = whole.get(file) or (whole.get(f"{name}/{file}", []) if name else inside.get(file, []))
                if not found:
                    unknown.add(file)
                if len({sources[i].label for i in found}) > 1:
                    ambiguous.add(file)
                for i in found if group else []:
                    groups[i].append(group)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path.name}: expected a UTF-8 csv, found a line that can't be read ({error}); save it as UTF-8 csv."
        ) from None
    return CsvGroups(groups, rows, sorted(unknown), sorted(ambiguous))


def pattern_groups(sources: Sequence[Source], group_pattern: str) -> list[str | None]:
    """The group of every file by a regular expression: its group 1, or the whole match if it has no groups.

    Searched in the file's name; a pattern with a '/' in it is searched in the path inside the class folder.

    Raises:
        InputError: Not a regular expression.
    """
    try:
        pattern = re.compile(group_pattern)
    except re.error as error:
        raise InputError(
            f"group_pattern: expected a regular expression, found '{group_pattern}' ({error}); correct it, "
            "or leave it empty."
        ) from None
    subjects = (s.inside if "/" in group_pattern else s.inside.rpartition("/")[2] for s in sources)
    matches = (pattern.search(subject) for subject in subjects)
    return [(m.group(1 if pattern.groups else 0) or None) if m else None for m in matches]


def merge(size: int, linked: Iterable[tuple[int, int]]) -> np.ndarray:
    """Union-find: for each of `size` items the smallest index of its component, (size,) int64."""
    parent = list(range(size))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for a, b in linked:
        a, b = root(a), root(b)
        parent[max(a, b)] = min(a, b)
    return np.array([root(i) for i in range(size)], dtype=np.int64)


def links_of_equal(keys: Iterable[tuple[int, object]]) -> list[tuple[int, int]]:
    """Links between items that share a key; the items given as (index, key)."""
    first: dict[object, int] = {}
    return [(first.setdefault(key, i), i) for i, key in keys]


def pairs_missed(given: np.ndarray, by_near: np.ndarray) -> dict[str, int]:
    """How many pairs of images of one given group near duplicates alone would have left apart.

    Args:
        given: (N,) each image's group by csv or pattern.
        by_near: (N,) its group by near duplicates alone.

    Returns:
        `pairs_given`, and of these `pairs_missed_by_near_duplicates`.
    """

    def pairs(groups: np.ndarray) -> int:
        counts = np.unique(groups, axis=0, return_counts=True)[1]
        return int((counts * (counts - 1) // 2).sum())

    total = pairs(given[:, None])
    return {
        "pairs_given": total,
        "pairs_missed_by_near_duplicates": total - pairs(np.stack([given, by_near], axis=1)),
    }


def orientation_name(orientation: int) -> str:
    """`as it is`, `turned by 90°`, `mirrored and turned by 180°` …"""
    mirrored, turns = ORIENTATIONS[orientation]
    parts = ["mirrored"] * mirrored + [f"turned by {90 * turns}°"] * (turns > 0)
    return " and ".join(parts) or "as it is"


def _clean_path(path: str) -> str:
    return nfc(path.strip()).replace("\\", "/").removeprefix("./").strip("/")
