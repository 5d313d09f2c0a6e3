"""One classifier a GAN: the n-th seed is trained on the n-th GAN's images, and on nothing else."""

from functools import partial

import numpy as np
import pytest
import torch

from pipeline.images.store import Store
from pipeline.learn.judge import train_judge
from pipeline.learn.training_sets import folders_of_gans, train_with_gans

CLASSES = ["rust", "scab"]
SETTINGS = {
    "kind": "scratch", "model": "test_resnet", "weights": None, "input_size": None, "steps": 3, "batch_size": 4,
    "optimiser": "sgd", "lr": 0.05, "weight_decay": 0.0, "eval_every": 3, "sampling": "balanced",
}  # fmt: skip


def store(seed: int) -> Store:
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], 6)
    images = rng.integers(0, 200, (12, 32, 32, 3)) + 50 * labels[:, None, None, None]
    return Store(images.astype(np.uint8), labels, [f"{seed}_{i}" for i in range(12)], CLASSES)


def test_each_seed_is_trained_on_its_own_gans_images(tmp_path):
    loaded = []

    def load(seed: int) -> Store:
        loaded.append(seed)
        return store(seed)

    val = store(9)
    trained = train_with_gans([partial(load, gan) for gan in (1, 2, 3)], val, seeds=[5, 6],
                              state_dir=tmp_path / "train_classifier", **SETTINGS)  # fmt: skip
    assert loaded == [1, 2] and [t.seed for t in trained] == [5, 6]
    for gan, of in zip((1, 2), trained, strict=True):
        (alone,) = train_judge(store(gan), val, seeds=[of.seed], **SETTINGS)
        for ours, theirs in zip(of.model.state_dict().values(), alone.model.state_dict().values(), strict=True):
            assert torch.equal(ours, theirs)
    with pytest.raises(ValueError, match="no more than the 2 GANs"):
        train_with_gans([partial(load, 1)] * 2, val, seeds=[1, 2, 3], state_dir=tmp_path, **SETTINGS)


def test_photos_alone_are_one_set_and_what_a_gan_drew_one_for_each():
    assert folders_of_gans("data/arrays/train", [43, 44]) == ["data/arrays/train"]
    assert folders_of_gans("data/arrays/augmented", []) == ["data/arrays/augmented"]
    wanted = ["data/arrays/augmented_filtered", *(f"data/repeats/{n}/sets/augmented_filtered" for n in (43, 44))]
    assert folders_of_gans("data/arrays/augmented_filtered", [43, 44]) == wanted
