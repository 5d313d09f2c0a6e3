"""What `data/raw/<name>` holds before a set is brought there: nothing, the same, a version of it, or another set.

Two downloads may both be called `train`. A newer version of a set may take the place of the older, which DVC's cache
keeps; another set may not, unless the user says so.
"""

from __future__ import annotations

import filecmp
import os
import subprocess
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline import InputError
from pipeline.intake import Entry, dvc, leftovers

SHARE_OF_A_VERSION = 0.5  # of the old files, by path and bytes, in the new set


class Version(NamedTuple):
    """What a .dvc file names: the md5 that DVC's cache knows a set by, and the number of its files."""

    md5: str
    files: int


def look_at(entries: list[Entry], target: Path, *, replace: bool) -> Literal["nothing", "same", "version", "other"]:
    """What is at `target`, for a set that is to go there.

    Args:
        entries: The set.
        target: Where it is to go.
        replace: Let it take the place of another set.

    Raises:
        InputError: Something is there that DVC does not hold and that would be lost, or another set.
    """
    old = leftovers(target)[1]
    if old.exists() and not target.exists():  # killed between two renames
        os.replace(old, target)
    if not target.exists():
        return "nothing"
    if not target.is_dir():
        raise InputError(f"{target}: expected a folder or nothing, found a file; name the set otherwise with --name.")
    present = {PurePosixPath(p.relative_to(target).as_posix()) for p in target.rglob("*") if not p.is_dir()}
    if not present:  # nothing to lose
        return "nothing"
    kept = sum(entry.path in present and _holds(target / entry.path, entry) for entry in entries)
    if kept == len(entries) == len(present):
        return "same"
    _refuse_to_lose(target)
    if kept >= SHARE_OF_A_VERSION * len(present):
        return "version"
    if not replace:
        there = version_at(target)
        known = f", in DVC's cache as {there.md5}" if there else ""
        raise InputError(
            f"{target}: expected nothing or a version of this set, found another set ({len(present)} files{known}); "
            "keep both with --name OTHER, or let this one take its place with --replace."
        )
    return "other"


def version_at(target: Path) -> Version | None:
    """What the .dvc file beside a folder names; None without one that can be read."""
    try:
        out = YAML(typ="safe", pure=True).load(_tracked(target).read_text(encoding="utf-8"))["outs"][0]
        return Version(str(out["md5"]), int(out.get("nfiles", 1)))
    except (OSError, ValueError, YAMLError, LookupError, TypeError):
        return None


def way_back(target: Path, version: Version, name: str) -> str:
    """How to get a version back that git knows nothing of; empty where a commit has its .dvc file."""
    command = ["git", "log", "--all", "-1", "--format=%h", "-S", version.md5, "--", _tracked(target).name]
    try:
        done = subprocess.run(command, cwd=target.parent, capture_output=True, check=False)
    except OSError:  # no git: then core.no_scm is set
        return f"to get it back write that md5 into {name}.dvc and run `dvc checkout {name}.dvc`"
    if done.returncode == 0 and done.stdout.strip():
        return ""
    return (
        f"its .dvc was never committed: to get it back write that md5 into {name}.dvc and run `dvc checkout {name}.dvc`"
    )


def _tracked(target: Path) -> Path:
    return target.with_name(f"{target.name}.dvc")


def _holds(place: Path, entry: Entry) -> bool:
    if not place.is_file():  # a link to nothing
        return False
    if entry.source is None:
        return place.read_bytes() == entry.content
    return filecmp.cmp(entry.source, place, shallow=False)


def _refuse_to_lose(target: Path) -> None:
    """The old content may only go where DVC's cache has it."""
    tracked = _tracked(target)
    way_out = f"run `dvc add {target}` to keep it, or give the new set another name with --name"
    if not tracked.is_file():
        raise InputError(f"{target}: expected no folder or one under DVC, found another set there; {way_out}.")
    if dvc(["status", "--quiet", tracked.name], target.parent).returncode != 0:
        raise InputError(f"{target}: expected what {tracked.name} describes, found changes in it; {way_out}.")
