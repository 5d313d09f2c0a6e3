"""Sampling: an image is the same whatever it is drawn with, and drawing leaves the networks alone."""

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.gan.networks import D_CONDITIONINGS, G_CONDITIONINGS, Discriminator, Generator
from pipeline.gan.sampling import BATCH, Sampler, latents, one_thread, sample, to_float, to_uint8

SHAPE = {"num_classes": 3, "img_resolution": 16}


@pytest.fixture(autouse=True)
def two_threads():
    """A number that one thread would not leave behind."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def _trained(G_conditioning="batch_norm", D_conditioning="projection", transitional=False):
    """Networks whose norms, embeddings and pictures are not those of a fresh one."""
    torch.manual_seed(0)
    G = Generator(z_dim=8, base_channels=4, conditioning=G_conditioning, transitional=transitional, **SHAPE)
    D = Discriminator(base_channels=4, conditioning=D_conditioning, transitional=transitional, **SHAPE)
    with torch.no_grad():
        for module in G.modules():
            if isinstance(module, nn.ConvTranspose2d):
                module.weight.mul_(10)
            if isinstance(module, nn.Embedding):
                module.weight.add_(0.5 * torch.randn_like(module.weight))
        for _ in range(30):
            G(torch.randn(32, 8), torch.randint(0, 3, (32,)))
    return G.eval(), D.eval()


def test_image_7_is_the_same_alone_and_in_any_batch():
    G, D = _trained()
    ((_, alone, logit),) = sample(G, 0, "scab", [7], seed=1, D=D)
    for indices in (list(range(40)), [7, 3], list(range(30, -1, -1)), [3, 40, 7]):
        drawn = {index: (image, score) for index, image, score in sample(G, 0, "scab", indices, seed=1, D=D)}
        assert list(drawn) == indices
        assert np.array_equal(drawn[7][0], alone)
        assert drawn[7][1] == logit
    for other in ({"seed": 2}, {"label": 1}, {"class_name": "rust"}, {"truncation": 0.5}):
        settings = {"label": 0, "class_name": "scab", "seed": 1, **other}
        assert not np.array_equal(next(sample(G, indices=[7], **settings))[1], alone)


@pytest.mark.parametrize("transitional", [False, True])
@pytest.mark.parametrize("conditioning", G_CONDITIONINGS)
def test_pictures_are_those_of_the_generator_itself(conditioning, transitional):
    """Folded norms round otherwise: by at most one level of 255, in few pixels."""
    G, D = _trained(conditioning, transitional=transitional)
    for label in range(3):
        z = latents(4, "scab", list(range(BATCH, 2 * BATCH)), 8)
        with torch.no_grad():
            plain = to_uint8(G(z * 0.9, torch.full((BATCH,), label))).astype(int)
        drawn = Sampler(G, label, "scab", seed=4, truncation=0.9).draw(1)
        assert drawn.std() > 20
        assert np.abs(drawn - plain).max() <= 1
        assert (drawn != plain).mean() < 0.005


@pytest.mark.parametrize("conditioning", D_CONDITIONINGS)
def test_scores_are_those_of_the_discriminator_itself(conditioning):
    G, D = _trained(D_conditioning=conditioning)
    sampler = Sampler(G, 2, "scab", seed=4, D=D)
    images = sampler.draw(0)
    with torch.no_grad():
        logits = D(to_float(torch.from_numpy(images).permute(0, 3, 1, 2)), torch.full((BATCH,), 2))
    assert np.allclose(sampler.score(images), logits, atol=1e-5)
    assert np.isnan(Sampler(G, 2, "scab", seed=4).score(images)).all()


def test_drawing_leaves_the_networks_and_the_threads_as_they_were():
    G, D = _trained()
    before = {key: value.clone() for key, value in (G.state_dict() | D.state_dict()).items()}
    dtypes = [p.dtype for p in G.parameters()]
    state = torch.get_rng_state()
    inside = []
    for _ in sample(G, 0, "scab", list(range(BATCH + 1)), seed=1, D=D):
        inside.append(torch.get_num_threads())
    after = G.state_dict() | D.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert [p.dtype for p in G.parameters()] == dtypes
    assert set(inside) == {2} and torch.get_num_threads() == 2
    assert torch.equal(torch.get_rng_state(), state)
    G(torch.randn(2, 8), torch.tensor([0, 1])).mean().backward()  # and G can still be trained


def test_torch_s_threads_do_not_reach_the_pixels():
    G, D = _trained()
    drawn = []
    for threads in (1, 4):
        torch.set_num_threads(threads)
        drawn.append([(image.tobytes(), logit) for _, image, logit in sample(G, 1, "a", [0, 40], seed=3, D=D)])
    assert drawn[0] == drawn[1]


def test_one_thread_ends_with_an_exception_too():
    with pytest.raises(ZeroDivisionError), one_thread():
        assert torch.get_num_threads() == 1
        _ = 1 / 0
    assert torch.get_num_threads() == 2
