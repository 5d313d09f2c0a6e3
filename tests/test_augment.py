"""DiffAugment: what each operation does to a known image, and that it is set by its generator alone."""

import pytest
import torch

from pipeline.gan.augment import AUGMENTATIONS, augment
from pipeline.images.seeding import torch_generator


def _images(n=64, side=16):
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_same_stream_same_augmentation_and_shape_kept(name):
    images = _images()
    once, again, other = (augment(images, [name], torch_generator(0, "a", k)) for k in (1, 1, 2))
    assert once.shape == images.shape
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert not torch.equal(once, images)


def test_translation_shifts_by_up_to_an_eighth_and_fills_with_grey():
    side, reach = 16, 2
    images = torch.zeros(256, 1, side, side)
    images[:, :, 8, 8] = 1  # one white point in the middle of grey
    moved = AUGMENTATIONS["translation"](images, torch_generator(0, "t"))
    at = moved[:, 0].flatten(1).argmax(dim=1)
    assert torch.equal(moved.sum(dim=(1, 2, 3)), torch.ones(256))
    shifts = {(int(p) // side - 8, int(p) % side - 8) for p in at}
    everywhere = {(y, x) for y in range(-reach, reach + 1) for x in range(-reach, reach + 1)}
    assert shifts == everywhere


def test_cutout_erases_one_square_of_half_the_side():
    erased = AUGMENTATIONS["cutout"](torch.ones(256, 3, 16, 16), torch_generator(0, "c")) == 0
    assert torch.equal(erased[:, 0], erased[:, 2])
    area = erased[:, 0].sum(dim=(1, 2))
    assert area.max() == 64
    assert area.min() >= 16  # in a corner, a quarter of it


def test_color_leaves_differences_between_pixels_of_a_grey_image_up_to_contrast():
    images = torch.linspace(-0.5, 0.5, 16).view(1, 1, 1, 16).expand(32, 3, 16, 16)
    changed = AUGMENTATIONS["color"](images, torch_generator(0, "k"))
    contrast = (changed[:, 0, 0, -1] - changed[:, 0, 0, 0]) / (images[:, 0, 0, -1] - images[:, 0, 0, 0])
    assert ((contrast >= 0.5) & (contrast <= 1.5)).all()
    assert contrast.std() > 0.1
    torch.testing.assert_close(changed[:, 0], changed[:, 1])  # saturation cannot colour a grey image


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_gradients_reach_the_images(name):
    images = _images(4).requires_grad_(True)
    augment(images, [name], torch_generator(0, "g")).sum().backward()
    assert images.grad.abs().sum() > 0
