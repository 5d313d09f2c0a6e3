"""leafsynth: balanced synthetic leaf images, and an honest verdict on whether they help."""

from __future__ import annotations


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one sentence that names the file or key, says what was expected and what was
    found, and what to do. Entry points print it without a traceback and exit with code 1.
    """
