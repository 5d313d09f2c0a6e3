"""Networks whose features fidelity is measured by, by name.

`lite0`: EfficientNet-Lite0 as ImageNet's photographs left it, its weights in a package, at 128 px: what has seen a
million pictures sees more in a leaf than what your leaves alone have trained. `leaf`: the classifier of train that the
stage has trained, whose features know the classes. `random`: a network that has seen nothing (`random_features`).
`inception`: the one that "FID" means, with TensorFlow's weights of 2015, its resizing and its 2,048 features, by
torch-fidelity. `dinov2`: a vision transformer trained without labels (Oquab et al. 2023, "DINOv2"; Stein et al. 2023,
"Exposing flaws of generative model evaluation metrics", found its features closer to people's judgement), ViT-S/14 at
224 px, the 384 features of its class token, by timm.

The last two are optional packages with weights of their own, from a file or downloaded.
"""

from __future__ import annotations

import importlib
import io
import urllib.parse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from pipeline import InputError
from pipeline.features.backbones import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    LITE0,
    PACKAGED,
    check_weights,
    create_network,
    read_state_dict,
    read_weights,
    scale_of,
)
from pipeline.features.looks import Looks
from pipeline.features.penultimate import penultimate_features
from pipeline.features.pixels import PREDICT_BATCH, PixelInput, to_pixels
from pipeline.features.random_features import random_extractor

DINOV2, DINOV2_SIZE = "vit_small_patch14_dinov2", 224  # px: of which 14 a patch

LITE0_SIZE = 128  # px: more tells more and costs more (bench/judges)

# Of (N, H, W, 3) uint8 images, N of 1 or more: (N, D)
Extract = Callable[[np.ndarray], np.ndarray]


class Settings(NamedTuple):
    """What an extractor may be built with.

    Attributes:
        weights: A file; None: the extractor's own, or downloaded.
        device: cpu or cuda.
        looks_dir: Where what was seen is kept, see `Looks`; None: nowhere.
    """

    weights: str | None = None
    device: str = "cpu"
    looks_dir: str | Path | None = None


class Extractor(NamedTuple):
    """One entry of EXTRACTORS.

    Attributes:
        build: From its settings; None: it is the classifier of train, which the stage trains.
        network: Name of the pretrained network, as params.yaml calls it where it chooses one; None: nobody can.
        module: The optional module that it needs.
        package: Which has that.
    """

    build: Callable[[Settings], Extract] | None
    network: str | None = None
    module: str | None = None
    package: str | None = None


def build_extractors(
    extractors: list[str],
    *,
    inception_weights: str | None = None,
    dinov2_weights: str | None = None,
    device: str = "cpu",
    looks_dir: str | Path | None = None,
) -> dict[str, Extract]:
    """The named extractors less `leaf`, in the given order; before the work of minutes that a missing file would waste.

    Args:
        extractors: Keys of EXTRACTORS.
        inception_weights: File of torch-fidelity's weights; None: downloaded once.
        dinov2_weights: File of ViT-S/14's weights, DINOv2's own or timm's; None: downloaded once.
        device: cpu or cuda.
        looks_dir: See `Looks`; None: nothing is kept.

    Returns:
        Name to a function of (N, H, W, 3) uint8 images, N of 1 or more: (N, D) features.

    Raises:
        InputError: Unknown name, package not installed, weights that cannot be had, are damaged or another's.
    """
    weights = {"inception": inception_weights, "dinov2": dinov2_weights}
    for name in extractors:
        if name not in EXTRACTORS:
            raise InputError(
                f"extractors: expected any of {', '.join(EXTRACTORS)}, found '{name}'; mend it in params.yaml."
            )
    return {
        name: build(Settings(weights.get(name), device, looks_dir))
        for name in extractors
        if (build := EXTRACTORS[name].build) is not None
    }


def check_extractors(
    extractors: list[str], *, inception_weights: str | None = None, dinov2_weights: str | None = None
) -> None:
    """Refuse what `build_extractors` would refuse, less what only a download can tell.

    Args:
        extractors: As of `build_extractors`, like the others.
        inception_weights: A file or None.
        dinov2_weights: A file or None.

    Raises:
        InputError: As `build_extractors`.
    """
    weights = {"inception": inception_weights, "dinov2": dinov2_weights}
    for name in extractors:
        if weights.get(name) is not None:
            build_extractors([name], inception_weights=inception_weights, dinov2_weights=dinov2_weights)
        elif EXTRACTORS[name].module is not None:
            _optional(name)
        elif name == "lite0":
            check_weights(LITE0, PACKAGED)


