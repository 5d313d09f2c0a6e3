"""One look of a classifier: what its last layer sees and what it says, to several threads at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.features.penultimate import Opened, penultimate_features
from pipeline.learn.classifier_model import build_classifier
from pipeline.learn.trained import predict


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=(70, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "squeezenet1_1"])  # a linear end, a convolution
def test_one_look_gives_the_features_and_the_prediction(name, images):
    torch.manual_seed(0)
    model = build_classifier(name, num_classes=3, weights=None, input_size=None, img_resolution=32).train()
    with Opened(model) as look:
        features, probabilities = look(images)
        assert not model.training
    assert model.training
    assert np.array_equal(features, penultimate_features(model, images))
    assert np.array_equal(probabilities, predict(model, images))
    assert features.shape[0] == 70 and features.ndim == 2 and np.allclose(probabilities.sum(axis=1), 1)


class Meeting(nn.Module):
    """Its forwards end only when two are there."""

    def __init__(self):
        super().__init__()
        self.barrier = Barrier(2)
        self.last = nn.Linear(1, 2)

    def forward(self, pixels):
        logits = self.last(pixels.float().mean(dim=(1, 2, 3))[:, None])
        self.barrier.wait(timeout=30)
        return logits


def test_threads_that_look_at_the_same_time_see_their_own_images(images):
    model = Meeting()
    with Opened(model) as look, ThreadPoolExecutor(2) as pool:
        seen = list(pool.map(lambda part: look(part)[0], (images[:4], images[4:9])))
    for part, features in zip((images[:4], images[4:9]), seen, strict=True):
        assert np.allclose(features[:, 0], part.mean(axis=(1, 2, 3)), rtol=1e-5)
