"""Which files of a raw set belong to which class, and which are left alone or refused before they are opened.

A raw set is a folder of class folders. Files lie in a class folder at any depth. What is left out is
reported by rule (`pipeline.images.audit.RULES`), never silently.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import unicodedata
from collections import Counter
from pathlib import Path
from typing import NamedTuple, TextIO

from pipeline import InputError

SYSTEM_NAMES = {"thumbs.db", "desktop.ini", "__macosx", "@eadir"}
# What `dvc add` leaves where its cache is linked by symbolic link: <cache>/files/md5/ab/<30 hex digits>.
# DVC cannot hold links and the like, so `leafsynth init` writes a text file in the place of each: this and a rule.
STAND_IN = b"leafsynth left out: "
STAND_INS = ("broken_link", "link_leaves_set", "link_to_folder", "not_a_file", "unreadable")

# Bytes of a class name or a set's: with what is put around them (`.X.old.partial`, `X_seed000000.png`) they stay under
# what file systems hold, 255 and on an encrypted home 143.
MAX_NAME = 120

_DVC_CACHE_FILE = re.compile(r"/files/md5/[0-9a-f]{2}/[0-9a-f]{30}$")
_CLASS_NAME = re.compile(r"\w[\w.-]*")


class Note(NamedTuple):
    """One decision on one file: its path in the raw set, the rule's code, and what was found."""

    file: str
    rule: str
    detail: str = ""


class Source(NamedTuple):
    """One candidate image file.

    Attributes:
        path: Where to open it.
        file: Its path in the raw set as text (see `text`).
        label: Index of its class.
        inside: Its path inside the class folder, as text.
    """

    path: Path
    file: str
    label: int
    inside: str


def text(path: str | Path) -> str:
    """A path as text that any file can hold: '/' separators, bytes that are not UTF-8 as `\\xff` escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace").replace(os.sep, "/")


def printable(words: str) -> str:
    """Words for one line of a screen or a table: what would move a cursor or break a line stands as an escape."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in words)


class LineFeeds:
    r"""A text file for `csv.writer` with its own line end, "\r\n", that gets rows which end in "\n".

    With lineterminator="\n" Python before 3.13 writes a field with a "\r" bare, and readers end the row there.

    Args:
        file: Opened with newline="".
    """

    def __init__(self, file: TextIO):
        self._file = file

    def write(self, row: str) -> int:
        """Write one row, which is what `csv.writer` hands over at a time."""
        return self._file.write(row.removesuffix("\r\n") + "\n")


def nfc(name: str) -> str:
    """The composed form: 'é' is one character, whichever way the file system that it comes from writes it."""
    return unicodedata.normalize("NFC", name)


