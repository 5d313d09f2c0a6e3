"""A training's saved state: whole or refused, its own or refused, and Ctrl-C and SIGTERM save first."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import InputError, machine, resume
from pipeline.resume import Interrupted, TrainingState, fingerprint

STATE = {"step": 3, "weights": {"w": torch.arange(1000.0)}, "history": [{"step": 1, "loss": 0.1 + 0.2}]}


@pytest.fixture
def always(monkeypatch) -> None:
    """Every `due` is true."""
    monkeypatch.setattr(resume, "SECONDS_BETWEEN_SAVES", -1.0)


def test_any_byte_of_the_data_changes_the_fingerprint():
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 3, 3), dtype=np.uint8)
    labels = np.array([0, 0, 1, 1, 2])
    mine = fingerprint([images, labels], {})
    assert mine == fingerprint([images.copy(), labels.copy()], {})
    for index in np.ndindex(images.shape):
        other = images.copy()
        other[index] ^= 1
        assert fingerprint([other, labels], {}) != mine
    for row in range(5):
        other_labels = labels.copy()
        other_labels[row] += 1
        assert fingerprint([images, other_labels], {}) != mine
    assert fingerprint([labels, images], {}) != mine
    assert fingerprint([images, labels.astype(np.int32)], {}) != mine
    assert fingerprint([images.reshape(5, 9, 3, 1), labels], {}) != mine
    assert fingerprint([images[:0], labels[:0]], {}) != mine


def test_how_an_array_lies_in_memory_does_not(monkeypatch, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (10, 4, 4, 3), dtype=np.uint8)
    mine = fingerprint([images], {})
    np.save(tmp_path / "images.npy", images)
    assert fingerprint([np.load(tmp_path / "images.npy", mmap_mode="r")], {}) == mine
    assert fingerprint([np.asfortranarray(images)], {}) == mine
    for rows in (1, 3, 10):
        monkeypatch.setattr(resume, "HASHED_ROWS", rows)
        assert fingerprint([images], {}) == mine


def test_any_setting_changes_the_fingerprint():
    settings = {"lr": 0.1, "seeds": [0, 1], "weights": None, "path": Path("a"), "dtype": torch.float32}
    mine = fingerprint([], settings)
    assert fingerprint([], dict(reversed(settings.items()))) == mine
    changes = {"lr": math.nextafter(0.1, 1), "seeds": [1, 0], "weights": "", "path": Path("b"), "dtype": torch.bfloat16}
    for key, value in changes.items():
        assert fingerprint([], settings | {key: value}) != mine, key
    assert fingerprint([], settings | {"more": 0}) != mine
    with pytest.raises(TypeError, match="function"):  # its text holds an address
        fingerprint([], {"report": lambda: None})


def test_code_and_versions_change_the_fingerprint(monkeypatch):
    def mine() -> str:
        resume._code.cache_clear()
        machine.versions.cache_clear()
        return fingerprint([], {})

    before = mine()
    assert mine() == before
    read_bytes, version = Path.read_bytes, machine.importlib.metadata.version
    for name in ("learn/classifier.py", "learn/batches.py", "gan/training_loop.py", "images/transforms.py"):
        edited = lambda path, name=name: read_bytes(path) + b"#" * str(path).endswith(name)  # noqa: E731
        monkeypatch.setattr(Path, "read_bytes", edited)
        assert mine() != before, name
    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    for package in ("torch", "albumentations"):
        monkeypatch.setattr(
            machine.importlib.metadata, "version", lambda name, package=package: version(name) + "x" * (name == package)
        )
        assert mine() != before, package
    monkeypatch.undo()
    monkeypatch.setattr(resume, "cpu_model", lambda: "a CPU of another kind")
    assert mine() != before
    monkeypatch.undo()
    torch.set_num_threads(2)
    try:
        assert mine() != before
    finally:
        torch.set_num_threads(1)
    assert mine() == before


def test_what_is_saved_comes_back(tmp_path):
    TrainingState(tmp_path / "stage", "key").save(STATE, "step 3 of 9")
    found = TrainingState(tmp_path / "stage", "key").load()
    assert torch.equal(found["weights"]["w"], STATE["weights"]["w"])
    assert found["history"] == STATE["history"] and found["position"] == "step 3 of 9"
    assert [path.name for path in (tmp_path / "stage/key").iterdir()] == ["state.pt"]
    TrainingState(tmp_path / "stage", "key").finish()
    assert not (tmp_path / "stage").exists()


def test_nothing_saved_and_nothing_asked_for(tmp_path, always, capsys):
    assert TrainingState(tmp_path / "stage", "key").load() is None
    none = TrainingState(None, "")
    handlers = [signal.getsignal(signum) for signum in resume.SIGNALS]
    with none:
        assert [signal.getsignal(signum) for signum in resume.SIGNALS] == handlers
        assert none.load() is None and not none.due()
        none.save(STATE, "step 1 of 1")
        none.finish()
    assert list(tmp_path.iterdir()) == [] and capsys.readouterr().out == ""


def test_another_trainings_state_is_left_alone_and_said(tmp_path, capsys):
    TrainingState(tmp_path / "train_gan", "old").save(STATE, "step 3 of 9")
    assert TrainingState(tmp_path / "train_gan", "new").load() is None
    said = capsys.readouterr().out
    assert said.startswith("train_gan: what was saved is of other data, parameters or code") and said.count("\n") == 1
    assert TrainingState(tmp_path / "train_gan", "old").load() is not None


def test_a_damaged_or_foreign_file_is_refused_in_one_sentence(tmp_path):
    state = TrainingState(tmp_path / "stage", "key")
    state.save(STATE, "step 3 of 9")
    whole = state.path.read_bytes()
    middle = len(whole) // 2  # in the tensor: torch.load alone would not notice
    damaged = [
        b"",
        whole[:20],
        whole[:-1],
        whole[: len(whole) // 2],
        whole + b"\0",
        whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        bytes([whole[0] ^ 1]) + whole[1:],
        os.urandom(500),
    ]
    for content in damaged:
        state.path.write_bytes(content)
        with pytest.raises(InputError, match=r"state\.pt: .*damaged.*; delete .*key to start over\.$") as caught:
            state.load()
        assert "\n" not in str(caught.value)

    other = TrainingState(tmp_path / "stage", "other")
    other.save(STATE, "step 3 of 9")
    state.path.write_bytes(other.path.read_bytes())
    with pytest.raises(InputError, match=r"this very training \(key\), found that of another; delete"):
        state.load()


def test_code_in_a_state_is_not_run(tmp_path):
    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    state = TrainingState(tmp_path / "stage", "key")
    state.save({"step": Harmful()}, "step 1 of 1")
    with pytest.raises(InputError, match="damaged"):
        state.load()
    assert not (tmp_path / "harm").exists()


def test_a_full_disk_leaves_the_state_before(tmp_path):
    state = TrainingState(tmp_path / "stage", "key")
    partial = tmp_path / "stage/key/state.tmp"
    partial.parent.mkdir(parents=True)
    partial.symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"state\.tmp: .*the disk full; free some .* goes on from the beginning\.$"):
        state.save(STATE, "step 3 of 9")
    assert not partial.is_symlink()
    state.save(STATE, "step 3 of 9")
    partial.symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"goes on from the state saved before\.$"):
        state.save(STATE | {"step": 4}, "step 4 of 9")
    assert state.load()["step"] == 3


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "stage").write_text("a file, where the folder should be")
    with pytest.raises(InputError, match="found 'Not a directory'"):
        TrainingState(tmp_path / "stage", "key").save(STATE, "step 3 of 9")


def test_saves_come_by_time(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(resume.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(resume, "SECONDS_BETWEEN_SAVES", 30.0)
    state = TrainingState(tmp_path / "stage", "key")
    assert not state.due()
    now[0] += 31
    assert state.due()
    state.save(STATE, "step 3 of 9")
    assert not state.due()


@pytest.mark.parametrize("signum", resume.SIGNALS)
def test_a_signal_saves_first(tmp_path, signum):
    before = signal.getsignal(signum)
    says = r"^stopped and saved at step 3 of 9; `dvc repro` goes on from there\.$"
    with pytest.raises(Interrupted, match=says) as caught, TrainingState(tmp_path / "stage", "key") as state:
        assert not state.due()
        signal.raise_signal(signum)
        assert state.due()
        state.save(STATE, "step 3 of 9")
    assert caught.value.signum == signum
    assert signal.getsignal(signum) == before
    assert TrainingState(tmp_path / "stage", "key").load()["step"] == 3


def test_a_second_signal_does_not_wait(tmp_path):
    with pytest.raises(KeyboardInterrupt) as caught, TrainingState(tmp_path / "stage", "key"):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    assert not isinstance(caught.value, Interrupted)


def test_a_signal_after_the_last_save_is_not_lost(tmp_path):
    with pytest.raises(KeyboardInterrupt), TrainingState(tmp_path / "stage", "key"):
        signal.raise_signal(signal.SIGINT)


def test_a_kill_while_saving_leaves_the_state_before(tmp_path):
    """A process saves on and on, and is killed at any point of it: what is found is always whole."""
    code = """
import sys, torch
from pipeline.resume import TrainingState
state = TrainingState(sys.argv[1], "key")
for step in range(1_000_000):
    state.save({"step": step, "w": torch.full((300_000,), float(step))}, f"step {step}")
    print(step, flush=True)
"""
    root = Path(__file__).resolve().parent.parent
    found = []
    for lines in (1, 4, 9):
        process = subprocess.Popen(
            [sys.executable, "-c", code, tmp_path / "stage"], cwd=root, stdout=subprocess.PIPE, text=True
        )
        for _ in range(lines):
            said = int(process.stdout.readline())
        process.kill()
        process.wait()
        process.stdout.close()
        state = TrainingState(tmp_path / "stage", "key").load()
        assert state["step"] >= said and torch.equal(state["w"], torch.full((300_000,), float(state["step"])))
        found.append(state["step"])
    assert len(found) == 3
