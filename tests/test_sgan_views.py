"""Views of unlabelled images: each image moved by numbers of its own, the same again from the same stream."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch

from pipeline.learn.sgan_views import VIEWS, moved, recoloured
from pipeline.params import TrainSgan


class Most:
    """Draws the highest number that is asked for."""

    def uniform(self, low, high, size):
        return np.full(size, high)


NOTHING = {"turn": 0.0, "scale": 0.0, "shift": 0.0}
COLOURS = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0}


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 1.6 - 0.8


def test_params_may_name_every_view_and_no_other():
    assert set(get_args(TrainSgan.model_fields["views"].annotation)) == set(VIEWS)


@pytest.mark.parametrize("name", VIEWS)
def test_views_keep_shape_and_range_and_come_again(name, images):
    first, again, other = (VIEWS[name](images, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == images.shape and first.dtype == images.dtype and first.abs().max() <= 1.0001
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (name == "none") == torch.equal(first, images)


@pytest.mark.parametrize("border", ["reflection", "zeros"])
def test_moved_by_nothing_is_the_image(images, border):
    seen = moved(images, np.random.default_rng(0), **NOTHING, border=border)
    assert torch.allclose(seen, images, atol=1e-5)


def test_turned_by_a_right_angle_and_shifted_by_a_pixel(images):
    turned = moved(images, Most(), **NOTHING | {"turn": 90.0})
    assert any(torch.allclose(turned, images.rot90(k, (2, 3)), atol=1e-4) for k in (1, 3))
    shifted = moved(images, Most(), **NOTHING | {"shift": 1 / 8}, border="zeros")
    assert torch.allclose(shifted[:, :, :-1, :-1], images[:, :, 1:, 1:], atol=1e-5)
    assert torch.allclose(shifted[:, :, -1], torch.tensor(-1.0), atol=1e-5)  # black
    mirrored = moved(images, Most(), **NOTHING | {"shift": 1 / 8})
    assert torch.allclose(mirrored[:, :, -1, :-1], images[:, :, -1, 1:], atol=1e-5)


def test_enlarged_about_the_middle():
    ring = torch.full((1, 3, 8, 8), -1.0)
    ring[:, :, 2:6, 2:6] = 1.0
    larger = moved(ring, Most(), **NOTHING | {"scale": 0.5})
    assert (larger > 0).sum() > (ring > 0).sum()
    assert torch.allclose(larger, larger.flip(2), atol=1e-4) and torch.allclose(larger, larger.flip(3), atol=1e-4)


def test_every_image_is_moved_and_recoloured_by_numbers_of_its_own(images):
    same = images[:1].expand(4, -1, -1, -1)
    for name in set(VIEWS) - {"none"}:
        seen = VIEWS[name](same, np.random.default_rng(0))
        assert all(not torch.allclose(seen[0], seen[i], atol=1e-3) for i in range(1, 4))
    for change in NOTHING:
        seen = moved(same, np.random.default_rng(0), **NOTHING | {change: 0.2 if change != "turn" else 20.0})
        assert all(not torch.allclose(seen[0], seen[i], atol=1e-3) for i in range(1, 4)), change
    for change in COLOURS:
        seen = recoloured(same, np.random.default_rng(0), **COLOURS | {change: 0.3})
        assert all(not torch.allclose(seen[0], seen[i], atol=1e-3) for i in range(1, 4)), change


def test_colours_by_hand(images):
    assert torch.allclose(recoloured(images, Most(), **COLOURS), images, atol=1e-6)
    small = images / 4
    brighter = recoloured(small, Most(), **COLOURS | {"brightness": 0.1})
    assert torch.allclose(brighter, small + 0.2, atol=1e-6)  # a tenth of the range from -1 to 1
    assert recoloured(images, Most(), **COLOURS | {"brightness": 0.5}).amax() == 1  # clipped
    contrast = recoloured(small, Most(), **COLOURS | {"contrast": 0.5})
    assert torch.allclose(contrast.mean(dim=(1, 2, 3)), small.mean(dim=(1, 2, 3)), atol=1e-6)
    assert torch.allclose(contrast.std(dim=(1, 2, 3)), 1.5 * small.std(dim=(1, 2, 3)), atol=1e-5)
    grey = small.mean(dim=1, keepdim=True)
    saturated = recoloured(small, Most(), **COLOURS | {"saturation": 0.5})
    assert torch.allclose(saturated - grey, 1.5 * (small - grey), atol=1e-6)
