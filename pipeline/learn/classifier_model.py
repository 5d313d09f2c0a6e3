"""Any classifier of torchvision or timm by name, from scratch or from pretrained weights, taking raw pixels."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from pipeline import InputError
from pipeline.features.backbones import (
    check_name,
    check_weights,
    create_network,
    read_weights,
    scale_of,
    weights_file,
)
from pipeline.features.pixels import PixelInput

BN_MOMENTUM = 0.1


def build_classifier(
    name: str, *, num_classes: int, weights: str | None, input_size: int | None, img_resolution: int
) -> nn.Module:
    """A classifier from (N, 3, H, W) uint8 pixels to (N, num_classes) logits.

    Weights that are not loaded are drawn from torch's global generator.

    Every batch normalisation gets torch's default momentum of 0.1: mobilenet_v3 has 0.01 and mnasnet 0.0003,
    so that after some hundred steps from scratch their running statistics are still the initial ones, and eval
    mode answers one class for everything.

    Args:
        name: As in `torchvision.models.list_models` or `timm.list_models`.
        num_classes: K.
        weights: None: from scratch; "packaged"; a name of the library's such as "DEFAULT" or "IMAGENET1K_V1"; or a
            local .pth, .pt or .safetensors file. A last layer of another number of classes is drawn anew.
        input_size: Side that the network sees, pixels; None: the images' own.
        img_resolution: Side of the images, pixels: it is tried here whether the network can take them.

    Raises:
        InputError: Unknown model, weights that are not there or do not fit, a size it cannot take.
    """
    network = create_network(name, num_classes)
    if weights is not None:
        _load_fitting(network, read_weights(name, weights), num_classes, weights)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = BN_MOMENTUM
    model = nn.Sequential(PixelInput(*scale_of(name, weights), input_size), network)
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
    check_name(name)
    if weights is not None:
        check_weights(name, weights)
    path = None if weights is None else weights_file(weights)
    state = None if path is None else read_weights(name, weights)  # the libraries' own fit

    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):  # shapes alone: nothing is drawn or computed
                network = create_network(name, num_classes)
        except NotImplementedError:  # regnets reckon with a number that the meta device does not hold
            network = create_network(name, num_classes).to("meta")
    if state is not None:
        _fitting(network, state, num_classes, weights)
    with torch.device("meta"):
        _try_size(nn.Sequential(PixelInput(*scale_of(name, None), input_size), network), name, img_resolution)


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
