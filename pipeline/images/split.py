"""A raw set to train, val and test: audited, grouped, stratified by class, resized.

The test share is drawn first, then the val share out of the rest; a group never lies on two sides. Every class has
a random stream of its own, so a class that is added moves no image of another (unless near duplicates or group
ids tie the two together).
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
import tempfile
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from pipeline import InputError
from pipeline.images import groups as grouping
from pipeline.images.audit import RULES, count_rules, write_audit
from pipeline.images.capture_order import group_hints
from pipeline.images.decode import Rejected, decode, fit_square, is_enlarged, pillow_settings
from pipeline.images.keypoints import matches as keypoint_matches
from pipeline.images.listing import (
    LineFeeds,
    Note,
    Source,
    class_folders,
    is_hidden,
    list_class,
    nfc,
    subfolders,
    text,
)
from pipeline.images.seeding import numpy_rng
from pipeline.images.store import Store, write_store

SIDES = ("train", "val", "test")
FITS = ("crop", "pad", "stretch")
MANIFEST_COLUMNS = ("file", "split", "class", "group", "source", "sha256", "width", "height", "mended")

Report = Callable[[dict[str, float], int], None]


class Record(NamedTuple):
    """One image that decoded.

    Attributes:
        source: Where it came from.
        place: Number of the source, and its place among the photos.
        pixels: (R, R, 3) uint8, as it will be written.
        pixel_hash: SHA-256 of size and full-size RGB pixels, hex: equal for one picture saved in two files.
        sha256: Of the file's bytes, hex.
        size: Full width and height in pixels, upright.
        mended: (rule, detail) of every fix.
        fingerprint: For near duplicates.
    """

    source: Source
    place: int
    pixels: np.ndarray
    pixel_hash: str
    sha256: str
    size: tuple[int, int]
    mended: list[tuple[str, str]]
    fingerprint: grouping.Fingerprint


def split_images(
    raw_dir: str | Path,
    out_dir: str | Path,
    arrays_dir: str | Path,
    *,
    classes: list[str],
    img_resolution: int,
    photo_resolution: int,
    fit: str,
    test_share: float,
    val_share: float,
    seed: int,
    groups_csv: str | None,
    group_pattern: str | None,
    near_duplicate_distance: int,
    max_pixels: int,
    min_images_per_class: int,
    report: Report | None = None,
) -> dict:
    """Audit a raw set and split it.

    Args:
        raw_dir: A folder with one sub-folder a class, images at any depth in it.
        out_dir: Gets `{train,val,test}/<class>/*.png`, `manifest.csv`, `audit.json`, `audit.md`.
        arrays_dir: Gets a store in each of `train`, `val`, `test`, whose `file` is the PNG's name in its class folder,
            and the same images larger in `photos/train`, `photos/val`, `photos/test`.
        classes: Class names; other folders are ignored.
        img_resolution: Side of the written images in pixels, as a GAN sees them.
        photo_resolution: Side of those in `photos`, as a judge sees them, pixels; a smaller photo is enlarged to it,
            and counted.
        fit: `crop`, `pad` or `stretch` (`decode.fit_square`).
        test_share: Share of a class's images for test, over 0 and under 1.
        val_share: Share of the images left for val, 0 or more and under 1.
        seed: Of the draw.
        groups_csv: Path in the raw set of a csv of group ids. None or empty: none.
        group_pattern: Regular expression on file names. None or empty: none.
        near_duplicate_distance: Hamming distance (bits of 64) up to which near duplicates are looked for.
        max_pixels: Images with more pixels are rejected undecoded.
        min_images_per_class: Fewer usable images in a class are an error.
        report: Called with `images_decoded`, `images_rejected` as images are read. None: not called.

    Returns:
        The audit, as `audit.json` holds it.

    Raises:
        InputError: A listed class is missing, or has too few usable images or groups; a setting is out of range;
            the groups csv or the pattern can't be used.
    """
    raw_dir, out_dir, arrays_dir = Path(raw_dir), Path(out_dir), Path(arrays_dir)
    groups_csv, group_pattern = groups_csv or None, group_pattern or None
    _check_settings(fit, test_share, val_share)
    folders = class_folders(raw_dir, classes)
    csv_path = grouping.find_groups_csv(raw_dir, groups_csv) if groups_csv else None

    sources: list[Source] = []
    rejected: list[Note] = []
    ignored = _ignored_beside(raw_dir, folders, csv_path, min_images_per_class)
    for label, folder in enumerate(folders):
        found, refused, passed_over = list_class(raw_dir, folder, label)
        sources += found
        rejected += refused
        ignored += passed_over
    csv_groups = (
        grouping.read_groups_csv(csv_path, sources, classes, [text(f.name) for f in folders]) if csv_path else None
    )
    patterned = grouping.pattern_groups(sources, group_pattern) if group_pattern else None
    unopened = len(rejected)

    records: list[Record] = []
    csv_ids: list[list[str]] = []  # of every record
    pattern_ids: list[str | None] = []
    arrays_dir.mkdir(parents=True, exist_ok=True)
    photos = _Photos(arrays_dir, len(sources), photo_resolution)
    for i, result in enumerate(_read_all(sources, img_resolution, fit, max_pixels, photos)):
        if isinstance(result, Note):
            rejected.append(result)
        else:
            records.append(result)
            csv_ids.append(csv_groups.groups[i] if csv_groups else [])
            pattern_ids.append(patterned[i] if patterned else None)
        if report and ((i + 1) % 100 == 0 or i + 1 == len(sources)):
            report({"images_decoded": len(records), "images_rejected": len(rejected)}, i + 1)

    conflicts, copies = _identical(records)
    rejected += copies.values()
    kept = np.array([i for i in range(len(records)) if i not in copies], dtype=np.int64)
    labels = np.array([records[i].source.label for i in kept], dtype=np.int64)
    _check_enough(classes, folders, labels, rejected, min_images_per_class)

    hashes = np.array([records[i].fingerprint.dhashes for i in kept], dtype=np.uint64)
    thumbnails = np.stack([records[i].fingerprint.thumbnail for i in kept])
    near = grouping.with_keypoints(
        grouping.near_duplicates(hashes, thumbnails, near_duplicate_distance),
        keypoint_matches([records[i].fingerprint.keypoints for i in kept]),
        hashes,
        thumbnails,
    )
    # Rejected copies link too: two leaf ids that share a picture are one leaf.
    keys = [[*ids, *([f"name:{m}"] if m else [])] for ids, m in zip(csv_ids, pattern_ids, strict=True)]
    links = grouping.links_of_equal((i, key) for i, own in enumerate(keys) for key in own)
    links += grouping.links_of_equal((i, r.pixel_hash) for i, r in enumerate(records))
    before_near = len(np.unique(grouping.merge(len(records), links)[kept]))
    component = grouping.merge(len(records), links + [(int(kept[p.a]), int(kept[p.b])) for p in near])
    group_ids = _group_ids(component, records, keys)
    groups = [group_ids[component[i]] for i in kept]

    side_of = allocate(groups, labels, classes, test_share=test_share, val_share=val_share, seed=seed)
    sides = [side_of[group] for group in groups]
    files = _file_names([records[i].source for i in kept])
    rows = [
        {
            "file": f"{side}/{classes[label]}/{file}",
            "split": side,
            "class": classes[label],
            "group": group,
            "source": records[i].source.file,
            "sha256": records[i].sha256,
            "width": records[i].size[0],
            "height": records[i].size[1],
            "mended": ";".join(rule for rule, _ in records[i].mended),
        }
        for i, label, group, side, file in zip(kept, labels, groups, sides, files, strict=True)
    ]

    sizes = Counter(groups)
    classes_of = Counter(group for group, _ in set(zip(groups, labels.tolist(), strict=True)))
    summary: dict = {
        "count": len(sizes),
        "largest": max(sizes.values()),
        "spanning_classes": sorted(group for group, number in classes_of.items() if number > 1),
        "merged_by_near_duplicates": before_near - len(sizes),
        "flat_images_not_compared": int(grouping.is_flat(thumbnails).sum()),
    }
    if csv_groups or patterned:
        given = grouping.merge(len(records), grouping.links_of_equal((i, k) for i, own in enumerate(keys) for k in own))
        by_near = grouping.merge(len(kept), ((p.a, p.b) for p in near))
        summary |= grouping.pairs_missed(given[kept], by_near)
    if csv_groups:
        summary["csv"] = {
            "rows": csv_groups.rows,
            "unknown_files": csv_groups.unknown,
            "ambiguous_files": csv_groups.ambiguous,
            "images_without_row": sum(not csv_ids[i] for i in kept),
        }
    if patterned:
        summary["pattern"] = {"images_not_matched": sum(pattern_ids[i] is None for i in kept)}
    mended = [Note(r.source.file, rule, detail) for r in records for rule, detail in r.mended]
    pairs = [
        {
            "a": rows[p.a]["source"],
            "b": rows[p.b]["source"],
            "hamming": p.hamming,
            "difference": p.difference,
            "found_by": "hash" if p.by_hash else "keypoints",
            "orientation": grouping.orientation_name(p.orientation),
            "points": p.points,
            "same_class": bool(labels[p.a] == labels[p.b]),
        }
        for p in near
    ]
    rejected_dicts = [note._asdict() for note in sorted(rejected)]
    ignored_dicts = [note._asdict() for note in sorted(ignored)]
    mended_dicts = [note._asdict() for note in sorted(mended)]
    audit = {
        "settings": {
            "classes": list(classes),
            "fit": fit,
            "group_pattern": group_pattern or "",
            "groups_csv": csv_path.name if csv_path else "",
            "img_resolution": img_resolution,
            "max_pixels": max_pixels,
            "min_images_per_class": min_images_per_class,
            "near_duplicate_distance": near_duplicate_distance,
            "photo_resolution": photo_resolution,
            "seed": seed,
            "test_share": test_share,
            "val_share": val_share,
        },
        "rules": RULES,
        "images": {
            "files": len(sources) + unopened,
            "kept": len(kept),
            "rejected": len(rejected),
            "mended": len({note.file for note in mended}),
            "enlarged": sum(is_enlarged(records[i].size, photo_resolution, fit) for i in kept),
        },
        "rejected": rejected_dicts,
        "rejected_by_rule": count_rules(rejected_dicts),
        "mended": mended_dicts,
        "mended_by_rule": count_rules(mended_dicts),
        "ignored": ignored_dicts,
        "classes": _class_counts(classes, folders, rows, rejected),
        "label_conflicts": conflicts,
        "near_duplicates": pairs,
        "suspected_label_conflicts": [pair for pair in pairs if not pair["same_class"]],
        "groups": summary,
        "group_hints": group_hints(
            [records[i].source.inside for i in kept],
            labels,
            classes,
            thumbnails,
            groups=component[kept] if csv_groups or patterned else None,
            seed=seed,
        ),
        "leakage": _leakage(rows, pairs, [records[i].pixel_hash for i in kept]),
    }
    if any(audit["leakage"].values()):
        raise AssertionError(f"split: a group lies on two sides: {audit['leakage']}")  # a fault of this module

    _write(out_dir, arrays_dir, rows, [records[i].pixels for i in kept], labels, files, classes, img_resolution)
    photos.write_stores(arrays_dir / "photos", [records[i].place for i in kept], sides, labels, files, classes)
    write_audit(audit, out_dir)
    return audit


def read_rows(manifest: Path, side: str, store: Store) -> list[dict[str, str]]:
    """The rows of a manifest that belong to the images of one side's store, in their order."""
    with open(manifest, newline="", encoding="utf-8") as f:
        rows = {row["file"]: row for row in csv.DictReader(f)}
    return [rows[f"{side}/{store.classes[k]}/{file}"] for k, file in zip(store.labels, store.files, strict=True)]


