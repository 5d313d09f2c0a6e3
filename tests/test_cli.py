"""`leafsynth init` with real git and DVC: a set comes in whole or not at all, and params.yaml keeps its comments."""

from __future__ import annotations

import csv
import hashlib
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML

from pipeline import InputError, budget, cli, intake
from pipeline.images.listing import class_folders, list_class
from pipeline.params import load_params
from pipeline.params_edit import edit_params, edited
from pipeline.stage_lock import stage_lock

ROOT = Path(__file__).parents[1]
SHIPPED = (ROOT / "params.yaml").read_text(encoding="utf-8")
SPEED = budget.Speed(gan=150.0, classifier=400.0, sgan=300.0, look=110.0)
COUNTS = {"healthy": 14, "gray light (old)": 9, "Zielona rdza": 8}


def photo(path: Path, seed: int, side: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((side, side + 20)).save(path)


@pytest.fixture
def leaves(tmp_path) -> Path:
    """A raw set outside the repository, with a groups csv and a plain file beside the class folders."""
    folder = tmp_path / "My leaves (2024)"
    rows = ["file,class,leaf_id"]
    for name, count in COUNTS.items():
        for k in range(count):
            photo(folder / name / f"photo {k}.jpg", seed=hash_of(name) + k)
            rows.append(f"{name}/photo {k}.jpg,{name},{name}-{k // 2}")
    (folder / "leaf_groups.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "README.txt").write_text("plain file")
    return folder


def hash_of(name: str) -> int:
    return int(hashlib.sha256(name.encode()).hexdigest()[:6], 16)


@pytest.fixture
def repo(tmp_path, monkeypatch) -> Path:
    """A git and DVC repository with the shipped params.yaml and ignore rules; the machine's speed is given."""
    folder = tmp_path / "repo"
    folder.mkdir()
    for name in (".gitignore", ".dvcignore"):
        (folder / name).write_text((ROOT / name).read_text())
    (folder / "params.yaml").write_text(SHIPPED, encoding="utf-8")
    (folder / "dvc.yaml").write_text("stages: {}\n")
    (folder / ".dvc").mkdir()
    (folder / ".dvc/config").write_text((ROOT / ".dvc/config").read_text())
    (folder / ".dvc/.gitignore").write_text("/cache\n/tmp\n/config.local\n")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t"]
    subprocess.run([*git, "init", "-q"], cwd=folder, check=True)
    subprocess.run([*git, "add", "-A"], cwd=folder, check=True)
    subprocess.run([*git, "commit", "-qm", "start"], cwd=folder, check=True)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(cli, "measure", lambda *a, **k: SPEED)
    monkeypatch.setattr(cli, "choose_device", lambda device: "cpu")
    return folder


def values(repo: Path) -> dict:
    return YAML(typ="safe", pure=True).load((repo / "params.yaml").read_text(encoding="utf-8"))


def status(repo: Path) -> list[str]:
    done = subprocess.run(["git", "status", "--short", "-uall"], cwd=repo, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def tree(folder: Path) -> dict[str, str]:
    files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def comments(text: str) -> list[str]:
    return [" ".join(part.split()) for part in re.findall(r"(?:^|\s)#.*", text)]


def refused(capsys, *arguments: str) -> str:
    """The one sentence on stderr of a call that must fail."""
    assert cli.main(list(arguments)) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.startswith("leafsynth: ") and "Traceback" not in err
    return err


def test_a_set_comes_in_under_dvc_with_safe_names(repo, leaves, capsys):
    assert cli.main(["init", str(leaves)]) == 0
    out = capsys.readouterr().out
    assert "dvc repro" in out and "'gray light (old)' is class gray_light_old" in out

    raw = repo / "data/raw/My_leaves_2024"
    # Class names are those of the folders, which is where `split` looks
    assert values(repo)["classes"] == ["Zielona_rdza", "gray_light_old", "healthy"]
    assert [p.name for p in class_folders(raw, values(repo)["classes"])] == values(repo)["classes"]
    assert (raw / "gray_light_old/photo 3.jpg").read_bytes() == (leaves / "gray light (old)/photo 3.jpg").read_bytes()
    assert len(list(raw.glob("*/*.jpg"))) == sum(COUNTS.values())
    with open(raw / "class_names.csv", newline="", encoding="utf-8") as f:
        rows = {row["folder"]: row["class"] for row in csv.DictReader(f)}
    assert rows == {"gray light (old)": "gray_light_old", "Zielona rdza": "Zielona_rdza"}
    # Groups go along, under the new names
    assert values(repo)["split"]["groups_csv"] == "leaf_groups.csv"
    with open(raw / "leaf_groups.csv", newline="", encoding="utf-8") as f:
        for row in csv.DictReader(f):
            assert (raw / row["file"]).is_file() and row["class"] == row["file"].split("/")[0]
    # git sees the .dvc file and not the photos
    assert status(repo) == [" M params.yaml", "?? data/raw/.gitignore", "?? data/raw/My_leaves_2024.dvc"]
    assert values(repo)["data"]["raw_dir"] == "data/raw/My_leaves_2024"
    assert tree(leaves)["README.txt"], "the source is left as it was"


def test_params_keep_comments_and_all_else(repo, leaves):
    assert cli.main(["init", str(leaves), "--group-pattern", r"photo (\d)"]) == 0
    after = (repo / "params.yaml").read_text(encoding="utf-8")
    assert comments(after) == comments(SHIPPED) and comments(SHIPPED)
    params = load_params(repo / "params.yaml")
    assert params.split.group_pattern == r"photo (\d)"
    before = YAML(typ="safe", pure=True).load(SHIPPED)
    changed = {
        f"{section}.{key}" if isinstance(content, dict) else section
        for section, content in before.items()
        for key in (content if isinstance(content, dict) else [None])
        if (content[key] if key else content) != (values(repo)[section][key] if key else values(repo)[section])
    }
    assert changed <= set(budget.SAMPLE)
    assert list(values(repo)) == list(before)


def test_photos_are_split_as_photos_and_not_as_the_sample_is(repo, leaves):
    assert cli.main(["init", str(leaves)]) == 0
    split = values(repo)["split"]
    assert (split["test_share"], split["val_share"]) == (0.3, 0.2)


def test_shares_that_a_user_set_stay(repo, leaves):
    path = repo / "params.yaml"
    path.write_text(SHIPPED.replace("  test_share: 0.75", "  test_share: 0.45"), encoding="utf-8")
    assert cli.main(["init", str(leaves)]) == 0
    split = values(repo)["split"]
    assert (split["test_share"], split["val_share"]) == (0.45, 0.5)
    path.write_text(path.read_text(encoding="utf-8").replace("0.45", "0.75"), encoding="utf-8")  # now of photos
    assert cli.main(["init", str(leaves)]) == 0
    assert values(repo)["split"]["test_share"] == 0.75


def test_the_sample_is_restored_to_the_byte(repo, leaves):
    assert cli.main(["init", str(leaves)]) == 0
    assert (repo / "params.yaml").read_text(encoding="utf-8") != SHIPPED
    assert cli.main(["init", "--sample"]) == 0
    assert values(repo) == YAML(typ="safe", pure=True).load(SHIPPED)
    assert (repo / "params.yaml").read_text(encoding="utf-8") == SHIPPED
    assert (repo / "data/raw/My_leaves_2024.dvc").is_file(), "the set stays"


def test_again_changes_nothing_and_a_changed_source_replaces(repo, leaves, capsys):
    assert cli.main(["init", str(leaves)]) == 0
    before, params = tree(repo / "data/raw"), (repo / "params.yaml").read_bytes()
    assert cli.main(["init", str(leaves)]) == 0
    assert "holds this set already" in capsys.readouterr().out
    assert tree(repo / "data/raw") == before and (repo / "params.yaml").read_bytes() == params

    photo(leaves / "healthy/new.png", seed=1)
    (leaves / "healthy/photo 0.jpg").unlink()
    assert cli.main(["init", str(leaves)]) == 0
    after = tree(repo / "data/raw")
    assert "My_leaves_2024/healthy/new.png" in after and "My_leaves_2024/healthy/photo 0.jpg" not in after
    assert after["My_leaves_2024.dvc"] != before["My_leaves_2024.dvc"]
    assert not [p for p in (repo / "data/raw").iterdir() if p.name.endswith(".partial")]


def test_another_set_that_dvc_does_not_hold_is_not_overwritten(repo, leaves, capsys):
    mine = repo / "data/raw/My_leaves_2024/healthy/only copy.jpg"
    photo(mine, seed=3)
    assert "--name" in refused(capsys, "init", str(leaves))
    assert mine.is_file()
    assert cli.main(["init", str(leaves), "--name", "leaves_b"]) == 0
    assert mine.is_file() and values(repo)["data"]["raw_dir"] == "data/raw/leaves_b"

    (repo / "data/raw/leaves_b/healthy/added by hand.txt").write_text("only here")
    photo(leaves / "healthy/new.png", seed=1)
    assert "dvc add" in refused(capsys, "init", str(leaves), "--name", "leaves_b")
    assert (repo / "data/raw/leaves_b/healthy/added by hand.txt").is_file()


def test_a_set_in_data_raw_is_used_where_it_lies(repo, leaves):
    place = repo / "data/raw/tea"
    place.parent.mkdir(parents=True)
    leaves.rename(place)
    before = tree(place)
    assert cli.main(["init", "data/raw/tea"]) == 0
    assert tree(place) == before and status(repo) == [" M params.yaml", "?? data/raw/.gitignore", "?? data/raw/tea.dvc"]
    classes = values(repo)["classes"]
    assert [p.name for p in class_folders(place, classes)] == ["Zielona rdza", "gray light (old)", "healthy"]


def test_links_are_not_followed_out_of_the_set_and_nothing_unholdable_stops_dvc(repo, leaves, tmp_path, capsys):
    photo(tmp_path / "secret.jpg", seed=9)
    healthy = leaves / "healthy"
    (healthy / "out.jpg").symlink_to(tmp_path / "secret.jpg")
    (healthy / "nowhere.jpg").symlink_to("no such file.jpg")
    (healthy / "inside.jpg").symlink_to("photo 1.jpg")
    (healthy / "loop").symlink_to(leaves, target_is_directory=True)
    (leaves / "alias").symlink_to(healthy, target_is_directory=True)
    os.mkfifo(healthy / "pipe.jpg")
    (healthy / os.fsdecode(b"caf\xe9.jpg")).write_bytes((healthy / "photo 2.jpg").read_bytes())
    assert cli.main(["init", str(leaves)]) == 0
    out = capsys.readouterr().out
    for name in ("out.jpg", "nowhere.jpg", "loop", "pipe.jpg", "alias"):
        assert f"{name}: " in out
    raw = repo / "data/raw/My_leaves_2024/healthy"
    # and the audit will name each by its own rule
    rules = {note.file.split("/")[-1]: note.rule for note in list_class(raw.parent, raw, 0)[1]}
    assert rules["out.jpg"] == "link_leaves_set" and rules["nowhere.jpg"] == "broken_link"
    assert (raw / "inside.jpg").read_bytes() == (healthy / "photo 1.jpg").read_bytes()
    assert not (raw / "inside.jpg").is_symlink() and (raw / "caf_.jpg").is_file()
    assert "alias" not in values(repo)["classes"]
    assert cli.main(["init", str(leaves)]) == 0, "and the same again"
    assert "holds this set already" in capsys.readouterr().out


def test_a_class_too_small_is_left_out_by_name(repo, leaves, capsys):
    photo(leaves / "rare/one.jpg", seed=5)
    assert cli.main(["init", str(leaves)]) == 0
    assert "left out: folder 'rare'" in capsys.readouterr().out
    assert "rare" not in values(repo)["classes"]
    assert (repo / "data/raw/My_leaves_2024/rare/one.jpg").is_file(), "the audit names it"


# ------------------------------------------------------------------------------------------------ another set


def two_sets(folder: Path) -> tuple[Path, Path]:
    """Two downloads with a folder `train` each."""
    for k, (plant, names) in enumerate({"apple": ("scab", "rust"), "tea": ("blight", "spot")}.items()):
        for j, name in enumerate(names):
            for i in range(8):
                photo(folder / plant / "train" / name / f"{i}.jpg", seed=1000 * k + 100 * j + i)
    return folder / "apple/train", folder / "tea/train"


def md5_of(dvc_file: Path) -> str:
    return YAML(typ="safe", pure=True).load(dvc_file.read_text())["outs"][0]["md5"]


def run_git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments], cwd=folder, check=True)


def run_dvc(folder: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=folder, check=True, capture_output=True)


def test_a_second_set_of_the_same_name_takes_no_place_unasked(repo, tmp_path, capsys, monkeypatch):
    apple, tea = two_sets(tmp_path)
    assert cli.main(["init", str(apple)]) == 0
    assert "held" not in capsys.readouterr().out
    before, params = tree(repo / "data/raw"), (repo / "params.yaml").read_bytes()
    md5 = md5_of(repo / "data/raw/train.dvc")
    with monkeypatch.context() as patch:
        patch.setattr(cli, "measure", lambda *a, **k: pytest.fail("timed before the place was looked at"))
        for arguments in ([], ["--dry-run"]):
            said = refused(capsys, "init", str(tea), *arguments)
            assert "another set (16 files, " in said and md5 in said and "--name" in said and "--replace" in said
    assert (tree(repo / "data/raw"), (repo / "params.yaml").read_bytes()) == (before, params)

    assert cli.main(["init", str(tea), "--name", "tea"]) == 0, "keeps both"
    assert "held" not in capsys.readouterr().out and {"tea", "train"} <= {p.name for p in (repo / "data/raw").iterdir()}

    assert cli.main(["init", str(tea), "--replace"]) == 0
    out = capsys.readouterr().out
    assert f"data/raw/train held another set (16 files, in DVC's cache as {md5})" in out and "never committed" in out
    assert (repo / "data/raw/train/blight").is_dir() and not (repo / "data/raw/train/rust").exists()
    # and the way back that it told is one
    tracked = repo / "data/raw/train.dvc"
    tracked.write_text(tracked.read_text().replace(md5_of(tracked), md5))
    run_dvc(repo, "checkout", "data/raw/train.dvc")
    assert {k: v for k, v in tree(repo / "data/raw").items() if k.startswith("train/")} == {
        k: v for k, v in before.items() if k.startswith("train/")
    }


def test_replace_loses_nothing_that_dvc_does_not_hold(repo, tmp_path, capsys):
    apple, tea = two_sets(tmp_path)
    assert cli.main(["init", str(apple)]) == 0
    (repo / "data/raw/train/rust/by hand.txt").write_text("only here")
    assert "dvc add" in refused(capsys, "init", str(tea), "--replace")
    assert (repo / "data/raw/train/rust/by hand.txt").is_file()
    (repo / "data/raw/empty").mkdir()
    assert cli.main(["init", str(tea), "--name", "empty"]) == 0
    (repo / "data/raw/afile").write_text("x")
    assert "found a file" in refused(capsys, "init", str(tea), "--replace", "--name", "afile")


@pytest.mark.parametrize("committed", [True, False])
def test_a_newer_version_takes_the_place_and_says_what_was_there(repo, tmp_path, capsys, committed):
    apple, _ = two_sets(tmp_path)
    assert cli.main(["init", str(apple)]) == 0
    md5 = md5_of(repo / "data/raw/train.dvc")
    if committed:
        run_git(repo, "add", "data/raw/train.dvc")
        run_git(repo, "commit", "-qm", "apple")
    for i in range(7):  # 9 of 16 stay; a file of the same size counts by its bytes
        photo(apple / "rust" / f"{i}.jpg", seed=7000 + i)
    photo(apple / "rust/more.jpg", seed=8000)
    capsys.readouterr()
    assert cli.main(["init", str(apple)]) == 0
    out = capsys.readouterr().out
    assert f"data/raw/train held another version (16 files, in DVC's cache as {md5})" in out
    assert ("never committed" in out) is not committed
    for i in range(2):
        photo(apple / "rust" / f"{7 - i}.jpg", seed=7100 + i)
        photo(apple / "scab" / f"{i}.jpg", seed=7200 + i)
    for path in (apple / "scab").iterdir():
        photo(path, seed=hash_of(path.name))
    assert "another set (17 files" in refused(capsys, "init", str(apple)), "less than half of it stayed"


def test_versions_are_told_of_where_the_photos_are_not_or_lie_in_place(repo, tmp_path, capsys):
    apple, tea = two_sets(tmp_path)
    assert cli.main(["init", str(apple)]) == 0
    first = md5_of(repo / "data/raw/train.dvc")
    photo(repo / "data/raw/train/rust/more.jpg", seed=1)
    capsys.readouterr()
    assert cli.main(["init", "data/raw/train"]) == 0
    assert f"held another version (16 files, in DVC's cache as {first})" in capsys.readouterr().out
    second = md5_of(repo / "data/raw/train.dvc")
    shutil.rmtree(repo / "data/raw/train")  # as in a fresh clone
    assert cli.main(["init", str(tea)]) == 0
    assert f"data/raw/train.dvc named another version (17 files, md5 {second})" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------------ no git


def test_without_git_it_says_so_before_anything_else(repo, leaves, capsys, monkeypatch):
    shutil.rmtree(repo / ".git")
    monkeypatch.setattr(cli, "survey", lambda *a, **k: pytest.fail("looked before it said so"))
    for arguments in ([str(leaves)], ["no/such/folder"], ["--sample"], [str(leaves), "--dry-run"]):
        said = refused(capsys, "init", *arguments)
        assert "no git repository here" in said and "`git init`" in said and "core.no_scm" in said
    assert not (repo / "data").exists()
    shutil.rmtree(repo / ".dvc")
    assert ".dvc: expected DVC's folder" in refused(capsys, "init", str(leaves))


@pytest.mark.parametrize("way", ["no_scm", "config.local", "fresh", "further up"])
def test_without_a_git_folder_of_its_own_it_works_where_dvc_does(repo, leaves, capsys, way):
    shutil.rmtree(repo / ".git")
    if way in ("no_scm", "config.local"):
        run_dvc(repo, "config", *(["--local"] if way == "config.local" else []), "core.no_scm", "true")
    else:
        run_git(repo if way == "fresh" else repo.parent, "init", "-q")
    assert cli.main(["init", str(leaves)]) == 0
    assert md5_of(repo / "data/raw/My_leaves_2024.dvc").endswith(".dir")
    shutil.rmtree(leaves / "healthy")
    for k in range(14):
        photo(leaves / "healthy" / f"{k}.jpg", seed=5000 + k)
    capsys.readouterr()
    assert cli.main(["init", str(leaves)]) == 0
    assert "to get it back" in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("make") is None, reason="make is absent")
