"""Stages are killed, interrupted and starved as real processes: they go on, or refuse, and never end differently.

Every stage's start costs seconds, so a stage is stopped several times on its way to one end, and the refusals,
which all trainings share, are asked of one stage.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from ruamel.yaml import YAML

from pipeline import InputError
from pipeline.features.saved import save_classifier
from pipeline.gan.architectures import build
from pipeline.gan.checkpoint import save_model
from pipeline.images.store import write_store
from pipeline.learn.classifier_model import build_classifier
from pipeline.resume import Interrupted
from pipeline.stage_lock import running_stages
from stages._entry import _one_sentence

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 120  # seconds
# fmt: off
SCRATCH = {"kind": "scratch", "model": "mobilenet_v3_small", "weights": None, "input_size": None, "optimiser": "sgd",
           "lr": 0.05, "steps": 6, "eval_every": 4, "batch_size": 4}
SHRUNKEN = {
    "device": "cpu",
    "threads": 1,
    "train_gan": {"total_kimg": 0.08, "preview_kimg": 0.024, "batch_size": 8, "G_channels": 4, "D_channels": 4,
                  "augment_p": "adaptive", "lecam": 0.3, "lecam_from_kimg": 0.03, "transition_kimg": [0.02, 0.06]},
    "specialise_gan": {"total_kimg": 0.06, "preview_kimg": 0.024, "batch_size": 8, "G_channels": 4, "D_channels": 4},
    "split": {"img_resolution": 32, "photo_resolution": 32, "test_share": 0.3, "val_share": 0.2},
    "train_classifier": {**SCRATCH, "seeds": [0, 1]},
    "second_judge": {**SCRATCH, "seeds": [0]},
    "label_budgets": [2],
    "train_sgan": {"steps": 5, "eval_every": 3, "batch_size": 4, "seeds": [0, 1], "units": 4, "input_size": 32,
                   "augmented_views": 1},
    "sweep_mixture": {"ratios": [1, 2], "photo_shares": []},
    "study_minority": {"class_name": "healthy", "total_kimg": 0.05},
    "minority_counts": [3],
}
# fmt: on


class Case(NamedTuple):
    """A stage that must survive.

    Attributes:
        argv: Behind `python -m stages.`.
        name: As DVC calls it, or a part of it.
        outputs: What must be the same bytes.
        stops: Signals on the way, each after so many saves.
        without: What other stages need and must not lie where this one writes.
        whole: The stage, where `name` is a part of it.
    """

    argv: list[str]
    name: str
    outputs: list[str]
    stops: list[tuple[signal.Signals, int]]
    without: str = "nothing"
    whole: str = ""

    @property
    def stage(self) -> str:
        """What runs once at a time, and has a folder of states."""
        return self.whole or self.name


CASES = {
    "train_gan": Case(
        ["train_gan"],
        "train_gan",
        ["models/gan/joint", "results/metrics/train_gan.json"],
        [(signal.SIGKILL, 2), (signal.SIGTERM, 1), (signal.SIGKILL, 3)],  # before, in and after the transition
        without="models/gan",
    ),
    "specialise_gan": Case(
        ["specialise_gan", "rust"],
        "specialise_gan@rust",
        ["models/gan/class/rust", "results/metrics/specialise_gan@rust.json"],
        [(signal.SIGINT, 2), (signal.SIGKILL, 2)],
        without="models/gan/class",
    ),
    "second_judge": Case(
        ["second_judge"],
        "second_judge",
        ["results/second_judge", "results/metrics/second_judge.json"],
        [(signal.SIGINT, 2), (signal.SIGKILL, 7)],  # in the first seed, and in the second
    ),
    "train_sgan": Case(
        ["train_sgan"],
        "train_sgan@2",
        ["results/sgan/2"],
        [(signal.SIGKILL, 2), (signal.SIGTERM, 2), (signal.SIGKILL, 18)],  # in the SGAN, and in a baseline
        whole="train_sgan",
    ),
    "sweep_mixture": Case(
        ["sweep_mixture"],
        "sweep_mixture",
        ["results/sweep", "results/metrics/sweep_mixture.json"],
        [(signal.SIGKILL, 3), (signal.SIGTERM, 14), (signal.SIGKILL, 8)],  # in the first mixture, the second, the third
    ),
    "study_minority": Case(
        ["study_minority", "3"],
        "study_minority@3",
        ["models/minority/3", "results/minority/3", "results/metrics/study_minority@3.json"],
        [(signal.SIGKILL, 3), (signal.SIGTERM, 8), (signal.SIGKILL, 14)],  # in the GAN, and in two classifiers
    ),
}
REFUSING = CASES["train_sgan"]


class Project:
    """A tiny project folder, and how to run and stop stages in it.

    Attributes:
        started: Every process that a stage of any project has started beside itself: MLflow's recorders.
        given: Files that were there before any stage ran.
    """

    started: ClassVar[list[psutil.Process]] = []

    def __init__(self, folder: Path, mlflow_db: Path):
        self.folder, self.mlflow_db = folder, mlflow_db
        self.given = self._files()
        dropped = ("DVC_", "MLFLOW_", "LEAFSYNTH_")
        self.env = {key: value for key, value in os.environ.items() if not key.startswith(dropped)} | {
            "PYTHONPATH": str(folder),
            "OMP_NUM_THREADS": "1",
            "LEAFSYNTH_SECONDS_BETWEEN_SAVES": "0",
            "MLFLOW_TRACKING_URI": f"sqlite:///{mlflow_db}",
        }

    def copy(self, folder: Path) -> Project:
        shutil.copytree(self.folder, folder)
        return Project(folder, self.mlflow_db)

    def copy_for(self, case: Case, folder: Path) -> Project:
        copied = self.copy(folder)
        shutil.rmtree(copied.folder / case.without, ignore_errors=True)
        copied.given = copied._files()
        return copied

    def start(self, case: Case) -> subprocess.Popen:
        module, *rest = case.argv
        return subprocess.Popen(
            [sys.executable, "-m", f"stages.{module}", *rest],
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a process group of its own, as the terminal's foreground is
        )

    def end(self, process: subprocess.Popen) -> tuple[int, str, str]:
        """Wait for it: exit code, stdout, stderr."""
        try:
            out, err = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return process.returncode, out, err

    def run(self, case: Case) -> tuple[int, str, str]:
        """Run to its end: exit code, stdout, stderr."""
        return self.end(self.start(case))

    def stop(self, case: Case, signum: signal.Signals, saves: int) -> tuple[int, str, str]:
        """Run until it has saved so many times, then send the signal to its group, as a terminal does."""
        before = self._saved(case)
        process = self.start(case)
        deadline = time.monotonic() + PATIENCE
        while saves and process.poll() is None and time.monotonic() < deadline:
            if (now := self._saved(case)) != before:
                before, saves = now, saves - 1
            time.sleep(0.0005)
        if saves:
            os.killpg(process.pid, signal.SIGKILL)
            pytest.fail(f"{case.name} was to be stopped, and ended: {self.end(process)}")
        Project.started += psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signum)
        return self.end(process)

    def at_work(self, case: Case) -> subprocess.Popen:
        """Running, and it has saved at least once."""
        before = self._saved(case)
        process = self.start(case)
        deadline = time.monotonic() + PATIENCE
        while self._saved(case) == before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.0005)
        return process

    def _saved(self, case: Case) -> dict[str, tuple[int, int]]:
        found = {}
        for path in self.states(case):
            status = path.stat()
            found[str(path)] = (status.st_ino, status.st_mtime_ns)
        return found

    def states(self, case: Case) -> list[Path]:
        """The state files that are there; several where a stage trains on several sets in turn."""
        return sorted((self.folder / ".state" / case.stage).rglob("state.pt"))

    def state(self, case: Case) -> Path:
        """The one state file that is there."""
        (path,) = self.states(case)
        return path

    def outputs(self, case: Case) -> dict[str, bytes]:
        """Every output file; what is half-written, beside its place, counts too."""
        beside = [(self.folder / output).parent for output in case.outputs]
        new = self._files() - self.given
        return {
            str(f.relative_to(self.folder)): f.read_bytes() for f in new if any(place in f.parents for place in beside)
        }

    def _files(self) -> set[Path]:
        return {path for path in self.folder.rglob("*") if path.is_file()}

    def set_params(self, changes: dict) -> None:
        yaml, path = YAML(), self.folder / "params.yaml"
        values = yaml.load(path.read_text(encoding="utf-8"))
        for section, keys in changes.items():
            if isinstance(keys, dict):
                for key, value in keys.items():
                    if isinstance(value, dict):
                        values[section][key].update(value)
                    else:
                        values[section][key] = value
            else:
                values[section] = keys
        with open(path, "w", encoding="utf-8") as f:
            yaml.dump(values, f)

    def tracked(self, case: Case) -> list[str]:
        """How the stage's runs ended in MLflow, oldest first."""
        psutil.wait_procs(Project.started, timeout=PATIENCE)
        with sqlite3.connect(self.mlflow_db) as connection:
            rows = connection.execute("select status from runs where name = ? order by start_time", [case.name])
            return [status for (status,) in rows]


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Iterator[Project]:
    """A project in which nothing has run; at the end no process of any project may be left."""
    folder = tmp_path_factory.mktemp("survival")
    project = Project(folder / "bare", folder / "mlflow.db")
    for name in ("pipeline", "stages"):  # a copy: edits of the tree meanwhile would be other code, and start over
        shutil.copytree(ROOT / name, project.folder / name)
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copyfile(ROOT / name, project.folder / name)
    project.set_params(SHRUNKEN)
    classes = YAML(typ="safe").load(ROOT / "params.yaml")["classes"]
    manifest, on_val = (
        ["file,split,class,group"],
        ["seed,split,file,label," + ",".join(f"p/{name}" for name in classes)],
    )
    for k, split in enumerate(("train", "val", "test")):
        labels = np.repeat(np.arange(len(classes)), [8, 6, 5, 4])
        images = np.random.default_rng(k).integers(0, 256, (len(labels), 32, 32, 3), dtype=np.uint8)
        files = [f"{i}.png" for i in range(len(labels))]
        for home in ("data/arrays", "data/arrays/photos"):
            write_store(project.folder / home / split, images, labels, files, classes)
        for image, label, file in zip(images, labels, files, strict=True):
            manifest.append(f"{split}/{classes[label]}/{file},{split},{classes[label]},")
            if split == "val":
                shares = ",".join(str(int(k == label)) for k in range(len(classes)))
                on_val.append(f"0,val,{file},{classes[label]},{shares}")
            path = project.folder / "data/split" / split / classes[label] / file
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    _models(project.folder, classes)
    shutil.copytree(project.folder / "data/arrays/train", project.folder / "data/arrays/augmented")
    (project.folder / "data/split/manifest.csv").write_text("\n".join(manifest) + "\n")
    # By val the sweep takes a recipe, and the second judge a candidate
    of_gans = ("synthetic", "synthetic_classic", "filtered", "filtered_classic")
    for arm in ("real", "balanced", "flips", "classic", "strong", "classic_long", *of_gans):
        history = project.folder / "results/classifier" / arm / "history.csv"
        history.parent.mkdir(parents=True)
        history.write_text("seed,step,val_macro_f1\n0,4,0.5\n")
        history.with_name("predictions.csv").write_text("\n".join(on_val) + "\n")
    yield project
    _, left = psutil.wait_procs(Project.started, timeout=PATIENCE)
    for process in left:
        process.kill()
    assert not left