def allocate(
    groups: Sequence[str],
    labels: np.ndarray,
    classes: Sequence[str],
    *,
    test_share: float,
    val_share: float,
    seed: int,
) -> dict[str, str]:
    """Which side every group goes to.

    Class by class, a class's groups are shuffled and taken while that brings the number of test images nearer to
    the share, then the same for val; the rest is train. A group that spans classes is placed with the first of
    them. Every class gets an image on each side.

    Args:
        groups: Group id of every image.
        labels: (N,) class index of every image.
        classes: Class names, which name the random streams.
        test_share: Of a class's images.
        val_share: Of a class's images that are not test; 0 leaves val empty.
        seed: Of the shuffles.

    Raises:
        InputError: A class has too few groups to stand on every side.
    """
    sizes: list[Counter[str]] = [Counter() for _ in classes]  # images of a class in a group, in order of images
    for group, label in zip(groups, labels, strict=True):
        sizes[label][group] += 1
    # Only groups that span classes make the order of classes matter. Listed order first, so that a class added
    # last leaves the others as they were; if that starves a class of groups, the poorest classes go first.
    listed = list(range(len(classes)))
    poorest_first = sorted(listed, key=lambda k: (len(sizes[k]), k))
    for order in (listed, poorest_first):
        side_of: dict[str, str] = {}
        for starved in order:
            if not _place(sizes[starved], side_of, classes[starved], test_share, val_share, seed):
                break
        else:
            return side_of
    needed = len(_asked_sides(val_share))
    raise InputError(
        f"{classes[starved]}: expected at least {needed} groups of its own, one for each of "
        f"{', '.join(_asked_sides(val_share))}, found {len(sizes[starved])} ({sum(sizes[starved].values())} images, "
        "groups shared with other classes counted); add images of other leaves, loosen the grouping, or take the "
        "class out of `classes` in params.yaml."
    )


