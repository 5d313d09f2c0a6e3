"""Which code this is, by git: for MLflow's version of a run and the page's last line."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

CODE = ("pipeline", "stages", "dvc.yaml", "params.yaml")  # what results are made by; results themselves change always


def commit(root: Path) -> str | None:
    """The commit that is checked out; None where there is none, or no git."""
    return _git(root, "rev-parse", "HEAD")


def made_by_in_words(root: Path) -> list[str]:
    """Code and parameters as they are now, a sentence each; of a folder without a commit the second alone."""
    params = hashlib.sha256((root / "params.yaml").read_bytes()).hexdigest()[:16]
    words = [f"Parameters: {params} (SHA-256 of params.yaml when this page was made)."]
    of = commit(root)
    if of is not None:
        changed = ", with changes that it does not hold" if _git(root, "status", "--porcelain", "--", *CODE) else ""
        words.insert(0, f"Code: commit {of[:12]}{changed}.")
    return words


def _git(root: Path, *command: str) -> str | None:
    try:
        done = subprocess.run(["git", *command], cwd=root, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