def _models(folder: Path, classes: list[str]) -> None:
    """What stages start from: a feature extractor, a joint model and one of each class, of fresh weights."""
    torch.manual_seed(0)
    extractor = build_classifier(
        "mobilenet_v3_small", num_classes=len(classes), weights=None, input_size=None, img_resolution=32
    )
    save_classifier(folder / "models/extractor/joint", extractor, model="mobilenet_v3_small", classes=classes,
                    input_size=None, img_resolution=32)  # fmt: skip
    config = {
        "classes": classes, "trained_on": classes, "network": "dcgan", "img_resolution": 32, "z_dim": 8,
        "G_channels": 4, "D_channels": 4, "G_conditioning": "batch_norm", "D_conditioning": "projection",
        "spectral_norm": True, "transitional": False,
    }  # fmt: skip
    save_model(folder / "models/gan/joint", *build(config), config)
    for name in classes:
        save_model(folder / "models/gan/class" / name, *build(config), config | {"trained_on": [name]})


@pytest.fixture(scope="module")
def unkilled(bare, tmp_path_factory) -> Iterator[dict[str, dict[str, bytes]]]:
    """Each stage's outputs from a run that nobody disturbed."""
    outputs = {}
    for key, case in CASES.items():
        project = bare.copy_for(case, tmp_path_factory.mktemp("unkilled") / key)
        code, out, err = project.run(case)
        assert code == 0, err
        assert "going on" not in out
        assert not (project.folder / ".state" / case.stage).exists()
        outputs[key] = project.outputs(case)
        assert outputs[key]
    return outputs


