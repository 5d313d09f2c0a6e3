"""Extractors: the real networks with random weights from files, and one sentence for all that can be wrong."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pipeline import InputError
from pipeline.features import looks
from pipeline.features.backbones import LITE0, read_weights
from pipeline.features.extractors import EXTRACTORS, build_extractors
from pipeline.features.penultimate import penultimate_features
from pipeline.learn.classifier_model import build_classifier
from pipeline.measure.fidelity import fidelity_report
from pipeline.params import NETWORKS, Assess
from pipeline.report.fidelity_section import EXTRACTOR_WORDS

NEEDS = {"inception": "torch_fidelity", "dinov2": "timm"}


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=(5, 48, 48, 3), dtype=np.uint8)


def skip_without(name: str) -> None:
    pytest.importorskip(NEEDS[name], reason=f"{NEEDS[name]}, of the extra `fidelity`, is not installed")


def inception_state() -> dict[str, torch.Tensor]:
    """Random weights under the right names: the network itself, made without reading a file.

    They are made larger (He et al. 2015): as torch draws them nothing of an image would reach the last layer.
    """
    from torch_fidelity import feature_extractor_inceptionv3 as package

    class Untaught(package.FeatureExtractorInceptionV3):
        def load_state_dict(self, state):
            return None

    torch.manual_seed(1)
    state = Untaught("inception-v3-compat", ["2048"], _bytes({})).state_dict()
    return {name: 6**0.5 * t if name.endswith("conv.weight") else t for name, t in state.items()}


def dinov2_state() -> dict[str, torch.Tensor]:
    """As DINOv2's own file has it: places for 518 px, and a mask token that timm drops."""
    import timm

    torch.manual_seed(2)
    network = timm.create_model("vit_small_patch14_dinov2", pretrained=False, num_classes=0)
    # The scale of a block begins at 1e-5, where whatever is wrong with a block would not show
    state = {name: torch.ones_like(t) if "gamma" in name else t for name, t in network.state_dict().items()}
    return state | {"mask_token": torch.zeros(1, 384)}


def _bytes(state: dict) -> io.BytesIO:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return buffer


STATES = {"inception": inception_state, "dinov2": dinov2_state}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("weights")
    made = {}
    for name, state in STATES.items():
        try:
            __import__(NEEDS[name])
        except ImportError:
            continue
        made[name] = folder / f"{name}.pth"
        torch.save(state(), made[name])
    return made


def extract(name: str, path: Path | str, images: np.ndarray) -> np.ndarray:
    return build_extractors([name], **{f"{name}_weights": str(path)})[name](images)


def test_params_know_the_same_names():
    (allowed,) = Assess.model_fields["extractors"].annotation.__args__
    assert list(allowed.__args__) == list(EXTRACTORS)


def test_params_know_which_network_is_which():
    named = {name: extractor.network for name, extractor in EXTRACTORS.items() if extractor.network}
    assert named == NETWORKS


def test_every_extractor_has_words_on_the_page():
    assert set(EXTRACTOR_WORDS) == set(EXTRACTORS)


def test_leaf_is_the_stage_s_own_and_random_another_than_lite0(images):
    extractors = build_extractors(["random", "leaf", "lite0"])
    assert list(extractors) == ["random", "lite0"]
    assert extractors["random"](images).shape == (5, 512) and extractors["lite0"](images).shape == (5, 1280)


def test_lite0_sees_at_128_px_with_its_own_scale_what_a_probe_sees(images):
    """Against timm's way: pixels of -1 to 1, the packaged weights, the pooled map."""
    from timm import create_model

    network = create_model(LITE0, pretrained=False, num_classes=0).eval()
    network.load_state_dict(
        {name: t for name, t in read_weights(LITE0, "packaged").items() if not name.startswith("classifier")}
    )
    pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).float() / 255
    pixels = torch.nn.functional.interpolate(pixels, (128, 128), mode="bilinear", antialias=True)
    with torch.no_grad():
        theirs = network(2 * pixels - 1).numpy()
    looks.Looks._kept.clear()
    assert np.allclose(build_extractors(["lite0"])["lite0"](images), theirs, atol=1e-3)
    (kept,) = looks.Looks._kept.values()
    probe = build_classifier(LITE0, num_classes=3, weights="packaged", input_size=128, img_resolution=48).eval()
    same = looks.Looks(probe)
    assert same.rows is kept and len(kept) == len(images)
    assert np.allclose(penultimate_features(probe, images), theirs, atol=1e-3)


def test_inception_is_torch_fidelitys(files, images):
    skip_without("inception")
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    ours = extract("inception", files["inception"], images)
    assert ours.shape == (5, 2048) and ours.dtype == np.float32
    assert ours.std(axis=0).max() > 0.01 * np.abs(ours).max() > 1e-3  # the images can be told apart
    theirs = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(files["inception"]))
    pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    assert np.abs(ours - theirs(pixels)[0].numpy()).max() < 1e-5 * np.abs(ours).max()


class Images(torch.utils.data.Dataset):
    """As torch-fidelity takes them."""

    def __init__(self, images: np.ndarray):
        self.images = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.images[index]


