"""R1, WGAN-GP and LeCam: against discriminators whose gradients are known, and by hand; when each is due."""

import pytest
import torch

from pipeline.gan.penalties import LECAM_DECAY, R1, DStep, GradientPenalty, LeCam, build_penalties

NO_LABELS = torch.zeros(5, dtype=torch.long)
NONE = {"r1_gamma": 0.0, "r1_interval": 16, "gradient_penalty": 0.0, "lecam": 0.0, "lecam_from_kimg": 0.0}


def _seen(reals=None, fakes=None, real_logits=None, fake_logits=None):
    draw = torch.Generator().manual_seed(0)
    images = [torch.randn(5, 3, 4, 4, generator=draw) for _ in range(2)]
    zero = torch.zeros(5)
    return DStep(
        images[0] if reals is None else reals,
        images[1] if fakes is None else fakes,
        NO_LABELS,
        NO_LABELS,
        zero if real_logits is None else real_logits,
        zero if fake_logits is None else fake_logits,
        torch.rand(5, generator=draw),
    )


def _linear(weight):
    return lambda images, labels: (images * weight).sum(dim=(1, 2, 3))


def test_r1_of_a_linear_discriminator_is_its_weights_squared_times_gamma_half_times_interval():
    weight = torch.randn(3, 4, 4)
    penalty = R1(gamma=0.4, interval=8)(_linear(weight), _seen())
    assert penalty.item() == pytest.approx(0.2 * 8 * weight.square().sum().item(), rel=1e-5)


def test_r1_looks_at_reals_alone():
    seen = _seen()
    penalty = R1(gamma=2.0, interval=1)(lambda x, y: x.square().sum(dim=(1, 2, 3)) / 2, seen)
    assert penalty.item() == pytest.approx(seen.reals.square().sum(dim=(1, 2, 3)).mean().item(), rel=1e-5)


def test_the_gradient_penalty_of_a_linear_discriminator():
    weight = torch.randn(3, 4, 4)
    expected = 10 * (weight.norm().item() - 1) ** 2
    assert GradientPenalty(10.0)(_linear(weight), _seen()).item() == pytest.approx(expected, rel=1e-4)
    unit = weight / weight.norm()
    assert GradientPenalty(10.0)(_linear(unit), _seen()).item() == pytest.approx(0, abs=1e-6)


def test_the_gradient_penalty_is_taken_between_reals_and_fakes():
    at = []

    def D(images, labels):
        at.append(images.detach())
        return images.sum(dim=(1, 2, 3))

    seen = _seen(reals=torch.ones(5, 3, 4, 4), fakes=torch.zeros(5, 3, 4, 4))
    GradientPenalty(1.0)(D, seen)
    torch.testing.assert_close(at[0], seen.rows[:, None, None, None].expand(5, 3, 4, 4))


def test_penalties_reach_the_weights_of_D():
    D = torch.nn.Conv2d(3, 1, 4)
    for penalty in (R1(1.0, 1), GradientPenalty(1.0)):
        D.zero_grad()
        penalty(lambda x, y: D(x).flatten().square(), _seen()).backward()
        assert D.weight.grad.abs().sum() > 0


def test_lecam_by_hand():
    lecam = LeCam(weight=0.5, decay=LECAM_DECAY, from_kimg=0, device="cpu")
    lecam.real_mean.fill_(1.0)
    lecam.fake_mean.fill_(-1.0)
    real, fake = torch.full((5,), 2.0), torch.full((5,), -0.5)
    penalty = lecam(None, _seen(real_logits=real, fake_logits=fake))
    # the means move first: 1 + .01 (2 - 1) = 1.01; -1 + .01 (-.5 + 1) = -.995
    assert lecam.real_mean.item() == pytest.approx(1.01)
    assert lecam.fake_mean.item() == pytest.approx(-0.995)
    assert penalty.item() == pytest.approx(0.5 * ((2 + 0.995) ** 2 + (1.01 + 0.5) ** 2), rel=1e-5)


def test_lecam_asks_nothing_of_logits_on_the_right_side():
    lecam = LeCam(weight=1.0, decay=1.0, from_kimg=0, device="cpu")  # the means stay at 0
    assert lecam(None, _seen(real_logits=torch.full((5,), -1.0), fake_logits=torch.full((5,), 1.0))).item() == 0


def test_when_each_is_due():
    r1, lecam = R1(1.0, 4), LeCam(1.0, 0.99, 2.0, "cpu")
    assert [r1.due(step, 0) for step in range(9)] == [True, False, False, False] * 2 + [True]
    assert [lecam.due(0, seen) for seen in (0, 1999, 2000)] == [False, False, True]
    assert GradientPenalty(1.0).due(3, 0)


def test_only_penalties_with_a_weight_are_built():
    assert build_penalties(**NONE, device="cpu") == {}
    assert list(build_penalties(**{**NONE, "lecam": 0.3, "r1_gamma": 0.1}, device="cpu")) == ["r1", "lecam"]