@pytest.fixture(scope="module")
def stopped(bare, unkilled, tmp_path_factory) -> Project:
    """A project whose `REFUSING` stage was killed; to be copied."""
    project = bare.copy(tmp_path_factory.mktemp("stopped") / "project")
    project.stop(REFUSING, signal.SIGKILL, 3)
    return project


@pytest.mark.parametrize("key", CASES)
def test_stopped_again_and_again_it_ends_with_the_same_bytes(bare, unkilled, tmp_path, key):
    case = CASES[key]
    project = bare.copy_for(case, tmp_path / "project")
    tracked_before = len(project.tracked(case))
    position = ""  # where the run before said that it had stopped; a killed one says nothing
    for signum, saves in case.stops:
        saved = len(project.states(case))
        code, out, err = project.stop(case, signum, saves)
        gone_on = re.findall(rf"^{case.name}: going on from (.+)$", out, re.MULTILINE)
        assert len(gone_on) == saved
        assert not position or gone_on[-1] == position
        position = ""
        if signum == signal.SIGKILL:
            assert code == -signal.SIGKILL
        else:
            assert code == 128 + signum and "Traceback" not in err
            sentence = rf"^{case.name}: stopped and saved at (.+); `dvc repro` goes on from there\.$"
            (position,) = re.findall(sentence, err, re.MULTILINE)
        assert len(project.states(case)) >= max(saved, 1)
        left = project.outputs(case)
        if signum == signal.SIGKILL:  # which lets nobody tidy up; the run that goes on does, see the end
            left = {path: content for path, content in left.items() if ".partial/" not in path}
        assert left == {}

    saved = len(project.states(case))
    code, out, err = project.run(case)
    assert code == 0, err
    assert out.count(f"{case.name}: going on from ") == saved
    assert project.outputs(case) == unkilled[key]
    assert not (project.folder / ".state" / case.stage).exists()
    assert project.tracked(case)[tracked_before:] == ["KILLED"] * len(case.stops) + ["FINISHED"]


