"""Each loss against values worked out by hand."""

import math

import pytest
import torch

from pipeline.gan.losses import LOSSES

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


def test_least_squares_by_hand():
    # ((2-1)^2 + (.5-1)^2)/2 = .625; (2.25 + 1)/2 = 1.625; half their sum
    assert LOSSES["least_squares"].D(REAL, FAKE).item() == pytest.approx(1.125)
    # ((-1.5-1)^2 + 0)/2 = 3.125, halved
    assert LOSSES["least_squares"].G(FAKE).item() == pytest.approx(1.5625)


def test_wasserstein_by_hand():
    assert LOSSES["wasserstein"].D(REAL, FAKE).item() == pytest.approx(-0.25 - 1.25)
    assert LOSSES["wasserstein"].G(FAKE).item() == pytest.approx(0.25)


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


@pytest.mark.parametrize("name", LOSSES)
def test_the_boundary_is_where_D_would_put_what_may_be_either(name):
    """The logit of an image that is as often real as fake: there D's loss has no slope. Not for a linear loss."""
    logit = torch.tensor([LOSSES[name].boundary], requires_grad=True)
    LOSSES[name].D(logit, logit).backward()
    assert logit.grad.item() == pytest.approx(0, abs=1e-6)
