"""What people come to DVC for: photos, parameters and results as versions that can be shared and gone back to.

The real git and DVC on photos of one's own, with a remote and a second clone. The settings are as small as stages take.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from dvc.repo import Repo
from PIL import Image
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
CLASSES = {"healthy": 14, "rust": 11}
SHRUNKEN = {
    "threads": 1,
    "label_budgets": [2],
    "split": {"img_resolution": 32},
    "train_gan": {"total_kimg": 0.032, "preview_kimg": 0.032, "batch_size": 8, "G_channels": 4, "D_channels": 4},
    "specialise_gan": {"total_kimg": 0.008, "preview_kimg": 0.008, "batch_size": 8, "G_channels": 4, "D_channels": 4},
    "train_extractor": {"steps": 2, "eval_every": 2, "batch_size": 8},
    "filter_synthetic": {"enabled": False},
    "assess": {"steps": 2, "eval_every": 2, "batch_size": 8},
    "train_classifier": {"steps": 4, "eval_every": 4, "batch_size": 8, "seeds": [0, 1]},
    "train_sgan": {"steps": 2, "eval_every": 2, "batch_size": 8, "seeds": [0, 1]},
    "sweep_mixture": {"ratios": [0.5]},
    "compare": {"resamples": 100},
}
ARMS = ("real", "balanced", "classic", "synthetic_classic")
# Less the ten seconds in which it times training steps, all is the product's own.
INIT = (
    "import sys; from pipeline import budget, cli; cli.measure = lambda *a, **k: budget.Speed(150.0, 400.0, 300.0); "
    "sys.exit(cli.main(sys.argv[1:]))"
)


def fill(folder: Path, count: int, seed: int) -> None:
    """Pictures that are no near duplicates of each other."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        small = np.random.default_rng([seed, i]).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(small).resize((48, 48), Image.Resampling.BICUBIC).save(folder / f"img_{i:03d}.png")