def _refused(project: Project, case: Case) -> str:
    """Run what must fail with one sentence and leave no output; the sentence."""
    code, _, err = project.run(case)
    assert code == 1, err
    assert "Traceback" not in err
    (said,) = [line for line in err.splitlines() if line.startswith(f"{case.name}: ")]
    assert project.outputs(case) == {}
    return said


def test_a_damaged_or_foreign_state_is_refused(stopped, tmp_path):
    project = stopped.copy(tmp_path / "project")
    path = project.state(REFUSING)
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    said = _refused(project, REFUSING)
    assert re.search(r"state\.pt: expected .*, found a damaged file; delete \.state/.* to start over\.$", said)

    from pipeline.resume import TrainingState

    other = TrainingState(tmp_path / "other", "0123456789abcdef")
    other.save({"finished": [], "running": None}, "the end of time")
    path.write_bytes(other.path.read_bytes())
    said = _refused(project, REFUSING)
    assert re.search(r"state\.pt: expected the state of this very training .*, found that of another; delete", said)


def test_other_data_and_parameters_start_over(bare, unkilled, tmp_path):
    """First other parameters, then other data as well, are left unfinished; neither may reach the real ones."""
    project = bare.copy(tmp_path / "project")
    params = (project.folder / "params.yaml").read_bytes()
    project.set_params({"train_sgan": {"unlabelled_weight": 0.9}})
    project.stop(REFUSING, signal.SIGKILL, 4)

    (project.folder / "params.yaml").write_bytes(params)
    path = project.folder / "data/arrays/photos/train/rust.npy"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    sentence = f"{REFUSING.name}: what was saved is of other data, parameters or code; starting over\n"
    _, out, err = project.stop(REFUSING, signal.SIGINT, 4)
    assert out == sentence, err

    path.write_bytes(data)
    code, out, err = project.run(REFUSING)
    assert code == 0, err
    assert out == sentence
    assert project.outputs(REFUSING) == unkilled["train_sgan"]
    assert not (project.folder / ".state" / REFUSING.stage).exists()


