"""Features of random weights: the same in every process, and near for near images."""

import numpy as np
import torch

from pipeline.features.penultimate import penultimate_features
from pipeline.features.random_features import random_extractor
from pipeline.measure.fidelity import squared_mmd


def _noise(seed, low, high, n=24):
    return np.random.default_rng(seed).integers(low, high, (n, 32, 32, 3)).astype(np.uint8)


def test_the_weights_do_not_depend_on_what_was_drawn_before():
    torch.manual_seed(1)
    first = random_extractor()
    state = torch.random.get_rng_state()
    second = random_extractor()
    assert torch.equal(torch.random.get_rng_state(), state)
    images = _noise(0, 0, 256)
    assert np.array_equal(penultimate_features(first, images), penultimate_features(second, images))


def test_images_of_one_kind_are_nearer_than_those_of_another():
    extract = random_extractor()
    bright, bright_too, dark = (
        penultimate_features(extract, images)
        for images in (_noise(0, 100, 256), _noise(1, 100, 256), _noise(2, 0, 156))
    )
    assert abs(squared_mmd(bright, bright_too)) < squared_mmd(bright, dark) / 10