def _place(
    sizes: Counter[str], side_of: dict[str, str], name: str, test_share: float, val_share: float, seed: int
) -> bool:
    """Place one class's unplaced groups, into `side_of`; False if a side stays without an image of it."""
    placed: Counter[str] = Counter()
    for group, size in sizes.items():
        if group in side_of:
            placed[side_of[group]] += size
    free = [group for group in sizes if group not in side_of]
    free = [free[i] for i in numpy_rng(seed, f"split:{name}").permutation(len(free))]
    total = sum(sizes.values())

    missing = [side for side in _asked_sides(val_share) if not placed[side]]
    for side in ("test", "val") if val_share > 0 else ("test",):
        # test share of all, val share of what test left
        wanted = _round(total * test_share if side == "test" else (total - placed["test"]) * val_share)
        later = len(missing) - (side in missing)  # sides that still need a group after this one
        missing = [other for other in missing if other != side]
        for group in _take(free, sizes, wanted - placed[side], not placed[side], len(free) - later):
            side_of[group] = side
            placed[side] += sizes[group]
            free.remove(group)
    for group in free:
        side_of[group] = "train"
        placed["train"] += sizes[group]
    return all(placed[side] for side in _asked_sides(val_share))


def _take(free: list[str], sizes: Counter[str], wanted: int, needed: bool, most: int) -> list[str]:
    """Groups, in the order of `free`, whose images come nearest to `wanted`; at most `most` groups.

    Where `needed`, at least one group if there is any: the smallest.
    """
    taken: list[str] = []
    count = 0
    for group in free:
        if len(taken) < most and abs(count + sizes[group] - wanted) < abs(count - wanted):
            taken.append(group)
            count += sizes[group]
    if needed and not taken and most > 0:
        taken = [min(free, key=lambda group: sizes[group])]
    return taken


