"""Each loss against values worked out by hand, and R1 against a discriminator whose gradient is known."""

import math

import pytest
import torch

from pipeline.gan.losses import LOSSES, r1_penalty

REAL, FAKE = torch.tensor([2.0, 0.5]), torch.tensor([-1.5, 1.0])


def _softplus(x):
    return math.log1p(math.exp(x))


def test_nonsaturating_by_hand():
    D = (_softplus(-2) + _softplus(-0.5)) / 2 + (_softplus(-1.5) + _softplus(1)) / 2
    assert LOSSES["nonsaturating"].D(REAL, FAKE).item() == pytest.approx(D, rel=1e-6)
    assert LOSSES["nonsaturating"].G(FAKE).item() == pytest.approx((_softplus(1.5) + _softplus(-1)) / 2, rel=1e-6)


def test_nonsaturating_is_binary_cross_entropy():
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    expected = bce(REAL, torch.ones(2)) + bce(FAKE, torch.zeros(2))
    torch.testing.assert_close(LOSSES["nonsaturating"].D(REAL, FAKE), expected)


def test_hinge_by_hand():
    # relu(1-2)=0, relu(1-.5)=.5; relu(1-1.5)=0, relu(1+1)=2
    assert LOSSES["hinge"].D(REAL, FAKE).item() == pytest.approx(0.25 + 1.0)
    assert LOSSES["hinge"].G(FAKE).item() == pytest.approx(0.25)


@pytest.mark.parametrize("name", LOSSES)
def test_swapping_real_and_fake_is_noticed(name):
    assert LOSSES[name].D(REAL, FAKE) < LOSSES[name].D(FAKE, REAL)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_push_reals_up_and_fakes_down_and_G_the_other_way(name):
    real, fake = torch.tensor([0.1], requires_grad=True), torch.tensor([0.1], requires_grad=True)
    LOSSES[name].D(real, fake).backward()
    assert real.grad < 0 < fake.grad
    fake = torch.tensor([0.1], requires_grad=True)
    LOSSES[name].G(fake).backward()
    assert fake.grad < 0


def test_r1_of_a_linear_discriminator_is_its_weights_squared():
    weight = torch.randn(3, 4, 4)

    def D(images, labels):
        return (images * weight).sum(dim=(1, 2, 3))

    penalty = r1_penalty(D, torch.randn(5, 3, 4, 4), torch.zeros(5, dtype=torch.long))
    assert penalty.item() == pytest.approx(weight.square().sum().item(), rel=1e-5)


def test_r1_of_a_quadratic_discriminator():
    images = torch.randn(5, 3, 4, 4)
    penalty = r1_penalty(lambda x, y: x.square().sum(dim=(1, 2, 3)) / 2, images, torch.zeros(5, dtype=torch.long))
    assert penalty.item() == pytest.approx(images.square().sum(dim=(1, 2, 3)).mean().item(), rel=1e-5)
