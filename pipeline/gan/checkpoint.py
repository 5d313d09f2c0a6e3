"""What a trained GAN leaves on disk: `G_ema.safetensors`, `D.safetensors` and `config.json`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from pipeline import InputError
from pipeline.gan.architectures import build


class Model(NamedTuple):
    """A trained conditional GAN.

    Attributes:
        G_ema: The averaged generator, in eval mode.
        D: Its discriminator, in eval mode.
        config: `classes` (the names its labels index), `trained_on` (the classes it may be asked for),
            and what `architectures.SHAPE` names.
    """

    G_ema: nn.Module
    D: nn.Module
    config: dict[str, Any]


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}


def save_model(folder: str | Path, G_ema: nn.Module, D: nn.Module, config: dict[str, Any]) -> None:
    """Write a model folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(_tensors(G_ema), folder / "G_ema.safetensors")
    save_file(_tensors(D), folder / "D.safetensors")
    text = json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")


def load_model(folder: str | Path, device: str = "cpu") -> Model:
    """Read a model folder.

    Raises:
        InputError: A file is missing, damaged, or belongs to another network.
    """
    folder = Path(folder)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        G, D = build(config)
        G.load_state_dict(load_file(folder / "G_ema.safetensors"))
        D.load_state_dict(load_file(folder / "D.safetensors"))
    except Exception as error:  # safetensors, json and torch raise types of their own for damaged files
        raise InputError(
            f"{folder}: expected a trained GAN (config.json, G_ema.safetensors, D.safetensors), "
            f"could not read it ({type(error).__name__}: {str(error).splitlines()[0]}); run `dvc repro`."
        ) from error
    return Model(G.to(device).eval(), D.to(device).eval(), config)


def generator_sha256(folder: str | Path) -> str:
    """The hash by which a synthetic image names the generator it came from."""
    return hashlib.sha256((Path(folder) / "G_ema.safetensors").read_bytes()).hexdigest()