def test_make_asks_for_git_before_it_makes_an_environment(tmp_path):
    for name in ("Makefile", "constraints.txt", "pyproject.toml", ".dvc/config"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)

    def make(*goals: str) -> str:
        command = ["make", "PYTHON=echo environment; false", *goals]
        environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, check=False)
        return done.stdout + done.stderr

    for goals in (["repro"], ["test"], ["-j4", "repro"]):
        said = make(*goals)
        assert "no git repository here; run `git init`" in said and "environment" not in said.replace("PYTHON", "")
    assert "what there is" in make("help") and "no git" not in make("help", "lint")
    (tmp_path / ".dvc/config.local").write_text("[core]\n    no_scm = true\n")
    assert "no git" not in make("repro") and "environment" in make("repro")
    (tmp_path / ".dvc/config.local").unlink()
    run_git(tmp_path, "init", "-q")
    assert "no git" not in make("test") and "environment" in make("test")


# ------------------------------------------------------------------------------------------------------ refusals


def test_long_names_are_cut_and_stay_apart(repo, tmp_path, capsys):
    long = tmp_path / ("s" * 250)
    for i, name in enumerate(("r" * 240 + "a", "r" * 240 + "b", "茶" * 80)):
        for k in range(8):
            photo(long / name / (f"{k}" + "p" * 240 + ".jpg"), seed=100 * i + k)
    assert cli.main(["init", str(long)]) == 0
    (name,) = [p.name for p in (repo / "data/raw").iterdir() if p.is_dir()]
    assert name.startswith("sss") and len(name) <= 120 and values(repo)["data"]["raw_dir"] == f"data/raw/{name}"
    classes = values(repo)["classes"]
    assert len(set(classes)) == 3 and all(len(c.encode()) <= 120 for c in classes)
    assert [p.name for p in class_folders(repo / "data/raw" / name, classes)] == classes
    other = tmp_path / ("s" * 251)
    long.rename(other)
    assert intake.safe_names([other.name])[other.name] != name, "what the name was cut from still tells"
    capsys.readouterr()
    assert "--name: expected a name of at most 242 bytes" in refused(capsys, "init", str(other), "--name", "n" * 243)
    assert cli.main(["init", str(other), "--name", "n" * 242]) == 0
    in_place = repo / "data/raw" / ("i" * 250)
    other.rename(in_place)
    assert "at most 242 bytes" in refused(capsys, "init", f"data/raw/{in_place.name}")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["~nobodyhere/leaves"], "no user's home"),
        (["LEAVES", "--groups", "~nobodyhere/g.csv"], "no user's home"),
        (["nul\0in it"], "NUL"),
        (["LEAVES", "--groups", "nul\0in it"], "NUL"),
        (["new\nline"], "new\\nline"),
        (["p" * 300], "File name too long"),
        (["p/" * 3000], "File name too long"),
        (["LEAVES", "--groups", "p" * 300], "File name too long"),
        (["LEAVES/loop"], "found nothing"),
        (["LEAVES", "--minutes", "inf"], "--minutes"),
        (["LEAVES", "--minutes", "nan"], "--minutes"),
        (["LEAVES", "--group-pattern", "photo|\udce9"], "UTF-8"),
        (["LEAVES", "--name", "a\nb"], "--name"),
        (["caf\udce9"], "found nothing"),
    ],
)
def test_odd_arguments_are_refused_in_one_line(repo, leaves, capsys, arguments, words):
    (leaves / "loop").symlink_to(leaves / "loop")
    assert words in refused(capsys, "init", *(a.replace("LEAVES", str(leaves)) for a in arguments))
    assert status(repo) == [] and not (repo / "data").exists()


