"""G and D: shapes, channel widths, and that the label reaches the output."""

import pytest
import torch

from pipeline import InputError
from pipeline.gan.networks import ConditionalBatchNorm2d, Discriminator, Generator, channels_at


@pytest.mark.parametrize("resolution", [32, 64, 128, 256])
def test_shapes_at_every_resolution(resolution):
    G = Generator(z_dim=8, num_classes=3, img_resolution=resolution, base_channels=4)
    D = Discriminator(num_classes=3, img_resolution=resolution, base_channels=4)
    labels = torch.tensor([0, 2])
    images = G(torch.randn(2, 8), labels)
    assert images.shape == (2, 3, resolution, resolution)
    assert images.abs().max() <= 1
    assert D(images, labels).shape == (2,)


def test_dcgan_widths():
    # Radford et al. 2015, Figure 1, at ngf 64 for 64 px
    assert [channels_at(r, 64, 64) for r in (4, 8, 16, 32)] == [512, 256, 128, 64]


def test_the_label_changes_what_is_drawn_and_judged():
    torch.manual_seed(0)
    G = Generator(z_dim=8, num_classes=2, img_resolution=32, base_channels=4)
    D = Discriminator(num_classes=2, img_resolution=32, base_channels=4)
    with torch.no_grad():
        for norm in G.norms:
            norm.bias.weight[1] += 1
    G.eval()
    z = torch.randn(1, 8)
    zero, one = (G(z, torch.tensor([k])) for k in (0, 1))
    assert not torch.allclose(zero, one)
    assert not torch.allclose(D(zero, torch.tensor([0])), D(zero, torch.tensor([1])))


def test_conditional_batch_norm_is_batch_norm_then_gain_and_bias():
    norm = ConditionalBatchNorm2d(2, num_classes=2)
    with torch.no_grad():
        norm.gain.weight.copy_(torch.tensor([[1.0, 1.0], [2.0, 3.0]]))
        norm.bias.weight.copy_(torch.tensor([[0.0, 0.0], [0.5, -0.5]]))
    x = torch.randn(4, 2, 3, 3)
    labels = torch.tensor([0, 1, 0, 1])
    plain = torch.nn.functional.batch_norm(x, None, None, training=True)
    expected = plain.clone()
    expected[1::2] = (
        plain[1::2] * torch.tensor([2.0, 3.0])[None, :, None, None] + torch.tensor([0.5, -0.5])[None, :, None, None]
    )
    torch.testing.assert_close(norm(x, labels), expected)


def test_another_resolution_is_refused_in_one_sentence():
    with pytest.raises(InputError, match=r"split\.img_resolution.*got 48"):
        Generator(z_dim=8, num_classes=2, img_resolution=48, base_channels=4)