@contextmanager
def paused(project: Project, case: Case) -> Iterator[subprocess.Popen]:
    """The stage at work, standing still inside the block."""
    process = project.at_work(case)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        assert process.poll() is None
        yield process
    finally:
        os.kill(process.pid, signal.SIGCONT)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (
            "params",
            r"params.yaml: train_sgan.unlabelled_weight was 0.3 when the stage started and is 0.9 now; no output",
        ),
        ("others", None),  # parameters of another stage
        ("invalid", r"params.yaml is no longer valid; no output is kept"),
        ("code", r"pipeline/learn/sgan_losses\.py has changed since the stage started; no output is kept"),
        ("touched", None),
        ("data", r"data/arrays/val/rust\.npy has changed since the stage started; no output is kept"),
    ],
)
def test_what_is_edited_while_a_stage_runs_is_not_recorded_as_used(bare, unkilled, tmp_path, edit, said):
    """DVC reads inputs again behind the command, and would put the new ones beside outputs of the old ones."""
    project, case = bare.copy(tmp_path / "project"), REFUSING
    code_file, data_file = (project.folder / p for p in ("pipeline/learn/sgan_losses.py", "data/arrays/val/rust.npy"))
    before = {path: path.read_bytes() for path in (project.folder / "params.yaml", code_file, data_file)}
    with paused(project, case) as process:
        if edit in ("params", "others", "invalid"):
            section, value = {"params": ("train_sgan", 0.9), "others": ("generate", 2), "invalid": ("train_sgan", -1)}[
                edit
            ]
            key = {"train_sgan": "unlabelled_weight", "generate": "seed"}[section]
            project.set_params({section: {key: value}})
        elif edit == "code":
            code_file.write_bytes(before[code_file] + b"# a comment\n")
        elif edit == "touched":  # as git does when a branch is changed forth and back
            os.utime(code_file)
        else:
            data_file.write_bytes(before[data_file][:-1] + bytes([before[data_file][-1] ^ 1]))
    code, out, err = project.end(process)
    if said is None:
        assert code == 0 and project.outputs(case) == unkilled["train_sgan"], err
        return
    assert code == 1 and "Traceback" not in err and project.outputs(case) == {}
    assert re.search(said, err) and len([x for x in err.splitlines() if x.startswith(case.name)]) == 1
    if edit != "params":
        return
    for path, content in before.items():  # put back, nothing is lost
        path.write_bytes(content)
    code, out, err = project.run(case)
    assert code == 0 and f"{case.name}: going on from " in out, err
    assert project.outputs(case) == unkilled["train_sgan"]


