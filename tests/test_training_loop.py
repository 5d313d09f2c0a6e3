"""The GAN's training: it repeats, resumes to the same weights, learns classes, specialises, keeps its best."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipeline import InputError, resume
from pipeline.gan import training_loop
from pipeline.gan.checkpoint import generator_sha256, load_model
from pipeline.gan.sampling import sample

SETTINGS = {
    "seed": 1,
    "total_kimg": 0.08,
    "batch_size": 8,
    "z_dim": 8,
    "G_channels": 4,
    "D_channels": 4,
    "G_lr": 0.002,
    "D_lr": 0.002,
    "betas": (0.0, 0.9),
    "loss": "hinge",
    "r1_gamma": 0.1,
    "r1_interval": 2,
    "augmentation": ["translation"],
    "flips": ["horizontal"],
    "ema_half_life_kimg": 0.02,
    "ema_rampup": None,
    "preview_kimg": 0.016,
    "precision": "fp32",
}
CLASSES = ["red", "blue"]


@pytest.fixture(scope="module")
def leaves():
    """30 reddish and 6 bluish noise images of 32 px."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [30, 6])
    images = rng.integers(0, 40, (36, 32, 32, 3))
    images[labels == 0, ..., 0] += 180
    images[labels == 1, ..., 2] += 180
    images = images.astype(np.uint8)
    return {name: images[labels == k] for k, name in enumerate(CLASSES)}


def _train(leaves, out, **changes):
    return training_loop.train(leaves, CLASSES, out, **{**SETTINGS, **changes})


def _weights(folder):
    return {name: load_file(folder / f"{name}.safetensors") for name in ("G_ema", "D")}


def _equal(a, b):
    return all(torch.equal(a[net][key], b[net][key]) for net in a for key in a[net])


# Everything with a state of its own
STATEFUL = {
    "penalties": {"lecam": 0.3, "lecam_from_kimg": 0.02, "gradient_penalty": 1.0},
    "adaptive": {"augment_p": "adaptive", "ada_kimg": 0.1},
    "faded in": {"transition_kimg": (0.01, 0.06)},
    "unequal steps": {"D_steps": 2},
}


def test_same_inputs_same_bytes(leaves, tmp_path):
    for name in ("a", "b"):
        _train(leaves, tmp_path / name)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert len(files) >= 6
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file
    _train(leaves, tmp_path / "c", seed=2)
    assert generator_sha256(tmp_path / "a") != generator_sha256(tmp_path / "c")


class Killed(Exception):
    pass


def _train_and_kill(leaves, tmp_path, monkeypatch, at=48, **changes):
    """Leaves a state in `tmp_path / "state"`: that of the step before the images seen came to `at`."""
    monkeypatch.setattr(resume, "SECONDS_BETWEEN_SAVES", 0.0)

    def kill(metrics, images_seen):
        if images_seen >= at:
            raise Killed

    with pytest.raises(Killed):
        _train(leaves, tmp_path / "cut", state_dir=tmp_path / "state", report=kill, **changes)


@pytest.mark.parametrize("changes", [{}, *STATEFUL.values()], ids=["plain", *STATEFUL])
def test_a_killed_training_ends_with_the_weights_of_one_never_killed(leaves, tmp_path, monkeypatch, changes, capsys):
    _train(leaves, tmp_path / "whole", **changes)
    _train_and_kill(leaves, tmp_path, monkeypatch, **changes)
    seen = []
    _train(leaves, tmp_path / "cut", state_dir=tmp_path / "state", report=lambda m, step: seen.append(step), **changes)
    assert "going on from" in capsys.readouterr().out
    assert seen[0] >= 48, "it should go on, not start over"
    assert _equal(_weights(tmp_path / "whole"), _weights(tmp_path / "cut"))
    for file in ("history.csv", "training.gif", "final.png"):
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "cut" / file).read_bytes()


