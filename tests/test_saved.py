"""A saved classifier comes back to the bit, from what a bare machine has, or not at all."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from pipeline import InputError
from pipeline.features.penultimate import penultimate_features
from pipeline.features.saved import load_classifier, save_classifier
from pipeline.learn.classifier_model import build_classifier
from pipeline.learn.trained import predict

CLASSES = ["healthy", "rust", "scab", "żółta_rdza"]
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 40, 40, 3), dtype=np.uint8)


def trained(name: str, input_size: int | None = None, num_classes: int = len(CLASSES)) -> nn.Module:
    """Random weights, and running statistics that are no longer the initial ones."""
    torch.manual_seed(3)
    network = build_classifier(
        name, num_classes=num_classes, weights=None, input_size=input_size, img_resolution=IMAGES.shape[1]
    )
    network.train()
    with torch.no_grad():
        network(torch.from_numpy(IMAGES).permute(0, 3, 1, 2))
    return network.eval()


def save(folder, network: nn.Module, name: str = "mobilenet_v3_small", input_size: int | None = None) -> None:
    save_classifier(folder, network, model=name, classes=CLASSES, input_size=input_size, img_resolution=40)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "extractor"
    save(folder, trained("mobilenet_v3_small"))
    return folder


# mnasnet reads its weights by a version beside them; regnet's shapes depend on its own weights
@pytest.mark.parametrize(
    ("name", "input_size"),
    [("mobilenet_v3_small", None), ("mobilenet_v3_small", 64), ("mnasnet0_5", 48), ("regnet_x_400mf", None)],
)
def test_the_same_to_the_bit(tmp_path, name, input_size):
    before = trained(name, input_size)
    save(tmp_path, before, name, input_size)
    after = load_classifier(tmp_path, "cpu")
    assert not any(module.training for module in after.modules())
    assert np.array_equal(predict(before, IMAGES), predict(after, IMAGES))
    assert np.array_equal(penultimate_features(before, IMAGES), penultimate_features(after, IMAGES))
    state, again = before.state_dict(), after.state_dict()
    assert list(state) == list(again) and all(torch.equal(state[key], again[key]) for key in state)
    # The layout decides by which algorithm a convolution is computed
    assert all(state[key].stride() == again[key].stride() for key in state)


def test_the_same_bytes_twice(tmp_path, saved):
    save(tmp_path, load_classifier(saved, "cpu"))
    files = sorted(path.name for path in saved.iterdir())
    assert files == sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    for name in files:
        assert (tmp_path / name).read_bytes() == (saved / name).read_bytes()
    config = json.loads((saved / "config.json").read_text(encoding="utf-8"))
    assert config == {"classes": CLASSES, "img_resolution": 40, "input_size": None, "model": "mobilenet_v3_small"}


def test_loading_draws_nothing(saved):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    load_classifier(saved, "cpu")
    assert torch.equal(torch.get_rng_state(), before)


def test_loading_needs_no_tracking_versioning_or_augmentation(saved, root):
    code = """
import importlib.abc, sys
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"mlflow", "dvc", "albumentations", "pydantic", "ruamel", "cv2"}:
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import numpy as np
from pipeline.features.penultimate import penultimate_features
from pipeline.features.saved import load_classifier
print(penultimate_features(load_classifier(sys.argv[1], "cpu"), np.zeros((2, 40, 40, 3), np.uint8)).shape)
"""
    done = subprocess.run([sys.executable, "-c", code, saved], cwd=root, check=True, capture_output=True, text=True)
    assert done.stdout == "(2, 1024)\n"


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "extractor")


def refused(folder) -> str:
    with pytest.raises(InputError) as caught:
        load_classifier(folder, "cpu")
    message = str(caught.value)
    assert "\n" not in message and message.startswith(str(folder)) and "dvc repro" in message
    return message


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file(copy, name):
    (copy / name).unlink()
    assert f"found no {name}" in refused(copy)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.98])
def test_a_file_cut_short(copy, name, share):
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: int(share * len(content))])
    assert name in refused(copy)


@pytest.mark.parametrize(
    "change", [{"model": "resnet81"}, {"model": None}, {"classes": 4}, {"classes": []}, {"input_size": "large"}]
)
def test_a_config_that_names_no_classifier(copy, change):
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    (copy / "config.json").write_text(json.dumps(config | change))
    assert "config.json" in refused(copy)
    (copy / "config.json").write_text(json.dumps(list(config)))
    assert "config.json" in refused(copy)


def test_weights_of_other_classes_or_of_another_network(copy):
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    (copy / "config.json").write_text(json.dumps(config | {"classes": CLASSES[:3]}))
    assert "3 classes" in refused(copy) and "(4, 1024)" in refused(copy)
    (copy / "config.json").write_text(json.dumps(config | {"model": "squeezenet1_1"}))
    assert "absent" in refused(copy)
    (copy / "config.json").write_text(json.dumps(config))

    state = load_file(copy / "model.safetensors")
    save_file(state | {"more": torch.zeros(1)}, copy / "model.safetensors")
    assert "'more'" in refused(copy)
    save_file({key: value.double() for key, value in state.items()}, copy / "model.safetensors")
    assert "float64" in refused(copy)
    save_file({}, copy / "model.safetensors")
    assert "absent" in refused(copy)
