"""params.yaml to plain values: odd, hostile or broken text becomes one sentence with its line, never a traceback."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from ruamel.yaml.nodes import ScalarNode

from pipeline import InputError, shown

# Of the file and of what stands in it
MOST_BYTES = 2**18
MOST_CHARACTERS = 1000
MOST_VALUES = 20_000  # with every alias written out
MOST_LEVELS = 8

_TAG = "tag:yaml.org,2002:"
_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "null": "null", "timestamp": "a date"}


def read_values(path: str | Path) -> dict[str, Any]:
    """What stands in a YAML file of plain values, unchecked: keys are text, values null, bools, numbers and text.

    Raises:
        InputError: The file is missing, too large, not UTF-8, not YAML, or holds more than plain values.
    """
    return values_of(read_text(path), path)


def read_text(path: str | Path) -> str:
    """A file's text, as far as it can be parameters.

    Raises:
        InputError: The file is missing, too large or not UTF-8.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"{path}: expected the pipeline's parameters here, found no file; run this from the project's root."
        )
    try:
        with open(path, "rb") as f:
            content = f.read(MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: expected a readable file, found: {error.strerror}; check it.") from None
    if len(content) > MOST_BYTES:
        raise InputError(f"{path}: expected at most {MOST_BYTES // 1024} kB of parameters, found more; shorten it.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}: expected UTF-8, found other bytes in line {line}; save it as UTF-8.") from None


def values_of(text: str, path: str | Path) -> dict[str, Any]:
    """The values of `read_values`, of a text that `read_text` has given; the path is for errors.

    Raises:
        InputError: Not YAML, or more than plain values.
    """
    try:
        return _Document(text).read()
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _events(yaml: YAML, text: str) -> Iterator[Event]:
    reached = 1
    try:
        for event in yaml.parse(text):
            reached = event.start_mark.line + 1
            yield event
    # ruamel answers odd text with errors of many kinds: AssertionError, OverflowError of an escape, …
    except Exception as error:
        mark, position = getattr(error, "problem_mark", None), getattr(error, "position", None)
        line = mark.line + 1 if mark else text.count("\n", 0, position) + 1 if isinstance(position, int) else reached
        raise InputError(f"expected YAML, found a syntax error in line {line}; mend it.") from error


class _Document:
    """Plain values from the parser's events.

    ruamel's own constructor would follow an alias into itself, write out one of aliases until memory is full, keep
    the last of two equal keys, make keys of lists, and run into Python's limits for depth and digits.
    """

    def __init__(self, text: str):
        self.yaml = YAML(typ="safe", pure=True)
        self.events = _events(self.yaml, text)
        self.anchors: dict[str, tuple[Any, int] | None] = {}  # the value and how many are in it; None: still open
        self.count = 0

    def read(self) -> dict[str, Any]:
        next(self.events)
        event = next(self.events)
        if isinstance(event, StreamEndEvent):
            raise InputError("expected sections such as `split:` with their keys, found nothing; restore them.")
        if isinstance(event, DocumentStartEvent) and event.version not in (None, (1, 2)):
            raise _at(event, "expected YAML 1.2, found a directive for another version; remove it")
        event = next(self.events)
        values = self._value(event, 1)
        if not isinstance(values, dict):
            found = "a list" if isinstance(values, list) else "nothing" if values is None else shown(values)
            raise InputError(f"expected sections such as `split:` with their keys, found {found}; restore them.")
        next(self.events)
        event = next(self.events)
        if not isinstance(event, StreamEndEvent):
            raise _at(event, "expected one document, found a second one; remove it")
        return values

    def _value(self, event: Event, level: int) -> Any:
        if isinstance(event, AliasEvent):
            return self._alias(event)
        before = self.count
        self._more(event, 1)
        if level > MOST_LEVELS:
            raise _at(event, f"expected at most {MOST_LEVELS} levels, found more; mend the brackets or indentation")
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        if isinstance(event, ScalarEvent):
            value = self._scalar(event)
        elif event.tag not in (None, "!", f"{_TAG}map", f"{_TAG}seq"):
            raise _at(event, f"expected plain values, found the tag {shown(event.tag)}; remove it")
        else:
            value = self._list(level) if isinstance(event, SequenceStartEvent) else self._mapping(level)
        if event.anchor is not None:
            self.anchors[event.anchor] = value, self.count - before
        return value

    def _more(self, event: Event, count: int) -> None:
        self.count += count
        if self.count > MOST_VALUES:
            raise _at(event, f"expected at most {MOST_VALUES:,} values, aliases written out, found more; shorten it")

    def _alias(self, event: NodeEvent) -> Any:
        if event.anchor not in self.anchors:
            raise _at(event, f"expected an anchor for the alias {shown(event.anchor)}, found none; write the value out")
        anchored = self.anchors[event.anchor]
        if anchored is None:
            raise _at(event, f"expected a value, found the alias {shown(event.anchor)} inside itself; write it out")
        value, count = anchored
        self._more(event, count)
        return value

    def _list(self, level: int) -> list[Any]:
        values = []
        while not isinstance(event := next(self.events), SequenceEndEvent):
            values.append(self._value(event, level + 1))
        return values

    def _mapping(self, level: int) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        while not isinstance(event := next(self.events), MappingEndEvent):
            if not isinstance(event, ScalarEvent):
                raise _at(event, "expected text as a key, found a list, a section or an alias; write a name")
            self._more(event, 1)
            kind = self._kind(event)
            if kind == "merge":
                value = self._value(next(self.events), level + 1)
                for section in value if isinstance(value, list) else [value]:
                    if not isinstance(section, dict):
                        raise _at(event, "expected a section behind `<<:`, found another value; write the keys out")
                    merged = section | merged
                continue
            if kind != "str":
                raise _at(event, f"expected text as a key, found {shown(event.value)}; put it in quotes")
            key = _text(event)
            if key in own:
                raise _at(event, f"expected each key once in a section, found {shown(key)} again; remove one")
            own[key] = self._value(next(self.events), level + 1)
        return merged | own

    def _kind(self, event: ScalarEvent) -> str:
        """What YAML takes a scalar for: str, int, float, bool, null, timestamp, merge, …"""
        if event.tag == "!":
            return "str"
        plain = str(self.yaml.resolver.resolve(ScalarNode, event.value, (event.style is None, False)))
        tag = plain if event.tag is None else event.tag
        if tag not in (plain, f"{_TAG}str"):
            wanted = _KINDS.get(tag.removeprefix(_TAG), "plain values")
            said = f"expected {wanted}, found {shown(event.value)} with the tag {shown(tag)}; remove the tag"
            raise _at(event, said)
        return tag.removeprefix(_TAG)

    def _scalar(self, event: ScalarEvent) -> Any:
        kind, text = self._kind(event), _text(event)
        if kind == "str":
            return text
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind in ("int", "float"):
            construct = getattr(self.yaml.constructor, f"construct_yaml_{kind}")
            try:
                return construct(ScalarNode(_TAG + kind, text))
            except ValueError:  # of underscores alone
                pass
        found = f"{_KINDS.get(kind, 'something else')}: {shown(text)}"
        raise _at(event, f"expected text, a number, true, false or null, found {found}; put it in quotes for text")


def _text(event: ScalarEvent) -> str:
    """What a scalar says, if it can stand in a file name and on a screen."""
    text = event.value
    if len(text) > MOST_CHARACTERS:
        found = f"{len(text):,}: {shown(text)}"
        raise _at(
            event, f"expected at most {MOST_CHARACTERS:,} characters in a key or value, found {found}; shorten it"
        )
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text):
        raise _at(event, f"expected text of one line without control characters, found {shown(text)}; remove them")
    return text


def _at(event: Event, said: str) -> InputError:
    return InputError(f"line {event.start_mark.line + 1}: {said}.")