def _asked_sides(val_share: float) -> tuple[str, ...]:
    return SIDES if val_share > 0 else ("train", "test")


def _round(number: float) -> int:
    """Half up: Python's half-to-even would give two classes of like size unlike shares."""
    return int(np.floor(number + 0.5))


def _check_settings(fit: str, test_share: float, val_share: float) -> None:
    if fit not in FITS:
        raise InputError(f"fit: must be one of {', '.join(FITS)}. Got '{fit}' instead.")
    if not 0 < test_share < 1:
        raise InputError(f"test_share: must be over 0 and under 1. Got {test_share} instead.")
    if not 0 <= val_share < 1:
        raise InputError(f"val_share: must be 0 or more and under 1. Got {val_share} instead.")


def _ignored_beside(raw_dir: Path, folders: list[Path], csv_path: Path | None, min_images: int) -> list[Note]:
    """What lies in the raw set beside the listed class folders; the groups csv is used, so not ignored."""
    notes = []
    for folder in subfolders(raw_dir):
        if folder not in folders:
            found = 0 if folder.is_symlink() else len(list_class(raw_dir, folder, 0)[0])
            rule = "too_few_images" if found < min_images else "folder_not_in_classes"
            notes.append(Note(text(folder.name), rule, f"{found} files"))
    for path in raw_dir.iterdir():
        if is_hidden(path.name):
            notes.append(Note(text(path.name), "hidden_or_system"))
        elif not path.is_dir() and not (csv_path and path.resolve() == csv_path.resolve()):
            notes.append(Note(text(path.name), "beside_class_folders"))
    return notes


