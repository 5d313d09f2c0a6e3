"""Networks by name with the weights and the scale of pixels that belong together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_image

from pipeline import InputError
from pipeline.features import backbones
from pipeline.features.backbones import LITE0, create_network, read_weights, scale_of
from pipeline.learn.classifier_model import build_classifier, check_classifier
from pipeline.learn.trained import predict

PALACE = 698  # of ImageNet's classes


def photo() -> np.ndarray:
    """The middle of scikit-learn's picture of a palace: (1, 427, 427, 3) uint8."""
    image = load_sample_image("china.jpg")
    left = (image.shape[1] - image.shape[0]) // 2
    return image[None, :, left : left + image.shape[0]]


def test_the_packaged_weights_know_a_palace():
    model = build_classifier(LITE0, num_classes=1000, weights="packaged", input_size=224, img_resolution=427)
    probabilities = predict(model, photo())[0]
    assert probabilities.argmax() == PALACE and probabilities[PALACE] > 0.2
    # With ImageNet's mean and std, which these weights do not know, it is another class
    model[0].mean.copy_(torch.tensor(backbones.IMAGENET_MEAN).view(1, 3, 1, 1))
    model[0].std.copy_(torch.tensor(backbones.IMAGENET_STD).view(1, 3, 1, 1))
    assert predict(model, photo())[0].argmax() != PALACE


def test_every_tensor_of_the_package_has_its_place():
    state, network = read_weights(LITE0, "packaged"), create_network(LITE0, 1000)
    assert len(state) == 296 and state.keys() == network.state_dict().keys()
    network.load_state_dict(state)


def test_the_scale_is_that_of_the_weights():
    assert scale_of(LITE0, "packaged") == ((0.5,) * 3, (0.5,) * 3)
    assert scale_of("mobilenet_v3_small", "DEFAULT") == (backbones.IMAGENET_MEAN, backbones.IMAGENET_STD)
    assert scale_of(LITE0, None) == (backbones.IMAGENET_MEAN, backbones.IMAGENET_STD)


def test_other_bytes_and_no_package_are_a_sentence(monkeypatch, tmp_path):
    other = tmp_path / "efficientnet-lite0-57934424.pth"
    other.write_bytes(b"other bytes")
    with monkeypatch.context() as patch:
        patch.setattr(backbones, "_packaged_file", lambda: other)
        with pytest.raises(InputError, match=r"expected the weights of SHA-256 579344248a93…, found .*; install"):
            read_weights(LITE0, "packaged")
    monkeypatch.setattr(backbones, "LITE0_PACKAGE", "no_such_package")
    with pytest.raises(InputError, match=r"expected the package efficientnet-lite0-.* set `weights` to null"):
        check_classifier(LITE0, num_classes=3, weights="packaged", input_size=None, img_resolution=64)


@pytest.mark.parametrize(
    ("name", "weights", "said"),
    [
        ("tf_efficientnet_lite", None, r"model: expected a torchvision or timm classifier, .*tf_efficientnet_lite\d"),
        ("mobilenet_v3_small", "packaged", "weights: expected null, one of .*IMAGENET1K_V1.* found 'packaged'"),
        (LITE0, "IMAGENET1K_V1", r"weights: expected null, one of \['packaged', 'DEFAULT'\]"),
    ],
)
def test_names_that_do_not_go_together(name, weights, said):
    with pytest.raises(InputError, match=said):
        check_classifier(name, num_classes=3, weights=weights, input_size=None, img_resolution=64)