@pytest.mark.slow
def test_from_images_to_the_figures_as_torch_fidelity_has_them(files):
    """Its whole way, on the same images and weights: what is said to be FID is FID."""
    skip_without("inception")
    from torch_fidelity import calculate_metrics

    rng = np.random.default_rng(3)
    real, fake = (
        np.clip(rng.normal(mean, 60, size=(10, 32, 32, 3)), 0, 255).astype(np.uint8) for mean in (90.0, 120.0)
    )
    theirs = calculate_metrics(
        input1=Images(fake), input2=Images(real), cuda=False, verbose=False, cache=False, save_cpu_ram=True,
        fid=True, kid=True, kid_subset_size=10, kid_subsets=1,
        feature_extractor_weights_path=str(files["inception"]),
    )  # fmt: skip
    features = [extract("inception", files["inception"], images) for images in (real, fake)]
    labels = np.zeros(10, dtype=int)
    ours = fidelity_report(
        features[0], labels, features[1], labels, features[1], labels, ["rust"], extractor="inception"
    )
    assert ours["fid"] > 1e-3 and abs(ours["kid_inception"]) > 1e-6
    assert ours["fid"] == pytest.approx(theirs["frechet_inception_distance"], rel=1e-4)
    assert ours["kid_inception"] == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-4)


def test_dinov2_sees_the_class_token_at_224_px(files, images):
    """Against timm's own way: its model of that size, its loader, its statistics of the pixels."""
    skip_without("dinov2")
    import timm

    ours = extract("dinov2", files["dinov2"], images)
    assert ours.shape == (5, 384) and ours.dtype == np.float32
    network = timm.create_model(
        "vit_small_patch14_dinov2", pretrained=True, pretrained_cfg_overlay={"file": str(files["dinov2"])},
        num_classes=0, img_size=224,
    ).eval()  # fmt: skip
    pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).float() / 255
    pixels = torch.nn.functional.interpolate(pixels, (224, 224), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(network.pretrained_cfg[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        tokens = network.forward_features((pixels - mean) / std)
    assert np.allclose(ours, tokens[:, 0].numpy(), atol=1e-4)
    assert ours.std(axis=0).max() > 1e-3


def test_safetensors_will_do(files, images, tmp_path):
    skip_without("dinov2")
    save_file({name: t.contiguous() for name, t in dinov2_state().items()}, tmp_path / "weights.safetensors")
    ours = extract("dinov2", tmp_path / "weights.safetensors", images)
    assert np.array_equal(ours, extract("dinov2", files["dinov2"], images))


@pytest.mark.parametrize("name", NEEDS)
def test_features_depend_on_the_image_alone_and_draw_nothing(name, files, images):
    skip_without(name)
    before = torch.get_rng_state()
    made = build_extractors([name], **{f"{name}_weights": str(files[name])})[name]
    whole, alone = made(images), made(images[3:4])
    assert np.abs(whole[3:4] - alone).max() < 1e-4 * np.abs(whole).max()
    assert torch.equal(torch.get_rng_state(), before)


def one_sentence(name: str, path: Path | str | None, *parts: str) -> None:
    with pytest.raises(InputError) as caught:
        build_extractors([name], **({} if path is None else {f"{name}_weights": str(path)}))
    said = str(caught.value)
    assert "\n" not in said and said.endswith(".") and len(said) < 600
    for part in (*parts, f"assess.{name}_weights" if "pip install" not in parts[0] else ""):
        assert part in said, said


@pytest.mark.parametrize("name", NEEDS)
def test_files_that_will_not_do(name, files, tmp_path):
    skip_without(name)
    one_sentence(name, tmp_path / "none.pth", "found none", "none.pth")
    whole = files[name].read_bytes()
    (tmp_path / "short.pth").write_bytes(whole[: len(whole) // 2])
    one_sentence(name, tmp_path / "short.pth", "cannot be read", "short.pth")
    (tmp_path / "page.pth").write_text("<!doctype html>Not found")
    one_sentence(name, tmp_path / "page.pth", "cannot be read")
    for other in set(files) - {name}:
        one_sentence(name, files[other], "another network's", files[other].name)
    state = torch.load(files[name], weights_only=True)
    last = list(state)[-2 if name == "dinov2" else -1]
    torch.save({k: v for k, v in state.items() if k != last}, tmp_path / "lacking.pth")
    one_sentence(name, tmp_path / "lacking.pth", "another network's", last)
    state["extra.weight"] = torch.zeros(2)
    torch.save(state, tmp_path / "more.pth")
    one_sentence(name, tmp_path / "more.pth", "another network's", "extra.weight")


class Harmful:
    """What a pickle can do when it is loaded unsafely."""

    def __init__(self, witness: Path):
        self.witness = witness

    def __reduce__(self):
        return (Path.touch, (self.witness,))


@pytest.mark.parametrize("name", NEEDS)
def test_no_code_in_a_file_is_run(name, tmp_path):
    skip_without(name)
    torch.save({"weight": Harmful(tmp_path / "witness")}, tmp_path / "harmful.pth")
    one_sentence(name, tmp_path / "harmful.pth", "cannot be read")
    assert not (tmp_path / "witness").exists()


@pytest.mark.parametrize("name", NEEDS)
def test_without_network_it_is_said_where_to_get_the_file(name, tmp_path, monkeypatch):
    skip_without(name)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))  # no copy of a user's
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # where nobody listens: no network, wherever this runs
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    one_sentence(name, None, "https://", ".pth", "put it at weights/")


@pytest.mark.parametrize("name", NEEDS)
def test_a_missing_package_is_named(name, monkeypatch):
    for module in [m for m in sys.modules if m.split(".")[0] == NEEDS[name]]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, NEEDS[name], None)  # what `import` takes for not installed
    one_sentence(name, None, "pip install 'leafsynth[fidelity]'", name)


def test_an_unknown_name_is_refused():
    with pytest.raises(InputError, match="lite0, leaf, random, inception, dinov2, found 'vgg'"):
        build_extractors(["leaf", "vgg"])
