"""The GAN's training: it repeats, resumes to the same weights, learns classes, and specialises."""

import csv
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipeline import InputError
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
    return images.astype(np.uint8), labels


def _train(leaves, out, **changes):
    return training_loop.train(*leaves, CLASSES, out, **{**SETTINGS, **changes})


def test_same_inputs_same_bytes(leaves, tmp_path):
    for name in ("a", "b"):
        _train(leaves, tmp_path / name)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert len(files) >= 6
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file
    _train(leaves, tmp_path / "c", seed=2)
    assert generator_sha256(tmp_path / "a") != generator_sha256(tmp_path / "c")


def test_a_killed_training_ends_with_the_weights_of_one_never_killed(leaves, tmp_path, monkeypatch):
    _train(leaves, tmp_path / "whole")
    monkeypatch.setattr(training_loop, "SECONDS_BETWEEN_STATES", 0.0)

    class Killed(Exception):
        pass

    def kill(metrics, images_seen):
        if images_seen >= 48:
            raise Killed

    with pytest.raises(Killed):
        _train(leaves, tmp_path / "cut", state_dir=tmp_path / "state", report=kill)
    seen = []
    _train(leaves, tmp_path / "cut", state_dir=tmp_path / "state", report=lambda metrics, step: seen.append(step))
    assert seen[0] == 48, "it should go on from the state saved at 32 images, not start over"
    for name in ("G_ema", "D"):
        whole, cut = (load_file(tmp_path / d / f"{name}.safetensors") for d in ("whole", "cut"))
        assert all(torch.equal(whole[key], cut[key]) for key in whole)
    assert (tmp_path / "whole/history.csv").read_bytes() == (tmp_path / "cut/history.csv").read_bytes()
    assert (tmp_path / "whole/training.gif").read_bytes() == (tmp_path / "cut/training.gif").read_bytes()
    assert not any((tmp_path / "state").iterdir()), "a finished training leaves no state"


def _train_and_kill(leaves, tmp_path, monkeypatch):
    """Leaves a state in `tmp_path / "state"`."""
    monkeypatch.setattr(training_loop, "SECONDS_BETWEEN_STATES", 0.0)

    def stop(metrics, images_seen):
        if images_seen >= 48:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        _train(leaves, tmp_path / "x", state_dir=tmp_path / "state", report=stop)


def test_another_parameter_or_data_set_does_not_go_on_from_a_state(leaves, tmp_path, monkeypatch):
    _train_and_kill(leaves, tmp_path, monkeypatch)
    images, labels = leaves
    changed = images.copy()
    changed[0, 0, 0, 0] ^= 1
    for case in ({"G_lr": 0.001}, {"leaves": (changed, labels)}):
        seen = []
        data = case.pop("leaves", leaves)
        _train(
            data,
            tmp_path / f"y{len(case)}",
            state_dir=tmp_path / "state",
            report=lambda m, s, seen=seen: seen.append(s),
            **case,
        )
        assert seen[0] == 16


def test_a_damaged_state_is_named(leaves, tmp_path, monkeypatch):
    _train_and_kill(leaves, tmp_path, monkeypatch)
    (state,) = (tmp_path / "state").glob("*/state.pt")
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(InputError, match="damaged"):
        _train(leaves, tmp_path / "x", state_dir=tmp_path / "state")


def test_labels_are_drawn_uniformly_over_classes_not_by_frequency(leaves, tmp_path, monkeypatch):
    seen = []
    real_augment = training_loop.augment

    def spy(images, policy, rng):
        seen.append(images.detach().float().mean(dim=(2, 3)))
        return real_augment(images, policy, rng)

    monkeypatch.setattr(training_loop, "augment", spy)
    _train(leaves, tmp_path / "a", total_kimg=0.8)
    reals = torch.cat(seen[::3])  # reals, fakes for D, fakes for G
    share_blue = (reals[:, 2] > reals[:, 0]).float().mean().item()
    assert 0.44 < share_blue < 0.56  # 1/6 by frequency; 800 draws have a standard error of 0.018


def test_the_classes_come_out_in_their_own_colours_and_a_specialised_model_is_of_its_class(leaves, tmp_path):
    _train(leaves, tmp_path / "joint", total_kimg=4.0, preview_kimg=2.0)
    joint = load_model(tmp_path / "joint")
    for k, name in enumerate(CLASSES):
        mean = np.stack([i for _, i, _ in sample(joint.G_ema, k, name, list(range(16)), seed=0)]).mean(axis=(0, 1, 2))
        assert mean[2 * k] - mean[2 - 2 * k] > 60, f"{name} drawn as {mean}"

    images, labels = leaves
    out = tmp_path / "blue"
    training_loop.train(
        images[labels == 1], labels[labels == 1], CLASSES, out, init=joint, **{**SETTINGS, "total_kimg": 0.4}
    )
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
