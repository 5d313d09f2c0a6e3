"""A look at a folder that might become a raw set, from file headers: what `leafsynth init` decides by."""

from __future__ import annotations

import hashlib
import shlex
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline import InputError
from pipeline.images.decode import SUFFIXES, Rejected, decode, pillow_settings, read_size
from pipeline.images.groups import groups_csv_columns, read_groups_csv
from pipeline.images.listing import Note, Source, class_name, is_hidden, list_class, subfolders, text

MAX_PIXELS = 178_956_970  # Pillow's own limit for refusing a file
# Names of folders that hold class folders rather than being one, the one to use first: splits, and the three
# versions that PlantVillage comes in.
_NESTS = ("train", "training", "color", "colour", "test", "testing", "val", "valid", "validation")
_NESTS += ("grayscale", "segmented")
_IMAGE_SUFFIXES = set().union(*SUFFIXES.values())
# Classes of fewer files than this are decoded whole: there a damaged or doubled file decides whether the class
# can be split, and they cost little.
_DECODED_BELOW = 40


class ClassSurvey(NamedTuple):
    """One class folder.

    Attributes:
        folder: Its name.
        name: The class name for params.yaml (`listing.class_name`).
        files: Candidate files in it.
        images: Readable images: by header, in a small class distinct decoded ones.
        skipped: Why it can't be a class; empty if it can.
    """

    folder: str
    name: str
    files: int
    images: int
    skipped: str


class Survey(NamedTuple):
    """What a folder holds.

    Attributes:
        classes: Folders to train on, sorted by folder name.
        skipped: Folders that hold too few readable images.
        width: Median width of the images in pixels.
        height: Median height in pixels.
        ignored: Files that lie beside the class folders, sorted; without the groups csv.
        unreadable: Files in class folders that are no usable image, with rule.
        groups_csv: Name of a groups csv in the folder whose rows name its files. None: there is none.
    """

    classes: list[ClassSurvey]
    skipped: list[ClassSurvey]
    width: int
    height: int
    ignored: list[str]
    unreadable: list[Note]
    groups_csv: str | None


def survey(raw_dir: str | Path, *, max_pixels: int = MAX_PIXELS, min_images_per_class: int = 1) -> Survey:
    """Look at a folder of class folders without decoding what is large.

    Args:
        raw_dir: The folder.
        max_pixels: Images with more pixels do not count.
        min_images_per_class: Folders with fewer readable images are skipped.

    Raises:
        InputError: With one sentence on why there is nothing to train on.
    """
    raw_dir = Path(raw_dir)
    if not raw_dir.exists():
        raise InputError(f"{raw_dir}: expected a folder with one sub-folder a class, found nothing; check the path.")
    if not raw_dir.is_dir():
        raise InputError(
            f"{raw_dir}: expected a folder with one sub-folder a class, found a file; if it is an archive, unpack it."
        )
    folders = subfolders(raw_dir)
    _refuse_other_layouts(raw_dir, folders)

    sources: list[Source] = []
    unreadable: list[Note] = []
    sizes: list[tuple[int, int]] = []
    looked_at: list[ClassSurvey] = []
    with pillow_settings():
        for label, folder in enumerate(folders):
            found, refused, _ = list_class(raw_dir, folder, label)
            images, own_sizes, notes = _count(found, max_pixels)
            sources += found
            sizes += own_sizes
            unreadable += refused + notes
            skipped = "" if images >= min_images_per_class else f"{images} readable images"
            looked_at.append(ClassSurvey(text(folder.name), class_name(text(folder.name)), len(found), images, skipped))
    if not sizes:
        raise InputError(
            f"{raw_dir}: expected images in its {len(folders)} sub-folders, found none that can be read; "
            "give a folder of JPEG or PNG photographs, one sub-folder a class."
        )
    classes = [c for c in looked_at if not c.skipped]
    if len(classes) < 2:
        counts = ", ".join(f"{c.folder} ({c.images})" for c in looked_at)
        raise InputError(
            f"{raw_dir}: expected at least 2 class folders with {min_images_per_class} or more readable images, "
            f"found {len(classes)} ({counts}); add the other classes' folders."
        )
    for name, times in Counter(c.name for c in classes).items():
        if times > 1:
            same = ", ".join(f"'{c.folder}'" for c in classes if c.name == name)
            raise InputError(
                f"{raw_dir}: expected class folders with names of their own, found {same}, which both become "
                f"'{name}'; rename one."
            )
    groups_csv = _find_groups_csv(raw_dir, sources, looked_at)
    beside = sorted(text(p.name) for p in raw_dir.iterdir() if not p.is_dir() and not is_hidden(p.name))
    width, height = np.median(np.array(sizes), axis=0)
    return Survey(
        classes=classes,
        skipped=[c for c in looked_at if c.skipped],
        width=int(width),
        height=int(height),
        ignored=[name for name in beside if name != groups_csv],
        unreadable=sorted(unreadable),
        groups_csv=groups_csv,
    )


