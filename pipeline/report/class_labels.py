"""Names of classes as pictures show them: no two alike, and none in letters that the pictures' font lacks.

The font is the one that comes with matplotlib, the same on every machine: with whatever another machine has, the same
run would give other bytes. What it cannot write becomes a number, and the page says which class that is.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

FONT = "DejaVu Sans"


def class_labels(classes: Iterable[str], length: int = 22, lines: int = 3) -> dict[str, str]:
    """Class to what stands for it in a picture: its name, on several lines where it is long.

    Names that no lines hold lose their middle, never what tells them apart.

    Args:
        classes: All of the data set, in its order: their numbers are those of `numbered`.
        length: Letters that a line has room for.
        lines: That there is room for.
    """
    classes = list(classes)
    names = {**{name: name for name in classes}, **numbered(classes)}
    on_lines = {name: _on_lines(label, length) for name, label in names.items()}
    if all(len(rows) <= lines for rows in on_lines.values()):
        return {name: "\n".join(rows) for name, rows in on_lines.items()}
    for tail in (length // 2, *range(1, length - 1)):
        shown = {name: _without_middle(label, length, tail) for name, label in names.items()}
        if len(set(shown.values())) == len(shown):
            return shown
    return {name: _without_middle(f"{k} {label}", length, 1) for k, (name, label) in enumerate(names.items(), 1)}


def numbered(classes: Iterable[str]) -> dict[str, str]:
    """Those classes whose names the font cannot write, each to `class <its place from 1>`."""
    return {name: f"class {k}" for k, name in enumerate(classes, 1) if not drawable(name)}


def drawable(name: str) -> bool:
    """Whether the font has all letters."""
    return all(ord(letter) in _letters() for letter in name)


@functools.cache
def _letters() -> frozenset[int]:
    from matplotlib import font_manager

    return frozenset(font_manager.get_font(font_manager.findfont(FONT)).get_charmap())


def _on_lines(name: str, length: int) -> list[str]:
    """Broken behind underscores, dashes and spaces; within a word where it alone is too long for a line."""
    rows = [""]
    for word in re.findall(r"[^_\s-]*[_\s-]*", name)[:-1]:
        if rows[-1] and len(rows[-1]) + len(word.rstrip()) > length:
            rows.append("")
        rows[-1] += word
        while len(rows[-1].rstrip()) > length:
            rows[-1:] = [rows[-1][:length], rows[-1][length:]]
    return [row.strip() for row in rows]


def _without_middle(name: str, length: int, tail: int) -> str:
    return name if len(name) <= length else f"{name[: length - 1 - tail]}…{name[-tail:]}"
