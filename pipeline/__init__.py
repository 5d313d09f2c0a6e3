"""leafsynth: balanced synthetic leaf images, and an honest verdict on whether they help."""

from __future__ import annotations

import reprlib
from collections.abc import Collection
from typing import Any

MOST_SHOWN = 80  # characters of a value in a message

# The arms that the verdict knows by name: those that a GAN's arm is compared with, and each GAN arm with the control
# that differs from it by the synthetic images alone. They stand here, since params.yaml is refused without them before
# any work, and whoever checks it can load neither numpy nor torch.
REFERENCES = ("real", "balanced", "classic")
# Every control, from the simplest on. Those beside REFERENCES count where params.yaml has them: a GAN has several
# recipes for val to choose from, so what it is held against has several strengths of augmentation; and a GAN takes
# time, so one of them gets more of it.
CONTROLS = ("real", "balanced", "flips", "classic", "strong", "classic_long")
MATCHED_CONTROL = {
    "synthetic": "balanced",
    "synthetic_classic": "classic",
    "filtered": "balanced",
    "filtered_classic": "classic",
}


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one sentence that names the file or key, says what was expected and what was
    found, and what to do. Entry points print it without a traceback and exit with code 1.
    """


class _Short(reprlib.Repr):
    """Looks at no more of a value than is shown of it, so that a huge one costs nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxdict = self.maxlist = self.maxtuple = MOST_SHOWN // 2
        self.maxstring = self.maxlong = self.maxother = 4 * MOST_SHOWN


def shown(value: Any) -> str:
    """A value as messages quote it: on one line, cut where it is long."""
    text = _Short().repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 5]}[...]"


def controls_among(arms: Collection[str]) -> list[str]:
    """The controls that there are, from the simplest on."""
    return [control for control in CONTROLS if control in arms]


def check_arms(arms: Collection[str]) -> None:
    """Refuse arms that no verdict can be reached with.

    Raises:
        InputError: A control is missing, or every GAN arm.
    """
    missing = [control for control in REFERENCES if control not in arms]
    if not any(arm in arms for arm in MATCHED_CONTROL):
        missing.append(" or ".join(MATCHED_CONTROL))
    if missing:
        raise InputError(
            f"arms: expected {', '.join(REFERENCES)} and one of {', '.join(MATCHED_CONTROL)}, found "
            f"{shown(list(arms))}; add {', '.join(missing)} to params.yaml, for without it there is no fair verdict."
        )
