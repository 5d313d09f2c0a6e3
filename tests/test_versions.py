"""What people come to DVC for: photos, parameters and results as versions that can be shared and gone back to.

The real git and DVC on photos of one's own, with a remote and a second clone. The settings are as small as stages take.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from dvc.repo import Repo
from PIL import Image
from projects import Project, stages_in

CLASSES = {"healthy": 14, "rust": 11}
SHRUNKEN = {
    "threads": 1,
    "label_budgets": [2],
    "split": {"img_resolution": 32, "photo_resolution": 48, "test_share": 0.3, "val_share": 0.2},
    "train_gan": {"total_kimg": 0.032, "preview_kimg": 0.032, "batch_size": 8, "G_channels": 4, "D_channels": 4},
    "specialise_gan": {"total_kimg": 0.008, "preview_kimg": 0.008, "batch_size": 8, "G_channels": 4, "D_channels": 4},
    "train_extractor": {"steps": 2, "eval_every": 2, "batch_size": 8},
    "filter_synthetic": {"enabled": False},
    "assess": {"extractors": ["random"], "input_size": None, "views": 0},
    "train_classifier": {"input_size": 32, "views": 1, "seeds": [0, 1]},
    "second_judge": {"enabled": False},
    "train_sgan": {"steps": 2, "eval_every": 2, "batch_size": 8, "seeds": [0, 1]},
    "sweep_mixture": {"ratios": [0.5], "photo_shares": []},
    "compare": {"resamples": 100},
}
ARMS = ("real", "balanced", "classic", "synthetic_classic")
# Less the ten seconds in which it times training steps, all is the product's own.
INIT = (
    "import sys; from pipeline import budget, cli; "
    "cli.measure = lambda *a, **k: budget.Speed(150.0, 400.0, 300.0, 110.0); "
    "sys.exit(cli.main(sys.argv[1:]))"
)


def fill(folder: Path, count: int, seed: int) -> None:
    """Pictures that are no near duplicates of each other."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        small = np.random.default_rng([seed, i]).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(small).resize((48, 48), Image.Resampling.BICUBIC).save(folder / f"img_{i:03d}.png")


