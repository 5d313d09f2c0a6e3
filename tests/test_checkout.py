"""The commit that a page was made by, and whether it holds what made it."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from pipeline.report.checkout import commit, made_by_in_words


def git(root: Path, *command: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@t"]
    return subprocess.run(["git", *who, *command], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "params.yaml").write_text("threads: 2\n")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_the_commit_is_named_and_results_are_no_change_of_it(checkout):
    (checkout / "dvc.lock").write_text("of a run\n")
    head = git(checkout, "rev-parse", "HEAD")
    params = hashlib.sha256(b"threads: 2\n").hexdigest()[:16]
    assert commit(checkout) == head
    assert made_by_in_words(checkout) == [
        f"Code: commit {head[:12]}.",
        f"Parameters: {params} (SHA-256 of params.yaml when this page was made).",
    ]


@pytest.mark.parametrize("path", ["params.yaml", "pipeline/new.py"])
def test_code_that_no_commit_holds_is_said(checkout, path):
    (checkout / path).parent.mkdir(exist_ok=True)
    (checkout / path).write_text("threads: 1\n")
    assert made_by_in_words(checkout)[0] == f"Code: commit {commit(checkout)[:12]}, with changes that it does not hold."


def test_without_a_commit_there_is_none(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "params.yaml").write_text("threads: 2\n")
    assert commit(tmp_path) is None
    assert [words.split(":")[0] for words in made_by_in_words(tmp_path)] == ["Parameters"]
