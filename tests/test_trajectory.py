"""The engine trains what a textbook loop trains: the same losses, step by step, in fp32.

One pass of D over reals and fakes together, channels_last, fused Adam, uint8 on the device and frozen weights
are there for speed alone.
"""

import csv

import numpy as np
import pytest
import torch

from bench.textbook import hinge_step
from pipeline.gan.architectures import build
from pipeline.gan.augment import augment
from pipeline.gan.data import DeviceData
from pipeline.gan.draws import Draws
from pipeline.gan.sampling import to_float
from pipeline.gan.training_loop import train
from pipeline.images.seeding import stream_state

BATCH, STEPS, SEED = 8, 12, 3
AUGMENTATION = ["color", "translation", "cutout"]
CONFIG = {
    "classes": ["a", "b"], "network": "dcgan", "img_resolution": 32, "z_dim": 16, "G_channels": 8, "D_channels": 8,
    "G_conditioning": "batch_norm", "D_conditioning": "projection", "transitional": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return {name: rng.integers(0, 256, (12, 32, 32, 3)).astype(np.uint8) for name in CONFIG["classes"]}


def _textbook(images, spectral_norm, lr):
    torch.manual_seed(stream_state(SEED, "weights"))
    G, D = (network.train() for network in build({**CONFIG, "spectral_norm": spectral_norm}))
    G_opt, D_opt = (torch.optim.Adam(network.parameters(), lr=lr, betas=(0.0, 0.9)) for network in (G, D))
    data, draws, p, losses = DeviceData(images, [0, 1], "cpu"), Draws(BATCH), torch.tensor(1.0), []
    for step in range(STEPS):
        draws.start(SEED, step)
        reals, real_labels = data.batch(step, SEED, draws)
        fake_labels, z = draws.integers(0, 2), draws.normal(CONFIG["z_dim"])
        losses.append(
            hinge_step(G, D, G_opt, D_opt, to_float(reals.contiguous()), real_labels, fake_labels, z,
                       lambda batch: augment(batch, AUGMENTATION, draws, p))
        )  # fmt: skip
    return np.array(losses)


def _engine(images, folder, spectral_norm, lr):
    train(
        images, CONFIG["classes"], folder, seed=SEED, total_kimg=STEPS * BATCH / 1000, batch_size=BATCH, z_dim=16,
        G_channels=8, D_channels=8, spectral_norm=spectral_norm, G_lr=lr, D_lr=lr, betas=(0.0, 0.9), loss="hinge",
        r1_gamma=0.0, r1_interval=1, augmentation=AUGMENTATION, flips=[], ema_half_life_kimg=1.0, ema_rampup=None,
        preview_kimg=BATCH / 1000, precision="fp32",
    )  # fmt: skip
    with open(folder / "history.csv", newline="") as f:
        return np.array([[float(row["D_loss"]), float(row["G_loss"])] for row in csv.DictReader(f)])


@pytest.mark.parametrize(
    # With spectral norm a second pass of D is a second power iteration, which moves its estimate a little
    ("spectral_norm", "lr", "tolerance"),
    [(False, 1e-3, 2e-4), (True, 2e-4, 5e-3)],
)
def test_the_losses_of_the_engine_are_those_of_the_textbook(images, tmp_path, spectral_norm, lr, tolerance):
    textbook, engine = _textbook(images, spectral_norm, lr), _engine(images, tmp_path, spectral_norm, lr)
    assert np.ptp(textbook, axis=0).min() > 20 * tolerance, "losses that hardly move would agree whatever is done"
    np.testing.assert_allclose(engine, textbook, rtol=tolerance, atol=tolerance)