class _Photos:
    """Every source at the judge's resolution, in a file without a name: many photos are more than memory holds.

    Args:
        folder: On whose disk.
        count: Sources.
        resolution: Side, pixels.
    """

    def __init__(self, folder: Path, count: int, resolution: int) -> None:
        self.resolution = resolution
        with tempfile.TemporaryFile(dir=folder) as file:  # mapped, it lives on until the map is gone
            self.images = np.memmap(file, np.uint8, "w+", shape=(max(count, 1), resolution, resolution, 3))

    def write_stores(
        self,
        folder: Path,
        places: list[int],
        sides: list[str],
        labels: np.ndarray,
        files: list[str],
        classes: list[str],
    ) -> None:
        """A store a side."""
        for side in SIDES:
            own = [i for i, of in enumerate(sides) if of == side]
            rows = np.array([places[i] for i in own], dtype=np.int64)
            write_store(folder / side, self.images, labels[own], [files[i] for i in own], classes, rows=rows)


def _read_all(
    sources: list[Source], img_resolution: int, fit: str, max_pixels: int, photos: _Photos
) -> Iterator[Record | Note]:
    """Read every source in order, in a few threads (Pillow lets go of the interpreter while it decodes).

    Only so many full-size pictures are in memory as there are threads.
    """

    def read(numbered: tuple[int, Source]) -> Record | Note:
        place, source = numbered
        try:
            image, mended, sha256 = decode(source.path, max_pixels=max_pixels)
        except Rejected as refusal:
            return Note(source.file, refusal.rule, refusal.detail)
        digest = hashlib.sha256(f"{image.width}x{image.height}:".encode())
        digest.update(image.tobytes())
        pixels = fit_square(image, img_resolution=img_resolution, fit=fit)
        photos.images[place] = fit_square(image, img_resolution=photos.resolution, fit=fit)
        mark = grouping.fingerprint(image)
        return Record(source, place, pixels, digest.hexdigest(), sha256, image.size, mended, mark)

    with pillow_settings():
        yield from _in_order(read, list(enumerate(sources)))


def _in_order(work: Callable, items: Sequence) -> Iterator:
    """`map` over a thread pool, results in order, with few items under way at a time."""
    threads = max(1, min(8, os.cpu_count() or 1))
    waiting: deque[Future] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 4 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _identical(records: list[Record]) -> tuple[list[dict], dict[int, Note]]:
    """Pictures that several files hold: label conflicts, and by index what to reject (conflicts, later copies)."""
    holders: dict[str, list[int]] = defaultdict(list)
    for i, record in enumerate(records):
        holders[record.pixel_hash].append(i)
    conflicts: list[dict] = []
    rejected: dict[int, Note] = {}
    for same in holders.values():
        files = [records[i].source.file for i in same]
        if len({records[i].source.label for i in same}) > 1:
            conflicts.append({"files": sorted(files)})
            for i, file in zip(same, files, strict=True):
                others = ", ".join(sorted(other for other in files if other != file))
                rejected[i] = Note(file, "label_conflict", f"same pixels as {others}")
        else:
            for i, file in zip(same[1:], files[1:], strict=True):
                what = "bytes" if records[i].sha256 == records[same[0]].sha256 else "pixels"
                rejected[i] = Note(file, "duplicate", f"same {what} as {files[0]}")
    return sorted(conflicts, key=lambda conflict: conflict["files"]), rejected


def _check_enough(
    classes: list[str], folders: list[Path], labels: np.ndarray, rejected: list[Note], minimum: int
) -> None:
    for label, (name, folder) in enumerate(zip(classes, folders, strict=True)):
        usable = int((labels == label).sum())
        if usable >= max(minimum, 1):
            continue
        inside = f"{text(folder.name)}/"
        reasons = Counter(note.rule for note in rejected if f"{note.file}/".startswith(inside))
        why = ", ".join(f"{n} {rule}" for rule, n in sorted(reasons.items())) or "none"
        raise InputError(
            f"{name}: expected at least {max(minimum, 1)} usable images (min_images_per_class), found {usable} "
            f"(rejected: {why}); add images, or take the class out of `classes` in params.yaml."
        )


def _group_ids(component: np.ndarray, records: list[Record], keys: list[list[str]]) -> dict[int, str]:
    """A name for every component: its smallest csv or pattern id, else its first file."""
    members: dict[int, list[int]] = defaultdict(list)
    for i, root in enumerate(component):
        members[int(root)].append(i)
    return {
        root: min((key for i in own for key in keys[i]), default=f"file:{records[own[0]].source.file}")
        for root, own in members.items()
    }


