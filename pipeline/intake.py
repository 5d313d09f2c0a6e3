"""Bring a raw set under data/raw/ and DVC, whole or not at all.

The copy has class folders with safe names and holds only what DVC can: links into the set become the files they
name; a link that leaves the set, or anything else that is no plain file, becomes a line of text under its name, so
that the audit of `split` names it. Everything is made beside and renamed; whoever calls keeps an `ExitStack` that
takes all of it back unless the last step was reached.
"""

from __future__ import annotations

import csv
import filecmp
import io
import os
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pipeline import InputError
from pipeline.images.listing import STAND_IN, LineFeeds, class_name, is_hidden, text

NOT_TAKEN = {".git", ".dvc", ".gitignore", ".dvcignore"}  # would change what git and DVC see
CLASS_NAMES = "class_names.csv"

REASONS = {
    "broken_link": "a link to nothing",
    "link_leaves_set": "a link that leaves the set",
    "link_to_folder": "a link to a folder",
    "not_a_file": "no plain file",
    "unreadable": "no permission to read it",
}


class Entry(NamedTuple):
    """One file of the copy: its path in the set, and either the file to copy or the bytes to write."""

    path: PurePosixPath
    source: Path | None
    content: bytes = b""


def safe_names(folders: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """A class name for every folder name, different from each other and from those taken even in lower case."""
    used = {name.casefold() for name in taken}
    names = {}
    for folder in folders:
        plain = name = class_name(folder)
        number = 2
        while name.casefold() in used:
            name, number = f"{plain}_{number}", number + 1
        used.add(name.casefold())
        names[folder] = name
    return names


def list_entries(source: Path, names: dict[str, str]) -> tuple[list[Entry], list[str]]:
    """What the copy of a set holds, and a sentence on everything that is not taken as it is.

    Args:
        source: The set.
        names: Class folder to class name; other folders keep their names.
    """
    root = source.resolve()
    entries: list[Entry] = []
    notes: list[str] = []
    taken: set[PurePosixPath] = set()

    def unreadable(error: OSError) -> None:
        raise InputError(f"{error.filename}: expected a readable folder, found: {error.strerror}; check it.")

    def add(path: Path) -> None:
        relative = path.relative_to(source)
        first, *others = (_readable(part) for part in relative.parts)
        first = names.get(text(relative.parts[0]), first) if others else first
        target = PurePosixPath(first, *others)
        number = 2
        while target in taken:
            target, number = target.with_name(f"{target.stem}_{number}{target.suffix}"), number + 1
        taken.add(target)
        reason = _refuse(path, root)
        if reason is None:
            entries.append(Entry(target, path))
        else:
            notes.append(f"{text(relative)}: {REASONS[reason]}; not followed, a text file stands in its place")
            entries.append(Entry(target, None, STAND_IN + f"{reason}\n".encode()))

    for at, dirs, files in os.walk(source, onerror=unreadable):
        here = Path(at)
        kept = [name for name in sorted(dirs) if name not in NOT_TAKEN and not (here == source and is_hidden(name))]
        for name in kept:
            if (here / name).is_symlink():
                add(here / name)
        dirs[:] = [name for name in kept if not (here / name).is_symlink()]
        for name in sorted(files):
            if name not in NOT_TAKEN and not (here == source and is_hidden(name)):
                add(here / name)
    return entries, notes


def _readable(name: str) -> str:
    """A file name whose bytes are not UTF-8, which DVC cannot hold, with `_` for those bytes."""
    return os.fsencode(name).decode("utf-8", "replace").replace("\ufffd", "_")


def _refuse(path: Path, root: Path) -> str | None:
    """The audit's rule by which DVC cannot hold a file as it is, or None."""
    if path.is_symlink():
        try:
            target = path.resolve(strict=True)
        except (OSError, RuntimeError):  # RuntimeError: a loop
            return "broken_link"
        in_dvc_cache = "/files/md5/" in target.as_posix()  # where DVC links its cache by symbolic link
        if not target.is_relative_to(root) and not in_dvc_cache:
            return "link_leaves_set"
        if target.is_dir():
            return "link_to_folder"
    if not path.is_file():
        return "not_a_file"
    if not os.access(path, os.R_OK):
        return "unreadable"
    return None


def rename_in_groups_csv(path: Path, names: dict[str, str]) -> bytes:
    """A groups csv with the class folders in its `file` and `class` columns renamed."""
    by_name = {unicodedata.normalize("NFC", folder): name for folder, name in names.items()}

    def renamed(folder: str) -> str:
        return by_name.get(unicodedata.normalize("NFC", folder), folder)

    with open(path, newline="", encoding="utf-8-sig") as f:
        reader = csv.DictReader(f, restkey="")
        rows, columns = list(reader), list(reader.fieldnames or [])
    out = io.StringIO(newline="")
    writer = csv.DictWriter(LineFeeds(out), columns, extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        file = (row["file"] or "").strip().replace("\\", "/").removeprefix("./")
        folder, slash, inside = file.partition("/")
        row["file"] = f"{renamed(folder)}/{inside}" if slash else file
        if row.get("class"):
            row["class"] = renamed(row["class"].strip())
        writer.writerow(row)
    return out.getvalue().encode()


def class_names_csv(names: dict[str, str]) -> bytes:
    """`folder,class`: which class folder of the source became which class."""
    out = io.StringIO(newline="")
    csv.writer(LineFeeds(out)).writerows([("folder", "class"), *sorted(names.items())])
    return out.getvalue().encode()


def bring_in(
    entries: list[Entry], target: Path, undo: ExitStack, progress: Callable[[int, int], None] | None = None
) -> bool:
    """Make `target` hold exactly the entries; False if it did already.

    What was there before is put back when `undo` is closed; if it never is, the caller removes `leftovers(target)`.

    Raises:
        InputError: Something is there that DVC does not hold and that would be lost; the disk is full.
    """
    partial, old = leftovers(target)
    shutil.rmtree(partial, ignore_errors=True)
    if old.exists() and not target.exists():  # killed between two renames
        os.replace(old, target)
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        if _same(entries, target):
            return False
        _refuse_to_lose(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    undo.callback(shutil.rmtree, partial, ignore_errors=True)
    try:
        for number, (path, source, content) in enumerate(entries):
            place = partial / path
            place.parent.mkdir(parents=True, exist_ok=True)
            if source is None:
                place.write_bytes(content)
            else:
                shutil.copyfile(source, place)
            if progress is not None:
                progress(number + 1, len(entries))
    except OSError as error:
        raise InputError(
            f"{target}: expected to copy the set here, found: {error.strerror}; make room or check permissions."
        ) from None

    def put_back() -> None:
        if old.exists():
            shutil.rmtree(target, ignore_errors=True)
            os.replace(old, target)
        elif not partial.exists():  # the copy took its place, where nothing was before
            shutil.rmtree(target, ignore_errors=True)

    undo.callback(put_back)
    if target.exists():
        os.replace(target, old)
    os.replace(partial, target)
    return True


def leftovers(target: Path) -> tuple[Path, Path]:
    """Where a copy is made, and where the folder it replaces waits; git ignores both."""
    return target.with_name(f".{target.name}.partial"), target.with_name(f".{target.name}.old.partial")


def _same(entries: list[Entry], target: Path) -> bool:
    present = {PurePosixPath(p.relative_to(target).as_posix()) for p in target.rglob("*") if not p.is_dir()}
    if present != {entry.path for entry in entries}:
        return False
    for path, source, content in entries:
        place = target / path
        if place.is_symlink() and not place.exists():
            return False
        same = place.read_bytes() == content if source is None else filecmp.cmp(source, place, shallow=False)
        if not same:
            return False
    return True


def _refuse_to_lose(target: Path) -> None:
    """The old content may only go where DVC's cache has it."""
    tracked = target.with_name(f"{target.name}.dvc")
    way_out = f"run `dvc add {target}` to keep it, or give the new set another name with --name"
    if not tracked.is_file():
        raise InputError(f"{target}: expected no folder or one under DVC, found another set there; {way_out}.")
    if _dvc(["status", "--quiet", tracked.name], target.parent).returncode != 0:
        raise InputError(f"{target}: expected what {tracked.name} describes, found changes in it; {way_out}.")


def dvc_add(target: Path, undo: ExitStack) -> None:
    """`dvc add target`; the .dvc file and .gitignore are put back when `undo` is closed.

    Raises:
        InputError: DVC refused, in its own words.
    """
    for path in (target.with_name(f"{target.name}.dvc"), target.with_name(".gitignore")):
        undo.callback(_restore, path, path.read_bytes() if path.is_file() else None)
    done = _dvc(["add", target.name], target.parent)
    if done.returncode != 0:
        raise InputError(f"{target}: expected `dvc add` to take it, found: {_last_words(done)}; see `dvc doctor`.")


def _restore(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink(missing_ok=True)
    else:
        path.write_bytes(content)


def _dvc(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")]
    return (errors or lines or [f"exit code {done.returncode}"])[0].rstrip(".")