def test_names_that_would_break_a_line_come_in_and_are_shown_escaped(repo, leaves, capsys):
    for k, name in enumerate(("a\rb", "a\nb", 'a"b', "a,b", "a\u2028b", "=1", "\x1b[31m", "a\\b", " a ")):
        photo(leaves / "gray light (old)" / f"{name}.png", seed=k)
        (leaves / "healthy" / f"{name}.jpg").write_text("no image")
    for k in range(6):
        photo(leaves / 'ru\rst\n,"x' / f"{k}.png", seed=300 + k)
    csv_name = os.fsdecode(b"leaf_groups\xe9.csv")
    (leaves / "leaf_groups.csv").rename(leaves / csv_name)
    before = tree(leaves)
    assert cli.main(["init", str(leaves)]) == 0
    out = capsys.readouterr().out
    assert "a\\rb.jpg" in out and "\\x1b[31m.jpg" in out and all(line.isprintable() for line in out.split("\n"))
    raw = repo / "data/raw/My_leaves_2024"
    assert {h for n, h in before.items() if not n.endswith(".csv")} <= set(tree(raw).values())
    with open(raw / "class_names.csv", newline="", encoding="utf-8") as f:
        assert 'ru\rst\n,"x' in {row["folder"] for row in csv.DictReader(f)}
    assert (raw / values(repo)["split"]["groups_csv"]).is_file()
    shutil.rmtree(raw)
    run_dvc(repo, "checkout", "data/raw/My_leaves_2024.dvc")
    assert (raw / "gray_light_old/a\rb.png").is_file() and (raw / "gray_light_old/a\nb.png").is_file()


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("where", ["set", "params.yaml"])
def test_a_full_disk_leaves_everything_as_it_was(repo, leaves, capsys, where, first):
    """The system itself refuses to write more than so much to a file; params.yaml is none of more than 256 kB."""
    most = 512 if where == "set" else 240  # KiB
    if not first:
        assert cli.main(["init", str(leaves)]) == 0
        photo(leaves / "healthy/new.png", seed=1)
    if where == "set":
        (leaves / "healthy/large.bin").write_bytes(bytes(600 << 10))
    else:
        with open(repo / "params.yaml", "a") as f:
            f.write("# " + "x" * ((244 << 10) - len(SHIPPED)) + "\n")
    capsys.readouterr()
    before = tree(repo / "data"), (repo / "params.yaml").read_bytes(), status(repo)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most << 10, limits[1]))
    try:
        said = refused(capsys, "init", str(leaves))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "File too large" in said and "make room" in said
    assert (tree(repo / "data"), (repo / "params.yaml").read_bytes(), status(repo)) == before
    assert (repo / "data").exists() is not first and not (repo / ".params.yaml.partial").exists()