def test_a_stage_runs_once_at_a_time(bare, unkilled, tmp_path):
    """A `dvc` that was killed alone leaves its stage at work; the next one must not start another beside it."""
    project, case = bare.copy(tmp_path / "project"), REFUSING
    with paused(project, case) as process:
        code, _, err = project.run(case)
        assert code == 1 and "Traceback" not in err
        assert (
            f"{case.stage}: expected to run alone, found that another process runs this stage (pid {process.pid})"
            in err
        )
        assert running_stages(project.folder) == {case.stage: f"pid {process.pid}"}
    code, _, err = project.end(process)
    assert code == 0 and project.outputs(case) == unkilled["train_sgan"], err
    assert running_stages(project.folder) == {}


def test_other_threads_in_the_environment_change_nothing(bare, unkilled, tmp_path):
    project, case = bare.copy(tmp_path / "project"), REFUSING
    project.env["OMP_NUM_THREADS"] = project.env["MKL_NUM_THREADS"] = "2"
    code, _, err = project.run(case)
    assert code == 0 and project.outputs(case) == unkilled["train_sgan"], err


def test_a_full_disk_is_one_sentence(stopped, tmp_path):
    project = stopped.copy(tmp_path / "project")
    state = project.state(REFUSING)
    saved = state.read_bytes()
    (state.parent / "state.tmp").unlink(missing_ok=True)  # the kill may have left one
    (state.parent / "state.tmp").symlink_to("/dev/full")
    said = _refused(project, REFUSING)
    assert re.search(r"state\.tmp: expected room for .* MB, found the disk full; free some and run `dvc repro`", said)
    assert state.read_bytes() == saved

    case = CASES["second_judge"]
    metrics = project.folder / "results/metrics/second_judge.partial"
    metrics.parent.mkdir(parents=True)
    metrics.symlink_to("/dev/full")
    code, _, err = project.run(case)
    assert code == 1 and "Traceback" not in err
    assert "second_judge: outputs: expected room on the disk, found it full; free some and run" in err
    assert list(metrics.parent.iterdir()) == []
    assert project.states(case), "what was trained is not lost before the outputs are in place"


@pytest.mark.parametrize(
    "error, code, sentence",
    [
        (InputError("key: expected, found, do."), 1, "stage: key: expected, found, do."),
        (OSError(errno.ENOSPC, "No space left on device", "a.csv"), 1, "stage: a.csv: expected room on the disk"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 1, "stage: outputs: expected room on the disk"),
        (OSError(errno.ENOSPC, "full", "from", None, "to"), 1, "stage: to: expected room on the disk"),
        (OSError("100000 requested and 8176 written"), 1, "stage: outputs: expected room on the disk"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), 1, "stage: outputs: expected room"),
        (KeyboardInterrupt(), 130, "stage: interrupted; `dvc repro` goes on from what is saved."),
        (Interrupted("stopped and saved at 3.", signal.SIGTERM), 143, "stage: stopped and saved at 3."),
    ],
)
def test_an_entry_ends_with_one_sentence(capsys, error, code, sentence):
    with pytest.raises(SystemExit) as left, _one_sentence("stage"):
        raise error
    assert left.value.code == code
    said = capsys.readouterr().err
    assert said.startswith(sentence) and said.count("\n") == 1


def test_a_fault_of_ours_keeps_its_traceback():
    with pytest.raises(PermissionError), _one_sentence("stage"):
        raise PermissionError(errno.EACCES, "Permission denied", "a.csv")
    with pytest.raises(ZeroDivisionError), _one_sentence("stage"):
        print(1 / 0)
