"""The benches of the SGAN: what is held out stays out, and the differences are those of the accuracies."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch

from bench.sgan_digits import LABELS, digits_view, stores
from bench.sgan_protocol import PAIRS, first_of_each_class, measure, rows_of
from pipeline.images.store import Store


def test_digits_sides_share_no_image_and_val_is_as_large_as_the_labelled_set():
    train, val, test = stores(tune=False)
    assert [len(side.labels) for side in (train, val, test)] == [1337, 100, 360]
    assert list(np.bincount(val.labels)) == [LABELS] * 10
    names = [name for side in (train, val, test) for name in side.files]
    assert len(set(names)) == 1797
    for side in (train, val, test):
        assert (np.diff(side.labels) >= 0).all() and side.images.shape[1:] == (8, 8, 3)
    from sklearn.datasets import load_digits

    pixels = np.sort(np.concatenate([side.images[..., 0].sum(axis=(1, 2)) for side in (train, val, test)]))
    assert np.array_equal(pixels, np.sort(np.round(load_digits().images * (255 / 16)).astype(np.uint8).sum((1, 2))))


def test_digits_are_tuned_on_a_fifth_of_the_train_side():
    test = stores(tune=False)[2]
    train, val, fifth = stores(tune=True)
    assert [len(side.labels) for side in (train, val, fifth)] == [1049, 100, 288]
    pixels = [{image.tobytes() for image in side.images} for side in (train, val, fifth, test)]
    assert all(a.isdisjoint(b) for a, b in combinations(pixels, 2))


def test_digits_move_on_black():
    images = torch.from_numpy(stores(tune=False)[0].images[:64]).permute(0, 3, 1, 2) / 127.5 - 1
    seen = digits_view(images, np.random.default_rng(0))
    assert seen.shape == images.shape and seen.min() >= -1.0001 and seen.max() <= 1.0001
    whole = digits_view(torch.ones(64, 3, 8, 8), np.random.default_rng(0))
    assert whole[:, :, 3:5, 3:5].min() > 0.99 and whole.amin(dim=(1, 2, 3)).median() < -0.2  # black enters


def test_rows_of_a_scarce_class_are_all_it_has():
    labels = np.repeat([0, 1], [9, 2])
    store = Store(np.arange(11, dtype=np.uint8)[:, None, None, None], labels, [str(i) for i in range(11)], ["a", "b"])
    rows = first_of_each_class(store, 4, seed=0, purpose="val")
    assert list(np.bincount(labels[rows])) == [4, 2] and (np.diff(rows) > 0).all()
    part = rows_of(store, rows)
    assert part.files == [str(row) for row in rows] and np.array_equal(part.images.ravel(), rows)
    assert list(rows) != list(first_of_each_class(store, 4, seed=1, purpose="val"))


def test_figures_are_those_of_the_predictions():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 8)
    images = (60 + 60 * labels[:, None, None, None] + rng.normal(0, 10, (24, 8, 8, 3))).clip(0, 255).astype(np.uint8)
    store = Store(images, labels, [str(i) for i in range(24)], ["a", "b", "c"])
    settings = {
        "label_budget": 2, "tuning": [{"lr": 0.01, "dropout": 0.0, "input_noise": 0.0}] * 2, "steps": 6,
        "batch_size": 6, "z_dim": 4, "img_resolution": 8, "channels": 4, "eval_every": 3,
    }  # fmt: skip
    figures = measure(store, store, store, seeds=[3, 4], settings=settings)
    assert {name: len(values) for name, values in figures["accuracy"].items()} == {
        "sgan": 2, "supervised": 2, "supervised_classic": 2, "sgan_classic": 2, "consistency": 2,
    }  # fmt: skip
    assert set(PAIRS) >= {("sgan", "supervised"), ("sgan_classic", "supervised_classic")}
    for mine, other in PAIRS:
        told = figures["difference"][f"{mine}_minus_{other}"]
        by_seed = np.subtract(figures["accuracy"][mine], figures["accuracy"][other])
        assert told["by_seed"] == pytest.approx(list(by_seed), abs=1e-4)
        assert told["lowest"] <= told["mean"] <= told["highest"]
    assert figures["images"] == {"labelled": 6, "train": 24, "val": 24, "test": 24}
    assert len(figures["tried"]) == 10 and sum(t["chosen"] for t in figures["tried"]) == 5
