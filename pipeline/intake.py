"""Bring a raw set under data/raw/ and DVC, whole or not at all.

The copy has class folders with safe names and holds only what DVC can: links into the set become the files they
name; a link that leaves the set, or anything else that is no plain file, becomes a line of text under its name, so
that the audit of `split` names it. Everything is made beside and renamed; whoever calls keeps an `ExitStack` that
takes all of it back unless the last step was reached.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pipeline import InputError
from pipeline.images.listing import STAND_IN, LineFeeds, class_name, is_hidden, text

NOT_TAKEN = {".git", ".dvc", ".gitignore", ".dvcignore"}  # would change what git and DVC see
CLASS_NAMES = "class_names.csv"

MAX_FILE_NAME = 255  # bytes

REASONS = {
    "broken_link": "a link to nothing",
    "link_leaves_set": "a link that leaves the set",
    "link_to_folder": "a link to a folder",
    "not_a_file": "no plain file",
    "unreadable": "no permission to read it",
}


def check_versioned(root: Path) -> None:
    """Whether DVC can work here: asked of DVC itself, which may also find a git repository further up.

    Raises:
        InputError: No git repository and no `core.no_scm`, or no DVC repository.
    """
    done = _python(["-c", "from dvc.repo import Repo; Repo().scm"], root)
    if done.returncode == 0:
        return
    said = _last_line(done)
    if "not a git repository" in said:
        raise InputError(
            f"no git repository here; run `git init` (or `dvc config core.no_scm true`) in {root}, since DVC needs one."
        )
    if not (root / ".dvc").is_dir():
        raise InputError(f"{root / '.dvc'}: expected DVC's folder, found none; run `git checkout .dvc` or `dvc init`.")
    raise InputError(f"{root}: expected a repository that DVC can work in, found: {said}; see `dvc doctor`.")


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
        first, *others = (readable(part) for part in relative.parts)
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


def readable(name: str) -> str:
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
) -> None:
    """Make `target` hold exactly the entries, `pipeline.held.look_at` having let them.

    What was there before is put back when `undo` is closed; if it never is, the caller removes `leftovers(target)`.

    Raises:
        InputError: The disk is full, or the system refuses to write.
    """
    partial, old, _ = leftovers(target)
    with _written(target):
        for folder in (partial, old):  # of a run that was killed
            if folder.exists():
                shutil.rmtree(folder)
        make_folder(target.parent, undo)
        undo.callback(shutil.rmtree, partial, ignore_errors=True)
        for number, (path, source, content) in enumerate(entries):
            place = partial / path
            place.parent.mkdir(parents=True, exist_ok=True)
            if source is None:
                place.write_bytes(content)
            else:
                shutil.copyfile(source, place)
            if progress is not None:
                progress(number + 1, len(entries))

    def put_back() -> None:
        if old.exists():
            shutil.rmtree(target, ignore_errors=True)
            os.replace(old, target)
        elif not partial.exists():  # the copy took its place, where nothing was before
            shutil.rmtree(target, ignore_errors=True)

    undo.callback(put_back)
    with _written(target):
        if target.exists():
            os.replace(target, old)
        os.replace(partial, target)


@contextmanager
def _written(target: Path) -> Iterator[None]:
    """The system's refusals as a sentence."""
    try:
        yield
    except BrokenPipeError:  # of the screen
        raise
    except OSError as error:
        where = f" at {text(error.filename)}" if error.filename else ""
        raise InputError(
            f"{target}: expected to copy the set here, found: {error.strerror or error}{where}; make room or check "
            "permissions."
        ) from None


def make_folder(folder: Path, undo: ExitStack) -> None:
    """A folder and those above it; what is made is removed when `undo` is closed, unless something lies in it."""

    def remove(made: Path) -> None:
        with suppress(OSError):
            made.rmdir()

    for missing in reversed([p for p in (folder, *folder.parents) if not p.exists()]):
        missing.mkdir()
        undo.callback(remove, missing)


def leftovers(target: Path) -> tuple[Path, Path, Path]:
    """Where a copy is made, where the folder it replaces waits, and where its .dvc file does; git ignores all."""
    names = (f".{target.name}.partial", f".{target.name}.old.partial", f".{target.name}.dvc.partial")
    return target.with_name(names[0]), target.with_name(names[1]), target.with_name(names[2])


def check_length(option: str, target: Path) -> None:
    """Whether the file system holds the names that a set's name is part of.

    Raises:
        InputError: It does not.
    """
    added = max(len(os.fsencode(path.name)) for path in leftovers(target)) - len(os.fsencode(target.name))
    if len(os.fsencode(target.name)) > MAX_FILE_NAME - added:
        raise InputError(
            f"{option}: expected a name of at most {MAX_FILE_NAME - added} bytes, found one of "
            f"{len(os.fsencode(target.name))}; choose a shorter one."
        )


def dvc_add(target: Path, undo: ExitStack) -> None:
    """`dvc add target`; the .dvc file and .gitignore are put back when `undo` is closed.

    They wait as files, not in memory, so that putting them back needs no room on a full disk.

    Raises:
        InputError: DVC refused, in its own words; the system refuses to write.
    """
    waiting = leftovers(target)[2]
    undo.callback(shutil.rmtree, waiting, ignore_errors=True)
    with _written(target):
        if waiting.exists():
            shutil.rmtree(waiting)
        waiting.mkdir()
        for path in (target.with_name(f"{target.name}.dvc"), target.with_name(".gitignore")):
            if path.is_file():
                shutil.copyfile(path, waiting / path.name)
            undo.callback(_restore, path, waiting / path.name)
    done = dvc(["add", target.name], target.parent)
    if done.returncode != 0:
        raise InputError(f"{target}: expected `dvc add` to take it, found: {_last_words(done)}; see `dvc doctor`.")


def _restore(path: Path, kept: Path) -> None:
    if kept.is_file():
        os.replace(kept, path)
    else:
        path.unlink(missing_ok=True)


def dvc(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """The command `dvc` of this environment, run in a folder."""
    return _python(["-m", "dvc", *arguments], folder)


def _python(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, encoding="utf-8", errors="backslashreplace", check=False
    )


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return (lines or [f"exit code {done.returncode}"])[-1].partition(": ")[2].rstrip(".")


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")]
    return (errors or lines or [f"exit code {done.returncode}"])[0].rstrip(".")