@pytest.mark.parametrize("obstacle", ["data", "data/raw", ".params.yaml.partial/x"])
def test_what_stands_in_the_way_is_named(repo, leaves, capsys, obstacle):
    (repo / obstacle).parent.mkdir(parents=True, exist_ok=True)
    (repo / obstacle).write_text("mine")
    before = tree(repo / "data"), (repo / "params.yaml").read_bytes(), status(repo)
    assert "expected" in refused(capsys, "init", str(leaves))
    assert (tree(repo / "data"), (repo / "params.yaml").read_bytes(), status(repo)) == before
    assert (repo / obstacle).read_text() == "mine"


def as_others_are(repo: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """The command, by someone whom permissions bind: root without its powers, or who runs the tests."""
    command = [sys.executable, "-c", AS_MAIN, *arguments]
    if os.geteuid() == 0:
        powers = "-dac_override,-dac_read_search"
        command = ["setpriv", f"--bounding-set={powers}", f"--inh-caps={powers}", *command]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    options = {"stdout": subprocess.PIPE, **options}
    return subprocess.run(command, cwd=repo, stderr=subprocess.PIPE, text=True, env=environment, check=False, **options)


AS_MAIN = """import sys
from pipeline import budget, cli
cli.measure = lambda *a, **k: budget.Speed(150.0, 400.0, 300.0, 110.0)
sys.exit(cli.main(sys.argv[1:]))"""


@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("setpriv") is None, reason="root needs setpriv to be refused")
@pytest.mark.parametrize(
    ("path", "mode"),
    [
        ("REPO", 0o555),
        ("REPO/data/raw", 0o555),
        ("REPO/params.yaml", 0),
        ("LEAVES", 0),
        ("LEAVES", 0o444),
        ("LEAVES/healthy", 0o444),
    ],
)
def test_missing_permission_is_told_in_one_line(repo, leaves, path, mode):
    place = Path(path.replace("REPO", str(repo)).replace("LEAVES", str(leaves)))
    if place.name == "raw":
        place.mkdir(parents=True)
    before = tree(repo / "data"), (repo / "params.yaml").read_bytes(), status(repo)
    usual = place.stat().st_mode
    place.chmod(mode)
    try:
        done = as_others_are(repo, "init", str(leaves))
    finally:
        place.chmod(usual)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("leafsynth: ") and "ermission" in done.stderr
    assert (tree(repo / "data"), (repo / "params.yaml").read_bytes(), status(repo)) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is absent")
