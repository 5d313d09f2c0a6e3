"""A trained classifier in a folder: `model.safetensors` and `config.json`, from which it gives the same bits again.

Loading stands at the start of every GAN stage, so it makes no trial forward as `build_classifier` does, and it
needs nothing beyond what the classifier is made of.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from pipeline import InputError
from pipeline.features.backbones import create_network, scale_of
from pipeline.features.pixels import PixelInput

CONFIG, WEIGHTS = "config.json", "model.safetensors"


def save_classifier(
    folder: str | Path,
    trained_model: nn.Module,
    *,
    model: str,
    classes: Sequence[str],
    input_size: int | None,
    img_resolution: int,
) -> None:
    """Write a classifier's folder.

    Args:
        folder: Where; made if absent.
        trained_model: Of `train_classifier` or `build_classifier`.
        model: Its name, as in `torchvision.models.list_models`.
        classes: Names of its logits.
        input_size: As it was built with: the side that the network sees, pixels; None: the images' own.
        img_resolution: Side of the images that it was trained on, pixels: for the reader, since features of
            images of another size are no measure.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in trained_model.state_dict().items()}
    save_file(tensors, folder / WEIGHTS)
    config = {"classes": list(classes), "img_resolution": img_resolution, "input_size": input_size, "model": model}
    text = json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")


def load_classifier(folder: str | Path, device: str | torch.device = "cpu") -> nn.Module:
    """Read a classifier's folder; torch's random generators are left as they are.

    Args:
        folder: Of `save_classifier`.
        device: Where the model shall be.

    Returns:
        From (N, 3, H, W) uint8 pixels to (N, K) logits, in eval mode, the same to the bit as the one saved;
        for `predict` and `penultimate_features`, not to be trained further.

    Raises:
        InputError: A file is missing, damaged, or belongs to another network.
    """
    folder = Path(folder)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(
                f"{folder}: expected a trained classifier ({CONFIG}, {WEIGHTS}), found no {name}; run `dvc repro`."
            )
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        network = _fresh(config)
    except Exception as error:  # json, missing keys, and what torchvision says to a name or number that is none
        raise _unreadable(folder / CONFIG, "the model's name, classes and input_size", error) from error
    try:
        state = load_file(folder / WEIGHTS)
    except Exception as error:  # safetensors' own types
        raise _unreadable(folder / WEIGHTS, "the weights of a classifier", error) from error
    own = network.state_dict()
    for name in [*own, *state]:
        wanted, found = ((of[name].dtype, tuple(of[name].shape)) if name in of else None for of in (own, state))
        if wanted != found:
            raise InputError(
                f"{folder / WEIGHTS}: expected the weights of {config['model']} with {len(config['classes'])} classes, "
                f"which {CONFIG} names, found '{name}' to be {_described(found)} and not {_described(wanted)}; "
                f"delete {folder} and run `dvc repro`."
            )
    own.update(state)  # in place: `own` carries the versions by which some networks read their weights
    network.load_state_dict(own)
    # The layout of build_classifier: another one may round otherwise
    return network.to(device, memory_format=torch.channels_last).eval()


def _fresh(config: dict[str, Any]) -> nn.Module:
    """The network of `build_classifier`, untried. On the meta device not every one of torchvision's can be built."""
    size, classes = config["input_size"], config["classes"]
    if not classes or not isinstance(classes, list) or not isinstance(size, int | None):
        raise ValueError(f"classes: {classes!r}, input_size: {size!r}")
    with torch.random.fork_rng(devices=[]):  # the weights drawn here are thrown away, and so are the draws
        network = create_network(config["model"], len(classes))
    # mean and std come with the weights: they are buffers of the model
    return nn.Sequential(PixelInput(*scale_of(config["model"], None), size), network)


def _unreadable(path: Path, expected: str, error: Exception) -> InputError:
    reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return InputError(
        f"{path}: expected {expected}, could not read it ({reason}); delete {path.parent} and run `dvc repro`."
    )


def _described(tensor: tuple[torch.dtype, tuple[int, ...]] | None) -> str:
    return "absent" if tensor is None else f"{str(tensor[0]).removeprefix('torch.')} of shape {tensor[1]}"