def _file_names(sources: list[Source]) -> list[str]:
    """A safe, readable PNG name for every source, unique in its class also where case does not count.

    Sources whose names would collide get a hash of their path behind the name, so that neither order nor a third
    file changes it.
    """
    stems = [_safe_stem(os.path.splitext(s.inside.rpartition("/")[2])[0]) for s in sources]
    taken = Counter((s.label, stem.casefold()) for s, stem in zip(sources, stems, strict=True))
    names = []
    for source, stem in zip(sources, stems, strict=True):
        name, tries = stem, 0
        if taken[source.label, stem.casefold()] > 1:
            while tries == 0 or taken[source.label, name.casefold()]:
                digest = hashlib.sha256(f"{source.inside}:{tries}".encode()).hexdigest()
                name, tries = f"{stem}-{digest[:8]}", tries + 1
            taken[source.label, name.casefold()] += 1
        names.append(f"{name}.png")
    return names


def _safe_stem(stem: str) -> str:
    """No control character, nor one that some file system, URL or csv refuses; at most 120 bytes long."""
    stem = re.sub(r'[\x00-\x1f\x7f-\x9f/\\:*?"<>|\u2028\u2029]', "_", nfc(stem)).strip(" .") or "image"
    return stem.encode()[:120].decode("utf-8", "ignore").rstrip(" .")


def _class_counts(classes: list[str], folders: list[Path], rows: list[dict], rejected: list[Note]) -> dict[str, dict]:
    counts = {}
    for name, folder in zip(classes, folders, strict=True):
        own = [row for row in rows if row["class"] == name]
        refused = sum(f"{note.file}/".startswith(f"{text(folder.name)}/") for note in rejected)
        counts[name] = {
            "files": len(own) + refused,
            "kept": len(own),
            "rejected": refused,
            **{side: sum(row["split"] == side for row in own) for side in SIDES},
            "groups": {side: len({row["group"] for row in own if row["split"] == side}) for side in SIDES},
        }
    return counts


def _leakage(rows: list[dict], pairs: list[dict], pixel_hashes: list[str]) -> dict[str, int]:
    """Counted from the manifest's rows themselves, so that a fault in the placing would show."""
    side_of_source = {row["source"]: row["split"] for row in rows}
    sides_of_group = {(row["group"], row["split"]) for row in rows}
    sides_of_picture = {(digest, row["split"]) for digest, row in zip(pixel_hashes, rows, strict=True)}
    return {
        "groups_on_two_sides": len(sides_of_group) - len({group for group, _ in sides_of_group}),
        "identical_images_on_two_sides": len(sides_of_picture) - len({digest for digest, _ in sides_of_picture}),
        "near_duplicates_on_two_sides": sum(side_of_source[p["a"]] != side_of_source[p["b"]] for p in pairs),
    }


def _write(
    out_dir: Path,
    arrays_dir: Path,
    rows: list[dict],
    pixels: list[np.ndarray],
    labels: np.ndarray,
    files: list[str],
    classes: list[str],
    img_resolution: int,
) -> None:
    # No folder without images, for ImageFolder raises on an empty class: with val_share 0 there is no val at all.
    for parent in {(out_dir / row["file"]).parent for row in rows}:
        parent.mkdir(parents=True, exist_ok=True)

    def save(item: tuple[dict, np.ndarray]) -> None:
        row, image = item
        Image.fromarray(image).save(out_dir / row["file"], "PNG", compress_level=6)

    for _ in _in_order(save, list(zip(rows, pixels, strict=True))):
        pass
    order = sorted(range(len(rows)), key=lambda i: SIDES.index(rows[i]["split"]))  # stable: then class, then source
    with open(out_dir / "manifest.csv", "w", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(LineFeeds(f), MANIFEST_COLUMNS)  # sources have any name
        writer.writeheader()
        writer.writerows(rows[i] for i in order)
    for side in SIDES:
        own = [i for i, row in enumerate(rows) if row["split"] == side]
        none = np.empty((0, img_resolution, img_resolution, 3), np.uint8)
        images = np.stack([pixels[i] for i in own]) if own else none
        write_store(arrays_dir / side, images, labels[own], [files[i] for i in own], classes)
