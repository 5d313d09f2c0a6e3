"""What every part of the report page is made with: templates that escape, pictures inlined, `x` as code."""

from __future__ import annotations

import base64
import re
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

    Filters: `code` turns `x` in backticks into code.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["code"] = code
    return Markup(environment.from_string(template).render(**values))


def inline(path: str | Path) -> str:
    """A picture as a `data:` address."""
    path = Path(path)
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f"data:{MEDIA_TYPES[path.suffix.lower()]};base64,{data}"


def code(text: str) -> Markup:
    """Escaped text with `x` as code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))