def test_what_ada_has_gathered_since_it_last_moved_p_survives_a_kill(leaves, tmp_path, monkeypatch):
    """Killed between two of its moves, and again before the next: as killed once, there."""
    for name, kills in [("once", [64]), ("twice", [48, 64])]:
        (tmp_path / name).mkdir()
        for at in kills:
            _train_and_kill(leaves, tmp_path / name, monkeypatch, at=at, **STATEFUL["adaptive"])
    once, twice = (
        resume.TrainingState(tmp_path / name / "state", next((tmp_path / name / "state").iterdir()).name).load()
        for name in ("once", "twice")
    )
    assert once["step"] == twice["step"] == 7
    assert once["tensors"]["sign_sum"].abs() > 0
    for key, value in once["tensors"].items():
        assert torch.equal(value, twice["tensors"][key]), key


def test_labels_fade_in_while_training(leaves, tmp_path):
    _train(leaves, tmp_path / "a", total_kimg=0.032, transition_kimg=(0.012, 0.052))
    for network in _weights(tmp_path / "a").values():
        strengths = [value.item() for key, value in network.items() if key.endswith("strength")]
        assert strengths and strengths == pytest.approx([0.5] * len(strengths))


@pytest.mark.parametrize("changes", STATEFUL.values(), ids=STATEFUL)
def test_every_choice_changes_what_is_trained(leaves, tmp_path, changes):
    _train(leaves, tmp_path / "plain")
    _train(leaves, tmp_path / "other", **changes)
    plain, other = _weights(tmp_path / "plain"), _weights(tmp_path / "other")
    assert any(not torch.equal(plain["G_ema"][key], other["G_ema"][key]) for key in plain["G_ema"])


def test_another_parameter_or_data_set_does_not_go_on_from_a_state(leaves, tmp_path, monkeypatch):
    changed = {**leaves, "red": leaves["red"].copy()}
    changed["red"][0, 0, 0, 0] ^= 1
    for number, case in enumerate([{"G_lr": 0.001}, {"leaves": changed}, {"ada_target": 0.5}]):
        folder = tmp_path / str(number)
        folder.mkdir()
        _train_and_kill(leaves, folder, monkeypatch)
        seen = []
        _train(case.pop("leaves", leaves), folder / "y", state_dir=folder / "state",
               report=lambda m, s, seen=seen: seen.append(s), **case)  # fmt: skip
        assert seen[0] == 16


def test_a_damaged_state_is_named(leaves, tmp_path, monkeypatch):
    _train_and_kill(leaves, tmp_path, monkeypatch)
    (state,) = (tmp_path / "state").glob("*/state.pt")
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(InputError, match="damaged"):
        _train(leaves, tmp_path / "x", state_dir=tmp_path / "state")


def test_dropout_of_the_slides_networks_is_the_same_after_a_kill(tmp_path, monkeypatch):
    leaves = {"red": np.random.default_rng(0).integers(0, 256, (4, 256, 256, 3)).astype(np.uint8)}
    slides = {"network": "slides_conditional", "z_dim": 4, "batch_size": 2, "total_kimg": 0.006, "preview_kimg": 0.002,
              "loss": "nonsaturating", "r1_gamma": 0.0}  # fmt: skip
    monkeypatch.setattr(training_loop, "SCORED_PER_CLASS", 8)
    _train(leaves, tmp_path / "whole", **slides)
    _train_and_kill(leaves, tmp_path, monkeypatch, at=4, **slides)
    _train(leaves, tmp_path / "cut", state_dir=tmp_path / "state", **slides)
    assert _equal(_weights(tmp_path / "whole"), _weights(tmp_path / "cut"))


def test_labels_are_drawn_uniformly_over_classes_not_by_frequency(leaves, tmp_path, monkeypatch):
    seen = []
    real_augment = training_loop.augment

    def spy(images, policy, draws, p):
        seen.append(images.detach().float().mean(dim=(2, 3)))
        return real_augment(images, policy, draws, p)

    monkeypatch.setattr(training_loop, "augment", spy)
    _train(leaves, tmp_path / "a", total_kimg=0.8, preview_kimg=0.8)  # one tick, so that no fault ends it early
    assert len(seen) == 300
    reals = torch.cat(seen[::3])  # reals, fakes for D, fakes for G
    share_blue = (reals[:, 2] > reals[:, 0]).float().mean().item()
    assert 0.44 < share_blue < 0.56  # 1/6 by frequency; 800 draws have a standard error of 0.018


