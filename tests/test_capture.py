"""A step as a CUDA graph: how far apart two updates are; on a GPU, that the graph trains what the plain step does."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipeline.gan.capture import capture, difference


def test_without_a_gpu_the_step_is_the_step_itself():
    def step(due, images, labels):
        raise AssertionError

    assert capture(step, torch.Generator(), list, enabled=False) is step


def test_the_difference_is_relative_to_the_update():
    before = [torch.tensor([1.0, 2.0])]
    wanted = [torch.tensor([1.0, 2.1])]
    assert difference(before, wanted, wanted) == 0
    assert difference(before, wanted, before) == pytest.approx(1)
    assert difference(before, wanted, [torch.tensor([1.0, 2.11])]) == pytest.approx(0.1, rel=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_captured_training_is_the_plain_one(tmp_path, monkeypatch, recwarn):
    from pipeline.gan import training_loop

    rng = np.random.default_rng(0)
    images = {name: rng.integers(0, 256, (20, 32, 32, 3)).astype(np.uint8) for name in "ab"}
    settings = {
        "seed": 0, "total_kimg": 0.8, "batch_size": 16, "z_dim": 16, "G_channels": 8, "D_channels": 8, "G_lr": 2e-4,
        "D_lr": 2e-4, "betas": (0.0, 0.9), "loss": "hinge", "r1_gamma": 0.1, "r1_interval": 4, "augmentation":
        ["color", "translation", "cutout"], "flips": ["horizontal"], "ema_half_life_kimg": 0.1, "ema_rampup": None,
        "preview_kimg": 0.4, "precision": "fp32", "device": "cuda", "lecam": 0.1, "augment_p": "adaptive",
    }  # fmt: skip
    training_loop.train(images, ["a", "b"], tmp_path / "captured", **settings)
    assert not [w for w in recwarn if "CUDA graph" in str(w.message)], "it fell back to the plain step"
    monkeypatch.setattr(training_loop, "capture", lambda step, *_, **__: step)
    training_loop.train(images, ["a", "b"], tmp_path / "plain", **settings)
    for name in ("G_ema", "D"):
        captured, plain = (load_file(tmp_path / d / f"{name}.safetensors") for d in ("captured", "plain"))
        for key in plain:
            torch.testing.assert_close(
                captured[key], plain[key], rtol=0.05, atol=1e-3, msg=lambda m, key=key: f"{key}: {m}"
            )