def _count(sources: list[Source], max_pixels: int) -> tuple[int, list[tuple[int, int]], list[Note]]:
    """Readable images, their sizes, and what was refused."""
    sizes, refused = [], []
    pictures: set[str] = set()
    whole = len(sources) < _DECODED_BELOW
    for source in sources:
        try:
            if whole:
                image = decode(source.path, max_pixels=max_pixels).image
                pictures.add(hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest())
                sizes.append(image.size)
            else:
                sizes.append(read_size(source.path, max_pixels=max_pixels))
        except Rejected as refusal:
            refused.append(Note(source.file, refusal.rule, refusal.detail))
    return len(pictures) if whole else len(sizes), sizes, refused


def _refuse_other_layouts(raw_dir: Path, folders: list[Path]) -> None:
    """Images without class folders, and class folders that lie deeper."""
    holding = [p for p in folders if _holds_images(p)]
    if not holding and any(_looks_like_image(p) for p in _entries(raw_dir)):
        raise InputError(
            f"{raw_dir}: expected one sub-folder a class, found images directly in it and no class folders; "
            "sort them into one folder a class."
        )
    if not folders:
        raise InputError(
            f"{raw_dir}: expected one sub-folder a class, found no sub-folder; give the folder that holds them."
        )
    deeper = _deeper(holding)
    if deeper:
        for _ in range(3):  # PATH/set/train/<class>
            deeper = _deeper([p for p in subfolders(deeper) if _holds_images(p)]) or deeper
        raise InputError(
            f"{raw_dir}: expected one sub-folder a class, found the class folders nested deeper; "
            f"try `leafsynth init {shlex.quote(str(deeper))}`."
        )


def _deeper(holding: list[Path]) -> Path | None:
    """The folder that holds the class folders, if the given folders (all with images somewhere) are not they."""
    nests = [p for p in holding if not _has_direct_images(p) and len(_subfolders_with_images(p)) >= 1]
    named = [p for p in nests if p.name.lower() in _NESTS]
    if named:
        return min(named, key=lambda p: _NESTS.index(p.name.lower()))
    # Several folders with folders in them may be classes sorted by plant; a single one can't be.
    return next(iter(nests)) if nests and len(holding) == 1 else None


def _entries(folder: Path) -> list[Path]:
    try:
        return [p for p in folder.iterdir() if not is_hidden(p.name)]
    except OSError:
        return []


def _looks_like_image(path: Path) -> bool:
    return path.suffix.lower() in _IMAGE_SUFFIXES and path.is_file()


def _has_direct_images(folder: Path) -> bool:
    return any(_looks_like_image(p) for p in _entries(folder))


def _holds_images(folder: Path, depth: int = 4) -> bool:
    """Whether image files lie in a folder or, down to `depth` levels, under it; links are not followed."""
    if _has_direct_images(folder):
        return True
    below = [p for p in _entries(folder) if p.is_dir() and not p.is_symlink()]
    return depth > 0 and any(_holds_images(p, depth - 1) for p in below)


def _subfolders_with_images(folder: Path) -> list[str]:
    return [p.name for p in subfolders(folder) if not p.is_symlink() and _holds_images(p)]


def _find_groups_csv(raw_dir: Path, sources: list[Source], looked_at: list[ClassSurvey]) -> str | None:
    """The first csv in the folder that has the columns of a groups csv and names at least one of its files."""
    for path in sorted(raw_dir.glob("*.csv")):
        if groups_csv_columns(path):
            found = read_groups_csv(path, sources, [c.name for c in looked_at], [c.folder for c in looked_at])
            if any(found.groups):
                return text(path.name)
    return None
