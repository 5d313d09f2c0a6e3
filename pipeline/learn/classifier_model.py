"""Any torchvision classifier by name, from scratch or from pretrained weights, taking raw pixels."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from pipeline import InputError, shown
from pipeline.learn.trained import PixelInput

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # torchvision's pretrained weights
BN_MOMENTUM = 0.1


def build_classifier(
    name: str, *, num_classes: int, weights: str | None, input_size: int | None, img_resolution: int
) -> nn.Module:
    """A torchvision classifier from (N, 3, H, W) uint8 pixels to (N, num_classes) logits.

    Weights that are not loaded are drawn from torch's global generator.

    Every batch normalisation gets torch's default momentum of 0.1: mobilenet_v3 has 0.01 and mnasnet 0.0003,
    so that after some hundred steps from scratch their running statistics are still the initial ones, and eval
    mode answers one class for everything.

    Args:
        name: As in `torchvision.models.list_models`.
        num_classes: K.
        weights: None: from scratch; a name of torchvision's such as "DEFAULT" or "IMAGENET1K_V1"; or a local
            .pth, .pt or .safetensors file. A last layer of another number of classes is drawn anew.
        input_size: Side that the network sees, pixels; None: the images' own.
        img_resolution: Side of the images, pixels: it is tried here whether the network can take them.

    Raises:
        InputError: Unknown model, weights that are not there or do not fit, a size it cannot take.
    """
    _check_name(name)
    network = torchvision.models.get_model(name, weights=None, num_classes=num_classes)
    if weights is not None:
        _load_fitting(network, _read_weights(name, weights), num_classes, weights)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = BN_MOMENTUM
    model = nn.Sequential(PixelInput(IMAGENET_MEAN, IMAGENET_STD, input_size), network)
    _try_size(model, name, img_resolution)
    return model.to(memory_format=torch.channels_last)


def check_classifier(
    name: str, *, num_classes: int, weights: str | None, input_size: int | None, img_resolution: int
) -> None:
    """Refuse what `build_classifier` would refuse, in a fraction of its time; less what only a download can tell.

    Args:
        name: As of `build_classifier`, like all that follow.
        num_classes: K.
        weights: None, a name of torchvision's, or a local file.
        input_size: Side that the network sees, pixels, or None.
        img_resolution: Side of the images, pixels.

    Raises:
        InputError: As `build_classifier`.
    """
    _check_name(name)
    given = None if weights is None else _given_weights(name, weights)
    state = read_state_dict(given) if isinstance(given, Path) else None  # torchvision's own fit

    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):  # shapes alone: nothing is drawn or computed
                network = torchvision.models.get_model(name, weights=None, num_classes=num_classes)
        except NotImplementedError:  # regnets reckon with a number that the meta device does not hold
            network = torchvision.models.get_model(name, weights=None, num_classes=num_classes).to("meta")
    if state is not None:
        _fitting(network, state, num_classes, weights)
    with torch.device("meta"):
        _try_size(nn.Sequential(PixelInput(IMAGENET_MEAN, IMAGENET_STD, input_size), network), name, img_resolution)


def _check_name(name: str) -> None:
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known[:3]
        raise InputError(
            f"model: expected a torchvision classifier, found {shown(name)}; near it are {', '.join(near)}, "
            "and torchvision.models.list_models() names all."
        )


def _try_size(model: nn.Module, name: str, img_resolution: int) -> None:
    trial = copy.deepcopy(model).train()  # a copy, since batch statistics move; side heads exist in training alone
    try:
        with torch.no_grad():
            trial(torch.zeros(2, 3, img_resolution, img_resolution, dtype=torch.uint8))
    except (RuntimeError, AssertionError) as error:  # a map of no pixels; a transformer of one size only
        raise InputError(
            f"model: expected one that can take images of {img_resolution} px, found that '{name}' cannot "
            f"({str(error).splitlines()[0]}); set input_size to its size, such as 224."
        ) from error


def weights_file(weights: str) -> Path | None:
    """The file that `weights` names, or None where it is a name of torchvision's."""
    path = Path(weights)
    return path if path.suffix in (".pth", ".pt", ".safetensors") or len(path.parts) > 1 else None


def _given_weights(name: str, weights: str) -> Path | torchvision.models.WeightsEnum:
    """A local file, which need not be there, or torchvision's own."""
    path = weights_file(weights)
    if path is not None:
        return path
    known = torchvision.models.get_model_weights(name).__members__
    if weights not in known:
        raise InputError(
            f"weights: expected null, one of {sorted(known)} for '{name}', or the path of a .pth or "
            f".safetensors file, found {shown(weights)}; mend it in params.yaml."
        )
    return known[weights]


def _read_weights(name: str, weights: str) -> dict[str, Tensor]:
    given = _given_weights(name, weights)
    if isinstance(given, Path):
        return read_state_dict(given)
    try:
        return given.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:  # no network; a file that is not what its name says
        raise InputError(
            f"weights: expected to download '{weights}' of '{name}', found no way to ({error}); fetch "
            f"{given.url} where there is a network, put it at "
            f"weights/{given.url.rsplit('/', 1)[-1]} in this project and set `weights` to that path, "
            "or to null to train from scratch."
        ) from error


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


def _load_fitting(network: nn.Module, state: dict[str, Tensor], num_classes: int, source: str) -> None:
    """Load all but a last layer of another number of classes."""
    network.load_state_dict(_fitting(network, state, num_classes, source), strict=False)


def _fitting(network: nn.Module, state: dict[str, Tensor], num_classes: int, source: str) -> dict[str, Tensor]:
    """All but a last layer of another number of classes, which differs in its first dimension alone."""
    own = network.state_dict()
    # neither has a say: auxiliary heads that this network is without, and batch counts of very old files
    lacking = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    if lacking:
        raise InputError(
            f"weights: expected {len(own)} tensors that fit the model in {source}, found none named "
            f"'{lacking[0]}' and {len(lacking) - 1} more lacking; give weights of the same `model`."
        )
    fitting = {}
    for key, tensor in own.items():
        if key not in state:
            continue
        if state[key].shape == tensor.shape:
            fitting[key] = state[key]
        elif not (tensor.shape[:1] == (num_classes,) and state[key].shape[1:] == tensor.shape[1:]):
            raise InputError(
                f"weights: expected '{key}' of shape {tuple(tensor.shape)} in {source}, found "
                f"{tuple(state[key].shape)}; give weights of the same `model`."
            )
    return fitting