def _lite0(settings: Settings) -> Extract:
    with torch.random.fork_rng(devices=[]):
        network = create_network(LITE0, 1000)
    network.load_state_dict(read_weights(LITE0, PACKAGED))
    model = nn.Sequential(PixelInput(*scale_of(LITE0, PACKAGED), LITE0_SIZE), network)
    model = model.to(settings.device, memory_format=torch.channels_last).eval()
    return Looks(model, settings.looks_dir, name="lite0").at


def _random(settings: Settings) -> Extract:
    return partial(penultimate_features, random_extractor(settings.device))


def _inception(settings: Settings) -> Extract:
    package = _optional("inception")
    state, source = _weights("inception_weights", settings.weights, package.URL_INCEPTION_V3, hashed=True)
    # The package reads weights with the unsafe kind of torch.load: it gets bytes that were written here
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    with torch.random.fork_rng(devices=[]):
        try:
            network = package.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], buffer)
        except RuntimeError as error:  # of load_state_dict
            raise _foreign("inception_weights", source, "torch-fidelity's Inception", error) from error
    return _of_network(network.to(settings.device), lambda pixels: network(pixels)[0], settings.device)


def _dinov2(settings: Settings) -> Extract:
    timm = _optional("dinov2")
    url = timm.models.get_pretrained_cfg(DINOV2).url
    state, source = _weights("dinov2_weights", settings.weights, url, hashed=False)
    with torch.random.fork_rng(devices=[]):
        network = timm.create_model(DINOV2, pretrained=False, num_classes=0, img_size=DINOV2_SIZE)
    try:  # DINOv2's own names to timm's, and the places of 518 px to those of 224
        network.load_state_dict(timm.models.vision_transformer.checkpoint_filter_fn(dict(state), network))
    except (RuntimeError, KeyError, AttributeError, TypeError, ValueError) as error:  # foreign tensors, anywhere
        raise _foreign("dinov2_weights", source, "DINOv2's ViT-S/14", error) from error
    model = nn.Sequential(PixelInput(IMAGENET_MEAN, IMAGENET_STD, DINOV2_SIZE), network).to(settings.device).eval()
    return _of_network(model, model, settings.device)


# by their names in params.yaml
EXTRACTORS: dict[str, Extractor] = {
    "lite0": Extractor(_lite0, network=LITE0),
    "leaf": Extractor(None),
    "random": Extractor(_random),
    "inception": Extractor(_inception, module="torch_fidelity.feature_extractor_inceptionv3", package="torch-fidelity"),
    "dinov2": Extractor(_dinov2, network=DINOV2, module="timm", package="timm"),
}


def _of_network(network: nn.Module, forward: Callable[[Tensor], Tensor], device: str) -> Extract:
    @torch.no_grad()
    def extract(images: np.ndarray) -> np.ndarray:
        starts = range(0, len(images), PREDICT_BATCH)
        # A plain layout: channels_last rounds otherwise, and FID is compared with other people's
        batches = (to_pixels(images[i : i + PREDICT_BATCH], device).contiguous() for i in starts)
        return torch.cat([forward(batch).float().cpu() for batch in batches]).numpy()

    network.requires_grad_(False)
    return extract


def _optional(name: str) -> ModuleType:
    extractor = EXTRACTORS[name]
    assert extractor.module is not None
    try:
        return importlib.import_module(extractor.module)
    except ImportError as error:
        raise InputError(
            f"assess.extractors: expected the package {extractor.package} for '{name}', found it not installed "
            f"({error}); run `pip install 'leafsynth[fidelity]'`, or take '{name}' off the list."
        ) from error


def _weights(key: str, path: str | None, url: str, *, hashed: bool) -> tuple[dict[str, Tensor], str]:
    """A state dict, and where it is from. With `hashed` the file's name ends in its SHA-256."""
    if path is not None:
        return read_state_dict(path, key=f"assess.{key}"), path
    file = urllib.parse.urlparse(url).path.rsplit("/", 1)[-1]
    try:
        state = torch.hub.load_state_dict_from_url(
            url, map_location="cpu", progress=False, check_hash=hashed, weights_only=True
        )
    except Exception as error:  # no network; a damaged copy from before; each of many layers has errors of its own
        raise InputError(
            f"assess.{key}: expected to download {file}, found no way to ({_first_line(error)}); fetch {url} where "
            f"there is a network, put it at weights/{file} in this project and set `assess.{key}` to that path."
        ) from error
    return state, url


def _foreign(key: str, source: str, network: str, error: Exception) -> InputError:
    return InputError(
        f"assess.{key}: expected the weights of {network} in {source}, found another network's "
        f"({_first_line(error)}); set `assess.{key}` to the right file, or to null to download it."
    )


def _first_line(error: Exception) -> str:
    """What an exception says, short; of load_state_dict's list the first tensor that does not fit."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[1] if len(lines) > 1 and lines[0].startswith("Error(s) in loading") else (lines or [""])[0]
    return said if len(said) <= 160 else f"{said[:157]}..."
