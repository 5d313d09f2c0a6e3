"""PNG files: what other decoders read is what was written."""

import io

import numpy as np
import pytest
from PIL import Image
from torchvision.io import ImageReadMode, decode_image

from pipeline.images.png import encode_png


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 7), (2, 64, 64), (1, 3, 300)])
@pytest.mark.parametrize("kind", ["noise", "flat", "ramp"])
def test_other_decoders_read_what_was_written(shape, kind, tmp_path):
    size = (*shape, 3)
    images = {
        "noise": np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8),
        "flat": np.full(size, 255, np.uint8),
        "ramp": np.arange(np.prod(size)).reshape(size).astype(np.uint8),
    }[kind]
    files = encode_png(images)
    assert len(files) == len(images)
    for image, data in zip(images, files, strict=True):
        opened = Image.open(io.BytesIO(data))
        opened.verify()  # the check sums
        opened = Image.open(io.BytesIO(data))
        assert (opened.format, opened.mode) == ("PNG", "RGB")
        assert np.array_equal(np.asarray(opened), image)
        (tmp_path / "image.png").write_bytes(data)
        decoded = decode_image(str(tmp_path / "image.png"), ImageReadMode.RGB)
        assert np.array_equal(decoded.permute(1, 2, 0).numpy(), image)


def test_an_image_s_bytes_are_its_own():
    """Whatever it is encoded with, and however it lies in memory."""
    images = np.random.default_rng(1).integers(0, 256, (4, 9, 6, 3), dtype=np.uint8)
    files = encode_png(images)
    assert encode_png(images[2:3]) == files[2:3]
    planes = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    assert encode_png(planes) == files


def test_flat_areas_shrink():
    assert len(encode_png(np.full((1, 64, 64, 3), 200, np.uint8))[0]) < 400
