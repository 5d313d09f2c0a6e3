"""Where the images lie changes no batch; classes come uniformly."""

import numpy as np
import pytest
import torch

from pipeline.gan.data import DeviceData, StreamedData, place_data
from pipeline.gan.draws import Draws


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return {"a": rng.integers(0, 256, (30, 8, 8, 3), np.uint8), "b": rng.integers(0, 256, (3, 8, 8, 3), np.uint8)}


def _batch(data, step=0, n=64):
    draws = Draws(n)
    draws.start(5, step)
    return data.batch(step, 5, draws)


def test_streamed_from_a_file_and_on_the_device_give_the_same_batches(images, tmp_path):
    mapped = {}
    for name, array in images.items():
        np.save(tmp_path / f"{name}.npy", array)
        mapped[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    for step in range(3):
        there = _batch(DeviceData(images, [4, 7], "cpu"), step)
        streamed = _batch(StreamedData(mapped, [4, 7], Draws(64), "cpu"), step)
        assert torch.equal(there[0], streamed[0]) and torch.equal(there[1], streamed[1])
        assert there[0].is_contiguous(memory_format=torch.channels_last)


def test_every_image_comes_with_its_label_and_classes_come_uniformly(images):
    batch, labels = _batch(DeviceData(images, [4, 7], "cpu"), n=2000)
    known = {image.tobytes(): label for name, label in (("a", 4), ("b", 7)) for image in images[name]}
    for image, label in zip(batch.permute(0, 2, 3, 1).numpy(), labels.tolist(), strict=True):
        assert known[image.tobytes()] == label
    assert (labels == 7).float().mean().item() == pytest.approx(0.5, abs=0.034)  # 3 standard errors; 1/11 by frequency
    assert len({image.tobytes() for image in batch.permute(0, 2, 3, 1).numpy()}) == 33


def test_images_are_streamed_where_they_would_take_more_than_half_the_free_memory(images):
    size = sum(array.nbytes for array in images.values())
    for free, kind in [(2 * size, DeviceData), (2 * size - 2, StreamedData)]:
        assert isinstance(place_data(images, [0, 1], draws=Draws(4), device="cpu", free_bytes=free), kind)
