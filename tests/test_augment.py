"""Augmentation: what each operation does to a known image, how often, and how ADA steers it."""

import pytest
import torch

from pipeline.gan.augment import AUGMENTATIONS, adapt, augment
from pipeline.gan.draws import Draws

ALWAYS, NEVER = torch.tensor(1.0), torch.tensor(0.0)


def _draws(n, step=0):
    draws = Draws(n)
    draws.start(0, step)
    return draws


def _images(n=64, side=16):
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_same_stream_same_augmentation_and_shape_kept(name):
    images = _images()
    once, again, other = (augment(images, [name], _draws(64, k), ALWAYS) for k in (1, 1, 2))
    assert once.shape == images.shape
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert not torch.equal(once, images)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_p_is_the_share_of_images_that_are_changed(name):
    images = _images(1000)
    assert torch.equal(augment(images, [name], _draws(1000), NEVER), images)
    changed = (augment(images, [name], _draws(1000), torch.tensor(0.3)) != images).flatten(1).any(dim=1)
    # a shift by 0 in both directions, 1 of 25, changes nothing; 3 standard errors are 0.044
    assert changed.float().mean().item() == pytest.approx(0.3 * (24 / 25 if name == "translation" else 1), abs=0.044)


def test_translation_shifts_by_up_to_an_eighth_and_fills_with_grey():
    side, reach = 16, 2
    images = torch.zeros(256, 1, side, side)
    images[:, :, 8, 8] = 1  # one white point in the middle of grey
    moved = AUGMENTATIONS["translation"](images, _draws(256), ALWAYS)
    at = moved[:, 0].flatten(1).argmax(dim=1)
    assert torch.equal(moved.sum(dim=(1, 2, 3)), torch.ones(256))
    shifts = {(int(p) // side - 8, int(p) % side - 8) for p in at}
    everywhere = {(y, x) for y in range(-reach, reach + 1) for x in range(-reach, reach + 1)}
    assert shifts == everywhere


def test_cutout_erases_one_square_of_half_the_side():
    erased = AUGMENTATIONS["cutout"](torch.ones(256, 3, 16, 16), _draws(256), ALWAYS) == 0
    assert torch.equal(erased[:, 0], erased[:, 2])
    area = erased[:, 0].sum(dim=(1, 2))
    assert area.max() == 64
    assert area.min() >= 16  # in a corner, a quarter of it


def test_color_leaves_differences_between_pixels_of_a_grey_image_up_to_contrast():
    images = torch.linspace(-0.5, 0.5, 16).view(1, 1, 1, 16).expand(32, 3, 16, 16)
    changed = AUGMENTATIONS["color"](images, _draws(32), ALWAYS)
    contrast = (changed[:, 0, 0, -1] - changed[:, 0, 0, 0]) / (images[:, 0, 0, -1] - images[:, 0, 0, 0])
    assert ((contrast >= 0.5) & (contrast <= 1.5)).all()
    assert contrast.std() > 0.1
    torch.testing.assert_close(changed[:, 0], changed[:, 1])  # saturation cannot colour a grey image


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_gradients_reach_the_images(name):
    images = _images(4).requires_grad_(True)
    augment(images, [name], _draws(4), ALWAYS).sum().backward()
    assert images.grad.abs().sum() > 0


def test_ada_moves_p_by_images_over_ada_kimg_towards_the_target_and_no_further_than_its_bounds():
    p = torch.tensor(0.5)
    step = {"target": 0.6, "images": 64, "ada_kimg": 1.0}
    adapt(p, torch.tensor(0.9), **step)  # D is too sure of its reals: more augmentation
    assert p.item() == pytest.approx(0.564)
    adapt(p, torch.tensor(0.2), **step)
    assert p.item() == pytest.approx(0.5)
    for sign, end in [(1.0, 1.0), (-1.0, 0.0)]:
        for _ in range(20):
            adapt(p, torch.tensor(sign), **step)
        assert p.item() == end


def test_ranks_together_draw_what_one_process_draws():
    from pipeline.gan.distributed import Ranks

    whole = _draws(8)
    expected = [whole.normal(3), whole.uniform(-1, 2), whole.integers(0, 100)]
    shares = []
    for rank in range(2):
        draws = Draws(8, Ranks(rank, 2, rank))
        draws.start(0, 0)
        shares.append([draws.normal(3), draws.uniform(-1, 2), draws.integers(0, 100)])
    for k, all_rows in enumerate(expected):
        assert torch.equal(torch.cat([shares[0][k], shares[1][k]]), all_rows)
