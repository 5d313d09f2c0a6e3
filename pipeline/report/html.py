"""What every part of the report page is made with: templates that escape, pictures inlined, `x` as code."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

MEDIA_TYPES = {
    ".png": "image/png",
    ".gif": "image/gif",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
}


def fill(template: str, **values: Any) -> Markup:
    """A jinja2 template's HTML; every value in it is escaped, a name without a value is an error.

    Filters: `code` turns `x` in backticks into code. Functions: `number`, below.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["code"] = code
    environment.globals["number"] = number
    return Markup(environment.from_string(template).render(**values))


def number(row: Mapping[str, Any], key: str, signed: bool = False, risk: float = 0.05) -> Markup:
    """A figure of a table with its interval below; a dash where the row has none.

    Args:
        row: With `key`, `<key>_lower` and `<key>_upper`.
        key: The figure's column.
        signed: It is a difference: it gets its sign, and a colour where the interval leaves out zero; if the row has
            `<key>_p_holm`, as one of many has, where that is no more than the risk.
        risk: Of a colour where there is no difference.
    """
    if row.get(key) in (None, ""):
        return Markup("–")
    mean, low, high = (float(row[f"{key}{end}"]) for end in ("", "_lower", "_upper"))
    among_many = row.get(f"{key}_p_holm")
    stands = signed and (among_many in (None, "") or float(among_many) <= risk)
    tint = ("up" if low > 0 else "down" if high < 0 else "") if stands else ""
    shown = [f"{round(value, 3) + 0.0:{'+' if signed else ''}.3f}" for value in (mean, low, high)]  # no -0.000
    return Markup(f'<span class="{tint}">{shown[0]}</span><span class="ends">{shown[1]} to {shown[2]}</span>')


def inline(path: str | Path) -> str:
    """A picture as a `data:` address."""
    path = Path(path)
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f"data:{MEDIA_TYPES[path.suffix.lower()]};base64,{data}"


def code(text: str) -> Markup:
    """Escaped text with `x` as code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))