class Clone:
    """A clone of the project, and how a user works in it."""

    def __init__(self, folder: Path):
        self.folder = folder
        dropped = ("DVC_", "MLFLOW_", "LEAFSYNTH_")
        self.env = {key: value for key, value in os.environ.items() if not key.startswith(dropped)} | {
            "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",  # nobody there: tracking is not what is asked here
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            **{f"GIT_{role}_{key}": "t@t" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")},
        }

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess:
        done = subprocess.run(command, cwd=self.folder, env=self.env, capture_output=True, text=True)
        assert not check or done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done

    def dvc(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
        return self.run(sys.executable, "-m", "dvc", *arguments, check=check)

    def git(self, *arguments: str) -> str:
        return self.run("git", *arguments).stdout.strip()

    def init(self, photos: Path) -> str:
        return self.run(sys.executable, "-c", INIT, "init", str(photos)).stdout

    def ran(self, *arguments: str) -> list[str]:
        """Stages that `dvc repro` ran."""
        return re.findall(r"Running stage '([^']+)'", self.dvc("repro", *arguments).stdout)

    def commit(self, message: str) -> None:
        """As the README says."""
        self.git("add", "-A")
        self.git("commit", "-qm", message)

    def set_params(self, changes: dict) -> None:
        yaml, path = YAML(), self.folder / "params.yaml"
        values = yaml.load(path.read_text(encoding="utf-8"))
        for section, keys in changes.items():
            if isinstance(keys, dict):
                values[section].update(keys)
            else:
                values[section] = keys
        if changes.get("filter_synthetic", {}).get("enabled") is False:
            for arm in set(values["arms"]) - set(ARMS):
                del values["arms"][arm]
        with open(path, "w", encoding="utf-8") as f:
            yaml.dump(values, f)

    def bytes(self) -> dict[str, str]:
        """Every file of the data, the models and the results with its hash."""
        found = {}
        for top in ("data", "models", "results"):
            for path in sorted((self.folder / top).rglob("*")):
                if path.is_file():
                    found[str(path.relative_to(self.folder))] = hashlib.md5(path.read_bytes()).hexdigest()
        return found


def fresh_project(folder: Path) -> Clone:
    """The working tree as a repository of its own."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file() and not name.startswith(("tests/", "docs/", "bench/")) and name != "dvc.lock":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    clone = Clone(folder)
    clone.git("init", "-q", ".")
    clone.commit("as cloned")
    return clone


@pytest.fixture(scope="module")
def mine(tmp_path_factory) -> Iterator[tuple[Clone, Path, dict[str, str]]]:
    """A project on photos of one's own, run, committed, tagged v1 and pushed; the photos; every file's hash."""
    folder = tmp_path_factory.mktemp("versions")
    photos = folder / "leaves"
    for k, (name, count) in enumerate(CLASSES.items()):
        fill(photos / name, count, k)
    clone = fresh_project(folder / "mine")
    clone.init(photos)
    clone.set_params(SHRUNKEN)
    clone.dvc("repro")
    clone.dvc("remote", "add", "-q", "-d", "store", str(folder / "store"))
    clone.commit("version 1")
    clone.git("tag", "v1")
    clone.dvc("push")
    yield clone, photos, clone.bytes()


def test_all_that_a_user_has_is_known_to_git_or_dvc(mine):
    """The photos are among DVC's own stages, git has nothing left over, the sample plays no part."""
    clone, _, _ = mine
    repo = Repo(str(clone.folder))
    outs = {out.fspath for stage in repo.index.stages for out in stage.outs}
    assert str(clone.folder / "data/raw/leaves") in outs
    assert clone.git("status", "--short", "--ignored=no") == ""
    tracked = clone.git("ls-files").splitlines()
    assert {"dvc.lock", "params.yaml", "data/raw/leaves.dvc", "data/raw/.gitignore"} <= set(tracked)
    assert not [name for name in tracked if name.endswith((".png", ".npy", ".safetensors"))]
    assert not [name for name in clone.bytes() if "sample/" in name and name.startswith("data/")]
    assert not [stage for stage in repo.index.stages if "render_sample" in stage.addressing]


def test_a_colleague_has_the_same_bytes_without_running_a_stage(mine, tmp_path):
    clone, _, before = mine
    second = Clone(tmp_path / "second")
    clone.git("clone", "-q", str(clone.folder), str(second.folder))
    second.dvc("pull")
    assert second.bytes() == before
    assert second.dvc("status", "-q", check=False).returncode == 0
    assert second.ran() == []
    assert second.git("status", "--short") == ""

    # and from nothing but the cache of what was run: every output is wiped and comes back
    for top in ("data/split", "data/arrays", "models/gan/class", "results/compare"):
        shutil.rmtree(second.folder / top)
    second.dvc("checkout")
    assert second.bytes() == before

    for how in (["--temp"], ["--queue"]):
        second.dvc("exp", "run", *how, "-S", "compare.confidence=0.9", "-n", f"wider{how[0].strip('-')}")
    second.dvc("exp", "run", "--queue", "-S", "compare.confidence=0.8", "-n", "narrow")
    second.dvc("queue", "start", "-j", "2")
    second.dvc("queue", "logs", "narrow", "-f", check=False)
    second.dvc("queue", "logs", "widerqueue", "-f", check=False)
    shown = json.loads(second.dvc("exp", "show", "--json").stdout)
    names = {exp["name"]: exp["revs"][-1]["data"] for row in shown for exp in row["experiments"] or []}
    assert set(names) == {"widertemp", "widerqueue", "narrow"}
    for name, confidence in [("widertemp", 0.9), ("widerqueue", 0.9), ("narrow", 0.8)]:
        assert names[name]["params"]["params.yaml"]["data"]["compare"]["confidence"] == confidence
        assert not names[name]["error"] if "error" in names[name] else True
    assert second.bytes() == before, "an experiment elsewhere leaves the workspace alone"

    changed = second.dvc("params", "diff", "HEAD", "narrow").stdout
    assert "compare.confidence" in changed
    differing = second.dvc("metrics", "diff", "HEAD", "narrow", "--json").stdout
    assert json.loads(differing).keys() == {"results/compare/headline.json"}


def test_a_set_that_changed_can_be_gone_back_from(mine, tmp_path):
    clone, photos, before = mine
    fill(photos / "scab", 10, 7)  # a class added
    fill(photos / "rust", 11, 8)  # photos replaced
    clone.init(photos)
    clone.set_params(SHRUNKEN)
    clone.dvc("repro")
    clone.commit("version 2")
    after = clone.bytes()
    assert any("/scab/" in name for name in after)
    raw = {name for name in before if name.startswith("data/raw/leaves/rust/")}
    assert raw and all(after[name] != before[name] for name in raw)
    clone.dvc("push")

    clone.git("checkout", "-q", "v1")
    clone.dvc("checkout")
    assert clone.bytes() == before
    assert clone.dvc("status", "-q", check=False).returncode == 0 and clone.ran() == []

    clone.dvc("gc", "-w", "-f")  # what other commits name is in the remote
    assert clone.bytes() == before and clone.dvc("status", "-q", check=False).returncode == 0
    clone.git("checkout", "-q", "-")
    clone.dvc("pull")
    assert clone.bytes() == after
    clone.dvc("gc", "--all-commits", "-f")  # and with all commits none of the cache goes
    clone.git("checkout", "-q", "v1")
    clone.dvc("checkout")
    assert clone.bytes() == before

    # A class taken out by hand: what is left of it is in no stage's lock, and a clone agrees
    clone.git("checkout", "-q", "-")
    clone.dvc("checkout")
    clone.set_params({"classes": list(CLASSES)})
    assert "models/gan/class/scab: removed" in clone.dvc("repro").stdout
    assert not (clone.folder / "models/gan/class/scab").exists()
    assert not list((clone.folder / "results/metrics").glob("*scab*"))
    clone.commit("version 3")
    clone.dvc("push")
    third = Clone(tmp_path / "third")
    clone.git("clone", "-q", str(clone.folder), str(third.folder))
    third.dvc("pull")
    assert third.bytes() == clone.bytes()
    assert third.dvc("status", "-q", check=False).returncode == 0 and third.ran() == []


@pytest.fixture(scope="module")
def untouched(tmp_path_factory) -> Clone:
    """A project in which nothing has run, with a folder beside and one inside that are nobody's business."""
    clone = fresh_project(tmp_path_factory.mktemp("hostile") / "project")
    for victim in (clone.folder / "victim", clone.folder.parent / "victim"):
        victim.mkdir()
        (victim / "keep.txt").write_text("mine")
    return clone


@pytest.mark.parametrize(
    "changes",
    [
        {"label_budgets": ["2; touch X"]},
        {"label_budgets": ["../../victim"]},
        {"label_budgets": ["../../../victim"]},
        {"label_budgets": ["../.."]},
        {"minority_counts": ["`touch X`"]},
        {"minority_counts": ["../../../victim"]},
        {"classes": ["../../../victim", "rust"]},
        {"classes": ["$(touch X)", "rust"]},
        {"classes": ['"; touch X; "', "rust"]},
        {"arms": {"$(touch X)": {"train": "data/arrays/train", "sampling": "natural", "augment": "none",
                                 "background": "keep"}}},
        {"arms": {"../../victim": {"train": "data/arrays/train", "sampling": "natural", "augment": "none",
                                   "background": "keep"}}},
        {"specialise_gan": {"init": "../../victim"}},
        {"data": {"rendered": ["../victim"]}},
        {"data": {"rendered": ["$(touch X)"]}},
        {"data": {"raw_dir": "../victim"}},
    ],
)  # fmt: skip
@pytest.mark.parametrize("how", [["repro"], ["repro", "--keep-going"], ["exp", "run"]], ids=" ".join)
def test_nothing_of_params_reaches_a_shell_or_a_path_before_it_is_checked(untouched, changes, how):
    """DVC fills commands and outputs in from params.yaml, runs the former and wipes the latter."""
    if how[0] == "exp" and "label_budgets" not in changes:
        pytest.skip("one kind of value is enough for the third way")
    untouched.git("checkout", "-q", "params.yaml")
    before = untouched.git("ls-files", "-s"), untouched.git("status", "--short")
    untouched.set_params(changes)
    edited = untouched.git("status", "--short")
    done = untouched.dvc(*how, check=False)
    assert done.returncode != 0
    assert not list(untouched.folder.parent.rglob("X"))
    for victim in (untouched.folder / "victim", untouched.folder.parent / "victim"):
        assert (victim / "keep.txt").read_text() == "mine"
    assert (untouched.git("ls-files", "-s"), untouched.git("status", "--short")) == (before[0], edited)
    assert not set(re.findall(r"Running stage '([^']+)'", done.stdout)) - {"check_params"}