def clone_at(folder: Path) -> Project:
    # nobody there: tracking is not what is asked here
    return Project(folder, {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"})


def fresh_project(folder: Path) -> Project:
    """The working tree, committed."""
    clone = clone_at(folder)
    clone.copy_tree()
    commit(clone, "as cloned")
    return clone


def commit(clone: Project, message: str) -> None:
    """As the README says."""
    clone.git("add", "-A")
    clone.git("commit", "-qm", message)


def bring_in(clone: Project, photos: Path) -> None:
    """`leafsynth init`, and settings as small as stages take."""
    clone.run(sys.executable, "-c", INIT, "init", str(photos))
    clone.set_params(SHRUNKEN)
    clone.drop_arms(ARMS)


def is_up_to_date(clone: Project) -> bool:
    return clone.dvc("status", "-q", check=False).returncode == 0


@pytest.fixture(scope="module")
def mine(tmp_path_factory) -> Iterator[tuple[Project, Path, dict[str, str]]]:
    """A project on photos of one's own, run, committed, tagged v1 and pushed; the photos; every file's hash."""
    folder = tmp_path_factory.mktemp("versions")
    photos = folder / "leaves"
    for k, (name, count) in enumerate(CLASSES.items()):
        fill(photos / name, count, k)
    clone = fresh_project(folder / "mine")
    bring_in(clone, photos)
    clone.dvc("repro")
    clone.dvc("remote", "add", "-q", "-d", "store", str(folder / "store"))
    commit(clone, "version 1")
    clone.git("tag", "v1")
    clone.dvc("push")
    yield clone, photos, clone.outputs()


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
    assert not [name for name in clone.outputs() if "sample/" in name and name.startswith("data/")]
    assert not [stage for stage in repo.index.stages if "render_sample" in stage.addressing]


def test_a_colleague_has_the_same_bytes_without_running_a_stage(mine, tmp_path):
    clone, _, before = mine
    second = clone_at(tmp_path / "second")
    clone.git("clone", "-q", str(clone.folder), str(second.folder))
    second.dvc("pull")
    assert second.outputs() == before
    assert is_up_to_date(second)
    assert second.ran() == set()
    assert second.git("status", "--short") == ""

    # and from nothing but the cache of what was run: every output is wiped and comes back
    for top in ("data/split", "data/arrays", "models/gan/class", "results/compare"):
        shutil.rmtree(second.folder / top)
    second.dvc("checkout")
    assert second.outputs() == before

    # a photo or a result written over in place is no link into DVC's cache: what the commit names is still there
    for name in ("data/raw/leaves/rust/img_000.png", "results/compare/report.html"):
        path = second.folder / name
        path.chmod(0o644)
        with open(path, "r+b") as f:
            f.write(b"written over")
    second.dvc("checkout", "--force")
    assert second.outputs() == before

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
    assert second.outputs() == before, "an experiment elsewhere leaves the workspace alone"

    changed = second.dvc("params", "diff", "HEAD", "narrow").stdout
    assert "compare.confidence" in changed
    differing = second.dvc("metrics", "diff", "HEAD", "narrow", "--json").stdout
    assert json.loads(differing).keys() == {"results/compare/headline.json"}


def test_a_set_that_changed_can_be_gone_back_from(mine, tmp_path):
    clone, photos, before = mine
    fill(photos / "scab", 10, 7)  # a class added
    fill(photos / "rust", 11, 8)  # photos replaced
    bring_in(clone, photos)
    clone.dvc("repro")
    commit(clone, "version 2")
    after = clone.outputs()
    assert any("/scab/" in name for name in after)
    raw = {name for name in before if name.startswith("data/raw/leaves/rust/")}
    assert raw and all(after[name] != before[name] for name in raw)
    clone.dvc("push")

    clone.git("checkout", "-q", "v1")
    clone.dvc("checkout")
    assert clone.outputs() == before
    assert is_up_to_date(clone) and clone.ran() == set()

    clone.dvc("gc", "-w", "-f")  # what other commits name is in the remote
    assert clone.outputs() == before and is_up_to_date(clone)
    clone.git("checkout", "-q", "-")
    clone.dvc("pull")
    assert clone.outputs() == after
    clone.dvc("gc", "--all-commits", "-f")  # and with all commits none of the cache goes
    clone.git("checkout", "-q", "v1")
    clone.dvc("checkout")
    assert clone.outputs() == before

    # A class taken out by hand: what is left of it is in no stage's lock, and a clone agrees
    clone.git("checkout", "-q", "-")
    clone.dvc("checkout")
    clone.set_params({"classes": list(CLASSES)})
    assert "models/gan/class/scab: removed" in clone.dvc("repro").stdout
    assert not (clone.folder / "models/gan/class/scab").exists()
    assert not list((clone.folder / "results/metrics").glob("*scab*"))
    commit(clone, "version 3")
    clone.dvc("push")
    third = clone_at(tmp_path / "third")
    clone.git("clone", "-q", str(clone.folder), str(third.folder))
    third.dvc("pull")
    assert third.outputs() == clone.outputs()
    assert is_up_to_date(third) and third.ran() == set()


@pytest.fixture(scope="module")
def untouched(tmp_path_factory) -> Project:
    """A project in which nothing has run, with a folder beside and one inside that are nobody's business."""
    clone = fresh_project(tmp_path_factory.mktemp("hostile") / "project")
    for victim in (clone.folder / "victim", clone.folder.parent / "victim"):
        victim.mkdir()
        (victim / "keep.txt").write_text("mine")
    return clone


ARM = {
    "train": "data/arrays/train",
    "sampling": "natural",
    "augment": "none",
    "background": "keep",
    "resolution": "photo",
}
HOSTILE = [
    {"label_budgets": ["2; touch X"]},
    {"label_budgets": ["../../victim"]},
    {"label_budgets": ["../../../victim"]},
    {"label_budgets": ["../.."]},
    {"minority_counts": ["`touch X`"]},
    {"minority_counts": ["../../../victim"]},
    {"classes": ["../../../victim", "rust"]},
    {"classes": ["$(touch X)", "rust"]},
    {"classes": ['"; touch X; "', "rust"]},
    {"arms": {"$(touch X)": ARM}},
    {"arms": {"../../victim": ARM}},
    {"specialise_gan": {"init": "../../victim"}},
    {"data": {"rendered": ["../victim"]}},
    {"data": {"rendered": ["$(touch X)"]}},
    {"data": {"raw_dir": "../victim"}},
]
WAYS = [(changes, ["repro"]) for changes in HOSTILE]
WAYS += [(changes, ["exp", "run"]) for changes in HOSTILE]
WAYS += [(changes, ["repro", "--keep-going"]) for changes in HOSTILE[:2]]


@pytest.mark.parametrize(("changes", "how"), WAYS)
def test_nothing_of_params_reaches_a_shell_or_a_path_before_it_is_checked(untouched, changes, how):
    """DVC fills commands and outputs in from params.yaml, runs the former and wipes the latter."""
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
    assert stages_in(done) == set()