def is_hidden(name: str) -> bool:
    """Whether a file or folder name is hidden or is a system's own (`.DS_Store`, `Thumbs.db`)."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def class_name(folder: str) -> str:
    """A class name that paths, stage names and metric names can hold: `gray light (old)` -> `gray_light_old`.

    One of more than MAX_NAME bytes is cut, and its hash tells it from others that begin alike.
    """
    name = re.sub(r"[^\w.-]+", "_", nfc(folder)).strip("_.-") or "class"
    if len(name.encode()) <= MAX_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name.encode()[: MAX_NAME - 9].decode('utf-8', 'ignore')}-{digest}"


def subfolders(folder: Path) -> list[Path]:
    """The visible folders in a folder, links to folders included, sorted by name as text."""
    try:
        entries = [p for p in folder.iterdir() if not is_hidden(p.name) and p.is_dir()]
    except OSError as error:
        raise InputError(f"{folder}: expected a readable folder, found: {error.strerror}; check it.") from None
    return sorted(entries, key=lambda p: text(p.name))


def class_folders(raw_dir: Path, classes: list[str]) -> list[Path]:
    """The folder of every class: the one with its name, else the one whose `class_name` it is.

    Raises:
        InputError: `raw_dir` is no folder, a class is listed twice or can't be a name, or has no folder.
    """
    if not raw_dir.is_dir():
        raise InputError(
            f"{raw_dir}: expected the raw set, a folder with one sub-folder a class, found "
            f"{'a file' if raw_dir.exists() else 'nothing'}; run `dvc pull` or `leafsynth init PATH`."
        )
    if not classes:
        raise InputError("classes: expected at least one class name, found an empty list; list the classes.")
    for name, times in Counter(classes).items():
        if times > 1:
            raise InputError(f"classes: expected every class once, found '{name}' {times} times; remove one.")
        if not _CLASS_NAME.fullmatch(name):
            raise InputError(
                f"classes: expected names of letters, digits, '_', '-' and '.', found '{name}'; "
                f"write '{class_name(name)}' (its folder is found by either)."
            )
    present = subfolders(raw_dir)
    folders = []
    for name in classes:
        exact = [p for p in present if nfc(text(p.name)) == nfc(name)]
        found = exact or [p for p in present if class_name(text(p.name)) == name]
        if len(found) != 1:
            names = ", ".join(text(p.name) for p in (found or present)) or "no folder at all"
            raise InputError(
                f"{raw_dir}: expected {'one' if found else 'a'} folder for class '{name}', found {names}; "
                "correct `classes` in params.yaml or the folder's name."
            )
        folders.append(found[0])
    return folders


def list_class(raw_dir: Path, folder: Path, label: int) -> tuple[list[Source], list[Note], list[Note]]:
    """Walk one class folder.

    Args:
        raw_dir: The raw set.
        folder: The class folder in it.
        label: Index of the class.

    Returns:
        Candidate files sorted by path; what is rejected unopened; what is ignored.
    """
    root = raw_dir.resolve()
    sources: list[Source] = []
    rejected: list[Note] = []
    ignored: list[Note] = []

    def name_of(path: Path) -> str:
        return text(path.relative_to(raw_dir))

    def unreadable(error: OSError) -> None:
        rejected.append(Note(name_of(Path(os.fsdecode(error.filename))), "unreadable", error.strerror or ""))

    if folder.is_symlink() and not folder.resolve().is_relative_to(root):
        return [], [Note(name_of(folder), "link_leaves_set", "the class folder is a link")], []
    for at, dirs, names in os.walk(folder, onerror=unreadable):
        here = Path(at)
        for name in list(dirs):
            path = here / name
            if is_hidden(name):
                ignored.append(Note(name_of(path), "hidden_or_system"))
                dirs.remove(name)
            elif path.is_symlink():
                # Not followed: inside the set its files are walked anyway, and a loop would never end.
                leaves = not path.resolve().is_relative_to(root)
                rejected.append(Note(name_of(path), "link_leaves_set" if leaves else "link_to_folder"))
                dirs.remove(name)
        for name in names:
            path = here / name
            if is_hidden(name):
                ignored.append(Note(name_of(path), "hidden_or_system"))
            elif refusal := _refuse_unopened(path, root):
                rejected.append(Note(name_of(path), *refusal))
            else:
                sources.append(Source(path, name_of(path), label, text(path.relative_to(folder))))
    return sorted(sources, key=lambda s: s.file), sorted(rejected), sorted(ignored)


def _refuse_unopened(path: Path, root: Path) -> tuple[str, str] | None:
    """Rule and detail of a file that must not be opened (a link out, a pipe, an empty file), else None."""
    try:
        if path.is_symlink():
            target = path.resolve()
            if not target.exists():
                return "broken_link", ""
            if not target.is_relative_to(root) and not _DVC_CACHE_FILE.search(target.as_posix()):
                return "link_leaves_set", ""
        status = path.stat()
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
        return "unreadable", getattr(error, "strerror", None) or "a loop of links"
    if not stat.S_ISREG(status.st_mode):
        return "not_a_file", ""
    if status.st_size == 0:
        return "zero_byte", ""
    return _stood_in_for(path, status.st_size)


def _stood_in_for(path: Path, size: int) -> tuple[str, str] | None:
    """The rule that a file was left out by when the set was brought in, if it is a stand-in."""
    if size > 100:
        return None
    try:
        content = path.read_bytes()
    except OSError:
        return None  # the reader will say so
    rule = content.removeprefix(STAND_IN).strip().decode("ascii", "replace")
    return (
        (rule, "left out when the set was brought in") if content.startswith(STAND_IN) and rule in STAND_INS else None
    )
