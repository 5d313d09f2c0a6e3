"""One process a stage: a lock that the kernel lets go of when its holder dies, however it dies.

A `dvc` that is killed alone leaves its stage running, and the next `dvc repro` would start the same stage beside it:
two trainings on one state folder and one output.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline import InputError

LOCKS = Path(".state/locks")


@contextmanager
def stage_lock(name: str) -> Iterator[None]:
    """Hold a stage's lock inside the block.

    Raises:
        InputError: Another process holds it.
    """
    LOCKS.mkdir(parents=True, exist_ok=True)
    lock, note = FileLock(LOCKS / f"{name}.lock"), LOCKS / f"{name}.pid"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"expected to run alone, found that another process runs this stage ({_holder(note)}); "
            "wait for it to end, or stop it, and run `dvc repro` again."
        ) from None
    try:
        # Beside the lock, for whoever asks for a lock empties its file
        note.write_text(f"{os.getpid()}\n", encoding="ascii")
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()


def running_stages(root: Path) -> dict[str, str]:
    """Every stage that runs now in the project at `root`, to its process: "pid 1234"."""
    running = {}
    for path in sorted((root / LOCKS).glob("*.lock")):
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            running[path.stem] = _holder(path.parent / f"{path.stem}.pid")
        else:
            lock.release()
    return running


def _holder(note: Path) -> str:
    try:
        return f"pid {note.read_text(encoding='ascii').strip()}"
    except OSError:  # it has the lock and is about to write its number
        return "pid unknown"
