"""The estimate of a step's memory holds against what a step takes, and refuses what does not fit."""

import subprocess
import sys

import pytest
import torch

from pipeline import InputError
from pipeline.gan.memory import check_batch, largest_batch, named_when_out_of_memory, step_bytes

CONFIG = {
    "classes": ["a", "b"], "network": "dcgan", "img_resolution": 64, "z_dim": 100, "G_channels": 32, "D_channels": 32,
    "G_conditioning": "batch_norm", "D_conditioning": "projection", "spectral_norm": True, "transitional": False,
}  # fmt: skip
MEASURE = """
import sys, tempfile
import numpy as np
from pipeline.gan.training_loop import train
images = {name: np.zeros((8, 64, 64, 3), np.uint8) for name in "ab"}
batch_size = int(sys.argv[1])
train(images, ["a", "b"], tempfile.mkdtemp(), seed=0, total_kimg=0.001 * batch_size * 3, batch_size=batch_size,
      z_dim=100, G_channels=32, D_channels=32, G_lr=1e-4, D_lr=1e-4, betas=(0, .9), loss="hinge", r1_gamma=0.0,
      r1_interval=16, augmentation=["translation", "cutout"], flips=["horizontal"], ema_half_life_kimg=1,
      ema_rampup=None, preview_kimg=1e6, precision="fp32")
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(int(status["VmHWM"].split()[0]) * 1024)  # ru_maxrss would begin at the size of the process that started this one
"""


def _peak(batch_size: int) -> int:
    done = subprocess.run([sys.executable, "-c", MEASURE, str(batch_size)], check=True, capture_output=True, text=True)
    return int(done.stdout.split()[-1])


def test_the_memory_of_an_image_is_what_it_is_said_to_be_or_somewhat_less():
    """Two batches in processes of their own; their difference leaves the interpreter and torch out."""
    measured = (_peak(256) - _peak(64)) / 192
    said = step_bytes(CONFIG)[1]
    assert 0.5 * said < measured < said


def test_the_largest_batch_fits_and_one_more_does_not():
    fixed, each = step_bytes(CONFIG)
    free = fixed + 10 * each + each // 2
    assert largest_batch(CONFIG, free) == 10
    check_batch(CONFIG, 10, free, stage="train_gan")
    with pytest.raises(InputError, match=r"^train_gan\.batch_size: expected at most 10, .* at 64 px, got 11; lower it"):
        check_batch(CONFIG, 11, free, stage="train_gan")
    assert largest_batch(CONFIG, 0) == 0


def test_where_memory_runs_out_all_the_same_it_is_one_sentence():
    """Allocators are not made to fail here: their error is raised by hand."""
    for error in (torch.OutOfMemoryError("CUDA out of memory"), MemoryError()):
        with (
            pytest.raises(InputError, match=r"^train_gan\.batch_size: expected at most about \d+, ran out .* with 64"),
            named_when_out_of_memory(64, "cpu", stage="train_gan"),
        ):
            raise error


def test_memory_goes_with_resolution_and_networks():
    small, large = (step_bytes({**CONFIG, "img_resolution": r})[1] for r in (64, 128))
    assert 3.5 < large / small < 4.5
    slides = {**CONFIG, "network": "slides_conditional", "img_resolution": 256, "z_dim": 128}
    assert step_bytes(slides)[0] > (34_000_000 + 3_900_000) * 4 * 5
