"""Change values in params.yaml and nothing else: comments, order and style stay."""

from __future__ import annotations

import contextlib
import copy
import io
import os
import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.scalarstring import DoubleQuotedScalarString
from ruamel.yaml.util import load_yaml_guess_indent

from pipeline import InputError
from pipeline.params import load_params
from pipeline.params_reading import read_values

# What some YAML reader takes for a bool or null where it stands bare (PyYAML: YAML 1.1)
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "none"}


class _Representer(RoundTripRepresenter):
    """Writes None as `null`, as it stood, and not as nothing."""


_Representer.add_representer(type(None), lambda self, _: self.represent_scalar("tag:yaml.org,2002:null", "null"))


def edit_params(path: str | Path, changes: dict[str, Any]) -> None:
    """Set dotted keys ("split.img_resolution") in params.yaml: checked, then put in place at once.

    Raises:
        InputError: A section is missing, the result breaks a rule of `pipeline.params`, or the system refuses to write
            it; the file is as before.
    """
    path = Path(path)
    read_values(path)  # `edited` has no sentence for what is no plain YAML
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(edited(path.read_text(encoding="utf-8"), changes), encoding="utf-8")
        try:
            load_params(partial)
        except InputError as error:
            raise InputError(str(error).replace(str(partial), str(path), 1)) from error
        os.replace(partial, path)
    except OSError as error:
        raise InputError(
            f"{path}: expected to write it anew, found: {error.strerror}; make room or check permissions."
        ) from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def edited(text: str, changes: dict[str, Any]) -> str:
    """The text of params.yaml with dotted keys set."""
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.preserve_quotes = True
    yaml.width = 2**16
    _, indent, offset = load_yaml_guess_indent(text)
    yaml.indent(mapping=2, sequence=indent or 2, offset=offset or 0)
    document = yaml.load(text)
    for key, value in changes.items():
        *sections, last = key.split(".")
        at = document
        for section in sections:
            if not isinstance(at, CommentedMap) or section not in at:
                raise InputError(f"params.yaml: expected a section '{section}', found none; restore it.")
            at = at[section]
        _set(at, last, value)
    out = io.StringIO()
    yaml.dump(document, out)
    return out.getvalue()


def _set(section: CommentedMap, key: str, value: Any) -> None:
    old = section.get(key)
    if isinstance(value, list) and isinstance(old, CommentedSeq):
        if not old:
            old.fa.set_flow_style()  # an empty list has no other
        # In place, for the list holds its style, and its last item what follows the list: a comment, an empty line
        following = old.ca.items.get(len(old) - 1)
        old.ca.items.clear()
        old[:] = [_scalar(item) for item in value]
        if following is not None:
            old.ca.items[len(old) - 1] = following
    else:
        section[key] = [_scalar(item) for item in value] if isinstance(value, list) else _scalar(value)
    for token in section.ca.items.get(key) or []:
        if token is not None and not isinstance(token, list):
            moved = copy.copy(token)
            moved.column = 0  # one space behind the value, whatever its length
            section.ca.items[key] = [moved if t is token else t for t in section.ca.items[key]]


def _scalar(value: Any) -> Any:
    if isinstance(value, str) and (value.lower() in _WORDS or not re.fullmatch(r"[^\W\d][\w./-]*", value)):
        return DoubleQuotedScalarString(value)
    return value
