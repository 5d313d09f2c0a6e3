"""Copies of the project that tests run DVC and stages in."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
NOT_COPIED = ("tests/", "docs/", "bench/", "dvc.lock")  # a stage knows nothing of them


class Project:
    """The working tree as a git repository of its own, and how a user works in it.

    Attributes:
        folder: Its root.
        env: The environment of every command.
    """

    def __init__(self, folder: Path, env: dict[str, str] | None = None):
        self.folder = folder
        dropped = ("DVC_", "MLFLOW_", "LEAFSYNTH_")
        self.env = {key: value for key, value in os.environ.items() if not key.startswith(dropped)} | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            **{f"GIT_{role}_{key}": "t@t" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")},
            **(env or {}),
        }

    def copy_tree(self) -> None:
        """Fill the folder with what git would have of the working tree, uncommitted changes too."""
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
        )
        for name in listed.stdout.splitlines():
            if (ROOT / name).is_file() and not name.startswith(NOT_COPIED):
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, self.folder / name)
        self.git("init", "-q", ".")

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess:
        """A command in the project's root."""
        done = subprocess.run(command, cwd=self.folder, env=self.env, capture_output=True, text=True)
        assert not check or done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done

    def dvc(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
        return self.run(sys.executable, "-m", "dvc", *arguments, check=check)

    def git(self, *arguments: str) -> str:
        return self.run("git", *arguments).stdout.strip()

    def stage(self, name: str, *arguments: str) -> subprocess.CompletedProcess:
        """Run a stage without DVC."""
        return self.run(sys.executable, "-m", f"stages.{name}", *arguments, check=False)

    def ran(self, *arguments: str) -> set[str]:
        """Run what is out of date and what follows from it; which stages that was."""
        return stages_in(self.dvc("repro", *arguments))

    def would_run(self) -> set[str]:
        """Stages that are out of date themselves; what follows from them is not among them."""
        return stages_in(self.dvc("repro", "--dry"))

    def set_params(self, changes: dict[str, Any]) -> None:
        """Update sections of params.yaml key by key; replace what is no section."""
        yaml, path = YAML(), self.folder / "params.yaml"
        values = yaml.load(path.read_text(encoding="utf-8"))
        for section, keys in changes.items():
            if isinstance(keys, dict):
                values[section].update(keys)
            else:
                values[section] = keys
        with open(path, "w", encoding="utf-8") as f:
            yaml.dump(values, f)

    def drop_arms(self, kept: tuple[str, ...]) -> None:
        """Leave only these arms in params.yaml."""
        yaml, path = YAML(), self.folder / "params.yaml"
        values = yaml.load(path.read_text(encoding="utf-8"))
        for arm in set(values["arms"]) - set(kept):
            del values["arms"][arm]
        with open(path, "w", encoding="utf-8") as f:
            yaml.dump(values, f)

    def outputs(self) -> dict[str, str]:
        """Every file under data, models and results with its hash."""
        found = {}
        for top in ("data", "models", "results"):
            for path in sorted((self.folder / top).rglob("*")):
                if path.is_file():
                    found[str(path.relative_to(self.folder))] = hashlib.md5(path.read_bytes()).hexdigest()
        return found


def stages_in(done: subprocess.CompletedProcess) -> set[str]:
    """Stages that `dvc repro` says it runs, less the check of params.yaml, which any edit of it asks for."""
    return set(re.findall(r"Running stage '([^']+)'", done.stdout)) - {"check_params"}
