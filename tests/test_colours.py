"""Colour histograms: shares that sum to one, blind to shape, and enough to tell colours apart."""

from __future__ import annotations

import numpy as np

from pipeline.features.colours import FINE, LEVELS, Colours
from pipeline.images.store import Store
from pipeline.learn.metrics import evaluate_predictions
from pipeline.learn.probe import fit_probes
from pipeline.learn.trained import predict

RNG = np.random.default_rng(0)


def test_shares_are_those_of_a_plain_count_and_know_no_place():
    images = RNG.integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
    found = Colours().at(images)
    assert found.shape == (3, LEVELS**3 + 3 * FINE)
    red = [np.mean(images[1, :, :, 0] // 16 == level) for level in range(FINE)]
    assert np.allclose(found[1, LEVELS**3 : LEVELS**3 + FINE] ** 2, red)
    r, g, b = images[2, 3, 4] // 64
    same = (images[2] // 64 == [r, g, b]).all(axis=-1).mean()
    assert np.isclose(found[2, 16 * r + 4 * g + b] ** 2, same)
    mixed = images.reshape(3, -1, 3)[:, RNG.permutation(35)].reshape(images.shape)
    assert np.allclose(Colours().at(mixed), found)


def test_a_regression_on_them_tells_colours_and_no_shapes():
    """Green against brown squares it knows; a square above against one below it must guess."""

    def squares(colours: list[tuple[int, int, int]], rows: list[int]) -> Store:
        labels = np.repeat([0, 1], 40)
        images = RNG.normal(120, 20, (80, 16, 16, 3))
        for i, k in enumerate(labels):
            images[i, rows[k] : rows[k] + 6, 4:10] = colours[k]
        return Store(images.clip(0, 255).astype(np.uint8), labels, [f"{i}.png" for i in range(80)], ["a", "b"])

    def score(colours, rows) -> float:
        train, val, test = (squares(colours, rows) for _ in range(3))
        (trained,) = fit_probes(train, val, looks=Colours(), seeds=[0], views=0, sampling="balanced")
        return evaluate_predictions(test.labels, predict(trained.model, test.images), test.classes)["macro_f1"]

    green, brown = (40, 180, 40), (120, 70, 30)
    assert score([green, brown], [2, 2]) > 0.95
    assert score([green, green], [1, 9]) < 0.7
