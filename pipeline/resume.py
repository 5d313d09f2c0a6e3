"""How a training survives: its state is saved while it runs, found again, and refused where it does not belong.

The state lies in `.state/<stage>/<fingerprint>/`, outside DVC's outputs, since DVC wipes those before a run.
The fingerprint covers data, parameters, code and versions: a training only ever goes on from its own state.
`stages/_entry.py` deletes it once the stage's outputs are in place.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import io
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from pipeline import InputError
from pipeline.machine import cpu_model, versions

SECONDS_BETWEEN_SAVES = float(os.environ.get("LEAFSYNTH_SECONDS_BETWEEN_SAVES", "30"))
SIGNALS = (signal.SIGINT, signal.SIGTERM)
HASHED_ROWS = 4096  # at a time: an array may be mapped from a file larger than memory
DIGEST_BYTES = 32
ROOMS = ("features", "gan", "images", "learn", "measure")  # whose code makes a training's result


class Interrupted(KeyboardInterrupt):
    """A signal came, and the state is saved; the message says at which point, and how to go on.

    No `Exception`, so that a handler of faults lets it through.

    Attributes:
        signum: The signal.
    """

    def __init__(self, message: str, signum: int):
        super().__init__(message)
        self.signum = signum


def fingerprint(arrays: Iterable[np.ndarray], settings: dict[str, Any]) -> str:
    """A short hash of everything a training's result depends on.

    Args:
        arrays: Images and labels, in a fixed order.
        settings: Every argument that has a say, and the device.

    Returns:
        16 hexadecimal digits, of these and of our code, the packages' versions, the CPU and torch's threads: a
        training that went on where sums come out otherwise would end with bytes that nobody can make again.

    Raises:
        TypeError: A setting has no text of its own that is the same in every process.
    """
    import torch

    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        for start in range(0, len(array), HASHED_ROWS):
            digest.update(np.ascontiguousarray(array[start : start + HASHED_ROWS]))
    on = {"code": _code(), "cpu": cpu_model(), "threads": torch.get_num_threads(), "packages": versions()}
    digest.update(json.dumps({**on, **settings}, sort_keys=True, default=_as_text).encode())
    return digest.hexdigest()[:16]


def _as_text(value: Any) -> str:
    import torch

    if isinstance(value, Path | torch.device | torch.dtype):  # what else there is may show an address, or be cut short
        return str(value)
    raise TypeError(f"settings must be numbers, strings, lists or dicts of them. Got {type(value).__name__} instead.")


@functools.cache  # a process goes on with the code that it has loaded
def _code() -> str:
    digest = hashlib.sha256()
    package = Path(__file__).parent
    for path in sorted(path for room in ROOMS for path in (package / room).glob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


class TrainingState:
    """A training's place to be resumed from. Use as a context: inside it Ctrl-C and SIGTERM save first.

    A loop asks `due()` after every step, and calls `save` when it is so: a signal came, or the last save is
    `SECONDS_BETWEEN_SAVES` ago. `save` raises `Interrupted` after saving where a signal asked for it.

    Args:
        folder: `.state/<stage>`, or None: nothing is kept, signals are left alone, `due` is never true.
        key: The `fingerprint` of this training.
        name: The stage, for messages; None: the folder's name.
    """

    def __init__(self, folder: str | Path | None, key: str, *, name: str | None = None):
        self.parent = None if folder is None else Path(folder)
        self.key = key
        self.name = name or ("" if self.parent is None else self.parent.name)
        self._last_save = time.monotonic()
        self._signum: int | None = None
        self._before: dict[int, Any] = {}

    @property
    def folder(self) -> Path | None:
        """Of this training alone; files may be kept here beside the state."""
        return None if self.parent is None else self.parent / self.key

    @property
    def path(self) -> Path:
        """The state's file."""
        assert self.folder is not None
        return self.folder / "state.pt"

    def __enter__(self) -> TrainingState:
        if self.parent is not None and threading.current_thread() is threading.main_thread():
            self._before = {signum: signal.signal(signum, self._note) for signum in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._before = {}
        if kind is None and self._signum is not None:  # it came after the last `due`, and must not be lost
            signal.raise_signal(self._signum)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self._signum is not None:  # asked twice: no more waiting for the step to end
            raise KeyboardInterrupt
        self._signum = signum

    def load(self, device: str = "cpu") -> dict[str, Any] | None:
        """The last state saved, or None where there is none; says so where only another training's is there.

        Args:
            device: Where its tensors go. `load_state_dict` of modules and optimisers moves them anyway, and
                leaves on the CPU what an optimiser wants there, such as Adam's number of steps.

        Returns:
            What `save` was given, and `position`.

        Raises:
            InputError: The file is damaged, or is another training's put in this one's place.
        """
        import torch

        if self.folder is None:
            return None
        if not self.path.is_file():
            if self.parent is not None and any(self.parent.glob("*/state.pt")):
                print(f"{self.name}: what was saved is of other data, parameters or code; starting over", flush=True)
            return None
        try:
            content = memoryview(self.path.read_bytes())
            # torch does not look at its archive's checksums: a flipped bit would be trained on
            if hashlib.sha256(content[DIGEST_BYTES:]).digest() != content[:DIGEST_BYTES]:
                raise ValueError("checksum")
            state = torch.load(io.BytesIO(content[DIGEST_BYTES:]), map_location=device, weights_only=True)
        except Exception as error:  # pickle, zip and torch errors of many types
            raise InputError(
                f"{self.path}: expected a training state to go on from, found a damaged file; "
                f"delete {self.folder} to start over."
            ) from error
        if not isinstance(state, dict) or state.get("fingerprint") != self.key:
            raise InputError(
                f"{self.path}: expected the state of this very training ({self.key}), found that of another; "
                f"delete {self.folder} to start over."
            )
        return state

    def due(self) -> bool:
        """Whether the loop should save now."""
        if self.parent is None:
            return False
        return self._signum is not None or time.monotonic() - self._last_save > SECONDS_BETWEEN_SAVES

    def save(self, state: dict[str, Any], position: str) -> None:
        """Write beside, then rename: a kill in between leaves the earlier state whole.

        Args:
            state: Tensors, numbers, strings, lists and dicts of them.
            position: How far the training is, for messages: "12.3 of 36 kimg".

        Raises:
            Interrupted: A signal had asked for this save.
            InputError: The disk is full, or will not be written to.
        """
        import torch

        if self.folder is None:
            return
        buffer = io.BytesIO()  # torch's own writer gives a full disk no name
        torch.save({**state, "fingerprint": self.key, "position": position}, buffer)
        content = buffer.getbuffer()
        partial = self.folder / "state.tmp"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(partial, "wb") as f:
                f.write(hashlib.sha256(content).digest())
                f.write(content)
                f.flush()
                os.fsync(f.fileno())
            os.replace(partial, self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink()
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            found, remedy = ("the disk full", "free some") if full else (f"'{error.strerror}'", "mend that")
            kept = "the state saved before" if self.path.is_file() else "the beginning"
            raise InputError(
                f"{partial}: expected room for {content.nbytes / 1e6:.1f} MB, found {found}; "
                f"{remedy} and run `dvc repro`, which goes on from {kept}."
            ) from error
        self._last_save = time.monotonic()
        if self._signum is not None:
            raise Interrupted(f"stopped and saved at {position}; `dvc repro` goes on from there.", self._signum)

    def finish(self) -> None:
        """Delete this state, and what other data or parameters left.

        A stage need not: its entry does so once the outputs are in place, so that a kill before costs nothing.
        """
        if self.parent is not None:
            shutil.rmtree(self.parent, ignore_errors=True)