def test_a_screen_that_takes_nothing_and_one_without_the_letters(repo, leaves):
    with open("/dev/full", "w") as full:
        done = as_others_are(repo, "init", str(leaves), "--dry-run", stdout=full)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1) and "No space left" in done.stderr
    (leaves / "healthy/茶.jpg").write_text("no image")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-c", AS_MAIN, "init", str(leaves), "--dry-run"]
    done = subprocess.run(command, cwd=repo, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0 and "\\u8336.jpg" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["init", "no/such/folder"], "no/such/folder"),
        (["init", "dvc.yaml"], "a file"),
        (["init", "."], "holds this repository"),
        (["init", ".."], "holds this repository"),
        (["init"], "PATH"),
        (["init", "x", "--sample"], "--sample"),
        (["init", "LEAVES", "--groups", "none.csv"], "none.csv"),
        (["init", "LEAVES", "--groups", "README.txt"], "columns"),
        (["init", "LEAVES", "--group-pattern", "("], "regular expression"),
        (["init", "LEAVES", "--group-pattern", "nowhere"], "found it in none"),
        (["init", "LEAVES", "--minutes", "0"], "--minutes"),
        (["init", "LEAVES", "--name", "../x"], "--name"),
        (["init", "LEAVES/healthy"], "expected one sub-folder a class"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(repo, leaves, capsys, arguments, words):
    arguments = [a.replace("LEAVES", str(leaves)) for a in arguments]
    assert words in refused(capsys, *arguments)
    assert status(repo) == [] and not (repo / "data").exists()


def test_no_set_comes_in_while_a_stage_is_at_work(repo, leaves, capsys):
    with stage_lock("train_classifier@a.b"):
        for arguments in (["init", str(leaves)], ["init", "--sample"]):
            said = refused(capsys, *arguments)
            assert f"expected no stage at work, found train_classifier@a.b (pid {os.getpid()})" in said
        assert cli.main(["init", str(leaves), "--dry-run"]) == 0
    assert status(repo) == [] and not (repo / "data").exists()
    assert cli.main(["init", str(leaves)]) == 0


def test_outside_the_repository(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert "params.yaml and dvc.yaml" in refused(capsys, "init", "--sample")


def test_it_works_from_a_folder_below_the_root(repo, leaves, monkeypatch):
    (repo / "sub").mkdir()
    monkeypatch.chdir(repo / "sub")
    assert cli.main(["init", os.path.relpath(leaves, repo / "sub")]) == 0
    assert (repo / "data/raw/My_leaves_2024.dvc").is_file()


def test_a_dry_run_changes_nothing(repo, leaves, capsys):
    assert cli.main(["init", str(leaves), "--dry-run"]) == 0
    assert "total_kimg" in capsys.readouterr().out
    assert status(repo) == [] and not (repo / "data").exists()


@pytest.mark.parametrize("where", ["copyfile", "dvc_add", "edit_params"])
def test_an_interruption_leaves_everything_as_it_was(repo, leaves, monkeypatch, capsys, where):
    """Once on a bare repository, once over a set that is there already."""

    def interrupt(*a, **k):
        raise KeyboardInterrupt

    for first in (True, False):
        before = tree(repo / "data/raw"), (repo / "params.yaml").read_bytes(), status(repo)
        photo(leaves / "healthy/new.png", seed=1)
        with monkeypatch.context() as patch:
            patch.setattr(intake.shutil if where == "copyfile" else cli, where, interrupt)
            assert cli.main(["init", str(leaves)]) == 130
        assert "interrupted" in capsys.readouterr().err
        assert (tree(repo / "data/raw"), (repo / "params.yaml").read_bytes(), status(repo)) == before
        if first:
            assert cli.main(["init", str(leaves)]) == 0
            (leaves / "healthy/photo 5.jpg").unlink()


def test_a_refusal_of_dvc_is_passed_on_and_undone(repo, leaves, capsys):
    with open(repo / ".gitignore", "a") as f:
        f.write("*.dvc\n")
    before = status(repo)
    assert "git-ignored" in refused(capsys, "init", str(leaves))
    assert status(repo) == before and not (repo / "data/raw/My_leaves_2024").exists()


def test_help_and_module_entry():
    for arguments, word in [(["--help"], "init"), (["init", "--help"], "--img-resolution")]:
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.cli", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert word in done.stdout


# ------------------------------------------------------------------------------------------ names, params, budget


def test_safe_names_are_unique_even_in_lower_case():
    assert intake.safe_names(["Rust", "rust", "rust (old)", "Rdza", "茶 病"]) == {
        "Rust": "Rust",
        "rust": "rust_2",
        "rust (old)": "rust_old",
        "Rdza": "Rdza",
        "茶 病": "茶_病",
    }
    assert intake.safe_names(["a b"], taken=["a_b"]) == {"a b": "a_b_2"}


def test_lists_keep_style_and_what_follows_them():
    text = "# head\nclasses:\n  - a # first\n  - b\n\n# about the seed\nseed: 1 # one\nbudgets: [1, 2] # two\n"
    after = edited(text, {"classes": ["x", "no", "1e3", "é y"], "seed": None, "budgets": [3]})
    assert after == (
        '# head\nclasses:\n  - x\n  - "no"\n  - "1e3"\n  - "é y"\n\n# about the seed\n'
        "seed: null # one\nbudgets: [3] # two\n"
    )


def test_params_that_break_a_rule_are_not_written(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(SHIPPED, encoding="utf-8")
    with pytest.raises(InputError, match="classes"):
        edit_params(path, {"classes": ["only one"]})
    with pytest.raises(InputError, match="no_such_section"):
        edit_params(path, {"no_such_section.key": 1})
    assert path.read_text(encoding="utf-8") == SHIPPED and list(tmp_path.iterdir()) == [path]


def test_the_sample_values_are_the_shipped_ones():
    shipped = YAML(typ="safe", pure=True).load(SHIPPED)
    for key, value in budget.SAMPLE.items():
        section, _, name = key.partition(".")
        assert (shipped[section][name] if name else shipped[section]) == value, key


def test_all_time_is_counted_for_a_judge_of_either_kind():
    params = budget.of_photos(load_params(ROOT / "params.yaml"))
    counts = {"a": 200, "b": 100}
    plan = {"class_counts": counts, "median_size": (100, 100), "goal_minutes": 20}
    probe, finetune = (budget.choose_budget(params, speed=SPEED, device=device, **plan) for device in ("cpu", "cuda"))
    assert probe.changes["split.photo_resolution"] == 100  # px: no photo is enlarged in the store
    steps = probe.changes["train_extractor.steps"]
    assert probe.minutes["train_extractor"] * 60 == pytest.approx(steps * 32 / SPEED.classifier)
    a_run = probe.changes["second_judge.steps"] * params.second_judge.batch_size / SPEED.classifier
    assert probe.minutes["second_judge"] * 60 == pytest.approx(4 * 3 * a_run)  # the controls and the candidate, seeds
    slower = budget.choose_budget(params, speed=SPEED._replace(look=55.0), device="cpu", **plan)
    keys = ("train_classifier.input_size", "train_classifier.views")
    same = all(probe.changes[key] == slower.changes[key] for key in keys)
    assert not same or slower.minutes["train_classifier"] > 1.5 * probe.minutes["train_classifier"]
    assert finetune.changes["train_classifier.kind"] == "finetune"
    of_arm = finetune.minutes["train_classifier"] / sum(arm.effort for arm in params.arms.values())
    mixtures = 1 + len(finetune.changes["sweep_mixture.ratios"])
    assert finetune.minutes["sweep_mixture"] > mixtures * of_arm  # and drawing
    assert finetune.changes["second_judge.kind"] == "probe" and finetune.changes["second_judge.views"] > 0


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_an_arm_of_more_work_is_planned_for(device):
    params = budget.of_photos(load_params(ROOT / "params.yaml"))
    arms = {name: arm for name, arm in params.arms.items() if name != "classic_long"}
    plan = {"class_counts": {"a": 200, "b": 100}, "median_size": (100, 100), "speed": SPEED, "device": device}
    of, without = (
        budget.choose_budget(p, goal_minutes=60, **plan) for p in (params, params.model_copy(update={"arms": arms}))
    )
    if device == "cpu":
        assert of.minutes["train_classifier"] > 1.1 * without.minutes["train_classifier"]
    else:  # no fewer steps than the least that tells anything, so it takes longer
        assert of.minutes["train_classifier"] == pytest.approx(16 / 12 * without.minutes["train_classifier"])


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_is_planned_is_valid(tmp_path, device):
    params = budget.of_photos(load_params(ROOT / "params.yaml"))
    chosen = budget.choose_budget(
        params, class_counts={"a": 200, "b": 100}, median_size=(300, 260), speed=SPEED, goal_minutes=20, device=device
    )
    (tmp_path / "params.yaml").write_text(SHIPPED, encoding="utf-8")
    edit_params(tmp_path / "params.yaml", chosen.changes)
    written = load_params(tmp_path / "params.yaml")
    assert written.train_classifier.kind != written.second_judge.kind


@pytest.mark.parametrize("num_classes", [2, 8, 40])
@pytest.mark.parametrize("total", [300, 2000, 20000])
def test_the_plan_keeps_to_the_goal_on_two_cores(num_classes, total):
    params = budget.of_photos(load_params(ROOT / "params.yaml"))
    counts = {f"c{k}": max(6, total // num_classes) for k in range(num_classes)}
    chosen = budget.choose_budget(params, class_counts=counts, median_size=(256, 256), speed=SPEED, goal_minutes=20)
    # Looking at many thousands of images, drawing and predicting them cannot be trained away
    assert sum(chosen.minutes.values()) < (22 if total < 10000 else 70)
    assert chosen.changes["train_gan.total_kimg"] > 4 * chosen.changes["specialise_gan.total_kimg"] > 0
    assert max(chosen.changes["label_budgets"]) <= max(1, min(counts.values()) * 0.64)


def test_several_gans_where_each_gets_enough_and_their_time_is_counted():
    params = budget.of_photos(load_params(ROOT / "params.yaml"))
    plan = {"class_counts": {"a": 200, "b": 100}, "median_size": (100, 100), "speed": SPEED}
    for minutes in (5, 10, 20, 40, 80, 160):
        chosen = budget.choose_budget(params, **plan, goal_minutes=minutes)
        kimg, repeats = chosen.changes["train_gan.total_kimg"], chosen.changes["repeat_gan.seeds"]
        of_one = chosen.minutes["train_gan"] + chosen.minutes["specialise_gan"]
        assert len(repeats) in (0, 2) and params.train_gan.seed not in repeats
        assert not repeats or kimg >= budget.ENOUGH_KIMG
        assert chosen.minutes["repeat_gan"] >= len(repeats) * of_one
        assert chosen.minutes["repeat_gan"] < len(repeats) * of_one + 3


def test_more_minutes_more_training():
    params = budget.of_photos(load_params(ROOT / "params.yaml"))
    short, long = (
        budget.choose_budget(
            params, class_counts={"a": 900, "b": 400}, median_size=(100, 100), speed=SPEED, goal_minutes=minutes
        ).changes
        for minutes in (20, 80)
    )
    gans = [1 + len(plan["repeat_gan.seeds"]) for plan in (short, long)]
    assert gans == [1, 3]  # the longer goal has time for a GAN a classifier seed
    for key in ("train_gan.total_kimg", "specialise_gan.total_kimg"):
        assert gans[1] * long[key] > 2 * short[key], key
    for key in ("second_judge.steps", "train_sgan.steps"):
        assert long[key] > 2 * short[key], key
    assert short["train_classifier.kind"] == long["train_classifier.kind"] == "probe"
    looks = [(plan["train_classifier.input_size"], plan["train_classifier.views"]) for plan in (short, long)]
    assert looks[0] < looks[1] and looks[1][0] == 224
    assert len(short["sweep_mixture.ratios"]) <= len(long["sweep_mixture.ratios"])  # of three GANs' images each


@pytest.mark.parametrize(
    ("side", "device", "expected"),
    [(256, "cuda", 128), (95, "cuda", 64), (100, "cuda", 64), (256, "cpu", 64), (50, "cpu", 32), (20, "cpu", 32)],
)
def test_resolution_by_device_and_photo(side, device, expected):
    assert budget.choose_resolution(side, device)[0] == expected


def test_the_probe_measures_something():
    speed = budget.measure_images_per_second(
        load_params(ROOT / "params.yaml"), num_classes=3, img_resolution=32, device="cpu", threads=1
    )
    assert all(0.5 < value < 1e6 for value in speed)


def test_leaves_in_file_names_are_hinted_at(repo, tmp_path, capsys):
    raw = tmp_path / "named"
    for name in ("rust", "scab"):
        (raw / name).mkdir(parents=True)
        for i in range(12):
            for k in "ab":
                pixels = np.random.default_rng([len(name), i, ord(k)]).integers(0, 256, (40, 40, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(raw / name / f"{name}{i}{k}.png")
    assert cli.main(["init", str(raw), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "48 images in 24 groups of 2" in out and "split.group_pattern" in out
    assert cli.main(["init", str(raw), "--dry-run", "--group-pattern", r"^([a-z]+\d+)"]) == 0
    assert "groups of 2" not in capsys.readouterr().out


def test_a_gan_asked_for_more_than_the_photos_have_is_planned_for(repo, leaves, capsys):
    assert cli.main(["init", str(leaves), "--img-resolution", "256"]) == 0
    written = load_params(repo / "params.yaml").split
    assert written.img_resolution == written.photo_resolution == 256
