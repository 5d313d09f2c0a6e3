"""The running average of G: half-life, ramp, buffers."""

import pytest
import torch

from pipeline.gan.ema import average_weights, ema_beta


def test_after_one_half_life_the_start_counts_half():
    beta = ema_beta(10**9, 16, half_life_kimg=0.32, rampup=None)
    assert beta ** (320 / 16) == pytest.approx(0.5)


def test_the_ramp_keeps_the_half_life_under_its_share_of_the_images_seen():
    assert ema_beta(1000, 16, half_life_kimg=2, rampup=0.05) == pytest.approx(0.5 ** (16 / 50))
    assert ema_beta(10**6, 16, half_life_kimg=2, rampup=0.05) == pytest.approx(0.5 ** (16 / 2000))


def test_weights_are_averaged_and_statistics_copied():
    G, G_ema = torch.nn.BatchNorm2d(2), torch.nn.BatchNorm2d(2)
    with torch.no_grad():
        G.weight.fill_(3.0)
        G_ema.weight.fill_(1.0)
        G.running_mean.fill_(5.0)
    average_weights(G_ema, G, beta=0.75)
    assert G_ema.weight.tolist() == [1.5, 1.5]
    assert G_ema.running_mean.tolist() == [5.0, 5.0]