def test_the_classes_come_out_in_their_own_colours_and_a_specialised_model_is_of_its_class(leaves, tmp_path):
    _train(leaves, tmp_path / "joint", total_kimg=4.0, preview_kimg=2.0)
    joint = load_model(tmp_path / "joint")
    for k, name in enumerate(CLASSES):
        mean = np.stack([i for _, i, _ in sample(joint.G_ema, k, name, list(range(16)), seed=0)]).mean(axis=(0, 1, 2))
        assert mean[2 * k] - mean[2 - 2 * k] > 60, f"{name} drawn as {mean}"

    out = tmp_path / "blue"
    _train({"blue": leaves["blue"]}, out, init=joint, total_kimg=0.4)
    blue = load_model(out)
    assert blue.config["trained_on"] == ["blue"]
    assert generator_sha256(out) != generator_sha256(tmp_path / "joint")
    mean = np.stack([i for _, i, _ in sample(blue.G_ema, 1, "blue", list(range(16)), seed=0)]).mean(axis=(0, 1, 2))
    assert mean[2] - mean[0] > 60


def test_history_and_config_say_what_was_trained(leaves, tmp_path):
    finals = _train(leaves, tmp_path / "a")
    with open(tmp_path / "a/history.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    assert [row["kimg"] for row in rows] == ["0.016", "0.032", "0.048", "0.064", "0.080"]
    assert float(rows[-1]["D_loss"]) == pytest.approx(finals["D_loss"], abs=1e-5)
    assert {"spread/red", "spread/blue"} <= set(finals)
    assert json.loads((tmp_path / "a/config.json").read_text())["trained_on"] == CLASSES


def test_losses_that_are_no_longer_numbers_stop_the_training(leaves, tmp_path):
    with pytest.raises(InputError, match="no longer numbers"):
        _train(leaves, tmp_path / "a", G_lr=1e30, D_lr=1e30)


def _scored_by(kids):
    """A score that gives these, tick by tick, and remembers what it saw."""
    shown = []

    def score(drawn):
        shown.append({name: images.copy() for name, images in drawn.items()})
        return {"kid": kids[min(len(shown), len(kids)) - 1], "coverage": 0.5}

    return score, shown


def test_the_checkpoint_with_the_lowest_kid_is_exported_not_the_last(leaves, tmp_path):
    score, shown = _scored_by([0.5, 0.1, 0.4, 0.3, 0.2, 0.1])
    finals = _train(leaves, tmp_path / "a", score=score)
    assert finals["best_kimg"] == 0.032 and finals["kid_val"] == 0.1
    model = load_model(tmp_path / "a")
    count = training_loop.SCORED_PER_CLASS
    again = training_loop._samples(model.G_ema, CLASSES, {"red": 0, "blue": 1}, count, SETTINGS["seed"], "cpu")
    assert all(np.array_equal(again[name], shown[1][name]) for name in CLASSES)
    assert not np.array_equal(again["red"], shown[4]["red"])
    assert (tmp_path / "a/final.png").read_bytes() == (tmp_path / "a/samples/00000004.png").read_bytes()
    with open(tmp_path / "a/history.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    assert [float(row["kid"]) for row in rows] == [0.5, 0.1, 0.4, 0.3, 0.2]
    assert finals["D_loss"] == pytest.approx(float(rows[1]["D_loss"]), abs=1e-5)


def test_what_specialisation_starts_from_is_kept_where_nothing_beats_it(leaves, tmp_path):
    _train(leaves, tmp_path / "joint")
    joint = load_model(tmp_path / "joint")
    score, _ = _scored_by([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    finals = _train({"blue": leaves["blue"]}, tmp_path / "blue", init=joint, score=score)
    assert finals["best_kimg"] == 0
    assert _equal(_weights(tmp_path / "joint"), _weights(tmp_path / "blue"))


def test_a_training_that_goes_wrong_stops_and_goes_back_to_its_best(leaves, tmp_path, capsys):
    score, _ = _scored_by([0.5, 0.1, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6])
    finals = _train(leaves, tmp_path / "a", score=score, total_kimg=0.32)
    assert finals["stopped/divergence"] == 1 and finals["best_kimg"] == 0.032
    assert "went back to 0.0" in (said := capsys.readouterr().out) and "lower G_lr" in said
    with open(tmp_path / "a/history.csv", newline="") as f:
        assert len(list(csv.DictReader(f))) == 5  # three bad ticks, not the twenty that were asked for


def test_scoring_does_not_change_the_training(leaves, tmp_path):
    score, _ = _scored_by([0.5, 0.4, 0.3, 0.2, 0.1])
    _train(leaves, tmp_path / "scored", score=score)
    _train(leaves, tmp_path / "plain")
    assert _equal(_weights(tmp_path / "scored"), _weights(tmp_path / "plain"))


def test_frozen_layers_of_D_keep_their_weights_and_the_rest_learns(leaves, tmp_path):
    _train(leaves, tmp_path / "joint")
    joint = load_model(tmp_path / "joint")
    _train({"blue": leaves["blue"]}, tmp_path / "blue", init=joint, freeze_D=2)
    before, after = (_weights(tmp_path / d)["D"] for d in ("joint", "blue"))
    key = "convs.{}.parametrizations.weight.original"
    assert [torch.equal(before[key.format(k)], after[key.format(k)]) for k in range(3)] == [True, True, False]
    with pytest.raises(InputError, match="freeze_D: expected at most D's 3 layers, got 4"):
        _train({"blue": leaves["blue"]}, tmp_path / "x", init=joint, freeze_D=4)


def test_images_too_many_for_the_device_are_streamed_to_the_same_weights(leaves, tmp_path, monkeypatch):
    _train(leaves, tmp_path / "there")
    mapped = {}
    for name, array in leaves.items():
        np.save(tmp_path / f"{name}.npy", array)
        mapped[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    monkeypatch.setattr("pipeline.gan.data.DEVICE_SHARE", 0.0)
    _train(mapped, tmp_path / "streamed")
    assert _equal(_weights(tmp_path / "there"), _weights(tmp_path / "streamed"))


def test_a_batch_that_does_not_fit_is_named_with_the_largest_that_does(leaves, tmp_path, monkeypatch):
    monkeypatch.setattr(training_loop, "free_bytes", lambda device: 2_000_000)
    with pytest.raises(InputError, match=r"train_gan\.batch_size: expected at most (\d+)") as refused:
        _train(leaves, tmp_path / "a", batch_size=512)
    most = int(str(refused.value).split("at most ")[1].split(",")[0])
    assert 1 < most < 512
    _train(leaves, tmp_path / "b", batch_size=most, total_kimg=0.01)


DISTRIBUTED = """
import sys, numpy as np
from pathlib import Path
from pipeline.gan.distributed import process_group
from pipeline.gan.training_loop import train
import json
folder = Path(sys.argv[1])
with process_group("cpu") as ranks:
    train({name: np.load(folder / f"{name}.npy") for name in ("red", "blue")}, ["red", "blue"],
          folder / f"out{ranks.world_size}", ranks=ranks, **json.loads(sys.argv[2]))
"""


MORE = {"lecam": 0.3, "augment_p": "adaptive", "ada_kimg": 0.1}


@pytest.mark.parametrize("changes", [{}, MORE], ids=["plain", "more"])
def test_two_processes_train_the_weights_of_one(leaves, tmp_path, changes):
    """The same global batch: statistics of batch norm, gradients and ADA's sign are over both."""
    for name, array in leaves.items():
        np.save(tmp_path / f"{name}.npy", array)
    code = [DISTRIBUTED, str(tmp_path), json.dumps({**SETTINGS, **changes})]
    (tmp_path / "ranks.py").write_text(DISTRIBUTED)
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}
    run = {"check": True, "env": environment, "capture_output": True, "text": True}
    subprocess.run([sys.executable, str(tmp_path / "ranks.py"), *code[1:]], **run)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*torchrun, str(tmp_path / "ranks.py"), *code[1:]], **run)
    one, two = (_weights(tmp_path / f"out{n}") for n in (1, 2))
    start = _train(leaves, tmp_path / "start", total_kimg=0.008, **changes) and _weights(tmp_path / "start")
    for net in one:
        for key, value in one[net].items():
            torch.testing.assert_close(two[net][key], value, rtol=1e-3, atol=2e-4, msg=lambda m, key=key: f"{key}: {m}")
    moved = max((one["G_ema"][k] - start["G_ema"][k]).abs().max().item() for k in one["G_ema"] if "weight" in k)
    assert moved > 20 * 2e-4, "training must move weights by far more than the tolerance"
